package raft

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/cofferhq/coffer/internal/store"
)

// The store's own rows, before those of the callers: how far the state has
// come, and who was a member then.
var (
	appliedKey = []byte{0x00}
	membersKey = []byte{0x00, 0x01}
)

// applied is how far a state has come.
type applied struct {
	log    uint64      // index of the last log entry applied
	term   uint64      // its term
	commit store.Index // index of the last commit
	// floor is the commit that put a restored backup in the place of the state
	// before it, or 0. What was read before it says nothing about what is there
	// now, whatever the versions say.
	floor store.Index
}

const (
	appliedLen = 32
	// appliedLenV1 is the row's length before there was a floor.
	appliedLenV1 = 24
)

func (a applied) encode() []byte {
	b := make([]byte, 0, appliedLen)
	b = binary.BigEndian.AppendUint64(b, a.log)
	b = binary.BigEndian.AppendUint64(b, a.term)
	b = binary.BigEndian.AppendUint64(b, uint64(a.commit))
	return binary.BigEndian.AppendUint64(b, uint64(a.floor))
}

func decodeApplied(b []byte) (applied, error) {
	if len(b) != appliedLen && len(b) != appliedLenV1 {
		return applied{}, errors.New("row of the applied index has the wrong length")
	}
	a := applied{
		log:    binary.BigEndian.Uint64(b),
		term:   binary.BigEndian.Uint64(b[8:]),
		commit: store.Index(binary.BigEndian.Uint64(b[16:])),
	}
	if len(b) == appliedLen {
		a.floor = store.Index(binary.BigEndian.Uint64(b[24:]))
	}
	return a, nil
}

// members are the servers of the cluster as of a log entry.
type members struct {
	Index         uint64
	Configuration raft.Configuration
}

// state is the applied state: a database and the snapshots that readers hold
// of it. One goroutine applies and replaces, any number read.
type state struct {
	cache *pebble.Cache
	db    *database // set by the goroutine that applies, read by others under mu

	mu      sync.Mutex
	applied applied       // guarded by mu
	current *snapshot     // guarded by mu; the newest, made when first asked for
	readers int           // guarded by mu
	closed  bool          // guarded by mu
	drained chan struct{} // closed once the state is closed and has no readers
	retired sync.WaitGroup
}

// database is a Pebble and how many snapshots of it are held.
type database struct {
	*pebble.DB
	dir  string // its folder's name in the store's
	rows *rows
	refs int // guarded by the state's mu; the state holds one itself
	// discard removes the folder of a database that was replaced.
	discard func()
}

// snapshot is the state as of one commit, shared by everyone who reads it.
type snapshot struct {
	db     *database
	pebble *pebble.Snapshot
	index  store.Index
	refs   int // guarded by the state's mu
}

