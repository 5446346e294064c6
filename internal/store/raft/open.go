package raft

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft"

	"github.com/cofferhq/coffer/internal/store"
)

// Open opens the store in config.Path, making it if it is not there, and
// returns once this node can write.
func Open(config Config) (*Store, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Store{
		config:    config,
		proposals: make(chan *proposal, maxPack),
		inFlight:  make(chan entryInFlight, pipelined-1),
		lanes:     newLanes(),
		compact:   make(chan struct{}, 1),
		cutting:   make(chan struct{}, 1),
		stopped:   make(chan struct{}),
		settled:   make(chan struct{}),
		broken:    make(chan struct{}),
	}
	s.watchers.Store(new([]*store.Watcher))
	var undo cleanup
	err = s.unlessBroken(func() error {
		if err := s.openFiles(&undo); err != nil {
			return err
		}
		return s.startRaft(&undo)
	})
	if err == nil {
		s.log.opened.Store(true)
		return s, nil
	}
	err = fmt.Errorf("opening storage: %w", err)
	if s.failure.Load() != nil {
		return nil, err // as in Close, nothing is touched any more
	}
	return nil, errors.Join(err, undo.run())
}

// cleanup is what to do, last first, if opening fails half way.
type cleanup []func() error

func (c *cleanup) add(f func() error) { *c = append(*c, f) }

func (c *cleanup) run() error {
	var errs []error
	for i := len(*c) - 1; i >= 0; i-- {
		errs = append(errs, (*c)[i]())
	}
	return errors.Join(errs...)
}

// openFiles takes the lock and opens state and log.
func (s *Store) openFiles(undo *cleanup) error {
	private := privateFS{s.config.FS}
	path := s.config.Path
	logDir, stateDir := private.PathJoin(path, "log"), private.PathJoin(path, "state")
	for _, dir := range []string{path, logDir, stateDir} {
		if err := makeDir(private, dir); err != nil {
			return err
		}
	}
	if err := syncDir(private, path); err != nil {
		return err
	}
	lock, err := private.Lock(private.PathJoin(path, "LOCK"))
	if err != nil {
		return fmt.Errorf("%s is in use by another process (or cannot be locked): %w", path, err)
	}
	s.unlock = lock.Close
	undo.add(lock.Close)
	if s.space, err = newSpace(private, path, s.config.ReserveBytes, s.config.Clock); err != nil {
		return err
	}
	disk := vfs.OnDiskFull(private, s.space.giveUp)
	if s.nodeID, err = nodeID(disk, private.PathJoin(path, "node-id"), s.config.NodeID); err != nil {
		return err
	}
	events := &pebble.EventListener{
		BackgroundError: s.backgroundError,
		// Left to Pebble, the first damaged block would end the process. Here
		// the read of it fails.
		DataCorruption: func(d pebble.DataCorruptionInfo) {
			s.config.Logger.Error("a file of the storage is damaged; restore this node from a snapshot or a peer",
				"file", d.Path, "error", d.Details)
		},
	}
	s.state, err = openState(stateDir, s.config.CacheBytes, stateFS{disk, s.failAndPark},
		pebbleLogger{s.config.Logger, s.failAndPark}, events)
	if err != nil {
		return err
	}
	undo.add(s.state.close)
	s.log, err = openLog(logDir, disk, s.config, s.space.giveUp, s.fail, s.failAndPark)
	if err != nil {
		return err
	}
	undo.add(s.log.Close)
	return nil
}

// backgroundError is told of a flush or compaction that did not succeed. With
// no room it is tried again; any other failed write is the last.
func (s *Store) backgroundError(err error) {
	if vfs.IsNoSpaceError(err) {
		s.space.giveUp()
		s.config.Logger.Error("no room left on the storage's disk", "path", s.config.Path, "error", err)
		return
	}
	s.fail(err)
}

// nodeID returns the id kept in the directory. One that is configured must
// agree with it.
func nodeID(fsys vfs.FS, path, configured string) (raft.ServerID, error) {
	b, err := readFile(fsys, path)
	if err == nil {
		if configured != "" && configured != string(b) {
			return "", fmt.Errorf("%s belongs to node %q and cannot be used by node %q", fsys.PathDir(path), b, configured)
		}
		return raft.ServerID(b), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if configured == "" {
		var random [8]byte
		_, _ = rand.Read(random[:]) // never fails
		configured = "node-" + hex.EncodeToString(random[:])
	}
	return raft.ServerID(configured), writeFile(fsys, path, []byte(configured))
}

// alone are the timings of a cluster of one, which has nobody to wait for.
const alone = time.Second

func (s *Store) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = s.nodeID
	c.Logger = &quiet{logger: s.config.Logger}
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = alone, alone, alone/2
	c.MaxAppendEntries = 64
	c.NoSnapshotRestoreOnStart = true
	c.NoLegacyTelemetry = true
	// The compactor decides when, by size; the log keeps nothing for
	// followers that there are not.
	c.SnapshotInterval = math.MaxInt64 / 4
	c.SnapshotThreshold = math.MaxUint64
	c.TrailingLogs = 0
	return c
}

