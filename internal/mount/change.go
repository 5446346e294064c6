package mount

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// The types of the server's own mounts.
const (
	SystemType   = "system"
	IdentityType = "identity"
	TokenType    = "token"
)

// Init mounts what every namespace has: sys/, identity/, cubbyhole/ and
// auth/token/. It does nothing if they are there.
func Init(tx store.Txn, random io.Reader, ns store.NamespaceID) error {
	for _, e := range []Entry{
		{Path: "sys/", Type: SystemType, Description: "system endpoints used for control, policy and debugging", SealWrap: true, Settings: Settings{PassthroughHeaders: []string{"Accept"}}},
		{Path: "identity/", Type: IdentityType, Description: "identity store", Settings: Settings{PassthroughHeaders: []string{"Authorization"}}},
		{Path: "cubbyhole/", Type: "cubbyhole", Description: "per-token private secret storage", Local: true},
		{Path: "auth/token/", Type: TokenType, Description: "token based credentials", Settings: Settings{TokenType: "default-service"}},
	} {
		e.NS = ns
		if ok, err := store.Exists(tx, e.key()); err != nil || ok {
			return err
		}
		if err := insert(tx, random, &e); err != nil {
			return err
		}
	}
	return nil
}

// insert gives a mount its names and writes its row.
func insert(tx store.Txn, random io.Reader, e *Entry) error {
	id, err := nextID(tx)
	if err != nil {
		return err
	}
	e.ID = id
	if e.Accessor, err = newAccessor(random, e.Path, e.Type); err != nil {
		return err
	}
	if e.UUID, err = wire.NewUUID(random); err != nil {
		return err
	}
	if err := tx.Put(placeKey(id), []byte(store.Uint64Part(uint64(e.NS)))); err != nil {
		return err
	}
	return store.PutJSON(tx, e.key(), e)
}

// placeKey is the row that tells in which namespace a mount is, and endingKey
// the same of one whose disabling is not finished.
func placeKey(id store.MountID) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindMountPlace, "at", store.Uint64Part(uint64(id)))
}

func endingKey(id store.MountID) store.Key { return endingRoot().Append(store.Uint64Part(uint64(id))) }

func endingRoot() store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindMountPlace, "ending")
}

// placeOf returns the namespace of a mount; [store.ErrNotFound] if there is no
// such mount.
func placeOf(r store.Reader, id store.MountID) (store.NamespaceID, error) {
	b, err := r.Get(placeKey(id))
	if err != nil {
		return 0, err
	}
	ns, ok := store.ParseUint64Part(string(b))
	if !ok {
		return 0, errors.New("decoding the place of a mount: malformed")
	}
	return store.NamespaceID(ns), nil
}

// nextID counts mounts over the whole cluster; an id is never used again.
func nextID(tx store.Txn) (store.MountID, error) {
	key := store.NewKey(store.RootNamespace, store.System, store.KindSequence, "mount")
	n, err := store.GetJSON[uint64](tx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	n++
	return store.MountID(n), store.PutJSON(tx, key, n)
}

// Enable mounts an engine or method. The entry's path, type, description,
// settings and options are the caller's; names are given here.
func (t *Table) Enable(ctx context.Context, e Entry) (*Entry, error) {
	if err := t.checkNew(&e); err != nil {
		return nil, err
	}
	_, err := t.Store.Update(ctx, func(tx store.Txn) error {
		if err := free(tx, e.NS, e.Path); err != nil {
			return err
		}
		return insert(tx, t.Rand, &e)
	})
	return &e, err
}

func (t *Table) checkNew(e *Entry) error {
	if err := checkPath(e.Path); err != nil {
		return err
	}
	name := e.Type
	if e.Auth() {
		name = authPrefix + name
	} else if name == "kv-v1" || name == "kv-v2" || name == "generic" {
		if e.Options == nil {
			e.Options = map[string]string{}
		}
		if name == "kv-v2" {
			e.Options["version"] = "2"
		} else {
			e.Options["version"] = "1"
		}
		e.Type, name = "kv", "kv"
	}
	k := t.kinds[name]
	if k == nil || k.singleton {
		if e.Type == "" {
			return fault.New(fault.Invalid, "backend type must be specified as a string")
		}
		return fault.Newf(fault.Invalid, "plugin not found in the catalog: %s", clip(e.Type))
	}
	if k.versions != nil {
		if _, ok := k.versions[e.Options["version"]]; !ok {
			return fault.New(fault.Invalid, "unknown value of the option \"version\"; use \"1\" or \"2\"")
		}
	}
	return e.Settings.check(Limits{})
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64]
	}
	return s
}

