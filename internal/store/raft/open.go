package raft

import (
	"context"
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
		elected:   make(chan bool, 16),
		flushing:  newStopwatch(config.Clock),
	}
	s.office.changed = make(chan struct{})
	s.progress.changed = make(chan struct{})
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
	logDir := private.PathJoin(path, "log")
	for _, dir := range []string{path, logDir} {
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
	s.snapshots = &snapshotStore{fs: disk, root: path, own: s.config.Own}
	stateDir, err := s.snapshots.stateDir()
	if err != nil {
		return err
	}
	if err := makeDir(private, private.PathJoin(path, stateDir)); err != nil {
		return err
	}
	events := &pebble.EventListener{
		FlushBegin:      func(pebble.FlushInfo) { s.flushing.begin() },
		FlushEnd:        func(pebble.FlushInfo) { s.flushing.end() },
		BackgroundError: s.backgroundError,
		// Left to Pebble, the first damaged block would end the process. Here
		// the read of it fails.
		DataCorruption: func(d pebble.DataCorruptionInfo) {
			s.config.Logger.Error("a file of the storage is damaged; restore this node from a snapshot or a peer",
				"file", d.Path, "error", d.Details)
		},
	}
	states := opener{stateFS{disk, s.failAndPark}, pebble.NewCache(s.config.CacheBytes), pebbleLogger{s.config.Logger, s.failAndPark}, events}
	s.state, err = openState(private.PathJoin(path, stateDir), states)
	if err != nil {
		return err
	}
	undo.add(s.state.close)
	s.snapshots.state, s.snapshots.open = s.state, states.open
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

// NodeID returns the id of the node whose data directory is path, and chooses
// one if it has none yet. One that is configured must agree with it.
func NodeID(path, configured string) (string, error) {
	fs := privateFS{vfs.Default}
	if err := makeDir(fs, path); err != nil {
		return "", err
	}
	id, err := nodeID(fs, fs.PathJoin(path, "node-id"), configured)
	return string(id), err
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

// patience is how long a node does without a leader before it stands for
// election, at least; it is at most twice that. A leader that cannot reach a
// majority gives up a little earlier. Elections are held in two rounds, so that
// a node that was merely slow unseats nobody.
const patience = 700 * time.Millisecond

// tellCommit is how soon followers are told of a commit that no other follows,
// at least; it is at most twice that. The messages that tell them are sent for
// ever: at 10 ms an idle leader of three used 7 per cent of a processor, at 30 ms
// 3, at 500 ms 2.
const tellCommit = 30 * time.Millisecond

func (s *Store) raftConfig() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = s.nodeID
	c.Logger = &quiet{logger: s.config.Logger}
	span := patience * time.Duration(s.config.Multiplier)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = span, span, span*9/10
	// A follower learns from the next message what was committed by the last: in
	// a quiet cluster, this is how far it is behind.
	c.CommitTimeout = tellCommit
	c.MaxAppendEntries = 64
	c.NoSnapshotRestoreOnStart = true
	c.NoLegacyTelemetry = true
	// A node that was removed stays up, to say so.
	c.ShutdownOnRemove = false
	// The compactor decides when, by size, and how much to leave.
	c.SnapshotInterval = math.MaxInt64 / 4
	c.SnapshotThreshold = math.MaxUint64
	c.TrailingLogs = 0
	c.NotifyCh = s.elected
	return c
}

// startRaft starts raft on what openFiles has opened. A node that is the only
// voter leads when it returns, with everything in the log applied.
func (s *Store) startRaft(undo *cleanup) (err error) {
	if err := s.checkComplete(); err != nil {
		return err
	}
	if err := s.dropLogBehind(); err != nil {
		return err
	}
	if err := s.recoverAlone(); err != nil {
		return err
	}
	s.machine = &machine{
		state: s.state, snapshots: s.snapshots, at: s.state.position(), notify: s.notify, replaced: s.notifyReplaced,
		failed: s.fail, broken: s.broken, grown: s.logGrew, busy: newStopwatch(s.config.Clock),
	}
	s.machine.recent.limit = remembered
	s.machine.recent.reset(s.machine.at.commit)
	if err := s.loadMembers(); err != nil {
		return err
	}

	address := s.config.Address
	if s.config.Network == nil {
		address = string(s.nodeID)
	}
	config := s.raftConfig()
	s.transport = newTransport(s.nodeID, address, s.config.Network, &quiet{logger: s.config.Logger}, s.silence)
	if s.config.Network == nil {
		if err := s.found(config); err != nil {
			return errors.Join(err, s.transport.Close())
		}
	}
	if s.raft, err = s.newRaft(config); err != nil {
		return errors.Join(err, s.transport.Close())
	}
	undo.add(func() error { s.halt(); s.tasks.Wait(); return s.raft.Shutdown().Error() })
	s.logGrew((s.log.meta.segments() - 1) * s.config.SegmentBytes) // what crashes have left
	s.tasks.Go(s.propose)
	s.tasks.Go(s.settle)
	s.tasks.Go(s.compactor)
	s.tasks.Go(s.watchOffice)
	s.tasks.Go(func() { // nothing may be written once the store has failed
		select {
		case <-s.broken:
			s.raft.Shutdown()
		case <-s.settled:
		}
	})
	servers := s.raft.GetConfiguration().Configuration().Servers
	switch {
	case len(servers) == 0 && s.config.Network != nil && s.state.position().log == 0:
		return nil // it is to be founded, or added
	case len(servers) == 0:
		return fmt.Errorf("the log in %s has lost its beginning, which says who the cluster's members are; "+
			"restore this node from a snapshot", s.log.dir)
	case len(servers) > 1 || servers[0].ID != s.nodeID:
		return nil // the members elect a leader
	}
	ctx, cancel := context.WithCancel(context.Background()) // Open takes no context
	defer cancel()
	return s.lead(ctx, s.config.Clock.After(s.config.OpenTimeout))
}

// newRaft is raft.NewRaft, which panics over a log that it cannot read.
func (s *Store) newRaft(config *raft.Config) (r *raft.Raft, err error) {
	defer func() {
		if p := recover(); p != nil {
			cause, ok := p.(error)
			if !ok {
				cause = fmt.Errorf("%v", p)
			}
			err = fmt.Errorf("reading the log: %w", cause)
		}
	}()
	return raft.NewRaft(config, s.machine, s.log, s.log, s.snapshots, s.transport)
}

// keyTerm is where raft keeps the current term.
var keyTerm = []byte("CurrentTerm")

// found makes an empty directory a cluster of one. It takes up a founding that
// a crash has interrupted: that one has set the first term and no more, while
// a node that has been elected once is beyond the first term.
func (s *Store) found(config *raft.Config) error {
	if err := s.forgetFounding(); err != nil {
		return err
	}
	exists, err := raft.HasExistingState(s.log, s.log, s.snapshots)
	if err != nil || exists {
		return err
	}
	return raft.BootstrapCluster(config, s.log, s.log, s.snapshots, s.transport, s.justThis())
}

// justThis is the configuration of a cluster of this node.
func (s *Store) justThis() raft.Configuration {
	return raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: s.nodeID, Address: s.transport.LocalAddr()}}}
}