// pebbleOptions sizes Pebble for a store whose log is elsewhere and whose
// values are small and do not compress.
func pebbleOptions(fs vfs.FS, cache *pebble.Cache, logger pebble.Logger, events *pebble.EventListener) *pebble.Options {
	o := &pebble.Options{
		FS:                          fs,
		Cache:                       cache,
		Logger:                      logger,
		EventListener:               events,
		DisableWAL:                  true,
		FormatMajorVersion:          pebble.FormatNewest,
		MemTableSize:                8 << 20,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       20,
		LBaseMaxBytes:               256 << 20,
		MaxOpenFiles:                512,
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return o
}

// opener opens databases with the options of the store.
type opener struct {
	fs     vfs.FS
	cache  *pebble.Cache
	logger pebble.Logger
	events *pebble.EventListener
}

func (o opener) open(path string) (*database, error) {
	db, err := pebble.Open(path, pebbleOptions(o.fs, o.cache, o.logger, o.events))
	if err != nil {
		return nil, fmt.Errorf("opening the state in %s: %w", path, err)
	}
	return &database{DB: db, dir: o.fs.PathBase(path), rows: newRows(keptRows), refs: 1}, nil
}

func openState(path string, o opener) (*state, error) {
	db, err := o.open(path)
	if err != nil {
		o.cache.Unref()
		return nil, err
	}
	s := &state{db: db, cache: o.cache, drained: make(chan struct{})}
	s.applied, err = readApplied(db)
	if err != nil {
		err = errors.Join(fmt.Errorf("reading how far the state in %s has come: %w", path, err), db.Close())
		o.cache.Unref()
		return nil, err
	}
	return s, nil
}

// readApplied returns how far r has come, zeros if it is new.
func readApplied(r pebble.Reader) (applied, error) {
	stored, closer, err := r.Get(appliedKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return applied{}, nil
	}
	if err != nil {
		return applied{}, err
	}
	a, err := decodeApplied(stored)
	return a, errors.Join(err, closer.Close())
}

// readMembers returns the members as of r, none if none were noted yet.
func readMembers(r pebble.Reader) (members, error) {
	stored, closer, err := r.Get(membersKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return members{}, nil
	}
	if err != nil {
		return members{}, err
	}
	var m members
	err = json.Unmarshal(stored, &m)
	return m, errors.Join(err, closer.Close())
}

// setMembers notes the members.
func setMembers(b *pebble.Batch, m members) error {
	encoded, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return b.Set(membersKey, encoded, nil)
}

// folder returns the name of the folder of the state in force.
func (s *state) folder() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.db.dir
}

// position returns how far the state has come.
func (s *state) position() applied {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.applied
}

// acquire returns the newest snapshot, which the caller must release.
func (s *state) acquire() (*snapshot, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	snap := s.currentLocked()
	snap.refs++
	s.readers++
	return snap, nil
}

// currentLocked returns the newest snapshot. While a batch is being applied
// that is the one from before, which apply has seen to.
func (s *state) currentLocked() *snapshot {
	if s.current == nil {
		s.db.refs++
		s.current = &snapshot{db: s.db, pebble: s.db.NewSnapshot(), index: s.applied.commit, refs: 1}
	}
	return s.current
}

func (s *state) release(snap *snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unrefLocked(snap)
	s.readers--
	if s.closed && s.readers == 0 {
		close(s.drained)
	}
}

func (s *state) unrefLocked(snap *snapshot) {
	if snap.refs--; snap.refs > 0 {
		return
	}
	_ = snap.pebble.Close() // always nil
	s.unrefDatabaseLocked(snap.db)
}

// unrefDatabaseLocked closes and removes a database that was replaced once
// nobody reads it any more.
func (s *state) unrefDatabaseLocked(db *database) {
	if db.refs--; db.refs > 0 {
		return
	}
	s.retired.Go(func() {
		_ = db.Close() // nothing is kept of it
		db.discard()
	})
}

// apply makes batch, which brings the state to position to, visible.
func (s *state) apply(batch *pebble.Batch, to applied) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return errClosed
	}
	s.currentLocked()
	s.mu.Unlock()

	if err := batch.Set(appliedKey, to.encode(), nil); err != nil {
		return err
	}
	if err := s.db.Apply(batch, pebble.NoSync); err != nil {
		return err
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied = to
	s.forgetCurrentLocked()
	return nil
}

// replace makes db, which has come to position to, the state. The one before
// is discarded when its readers are done.
func (s *state) replace(db *database, to applied, discard func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.forgetCurrentLocked()
	before := s.db
	before.discard = discard
	s.db, s.applied = db, to
	s.unrefDatabaseLocked(before)
	return nil
}

func (s *state) forgetCurrentLocked() {
	if s.current != nil {
		s.unrefLocked(s.current)
		s.current = nil
	}
}

// close waits for the readers, flushes and closes Pebble. Nothing may be
// applied any more.
func (s *state) close() error {
	s.mu.Lock()
	s.closed = true
	s.forgetCurrentLocked()
	if s.readers == 0 {
		close(s.drained)
	}
	s.mu.Unlock()
	<-s.drained
	s.retired.Wait()
	err := errors.Join(s.db.Flush(), s.db.Close())
	s.cache.Unref()
	return err
}
