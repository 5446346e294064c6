package raft

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// checkEvery is how long an answer about free space is believed.
const checkEvery = 250 * time.Millisecond

// space foresees a full disk. While there is less than low bytes of room,
// growth is refused. A reserve file is given up the moment a write meets
// ENOSPC, so that this write, and the deletions that must follow, succeed.
type space struct {
	fs      vfs.FS
	dir     string
	reserve string // path of the reserve file
	low     int64
	clock   clock.Clock

	full    atomic.Bool
	mu      sync.Mutex
	checked time.Time // guarded by mu
	kept    bool      // guarded by mu; the reserve is there
}

// newSpace makes sure of the reserve. A disk that has no room for it counts as
// full from the start, but is no error.
func newSpace(fsys vfs.FS, dir string, low int64, c clock.Clock) (*space, error) {
	s := &space{fs: fsys, dir: dir, reserve: fsys.PathJoin(dir, "reserve"), low: low, clock: c}
	if low < 0 {
		return s, nil
	}
	info, err := fsys.Stat(s.reserve)
	switch {
	case err == nil && info.Size() >= low:
		s.kept = true
	case err == nil || errors.Is(err, fs.ErrNotExist):
		s.full.Store(!s.replenish())
	default:
		return nil, fmt.Errorf("looking for the reserve: %w", err)
	}
	s.check()
	return s, nil
}

// replenish makes the reserve file and reports whether there was room for it.
func (s *space) replenish() bool {
	f, err := s.fs.Create(s.reserve, vfs.WriteCategoryUnspecified)
	if err != nil {
		return false
	}
	err = errors.Join(allocate(f, s.low), f.Close())
	if err != nil {
		_ = s.fs.Remove(s.reserve) // what is left of it is of no use
		return false
	}
	s.kept = true
	return true
}

// giveUp removes the reserve: a write has just met a full disk.
func (s *space) giveUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full.Store(true)
	if s.kept {
		s.kept = false
		_ = s.fs.Remove(s.reserve) // if it cannot be removed the write fails as it did
	}
}

// check looks at the free space now and then.
func (s *space) check() {
	if s.low < 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	if !s.checked.IsZero() && now.Sub(s.checked) < checkEvery && !now.Before(s.checked) {
		return
	}
	s.checked = now
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		usage.AvailBytes = uint64(s.low) // unknown here; a write will tell
	}
	low := uint64(s.low)
	if !s.kept {
		low *= 2 // the reserve must fit as well
	}
	if usage.AvailBytes < low && err == nil {
		s.full.Store(true)
		return
	}
	s.full.Store(!s.kept && !s.replenish())
}

// What a transaction may bring along on a full disk, in bytes: all its values,
// and what they are longer than those they replace.
const (
	maxTight  = 64 << 10
	maxGrowth = 4 << 10
)

// admit refuses what would grow the store when there is no room. What leaves no
// more rows than there were, and is small, may use the reserve: to delete, to
// mark as deleted, to revoke, to renew.
func (s *Store) admit(ctx context.Context, t *transaction) error {
	s.space.check()
	if !s.space.full.Load() {
		return nil
	}
	snap, err := s.state.acquire()
	if err != nil {
		return err
	}
	defer s.state.release(snap)
	before := reader{s, snap}
	rows, size, grown := 0, 0, 0
	for _, w := range t.writes {
		old, _, err := before.get(w.key)
		absent := errors.Is(err, store.ErrNotFound)
		if err != nil && !absent {
			return err
		}
		switch {
		case w.value == nil && !absent:
			rows--
		case w.value != nil && absent:
			rows++
		}
		size += len(w.value)
		grown += len(w.value) - len(old)
	}
	if rows > 0 || size > maxTight || grown > maxGrowth {
		return errFull
	}
	return s.cutFullLog(ctx)
}

// cutFullLog gives back the log's files but the one being written. What the
// reserve lets through would otherwise use it up with log.
func (s *Store) cutFullLog(ctx context.Context) error {
	if s.log.meta.segments() == 1 {
		return nil
	}
	select {
	case s.cutting <- struct{}{}:
		defer func() { <-s.cutting }()
	case <-ctx.Done():
		return ctx.Err()
	case <-s.broken:
		return s.usable()
	}
	if s.log.meta.segments() == 1 {
		return nil // another has done it
	}
	return s.unlessBroken(func() error { s.cutLog(); return nil })
}

var errFull = fault.New(fault.Full, "no room left on the storage's disk: free some space; deleting and revoking still work")
