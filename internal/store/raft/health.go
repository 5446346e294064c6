package raft

import (
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
}

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
	}
	stats.LogFirst, _ = s.log.FirstIndex() // zero if the log is closed
	stats.LogLast, _ = s.log.LastIndex()
	stats.LogBytes = int64(s.log.meta.segments()) * int64(s.config.SegmentBytes)
	return stats
}
