package storetest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// interleave runs fn in a transaction whose first attempt is overtaken by
// other, after fn and before the commit. It returns how often fn was called.
func interleave(t *testing.T, s store.Store, fn func(store.Txn) error, other func()) int {
	t.Helper()
	attempts := 0
	_, err := s.Update(t.Context(), func(txn store.Txn) error {
		attempts++
		if err := fn(txn); err != nil {
			return err
		}
		if attempts == 1 {
			other()
		}
		return nil
	})
	if err != nil {
		t.Errorf("Update: %v", err)
	}
	return attempts
}

func testKeyConflict(t *testing.T, s store.Store) {
	put(t, s, key("n"), "1")
	attempts := interleave(t, s, func(txn store.Txn) error {
		n, err := strconv.Atoi(get(t, txn, key("n")))
		if err != nil {
			return err
		}
		return txn.Put(key("n"), []byte(strconv.Itoa(n+1)))
	}, func() { put(t, s, key("n"), "10") })
	if got := read(t, s, key("n")); got != "11" || attempts != 2 {
		t.Errorf("row is %s after %d attempts, want 11 after 2", got, attempts)
	}
}

func testNoFalseConflict(t *testing.T, s store.Store) {
	put(t, s, key("n"), "1")
	attempts := interleave(t, s, func(txn store.Txn) error {
		get(t, txn, key("n"))
		return txn.Put(key("m"), nil)
	}, func() {
		put(t, s, key("other"), "1")
		put(t, s, key("m"), "overwritten blindly")
	})
	if got := read(t, s, key("m")); got != "" || attempts != 1 {
		t.Errorf("row is %q after %d attempts, want it empty after 1", got, attempts)
	}
}

func testAbsentConflict(t *testing.T, s store.Store) {
	for _, test := range []struct {
		name  string
		other func()
	}{
		{"appears", func() { put(t, s, key("once"), "taken") }},
		{"vanishes", func() { remove(t, s, key("once")) }},
	} {
		attempts := interleave(t, s, func(txn store.Txn) error {
			return txn.Put(key("saw"), []byte(get(t, txn, key("once"))))
		}, test.other)
		if got, want := read(t, s, key("saw")), read(t, s, key("once")); got != want || attempts != 2 {
			t.Errorf("%s: the transaction saw %q where %q is, after %d attempts", test.name, got, want, attempts)
		}
	}
}

// testWriteSkewKeys is the two doctors on call: each may leave if the other
// stays.
func testWriteSkewKeys(t *testing.T, s store.Store) {
	doctors := []store.Key{key("alice"), key("bob")}
	for range 50 {
		for _, d := range doctors {
			put(t, s, d, "on call")
		}
		var wg sync.WaitGroup
		for i := range doctors {
			wg.Go(func() {
				_, err := s.Update(t.Context(), func(txn store.Txn) error {
					if get(t, txn, doctors[1-i]) != "on call" {
						return nil
					}
					return txn.Put(doctors[i], []byte("off"))
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			})
		}
		wg.Wait()
		if read(t, s, doctors[0]) == "off" && read(t, s, doctors[1]) == "off" {
			t.Fatal("both left, each having seen the other on call")
		}
	}
}

// testWriteSkewRanges has every goroutine add a row only if the table is
// empty: one must win.
func testWriteSkewRanges(t *testing.T, s store.Store) {
	for round := range 50 {
		table := key("table", fmt.Sprint(round))
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				_, err := s.Update(t.Context(), func(txn store.Txn) error {
					if len(scan(t, txn, store.Under(table))) > 0 {
						return nil
					}
					return txn.Put(table.Append(fmt.Sprint(i)), nil)
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			})
		}
		wg.Wait()
		view(t, s, func(r store.Reader) {
			if rows := scan(t, r, store.Under(table)); len(rows) != 1 {
				t.Errorf("rows %q, want one", rows)
			}
		})
	}
}

func testPhantoms(t *testing.T, s store.Store) {
	for _, test := range []struct {
		name  string
		other func()
	}{
		{"a row appears", func() { put(t, s, key("045"), "phantom") }},
		{"a row changes", func() { put(t, s, key("04"), "phantom") }},
		{"a row vanishes", func() { remove(t, s, key("04")) }},
		{"a row vanishes and another appears", func() { remove(t, s, key("04")); put(t, s, key("041"), "04") }},
		{"a row appears at the end", func() { put(t, s, key("99"), "phantom") }},
		{"a row appears at the beginning", func() { put(t, s, key("0"), "phantom") }},
		{"a row is put again as it was", func() { put(t, s, key("04"), "04") }},
	} {
		for _, reverse := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, reverse %t", test.name, reverse), func(t *testing.T) {
				for _, extra := range []string{"0", "045", "041", "99"} {
					remove(t, s, key(extra))
				}
				fill(t, s, 10)
				attempts := interleave(t, s, func(txn store.Txn) error {
					scan(t, txn, store.Range{Start: all.Start, End: all.End, Reverse: reverse})
					return txn.Put(store.NewKey(2, 1, 1), nil)
				}, test.other)
				if attempts != 2 {
					t.Errorf("the transaction ran %d times, want 2", attempts)
				}
			})
		}
	}
}

