package expiry_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
)

// db is a store whose updates can be refused and whose watchers can be told of
// a reset.
type db struct {
	store.Store
	refuse   atomic.Bool
	attempts atomic.Int64
	// deaf hides commits from watchers.
	deaf atomic.Bool

	mu       sync.Mutex
	watchers []store.Watcher // guarded by mu
}

func (d *db) Update(ctx context.Context, fn func(store.Txn) error) (store.Index, error) {
	d.attempts.Add(1)
	if d.refuse.Load() {
		return 0, fault.New(fault.Unavailable, "the disk is gone")
	}
	return d.Store.Update(ctx, fn)
}

func (d *db) Watch(w store.Watcher) func() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watchers = append(d.watchers, w)
	return d.Store.Watch(func(c store.Commit) {
		if !d.deaf.Load() {
			w(c)
		}
	})
}

func (d *db) reset() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.watchers {
		w(store.Commit{Reset: true})
	}
}

// world is a scheduler in a bubble of its own.
type world struct {
	t     *testing.T
	db    *db
	clock *waits
	*expiry.Scheduler

	mu  sync.Mutex
	log []call // guarded by mu
	// answer decides what a handler returns; nil is success.
	answer func(expiry.Item) error
}

// waits is a fake clock that notes the longest wait asked of it.
type waits struct {
	*clock.Fake
	longest atomic.Int64
}

func (c *waits) After(d time.Duration) <-chan time.Time {
	c.longest.Store(max(c.longest.Load(), int64(d)))
	return c.Fake.After(d)
}

// call is one call of a handler.
type call struct {
	id string
	at time.Duration
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// within runs fn in a bubble, with a scheduler that is not yet running.
func within(t *testing.T, fn func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, db: &db{Store: mem.New()}, clock: &waits{Fake: clock.NewFake(start)}}
		w.fresh(map[expiry.Class]expiry.Handler{expiry.Lease: handler{w}})
		fn(w)
	})
}

func (w *world) fresh(handlers map[expiry.Class]expiry.Handler) {
	w.Scheduler = expiry.New(expiry.Config{Store: w.db, Clock: w.clock, Log: slog.New(slog.DiscardHandler), Handlers: handlers})
}

// running runs the scheduler while fn does, and waits for its end.
func (w *world) running(fn func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	synctest.Wait()
	fn()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		w.t.Errorf("Run returned %v", err)
	}
}

// pass moves the clock and waits until everything has come to rest.
func (w *world) pass(d time.Duration) {
	w.clock.Advance(d)
	synctest.Wait()
}

// handler notes what it is given and removes the item, as handlers must.
type handler struct{ w *world }

func (h handler) Expire(ctx context.Context, it expiry.Item) error {
	w := h.w
	w.mu.Lock()
	w.log = append(w.log, call{it.ID, w.clock.Now().Sub(start)})
	answer := w.answer
	w.mu.Unlock()
	if answer != nil {
		if err := answer(it); err != nil {
			return err
		}
	}
	_, err := w.db.Update(ctx, func(tx store.Txn) error { return expiry.Remove(tx, it) })
	return err
}

// calls returns what handlers were called with since the last time.
func (w *world) calls() []call {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.log
	w.log = nil
	return list
}

func (w *world) ids() []string {
	var ids []string
	for _, c := range w.calls() {
		ids = append(ids, c.id)
	}
	slices.Sort(ids)
	return ids
}

func item(queue store.MountID, id string, in time.Duration) expiry.Item {
	return expiry.Item{Queue: queue, Class: expiry.Lease, ID: id, At: start.Add(in)}
}

func (w *world) put(items ...expiry.Item) {
	w.t.Helper()
	w.update(func(tx store.Txn) error {
		for _, it := range items {
			if err := expiry.Put(tx, it); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *world) update(fn func(store.Txn) error) {
	w.t.Helper()
	if _, err := w.db.Store.Update(w.t.Context(), fn); err != nil {
		w.t.Fatal(err)
	}
}

// rows counts the rows of a kind.
func (w *world) rows(kind store.Kind) int {
	w.t.Helper()
	n := 0
	err := w.db.View(w.t.Context(), func(r store.Reader) error {
		n = 0
		for _, err := range r.Scan(store.Under(store.NewKey(store.RootNamespace, store.System, kind))) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}
