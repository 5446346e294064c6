package replica

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/store"
)

// handOverWait is how long a leader that resigns lets running writes end first.
const handOverWait = 2 * time.Second

// office is what a leader does in office: it counts the requests with an effect
// that are running, so that it can hand over between two of them.
type office struct {
	running   atomic.Int64
	resigning atomic.Bool
	mu        sync.Mutex    // one resigns at a time
	ended     chan struct{} // one slot: a request has ended while the leader resigns
}

// Begin counts a request with an effect in. It reports false on a leader that is
// about to hand over: the next one is to answer. If it reports true, End must
// follow.
func (n *Node) Begin() bool {
	n.office.running.Add(1)
	if n.office.resigning.Load() {
		n.End()
		return false
	}
	return true
}

// End counts a request out.
func (n *Node) End() {
	n.office.running.Add(-1)
	if n.office.resigning.Load() {
		select {
		case n.office.ended <- struct{}{}:
		default:
		}
	}
}

// Resign hands over the leadership by handOver, once no request with an effect
// is running but own of them, or some time has passed. Requests that come
// meanwhile wait for the next leader, so none fails.
func (n *Node) Resign(ctx context.Context, own int64, handOver func(context.Context) error) error {
	o := &n.office
	o.mu.Lock()
	defer o.mu.Unlock()
	o.resigning.Store(true)
	defer o.resigning.Store(false)
	timeout := n.Clock.After(handOverWait)
	for waiting := true; waiting && o.running.Load() > own; {
		select {
		case <-o.ended:
		case <-timeout:
			waiting = false
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := handOver(ctx); err != nil {
		return err
	}
	for {
		changed := n.Consensus.Changed()
		if !n.Leads() {
			return nil
		}
		select {
		case <-changed:
		case <-timeout:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// leader is who leads, for requests that look for somebody to answer them: a
// node that resigns is not it.
func (n *Node) leader() Leader {
	l := n.Consensus.Leader()
	if l.Self && n.office.resigning.Load() {
		return Leader{}
	}
	return l
}

// Mark returns a place in the store's history that includes what has been
// written here so far, for the answer of a write; zero if there is no other node
// that could be behind.
func (n *Node) Mark() store.Index {
	if n.Alone() {
		return 0
	}
	return n.Applied()
}
