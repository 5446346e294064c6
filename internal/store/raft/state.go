package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofferhq/coffer/internal/store"
)

// appliedKey is the row that tells how far the state has come: applied log
// index, its term, and last commit's index.
var appliedKey = []byte{0x00}

// applied is how far a state has come.
type applied struct {
	log    uint64      // index of the last log entry applied
	term   uint64      // its term
	commit store.Index // index of the last commit
}

func (a applied) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, a.log)
	b = binary.BigEndian.AppendUint64(b, a.term)
	return binary.BigEndian.AppendUint64(b, uint64(a.commit))
}

func decodeApplied(b []byte) (applied, error) {
	if len(b) != 24 {
		return applied{}, errors.New("row of the applied index has the wrong length")
	}
	return applied{
		log:    binary.BigEndian.Uint64(b),
		term:   binary.BigEndian.Uint64(b[8:]),
		commit: store.Index(binary.BigEndian.Uint64(b[16:])),
	}, nil
}

// state is the applied state: Pebble and the snapshots that readers hold of
// it. One goroutine applies, any number read.
type state struct {
	db    *pebble.DB
	cache *pebble.Cache

	mu      sync.Mutex
	applied applied       // guarded by mu
	current *snapshot     // guarded by mu; the newest, made when first asked for
	readers int           // guarded by mu
	closed  bool          // guarded by mu
	drained chan struct{} // closed once the state is closed and has no readers
}

// snapshot is the state as of one commit, shared by everyone who reads it.
type snapshot struct {
	pebble *pebble.Snapshot
	index  store.Index
	refs   int // guarded by the state's mu
}

// pebbleOptions sizes Pebble for a store whose log is elsewhere and whose
// values are small and do not compress.
func pebbleOptions(fs vfs.FS, cache *pebble.Cache, logger pebble.Logger, events *pebble.EventListener) *pebble.Options {
	o := &pebble.Options{
		FS:                          fs,
		Cache:                       cache,
		Logger:                      logger,
		EventListener:               events,
		DisableWAL:                  true,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                16 << 20,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       64,
		MaxOpenFiles:                512,
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

func openState(dir string, cacheBytes int64, fs vfs.FS, logger pebble.Logger, events *pebble.EventListener) (*state, error) {
	cache := pebble.NewCache(cacheBytes)
	db, err := pebble.Open(dir, pebbleOptions(fs, cache, logger, events))
	if err != nil {
		cache.Unref()
		return nil, fmt.Errorf("opening the state in %s: %w", dir, err)
	}
	s := &state{db: db, cache: cache, drained: make(chan struct{})}
	stored, closer, err := db.Get(appliedKey)
	switch {
	case errors.Is(err, pebble.ErrNotFound):
		return s, nil
	case err == nil:
		s.applied, err = decodeApplied(stored)
		err = errors.Join(err, closer.Close())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading how far the state in %s has come: %w", dir, err), db.Close())
	}
	return s, nil
}

// position returns how far the state has come.
func (s *state) position() applied {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied
}

// acquire returns the newest snapshot, which the caller must release.
func (s *state) acquire() (*snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	snap := s.currentLocked()
	snap.refs++
	s.readers++
	return snap, nil
}

// currentLocked returns the newest snapshot. While a batch is being applied
// that is the one from before, which apply has seen to.
func (s *state) currentLocked() *snapshot {
	if s.current == nil {
		s.current = &snapshot{pebble: s.db.NewSnapshot(), index: s.applied.commit, refs: 1}
	}
	return s.current
}

func (s *state) release(snap *snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unrefLocked(snap)
	s.readers--
	if s.closed && s.readers == 0 {
		close(s.drained)
	}
}

func (s *state) unrefLocked(snap *snapshot) {
	if snap.refs--; snap.refs == 0 {
		_ = snap.pebble.Close() // always nil
	}
}

// apply makes batch, which brings the state to position to, visible.
func (s *state) apply(batch *pebble.Batch, to applied) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	s.currentLocked()
	s.mu.Unlock()

	if err := batch.Set(appliedKey, to.encode(), nil); err != nil {
		return err
	}
	if err := s.db.Apply(batch, pebble.NoSync); err != nil {
		return err
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied = to
	if s.current != nil {
		s.unrefLocked(s.current)
		s.current = nil
	}
	return nil
}

// close waits for the readers, flushes and closes Pebble. Nothing may be
// applied any more.
func (s *state) close() error {
	s.mu.Lock()
	s.closed = true
	if s.current != nil {
		s.unrefLocked(s.current)
		s.current = nil
	}
	if s.readers == 0 {
		close(s.drained)
	}
	s.mu.Unlock()
	<-s.drained
	err := errors.Join(s.db.Flush(), s.db.Close())
	s.cache.Unref()
	return err
}
