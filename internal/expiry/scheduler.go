package expiry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Tunables of the scheduler, fixed by measurement: see docs/performance.md.
const (
	// MaxDelay caps the time between two attempts at an item.
	MaxDelay = 5 * time.Minute
	// firstDelay is the time before the second attempt; it doubles.
	firstDelay = 2 * time.Second
	// batch is how many due items of a queue are taken at once. While they are
	// applied other writes wait, a few milliseconds.
	batch = 128
	// perQueue bounds how many items of one queue are handled at a time.
	perQueue = 8
	// busyQueues bounds how many queues are worked on at a time.
	busyQueues = 64
	// longestWait bounds how long the scheduler trusts its reckoning of when the
	// next item is due: the wall clock may be set, or the machine suspended.
	longestWait = time.Minute
)

// Handler does what an item's end calls for, and removes the item's row in a
// transaction together with what it stood for. It must be idempotent.
type Handler interface {
	Expire(ctx context.Context, it Item) error
}

// BatchHandler is a Handler that takes many items at once: one transaction for
// all. An error fails all of them, and they are tried one by one.
type BatchHandler interface {
	ExpireBatch(ctx context.Context, items []Item) error
}

// Mover is a Handler that keeps an item's time with what it stands for, so that
// it can take the item away later. Moved is called in the transaction in which
// an item that could not be handled gets a later time.
type Mover interface {
	Moved(tx store.Txn, it Item, to time.Time) error
}

// Config is what a [Scheduler] needs.
type Config struct {
	Store store.Store
	Clock clock.Clock
	Log   *slog.Logger
	// Handlers has one for each class.
	Handlers map[Class]Handler
	// Rate bounds how many items are handed out per second; zero is no bound.
	Rate int
	// Busy reports whether requests are being answered. Then each queue rests
	// after a batch for as long as that took: they have priority. It may be nil.
	Busy func() bool
}

// Scheduler hands out due items.
type Scheduler struct {
	store    store.Store
	clock    clock.Clock
	log      *slog.Logger
	handlers map[Class]Handler
	pace     pace

	mu    sync.Mutex
	heads map[store.MountID]time.Time // guarded by mu: earliest known time of each queue
	busy  map[store.MountID]bool      // guarded by mu: queues being worked on
	wake  chan struct{}               // one slot: heads changed or a queue became idle
	stale atomic.Bool                 // the store's whole state was replaced: heads are to be read anew

	failures, done atomic.Int64
}

// New returns a scheduler.
func New(c Config) *Scheduler {
	return &Scheduler{store: c.Store, clock: c.Clock, log: c.Log, handlers: c.Handlers, pace: pace{rate: c.Rate, busy: c.Busy, clock: c.Clock},
		heads: map[store.MountID]time.Time{}, busy: map[store.MountID]bool{}, wake: make(chan struct{}, 1)}
}

// Counts returns how many items have been handled and how many attempts failed.
func (s *Scheduler) Counts() (done, failures int64) { return s.done.Load(), s.failures.Load() }

// Queued returns how many queues have items and how many are being worked on.
func (s *Scheduler) Queued() (queues, busy int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.heads), len(s.busy)
}

// Run works until ctx ends.
func (s *Scheduler) Run(ctx context.Context) error {
	stop := s.store.Watch(s.watch)
	defer stop()
	var workers sync.WaitGroup
	defer workers.Wait()
	s.stale.Store(true)
	for {
		if s.stale.Swap(false) {
			if err := s.load(ctx); err != nil {
				return err
			}
		}
		wait := s.start(ctx, &workers)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		case <-s.clock.After(wait):
		}
	}
}

// load finds the head of every queue.
func (s *Scheduler) load(ctx context.Context) error {
	return s.store.View(ctx, func(r store.Reader) error {
		ids, err := queues(r)
		if err != nil {
			return err
		}
		for _, q := range ids {
			at, ok, err := head(r, q)
			if err != nil {
				return err
			}
			if ok {
				s.note(q, at)
			}
		}
		return nil
	})
}