func testScanExtent(t *testing.T, s store.Store) {
	ranges := map[string]store.Range{
		"limited":          {Start: key("03"), End: all.End, Limit: 3},
		"bounded":          {Start: key("03"), End: key("06")},
		"limited, reverse": {Start: all.Start, End: key("06"), Limit: 3, Reverse: true},
	}
	for name, rg := range ranges {
		for _, breakOff := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, broken off %t", name, breakOff), func(t *testing.T) {
				fill(t, s, 10)
				if breakOff {
					rg.Limit = 0
				}
				look := func(txn store.Txn) error {
					n := 0
					for _, err := range txn.Scan(rg) {
						if err != nil {
							return err
						}
						if n++; n == 3 && breakOff {
							break
						}
					}
					return txn.Put(store.NewKey(2, 1, 1), nil)
				}
				if attempts := interleave(t, s, look, func() {
					put(t, s, key("02"), "outside")
					put(t, s, key("07"), "outside")
				}); attempts != 1 {
					t.Errorf("changes outside made the transaction run %d times", attempts)
				}
				for _, inside := range []string{"03", "04", "05"} {
					if attempts := interleave(t, s, look, func() { put(t, s, key(inside), "inside") }); attempts != 2 {
						t.Errorf("a change of %s made the transaction run %d times, want 2", inside, attempts)
					}
				}
			})
		}
	}
}

func increment(txn store.Txn, k store.Key) error {
	var n uint64
	value, err := txn.Get(k)
	switch {
	case err == nil:
		n = binary.BigEndian.Uint64(value)
	case !errors.Is(err, fault.NotFound):
		return err
	}
	return txn.Put(k, binary.BigEndian.AppendUint64(nil, n+1))
}

func testCounters(t *testing.T, s store.Store) {
	const workers, rounds = 16, 50
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for range rounds {
				_, err := s.Update(t.Context(), func(txn store.Txn) error {
					return errors.Join(increment(txn, key("hot")), increment(txn, key("own", fmt.Sprint(w))))
				})
				if err != nil {
					t.Errorf("Update: %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	view(t, s, func(r store.Reader) {
		if got := binary.BigEndian.Uint64([]byte(get(t, r, key("hot")))); got != workers*rounds {
			t.Errorf("the shared counter is %d, want %d", got, workers*rounds)
		}
		for w := range workers {
			if got := binary.BigEndian.Uint64([]byte(get(t, r, key("own", fmt.Sprint(w))))); got != rounds {
				t.Errorf("counter %d is %d, want %d", w, got, rounds)
			}
		}
	})
}

func testTransfers(t *testing.T, s store.Store) {
	const accounts, workers, rounds = 8, 8, 40
	fill(t, s, 0)
	for i := range accounts {
		put(t, s, key(fmt.Sprint(i)), "100")
	}
	sum := func(r store.Reader) int {
		total := 0
		for e, err := range r.Scan(all) {
			if err != nil {
				t.Errorf("Scan: %v", err)
				return -1
			}
			n, _ := strconv.Atoi(string(e.Value))
			total += n
		}
		return total
	}
	done := make(chan struct{})
	var readers, writers sync.WaitGroup
	readers.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			view(t, s, func(r store.Reader) {
				if got := sum(r); got != accounts*100 {
					t.Errorf("a view sees the sum %d", got)
				}
			})
		}
	})
	for w := range workers {
		writers.Go(func() {
			for i := range rounds {
				from, to := key(fmt.Sprint((w+i)%accounts)), key(fmt.Sprint((w*3+i*5+1)%accounts))
				if from == to {
					continue
				}
				_, err := s.Update(t.Context(), func(txn store.Txn) error {
					a, _ := strconv.Atoi(get(t, txn, from))
					b, _ := strconv.Atoi(get(t, txn, to))
					return errors.Join(txn.Put(from, []byte(strconv.Itoa(a-1))), txn.Put(to, []byte(strconv.Itoa(b+1))))
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	view(t, s, func(r store.Reader) {
		if got := sum(r); got != accounts*100 {
			t.Errorf("the sum is %d after all, want %d", got, accounts*100)
		}
	})
}
