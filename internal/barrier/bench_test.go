package barrier_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/store"
)

// forgetful is a store that keeps nothing of what it is told to write.
type forgetful struct{ store.Store }

func (f forgetful) Update(_ context.Context, fn func(store.Txn) error) (store.Index, error) {
	return 0, fn(forgetfulTxn{})
}

type forgetfulTxn struct{ store.Txn }

func (forgetfulTxn) Put(store.Key, []byte) error { return nil }

func BenchmarkPut(b *testing.B) {
	_, inner, root, _ := fixture(b)
	br := open(b, forgetful{inner}, root, barrier.Config{ClusterID: "cluster-a"})
	value := bytes.Repeat([]byte("x"), 256)
	b.ReportAllocs()
	_, _ = br.Update(b.Context(), func(txn store.Txn) error {
		k := key("a")
		for b.Loop() {
			if err := txn.Put(k, value); err != nil {
				b.Fatal(err)
			}
		}
		return nil
	})
}

func BenchmarkGet(b *testing.B) {
	br, _, _, _ := fixture(b)
	put(b, br, key("a"), bytes.Repeat([]byte("x"), 256))
	b.ReportAllocs()
	_ = br.View(b.Context(), func(r store.Reader) error {
		k := key("a")
		for b.Loop() {
			if _, err := r.Get(k); err != nil {
				b.Fatal(err)
			}
		}
		return nil
	})
}

// BenchmarkWatched is a commit of ten rows with a watcher, against one without.
func BenchmarkWatched(b *testing.B) {
	for name, watch := range map[string]bool{"watched": true, "unwatched": false} {
		b.Run(name, func(b *testing.B) {
			br, _, _, _ := fixture(b)
			if watch {
				defer br.Watch(func(store.Commit) {})()
			}
			value := bytes.Repeat([]byte("x"), 256)
			b.ReportAllocs()
			for b.Loop() {
				_, _ = br.Update(b.Context(), func(txn store.Txn) error {
					for i := range 10 {
						if err := txn.Put(key(string(rune('a'+i))), value); err != nil {
							return err
						}
					}
					return nil
				})
			}
		})
	}
}
