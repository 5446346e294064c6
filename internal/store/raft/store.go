package raft

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Store is a durable [store.Store].
type Store struct {
	config    Config
	nodeID    raft.ServerID
	state     *state
	snapshots *snapshotStore
	log       *logStore
	machine   *machine
	transport *transport
	raft      *raft.Raft
	space     *space
	unlock    func() error

	reconfiguring sync.Mutex // held while raft's configuration is changed

	elected  chan bool // from raft: this node has become, or is no longer, the leader
	office   office
	progress progress
	flushing *stopwatch // the running flush of the state

	proposals chan *proposal
	inFlight  chan entryInFlight
	lanes     lanes

	// grown counts bytes of log since the last compaction; compact wakes the
	// compactor.
	grown   atomic.Int64
	compact chan struct{}
	// cutting is one slot, for who cuts the log of a full disk.
	cutting chan struct{}

	watching sync.Mutex
	watchers atomic.Pointer[[]*store.Watcher]

	// failure is why the store has stopped for good, or nil.
	failure       atomic.Pointer[error]
	broken        chan struct{} // closed once failure is set
	closing       atomic.Bool
	stopped       chan struct{} // closed when nothing more may be proposed
	settled       chan struct{} // closed when everything proposed has been answered
	stop          sync.Once
	tasks         sync.WaitGroup
	closed        sync.Once
	commits       tally
	leaderChanges atomic.Int64
}

var _ store.Store = (*Store)(nil)

var errClosed = fault.New(fault.Unavailable, "storage is closed")

// fail stops the store for good: what is on the disk is no longer certain.
func (s *Store) fail(cause error) {
	err := fault.Wrap(fault.Unavailable, cause, "storage has failed and this node has stopped; see the server log, mend the disk and restart")
	if s.failure.CompareAndSwap(nil, &err) {
		s.config.Logger.Error("storage has failed; this node answers nothing until it is restarted", "error", cause)
		close(s.broken)
	}
	s.halt()
}

// failAndPark stops the store and never returns. It is for the goroutines of
// libraries that would take the process down with them, or go on regardless.
func (s *Store) failAndPark(cause error) {
	s.fail(cause)
	select {}
}

// unlessBroken runs fn, which may never return if the store fails meanwhile.
func (s *Store) unlessBroken(fn func() error) error {
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err := <-done:
		return err
	case <-s.broken:
		return *s.failure.Load()
	}
}

// halt ends the proposer, without waiting for it.
func (s *Store) halt() {
	s.stop.Do(func() { close(s.stopped) })
}

// usable returns why the store must not be used, or nil.
func (s *Store) usable() error {
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	if s.closing.Load() {
		return errClosed
	}
	return nil
}

// readFailed words an error of Pebble. Damage is not repaired by waiting, but
// it is confined to what was read.
func (s *Store) readFailed(err error) error {
	if stopped := s.usable(); stopped != nil {
		return stopped
	}
	s.config.Logger.Error("reading storage", "path", s.config.Path, "error", err)
	return fault.Wrap(fault.Unavailable, err, "storage could not be read; see the server log")
}

// View implements [store.Store].
func (s *Store) View(ctx context.Context, fn func(store.Reader) error) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	snap, err := s.state.acquire()
	if err != nil {
		return err
	}
	defer s.state.release(snap)
	return fn(&reader{s, snap})
}

func (s *Store) enter(ctx context.Context) error {
	if err := s.usable(); err != nil {
		return err
	}
	return ctx.Err()
}

const (
	// maxAttempts bounds how often a transaction that loses its races is
	// tried. Every lost race is another's commit.
	maxAttempts = 1000
)

// Update implements [store.Store].
func (s *Store) Update(ctx context.Context, fn func(store.Txn) error) (store.Index, error) {
	var lane lane
	defer func() { lane.leave() }()
	for range maxAttempts {
		v, err := s.attempt(ctx, fn)
		if err != nil || !v.lost {
			return v.index, err
		}
		// Losers of the same row queue up instead of defeating each other.
		lane.leave()
		if lane, err = s.lanes.join(ctx, v.conflict); err != nil {
			return 0, err
		}
	}
	return 0, fault.New(fault.Conflict, "the data is being changed by too many others; try again")
}

// attempt runs a transaction once.
func (s *Store) attempt(ctx context.Context, fn func(store.Txn) error) (verdict, error) {
	if err := s.mayWrite(ctx); err != nil {
		return verdict{}, err
	}
	t, err := s.run(ctx, fn)
	if err != nil {
		return verdict{}, err
	}
	if len(t.writes) == 0 {
		return verdict{index: t.base}, nil
	}
	if err := s.admit(ctx, t); err != nil {
		return verdict{}, err
	}
	p := &proposal{encoded: t.encode(), done: make(chan struct{})}
	if len(p.encoded) > maxTransaction {
		return verdict{}, fault.New(fault.TooLarge, "transaction reads and writes too much")
	}
	if err := s.enter(ctx); err != nil {
		return verdict{}, err
	}
	select {
	case s.proposals <- p:
	case <-ctx.Done():
		return verdict{}, ctx.Err()
	case <-s.stopped:
		return verdict{}, s.usable()
	}
	return s.await(ctx, p)
}

