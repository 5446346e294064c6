package raft

import (
	"bytes"
	"hash/maphash"
	"sync"

	"github.com/cofferhq/coffer/internal/store"
)

// rows keeps rows that were read lately, absent ones too, because asking Pebble
// for one costs more than everything else that a read does with it. An answer is
// exactly that of the reader's snapshot:
//
//   - What a snapshot has shown is noted together with the commit from which on
//     it is so, and holds until the row is written.
//   - A commit replaces what is noted of the rows that it writes before it
//     becomes visible, and marks the place with its index. What an older snapshot
//     shows is not noted there any more. A row that nobody has read lately is not
//     noted because it was written.
//
// Values are as they are on the disk, sealed by the barrier.
type rows struct {
	seed   maphash.Seed
	limit  int // bytes that a shard may keep
	shards [rowShards]rowShard
}

const (
	rowShards = 32
	// keptRows is about how many bytes of rows are kept in all.
	keptRows = 8 << 20
	// maxKeptRow is the length of the longest value that is kept.
	maxKeptRow = 4 << 10
	// rowCost is about what a row takes besides its key and value.
	rowCost = 96
)

type rowShard struct {
	mu      sync.RWMutex
	rows    map[store.Key]row // guarded by mu
	size    int               // guarded by mu: bytes, about
	written store.Index       // guarded by mu: the last commit that wrote any of these rows
	_       [64]byte          // so that cores do not share a line
}

// row is a row, or the absence of one.
type row struct {
	value   []byte
	version store.Index // 0 for an absent row
	from    store.Index // the snapshots from this index on show this
}

func newRows(limit int) *rows {
	r := &rows{seed: maphash.MakeSeed(), limit: limit / rowShards}
	for i := range r.shards {
		r.shards[i].rows = map[store.Key]row{}
	}
	return r
}

func (r *rows) shard(key store.Key) *rowShard {
	return &r.shards[maphash.String(r.seed, string(key))%rowShards]
}

// get returns what a snapshot shows at key, if that is known. The value must not
// be changed.
func (r *rows) get(key store.Key, snapshot store.Index) (row, bool) {
	s := r.shard(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	found, ok := s.rows[key]
	return found, ok && found.from <= snapshot
}

// note keeps what a snapshot has shown. The value is the cache's from then on.
func (r *rows) note(key store.Key, found row, snapshot store.Index) {
	if len(found.value) > maxKeptRow {
		return
	}
	found.from = snapshot
	if found.version != 0 {
		found.from = found.version // it was written then, and not since
	}
	s := r.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if snapshot < s.written {
		return // it may have been written since
	}
	s.dropLocked(key)
	for victim := range s.rows { // map order is random enough
		if s.size < r.limit {
			break
		}
		s.dropLocked(victim)
	}
	s.rows[key] = found
	s.size += rowCost + len(key) + len(found.value)
}

// follow takes over what a commit writes. It must be called before the commit is
// visible.
func (r *rows) follow(writes []write, index store.Index) {
	for _, w := range writes {
		s := r.shard(w.key)
		s.mu.Lock()
		s.written = index
		if _, noted := s.rows[w.key]; noted {
			s.dropLocked(w.key)
			s.replaceLocked(w, index)
		}
		s.mu.Unlock()
	}
}

// replaceLocked notes a write.
func (s *rowShard) replaceLocked(w write, index store.Index) {
	now := row{from: index}
	if w.value != nil {
		if len(w.value) > maxKeptRow {
			return
		}
		// The log entry is not to be kept alive by one of its rows.
		now.value, now.version = bytes.Clone(w.value), index
	}
	s.rows[w.key] = now
	s.size += rowCost + len(w.key) + len(now.value)
}

func (s *rowShard) dropLocked(key store.Key) {
	if old, ok := s.rows[key]; ok {
		s.size -= rowCost + len(key) + len(old.value)
		delete(s.rows, key)
	}
}