// forgetFounding undoes what a crash has left of a founding.
func (s *Store) forgetFounding() error {
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
	return nil
}

// checkComplete refuses a log that ends before the state does: every applied
// entry was durable in the log first, so part of the log has been lost.
func (s *Store) checkComplete() error {
	metas, err := s.snapshots.List()
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

// loadMembers finds the members as of the state, or of the snapshot of a state
// that was written before it noted them.
func (s *Store) loadMembers() error {
	m, err := readMembers(s.state.db)
	if err != nil {
		return fmt.Errorf("reading the members: %w", err)
	}
	metas, err := s.snapshots.List()
	if err != nil {
		return err
	}
	for _, meta := range metas {
		if meta.ConfigurationIndex > m.Index {
			m = members{Index: meta.ConfigurationIndex, Configuration: meta.Configuration}
		}
	}
	if m.Index > 0 {
		s.machine.members.Store(&m)
	}
	return nil
}

// dropLogBehind empties a log that ends before the snapshot does: a crash has
// come between the taking over of a state and the cutting of the log. The next
// entry would leave a gap, which the log refuses.
func (s *Store) dropLogBehind() error {
	metas, err := s.snapshots.List()
	if err != nil || len(metas) == 0 {
		return err
	}
	first, err := s.log.FirstIndex()
	if err != nil {
		return err
	}
	last, err := s.log.LastIndex()
	if err != nil || last == 0 || last >= metas[0].Index {
		return err
	}
	return s.log.DeleteRange(first, last)
}

// lead makes the only voter the leader at once, and waits until the log has
// been applied.
func (s *Store) lead(ctx context.Context, timeout <-chan time.Time) error {
	if err := s.transport.elect(ctx); err != nil {
		return fmt.Errorf("calling for an election: %w", err)
	}
	for {
		changed := s.Changed()
		if s.Leader().Self {
			return nil
		}
		select {
		case <-changed:
		case <-s.stopped:
			return s.usable()
		case <-ctx.Done():
			return ctx.Err()
		case <-timeout:
			return errors.New("this node did not become the leader, with the log applied, in time; allow more time to open")
		}
	}
}
