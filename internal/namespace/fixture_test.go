package namespace_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
)

// kindThing is a row that other nouns keep in a namespace.
const kindThing store.Kind = 200

// fixture is the noun over a store in memory.
type fixture struct {
	*namespace.Store
	t  *testing.T
	db *mem.Store
	// disk is what the noun writes to: db, or what stands before it.
	disk store.Store
	// end runs when a namespace ends; nil does nothing.
	end func(ctx context.Context, ns store.NamespaceID) error
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{t: t, db: mem.New()}
	f.disk = f.db
	f.Store = f.another()
	return f
}

// another opens the noun again over the same store, as after a restart.
func (f *fixture) another() *namespace.Store {
	s := namespace.New(namespace.Config{
		Store: f.disk, Clock: clock.NewFake(time.Time{}), Rand: rand.Reader, Log: slog.New(slog.DiscardHandler),
		Born: func(tx store.Txn, ns store.NamespaceID) error {
			return tx.Put(store.NewKey(ns, store.System, kindThing, "born"), nil)
		},
		Free: func(store.Reader, store.NamespaceID, string) error { return nil },
		End: func(ctx context.Context, ns store.NamespaceID) error {
			if f.end == nil {
				return nil
			}
			return f.end(ctx, ns)
		},
		Forget:  func(store.Txn, store.NamespaceID) error { return nil },
		Visible: func(context.Context, *route.Call, string) bool { return true },
	})
	f.t.Cleanup(s.Close)
	return s
}

// create makes a namespace below another and returns its number.
func (f *fixture) create(parent store.NamespaceID, name string) store.NamespaceID {
	f.t.Helper()
	e, err := f.Create(f.t.Context(), parent, name, nil)
	if err != nil {
		f.t.Fatalf("creating %q: %v", name, err)
	}
	return e.ID
}

// rows counts the rows of a namespace.
func (f *fixture) rows(ns store.NamespaceID) (n int) {
	f.t.Helper()
	err := f.db.View(f.t.Context(), func(r store.Reader) error {
		for _, err := range r.Scan(store.Under(store.NewKey(ns, 0, 0)[:8])) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}
