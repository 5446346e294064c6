package raft

import (
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/btree"
)

// remembered is how many keys a node remembers at least, once there were as
// many.
const remembered = 1 << 15

// recent remembers which rows the latest commits have written, so that most
// transactions are checked without reading the state. It only ever spares
// reads: with more or less of it every decision is the same.
type recent struct {
	limit        int // how many keys newer may have before it becomes older
	newer, older btree.Map[lastWrite]
	// since is the index of the commit from which on older, and half from
	// which on newer, is complete.
	since, half store.Index
}

// lastWrite is the latest write of a key.
type lastWrite struct {
	index   store.Index
	removed bool
}

// version returns what a reader of the row sees: 0 if it was removed.
func (w lastWrite) version() store.Index {
	if w.removed {
		return 0
	}
	return w.index
}

// reset forgets everything: the state is at index now.
func (r *recent) reset(index store.Index) { *r = recent{limit: r.limit, since: index, half: index} }

// trim forgets the older half if there is too much. Everything up to index
// must be in the state: what is not is remembered nowhere else.
func (r *recent) trim(index store.Index) {
	if r.newer.Len() >= r.limit {
		r.older, r.since = r.newer, r.half
		r.newer, r.half = btree.Map[lastWrite]{}, index
	}
}

// add remembers a write.
func (r *recent) add(key store.Key, w lastWrite) { r.newer.Set(string(key), w) }

// get returns the latest write of key if it is remembered.
func (r *recent) get(key store.Key) (lastWrite, bool) {
	if w, ok := r.newer.Get(string(key)); ok {
		return w, true
	}
	return r.older.Get(string(key))
}

// complete reports whether every write after index is remembered.
func (r *recent) complete(index store.Index) bool { return index >= r.since }

// writtenAfter calls visit for the latest remembered write of each key in the
// range that was written after index, until it returns false.
func (r *recent) writtenAfter(index store.Index, start, end store.Key, visit func(lastWrite) bool) {
	more := true
	r.newer.Ascend(string(start), string(end), func(_ string, w lastWrite) bool {
		more = w.index <= index || visit(w)
		return more
	})
	if !more {
		return
	}
	r.older.Ascend(string(start), string(end), func(key string, w lastWrite) bool {
		if w.index <= index {
			return true
		}
		if _, newer := r.newer.Get(key); newer {
			return true
		}
		return visit(w)
	})
}
