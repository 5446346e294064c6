package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/autopilot"
	"github.com/cofferhq/coffer/internal/backup"
	"github.com/cofferhq/coffer/internal/catalog"
	"github.com/cofferhq/coffer/internal/cluster"
	"github.com/cofferhq/coffer/internal/cluster/membership"
	"github.com/cofferhq/coffer/internal/diag"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/httpd"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/lockout"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/openapi"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/quota"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/settings"
	"github.com/cofferhq/coffer/internal/snapshot"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/tools"
	"github.com/cofferhq/coffer/internal/version"
	"github.com/cofferhq/coffer/internal/wrap"
)

// system are all endpoints below sys/ while the server is unsealed.
func (h *house) system(wrapping *wrap.Store, locks *lockout.Store) []route.Endpoint {
	s := h.s
	var members []route.Endpoint
	if m := s.membership.Load(); m != nil {
		members = slices.Concat(route.Bind(m, membership.Always()), route.Bind(m, membership.Routes()), route.Bind(s.newSnapshots(), snapshot.Routes()), route.Bind(h.backups, backup.Routes))
	}
	if h.pilot != nil {
		members = append(members, route.Bind(h.pilot, autopilot.Routes)...)
	}
	specs := openapi.New(openapi.Config{Version: version.Reported(), Mounts: h.described})
	return slices.Concat(
		s.ceremony.Routes(),
		s.node.Routes(), route.Bind(s.node, cluster.Always), members,
		route.Bind(h.namespaces, namespace.Routes),
		route.Bind(h.mounts, mount.Routes),
		route.Bind(h.leases, lease.Routes),
		route.Bind(h.policies, policy.Routes),
		h.audit.Routes(),
		route.Bind(wrapping, wrap.Routes),
		route.Bind(locks, lockout.Routes),
		route.Bind(tools.New(rand.Reader), tools.Routes("tools/")),
		route.Bind(h.settings, settings.Routes),
		route.Bind(h.quotas, quota.Routes),
		route.Bind(h.diagnosis(), diag.Routes),
		route.Bind(catalog.New(s.plugins(), reloads{h}), catalog.Routes),
		route.Bind(specs, openapi.Routes),
	)
}

// openSettings opens the small settings and notes the version that runs.
func (h *house) openSettings(ctx context.Context) (err error) {
	s := h.s
	h.settings, err = settings.New(ctx, settings.Config{
		Store: h.barrier, Clock: s.clock, Log: h.log, Sanitized: s.config.Sanitized,
		Reload: map[string]func(context.Context) error{"audit": func(context.Context) error { h.audit.Reopen(); return nil }},
	})
	if err != nil {
		return err
	}
	return unlessStandby(h.settings.Record(ctx, version.Reported()))
}

// diagnosis shows what goes on in this process.
func (h *house) diagnosis() *diag.Diag {
	s := h.s
	return diag.New(diag.Config{
		Clock: s.clock, Metrics: s.metrics, Levels: s.levels, Args: os.Args,
		InFlight: func() map[string]diag.Flight {
			all := map[string]diag.Flight{}
			for id, f := range s.inFlight.All() {
				all[id] = diag.Flight(f)
			}
			return all
		},
		Tokens: func(ctx context.Context, _ store.NamespaceID) (int, error) {
			return countRows(ctx, h.barrier, store.KindToken)
		},
		Entities: func(ctx context.Context, _ store.NamespaceID) (int, error) {
			return countRows(ctx, h.barrier, store.KindEntity)
		},
	})
}