// watch learns of new items from the change feed.
func (s *Scheduler) watch(c store.Commit) {
	if c.Reset {
		s.stale.Store(true)
		s.signal()
		return
	}
	for i := range c.Changes {
		ch := &c.Changes[i]
		if ch.Value == nil || ch.Key.Mount() != store.System || ch.Key.Kind() != store.KindDue {
			continue
		}
		if it, err := parse(ch.Key); err == nil {
			s.note(it.Queue, it.At)
		}
	}
}

func (s *Scheduler) note(q store.MountID, at time.Time) {
	s.mu.Lock()
	known, ok := s.heads[q]
	earlier := !ok || at.Before(known)
	if earlier {
		s.heads[q] = at
	}
	s.mu.Unlock()
	if earlier {
		s.signal()
	}
}

func (s *Scheduler) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// start puts a worker on every queue whose head is due and returns how long it
// is until the next one is.
func (s *Scheduler) start(ctx context.Context, workers *sync.WaitGroup) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	wait := longestWait
	for q, at := range s.heads {
		switch {
		case s.busy[q]:
		case at.After(now):
			wait = min(wait, at.Sub(now))
		case len(s.busy) < busyQueues:
			s.busy[q] = true
			workers.Go(func() { s.work(ctx, q) })
		}
	}
	return wait
}

// work handles a queue's due items until none is left, or until nothing that it
// does makes a difference.
func (s *Scheduler) work(ctx context.Context, q store.MountID) {
	defer func() {
		s.mu.Lock()
		delete(s.busy, q)
		s.mu.Unlock()
		s.signal()
	}()
	var first Item
	for ctx.Err() == nil {
		due, err := s.due(ctx, q)
		if err != nil {
			// Storage is not readable now. Nothing expires meanwhile that a
			// request could still use: tokens and leases check their own time.
			s.log.Error("reading due items", "queue", uint64(q), "error", err)
			s.retryQueue(q)
			return
		}
		if len(due) == 0 {
			return
		}
		if due[0].Item == first {
			s.log.Error("a due item stays although it was handled", "queue", uint64(q), "class", string(first.Class))
			s.retryQueue(q)
			return
		}
		first = due[0].Item
		began := s.clock.Now()
		if !s.handle(ctx, due) {
			s.retryQueue(q)
			return
		}
		s.pace.rest(ctx, began, len(due))
	}
}

// retryQueue has a queue looked at again soon, not at once.
func (s *Scheduler) retryQueue(q store.MountID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heads[q] = s.clock.Now().Add(firstDelay)
}

// due reads the head of a queue and, if nothing is due, notes when something
// will be.
func (s *Scheduler) due(ctx context.Context, q store.MountID) ([]dueItem, error) {
	var due []dueItem
	// The head is forgotten first: an item that is put while we read is noted
	// by the change feed and cannot be lost.
	s.mu.Lock()
	delete(s.heads, q)
	s.mu.Unlock()
	err := s.store.View(ctx, func(r store.Reader) error {
		var err error
		if due, err = scan(r, q, s.clock.Now(), batch); err != nil || len(due) > 0 {
			return err
		}
		at, ok, err := head(r, q)
		if err == nil && ok {
			s.note(q, at)
		}
		return err
	})
	return due, err
}

// handle hands items to their handlers. It reports false if an item that failed
// could not be postponed either: storage takes no writes now.
func (s *Scheduler) handle(ctx context.Context, due []dueItem) (moved bool) {
	moved = true
	byClass := map[Class][]dueItem{}
	for _, it := range due {
		byClass[it.Class] = append(byClass[it.Class], it)
	}
	for class, items := range byClass {
		h := s.handlers[class]
		if h == nil {
			s.log.Error("due item of an unknown class", "class", string(class))
			h = refuse{}
		}
		if b, ok := h.(BatchHandler); ok && s.handleBatch(ctx, b, items) {
			continue
		}
		moved = s.handleEach(ctx, h, items) && moved
	}
	return moved
}

