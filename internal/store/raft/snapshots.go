package raft

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"
)

// snapshotStore keeps what raft must know to cut the log: the index up to
// which the state is flushed, its term and the configuration. The state itself
// is not copied, it is in Pebble already.
type snapshotStore struct {
	fs   vfs.FS
	path string
}

var _ raft.SnapshotStore = (*snapshotStore)(nil)

// List implements [raft.SnapshotStore].
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	b, err := readFile(s.fs, s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var meta raft.SnapshotMeta
	if err := json.Unmarshal(b, &meta); err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.path, err)
	}
	return []*raft.SnapshotMeta{&meta}, nil
}

// Open implements [raft.SnapshotStore]: it would stream the state to a
// follower that is too far behind for the log.
func (s *snapshotStore) Open(string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	return nil, nil, errors.New("sending the state to another node is not supported by a cluster of one")
}

// Create implements [raft.SnapshotStore].
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport,
) (raft.SnapshotSink, error) {
	return &snapshotSink{store: s, meta: raft.SnapshotMeta{
		Version: version, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex,
	}}, nil
}

// snapshotSink writes its meta data when it is closed.
type snapshotSink struct {
	store *snapshotStore
	meta  raft.SnapshotMeta
}

// Write implements [raft.SnapshotSink]. There is nothing to write.
func (s *snapshotSink) Write([]byte) (int, error) {
	return 0, errors.New("receiving the state of another node is not supported by a cluster of one")
}

// ID implements [raft.SnapshotSink].
func (s *snapshotSink) ID() string { return s.meta.ID }

// Cancel implements [raft.SnapshotSink].
func (s *snapshotSink) Cancel() error { return nil }

// Close implements [raft.SnapshotSink].
func (s *snapshotSink) Close() error {
	b, err := json.Marshal(s.meta)
	if err != nil {
		return err
	}
	return writeFile(s.store.fs, s.store.path, b)
}

// Snapshot implements [raft.FSM]. It begins to flush everything applied so
// far, without waiting.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	flushed, err := m.state.db.AsyncFlush()
	if err != nil {
		return nil, err
	}
	return flush{flushed, m.broken}, nil
}

// flush is a state on its way to the disk.
type flush struct{ done, broken <-chan struct{} }

// Persist implements [raft.FSMSnapshot]: once it returns, the log up to the
// snapshot's index is not needed any more.
func (f flush) Persist(raft.SnapshotSink) error {
	if f.done == nil {
		return nil // there was nothing to flush
	}
	select {
	case <-f.done:
		return nil
	case <-f.broken:
		return errors.New("storage has failed")
	}
}

// Release implements [raft.FSMSnapshot].
func (flush) Release() {}
