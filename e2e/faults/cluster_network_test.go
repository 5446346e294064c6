package faults_test

import (
	"context"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// disturbance is something that happens to a cluster under load.
type disturbance struct {
	name string
	// do brings it about and returns what ends it.
	do func(c *cluster) (end func())
	// lasts is how long it stays.
	lasts time.Duration
	// writes says that a majority can go on, so that writes must.
	writes bool
}

func disturbances() []disturbance {
	heal := func(c *cluster) func() { return c.net.heal }
	return []disturbance{
		{"the leader is cut off", func(c *cluster) func() { c.net.isolate(c.leader()); return heal(c) }, 4 * time.Second, true},
		{"a follower is cut off", func(c *cluster) func() { c.net.isolate(c.follower()); return heal(c) }, 4 * time.Second, true},
		{"the leader hears, but is not heard", func(c *cluster) func() {
			leader := c.leader()
			for i := range c.nodes {
				if i != leader {
					c.net.mute(leader, i)
				}
			}
			return heal(c)
		}, 4 * time.Second, true},
		{"the leader is heard, but does not hear", func(c *cluster) func() {
			leader := c.leader()
			for i := range c.nodes {
				if i != leader {
					c.net.mute(i, leader)
				}
			}
			return heal(c)
		}, 4 * time.Second, true},
		{"two nodes see only the third", func(c *cluster) func() {
			leader := c.leader()
			c.net.cut(leader, (leader+1)%3)
			return heal(c)
		}, 4 * time.Second, true},
		{"a link that comes and goes", func(c *cluster) func() {
			leader := c.leader()
			for range 10 {
				c.net.isolate(leader)
				<-clock.System{}.After(100 * time.Millisecond)
				c.net.heal()
				<-clock.System{}.After(100 * time.Millisecond)
			}
			return func() {}
		}, 0, false},
		{"every fifth packet is lost", func(c *cluster) func() {
			for i := range c.nodes {
				c.net.lose(i, 20)
			}
			return heal(c)
		}, 5 * time.Second, false},
		{"a slow link", func(c *cluster) func() { c.net.throttle(c.follower(), "256kbit"); return heal(c) }, 4 * time.Second, true},
		{"nobody sees anybody", func(c *cluster) func() {
			for i := range c.nodes {
				c.net.isolate(i)
			}
			return heal(c)
		}, 3 * time.Second, false},
		{"the leader is paused", func(c *cluster) func() { return c.nodes[c.leader()].pause() }, 4 * time.Second, true},
		{"a follower is paused", func(c *cluster) func() { return c.nodes[c.follower()].pause() }, 4 * time.Second, true},
		{"a follower is killed", func(c *cluster) func() {
			n := c.nodes[c.follower()]
			n.kill()
			return func() { c.restart(n) }
		}, 2 * time.Second, true},
	}
}

// TestDisturbed lets clients write through all nodes while the network between
// them, or the nodes, misbehave. After each disturbance all nodes take writes
// again, all have the same secrets, and the history of the whole time must be
// that of single secrets.
func TestDisturbed(t *testing.T) {
	c := newCluster(t, 3)
	h := newHistory(c, 16)
	ctx, stop := context.WithCancel(background())
	defer stop()
	wait := h.run(ctx, 10)
	for _, d := range disturbances() {
		before := h.acknowledged()
		end := d.do(c)
		<-clock.System{}.After(d.lasts)
		during := h.acknowledged() - before
		end()
		began := clock.System{}.Now()
		c.writable(15 * time.Second)
		t.Logf("%s: %d writes acknowledged meanwhile, all nodes well %v later", d.name, during, clock.System{}.Now().Sub(began))
		if d.writes && during == 0 {
			t.Errorf("%s: no write was acknowledged in %v", d.name, d.lasts)
		}
		if t.Failed() {
			break
		}
	}
	stop()
	wait()
	h.settled()
	h.check()
}

func (h *history) acknowledged() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.acked
}
