package quota_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/quota"
	"github.com/cofferhq/coffer/internal/store"
)

// put stores the row of a lease.
func (f fixture) put(t *testing.T, ns store.NamespaceID, id string) {
	t.Helper()
	if _, err := f.store.Update(t.Context(), func(tx store.Txn) error { return tx.Put(lease.Under(ns, id), []byte("{}")) }); err != nil {
		t.Error(err)
	}
}

func (f fixture) end(t *testing.T, id string) {
	t.Helper()
	if _, err := f.store.Update(t.Context(), func(tx store.Txn) error { return tx.Delete(lease.Under(1, id)) }); err != nil {
		t.Error(err)
	}
}

// grant makes a lease as the gate does, and reports whether it may.
func (f fixture) grant(t *testing.T, r request, id string) bool {
	t.Helper()
	c := f.call(r)
	release, err := f.noun.Reserve(t.Context(), c)
	if err != nil {
		if !errors.Is(err, fault.RateLimited) || !strings.HasSuffix(fault.Message(err), "lease count quota exceeded") {
			t.Error(err)
		}
		return false
	}
	defer release()
	f.put(t, c.Namespace.ID, r.path+"/"+id)
	return true
}

func (f fixture) grants(t *testing.T, n int, r request) (granted int) {
	t.Helper()
	for i := range n {
		if f.grant(t, r, fmt.Sprintf("%s-%d", r.ns.Path, i)) {
			granted++
		}
	}
	return granted
}

func TestLeasesAreCountedWhereTheyAre(t *testing.T) {
	for _, tc := range []struct {
		name, body string
		req        request
		want       int
	}{
		{"the namespace", `{"max_leases":6}`, request{path: "kv/x"}, 1}, // five are there
		{"the namespace is full", `{"max_leases":5}`, request{path: "kv/x"}, 0},
		{"more than may be are there", `{"max_leases":2}`, request{path: "kv/x"}, 0},
		{"a mount", `{"max_leases":6,"path":"db"}`, request{path: "db/creds/a"}, 2},
		{"a path", `{"max_leases":6,"path":"db/creds/a"}`, request{path: "db/creds/a"}, 4},
		{"a path that looks alike", `{"max_leases":6,"path":"db/creds/a"}`, request{path: "db/creds/ab"}, 10},
		{"a glob", `{"max_leases":6,"path":"db/creds/a*"}`, request{path: "db/creds/ab"}, 3},
		{"a glob of a folder", `{"max_leases":6,"path":"db/creds/*"}`, request{path: "db/creds/ab"}, 2},
		{"tokens of a method", `{"max_leases":2,"path":"auth/jwt"}`, request{path: "auth/jwt/login"}, 1},
		{"another mount", `{"max_leases":1,"path":"kv"}`, request{path: "db/creds/a"}, 10},
		{"another namespace", `{"max_leases":1}`, request{ns: tenant, path: "kv/x"}, 10},
		{"a namespace from above", `{"max_leases":3,"path":"a"}`, request{ns: tenant, path: "kv/x"}, 3},
	} {
		f := setup(t)
		for _, id := range []string{"db/creds/a/1", "db/creds/a/2", "db/creds/ab/1", "db/creds/b/1", "auth/jwt/login/h1"} {
			f.put(t, 1, id)
		}
		f.Write("quotas/lease-count/q", tc.body)
		if got := f.grants(t, 10, tc.req); got != tc.want {
			t.Errorf("%s: %d leases are granted, want %d", tc.name, got, tc.want)
		}
	}
}

func TestALeaseThatEndsLeavesRoom(t *testing.T) {
	f := setup(t)
	f.Write("quotas/lease-count/q", `{"max_leases":3,"path":"db"}`)
	r := request{path: "db/creds/a"}
	if got := f.grants(t, 5, r); got != 3 {
		t.Fatalf("%d leases are granted, want 3", got)
	}
	for i := range 20 {
		f.end(t, fmt.Sprintf("db/creds/a/-%d", 0))
		f.put(t, 1, "db/creds/a/-1") // a renewal is no new lease
		for n, want := range []bool{true, false} {
			if got := f.grant(t, r, fmt.Sprintf("-%d", n*9)); got != want {
				t.Fatalf("round %d, grant %d: got %v, want %v", i, n, got, want)
			}
		}
	}
	want := map[string]any{"counter": 3.0, "max_leases": 3.0, "name": "q", "path": "db/", "role": "", "type": "lease-count", "inheritable": false}
	for name, v := range f.Read("quotas/lease-count/q").Map(t) {
		if want[name] != v {
			t.Errorf("%s: got %v, want %v", name, v, want[name])
		}
		delete(want, name)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

func TestAReservationThatComesToNothingLeavesRoom(t *testing.T) {
	f := setup(t)
	f.Write("quotas/lease-count/q", `{"max_leases":2,"path":"db"}`)
	r := request{path: "db/creds/a"}
	var held []func()
	for range 2 {
		release, err := f.noun.Reserve(t.Context(), f.call(r))
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, release)
	}
	held[0]()
	held[1]()
	if got := f.grants(t, 5, r); got != 2 {
		t.Errorf("%d leases are granted, want 2", got)
	}
}

func TestNoMoreLeasesThanTheQuotaAtOnce(t *testing.T) {
	f := setup(t)
	const limit = 100
	f.Write("quotas/lease-count/q", fmt.Sprintf(`{"max_leases":%d,"path":"db"}`, limit))
	f.Write("quotas/lease-count/narrow", `{"max_leases":30,"path":"db/creds/narrow"}`)
	var granted, ended atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 60 {
				id := fmt.Sprintf("%d-%d", g, i)
				if !f.grant(t, request{path: "db/creds/a"}, id) {
					continue
				}
				if n := granted.Add(1) - ended.Load(); n > limit {
					t.Errorf("%d leases, want at most %d", n, limit)
				}
				if i%3 == 0 {
					ended.Add(1)
					f.end(t, "db/creds/a/"+id)
				}
			}
		})
	}
	wg.Wait()
	for i := range limit { // those refused while others were being granted
		if f.grant(t, request{path: "db/creds/a"}, fmt.Sprintf("rest-%d", i)) {
			granted.Add(1)
		}
	}
	if got := granted.Load() - ended.Load(); got != limit {
		t.Errorf("%d leases in the end, want %d", got, limit)
	}
}

func TestAnotherLeaderCountsTheSame(t *testing.T) {
	f := setup(t)
	f.Write("quotas/lease-count/q", `{"max_leases":4,"path":"db"}`)
	second := f
	second.noun = open(t, f.store, f.clock)
	if got := f.grants(t, 2, request{path: "db/creds/a"}); got != 2 {
		t.Fatalf("%d leases are granted, want 2", got)
	}
	for _, s := range []*quota.Store{second.noun, open(t, f.store, f.clock)} {
		g := f
		g.noun = s
		if got := g.grants(t, 5, request{path: "db/creds/b"}); got > 2 {
			t.Errorf("%d leases more are granted, want at most 2", got)
		}
	}
	if got := f.Read("quotas/lease-count/q").Map(t)["counter"]; got != 4.0 {
		t.Errorf("there are %v leases, want 4", got)
	}
}
