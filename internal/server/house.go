package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/cofferhq/coffer/internal/audit"
	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/autopilot"
	"github.com/cofferhq/coffer/internal/backup"
	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/httpd"
	"github.com/cofferhq/coffer/internal/identity"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/lockout"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/oidc"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/quota"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/settings"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
	"github.com/cofferhq/coffer/internal/wrap"
)

// house is everything that exists while the server is unsealed: the nouns, the
// gate over them, and the tasks that run. It is built whole, or not at all, and
// taken down whole.
type house struct {
	s          *Server
	log        *slog.Logger
	barrier    *barrier.Barrier
	gate       *gate.Gate
	audit      *audit.Broker
	namespaces *namespace.Store
	policies   *policy.Store
	identity   *identity.Store
	backups    *backup.Schedules // nil on storage that has no snapshots
	tokens     *token.Store
	leases     *lease.Store
	mounts     *mount.Table
	expiry     *expiry.Scheduler
	settings   *settings.Store
	quotas     *quota.Store
	pilot      *autopilot.Pilot // nil if the storage is not replicated

	stop  context.CancelFunc
	tasks sync.WaitGroup
}

// born writes what a new cluster has: the keys and defaults of the nouns. It is
// run in the transaction that initialises, and does nothing later.
func born(tx store.Txn, s *Server) error {
	for _, init := range []func() error{
		func() error { return token.Init(tx, rand.Reader) },
		func() error { return s.bornIn(tx, store.RootNamespace) },
		func() error { return wrap.Init(tx, rand.Reader) },
		func() error { return initSigningKey(tx) },
	} {
		if err := init(); err != nil {
			return err
		}
	}
	return nil
}

// build opens the nouns over an unsealed barrier and starts their tasks.
func (s *Server) build(ctx context.Context, b *barrier.Barrier) (*house, error) {
	s.catchUp(ctx)
	if _, err := b.Update(ctx, func(tx store.Txn) error { return born(tx, s) }); unlessStandby(err) != nil {
		return nil, fmt.Errorf("preparing storage: %w", err)
	}
	h := &house{s: s, log: s.log, barrier: b}
	if err := h.open(ctx); err != nil {
		h.close()
		return nil, err
	}
	h.start()
	return h, nil
}

func (h *house) open(ctx context.Context) (err error) {
	s, b := h.s, h.barrier
	if h.audit, err = s.newBroker(ctx, b); err != nil {
		return err
	}
	h.namespaces = namespace.New(namespace.Config{
		Store: b, Clock: s.clock, Rand: rand.Reader, Log: h.log, Born: s.bornIn, Free: mount.Free, End: h.endNamespace, Forget: quota.ForgetNamespace, Visible: h.visible,
	})
	if h.policies, err = policy.New(ctx, policy.Config{Store: b, Clock: s.clock, Log: h.log, Tokens: holders{h}, Caller: h.caller}); err != nil {
		return err
	}
	h.identity = identity.New(identity.Config{Store: b, Clock: s.clock, Rand: rand.Reader, Log: h.log, Mount: h.mountOf, Above: h.namespaces.Ancestors, Elsewhere: namespace.Each})
	if h.tokens, err = token.New(ctx, token.Config{
		Store: b, Clock: s.clock, Log: h.log, Leases: leasesOf{h}, WipeCubbyhole: h.wipe, PolicyExists: h.policies.Exists, Method: h.method, Serving: mount.Serving,
		EntityPolicies: h.entityPolicies, ExternalPolicies: h.externalPolicies, Entity: h.entityOf, Renewing: h.renewing,
	}); err != nil {
		return err
	}
	h.leases = lease.New(lease.Config{Store: b, Clock: s.clock, Log: h.log, Tokens: h.tokens, Engine: h.engine, Serving: mount.Serving})
	defaultTTL, maxTTL := s.config.LeaseTTLs()
	tables := map[string]*route.Table{}
	h.mounts, err = mount.New(ctx, mount.Config{
		Store: b, Clock: s.clock, Rand: rand.Reader, Log: h.log, Limits: mount.Limits{DefaultTTL: defaultTTL, MaxTTL: maxTTL},
		Engines: s.allEngines(), Methods: s.allMethods(), Builtin: func(t string) *route.Table { return tables[t] },
		Leases: func() mount.Leases { return h.leases }, Forget: forget, Passwords: h.policies.Password, Identity: h.valuesOf, Allowed: h.allowed, Known: h.known,
	})
	if err != nil {
		return err
	}
	for name, eps := range map[string][]route.Endpoint{
		mount.IdentityType: slices.Concat(route.Bind(h.identity, identity.Routes), route.Bind(h.openID(), oidc.Routes)),
		mount.TokenType:    route.Bind(h.tokens, token.Routes),
	} {
		if tables[name], err = route.NewTable(eps); err != nil {
			return err
		}
	}
	locks := s.lockout(b, h.mounts)
	wrapping, err := wrap.New(ctx, b, s.clock, h.tokens, h.namespaces.Above)
	if err != nil {
		return err
	}
	if err = h.openSettings(ctx); err != nil {
		return err
	}
	if err = h.openQuotas(ctx); err != nil {
		return err
	}
	if err = h.openBackups(ctx); err != nil {
		return err
	}
	if s.raft != nil {
		h.pilot = autopilot.New(b, s.clock)
	}
	if tables[mount.SystemType], err = route.NewTable(h.system(wrapping, locks)); err != nil {
		return err
	}
	h.expiry = expiry.New(expiry.Config{
		Store: b, Clock: s.clock, Log: h.log, Rate: s.config.RevocationRate, Busy: s.inFlight.Any,
		Handlers: map[expiry.Class]expiry.Handler{
			expiry.Token: h.tokens, expiry.Lease: h.leases, expiry.Timer: expiry.TimerHandler(b, h.mounts.Fire),
		},
	})
	h.gate = gate.New(gate.Config{
		Store: b, Clock: s.clock, Log: h.log, Namespaces: h.namespaces, Mounts: h.mounts, Tokens: h.tokens, Leases: h.leases,
		Policies: h.policies, Identity: h.identity, Wrapping: wrapping, Audit: h.audit, Lockout: locks, Quotas: h.quotas,
	})
	if s.replica != nil {
		h.gate.Replica = s.replica
	}
	return nil
}

