package raft

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Leader is the node that leads, as far as this one knows.
type Leader struct {
	// ID and Address are the node's; both are "" while nobody is known to lead.
	ID, Address string
	// Term is the term of its leadership, zero while nobody leads.
	Term uint64
	// Self says that it is this node, and that it has applied everything that
	// was committed before it came to office.
	Self bool
}

const notLeader = "this node may not write: it is not the leader"

// office is who leads, and the channel that is closed when that changes.
type office struct {
	leader  atomic.Pointer[Leader] // written under mu; every request asks
	mu      sync.Mutex
	changed chan struct{} // guarded by mu
	// abstains is until when this node leaves the leadership to others, Unix
	// nanoseconds.
	abstains atomic.Int64
	// settledTerm is the term in which this node leads with everything applied.
	settledTerm uint64 // guarded by mu
}

// Leader returns who leads.
func (s *Store) Leader() Leader {
	if l := s.office.leader.Load(); l != nil {
		return *l
	}
	return Leader{}
}

// Changed returns a channel that is closed when [Store.Leader] changes next.
func (s *Store) Changed() <-chan struct{} {
	s.office.mu.Lock()
	defer s.office.mu.Unlock()
	return s.office.changed
}

// lookEvery is how often this node looks whether its disk lets it lead.
const lookEvery = 100 * time.Millisecond

// watchOffice keeps the office current until the store stops.
func (s *Store) watchOffice() {
	observed := make(chan raft.Observation, 16)
	observer := raft.NewObserver(observed, false, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	s.raft.RegisterObserver(observer)
	defer s.raft.DeregisterObserver(observer)
	look := s.config.Clock.After(lookEvery)
	for {
		select {
		case leads := <-s.elected:
			if leads {
				s.settleInOffice()
			}
		case <-observed:
		case <-look:
			look = s.config.Clock.After(lookEvery)
		case <-s.stopped:
			s.publish(Leader{})
			return
		}
		s.publish(s.whoLeads())
	}
}

// settleInOffice waits, without holding up the caller, until everything that
// was committed before this node was elected is applied here.
func (s *Store) settleInOffice() {
	term := s.raft.CurrentTerm()
	s.tasks.Go(func() {
		if s.raft.Barrier(0).Error() != nil || s.raft.CurrentTerm() != term {
			return // no longer the leader, and told so separately
		}
		s.office.mu.Lock()
		s.office.settledTerm = term
		s.office.mu.Unlock()
		s.publish(s.whoLeads())
		s.correctAddress()
	})
}

// whoLeads asks raft.
func (s *Store) whoLeads() Leader {
	address, id := s.raft.LeaderWithID()
	if id == "" {
		return Leader{}
	}
	l := Leader{ID: string(id), Address: string(address), Term: s.raft.CurrentTerm()}
	if id != s.nodeID {
		return l
	}
	s.office.mu.Lock()
	settled := s.office.settledTerm == l.Term
	s.office.mu.Unlock()
	if !settled || s.raft.State() != raft.Leader || s.resigned() {
		return Leader{}
	}
	l.Self = true
	return l
}

func (s *Store) publish(l Leader) {
	s.office.mu.Lock()
	defer s.office.mu.Unlock()
	if l == s.Leader() {
		return
	}
	s.leaderChanges.Add(1)
	s.office.leader.Store(&l)
	close(s.office.changed)
	s.office.changed = make(chan struct{})
}

// mayWrite waits while this node comes to office, and refuses if it does not
// lead.
func (s *Store) mayWrite(ctx context.Context) error {
	for {
		if err := s.enter(ctx); err != nil {
			return err
		}
		changed := s.Changed()
		if s.Leader().Self {
			return nil
		}
		if s.raft.State() != raft.Leader || s.resigned() {
			return fault.New(fault.Standby, notLeader)
		}
		select {
		case <-changed:
		case <-s.config.Clock.After(lookEvery):
		case <-ctx.Done():
			return ctx.Err()
		case <-s.stopped:
			return s.usable()
		}
	}
}

// How long the disk may keep a leader waiting before it loses office: for a
// write to the log, for the application of entries, and for a flush of the
// state, which writes much more.
const (
	maxStall      = 2 * time.Second
	maxFlushStall = 15 * time.Second
)

// silence returns why this node must not be heard as a leader, or nil.
func (s *Store) silence() error {
	if failure := s.failure.Load(); failure != nil {
		return *failure
	}
	if until := s.office.abstains.Load(); until != 0 && s.config.Clock.Now().UnixNano() < until {
		return errAbstains
	}
	for _, work := range []struct {
		what string
		took time.Duration
		most time.Duration
	}{
		{"a write to the log", s.log.busy.running(), maxStall},
		{"applying the log", s.machine.busy.running(), maxStall},
		{"a flush of the state", s.flushing.running(), maxFlushStall},
	} {
		if work.took > work.most*time.Duration(s.config.Multiplier) {
			return fmt.Errorf("the disk hangs: %s takes %s so far", work.what, work.took.Round(time.Millisecond))
		}
	}
	return nil
}

// resigned reports whether this node leaves the leadership to others, although
// it may not have noticed yet that one of them has it. A node alone stays.
func (s *Store) resigned() bool {
	return s.silence() != nil && slices.ContainsFunc(s.Members(), func(m Member) bool { return m.Voter && m.ID != string(s.nodeID) })
}

// SetReluctant has this node be slower to stand for election than others, while
// it would be of little use as a leader.
func (s *Store) SetReluctant(reluctant bool) error {
	span := patience * time.Duration(s.config.Multiplier)
	if reluctant {
		span *= 2
	}
	return s.reconfigure(func(c *raft.ReloadableConfig) { c.HeartbeatTimeout, c.ElectionTimeout = span, span })
}

// reconfigure changes what raft lets be changed while it runs.
func (s *Store) reconfigure(change func(*raft.ReloadableConfig)) error {
	s.reconfiguring.Lock()
	defer s.reconfiguring.Unlock()
	c := s.raft.ReloadableConfig()
	change(&c)
	return s.raft.ReloadConfig(c)
}

// LastContact is how long ago this node heard from a leader, zero if it leads.
func (s *Store) LastContact() time.Duration {
	if s.Leader().Self {
		return 0
	}
	return s.config.Clock.Now().Sub(s.raft.LastContact())
}

// Confirm returns an index that includes everything acknowledged before the
// call, after a majority has confirmed that this node leads; [fault.Standby] if
// it does not.
func (s *Store) Confirm(ctx context.Context) (store.Index, error) {
	if err := s.mayWrite(ctx); err != nil {
		return 0, err
	}
	index := s.state.position().commit
	if err := s.wait(ctx, s.raft.VerifyLeader()); err != nil {
		return 0, fault.Wrap(fault.Standby, err, "this node could not confirm that it leads")
	}
	return index, nil
}

// wait waits for raft, and not longer than the caller does.
func (s *Store) wait(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.broken:
		return s.usable()
	}
}

