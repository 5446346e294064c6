package raft

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/cofferhq/coffer/internal/clock"
)

// logStore is the replicated log on disk. Its first failed write is its last:
// from then on every write fails, because nobody knows any more what is on the
// disk and what only in the kernel's memory.
type logStore struct {
	*wal.WAL
	dir   string
	fs    vfs.FS
	meta  *metaFile
	clock clock.Clock

	failed      func(error)
	failAndPark func(error)
	broken      atomic.Pointer[error]
	opened      atomic.Bool // set once Open has succeeded

	busy *stopwatch // the running write
	// lastWrite is how long the last write took.
	lastWrite atomic.Int64
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.StableStore       = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

// openLog opens the log in dir, which is there. full is called when there is
// no room for another segment, failed when a write has not succeeded.
func openLog(dir string, fsys vfs.FS, config Config, full func(), failed, failAndPark func(error)) (*logStore, error) {
	l := &logStore{dir: dir, fs: fsys, clock: config.Clock, busy: newStopwatch(config.Clock), failed: failed, failAndPark: failAndPark}
	l.meta = &metaFile{fs: fsys, path: fsys.PathJoin(dir, "meta")}
	if err := l.mendTail(); err != nil {
		return nil, err
	}
	w, err := wal.Open(dir,
		wal.WithCodec(codec{}),
		wal.WithMetaStore(l.meta),
		wal.WithSegmentFiler(filer{segment.NewFiler(dir, segmentFS{fsys, full})}),
		wal.WithSegmentSize(config.SegmentBytes),
		wal.WithLogger(&quiet{logger: config.Logger}))
	if err != nil {
		return nil, fmt.Errorf("opening the log in %s: %w", dir, err)
	}
	l.WAL = w
	return l, nil
}

// writing runs one write, unless an earlier one has failed.
func (l *logStore) writing(what string, write func() error) error {
	if broken := l.broken.Load(); broken != nil {
		return *broken
	}
	l.busy.begin()
	err := write()
	l.lastWrite.Store(int64(l.busy.end()))
	if err != nil {
		err = fmt.Errorf("%s in %s: %w", what, l.dir, err)
		l.broken.CompareAndSwap(nil, &err)
		l.failed(err)
	}
	return err
}

// StoreLog implements [raft.LogStore].
func (l *logStore) StoreLog(entry *raft.Log) error { return l.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements [raft.LogStore].
func (l *logStore) StoreLogs(entries []*raft.Log) error {
	return l.writing("writing the log", func() error { return l.WAL.StoreLogs(entries) })
}

// DeleteRange implements [raft.LogStore].
func (l *logStore) DeleteRange(first, last uint64) error {
	return l.writing("cutting the log", func() error { return l.WAL.DeleteRange(first, last) })
}

// Set implements [raft.StableStore].
func (l *logStore) Set(key, value []byte) error {
	return l.orPark(l.writing("writing term and vote", func() error { return l.WAL.Set(key, value) }))
}

// SetUint64 implements [raft.StableStore].
func (l *logStore) SetUint64(key []byte, value uint64) error {
	return l.orPark(l.writing("writing term and vote", func() error { return l.WAL.SetUint64(key, value) }))
}

// orPark never returns an error: raft panics over those that it gets here.
func (l *logStore) orPark(err error) error {
	if err != nil {
		l.failAndPark(err)
	}
	return nil
}

// GetLog implements [raft.LogStore], naming the file of an entry that cannot
// be read.
func (l *logStore) GetLog(index uint64, entry *raft.Log) error {
	err := l.WAL.GetLog(index, entry)
	if err == nil && entry.Index != index {
		err = fmt.Errorf("%w: it is entry %d", errChecksum, entry.Index)
	}
	if err == nil || errors.Is(err, raft.ErrLogNotFound) {
		return err
	}
	err = fmt.Errorf("log entry %d in %s is damaged: %w", index, l.fs.PathJoin(l.dir, l.meta.segmentOf(index)), err)
	if l.opened.Load() {
		l.failAndPark(err) // raft would panic
	}
	return err
}

// stalled returns how long the running write has taken so far.
func (l *logStore) stalled() time.Duration { return l.busy.running() }

// filer names our codec in segment headers. raft-wal 0.4 takes a codec but
// describes every segment that it makes as written by its own, and then refuses
// to open it.
type filer struct{ types.SegmentFiler }

// Create implements [types.SegmentFiler].
func (f filer) Create(info types.SegmentInfo) (types.SegmentWriter, error) {
	info.Codec = codecID
	return f.SegmentFiler.Create(info)
}

// RecoverTail implements [types.SegmentFiler].
func (f filer) RecoverTail(info types.SegmentInfo) (types.SegmentWriter, error) {
	info.Codec = codecID
	return f.SegmentFiler.RecoverTail(info)
}

// Open implements [types.SegmentFiler].
func (f filer) Open(info types.SegmentInfo) (types.SegmentReader, error) {
	info.Codec = codecID
	return f.SegmentFiler.Open(info)
}

// metaFile is raft-wal's own bookkeeping and raft's term and vote: one small
// file, replaced as a whole.
type metaFile struct {
	fs   vfs.FS
	path string

	mu      sync.Mutex
	content metaContent // guarded by mu
}

type metaContent struct {
	Version int
	Log     types.PersistentState
	Stable  map[string][]byte
}

var _ types.MetaStore = (*metaFile)(nil)

// Load implements [types.MetaStore].
func (m *metaFile) Load(string) (types.PersistentState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := readFile(m.fs, m.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		m.content = metaContent{Version: 1}
	case err != nil:
		return types.PersistentState{}, err
	default:
		if err := json.Unmarshal(b, &m.content); err != nil {
			return types.PersistentState{}, fmt.Errorf("reading %s: %w", m.path, err)
		}
	}
	if m.content.Version != 1 {
		return types.PersistentState{}, fmt.Errorf("reading %s: format %d is not known to this version", m.path, m.content.Version)
	}
	if m.content.Stable == nil {
		m.content.Stable = map[string][]byte{}
	}
	return m.content.Log, nil
}

// CommitState implements [types.MetaStore].
func (m *metaFile) CommitState(state types.PersistentState) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range state.Segments {
		state.Segments[i].Codec = codecID // see filer
	}
	m.content.Log = state
	return m.saveLocked()
}

func (m *metaFile) saveLocked() error {
	b, err := json.Marshal(m.content)
	if err != nil {
		return err
	}
	return writeFile(m.fs, m.path, b)
}

// GetStable implements [types.MetaStore].
func (m *metaFile) GetStable(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]byte(nil), m.content.Stable[string(key)]...), nil
}

