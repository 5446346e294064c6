package mount

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

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
	byPath map[store.NamespaceID]map[string]*Mounted // guarded by mu
	byID   map[store.MountID]*Mounted                // guarded by mu
	stop   func()
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

// Mounted is a mount in service.
type Mounted struct {
	entry atomic.Pointer[Entry]
	view  atomic.Pointer[route.Mount]
	kind  atomic.Pointer[kind]
	table *Table

	mu       sync.Mutex
	instance any // guarded by mu; nil until first use
	madeFor  *kind
}

// New opens the noun over an initialised store.
func New(ctx context.Context, c Config) (*Table, error) {
	t := &Table{Config: c, kinds: map[string]*kind{}, byPath: map[store.NamespaceID]map[string]*Mounted{}, byID: map[store.MountID]*Mounted{}}
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
	return t, t.load(ctx)
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
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range t.byID {
		m.close(t.Log)
	}
}

func (t *Table) load(ctx context.Context) error {
	fresh := map[store.MountID]bool{}
	err := t.Store.View(ctx, func(r store.Reader) error {
		for _, ns := range []store.NamespaceID{store.RootNamespace} {
			for e, err := range r.Scan(store.Under(store.NewKey(ns, store.System, store.KindMount))) {
				if err != nil {
					return err
				}
				id, err := t.set(e.Value)
				if err != nil {
					return err
				}
				fresh[id] = true
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, m := range t.byID {
		if !fresh[id] {
			t.dropLocked(m)
		}
	}
	return nil
}

// watch follows the change feed.
func (t *Table) watch(c store.Commit) {
	if c.Reset {
		if err := t.load(context.Background()); err != nil { // no request stands behind a reset
			t.Log.Error("reading mounts after a reset", "error", err)
		}
		return
	}
	for i := range c.Changes {
		ch := &c.Changes[i]
		if ch.Key.Mount() != store.System || ch.Key.Kind() != store.KindMount {
			continue
		}
		if ch.Value == nil {
			t.remove(ch.Key)
			continue
		}
		if _, err := t.set(ch.Value); err != nil {
			t.Log.Error("reading a mount", "error", err)
		}
	}
}

func (t *Table) set(value []byte) (store.MountID, error) {
	e := new(Entry)
	if err := json.Unmarshal(value, e); err != nil {
		return 0, errors.New("decoding a mount: malformed")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.byID[e.ID]
	if m == nil {
		m = &Mounted{table: t}
		t.byID[e.ID] = m
	} else if old := m.entry.Load(); old.Path != e.Path && t.byPath[e.NS][old.Path] == m {
		delete(t.byPath[e.NS], old.Path)
	}
	m.set(e, t.kindOf(e))
	paths := t.byPath[e.NS]
	if paths == nil {
		paths = map[string]*Mounted{}
		t.byPath[e.NS] = paths
	}
	paths[e.Path] = m
	return e.ID, nil
}

func (t *Table) remove(k store.Key) {
	parts, err := k.Parts()
	if err != nil {
		return
	}
	path := strings.Join(parts, "/") + "/"
	t.mu.Lock()
	defer t.mu.Unlock()
	// A move removes the old row and sets the new one in one commit, in key
	// order: only the mount that still claims this path goes.
	if m := t.byPath[k.Namespace()][path]; m != nil && m.entry.Load().Path == path {
		t.dropLocked(m)
	}
}

func (t *Table) dropLocked(m *Mounted) {
	e := m.entry.Load()
	if t.byPath[e.NS][e.Path] == m {
		delete(t.byPath[e.NS], e.Path)
	}
	delete(t.byID, e.ID)
	m.close(t.Log)
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
	paths := t.byPath[ns]
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

// ByID returns the mount with an id; [fault.NotFound] if there is none.
func (t *Table) ByID(id store.MountID) (*Mounted, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if m := t.byID[id]; m != nil {
		return m, nil
	}
	return nil, fault.New(fault.NotFound, "no such mount")
}

// ByAccessor returns the mount with an accessor, also one being disabled.
func (t *Table) ByAccessor(accessor string) (*Mounted, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	for _, m := range t.byID {
		if m.entry.Load().Accessor == accessor {
			return m, nil
		}
	}
	return nil, fault.New(fault.NotFound, "no such mount")
}

// all returns the mounts of a namespace, secrets engines or auth methods.
func (t *Table) all(ns store.NamespaceID, auth bool) []*Mounted {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var list []*Mounted
	for _, m := range t.byPath[ns] {
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

// Restart lets go of the mount's instance; the next request makes another.
func (m *Mounted) Restart() { m.close(m.table.Log) }

// Fire calls the instance of a mount for a timer that has come due.
func (t *Table) Fire(ctx context.Context, id store.MountID, name string) error {
	m, err := t.ByID(id)
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
func (t *Table) Instance(_ context.Context, id store.MountID) (any, route.Mount, error) {
	m, err := t.ByID(id)
	if err != nil {
		return nil, route.Mount{}, err
	}
	instance, err := m.Instance()
	return instance, *m.view.Load(), err
}

func (m *Mounted) set(e *Entry, k *kind) {
	v := e.route(m.table.Limits)
	m.entry.Store(e)
	m.view.Store(&v)
	m.kind.Store(k)
}

// Entry returns the mount's record.
func (m *Mounted) Entry() *Entry { return m.entry.Load() }

// Mount returns the mount as handlers see it.
func (m *Mounted) Mount() *route.Mount { return m.view.Load() }

// Routes returns the route table of the mount's type, nil if the type is not
// known to this server.
func (m *Mounted) Routes() *route.Table {
	if k := m.kind.Load(); k != nil {
		return k.table
	}
	return m.table.Builtin(m.entry.Load().Type)
}

// LocksOut reports whether failed logins at the mount lock users out.
func (m *Mounted) LocksOut() bool {
	k := m.kind.Load()
	return k != nil && k.lockout
}

// Storage returns the mount's own rows.
func (m *Mounted) Storage() engine.Storage {
	e := m.entry.Load()
	return engine.NewStorage(e.NS, e.ID, m.table.Store)
}

// Instance returns the mount's instance, made on its first use. It is nil for
// the server's own mounts.
func (m *Mounted) Instance() (any, error) {
	k := m.kind.Load()
	if k == nil {
		return nil, nil //nolint:nilnil // built-in endpoints bring their receiver
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.instance != nil && m.madeFor == k {
		return m.instance, nil
	}
	m.closeLocked(m.table.Log)
	instance, err := k.make(m.host())
	if err != nil {
		return nil, err
	}
	m.instance, m.madeFor = instance, k
	return instance, nil
}

func (m *Mounted) host() engine.Host {
	t, e := m.table, m.entry.Load()
	return engine.Host{
		Mount: func() route.Mount { return *m.view.Load() }, Storage: m.Storage(), Clock: t.Clock, Rand: t.Rand,
		Log:    t.Log.With("mount", e.Path, "type", e.Type),
		Timers: timers{e.ID},
		Passwords: func(ctx context.Context, policy string) (string, error) {
			return t.Passwords(ctx, e.NS, policy)
		},
	}
}

func (m *Mounted) close(log *slog.Logger) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closeLocked(log)
}

func (m *Mounted) closeLocked(log *slog.Logger) {
	if c, ok := m.instance.(engine.Closer); ok {
		if err := c.Close(); err != nil {
			log.Warn("closing an engine", "mount", m.entry.Load().Path, "error", err)
		}
	}
	m.instance = nil
}

// NonHMACKeys are the audit settings of the mount.
func (m *Mounted) NonHMACKeys() (request, response []string) {
	s := &m.entry.Load().Settings
	return s.AuditRequestKeys, s.AuditResponseKeys
}

// PassesHeader reports whether handlers of the mount may see a request header.
// The token is never passed.
func (m *Mounted) PassesHeader(name string) bool {
	if strings.EqualFold(name, "X-Vault-Token") || strings.EqualFold(name, "Authorization") {
		return false
	}
	for _, h := range m.entry.Load().Settings.PassthroughHeaders {
		if strings.EqualFold(h, name) {
			return true
		}
	}
	return false
}

// timers ties the expiry index's timers to a mount.
type timers struct{ id store.MountID }

var _ engine.Timers = timers{}

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
