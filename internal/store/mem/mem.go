// Package mem is the storage contract in memory: for tests and for the
// development server. Nothing survives the process.
//
// The state is a persistent tree behind one atomic pointer. A View reads the
// tree it finds there and takes no lock; a transaction writes to a copy of its
// own and publishes that copy if nobody was faster, else it checks that what
// it has read is still there and writes again on top of the newer tree.
package mem

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/btree"
)

// maxAttempts bounds how often a transaction that loses its races is tried.
// Every lost race is another transaction's commit, so this is far beyond what
// contention alone brings about.
const maxAttempts = 1000

// row is one value. Two reads saw the same version of a row exactly if they
// saw the same pointer.
type row struct{ value []byte }

// state is everything as of one commit. It is never changed.
type state struct {
	rows  btree.Map[*row]
	index store.Index
}

// Store is a [store.Store] in memory.
type Store struct {
	state  atomic.Pointer[state]
	closed atomic.Bool

	// commit serialises commits and their watchers.
	commit sync.Mutex
	// watchers is replaced, never changed in place, under watching.
	watching sync.Mutex
	watchers atomic.Pointer[[]*store.Watcher]

	// turn is held by a transaction that has lost a race, so that losers
	// queue up instead of defeating each other.
	turn chan struct{}
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store {
	s := &Store{turn: make(chan struct{}, 1)}
	s.state.Store(&state{})
	s.watchers.Store(new([]*store.Watcher))
	return s
}

var errClosed = fault.New(fault.Unavailable, "storage is closed")

// View implements [store.Store].
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	return fn(&reader{store: s, rows: &s.state.Load().rows})
}

func (s *Store) usable(ctx context.Context) error {
	if s.closed.Load() {
		return errClosed
	}
	return ctx.Err()
}

// Update implements [store.Store].
func (s *Store) Update(ctx context.Context, fn func(store.Txn) error) (store.Index, error) {
	for attempt := range maxAttempts {
		if err := s.usable(ctx); err != nil {
			return 0, err
		}
		if attempt == 1 {
			select {
			case s.turn <- struct{}{}:
				defer func() { <-s.turn }()
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		t := newTxn(s)
		if err := fn(t); err != nil {
			return 0, err
		}
		if t.err != nil {
			return 0, t.err
		}
		index, committed, err := s.commitTxn(ctx, t)
		if committed || err != nil {
			return index, err
		}
	}
	return 0, fault.New(fault.Conflict, "the data is being changed by too many others; try again")
}

// commitTxn publishes what t wrote, unless what it read has changed.
func (s *Store) commitTxn(ctx context.Context, t *txn) (index store.Index, committed bool, err error) {
	if len(t.writes) == 0 {
		return t.base.index, true, nil
	}
	s.commit.Lock()
	defer s.commit.Unlock()
	if err := s.usable(ctx); err != nil {
		return 0, false, err
	}
	current := s.state.Load()
	rows := &t.rows
	if current != t.base {
		if !t.holdsOn(current) {
			return 0, false, nil
		}
		newer := t.replayOn(current)
		rows = &newer
	}
	next := &state{rows: rows.Snapshot(), index: current.index + 1}
	s.state.Store(next)
	if watchers := *s.watchers.Load(); len(watchers) > 0 {
		commit := store.Commit{Index: next.index, Changes: t.changes()}
		for _, w := range watchers {
			(*w)(commit)
		}
	}
	return next.index, true, nil
}

// Watch implements [store.Store]. A commit that is under way when stop is
// called may still reach w.
func (s *Store) Watch(w store.Watcher) (stop func()) {
	entry := &w
	s.commit.Lock() // not in the middle of a commit
	defer s.commit.Unlock()
	s.replaceWatchers(func(old []*store.Watcher) []*store.Watcher { return append(old, entry) })
	return func() {
		s.replaceWatchers(func(old []*store.Watcher) []*store.Watcher {
			kept := old[:0]
			for _, e := range old {
				if e != entry {
					kept = append(kept, e)
				}
			}
			return kept
		})
	}
}

// replaceWatchers publishes a changed copy of the list of watchers.
func (s *Store) replaceWatchers(change func([]*store.Watcher) []*store.Watcher) {
	s.watching.Lock()
	defer s.watching.Unlock()
	next := change(append([]*store.Watcher(nil), *s.watchers.Load()...))
	s.watchers.Store(&next)
}

// Close implements [store.Store].
func (s *Store) Close() error {
	s.closed.Store(true)
	return nil
}
