package namespace_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/store"
)

// delete deletes a namespace of the root and waits until it is gone.
func (f *fixture) delete(name string) {
	f.t.Helper()
	sp, err := f.At(f.t.Context(), name)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.Delete(f.t.Context(), store.RootNamespace, name); err != nil {
		f.t.Fatal(err)
	}
	f.finish(sp.ID)
}

// finish runs the worker until a namespace is gone.
func (f *fixture) finish(ns store.NamespaceID) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	gone := make(chan struct{})
	stop := f.db.Watch(func(c store.Commit) {
		for _, ch := range c.Changes {
			if ch.Key.Kind() == store.KindNamespace && ch.Value == nil && ch.Key.Last() == store.Uint64Part(uint64(ns)) {
				close(gone)
				return
			}
		}
	})
	defer stop()
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	<-gone
	cancel()
	<-done
}

// runUntilIdle runs the worker until it waits, and stops it there. The test must
// be in a bubble of synctest.
func (f *fixture) runUntilIdle() {
	f.t.Helper()
	ctx, stop := context.WithCancel(f.t.Context())
	done := make(chan error)
	go func() { done <- f.Run(ctx) }()
	synctest.Wait()
	stop()
	<-done
}

func TestDeleteTakesEverything(t *testing.T) {
	f := newFixture(t)
	a, b := f.create(store.RootNamespace, "a"), f.create(store.RootNamespace, "b")
	fill(t, f.db, a, 1200) // more than one page of them
	f.delete("a")
	if n := f.rows(a); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if n := f.rows(b); n != 1 {
		t.Errorf("the namespace beside it has %d rows, not 1", n)
	}
	if _, err := f.At(t.Context(), "a"); !errors.Is(err, fault.NotFound) {
		t.Errorf("looking it up: %v", err)
	}
	if _, err := f.ByID(t.Context(), a); !errors.Is(err, fault.NotFound) {
		t.Errorf("looking its number up: %v", err)
	}
}

func TestDeleteIsRefusedAboveOthers(t *testing.T) {
	f := newFixture(t)
	a := f.create(store.RootNamespace, "a")
	f.create(a, "b")
	if err := f.Delete(t.Context(), store.RootNamespace, "a"); !errors.Is(err, fault.Invalid) {
		t.Errorf("got %v", err)
	}
	if err := f.Delete(t.Context(), store.RootNamespace, "none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
}

func TestNobodyEntersWhatIsBeingDeleted(t *testing.T) {
	f := newFixture(t)
	id := f.create(store.RootNamespace, "a")
	sp, err := f.ByID(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(t.Context(), store.RootNamespace, "a"); err != nil {
		t.Fatal(err)
	}
	if err := sp.Enter(); !errors.Is(err, namespace.ErrMissing) {
		t.Errorf("entering: %v", err)
	}
	if _, err := f.Create(t.Context(), id, "below", nil); err == nil {
		t.Error("a namespace was made below it")
	}
	if _, err := f.Create(t.Context(), store.RootNamespace, "a", nil); !errors.Is(err, fault.Invalid) {
		t.Errorf("making it again meanwhile: %v", err)
	}
	err = f.db.View(t.Context(), func(r store.Reader) error { return namespace.Serving(r, id) })
	if !errors.Is(err, namespace.ErrMissing) {
		t.Errorf("as transactions see it: %v", err)
	}
}

func TestDeletionWaitsForRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		ended := make(chan struct{})
		f.end = func(context.Context, store.NamespaceID) error { close(ended); return nil }
		sp, err := f.ByID(t.Context(), f.create(store.RootNamespace, "a"))
		if err != nil {
			t.Fatal(err)
		}
		if err := sp.Enter(); err != nil {
			t.Fatal(err)
		}
		if err := f.Delete(t.Context(), store.RootNamespace, "a"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("it did not wait")
		default:
		}
		sp.Leave()
		<-ended
		cancel()
		<-done
	})
}
