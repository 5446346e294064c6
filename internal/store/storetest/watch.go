package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/store"
)

// testWatchOrder rebuilds the state from the feed alone, under load.
func testWatchOrder(t *testing.T, s store.Store) {
	const workers, rounds = 8, 40
	var last store.Index
	rebuilt := map[store.Key]string{}
	commits := 0
	stop := s.Watch(func(c store.Commit) { // one commit at a time: no lock
		if c.Index <= last {
			t.Errorf("commit %d came after %d", c.Index, last)
		}
		last = c.Index
		commits++
		for _, change := range c.Changes {
			if change.Value == nil {
				delete(rebuilt, change.Key)
			} else {
				rebuilt[change.Key] = string(change.Value)
			}
		}
	})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := range rounds {
				_, err := s.Update(t.Context(), func(txn store.Txn) error {
					return errors.Join(increment(txn, key("shared", fmt.Sprint(i%3))),
						txn.Put(key("own", fmt.Sprint(w)), []byte(fmt.Sprint(i))),
						txn.Delete(key("own", fmt.Sprint((w+i)%workers))))
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	stop()
	if commits != workers*rounds {
		t.Errorf("the watcher saw %d commits, want %d", commits, workers*rounds)
	}
	stored := map[store.Key]string{}
	view(t, s, func(r store.Reader) {
		for e, err := range r.Scan(store.Range{}) {
			if err != nil {
				t.Errorf("Scan: %v", err)
				return
			}
			stored[e.Key] = string(e.Value)
		}
	})
	if diff := cmp.Diff(stored, rebuilt); diff != "" {
		t.Errorf("the state rebuilt from the feed differs (-stored +rebuilt):\n%s", diff)
	}
}

func testWatchSynchronous(t *testing.T, s store.Store) {
	var seen store.Index
	stop := s.Watch(func(c store.Commit) {
		seen = c.Index
		// A watcher may look at the store, which has the commit.
		if got := read(t, s, c.Changes[0].Key); got != string(c.Changes[0].Value) {
			t.Errorf("inside the watcher the row is %q, want %q", got, c.Changes[0].Value)
		}
	})
	defer stop()
	for i := range 20 {
		if index := put(t, s, key("a"), fmt.Sprint(i)); seen != index {
			t.Errorf("Update returned index %d while the watcher had seen %d", index, seen)
		}
	}
}

func testWatchChanges(t *testing.T, s store.Store) {
	put(t, s, key("gone"), "x")
	var commits [][]string
	record := func(c store.Commit) {
		if c.Reset {
			t.Error("a reset without reason")
		}
		rows := []string{}
		for _, change := range c.Changes {
			row := change.Key.Last() + "=" + string(change.Value)
			if change.Value == nil {
				row = change.Key.Last() + " removed"
			}
			rows = append(rows, row)
		}
		commits = append(commits, rows)
	}
	var second int
	stop := s.Watch(record)
	defer stop()
	defer s.Watch(func(store.Commit) { second++ })()
	_, err := s.Update(t.Context(), func(txn store.Txn) error {
		return errors.Join(txn.Put(key("z"), []byte("1")), txn.Put(key("b"), []byte("2")), txn.Delete(key("gone")),
			txn.Put(key("b"), []byte("3")))
	})
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
	put(t, s, key("z"), "4")
	want := [][]string{{"b=3", "gone removed", "z=1"}, {"z=4"}}
	if diff := cmp.Diff(want, commits); diff != "" {
		t.Errorf("changes (-want +got):\n%s", diff)
	}
	if second != 2 {
		t.Errorf("the second watcher was called %d times, want 2", second)
	}
}

func testWatchStop(t *testing.T, s store.Store) {
	var first, second int
	var stopFirst func()
	stopFirst = s.Watch(func(store.Commit) {
		first++
		stopFirst() // from within is allowed
	})
	stopSecond := s.Watch(func(store.Commit) { second++ })
	put(t, s, key("a"), "1")
	put(t, s, key("a"), "2")
	stopSecond()
	stopSecond()
	put(t, s, key("a"), "3")
	if first != 1 || second != 2 {
		t.Errorf("watchers were called %d and %d times, want 1 and 2", first, second)
	}
}
