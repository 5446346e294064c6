package mem_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/store/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return mem.New() })
}

func TestReaderOfAClosedStoreIsUnavailable(t *testing.T) {
	s := mem.New()
	_ = s.View(t.Context(), func(r store.Reader) error {
		_ = s.Close()
		if _, err := r.Get("k"); !errors.Is(err, fault.Unavailable) {
			t.Errorf("Get: %v, want unavailable", err)
		}
		return nil
	})
}

func loaded(b *testing.B, rows int) *mem.Store {
	s := mem.New()
	_, err := s.Update(b.Context(), func(txn store.Txn) error {
		for i := range rows {
			if err := txn.Put(row(i), []byte("v")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	return s
}

func row(i int) store.Key { return store.NewKey(1, 2, 3, fmt.Sprintf("%08d", i)) }

func BenchmarkGet(b *testing.B) {
	s := loaded(b, 500_000)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			err := s.View(b.Context(), func(r store.Reader) error {
				_, err := r.Get(row(rand.IntN(500_000)))
				return err
			})
			if err != nil {
				b.Error(err)
			}
		}
	})
}

func BenchmarkUpdate(b *testing.B) {
	s := loaded(b, 500_000)
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			_, err := s.Update(b.Context(), func(txn store.Txn) error {
				k := row(int(next.Add(1)) * 7919 % 500_000)
				if _, err := txn.Get(k); err != nil {
					return err
				}
				return txn.Put(k, []byte("w"))
			})
			if err != nil {
				b.Error(err)
			}
		}
	})
}