// abstention is how long a node that has stepped down does not stand again.
const abstention = 10 * time.Second

var errAbstains = errors.New("this node has stepped down a moment ago and leaves the leadership to others")

// StepDown hands the leadership to the voter to, or to the one that is the most
// up to date if to is "". It returns once this node has resigned, which does not
// stand again for ten seconds. A node that
// does not lead gets [fault.Standby]; a cluster with no other voter keeps its
// leader and gives [fault.Precondition].
func (s *Store) StepDown(ctx context.Context, to string) error {
	if err := s.mayWrite(ctx); err != nil {
		return err
	}
	others := 0
	transfer := s.raft.LeadershipTransfer
	for _, m := range s.Members() {
		if m.ID == string(s.nodeID) || !m.Voter {
			continue
		}
		others++
		if m.ID == to {
			transfer = func() raft.Future {
				return s.raft.LeadershipTransferToServer(raft.ServerID(m.ID), raft.ServerAddress(m.Address))
			}
			to = ""
		}
	}
	switch {
	case others == 0:
		return fault.New(fault.Precondition, "no other voter can take over the leadership")
	case to != "":
		return fault.Newf(fault.Invalid, "%q is no other voter of this cluster", to)
	}
	if err := s.wait(ctx, transfer()); err != nil {
		return fault.Wrap(fault.Unavailable, err, "the leadership could not be handed over; try again")
	}
	s.office.abstains.Store(s.config.Clock.Now().Add(abstention).UnixNano())
	return nil
}

// handOverTime bounds how long closing waits for another leader.
const handOverTime = 2 * time.Second

// handOver resigns before this node goes, if another can take over, so that
// nobody has to wait until it is missed.
func (s *Store) handOver() {
	if !s.Leader().Self {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), handOverTime) // Close takes no context
	defer cancel()
	err := s.StepDown(ctx, "")
	if err != nil && !errors.Is(err, fault.Precondition) {
		s.config.Logger.Warn("handing over the leadership before closing", "error", err)
	}
}

// progress wakes those who wait for commits.
type progress struct {
	mu      sync.Mutex
	waiting int           // guarded by mu
	changed chan struct{} // guarded by mu
}

// advance says that there are new commits.
func (p *progress) advance() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.waiting == 0 {
		return
	}
	p.waiting = 0
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *progress) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting++
	return p.changed
}

// Applied is the index of the newest commit that reads on this node see.
func (s *Store) Applied() store.Index { return s.state.position().commit }

// WaitApplied returns once [Store.Applied] is at least index and watchers have
// seen it, or ctx's error.
func (s *Store) WaitApplied(ctx context.Context, index store.Index) error {
	for {
		next := s.progress.next()
		if s.Applied() >= index {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.stopped:
			return s.usable()
		}
	}
}