// newMetrics counts what can be counted for next to nothing.
func (s *Server) newMetrics() (*diag.Metrics, error) {
	whileUnsealed := func(read func(h *house) float64) func() (float64, bool) {
		return func() (float64, bool) {
			h := s.house.Load()
			if h == nil {
				return 0, false
			}
			return read(h), true
		}
	}
	gauges := []diag.Gauge{
		{Name: "core.unsealed", Help: "1 while the server is unsealed.", Read: func() (float64, bool) { return truth(s.house.Load() != nil), true }},
		{Name: "core.active", Help: "1 while this node leads.", Read: func() (float64, bool) { return truth(s.house.Load() != nil && s.ready() == nil && s.leads()), true }},
		{Name: "expire.queues", Help: "Mounts with leases or timers, and the tokens.", Read: whileUnsealed(func(h *house) float64 { q, _ := h.expiry.Queued(); return float64(q) })},
		{Name: "expire.queues_busy", Help: "Queues that are being worked on.", Read: whileUnsealed(func(h *house) float64 { _, b := h.expiry.Queued(); return float64(b) })},
		{Name: "expire.ended", Help: "Leases, tokens and timers that were seen to since unsealing.", Read: whileUnsealed(func(h *house) float64 { d, _ := h.expiry.Counts(); return float64(d) })},
		{Name: "expire.failures", Help: "Attempts to end a lease that failed since unsealing.", Read: whileUnsealed(func(h *house) float64 { _, f := h.expiry.Counts(); return float64(f) })},
	}
	gauges = append(gauges, s.raftGauges()...)
	m, err := diag.NewMetrics(diag.MetricsConfig{Prefix: cmp.Or(s.config.Telemetry.MetricsPrefix, "vault"), Gauges: append(gauges, s.clusterGauges()...), Families: s.followerGauges()})
	if err != nil {
		return nil, fmt.Errorf("preparing metrics: %w", err)
	}
	return m, nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Observe counts a request.
func (s *Server) Observe(mountType, operation string, status int, took time.Duration) {
	s.metrics.Observe(mountType, operation, status, took)
}

// CORS returns what pages of other origins may do.
func (s *Server) CORS() httpd.CORS {
	h := s.house.Load()
	if h == nil {
		return httpd.CORS{}
	}
	return httpd.CORS(h.settings.CORS())
}

// described are the mounts that a caller may know of, with their tables.
func (h *house) described(ctx context.Context, c *route.Call) ([]openapi.MountInfo, error) {
	known := h.known(ctx, c)
	var list []openapi.MountInfo
	for _, m := range h.mounts.All(c.Namespace.ID) {
		e := m.Entry()
		if m.Routes() == nil || e.Type != mount.SystemType && !(known && h.allowed(ctx, c, e.Path)) {
			continue
		}
		list = append(list, openapi.MountInfo{Path: e.Path, Type: e.Type, Table: m.Routes()})
	}
	return list, nil
}

// plugins are the built-in types, as the catalog shows them.
func (s *Server) plugins() []catalog.Plugin {
	var list []catalog.Plugin
	for _, t := range s.allEngines() {
		if !t.Singleton {
			list = append(list, catalog.Plugin{Type: catalog.Secret, Name: t.Name, Version: mount.RunningVersion})
		}
	}
	for _, t := range s.allMethods() {
		list = append(list, catalog.Plugin{Type: catalog.Auth, Name: t.Name, Version: mount.RunningVersion})
	}
	return append(list, catalog.Plugin{Type: catalog.Database, Name: "postgresql-database-plugin", Version: mount.RunningVersion})
}

// reloads makes mounts begin anew, for the plugin catalog.
type reloads struct{ h *house }

func (r reloads) ReloadType(_ context.Context, c *route.Call, pluginType, name string) (int, error) {
	n := 0
	for _, m := range r.h.mounts.All(c.Namespace.ID) {
		e := m.Entry()
		auth := pluginType == catalog.Auth
		if pluginType != "" && e.Auth() != auth || e.Type != name && !(e.Type == "database" && strings.HasSuffix(name, "-database-plugin")) {
			continue
		}
		m.Restart()
		n++
	}
	return n, nil
}

func (r reloads) ReloadPaths(_ context.Context, c *route.Call, paths []string) error {
	var found []*mount.Mounted
	for _, p := range paths {
		m := r.h.mounts.At(c.Namespace.ID, strings.Trim(p, "/")+"/")
		if m == nil {
			return fault.Newf(fault.NotFound, "no mount at one of the paths")
		}
		found = append(found, m)
	}
	for _, m := range found {
		m.Restart()
	}
	return nil
}

// countRows counts the rows of a table of the root namespace's nouns.
func countRows(ctx context.Context, s store.Store, kind store.Kind) (n int, err error) {
	err = s.View(ctx, func(r store.Reader) error {
		n = 0
		for _, err := range r.Scan(store.Under(store.NewKey(store.RootNamespace, store.System, kind))) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}
