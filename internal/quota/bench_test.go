package quota_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/quota"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

// prepared is the noun with one quota.
func prepared(b *testing.B, path, body string) (*quota.Store, store.Store) {
	b.Helper()
	st := mem.New()
	b.Cleanup(func() { _ = st.Close() })
	s, err := quota.New(b.Context(), quota.Config{
		Store: st, Clock: clock.NewFake(time.Time{}), Log: slog.New(slog.DiscardHandler), Place: place, Leases: lease.Under,
		Mount: func(id store.MountID) (route.Mount, bool) { m, ok := mounts[id]; return m, ok },
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.Close)
	table, err := route.NewTable(quota.Routes)
	if err != nil {
		b.Fatal(err)
	}
	var m route.Match
	e, _ := table.Find(route.VerbWrite, path, &m)
	c := &route.Call{Namespace: root, Verb: route.VerbWrite, Path: path}
	if c.Body, err = wire.ParseObject([]byte(body), wire.DefaultLimits); err != nil {
		b.Fatal(err)
	}
	c.SetMatch(&m, e)
	if _, err := e.Handle(context.Background(), s, c); err != nil {
		b.Fatal(err)
	}
	return s, st
}

// BenchmarkCheck is what a rate limit costs a request.
func BenchmarkCheck(b *testing.B) {
	s, _ := prepared(b, "quotas/rate-limit/q", `{"rate":1000000000}`)
	c := &route.Call{Namespace: root, Full: "kv/data/x", Path: "data/x", Mount: mounts[1], Remote: netip.MustParseAddr("192.0.2.1"), Now: clock.NewFake(time.Time{}).Now()}
	b.ReportAllocs()
	for b.Loop() {
		x := s.Rates().Check(c, false)
		if err := x.Arrive(false); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReserve is what a lease-count quota costs a lease: far from the
// limit, and at it, where each lease that ends makes room for one.
func BenchmarkReserve(b *testing.B) {
	for _, tc := range []struct {
		name         string
		limit, there int
	}{{"far", 1_000_000, 10_000}, {"at", 10_000, 10_000}} {
		b.Run(tc.name, func(b *testing.B) {
			s, st := prepared(b, "quotas/lease-count/q", fmt.Sprintf(`{"max_leases":%d,"path":"db"}`, tc.limit))
			key := func(i int) store.Key { return lease.Under(1, fmt.Sprintf("db/creds/a/%d", i)) }
			if _, err := st.Update(b.Context(), func(tx store.Txn) error {
				for i := range tc.there {
					if err := tx.Put(key(i), nil); err != nil {
						return err
					}
				}
				return nil
			}); err != nil {
				b.Fatal(err)
			}
			c := &route.Call{Namespace: root, Full: "db/creds/a", Path: "creds/a", Mount: mounts[2]}
			for i := 0; b.Loop(); i++ {
				if _, err := st.Update(b.Context(), func(tx store.Txn) error { return tx.Delete(key(i)) }); err != nil {
					b.Fatal(err)
				}
				release, err := s.Reserve(b.Context(), c)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := st.Update(b.Context(), func(tx store.Txn) error { return tx.Put(key(tc.there+i), nil) }); err != nil {
					b.Fatal(err)
				}
				release()
			}
		})
	}
}