// SetStable implements [types.MetaStore].
func (m *metaFile) SetStable(key, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.content.Stable[string(key)] = append([]byte(nil), value...)
	return m.saveLocked()
}

// Close implements [types.MetaStore].
func (m *metaFile) Close() error { return nil }

// sealed returns the state with its last segment sealed, as b says that it is,
// and an empty one to follow.
func sealed(state types.PersistentState, b batches, now func() time.Time) types.PersistentState {
	tail := &state.Segments[len(state.Segments)-1]
	tail.SealTime = now()
	tail.MaxIndex = tail.BaseIndex + uint64(b.entries) - 1
	tail.IndexStart = uint64(b.index)
	next := types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: tail.MaxIndex + 1, MinIndex: tail.MaxIndex + 1,
		SizeLimit: tail.SizeLimit, CreateTime: tail.SealTime,
	}
	state.NextSegmentID++
	state.Segments = append(state.Segments, next)
	return state
}

// segmentOf returns the name of the file that holds the entry.
func (m *metaFile) segmentOf(index uint64) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := "?"
	for _, s := range m.content.Log.Segments {
		if s.BaseIndex <= index {
			name = segment.FileName(s)
		}
	}
	return name
}

// tail returns the segment that is being written.
func (m *metaFile) tail() (types.SegmentInfo, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := len(m.content.Log.Segments)
	if n == 0 || !m.content.Log.Segments[n-1].SealTime.IsZero() {
		return types.SegmentInfo{}, false
	}
	return m.content.Log.Segments[n-1], true
}

// segments returns how many files the log has.
func (m *metaFile) segments() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.content.Log.Segments)
}
