package raft_test

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/raft"
)

// TestKeptRowsAreThoseOfTheSnapshot writes a handful of rows, all of them or
// none, as quickly as it can, while others look at them: whoever looks sees all
// rows of one commit, twice the same, and never less than was acknowledged
// before.
func TestKeptRowsAreThoseOfTheSnapshot(t *testing.T) {
	s := open(t, small(t.TempDir()))
	const rounds, keys = 300, 7
	key := func(i int) store.Key { return store.NewKey(1, 2, 3, strconv.Itoa(i)) }
	var mu sync.Mutex
	acknowledged := 0 // guarded by mu
	done := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() {
		defer close(done)
		for round := 1; round <= rounds; round++ {
			_, err := s.Update(t.Context(), func(tx store.Txn) error {
				for i := range keys {
					// Every third round there are no rows at all.
					if round%3 == 0 {
						if err := tx.Delete(key(i)); err != nil {
							return err
						}
					} else if err := tx.Put(key(i), []byte(strconv.Itoa(round))); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			acknowledged = round
			mu.Unlock()
		}
	})
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				mu.Lock()
				atLeast := acknowledged
				mu.Unlock()
				if err := s.View(t.Context(), func(r store.Reader) error { return sameRound(r, key, keys, atLeast) }); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// sameRound reads the rows twice.
func sameRound(r store.Reader, key func(int) store.Key, keys, atLeast int) error {
	first := ""
	for i := range 2 * keys {
		value, err := r.Get(key(i % keys))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if i == 0 {
			first = string(value)
		}
		if string(value) != first {
			return fmt.Errorf("row %d is of round %q, the first of %q", i, value, first)
		}
	}
	round, _ := strconv.Atoi(first) // no rows: a third round, whichever
	if first == "" && atLeast%3 != 0 || first != "" && round < atLeast {
		if first == "" {
			return nil // a later third round
		}
		return fmt.Errorf("round %d was seen after %d was acknowledged", round, atLeast)
	}
	return nil
}

func TestRowsAreKeptWithinBounds(t *testing.T) {
	s := open(t, small(t.TempDir()))
	value := make([]byte, 3000)
	for i := range 40 {
		_, err := s.Update(t.Context(), func(tx store.Txn) error {
			for j := range 200 {
				if err := tx.Put(store.NewKey(1, 2, 3, fmt.Sprint(i, j)), value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		err := s.View(t.Context(), func(r store.Reader) error {
			for i := range 40 {
				for j := range 200 {
					if got, err := r.Get(store.NewKey(1, 2, 3, fmt.Sprint(i, j))); err != nil || len(got) != len(value) {
						return fmt.Errorf("row %d %d: %d bytes, error %w", i, j, len(got), err)
					}
					if _, err := r.Get(store.NewKey(1, 2, 4, fmt.Sprint(i, j))); !errors.Is(err, store.ErrNotFound) {
						return fmt.Errorf("a row that is not there: error %w", err)
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if size, most := raft.KeptRows(s); size == 0 || size > most {
		t.Errorf("%d bytes are kept, at most %d should be", size, most)
	}
}
