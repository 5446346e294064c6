package raft

import (
	"encoding/binary"
	"errors"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/btree"
)

// versionLen is the length of the version in front of every value.
const versionLen = 8

// rowPrefix tells rows from the store's own bookkeeping.
const rowPrefix = 0x01

func rowKey(k store.Key) []byte {
	b := make([]byte, 1+len(k))
	b[0] = rowPrefix
	copy(b[1:], k)
	return b
}

// reader reads a snapshot.
type reader struct {
	store *Store
	snap  *snapshot
}

// Get implements [store.Reader].
func (r *reader) Get(key store.Key) ([]byte, error) {
	value, _, err := r.get(key)
	return value, err
}

// get returns a row's value, which must not be changed, and its version; both
// are zero if there is no row.
func (r *reader) get(key store.Key) ([]byte, store.Index, error) {
	if err := r.store.usable(); err != nil {
		return nil, 0, err
	}
	known := r.snap.db.rows
	found, ok := known.get(key, r.snap.index)
	if !ok {
		var err error
		if found, err = r.fetch(key); err != nil {
			return nil, 0, err
		}
		known.note(key, found, r.snap.index)
	}
	if found.version == 0 {
		return nil, 0, store.ErrNotFound
	}
	return found.value, found.version, nil
}

// fetch reads a row from Pebble.
func (r *reader) fetch(key store.Key) (row, error) {
	stored, closer, err := r.snap.pebble.Get(rowKey(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return row{}, nil
	}
	if err != nil {
		return row{}, r.store.readFailed(err)
	}
	defer closer.Close()
	version, value, err := splitRow(stored)
	if err != nil {
		return row{}, r.store.readFailed(err)
	}
	return row{value: append(make([]byte, 0, len(value)), value...), version: version}, nil
}

func splitRow(stored []byte) (store.Index, []byte, error) {
	if len(stored) < versionLen {
		return 0, nil, errors.New("row without version")
	}
	return store.Index(binary.BigEndian.Uint64(stored)), stored[versionLen:], nil
}

// Scan implements [store.Reader].
func (r *reader) Scan(rg store.Range) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		merged(r, rg, nil, yield)
	}
}

// bounds turns a range into Pebble's bounds.
func bounds(start, end store.Key) *pebble.IterOptions {
	o := &pebble.IterOptions{LowerBound: rowKey(start), UpperBound: []byte{rowPrefix + 1}}
	if end != "" {
		o.UpperBound = rowKey(end)
	}
	return o
}

// merged yields the rows of rg in the snapshot as overlaid by pending, and
// returns what it has looked at.
func merged(r *reader, rg store.Range, pending *btree.Map[write], yield func(store.Entry, error) bool) (seen rangeRead, err error) {
	seen = rangeRead{start: rg.Start, end: rg.End}
	if rg.End != "" && rg.Start >= rg.End {
		return seen, nil
	}
	if err := r.store.usable(); err != nil {
		yield(store.Entry{}, err)
		return seen, err
	}
	it, err := r.snap.pebble.NewIter(bounds(rg.Start, rg.End))
	if err != nil {
		err = r.store.readFailed(err)
		yield(store.Entry{}, err)
		return seen, err
	}
	defer it.Close()
	m := merge{it: it, pending: pending, rg: rg}
	for n := 0; m.next(); {
		if m.base {
			seen.count++
		}
		if m.removed {
			continue
		}
		n++
		if !yield(m.entry, nil) || rg.Limit > 0 && n == rg.Limit {
			if rg.Reverse {
				seen.start = m.entry.Key
			} else {
				seen.end = m.entry.Key + "\x00"
			}
			return seen, nil
		}
	}
	if err := errors.Join(m.err, it.Error()); err != nil {
		err = r.store.readFailed(err)
		yield(store.Entry{}, err)
		return seen, err
	}
	return seen, nil
}

// merge walks a Pebble iterator and a transaction's pending writes side by
// side.
type merge struct {
	it      *pebble.Iterator
	pending *btree.Map[write]
	rg      store.Range

	started bool
	valid   bool   // the iterator stands on a row
	ahead   *write // the next pending write, nil if there is none

	// The current row: its entry, whether the snapshot has it, and whether
	// the transaction has removed it.
	entry         store.Entry
	base, removed bool
	err           error
}

