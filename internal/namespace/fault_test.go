package namespace_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// errDisk is what a failing disk says.
var errDisk = errors.New("no space left on device")

// failing is a store whose writes fail from some time on.
type failing struct {
	store.Store
	// puts and updates are how many more of them succeed; negative is any number.
	puts, updates int
}

func (f *failing) Update(ctx context.Context, fn func(store.Txn) error) (store.Index, error) {
	if f.updates == 0 {
		return 0, errDisk
	}
	f.updates--
	return f.Store.Update(ctx, func(tx store.Txn) error { return fn(&failingTxn{tx, f}) })
}

type failingTxn struct {
	store.Txn
	f *failing
}

func (tx *failingTxn) Put(k store.Key, v []byte) error {
	if tx.f.puts == 0 {
		return errDisk
	}
	tx.f.puts--
	return tx.Txn.Put(k, v)
}

// TestB9_CreateFailsWhole lets every write of a creation fail, one after the
// other: nothing is left, nothing panics, and the next attempt succeeds.
func TestB9_CreateFailsWhole(t *testing.T) {
	for n := 0; ; n++ {
		f := newFixture(t)
		disk := &failing{Store: f.db, puts: n, updates: -1}
		f.disk = disk
		f.Store = f.another()
		_, err := f.Create(t.Context(), store.RootNamespace, "a", map[string]string{"x": "y"})
		if err == nil {
			if n < 4 {
				t.Errorf("a creation has only %d writes", n)
			}
			return
		}
		if !errors.Is(err, errDisk) {
			t.Fatalf("write %d: %v", n, err)
		}
		if rows := f.rows(store.RootNamespace) + f.rows(2); rows != 0 {
			t.Errorf("after write %d failed, %d rows are left", n, rows)
		}
		if _, err := f.At(t.Context(), "a"); !errors.Is(err, fault.NotFound) {
			t.Errorf("after write %d failed: %v", n, err)
		}
		disk.puts = -1
		f.create(store.RootNamespace, "a")
	}
}

// TestB7_DeletionGoesOnAfterAStop stops the server after every transaction of a
// deletion, one after the other: the next one finishes it, and ends what was
// granted if that was not done.
func TestB7_DeletionGoesOnAfterAStop(t *testing.T) {
	synctest.Test(t, deletionGoesOn)
}

func deletionGoesOn(t *testing.T) {
	for n := 0; ; n++ {
		f := newFixture(t)
		id := f.create(store.RootNamespace, "a")
		fill(t, f.db, id, 1200)
		disk := &failing{Store: f.db, puts: -1, updates: -1}
		f.disk = disk
		f.Store = f.another()
		ended := 0
		f.end = func(context.Context, store.NamespaceID) error { ended++; return nil }
		if err := f.Delete(t.Context(), store.RootNamespace, "a"); err != nil {
			t.Fatal(err)
		}
		disk.updates = n
		f.runUntilIdle()
		left := f.rows(id)
		disk.updates = -1
		f.Store = f.another() // the next server
		if _, err := f.ByID(t.Context(), id); errors.Is(err, fault.NotFound) {
			if left != 0 || ended != 1 {
				t.Errorf("it was gone after %d transactions, with %d rows left and %d ends", n, left, ended)
			}
			return
		}
		f.finish(id)
		if rows := f.rows(id); rows != 0 || ended == 0 {
			t.Errorf("stopped after %d transactions: %d rows are left, %d ends", n, rows, ended)
		}
	}
}

// fill writes rows into a namespace.
func fill(t *testing.T, s store.Store, ns store.NamespaceID, n int) {
	t.Helper()
	_, err := s.Update(t.Context(), func(tx store.Txn) error {
		for i := range n {
			if err := tx.Put(store.NewKey(ns, store.MountID(i%7), kindThing, store.Uint64Part(uint64(i))), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
