package token_test

import (
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
)

// ordinary is a token as most are.
func ordinary(ttl time.Duration) token.Entry {
	return token.Entry{NS: store.RootNamespace, Policies: []string{"default"}, Path: "auth/token/create", DisplayName: "token", TTL: ttl, Type: token.Service, Renewable: true}
}

// BenchmarkCreate makes a token with its accessor, its lease and its end, over a
// store in memory: what is left beside the disk.
func BenchmarkCreate(b *testing.B) {
	w := newWorld(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := w.Create(b.Context(), ordinary(time.Hour), "", nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkExpire ends tokens in batches, as the scheduler hands them out; the
// time is that of one token.
func BenchmarkExpire(b *testing.B) {
	const batch = 128
	w := newWorld(b)
	b.ReportAllocs()
	for ended := 0; b.Loop(); ended++ {
		if ended%batch != 0 {
			continue
		}
		b.StopTimer()
		items := make([]expiry.Item, batch)
		w.update(func(tx store.Txn) error {
			for i := range items {
				e, _, err := w.Insert(tx, ordinary(time.Second))
				if err != nil {
					return err
				}
				items[i] = expiry.Item{Queue: store.System, Class: expiry.Token, ID: e.Handle, At: e.Expires}
			}
			return nil
		})
		w.clock.Advance(2 * time.Second)
		b.StartTimer()
		if err := w.ExpireBatch(b.Context(), items); err != nil {
			b.Fatal(err)
		}
	}
}