// startRaft starts raft on what openFiles has opened, and waits until
// everything in the log has been applied.
func (s *Store) startRaft(undo *cleanup) (err error) {
	snapshots := &snapshotStore{s.space.fs, s.space.fs.PathJoin(s.config.Path, "snapshot")}
	if err := s.checkComplete(snapshots); err != nil {
		return err
	}
	s.machine = &machine{state: s.state, at: s.state.position(), notify: s.notify, failed: s.fail, broken: s.broken, grown: s.logGrew}
	s.machine.recent.limit = remembered
	s.machine.recent.reset(s.machine.at.commit)

	transport := s.config.Transport
	var loop *raft.InmemTransport
	if transport == nil {
		_, loop = raft.NewInmemTransport(raft.ServerAddress(s.nodeID))
		loop.Connect(loop.LocalAddr(), loop)
		transport = loop
	}
	config := s.raftConfig()
	if loop != nil {
		if err := s.found(config, snapshots, loop); err != nil {
			return err
		}
	}
	if s.raft, err = s.newRaft(config, snapshots, transport); err != nil {
		return err
	}
	undo.add(func() error { s.halt(); s.tasks.Wait(); return s.raft.Shutdown().Error() })
	s.logGrew((s.log.meta.segments() - 1) * s.config.SegmentBytes) // what crashes have left
	s.tasks.Go(s.propose)
	s.tasks.Go(s.settle)
	s.tasks.Go(s.compactor)
	s.tasks.Go(func() { // nothing may be written once the store has failed
		select {
		case <-s.broken:
			s.raft.Shutdown()
		case <-s.settled:
		}
	})
	if loop == nil {
		return nil
	}
	return s.lead(loop)
}

// newRaft is raft.NewRaft, which panics over a log that it cannot read.
func (s *Store) newRaft(config *raft.Config, snapshots raft.SnapshotStore, transport raft.Transport) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			cause, ok := p.(error)
			if !ok {
				cause = fmt.Errorf("%v", p)
			}
			err = fmt.Errorf("reading the log: %w", cause)
		}
	}()
	return raft.NewRaft(config, s.machine, s.log, s.log, snapshots, transport)
}

// keyTerm is where raft keeps the current term.
var keyTerm = []byte("CurrentTerm")

// found makes an empty directory a cluster of one. It takes up a founding that
// a crash has interrupted: that one has set the first term and no more, while
// a node that has been elected once is beyond the first term.
func (s *Store) found(config *raft.Config, snapshots raft.SnapshotStore, loop *raft.InmemTransport) error {
	term, err := s.log.GetUint64(keyTerm)
	if err != nil {
		return err
	}
	if term == 1 {
		if last, err := s.log.LastIndex(); err != nil {
			return err
		} else if last == 0 {
			if err := s.log.SetUint64(keyTerm, 0); err != nil {
				return err
			}
		}
	}
	exists, err := raft.HasExistingState(s.log, s.log, snapshots)
	if err != nil || exists {
		return err
	}
	return raft.BootstrapCluster(config, s.log, s.log, snapshots, loop, raft.Configuration{
		Servers: []raft.Server{{Suffrage: raft.Voter, ID: s.nodeID, Address: loop.LocalAddr()}},
	})
}

// checkComplete refuses a log that ends before the state does: every applied
// entry was durable in the log first, so part of the log has been lost.
func (s *Store) checkComplete(snapshots *snapshotStore) error {
	metas, err := snapshots.List()
	if err != nil {
		return err
	}
	last, err := s.log.LastIndex()
	if err != nil {
		return err
	}
	for _, m := range metas {
		last = max(last, m.Index)
	}
	if at := s.state.position().log; at > last {
		return fmt.Errorf("the log in %s ends at entry %d, but the state has applied entry %d: log files are missing or were cut off; "+
			"restore this node from a snapshot or a peer", s.log.dir, last, at)
	}
	return nil
}

// lead makes the only node of a cluster the leader at once, rather than when
// its patience with a leader that does not exist has ended, and waits until
// the log has been applied.
func (s *Store) lead(loop *raft.InmemTransport) error {
	members := s.raft.GetConfiguration()
	if err := members.Error(); err != nil {
		return err
	}
	if len(members.Configuration().Servers) == 0 {
		return fmt.Errorf("the log in %s has lost its beginning, which says who the cluster's members are; "+
			"restore this node from a snapshot", s.log.dir)
	}
	request := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}
	var response raft.TimeoutNowResponse
	if err := loop.TimeoutNow(s.nodeID, loop.LocalAddr(), &request, &response); err != nil {
		return fmt.Errorf("calling for an election: %w", err)
	}
	timeout := s.config.Clock.After(s.config.OpenTimeout)
	select {
	case <-s.raft.LeaderCh():
	case <-s.stopped:
		return s.usable()
	case <-timeout:
		return errors.New("this node was not elected in time")
	}
	applied := make(chan error, 1)
	go func() { applied <- s.raft.Barrier(0).Error() }()
	select {
	case err := <-applied:
		return err
	case <-timeout:
		return errors.New("the log was not applied in time; allow more time to open")
	}
}
