package mount

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
)

// Mounted is a mount in service.
type Mounted struct {
	entry atomic.Pointer[Entry]
	view  atomic.Pointer[route.Mount]
	kind  atomic.Pointer[kind]
	table *Table
	gone  atomic.Bool // dropped: no instance is made any more

	mu       sync.Mutex
	instance any // guarded by mu; nil until first use
	madeFor  *kind
}

// Restart lets go of the mount's instance; the next request makes another.
func (m *Mounted) Restart() { m.close(m.table.Log) }

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
	if m.gone.Load() {
		return nil, errNoMount
	}
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
		Identity: func(ctx context.Context, entity string) (func(name string) (string, bool), error) {
			return t.Identity(ctx, e.NS, entity)
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