type refuse struct{}

func (refuse) Expire(context.Context, Item) error { return errors.New("no handler") }

func (s *Scheduler) handleBatch(ctx context.Context, h BatchHandler, items []dueItem) bool {
	plain := make([]Item, len(items))
	for i := range items {
		plain[i] = items[i].Item
	}
	if err := guarded(func() error { return h.ExpireBatch(ctx, plain) }); err != nil {
		s.log.Warn("ending a batch, trying its items one by one", "error", err)
		return false
	}
	s.done.Add(int64(len(items)))
	return true
}

// guarded turns a panic into an error: an item that makes its engine panic must
// not end the server, again at each start.
func guarded(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}

func (s *Scheduler) handleEach(ctx context.Context, h Handler, items []dueItem) (moved bool) {
	var wg sync.WaitGroup
	var stuck atomic.Bool
	slots := make(chan struct{}, perQueue)
	for _, it := range items {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			wg.Wait()
			return false
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if !s.handleOne(ctx, h, it) {
				stuck.Store(true)
			}
		})
	}
	wg.Wait()
	return !stuck.Load()
}

func (s *Scheduler) handleOne(ctx context.Context, h Handler, it dueItem) (moved bool) {
	err := guarded(func() error { return h.Expire(ctx, it.Item) })
	if err == nil {
		s.done.Add(1)
		return true
	}
	if ctx.Err() != nil {
		return false
	}
	s.failures.Add(1)
	s.log.Warn("ending failed, will be tried again", "class", string(it.Class), "queue", uint64(it.Queue), "attempts", it.Attempts+1, "error", err)
	if err := s.postpone(ctx, h, it, err); err != nil {
		if ctx.Err() == nil {
			s.log.Error("postponing a due item", "error", err)
		}
		return false
	}
	return true
}

// postpone moves an item to its next attempt, unless the handler or a request
// has changed it meanwhile.
func (s *Scheduler) postpone(ctx context.Context, h Handler, it dueItem, cause error) error {
	shift := min(it.Attempts, 10)
	delay := min(firstDelay<<shift, MaxDelay)
	next := it.Item
	next.At = s.clock.Now().Add(delay)
	b, err := json.Marshal(state{Attempts: it.Attempts + 1, Error: fault.Message(cause)})
	if err != nil {
		return err
	}
	_, err = s.store.Update(ctx, func(tx store.Txn) error {
		if ok, err := store.Exists(tx, key(it.Item)); err != nil || !ok {
			return err
		}
		if err := tx.Delete(key(it.Item)); err != nil {
			return err
		}
		if m, ok := h.(Mover); ok {
			if err := m.Moved(tx, it.Item, next.At); err != nil {
				return err
			}
		}
		return tx.Put(key(next), b)
	})
	return err
}

// ListStuck returns items that have failed at least once, at most limit.
func ListStuck(ctx context.Context, s store.Store, limit int) ([]Stuck, error) {
	var stuck []Stuck
	err := s.View(ctx, func(r store.Reader) error {
		ids, err := queues(r)
		if err != nil {
			return err
		}
		for _, q := range ids {
			rng := store.Under(queueKey(q))
			for e, err := range r.Scan(rng) {
				if err != nil {
					return err
				}
				var st state
				if len(e.Value) == len(fresh) || json.Unmarshal(e.Value, &st) != nil || st.Attempts == 0 {
					continue
				}
				it, err := parse(e.Key)
				if err != nil {
					return err
				}
				if stuck = append(stuck, Stuck{it, st.Attempts, st.Error}); len(stuck) == limit {
					return nil
				}
			}
		}
		return nil
	})
	return stuck, err
}