// start runs the tasks of an unsealed server.
func (h *house) start() {
	ctx, cancel := context.WithCancel(context.Background()) // ends when the house closes
	h.stop = cancel
	for _, t := range []task{{"audit", h.audit.Run}, {"leadership", h.lead}} {
		h.tasks.Go(func() { h.run(ctx, t) })
	}
}

// close takes the house down: no request begins, those that run may end, then
// tasks and nouns end. It returns at once; done waits.
func (h *house) close() {
	if h.gate != nil {
		h.gate.Close()
	}
	h.s.background.Go(func() {
		if h.gate != nil {
			h.gate.Wait()
		}
		if h.stop != nil {
			h.stop()
		}
		h.tasks.Wait()
		for _, noun := range []interface{ Close() }{closer(h.mounts != nil, h.mounts), closer(h.tokens != nil, h.tokens), closer(h.identity != nil, h.identity), closer(h.policies != nil, h.policies), closer(h.settings != nil, h.settings), closer(h.quotas != nil, h.quotas), closer(h.namespaces != nil, h.namespaces), closer(h.backups != nil, h.backups)} {
			if noun != nil {
				noun.Close()
			}
		}
	})
}

func closer[T interface{ Close() }](ok bool, v T) interface{ Close() } {
	if !ok {
		return nil
	}
	return v
}

// forget removes what is kept about a mount that goes.
func forget(tx store.Txn, e *mount.Entry) error {
	if err := lockout.ForgetMount(tx, e.NS, e.Accessor); err != nil {
		return err
	}
	return quota.ForgetMount(tx, e.ID)
}

// leasesOf gives the token noun the lease noun, which is made after it.
type leasesOf struct{ h *house }

func (l leasesOf) EndOwned(tx store.Txn, owner string, limit int) (int, error) {
	return l.h.leases.EndOwned(tx, owner, limit)
}

// engine returns the instance at a mount.
func (h *house) engine(ctx context.Context, id store.MountID) (any, route.Mount, error) {
	return h.mounts.Instance(ctx, id)
}

// method returns the auth method at a mount, as far as it renews.
func (h *house) method(ctx context.Context, id store.MountID) (authn.Renewer, route.Mount, error) {
	instance, m, err := h.mounts.Instance(ctx, id)
	if err != nil {
		return nil, m, err
	}
	r, _ := instance.(authn.Renewer)
	return r, m, nil
}

var (
	_ httpd.Node = (*Server)(nil)
)
