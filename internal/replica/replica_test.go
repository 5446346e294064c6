package replica_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/replica"
	"github.com/cofferhq/coffer/internal/store"
)

// consensus is a cluster that a test moves by hand.
type consensus struct {
	mu      sync.Mutex
	leader  replica.Leader // guarded by mu
	applied store.Index    // guarded by mu
	contact time.Duration  // guarded by mu
	changed chan struct{}  // guarded by mu: closed at the next change of anything
}

func newConsensus() *consensus { return &consensus{changed: make(chan struct{})} }

func (c *consensus) set(change func(c *consensus)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(c)
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *consensus) Leader() replica.Leader {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.leader
}

func (c *consensus) Changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changed
}

func (c *consensus) Applied() store.Index {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.applied
}

func (c *consensus) WaitApplied(ctx context.Context, index store.Index) error {
	for {
		changed := c.Changed()
		if c.Applied() >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *consensus) Confirm(context.Context) (store.Index, error) {
	if !c.Leader().Self {
		return 0, fault.New(fault.Standby, "")
	}
	return c.Applied(), nil
}

func (c *consensus) LastContact() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.contact
}

var other = replica.Leader{ID: "b", Term: 2}

func newNode(c *consensus, ask func(context.Context, replica.Leader) (store.Index, error)) *replica.Node {
	return replica.New(replica.Config{Consensus: c, Clock: clock.System{}, Ask: ask})
}

func TestLeaderIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsensus()
		n := newNode(c, nil)
		began := time.Now()
		if _, err := n.AwaitLeader(t.Context(), replica.Leader{}); !errors.Is(err, fault.Standby) {
			t.Fatalf("without a leader: %v, want standby", err)
		}
		if waited := time.Since(began); waited != replica.LeaderWait {
			t.Errorf("gave up after %v, want %v", waited, replica.LeaderWait)
		}
		time.AfterFunc(time.Second, func() { c.set(func(c *consensus) { c.leader = other }) })
		began = time.Now()
		l, err := n.AwaitLeader(t.Context(), replica.Leader{})
		if err != nil || l != other || time.Since(began) != time.Second {
			t.Errorf("got %v, %v after %v", l, err, time.Since(began))
		}
	})
}

func TestLeaderThatWasOfNoUseIsTriedAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsensus()
		c.leader = other
		n := newNode(c, nil)
		began := time.Now()
		if l, err := n.AwaitLeader(t.Context(), other); err != nil || l != other || time.Since(began) == 0 {
			t.Errorf("the only leader: %v, %v after %v", l, err, time.Since(began))
		}
		next := replica.Leader{ID: "c", Term: 3}
		time.AfterFunc(time.Millisecond, func() { c.set(func(c *consensus) { c.leader = next }) })
		began = time.Now()
		if l, err := n.AwaitLeader(t.Context(), other); err != nil || l != next || time.Since(began) != time.Millisecond {
			t.Errorf("a new leader: %v, %v after %v", l, err, time.Since(began))
		}
	})
}

// TestFreshAsksOnceForMany puts a hundred questions while one is being asked:
// they are the second, and nobody gets an answer to an older question.
func TestFreshAsksOnceForMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsensus()
		c.leader, c.applied = other, 7
		var asked atomic.Int64
		first, release := make(chan struct{}), make(chan struct{})
		n := newNode(c, func(context.Context, replica.Leader) (store.Index, error) {
			if asked.Add(1) == 1 {
				close(first)
				<-release
				return 8, nil
			}
			return 9, nil
		})
		fresh := func(want store.Index) {
			grown, err := n.Fresh(t.Context(), 7)
			if err != nil || !grown || n.Applied() < want {
				t.Errorf("Fresh: %v, %v at %d, want at least %d", grown, err, n.Applied(), want)
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { fresh(8) })
		<-first
		for range 100 {
			wg.Go(func() { fresh(9) })
		}
		synctest.Wait()
		close(release)
		synctest.Wait()
		c.set(func(c *consensus) { c.applied = 8 })
		synctest.Wait()
		c.set(func(c *consensus) { c.applied = 9 })
		wg.Wait()
		if asked.Load() != 2 {
			t.Errorf("the leader was asked %d times, want 2", asked.Load())
		}
	})
}

func TestFreshWithoutALeaderIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsensus()
		n := newNode(c, nil)
		if _, err := n.Fresh(t.Context(), 0); fault.KindOf(err) != fault.Unavailable || fault.Message(err) == "" {
			t.Errorf("got %v, want unavailable", err)
		}
	})
}

// TestFreshFollowsALeader asks one that goes while it is asked: the next one
// answers.
func TestFreshFollowsALeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsensus()
		c.leader, c.applied = other, 3
		next := replica.Leader{ID: "c", Term: 3}
		n := newNode(c, func(_ context.Context, l replica.Leader) (store.Index, error) {
			if l == other {
				c.set(func(c *consensus) { c.leader = next })
				return 0, errors.New("gone")
			}
			return 3, nil
		})
		if grown, err := n.Fresh(t.Context(), 3); err != nil || grown {
			t.Errorf("got %v, %v, want a copy that is complete", grown, err)
		}
	})
}

func TestAwaitIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsensus()
		n := newNode(c, nil)
		began := time.Now()
		if n.Await(t.Context(), 1) {
			t.Error("an index that never comes was awaited with success")
		}
		if waited := time.Since(began); waited != replica.IndexWait {
			t.Errorf("waited %v, want %v", waited, replica.IndexWait)
		}
		time.AfterFunc(time.Millisecond, func() { c.set(func(c *consensus) { c.applied = 5 }) })
		if !n.Await(t.Context(), 5) {
			t.Error("an index that comes was not awaited")
		}
	})
}

func TestCutOffNodeIsStale(t *testing.T) {
	c := newConsensus()
	n := newNode(c, nil)
	for _, tt := range []struct {
		contact time.Duration
		stale   bool
	}{{0, false}, {replica.StaleAfter, false}, {replica.StaleAfter + 1, true}} {
		c.contact = tt.contact
		if err := n.Stale(); (err != nil) != tt.stale {
			t.Errorf("last contact %v ago: %v, want stale %v", tt.contact, err, tt.stale)
		}
	}
}

func TestIndexIsReadAsItWasWritten(t *testing.T) {
	want := replica.Index{Cluster: "0b8e5d9f-3f6b-4a4e-9a7c-6d1f2f1c9a10", At: 1<<63 + 5}
	got, err := replica.ParseIndex(want.String())
	if err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func FuzzParseIndex(f *testing.F) {
	for _, s := range []string{"", "djE6YToxOjE6", "djE6YToyOjE6MDA=", "!", replica.Index{Cluster: "c", At: 1}.String(), "djI6YToxOjE6", "djE6OjE6MTo="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		i, err := replica.ParseIndex(s)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("%q: %v, want invalid", s, err)
			}
			return
		}
		if back, err := replica.ParseIndex(i.String()); err != nil || back != i {
			t.Errorf("%q: %v, then %v, %v", s, i, back, err)
		}
	})
}