func (m *merge) next() bool {
	switch {
	case !m.started:
		m.started = true
		if m.rg.Reverse {
			m.valid = m.it.Last()
		} else {
			m.valid = m.it.First()
		}
		m.seekPending(m.rg.Start, m.rg.End)
	default:
		if m.base {
			if m.rg.Reverse {
				m.valid = m.it.Prev()
			} else {
				m.valid = m.it.Next()
			}
		}
		if m.ahead != nil && m.ahead.key == m.entry.Key {
			if m.rg.Reverse {
				m.seekPending(m.rg.Start, m.ahead.key)
			} else {
				m.seekPending(m.ahead.key+"\x00", m.rg.End)
			}
		}
	}
	if !m.valid && m.ahead == nil {
		return false
	}
	m.base, m.removed = false, false
	if m.valid {
		key := store.Key(m.it.Key()[1:])
		if m.ahead == nil || key == m.ahead.key || (key < m.ahead.key) != m.rg.Reverse {
			m.base = true
			m.entry = store.Entry{Key: key}
		}
	}
	if m.ahead != nil && (!m.base || m.entry.Key == m.ahead.key) {
		m.entry = store.Entry{Key: m.ahead.key, Value: m.ahead.value}
		m.removed = m.ahead.value == nil
		return true
	}
	_, value, err := splitRow(m.it.Value())
	m.err = err
	m.entry.Value = append(make([]byte, 0, len(value)), value...)
	return err == nil
}

// seekPending finds the first (or last) pending write between the bounds.
func (m *merge) seekPending(start, end store.Key) {
	m.ahead = nil
	if m.pending == nil || end != "" && start >= end {
		return
	}
	found := func(_ string, w write) bool {
		m.ahead = &w
		return false
	}
	if m.rg.Reverse {
		m.pending.Descend(string(start), string(end), found)
	} else {
		m.pending.Ascend(string(start), string(end), found)
	}
}

// txn is a transaction that runs: a snapshot, what was read of it, and the
// writes to come.
type txn struct {
	reader
	pending btree.Map[write]
	reads   []keyRead
	ranges  []rangeRead
	budget  store.Budget
	err     error // the first failure; the transaction cannot commit
}

// Get implements [store.Reader].
func (t *txn) Get(key store.Key) ([]byte, error) {
	if w, ok := t.pending.Get(string(key)); ok {
		if w.value == nil {
			return nil, store.ErrNotFound
		}
		return w.value, nil
	}
	value, version, err := t.reader.get(key)
	if err == nil || errors.Is(err, store.ErrNotFound) {
		if len(key) <= store.MaxKey { // a longer one has no row, ever
			t.reads = append(t.reads, keyRead{key, version})
		}
		return value, err
	}
	t.err = err
	return nil, err
}

// Scan implements [store.Reader]. Writes made while it runs do not show in it.
func (t *txn) Scan(rg store.Range) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		pending := t.pending.Snapshot()
		seen, err := merged(&t.reader, rg, &pending, yield)
		if err != nil {
			t.err = err
		}
		if len(seen.start) > store.MaxKey+1 || len(seen.end) > store.MaxKey+1 {
			t.err = fault.New(fault.TooLarge, "scanned range has a key that is too long")
		}
		t.ranges = append(t.ranges, seen)
	}
}

// Put implements [store.Txn].
func (t *txn) Put(key store.Key, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	return t.write(write{key, value})
}

// Delete implements [store.Txn].
func (t *txn) Delete(key store.Key) error { return t.write(write{key: key}) }

func (t *txn) write(w write) error {
	if t.err == nil {
		t.err = t.budget.Spend(w.key, w.value)
	}
	if t.err != nil {
		return t.err
	}
	t.pending.Set(string(w.key), w)
	return nil
}

// transaction returns what is to be proposed.
func (t *txn) transaction() *transaction {
	out := &transaction{base: t.snap.index, reads: t.reads, ranges: t.ranges, writes: make([]write, 0, t.pending.Len())}
	t.pending.Ascend("", "", func(_ string, w write) bool {
		out.writes = append(out.writes, w)
		return true
	})
	return out
}
