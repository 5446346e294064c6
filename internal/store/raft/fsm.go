package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"

	"github.com/cofferhq/coffer/internal/store"
)

// machine is the replicated state machine: log entries in, commits out. Raft
// calls it from one goroutine. What it decides follows from the state and the
// entry alone.
type machine struct {
	state     *state
	snapshots *snapshotStore
	recent    recent
	at        applied // where the entries seen so far have brought the state
	err       error   // why an entry could not be applied; nothing is, after it
	// notify is told of the commits that have become visible, in order, before
	// their entries are answered.
	notify func([]winner)
	// replaced is told that another state has taken the place of the one before.
	replaced func(store.Index)
	// failed is told when the state can no longer be trusted.
	failed func(error)
	broken <-chan struct{} // closed when it has been
	// grown is told how many bytes of log an entry had.
	grown func(int)
	// members are those of the newest configuration applied.
	members atomic.Pointer[members]
	busy    *stopwatch // the running application of entries
	applies tally
}

var (
	_ raft.BatchingFSM = (*machine)(nil)
)

// verdict is what became of one transaction.
type verdict struct {
	index    store.Index
	lost     bool      // not committed, because
	conflict store.Key // this had changed
}

// Apply implements [raft.FSM].
func (m *machine) Apply(log *raft.Log) any { return m.ApplyBatch([]*raft.Log{log})[0] }

// ApplyBatch implements [raft.BatchingFSM]. An answer is a []verdict, one for
// each transaction of the entry, or an error.
func (m *machine) ApplyBatch(logs []*raft.Log) []any {
	answers := make([]any, len(logs))
	if m.err != nil {
		return m.refuse(answers)
	}
	m.busy.begin()
	defer func() { m.applies.add(1, m.busy.end()) }()
	m.recent.trim(m.at.commit)
	a := application{machine: m, batch: m.state.db.NewBatch(), at: m.at}
	defer a.batch.Close()
	for i, log := range logs {
		if log.Index <= m.at.log {
			continue
		}
		m.grown(len(log.Data))
		switch log.Type {
		case raft.LogCommand:
			answers[i] = a.entry(log)
		case raft.LogConfiguration:
			a.noteMembers(log)
		}
	}
	if a.err == nil && a.at != m.at {
		for _, w := range a.winners {
			m.state.db.rows.follow(w.writes, w.index)
		}
		a.err = m.state.apply(a.batch, a.at)
	}
	if a.err != nil {
		m.err = fmt.Errorf("applying log entry %d: %w", a.at.log, a.err)
		m.failed(m.err)
		return m.refuse(answers)
	}
	m.at = a.at
	if a.changed != nil {
		m.members.Store(a.changed)
	}
	m.notify(a.winners)
	return answers
}

func (m *machine) refuse(answers []any) []any {
	for i := range answers {
		answers[i] = m.err
	}
	return answers
}

// application is some entries on their way into one Pebble batch. The rows
// that are in the batch and not yet in the state are those that recent knows
// with an index above the machine's.
type application struct {
	*machine
	batch   *pebble.Batch
	at      applied
	winners []winner
	changed *members // nil unless the members have changed
	err     error    // the state could not be read
}

// entry applies one log entry and returns the answer.
func (a *application) entry(log *raft.Log) any {
	a.at.log, a.at.term = log.Index, log.Term
	txns, err := decodeEntry(log.Data)
	if err != nil {
		return err // the same on every node: an entry without effect
	}
	verdicts := make([]verdict, len(txns))
	for i := range txns {
		if a.err != nil {
			return a.err
		}
		verdicts[i] = a.transaction(&txns[i])
	}
	return verdicts
}

// noteMembers notes who the members are from this entry on.
func (a *application) noteMembers(log *raft.Log) {
	a.at.log, a.at.term = log.Index, log.Term
	a.changed = &members{log.Index, raft.DecodeConfiguration(log.Data)}
	a.err = errors.Join(a.err, setMembers(a.batch, *a.changed))
}

