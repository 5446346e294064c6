package raft

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/raft"

	"github.com/cofferhq/coffer/internal/store"
)

// received is a state that has come from elsewhere, complete and on disk, but
// not yet in force.
type received struct {
	meta    raft.SnapshotMeta
	db      *database
	purpose byte
	commit  store.Index
	floor   store.Index
}

// receiver builds a state in a folder of its own from a stream that is written
// to it.
type receiver struct {
	store *snapshotStore
	into  received
	to    *io.PipeWriter
	done  chan error // holds what became of it
}

func newReceiver(s *snapshotStore, meta raft.SnapshotMeta) (*receiver, error) {
	path := s.fs.PathJoin(s.root, fmt.Sprintf("%s-%d-%d", firstState, meta.Term, meta.Index))
	if err := s.dropReceived(); err != nil {
		return nil, err
	}
	if err := s.fs.RemoveAll(path); err != nil {
		return nil, fmt.Errorf("removing what is left of an earlier copy: %w", err)
	}
	db, err := s.open(path)
	if err != nil {
		return nil, err
	}
	if err := syncDir(s.fs, s.root); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	from, to := io.Pipe()
	r := &receiver{store: s, into: received{meta: meta, db: db}, to: to, done: make(chan error, 1)}
	go func() {
		err := r.build(from)
		from.CloseWithError(err)
		r.done <- err
	}()
	return r, nil
}

// Write takes over a piece of the stream.
func (r *receiver) Write(p []byte) (int, error) { return r.to.Write(p) }

// receiveBatch is how many bytes of rows are written at once.
const receiveBatch = 1 << 20

// build writes the rows of the stream to the new state.
func (r *receiver) build(from io.Reader) error {
	s, err := newStreamReader(from)
	if err != nil {
		return err
	}
	r.into.purpose, r.into.commit, r.into.floor = s.purpose, s.commit, s.floor
	batch := r.into.db.NewBatch()
	defer func() { _ = batch.Close() }()
	flush := func() error {
		if err := r.into.db.Apply(batch, pebble.NoSync); err != nil {
			return err
		}
		batch.Reset()
		return nil
	}
	for {
		key, row, err := s.next()
		if errors.Is(err, io.EOF) && !errors.Is(err, errStream) {
			break
		}
		if err != nil {
			return err
		}
		if s.purpose == forRestore && slices.ContainsFunc(r.store.own, func(own store.Range) bool { return own.Contains(key) }) {
			continue
		}
		if err := batch.Set(rowKey(key), row, nil); err != nil {
			return err
		}
		if batch.Len() >= receiveBatch {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	return r.into.db.Flush()
}

// cancel drops what was received.
func (r *receiver) cancel() error {
	r.to.CloseWithError(errors.New("the copy was given up"))
	<-r.done
	return r.drop()
}

func (r *receiver) drop() error { return r.store.discard(r.into.db) }

// finish waits until everything is on disk, and keeps it for the machine.
func (r *receiver) finish() error {
	_ = r.to.Close() // always nil
	if err := <-r.done; err != nil {
		return errors.Join(err, r.drop())
	}
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	r.store.received = &r.into
	return nil
}

// discard closes and removes a state that is not in force.
func (s *snapshotStore) discard(db *database) error {
	return errors.Join(db.Close(), s.fs.RemoveAll(s.fs.PathJoin(s.root, db.dir)))
}

// dropReceived removes a state that was received and never put in force.
func (s *snapshotStore) dropReceived() error {
	if r := s.takeReceived(); r != nil {
		return s.discard(r.db)
	}
	return nil
}

func (s *snapshotStore) takeReceived() *received {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.received
	s.received = nil
	return r
}

// Restore implements [raft.FSM]: it puts the state in force that was received.
// Up to the moment when the file that names the state's folder is replaced,
// nothing has changed; from then on a crash leaves the new state.
func (m *machine) Restore(io.ReadCloser) error {
	r := m.snapshots.takeReceived()
	if r == nil {
		return errors.New("restoring a state: none was received")
	}
	to := applied{log: r.meta.Index, term: r.meta.Term, commit: r.commit, floor: r.floor}
	if r.purpose == forRestore {
		to.commit = max(m.at.commit, r.commit) + 1
		to.floor = to.commit
	}
	if err := m.putInForce(r, to); err != nil {
		// Of two states nobody would know which is this node's. Raft would end
		// the process over the error.
		m.err = fmt.Errorf("taking over a state: %w", err)
		m.failed(m.err)
		select {}
	}
	m.at = to
	m.members.Store(&members{Index: r.meta.ConfigurationIndex, Configuration: r.meta.Configuration})
	m.recent.reset(to.commit)
	m.replaced(to.commit)
	return nil
}

func (m *machine) putInForce(r *received, to applied) error {
	batch := r.db.NewBatch()
	defer batch.Close()
	if err := setMembers(batch, members{Index: r.meta.ConfigurationIndex, Configuration: r.meta.Configuration}); err != nil {
		return err
	}
	if err := batch.Set(appliedKey, to.encode(), nil); err != nil {
		return err
	}
	if r.purpose == forRestore {
		for _, own := range m.snapshots.own {
			if err := copyRows(batch, m.state.db, own); err != nil {
				return err
			}
		}
	}
	if err := r.db.Apply(batch, pebble.NoSync); err != nil {
		return err
	}
	if err := r.db.Flush(); err != nil {
		return err
	}
	m.snapshots.mu.Lock()
	defer m.snapshots.mu.Unlock()
	if err := m.snapshots.saveLocked(snapshotFile{SnapshotMeta: r.meta, State: r.db.dir}); err != nil {
		return err
	}
	before := m.state.db
	return m.state.replace(r.db, to, func() {
		// The next start removes what cannot be removed now.
		_ = m.snapshots.fs.RemoveAll(m.snapshots.fs.PathJoin(m.snapshots.root, before.dir))
	})
}

// copyRows takes rows over as they are, versions included.
func copyRows(to *pebble.Batch, from pebble.Reader, rg store.Range) (err error) {
	it, err := from.NewIter(bounds(rg.Start, rg.End))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		if err := to.Set(it.Key(), it.Value(), nil); err != nil {
			return err
		}
	}
	return it.Error()
}
