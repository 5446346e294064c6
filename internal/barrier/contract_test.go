package barrier_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/store/storetest"
)

// TestContract runs the storage contract, but for the exact limits, which are
// lower by what sealing adds (see TestLimits). The suite's keys are moved out
// of the way of the seal's rows.
func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		if strings.Contains(t.Name(), "limits") {
			t.Skip("a sealed value is longer")
		}
		inner := mem.New()
		t.Cleanup(func() { _ = inner.Close() })
		return moved{open(t, inner, create(t, inner, barrier.Config{ClusterID: "c"}), barrier.Config{ClusterID: "c"})}
	})
}

func TestLimits(t *testing.T) {
	b, _, _, _ := fixture(t)
	largest := make([]byte, store.MaxValue-barrier.Overhead)
	put(t, b, key("a"), largest)
	if got, err := get(t, b, key("a")); err != nil || !bytes.Equal(got, largest) {
		t.Errorf("largest value: %d bytes, %v", len(got), err)
	}
	_, err := b.Update(t.Context(), func(txn store.Txn) error { return txn.Put(key("b"), append(largest, 0)) })
	if !errors.Is(err, fault.TooLarge) {
		t.Errorf("one byte more: %v", err)
	}
}

// moved is a store whose keys all lie under place in another.
type moved struct{ store.Store }

var place = store.NewKey(5, 5, 5)

func (m moved) View(ctx context.Context, fn func(store.Reader) error) error {
	return m.Store.View(ctx, func(r store.Reader) error { return fn(movedReader{r}) })
}

func (m moved) Update(ctx context.Context, fn func(store.Txn) error) (store.Index, error) {
	return m.Store.Update(ctx, func(t store.Txn) error { return fn(movedTxn{movedReader{t}, t}) })
}

func (m moved) Watch(w store.Watcher) func() {
	return m.Store.Watch(func(c store.Commit) {
		changes := make([]store.Change, len(c.Changes))
		for i, ch := range c.Changes {
			changes[i] = store.Change{Key: ch.Key[len(place):], Value: ch.Value}
		}
		c.Changes = changes
		w(c)
	})
}

type movedReader struct{ inner store.Reader }

func (m movedReader) Get(k store.Key) ([]byte, error) { return m.inner.Get(place + k) }

func (m movedReader) Scan(r store.Range) iter.Seq2[store.Entry, error] {
	r.Start = place + r.Start
	if r.End == "" {
		r.End = store.After(place)
	} else {
		r.End = place + r.End
	}
	return func(yield func(store.Entry, error) bool) {
		for e, err := range m.inner.Scan(r) {
			e.Key = unmoved(e.Key)
			if !yield(e, err) {
				return
			}
		}
	}
}

func unmoved(k store.Key) store.Key { return k[min(len(place), len(k)):] }

type movedTxn struct {
	movedReader
	inner store.Txn
}

func (m movedTxn) Put(k store.Key, v []byte) error { return m.inner.Put(place+k, v) }
func (m movedTxn) Delete(k store.Key) error        { return m.inner.Delete(place + k) }
