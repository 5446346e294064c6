package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/store"
)

// model is the contract as simply as it can be said.
type model map[store.Key]string

func (m model) scan(rg store.Range) []store.Entry {
	keys := []store.Key{}
	for k := range m {
		if rg.Contains(k) {
			keys = append(keys, k)
		}
	}
	sort.Slice(keys, func(i, j int) bool { return keys[i] < keys[j] })
	if rg.Reverse {
		slices.Reverse(keys)
	}
	if rg.Limit > 0 && len(keys) > rg.Limit {
		keys = keys[:rg.Limit]
	}
	entries := []store.Entry{}
	for _, k := range keys {
		entries = append(entries, store.Entry{Key: k, Value: []byte(m[k])})
	}
	return entries
}

var errRollback = errors.New("rolled back on purpose")

// testModel runs random transactions against the store and the model, and
// compares every read.
func testModel(t *testing.T, s store.Store) {
	rng := rand.New(rand.NewPCG(20260102, 1))
	committed := model{}
	for step := range 400 {
		pending := model{}
		_, err := s.Update(t.Context(), func(txn store.Txn) error {
			clear(pending)
			for k, v := range committed {
				pending[k] = v
			}
			for op := range 1 + rng.IntN(12) {
				if err := randomOperation(t, rng, txn, pending, fmt.Sprintf("%d.%d", step, op)); err != nil {
					return err
				}
			}
			if rng.IntN(5) == 0 {
				return errRollback
			}
			return nil
		})
		switch {
		case err == nil:
			committed = pending
		case !errors.Is(err, errRollback):
			t.Fatalf("step %d: Update: %v", step, err)
		}
		if t.Failed() {
			t.Fatalf("stopped at step %d", step)
		}
		if step%20 == 0 {
			view(t, s, func(r store.Reader) {
				for range 10 {
					compareScan(t, r, committed, randomRange(rng))
				}
				compareScan(t, r, committed, store.Range{})
			})
		}
	}
}

// randomKey has parts that need escaping and that are prefixes of each other.
func randomKey(rng *rand.Rand) store.Key {
	parts := []string{"a", "a\x00", "a\x00\xff", "b", "", "\xff", "ab", "zz"}
	k := store.NewKey(store.NamespaceID(1+rng.IntN(2)), store.MountID(rng.IntN(2)), store.Kind(rng.IntN(2)))
	for range rng.IntN(3) {
		k = k.Append(parts[rng.IntN(len(parts))])
	}
	return k
}

func randomRange(rng *rand.Rand) store.Range {
	rg := store.Range{Start: randomKey(rng), End: randomKey(rng), Reverse: rng.IntN(2) == 0, Limit: rng.IntN(6)}
	if rg.Start > rg.End && rng.IntN(8) > 0 {
		rg.Start, rg.End = rg.End, rg.Start
	}
	switch rng.IntN(6) {
	case 0:
		rg.Start = ""
	case 1:
		rg.End = ""
	}
	return rg
}

func randomOperation(t *testing.T, rng *rand.Rand, txn store.Txn, m model, stamp string) error {
	k := randomKey(rng)
	switch rng.IntN(5) {
	case 0:
		want, ok := m[k]
		if !ok {
			want = "<none>"
		}
		if got := get(t, txn, k); got != want {
			t.Errorf("Get(%q) = %q, want %q", k, got, want)
		}
	case 1:
		compareScan(t, txn, m, randomRange(rng))
	case 2:
		delete(m, k)
		return txn.Delete(k)
	default:
		m[k] = stamp
		return txn.Put(k, []byte(stamp))
	}
	return nil
}

func compareScan(t *testing.T, r store.Reader, m model, rg store.Range) {
	t.Helper()
	got := []store.Entry{}
	for e, err := range r.Scan(rg) {
		if err != nil {
			t.Errorf("Scan(%+v): %v", rg, err)
			return
		}
		got = append(got, store.Entry{Key: e.Key, Value: append([]byte{}, e.Value...)})
	}
	if diff := cmp.Diff(m.scan(rg), got); diff != "" {
		t.Errorf("Scan(%+v) (-want +got):\n%s", rg, diff)
	}
}
