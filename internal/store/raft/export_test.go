package raft

import (
	"bytes"
	"errors"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/store"
)

// NextBatch finds the end of the batch of frames that begins at start.
func NextBatch(segment []byte, start int) (end int, ok bool) {
	one, ok := readBatch(segment, start)
	return one.end, ok
}

// FlushState writes everything applied to the disk.
func FlushState(s *Store) error { return s.state.db.Flush() }

// Machine is a state machine of its own, fed by hand.
type Machine struct{ machine }

// NewMachine returns a machine over an empty state in dir of the file system.
func NewMachine(fs vfs.FS, dir string) (*Machine, error) {
	s, err := openState(dir, opener{fs, pebble.NewCache(1 << 20), pebbleLogger{slog.New(slog.DiscardHandler), func(err error) { panic(err) }}, nil})
	if err != nil {
		return nil, err
	}
	m := &Machine{machine{state: s, notify: func([]winner) {}, failed: func(err error) { panic(err) }, grown: func(int) {}, busy: newStopwatch(clock.System{})}}
	m.recent.limit = 10 // so that tests get beyond it
	m.Forget()
	return m, nil
}

// Forget empties the machine's memory of recent writes, as a restart does.
func (m *Machine) Forget() { m.recent.reset(m.at.commit) }

// Close closes the state.
func (m *Machine) Close() error { return m.state.close() }

// Commit returns the index of the last commit.
func (m *Machine) Commit() store.Index { return m.at.commit }

// Rows returns every row as Pebble has it, versions included.
func (m *Machine) Rows() (map[string]string, error) {
	it, err := m.state.db.NewIter(nil)
	if err != nil {
		return nil, err
	}
	rows := map[string]string{}
	for ok := it.First(); ok; ok = it.Next() {
		rows[string(it.Key())] = string(it.Value())
	}
	return rows, errors.Join(it.Error(), it.Close())
}

// Committed counts the transactions that an answer of the machine reports as
// committed, or gives -1 for a refused entry.
func Committed(answer any) int {
	verdicts, ok := answer.([]verdict)
	if !ok {
		return -1
	}
	n := 0
	for _, v := range verdicts {
		if !v.lost {
			n++
		}
	}
	return n
}

// A Transaction is built by hand and encoded.
type Transaction struct{ transaction }

// At sets the commit whose state it has read.
func (t *Transaction) At(base store.Index) { t.base = base }

// Read adds a read.
func (t *Transaction) Read(k store.Key, version store.Index) {
	t.reads = append(t.reads, keyRead{k, version})
}

// Scan adds a scanned range.
func (t *Transaction) Scan(start, end store.Key, count uint64) {
	t.ranges = append(t.ranges, rangeRead{start, end, count})
}

// Write adds a write; they must be in order. A nil value removes the row.
func (t *Transaction) Write(k store.Key, value []byte) { t.writes = append(t.writes, write{k, value}) }

// Entry packs transactions.
func Entry(txns ...Transaction) []byte {
	e := newEntry(0)
	for i := range txns {
		e = appendTransaction(e, txns[i].encode())
	}
	return e
}

// Reencode decodes an entry and encodes what it holds.
func Reencode(data []byte) ([]byte, error) {
	txns, err := decodeEntry(data)
	if err != nil {
		return nil, err
	}
	e := newEntry(0)
	for i := range txns {
		e = appendTransaction(e, txns[i].encode())
	}
	return e, nil
}

// DecodeRecord decodes a log record.
func DecodeRecord(b []byte, l *raft.Log) error { return codec{}.Decode(b, l) }

// EncodeRecord encodes a log record.
func EncodeRecord(l *raft.Log) []byte {
	var b bytes.Buffer
	_ = codec{}.Encode(l, &b) // a buffer takes everything
	return b.Bytes()
}

// ReadSegment reads a log file's batches as opening does.
func ReadSegment(b []byte) (end int, resumes bool) {
	all := readBatches(b)
	return all.end, all.resumes(b)
}

// CutWholeLog flushes the state and leaves no log.
func CutWholeLog(s *Store) {
	c := s.raft.ReloadableConfig()
	c.TrailingLogs = 0
	_ = s.raft.ReloadConfig(c) // the rest of it is as it was
	_ = s.raft.Snapshot().Error()
}

// KeptRows returns how many bytes of rows are kept, and how many may be.
func KeptRows(s *Store) (size, most int) {
	for i := range s.state.db.rows.shards {
		shard := &s.state.db.rows.shards[i]
		shard.mu.RLock()
		size += shard.size
		shard.mu.RUnlock()
	}
	return size, keptRows + rowShards*(maxKeptRow+rowCost+store.MaxKey)
}

// OpenLog opens the log in a folder by itself.
func OpenLog(dir string) (interface {
	raft.LogStore
	Close() error
}, error) {
	config, err := Config{Path: dir}.withDefaults()
	if err != nil {
		return nil, err
	}
	fail := func(err error) { panic(err) }
	return openLog(dir, config.FS, config, func() {}, fail, fail)
}
