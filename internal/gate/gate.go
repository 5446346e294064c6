package gate

import (
	"log/slog"
	"net/netip"
	"sync"

	"github.com/cofferhq/coffer/internal/audit"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/identity"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/lockout"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/quota"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
	"github.com/cofferhq/coffer/internal/wrap"
)

// Config is what a [Gate] is built of.
type Config struct {
	Store      store.Store
	Clock      clock.Clock
	Log        *slog.Logger
	Namespaces *namespace.Store
	Mounts     *mount.Table
	Tokens     *token.Store
	Leases     *lease.Store
	Policies   *policy.Store
	Identity   *identity.Store
	Wrapping   *wrap.Store
	Audit      *audit.Broker
	Lockout    *lockout.Store
	Quotas     *quota.Store
	// Replica is this node's place in the cluster, nil if the storage is this
	// node's alone.
	Replica Replica
}

// Gate serves requests while the server is unsealed.
type Gate struct {
	Config
	mu      sync.RWMutex
	closed  bool // guarded by mu: no request begins any more
	running sync.WaitGroup
	records sync.Pool // of *records
}

// New returns a gate.
func New(c Config) *Gate { return &Gate{Config: c} }

// Close lets no more requests begin. Those that run go on; Wait waits for them.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// Wait waits until no request runs any more.
func (g *Gate) Wait() { g.running.Wait() }

// enter counts a request in, unless the gate is closed.
func (g *Gate) enter() bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return false
	}
	g.running.Add(1)
	return true
}

// operation maps a verb to what policies speak of.
func operation(v route.Verb, create bool) policy.Op {
	switch v {
	case route.VerbList:
		return policy.List
	case route.VerbScan:
		return policy.Scan
	case route.VerbWrite:
		if create {
			return policy.Create
		}
		return policy.Update
	case route.VerbDelete:
		return policy.Delete
	case route.VerbPatch:
		return policy.Patch
	}
	return policy.Read
}

// addr writes an address for the audit log.
func addr(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.Unmap().String()
}
