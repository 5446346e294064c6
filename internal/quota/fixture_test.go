package quota_test

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/quota"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
)

// mounts are those of the tests, by id; the namespace a/ has the id 2.
var mounts = map[store.MountID]route.Mount{
	1: {ID: 1, Namespace: 1, Path: "kv/"},
	2: {ID: 2, Namespace: 1, Path: "db/"},
	3: {ID: 3, Namespace: 1, Path: "auth/jwt/", Auth: true},
	4: {ID: 4, Namespace: 1, Path: "auth/userpass/", Auth: true},
	5: {ID: 5, Namespace: 2, Path: "kv/"},
}

func resolve(ns store.NamespaceID, path string) (m route.Mount, rest string, ok bool) {
	for _, m := range mounts {
		if rest, ok := strings.CutPrefix(path+"/", m.Path); ok && m.Namespace == ns {
			return m, strings.TrimSuffix(rest, "/"), true
		}
	}
	return m, "", false
}

var (
	root   = route.Namespace{ID: 1}
	tenant = route.Namespace{ID: 2, Path: "a/", UUID: "2"}
)

func place(_ context.Context, ns route.Namespace, path string) (quota.Place, error) {
	if rest, ok := strings.CutPrefix(strings.TrimSuffix(path, "/")+"/", "a/"); ok && ns.ID == root.ID {
		if ns = tenant; rest == "" {
			return quota.Place{Namespace: ns.Path, NS: ns.ID}, nil
		}
		path = strings.TrimPrefix(path, "a/")
	}
	m, rest, ok := resolve(ns.ID, path)
	if !ok {
		return quota.Place{}, fault.New(fault.Invalid, "no mount there")
	}
	return quota.Place{Namespace: ns.Path, NS: ns.ID, Mount: m.ID, Rest: rest}, nil
}

// fixture is the noun with its routes.
type fixture struct {
	*enginetest.Mount
	noun  *quota.Store
	store store.Store
	clock *clock.Fake
}

func open(t *testing.T, st store.Store, clk clock.Clock) *quota.Store {
	t.Helper()
	s, err := quota.New(t.Context(), quota.Config{
		Store: st, Clock: clk, Log: slog.New(slog.DiscardHandler), Place: place, Leases: lease.Under,
		Mount:     func(id store.MountID) (route.Mount, bool) { m, ok := mounts[id]; return m, ok },
		TellsRole: func(id store.MountID) bool { return id == 3 },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func setup(t *testing.T) fixture {
	t.Helper()
	st := mem.New()
	t.Cleanup(func() { _ = st.Close() })
	f := fixture{store: st, clock: clock.NewFake(time.Time{})}
	f.noun = open(t, st, f.clock)
	f.Mount = enginetest.New(t, quota.Routes, func(engine.Host) (any, error) { return f.noun, nil })
	return f
}

// request is one that rate limits look at.
type request struct {
	ns     route.Namespace
	path   string
	ip     string
	token  bool
	entity string
	login  bool
	role   string
}

// call makes the call of a request.
func (f fixture) call(r request) *route.Call {
	if r.ns.ID == 0 {
		r.ns = root
	}
	if r.ip == "" {
		r.ip = "192.0.2.1"
	}
	c := &route.Call{Namespace: r.ns, Full: r.path, Remote: netip.MustParseAddr(r.ip), Now: f.clock.Now()}
	for _, m := range mounts {
		if rest, ok := strings.CutPrefix(r.path, m.Path); ok && m.Namespace == r.ns.ID {
			c.Mount, c.Path = m, rest
		}
	}
	return c
}

// send takes a request past the rate limits as the gate does.
func (f fixture) send(r request) (*quota.Check, error) {
	x := f.noun.Rates().Check(f.call(r), r.login)
	if err := x.Arrive(!r.token); err != nil {
		return x, err
	}
	if r.token {
		if err := x.Entity(r.entity); err != nil {
			return x, err
		}
	}
	if x.NeedsRole() {
		return x, x.Role(r.role)
	}
	return x, nil
}

// passes counts how many of n requests pass.
func (f fixture) passes(t *testing.T, n int, r request) int {
	t.Helper()
	passed := 0
	for range n {
		_, err := f.send(r)
		switch {
		case err == nil:
			passed++
		case !errors.Is(err, fault.RateLimited):
			t.Fatal(err)
		}
	}
	return passed
}

// writeIn writes a quota inside the tenant's namespace.
func (f fixture) writeIn(t *testing.T, ns route.Namespace, path, body string) {
	t.Helper()
	table, err := route.NewTable(quota.Routes)
	if err != nil {
		t.Fatal(err)
	}
	var m route.Match
	e, _ := table.Find(route.VerbWrite, path, &m)
	c := &route.Call{Namespace: ns, Verb: route.VerbWrite, Path: path, Now: f.clock.Now(), Body: object(t, body)}
	c.SetMatch(&m, e)
	if _, err := e.Handle(t.Context(), f.noun, c); err != nil {
		t.Fatal(err)
	}
}

const maxClients = quota.MaxClients
