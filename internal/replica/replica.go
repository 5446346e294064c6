package replica

import (
	"context"
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Leader is the node that leads.
type Leader struct {
	// ID is the node's id.
	ID string
	// Term is the term of its leadership.
	Term uint64
	// Self says that it is this node, and that it has applied everything that
	// was committed before it came to office.
	Self bool
}

// Consensus is what a replicated store tells of itself. All methods are safe
// for concurrent use.
type Consensus interface {
	// Leader returns the leader as far as this node knows one; the ID is ""
	// else. It must be cheap.
	Leader() Leader
	// Changed returns a channel that is closed when Leader changes next.
	Changed() <-chan struct{}
	// Applied is the index of the newest commit that reads on this node see.
	Applied() store.Index
	// WaitApplied returns once Applied is at least index, or ctx's error.
	WaitApplied(ctx context.Context, index store.Index) error
	// Confirm returns an index that includes everything acknowledged before the
	// call, after a majority has confirmed that this node leads;
	// [fault.Standby] if it does not.
	Confirm(ctx context.Context) (store.Index, error)
	// LastContact is how long ago this node heard from a leader, zero if it
	// leads.
	LastContact() time.Duration
}

const (
	// LeaderWait is how long a request waits for a leader: some elections.
	LeaderWait = 5 * time.Second
	// IndexWait is how long a request waits for the copy to reach an index that
	// its client has seen.
	IndexWait = time.Second
	// StaleAfter is how long a node that hears of no leader goes on reading its
	// copy to clients.
	StaleAfter = 30 * time.Second
	// askTime bounds one question to the leader.
	askTime = 2 * time.Second
)

// The refusals of a node that cannot be sure.
var (
	ErrNoLeader = fault.New(fault.Standby, "no node leads the cluster now: it is electing one, or has lost its quorum; try again")
	errBehind   = fault.New(fault.Unavailable, "this node cannot tell yet: it could not reach the leader to find out whether its copy of the data is complete; try again")
	errStale    = fault.New(fault.Unavailable, "this node has lost contact with the cluster and no longer answers from its copy of the data; ask another node")
)

// Config is what a [Node] needs.
type Config struct {
	Consensus Consensus
	Clock     clock.Clock
	// Ask returns what [Consensus.Confirm] says on the leader.
	Ask func(ctx context.Context, l Leader) (store.Index, error)
	// Alone reports whether this node is the cluster's only one.
	Alone func() bool
}

// Node is this node's place in the cluster.
type Node struct {
	Config
	asking question
	office office
}

// New returns a node's place.
func New(c Config) *Node {
	n := &Node{Config: c, office: office{ended: make(chan struct{}, 1)}}
	n.asking.ask = n.confirm
	return n
}

// Leads reports whether this node leads.
func (n *Node) Leads() bool { return n.Consensus.Leader().Self }

// Applied is the index of the newest commit that reads on this node see.
func (n *Node) Applied() store.Index { return n.Consensus.Applied() }

// AwaitLeader returns the leader, waiting for one at most [LeaderWait], else
// [ErrNoLeader]. A leader that was tried and was of no use is returned again only
// after a while.
func (n *Node) AwaitLeader(ctx context.Context, tried Leader) (Leader, error) {
	ctx, cancel := context.WithTimeout(ctx, LeaderWait)
	defer cancel()
	var again <-chan time.Time // nil until it is the only one to wait for
	for {
		changed := n.Consensus.Changed()
		switch l := n.leader(); {
		case l.ID != "" && l != tried:
			return l, nil
		case l.ID != "" && again == nil:
			again = n.Clock.After(tryAgain)
		}
		select {
		case <-changed:
		case <-again:
			tried = Leader{}
		case <-ctx.Done():
			return Leader{}, ErrNoLeader
		}
	}
}

// tryAgain is how long a leader is left alone that was of no use: it may have
// been elected a moment ago, or be about to resign.
const tryAgain = 50 * time.Millisecond

// Await waits until this node's copy has reached an index. It reports false if
// that takes longer than [IndexWait].
func (n *Node) Await(ctx context.Context, index store.Index) bool {
	if n.Applied() >= index {
		return true
	}
	return n.within(ctx, IndexWait, index)
}

// Settle gives this node's copy a moment to reach an index: that of a write
// that was made through this node, which its client may read here next.
func (n *Node) Settle(ctx context.Context, index store.Index) {
	if n.Applied() < index {
		n.within(ctx, settleTime, index)
	}
}

// settleTime bounds how long a forwarded write's answer is held back.
const settleTime = 100 * time.Millisecond

func (n *Node) within(ctx context.Context, d time.Duration, index store.Index) bool {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return n.Consensus.WaitApplied(ctx, index) == nil
}

// Fresh returns once this node's copy holds everything that was acknowledged
// anywhere before the call, and reports whether the copy has grown since it was
// at index seen. The error is [fault.Unavailable].
func (n *Node) Fresh(ctx context.Context, seen store.Index) (grown bool, err error) {
	index, err := n.asking.answer(ctx)
	if err == nil && n.Applied() < index && !n.within(ctx, askTime, index) {
		err = context.DeadlineExceeded
	}
	if err != nil {
		return false, errors.Join(errBehind, err)
	}
	return n.Applied() > seen, nil
}

// Stale returns an error if this node has been cut off for so long that its copy
// must not be read from.
func (n *Node) Stale() error {
	if n.Consensus.LastContact() > StaleAfter {
		return errStale
	}
	return nil
}

// confirm asks the leader how far the cluster is, and a new one if the leader
// changes meanwhile.
func (n *Node) confirm(ctx context.Context) (store.Index, error) {
	var tried Leader
	for {
		l, err := n.AwaitLeader(ctx, tried)
		if err != nil {
			return 0, err
		}
		index, err := n.once(ctx, l)
		if err == nil {
			return index, nil
		}
		if ctx.Err() != nil {
			return 0, err
		}
		tried = l
	}
}

func (n *Node) once(ctx context.Context, l Leader) (store.Index, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if l.Self {
		return n.Consensus.Confirm(ctx)
	}
	return n.Ask(ctx, l)
}
