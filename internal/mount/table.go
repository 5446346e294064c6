package mount

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Leases is what disabling and moving a mount needs of the lease noun.
type Leases interface {
	// RevokePrefix ends all leases and tokens that paths under a prefix have
	// granted.
	RevokePrefix(ctx context.Context, ns store.NamespaceID, prefix string, force bool) error
}

// Config is what a [Table] needs.
type Config struct {
	Store  store.Store
	Clock  clock.Clock
	Rand   io.Reader
	Log    *slog.Logger
	Limits Limits
	// Engines and Methods are the types that can be mounted.
	Engines []engine.Type
	Methods []authn.Type
	// Builtin gives the route tables of the server's own mounts ("system",
	// "identity", "ns_token"), whose endpoints have their receivers bound.
	Builtin func(mountType string) *route.Table
	// Leases ends what a mount has granted.
	Leases func() Leases
	// Forget removes what other nouns keep about a mount, in the transaction
	// that removes it.
	Forget func(tx store.Txn, e *Entry) error
	// Passwords generates passwords for engines.
	Passwords func(ctx context.Context, ns store.NamespaceID, policy string) (string, error)
	// Identity returns what the names in templates stand for, see
	// [engine.Host].
	Identity func(ctx context.Context, ns store.NamespaceID, entity string) (func(name string) (string, bool), error)
	// Allowed reports whether a caller may do anything under a path, for the
	// listing of mounts.
	Allowed func(ctx context.Context, c *route.Call, prefix string) bool
	// Known returns the caller of a token's text, for the one endpoint that
	// answers more to those who have one.
	Known func(ctx context.Context, c *route.Call) bool
}

// Table is the noun.
type Table struct {
	Config
	kinds map[string]*kind

	mu     sync.RWMutex
	spaces map[store.NamespaceID]*space // guarded by mu: those that were asked for
	byID   map[store.MountID]*Mounted   // guarded by mu
	stop   func()

	opening sync.Mutex     // held by the one who reads a namespace's mounts
	closing sync.WaitGroup // instances of dropped mounts that are being closed
}

// space is the mounts of one namespace; Table.mu guards it.
type space struct {
	loaded bool
	byPath map[string]*Mounted
	// touched are the rows of which the change feed has told while all are being
	// read; nil at other times.
	touched map[store.Key]bool
}

// kind is a type with its compiled routes.
type kind struct {
	name      string
	table     *route.Table
	make      func(engine.Host) (any, error)
	singleton bool
	lockout   bool
	versions  map[string]*kind
}

// New opens the noun over an initialised store. The root namespace's mounts are
// read now, those of another when it is first needed.
func New(ctx context.Context, c Config) (*Table, error) {
	t := &Table{Config: c, kinds: map[string]*kind{}, spaces: map[store.NamespaceID]*space{}, byID: map[store.MountID]*Mounted{}}
	for i := range c.Engines {
		e := &c.Engines[i]
		k, err := engineKind(e)
		if err != nil {
			return nil, err
		}
		t.kinds[e.Name] = k
	}
	for _, m := range c.Methods {
		table, err := route.NewTable(m.Routes)
		if err != nil {
			return nil, err
		}
		t.kinds[authPrefix+m.Name] = &kind{name: m.Name, table: table, make: m.New, singleton: m.Singleton, lockout: m.Lockout}
	}
	t.stop = c.Store.Watch(t.watch)
	return t, t.Open(ctx, store.RootNamespace)
}

