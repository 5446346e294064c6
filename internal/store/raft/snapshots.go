package raft

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/cofferhq/coffer/internal/store"
)

// snapshotStore keeps what raft must know to cut the log: the index up to
// which the state is flushed, its term and the configuration; and which folder
// holds the state. Both are one small file, so that a state received from
// another node takes the place of the old one in one step. The state itself is
// not copied: it is in Pebble, and streamed from there.
type snapshotStore struct {
	fs    vfs.FS
	root  string // the store's folder
	state *state
	open  func(path string) (*database, error)
	own   []store.Range // not restored from backups

	mu       sync.Mutex
	received *received // guarded by mu; complete, and not yet in force
}

var _ raft.SnapshotStore = (*snapshotStore)(nil)

// snapshotFile is the content of the file "snapshot".
type snapshotFile struct {
	raft.SnapshotMeta
	// State is the folder of the state. Empty is firstState.
	State string
}

// firstState is the folder of a state that was never replaced.
const firstState = "state"

func (s *snapshotStore) path() string { return s.fs.PathJoin(s.root, "snapshot") }

// load returns the file's content, nil if there is none.
func (s *snapshotStore) load() (*snapshotFile, error) {
	b, err := readFile(s.fs, s.path())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := &snapshotFile{}
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("reading %s: %w", s.path(), err)
	}
	if f.State == "" {
		f.State = firstState
	}
	if f.State != s.fs.PathBase(f.State) || !strings.HasPrefix(f.State, firstState) {
		return nil, fmt.Errorf("reading %s: it names a folder that is none of a state", s.path())
	}
	return f, nil
}

// flushed notes that the state in the folder dir is on disk as of meta, unless
// another state was received meanwhile.
func (s *snapshotStore) flushed(dir string, meta raft.SnapshotMeta) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, err := s.load()
	if err != nil {
		return err
	}
	if now := s.state.folder(); dir != now || before != nil && before.Index > meta.Index {
		return fmt.Errorf("the state was replaced while it was flushed up to %d", meta.Index)
	}
	return s.saveLocked(snapshotFile{SnapshotMeta: meta, State: dir})
}

func (s *snapshotStore) saveLocked(f snapshotFile) error {
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return writeFile(s.fs, s.path(), b)
}

// stateDir returns the folder in force, and removes others: states that were
// replaced, or never came to an end.
func (s *snapshotStore) stateDir() (string, error) {
	f, err := s.load()
	if err != nil {
		return "", err
	}
	dir := firstState
	if f != nil {
		dir = f.State
	}
	names, err := s.fs.List(s.root)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if strings.HasPrefix(name, firstState) && name != dir {
			if err := s.fs.RemoveAll(s.fs.PathJoin(s.root, name)); err != nil {
				return "", fmt.Errorf("removing a state that is not in force: %w", err)
			}
		}
	}
	return dir, nil
}

// List implements [raft.SnapshotStore].
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	f, err := s.load()
	if err != nil || f == nil {
		return nil, err
	}
	return []*raft.SnapshotMeta{&f.SnapshotMeta}, nil
}

// Open implements [raft.SnapshotStore]. What was received is handed to the
// machine; anything else is a copy of the state as it is now, for a node that
// is too far behind for the log.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	if r := s.received; r != nil && r.meta.ID == id {
		s.mu.Unlock()
		return &r.meta, io.NopCloser(strings.NewReader("")), nil
	}
	s.mu.Unlock()
	f, err := s.load()
	if err != nil {
		return nil, nil, err
	}
	if f == nil {
		return nil, nil, errors.New("there is no snapshot yet")
	}
	return s.current(f.SnapshotMeta)
}

// current streams the state as it is now. known is the last snapshot: the state
// has everything up to it, and may have more.
func (s *snapshotStore) current(known raft.SnapshotMeta) (*raft.SnapshotMeta, io.ReadCloser, error) {
	snap, err := s.state.acquire()
	if err != nil {
		return nil, nil, err
	}
	meta, err := metaOf(snap, known)
	if err != nil {
		s.state.release(snap)
		return nil, nil, err
	}
	from, to := io.Pipe()
	c := &copying{PipeReader: from, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		to.CloseWithError(writeStream(to, snap.pebble, forReplica))
		s.state.release(snap)
	}()
	return meta, c, nil
}

// metaOf describes the stream of a snapshot.
func metaOf(snap *snapshot, known raft.SnapshotMeta) (*raft.SnapshotMeta, error) {
	at, err := readApplied(snap.pebble)
	if err != nil {
		return nil, err
	}
	m, err := readMembers(snap.pebble)
	if err != nil {
		return nil, err
	}
	meta := known
	if at.log > meta.Index { // else what is between the two has not changed the state
		meta.Index, meta.Term = at.log, at.term
	}
	if m.Index > meta.ConfigurationIndex {
		meta.ConfigurationIndex, meta.Configuration = m.Index, m.Configuration
	}
	meta.Size, err = streamSize(snap.pebble)
	return &meta, err
}

// copying is a stream that is being read.
type copying struct {
	*io.PipeReader
	ended chan struct{}
}

// Close implements [io.Closer]: it waits until the state is no longer read.
func (c *copying) Close() error {
	err := c.PipeReader.Close()
	<-c.ended
	return err
}

// Create implements [raft.SnapshotStore]. What is written to the sink makes it
// a state received from elsewhere; without that it notes that this node's own
// state was flushed.
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
	store    *snapshotStore
	meta     raft.SnapshotMeta
	flushing string    // folder of the state that is flushed
	receiver *receiver // nil until something is written
}

// Write implements [raft.SnapshotSink].
func (s *snapshotSink) Write(p []byte) (int, error) {
	if s.receiver == nil {
		var err error
		if s.receiver, err = newReceiver(s.store, s.meta); err != nil {
			return 0, err
		}
	}
	return s.receiver.Write(p)
}

// ID implements [raft.SnapshotSink].
func (s *snapshotSink) ID() string { return s.meta.ID }

// Cancel implements [raft.SnapshotSink].
func (s *snapshotSink) Cancel() error {
	if s.receiver == nil {
		return nil
	}
	return s.receiver.cancel()
}

// Close implements [raft.SnapshotSink].
func (s *snapshotSink) Close() error {
	if s.receiver != nil {
		return s.receiver.finish()
	}
	return s.store.flushed(s.flushing, s.meta)
}

// Snapshot implements [raft.FSM]. It begins to flush everything applied so
// far, without waiting.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	flushed, err := m.state.db.AsyncFlush()
	if err != nil {
		return nil, err
	}
	return flush{m.state.folder(), flushed, m.broken}, nil
}

// flush is a state on its way to the disk.
type flush struct {
	dir          string
	done, broken <-chan struct{}
}

// Persist implements [raft.FSMSnapshot]: once it returns, the log up to the
// snapshot's index is not needed any more.
func (f flush) Persist(sink raft.SnapshotSink) error {
	if s, ok := sink.(*snapshotSink); ok {
		s.flushing = f.dir
	}
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