// reserved are first segments that no engine may take.
var reserved = []string{"sys", "auth", "identity", "cubbyhole"}

func checkPath(path string) error {
	bare := strings.TrimSuffix(strings.TrimPrefix(path, authPrefix), "/")
	if bare == "" || strings.HasSuffix(bare, "/") || strings.HasPrefix(bare, "/") || strings.Contains(bare, "//") {
		return fault.New(fault.Invalid, "the mount path is empty or has an empty segment")
	}
	if len(path) > 512 {
		return fault.New(fault.Invalid, "the mount path is longer than 512 bytes")
	}
	if !utf8.ValidString(path) {
		return fault.New(fault.Invalid, "the mount path is not valid UTF-8")
	}
	for _, r := range bare {
		if r <= ' ' || r == 0x7f || r == '*' || r == '+' || r == '\\' {
			return fault.New(fault.Invalid, "the mount path may not contain spaces, control characters, '*', '+' or '\\'")
		}
	}
	for seg := range strings.SplitSeq(bare, "/") {
		if seg == "." || seg == ".." {
			return fault.New(fault.Invalid, "the mount path may not have '.' or '..' as a segment")
		}
	}
	first, _, _ := strings.Cut(bare, "/")
	if strings.HasPrefix(path, authPrefix) {
		if first == "token" {
			return fault.New(fault.Invalid, "token credential backend cannot be instantiated: path is already in use at auth/token/")
		}
		return nil
	}
	for _, r := range reserved {
		if first == r {
			return fault.Newf(fault.Invalid, "cannot mount under existing mount %q: path is already in use at %s/", r, r)
		}
	}
	return nil
}

// free reports with an error that a path is taken: by a mount at, above or below
// it, or by a namespace above it.
func free(tx store.Reader, ns store.NamespaceID, path string) error {
	segs := strings.Split(strings.TrimSuffix(path, "/"), "/")
	if taken, err := namespace.Taken(tx, ns, segs[0]); err != nil {
		return err
	} else if taken {
		return fault.Newf(fault.Invalid, "path is already in use at %s/, which is a namespace", segs[0])
	}
	return untaken(tx, ns, segs)
}

// Free reports with an error that a mount is where a namespace of a name would
// be, or below.
func Free(r store.Reader, ns store.NamespaceID, name string) error {
	return untaken(r, ns, []string{name})
}

// untaken reports with an error that a mount is at, above or below a path.
func untaken(tx store.Reader, ns store.NamespaceID, segs []string) error {
	for i := 1; i <= len(segs); i++ {
		at := strings.Join(segs[:i], "/") + "/"
		if ok, err := store.Exists(tx, pathKey(ns, at)); err != nil {
			return err
		} else if ok {
			return fault.Newf(fault.Invalid, "path is already in use at %s", at)
		}
	}
	below := store.Under(pathKey(ns, strings.Join(segs, "/")))
	below.Limit = 1
	for e, err := range tx.Scan(below) {
		if err != nil {
			return err
		}
		parts, err := e.Key.Parts()
		if err != nil {
			return err
		}
		return fault.Newf(fault.Invalid, "path is already in use at %s/", strings.Join(parts, "/"))
	}
	return nil
}