func engineKind(e *engine.Type) (*kind, error) {
	table, err := route.NewTable(e.Routes)
	if err != nil {
		return nil, err
	}
	k := &kind{name: e.Name, table: table, make: e.New, singleton: e.Singleton}
	for version, v := range e.Versions {
		if k.versions == nil {
			k.versions = map[string]*kind{}
		}
		if k.versions[version], err = engineKind(v); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// Close ends the noun and every instance.
func (t *Table) Close() {
	t.stop()
	t.mu.RLock()
	mounts := slices.Collect(maps.Values(t.byID))
	t.mu.RUnlock()
	for _, m := range mounts {
		m.close(t.Log)
	}
	t.closing.Wait()
}

// Open reads the mounts of a namespace if that was not done yet. The other
// methods know of no mounts in a namespace that was never opened, but for those
// that find a mount by its id.
func (t *Table) Open(ctx context.Context, ns store.NamespaceID) error {
	if t.opened(ns) {
		return nil
	}
	t.opening.Lock()
	defer t.opening.Unlock()
	if t.opened(ns) {
		return nil // another call was faster
	}
	return t.load(ctx, ns)
}

func (t *Table) opened(ns store.NamespaceID) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	sp := t.spaces[ns]
	return sp != nil && sp.loaded
}

// load reads a namespace's mounts. What the change feed says of a mount
// meanwhile is newer than what is read.
func (t *Table) load(ctx context.Context, ns store.NamespaceID) error {
	t.mu.Lock()
	sp := t.spaces[ns]
	if sp == nil {
		sp = &space{byPath: map[string]*Mounted{}}
		t.spaces[ns] = sp
	}
	sp.touched = map[store.Key]bool{}
	t.mu.Unlock()
	var rows []store.Entry
	err := t.Store.View(ctx, func(r store.Reader) error {
		rows = nil
		for e, err := range r.Scan(store.Under(store.NewKey(ns, store.System, store.KindMount))) {
			if err != nil {
				return err
			}
			rows = append(rows, store.Entry{Key: e.Key, Value: bytes.Clone(e.Value)})
		}
		return nil
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	touched := sp.touched
	sp.touched = nil
	if err != nil {
		return err
	}
	fresh := map[store.MountID]bool{}
	for _, row := range rows {
		if touched[row.Key] {
			continue
		}
		id, err := t.setLocked(sp, row.Value)
		if err != nil {
			return err
		}
		fresh[id] = true
	}
	for _, m := range sp.byPath {
		if e := m.entry.Load(); !fresh[e.ID] && !touched[e.key()] {
			t.dropLocked(sp, m)
		}
	}
	sp.loaded = true
	return nil
}

// watch follows the change feed.
func (t *Table) watch(c store.Commit) {
	if c.Reset {
		t.reset()
		return
	}
	// What is set comes first: a move removes one row and sets another, and the
	// mount must not be missing in between, or a lease of it would seem to
	// have nobody left who can undo it.
	for _, removed := range []bool{false, true} {
		for i := range c.Changes {
			ch := &c.Changes[i]
			if ch.Key.Mount() != store.System || ch.Key.Kind() != store.KindMount || (ch.Value == nil) != removed {
				continue
			}
			t.follow(ch)
		}
	}
}

// reset reads again what was read before the whole state was replaced.
func (t *Table) reset() {
	t.opening.Lock()
	defer t.opening.Unlock()
	t.mu.RLock()
	known := slices.Collect(maps.Keys(t.spaces))
	t.mu.RUnlock()
	for _, ns := range known {
		if err := t.load(context.Background(), ns); err != nil { // no request stands behind a reset
			t.Log.Error("reading mounts after a reset", "namespace", ns, "error", err)
		}
	}
}

// follow takes over the change of one row, in a namespace that was asked for.
func (t *Table) follow(ch *store.Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sp := t.spaces[ch.Key.Namespace()]
	if sp == nil {
		return
	}
	if sp.touched != nil {
		sp.touched[ch.Key] = true
	}
	if ch.Value == nil {
		t.removeLocked(sp, ch.Key)
	} else if _, err := t.setLocked(sp, ch.Value); err != nil {
		t.Log.Error("reading a mount", "error", err)
	}
}

func (t *Table) setLocked(sp *space, value []byte) (store.MountID, error) {
	e := new(Entry)
	if err := json.Unmarshal(value, e); err != nil {
		return 0, errors.New("decoding a mount: malformed")
	}
	m := t.byID[e.ID]
	if m == nil {
		m = &Mounted{table: t}
		t.byID[e.ID] = m
	} else if old := m.entry.Load(); old.Path != e.Path && sp.byPath[old.Path] == m {
		delete(sp.byPath, old.Path)
	}
	m.set(e, t.kindOf(e))
	sp.byPath[e.Path] = m
	return e.ID, nil
}

func (t *Table) removeLocked(sp *space, k store.Key) {
	parts, err := k.Parts()
	if err != nil {
		return
	}
	path := strings.Join(parts, "/") + "/"
	// Only a mount that still claims this path goes, not one that was moved.
	if m := sp.byPath[path]; m != nil && m.entry.Load().Path == path {
		t.dropLocked(sp, m)
	}
}

func (t *Table) dropLocked(sp *space, m *Mounted) {
	e := m.entry.Load()
	if sp.byPath[e.Path] == m {
		delete(sp.byPath, e.Path)
	}
	delete(t.byID, e.ID)
	m.gone.Store(true)
	// Elsewhere: an instance may wait for its own work to end, which may wait
	// for the commit that we are called from.
	t.closing.Go(func() { m.close(t.Log) })
}

func (t *Table) kindOf(e *Entry) *kind {
	name := e.Type
	if e.Auth() {
		name = authPrefix + name
	}
	k := t.kinds[name]
	if k == nil || k.versions == nil {
		return k
	}
	if v := k.versions[e.Options["version"]]; v != nil {
		return v
	}
	return k.versions[""]
}

// Resolve finds the mount of a canonical path and what of the path lies below
// it. A mount that is being disabled is not found.
func (t *Table) Resolve(ns store.NamespaceID, path string) (m *Mounted, rest string, ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	paths := t.pathsLocked(ns)
	for i := 0; i < len(path); i++ {
		if path[i] != '/' {
			continue
		}
		if m := paths[path[:i+1]]; m != nil {
			return m, path[i+1:], !m.entry.Load().Tainted
		}
	}
	if m := paths[path+"/"]; m != nil { // the mount itself, without its slash
		return m, "", !m.entry.Load().Tainted
	}
	return nil, "", false
}

var errNoMount = fault.New(fault.NotFound, "no such mount")

// pathsLocked are the mounts of a namespace by path, nil if it was not opened.
func (t *Table) pathsLocked(ns store.NamespaceID) map[string]*Mounted {
	if sp := t.spaces[ns]; sp != nil {
		return sp.byPath
	}
	return nil
}

// ByID returns the mount with an id; [fault.NotFound] if there is none.
func (t *Table) ByID(ctx context.Context, id store.MountID) (*Mounted, error) {
	if m := t.known(id); m != nil {
		return m, nil
	}
	var ns store.NamespaceID
	err := t.Store.View(ctx, func(r store.Reader) (err error) {
		ns, err = placeOf(r, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, errNoMount
	}
	if err != nil {
		return nil, err
	}
	if err := t.Open(ctx, ns); err != nil {
		return nil, err
	}
	if m := t.known(id); m != nil {
		return m, nil
	}
	return nil, errNoMount
}

func (t *Table) known(id store.MountID) *Mounted {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.byID[id]
}

// ByAccessor returns the mount of a namespace with an accessor, also one being
// disabled. Accessors are told apart within a namespace only.
func (t *Table) ByAccessor(ns store.NamespaceID, accessor string) (*Mounted, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, m := range t.pathsLocked(ns) {
		if m.entry.Load().Accessor == accessor {
			return m, nil
		}
	}
	return nil, errNoMount
}

// all returns the mounts of a namespace, secrets engines or auth methods.
func (t *Table) all(ns store.NamespaceID, auth bool) []*Mounted {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var list []*Mounted
	for _, m := range t.pathsLocked(ns) {
		if e := m.entry.Load(); e.Auth() == auth && !e.Tainted {
			list = append(list, m)
		}
	}
	return list
}

// All returns the mounts of a namespace in service.
func (t *Table) All(ns store.NamespaceID) []*Mounted {
	return slices.Concat(t.all(ns, false), t.all(ns, true))
}

// At returns the mount at exactly a path, nil if there is none.
func (t *Table) At(ns store.NamespaceID, path string) *Mounted { return t.at(ns, path) }

// Fire calls the instance of a mount for a timer that has come due.
func (t *Table) Fire(ctx context.Context, id store.MountID, name string) error {
	m, err := t.ByID(ctx, id)
	if err != nil && !errors.Is(err, fault.NotFound) {
		return err
	}
	if err != nil {
		return nil //nolint:nilerr // the mount is gone and its timers with it
	}
	instance, err := m.Instance()
	if err != nil {
		return err
	}
	h, ok := instance.(engine.TimerHandler)
	if !ok {
		return nil
	}
	return h.Fire(ctx, name)
}

// Instance returns the instance at a mount, for leases and renewals.
func (t *Table) Instance(ctx context.Context, id store.MountID) (any, route.Mount, error) {
	m, err := t.ByID(ctx, id)
	if err != nil {
		return nil, route.Mount{}, err
	}
	instance, err := m.Instance()
	return instance, *m.view.Load(), err
}

// newAccessor names a mount for people and for identity.
func newAccessor(random io.Reader, path, mountType string) (string, error) {
	var b [4]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", err
	}
	prefix := ""
	if strings.HasPrefix(path, authPrefix) {
		prefix = "auth_"
	}
	return prefix + strings.ReplaceAll(mountType, "-", "_") + "_" + wire.Hex(b[:]), nil
}