// run calls fn on a snapshot and returns what it wants committed.
func (s *Store) run(ctx context.Context, fn func(store.Txn) error) (*transaction, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	snap, err := s.state.acquire()
	if err != nil {
		return nil, err
	}
	defer s.state.release(snap)
	t := &txn{reader: reader{s, snap}}
	if err := fn(t); err != nil {
		return nil, err
	}
	if t.err != nil {
		return nil, t.err
	}
	return t.transaction(), nil
}

const unknownOutcome = "the write was under way when the request ended; its outcome is unknown"

// await waits for the verdict. It does not wait for a disk that hangs longer
// than the caller does, nor for one that has failed.
func (s *Store) await(ctx context.Context, p *proposal) (verdict, error) {
	select {
	case <-p.done:
	case <-ctx.Done():
		return verdict{}, fault.Wrap(fault.Unavailable, ctx.Err(), unknownOutcome)
	case <-s.settled:
		select {
		case <-p.done:
		default:
			return verdict{}, s.usable() // it came too late to be proposed
		}
	case <-s.broken:
	}
	if failure := s.failure.Load(); failure != nil {
		return verdict{}, *failure
	}
	return p.verdict, p.err
}

// Watch implements [store.Store]. A commit that is under way when stop is
// called may still reach w. Values handed to w alias the log entry.
func (s *Store) Watch(w store.Watcher) (stop func()) {
	entry := &w
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

// notify tells the watchers of commits that have become visible.
func (s *Store) notify(winners []winner) {
	defer s.progress.advance()
	for _, w := range winners {
		watchers := *s.watchers.Load()
		if len(watchers) == 0 {
			continue
		}
		commit := w.commit()
		for _, watcher := range watchers {
			(*watcher)(commit)
		}
	}
}

// notifyReplaced tells the watchers that another state is in force.
func (s *Store) notifyReplaced(index store.Index) {
	defer s.progress.advance()
	for _, watcher := range *s.watchers.Load() {
		(*watcher)(store.Commit{Index: index, Reset: true})
	}
}

// logGrew counts the log since the last compaction.
func (s *Store) logGrew(n int) {
	if s.grown.Add(int64(n)) < s.config.CompactBytes {
		return
	}
	s.grown.Store(0)
	select {
	case s.compact <- struct{}{}:
	default:
	}
}

// compactor flushes the state and cuts the log whenever there is enough of it.
func (s *Store) compactor() {
	for {
		select {
		case <-s.compact:
		case <-s.stopped:
			return
		}
		s.cutLog()
	}
}

func (s *Store) cutLog() {
	s.leaveTrail()
	err := s.raft.Snapshot().Error()
	if err != nil && !errors.Is(err, raft.ErrNothingNewToSnapshot) && !errors.Is(err, raft.ErrRaftShutdown) {
		s.config.Logger.Warn("cutting the storage's log", "error", err)
	}
}

// leaveTrail has the next cut leave what has come since the last one, for
// members that are a little behind. A node alone, or a full disk, leaves
// nothing.
func (s *Store) leaveTrail() {
	trail := uint64(0)
	if len(s.raft.GetConfiguration().Configuration().Servers) > 1 && !s.space.full.Load() {
		last, err := s.log.LastIndex()
		if metas, listErr := s.snapshots.List(); err == nil && listErr == nil && len(metas) > 0 && last > metas[0].Index {
			trail = last - metas[0].Index
		} else if err == nil {
			trail = last
		}
	}
	if err := s.reconfigure(func(c *raft.ReloadableConfig) { c.TrailingLogs = trail }); err != nil {
		s.config.Logger.Warn("setting how much log is left", "error", err)
	}
}

// closeTimeout bounds how long Close waits for a disk that hangs.
const closeTimeout = 10 * time.Second

// Close implements [store.Store]. It waits for running views; a function
// passed to View or Update must not call it. A store that has failed is only
// halted: what its goroutines still do to the files is unknown, so the
// directory stays locked until the process ends.
func (s *Store) Close() error {
	var err error
	s.closed.Do(func() {
		s.closing.Store(true)
		done := make(chan error, 1)
		go func() { done <- s.unlessBroken(s.shutdown) }()
		select {
		case err = <-done:
		case <-s.config.Clock.After(closeTimeout):
			err = fault.New(fault.Unavailable, "storage did not close in time: its disk does not answer")
		}
		s.halt()
	})
	return err
}

// shutdown ends everything in the order in which it was started, backwards.
func (s *Store) shutdown() error {
	s.handOver()
	s.halt()
	s.tasks.Wait()
	s.cutLog() // so that opening has nothing to read
	err := s.raft.Shutdown().Error()
	err = errors.Join(err, s.snapshots.dropReceived(), s.state.close(), s.log.Close(), s.unlock())
	if err != nil {
		return fmt.Errorf("closing storage in %s: %w", s.config.Path, err)
	}
	return nil
}

// lanes lets the losers of a race for the same row take turns.
type lanes struct {
	seed maphash.Seed
	turn [64]chan struct{}
}

// lane is a turn that is held, or nil.
type lane chan struct{}

func newLanes() lanes {
	l := lanes{seed: maphash.MakeSeed()}
	for i := range l.turn {
		l.turn[i] = make(chan struct{}, 1)
	}
	return l
}

// join waits for the turn of a row. A holder waits for no other turn, so there
// is no deadlock.
func (l *lanes) join(ctx context.Context, key store.Key) (lane, error) {
	turn := l.turn[maphash.String(l.seed, string(key))%uint64(len(l.turn))]
	select {
	case turn <- struct{}{}:
		return lane(turn), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l lane) leave() {
	if l != nil {
		<-l
	}
}