// at returns the mount at exactly a path.
func (t *Table) at(ns store.NamespaceID, path string) *Mounted {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.pathsLocked(ns)[path]
}

// Disable ends everything a mount has granted, then removes it and its data.
// It is refused while a grant cannot be undone, so that no credential is
// forgotten.
func (t *Table) Disable(ctx context.Context, ns store.NamespaceID, path string) error {
	m := t.at(ns, path)
	if m == nil {
		return nil
	}
	if builtin(m.Entry()) {
		return fault.Newf(fault.Invalid, "cannot unmount %q", path)
	}
	there, err := t.taint(ctx, m.Entry())
	if err != nil || !there {
		return err
	}
	return t.finish(ctx, m)
}

func builtin(e *Entry) bool {
	switch e.Type {
	case SystemType, IdentityType, "cubbyhole":
		return true
	case TokenType:
		return e.Path == "auth/token/"
	}
	return false
}

// taint marks a mount, so that it serves no request from now on. It reports
// false if the mount is gone: another call was faster.
func (t *Table) taint(ctx context.Context, e *Entry) (there bool, err error) {
	_, err = t.Store.Update(ctx, func(tx store.Txn) error {
		cur, err := current(tx, e)
		if there = err == nil; errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		cur.Tainted = true
		if err := tx.Put(endingKey(cur.ID), []byte(store.Uint64Part(uint64(cur.NS)))); err != nil {
			return err
		}
		return store.PutJSON(tx, cur.key(), cur)
	})
	return there, err
}

// current reads the row of a mount. It is [store.ErrNotFound] if the mount is
// gone from its path, also if another stands there now.
func current(r store.Reader, e *Entry) (*Entry, error) {
	cur, err := store.GetJSON[Entry](r, e.key())
	if err == nil && cur.ID != e.ID {
		err = store.ErrNotFound
	}
	return &cur, err
}

// Serving reports with an error that a mount, as a request has found it, is
// gone, moved or being disabled. Read in a transaction, it makes what the
// request stores and the mount's end exclude each other.
func Serving(r store.Reader, m route.Mount) error {
	cur, err := current(r, &Entry{NS: m.Namespace, Path: m.Path, ID: m.ID})
	if errors.Is(err, store.ErrNotFound) || err == nil && cur.Tainted {
		return fault.New(fault.NotFound, "the mount has been disabled or moved")
	}
	return err
}