func (a *application) transaction(t *transaction) verdict {
	if t.base < a.at.floor { // it has read a state that is no more
		return verdict{lost: true, conflict: t.about()}
	}
	if key, ok := a.holds(t); !ok {
		return verdict{lost: true, conflict: key}
	}
	a.at.commit++
	index := a.at.commit
	for _, w := range t.writes {
		a.write(w, index)
	}
	a.winners = append(a.winners, winner{index, t.writes})
	return verdict{index: index}
}

// winner is a transaction that was committed.
type winner struct {
	index  store.Index
	writes []write
}

// commit is the winner as watchers see it.
func (w winner) commit() store.Commit {
	c := store.Commit{Index: w.index, Changes: make([]store.Change, len(w.writes))}
	for i, w := range w.writes {
		c.Changes[i] = store.Change{Key: w.key, Value: w.value}
	}
	return c
}

func (a *application) write(w write, index store.Index) {
	a.recent.add(w.key, lastWrite{index: index, removed: w.value == nil})
	if w.value == nil {
		d := a.batch.DeleteDeferred(1 + len(w.key))
		d.Key[0] = rowPrefix
		copy(d.Key[1:], w.key)
		a.err = errors.Join(a.err, d.Finish())
		return
	}
	d := a.batch.SetDeferred(1+len(w.key), versionLen+len(w.value))
	d.Key[0] = rowPrefix
	copy(d.Key[1:], w.key)
	binary.BigEndian.PutUint64(d.Value, uint64(index))
	copy(d.Value[versionLen:], w.value)
	a.err = errors.Join(a.err, d.Finish())
}

// holds reports whether everything that t has read is still so, else a key
// that is not.
func (a *application) holds(t *transaction) (store.Key, bool) {
	for i := range t.reads {
		r := &t.reads[i]
		now, err := a.version(r, t.base)
		if err != nil {
			a.err = err
		}
		if now != r.version || err != nil {
			return r.key, false
		}
	}
	for i := range t.ranges {
		if !a.rangeHolds(&t.ranges[i], t.base) {
			return t.ranges[i].start, false
		}
	}
	return "", true
}

// version returns the version that the row has now.
func (a *application) version(r *keyRead, base store.Index) (store.Index, error) {
	if w, ok := a.recent.get(r.key); ok {
		return w.version(), nil
	}
	if a.recent.complete(base) {
		return r.version, nil
	}
	stored, closer, err := a.state.db.Get(rowKey(r.key))
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	version, _, err := splitRow(stored)
	return version, err
}

// rangeHolds reports whether the range has exactly the rows that it had at
// base. It has if there are as many and none is newer: the rows of today are
// then all among those of then.
func (a *application) rangeHolds(r *rangeRead, base store.Index) bool {
	if r.end != "" && r.start >= r.end {
		return r.count == 0
	}
	touched, appeared := false, false
	a.recent.writtenAfter(base, r.start, r.end, func(w lastWrite) bool {
		touched = true
		appeared = !w.removed
		return !appeared
	})
	if appeared {
		return false
	}
	if !touched && a.recent.complete(base) {
		return true
	}
	count, err := a.countUntouched(r, base)
	if err != nil {
		a.err = err
	}
	return err == nil && count == r.count
}

// countUntouched counts the rows of the range as they are now. It gives a
// count that cannot be right when it meets a row newer than base. base may lie
// ahead of the state: a node that catches up applies in one batch what the
// leader had applied in several.
func (a *application) countUntouched(r *rangeRead, base store.Index) (count uint64, err error) {
	wrong := r.count + 1
	it, err := a.state.db.NewIter(bounds(r.start, r.end))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	inBatch := a.machine.at.commit
	for ok := it.First(); ok && count <= r.count; ok = it.Next() {
		if w, known := a.recent.get(store.Key(it.Key()[1:])); known && w.index > inBatch {
			continue // not as it is now
		}
		version, _, err := splitRow(it.Value())
		if err != nil {
			return 0, err
		}
		if version > base {
			return wrong, nil
		}
		count++
	}
	a.recent.writtenAfter(inBatch, r.start, r.end, func(w lastWrite) bool {
		if !w.removed {
			count++
		}
		if !w.removed && w.index > base {
			count = wrong
			return false
		}
		return true
	})
	return count, it.Error()
}
