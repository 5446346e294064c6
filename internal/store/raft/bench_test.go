package raft_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/raft"
)

func row(i int) store.Key { return store.NewKey(1, 2, 3, fmt.Sprintf("%08d", i)) }

// load puts n rows of 200 bytes.
func load(t testing.TB, s *raft.Store, n int) {
	t.Helper()
	for start := 0; start < n; start += 1000 {
		_, err := s.Update(t.Context(), func(txn store.Txn) error {
			for i := start; i < min(n, start+1000); i++ {
				if err := txn.Put(row(i), make([]byte, 200)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// cpu returns the processor time that this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkUpdate reads and writes one of 100,000 rows per transaction, on a
// real disk.
func BenchmarkUpdate(b *testing.B) {
	for _, workers := range []int{1, 8, 32, 128} {
		b.Run(fmt.Sprintf("%d", workers), func(b *testing.B) {
			s := open(b, raft.Config{Path: b.TempDir()})
			load(b, s, 100_000)
			var left atomic.Int64
			left.Store(int64(b.N))
			value := make([]byte, 200)
			b.ResetTimer()
			began := cpu()
			var wg sync.WaitGroup
			for range workers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						k := row(rand.IntN(100_000))
						_, err := s.Update(b.Context(), func(txn store.Txn) error {
							if _, err := txn.Get(k); err != nil {
								return err
							}
							return txn.Put(k, value)
						})
						if err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64((cpu()-began).Microseconds())/float64(b.N), "cpu-us/op")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "txn/s")
		})
	}
}

// BenchmarkViewGet reads rows of a store of 100,000: any of them, or the same
// thousand again and again.
func BenchmarkViewGet(b *testing.B) {
	s := open(b, raft.Config{Path: b.TempDir()})
	load(b, s, 100_000)
	for name, among := range map[string]int{"cold": 100_000, "hot": 1000} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					err := s.View(b.Context(), func(r store.Reader) error {
						_, err := r.Get(row(rand.IntN(among)))
						return err
					})
					if err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func BenchmarkViewScan10(b *testing.B) {
	s := open(b, raft.Config{Path: b.TempDir()})
	load(b, s, 100_000)
	b.ResetTimer()
	for b.Loop() {
		err := s.View(b.Context(), func(r store.Reader) error {
			for _, err := range r.Scan(store.Range{Start: row(rand.IntN(90_000)), Limit: 10}) {
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Error(err)
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	s := open(b, raft.Config{Path: dir})
	load(b, s, 100_000)
	_ = s.Close()
	b.ResetTimer()
	for b.Loop() {
		s := open(b, raft.Config{Path: dir})
		b.StopTimer()
		_ = s.Close()
		b.StartTimer()
	}
}