// finish takes down a tainted mount.
func (t *Table) finish(ctx context.Context, m *Mounted) error {
	e := m.Entry()
	if err := t.Leases().RevokePrefix(ctx, e.NS, e.Path, false); err != nil {
		t.Log.Warn("disabling a mount: grants could not be undone", "mount", e.Path, "error", err)
		return fault.Wrap(fault.Upstream, err, "the mount serves no more requests, but leases of it could not be revoked yet; they are tried again. Repeat the call when the system behind it is back, or give them up with sys/leases/revoke-force/"+e.Path)
	}
	if m.gone.Load() {
		return nil // another call was faster
	}
	instance, err := m.Instance()
	if err != nil {
		return err
	}
	if c, ok := instance.(engine.Cleaner); ok {
		if err := c.Clean(ctx); err != nil {
			return err
		}
	}
	for more := true; more; {
		if more, err = t.wipe(ctx, e); err != nil {
			return err
		}
	}
	_, err = t.Store.Update(ctx, func(tx store.Txn) error {
		if _, err := current(tx, e); errors.Is(err, store.ErrNotFound) {
			return nil // another call was faster, and the path may be another mount's
		} else if err != nil {
			return err
		}
		if err := t.Forget(tx, e); err != nil {
			return err
		}
		for _, key := range []store.Key{placeKey(e.ID), endingKey(e.ID), e.key()} {
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// wipePage is how many rows one transaction of a wipe removes.
const wipePage = 500

func (t *Table) wipe(ctx context.Context, e *Entry) (more bool, err error) {
	_, err = t.Store.Update(ctx, func(tx store.Txn) error {
		n := 0
		rng := store.Under(store.NewKey(e.NS, e.ID, 0)[:16])
		rng.Limit = wipePage
		var keys []store.Key
		for row, err := range tx.Scan(rng) {
			if err != nil {
				return err
			}
			keys = append(keys, row.Key)
		}
		for _, k := range keys {
			n++
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		moreTimers, err := expiry.DropTimers(tx, e.ID, wipePage)
		more = n == wipePage || moreTimers
		return err
	})
	return more, err
}

// Resume finishes the disabling of mounts that a stop has interrupted. It
// returns when all are gone or ctx ends.
func (t *Table) Resume(ctx context.Context) error {
	for delay := time.Second; ; delay = min(2*delay, time.Minute) {
		mounts, err := t.tainted(ctx)
		if err != nil {
			t.Log.Warn("looking for mounts to disable", "error", err)
		}
		left := err != nil
		for _, m := range mounts {
			if err := t.finish(ctx, m); err != nil {
				left = true
				t.Log.Warn("finishing to disable a mount", "mount", m.Entry().Path, "error", err)
			}
		}
		if !left {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.Clock.After(delay):
		}
	}
}

// tainted returns the mounts whose disabling is not finished.
func (t *Table) tainted(ctx context.Context) ([]*Mounted, error) {
	var ids []string
	err := t.Store.View(ctx, func(r store.Reader) (err error) {
		ids, err = store.Children(r, endingRoot(), "", 0)
		return err
	})
	var list []*Mounted
	for _, part := range ids {
		id, _ := store.ParseUint64Part(part)
		m, err := t.ByID(ctx, store.MountID(id))
		if errors.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return list, err
		}
		list = append(list, m)
	}
	return list, err
}

// Move gives a mount another path. What it has granted is revoked first: ids of
// leases begin with the path.
func (t *Table) Move(ctx context.Context, ns store.NamespaceID, from, to string) error {
	m := t.at(ns, from)
	if m == nil || m.Entry().Tainted {
		return fault.Newf(fault.Invalid, "no matching mount at %q", from)
	}
	if builtin(m.Entry()) {
		return fault.Newf(fault.Invalid, "cannot remount %q", from)
	}
	if strings.HasPrefix(from, authPrefix) != strings.HasPrefix(to, authPrefix) {
		return fault.New(fault.Invalid, "cannot move between auth methods and secrets engines")
	}
	if err := checkPath(to); err != nil {
		return err
	}
	if err := t.Leases().RevokePrefix(ctx, ns, from, false); err != nil {
		return fault.Wrap(fault.Upstream, err, "leases of the mount could not be revoked, so it was not moved")
	}
	_, err := t.Store.Update(ctx, func(tx store.Txn) error {
		e, err := store.GetJSON[Entry](tx, pathKey(ns, from))
		if errors.Is(err, store.ErrNotFound) {
			return fault.Newf(fault.Invalid, "no matching mount at %q", from)
		}
		if err != nil {
			return err
		}
		if e.ID != m.Entry().ID || e.Tainted {
			return fault.Newf(fault.Invalid, "no matching mount at %q", from)
		}
		if err := tx.Delete(e.key()); err != nil {
			return err
		}
		if err := free(tx, ns, to); err != nil {
			return err
		}
		e.Path = to
		return store.PutJSON(tx, e.key(), e)
	})
	if err != nil {
		return err
	}
	// What was granted between the first sweep and the move would escape the
	// mount's end, which looks under the new path.
	if err := t.Leases().RevokePrefix(ctx, ns, from, false); err != nil {
		t.Log.Warn("leases of a mount's old path could not be revoked yet", "mount", from, "error", err)
	}
	return nil
}
