package raft

import (
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/store"
)

// Health is how a store is doing.
type Health struct {
	// Err is why the store has stopped, or nil.
	Err error
	// Leader says that this node may write.
	Leader bool
	// Stalled is how long the write to the log that is under way has taken so
	// far. More than a second or two is a disk in trouble.
	Stalled time.Duration
	// Full says that growth is refused for want of room.
	Full bool
}

// Health reports how the store is doing. It never waits for the disk.
func (s *Store) Health() Health {
	return Health{
		Err:     s.usable(),
		Leader:  s.Leader().Self,
		Stalled: s.log.stalled(),
		Full:    s.space.full.Load(),
	}
}

// Stats are figures for metrics.
type Stats struct {
	// NodeID is this node's id.
	NodeID string
	// Index is the last commit.
	Index store.Index
	// Applied and LogFirst..LogLast are raft's log indexes.
	Applied, LogFirst, LogLast uint64
	// Term is raft's term.
	Term uint64
	// StateBytes is the size of the state on the disk, LogBytes about that of
	// the log.
	StateBytes, LogBytes int64
	// LastWrite is how long the last write to the log took, fsync included.
	LastWrite time.Duration
	// Commits are the log entries that this node has proposed and that were
	// committed, from the proposal to the answer; Applies the times that entries
	// were applied to the state.
	Commits, Applies Tally
	// LeaderChanges counts how often this node has seen another leader, or
	// none, since it was opened.
	LeaderChanges int64
}

// Tally counts things of one sort and how long they took together.
type Tally struct {
	Count int64
	Time  time.Duration
}

// tally is a [Tally] that is added to while it is read.
type tally struct{ count, nanoseconds atomic.Int64 }

func (t *tally) add(n int64, took time.Duration) {
	t.count.Add(n)
	t.nanoseconds.Add(int64(took))
}

func (t *tally) load() Tally { return Tally{t.count.Load(), time.Duration(t.nanoseconds.Load())} }

// Stats returns figures for metrics, or zeros if the store is closed.
func (s *Store) Stats() Stats {
	if s.usable() != nil {
		return Stats{}
	}
	snap, err := s.state.acquire() // keeps Pebble open meanwhile
	if err != nil {
		return Stats{}
	}
	defer s.state.release(snap)
	at := s.state.position()
	stats := Stats{
		NodeID: string(s.nodeID), Index: at.commit, Applied: at.log, Term: at.term,
		StateBytes: int64(snap.db.Metrics().DiskSpaceUsage()),
		LastWrite:  time.Duration(s.log.lastWrite.Load()),
		Commits:    s.commits.load(), Applies: s.machine.applies.load(), LeaderChanges: s.leaderChanges.Load(),
	}
	stats.LogFirst, _ = s.log.FirstIndex() // zero if the log is closed
	stats.LogLast, _ = s.log.LastIndex()
	stats.LogBytes = int64(s.log.meta.segments()) * int64(s.config.SegmentBytes)
	return stats
}
