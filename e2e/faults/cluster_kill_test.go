package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cofferhq/coffer/internal/clock"
)

// TestTheCheckerFindsWhatIsWrong gives the checker histories that no correct
// store has.
func TestTheCheckerFindsWhatIsWrong(t *testing.T) {
	write := func(call, ret int64, version, value int, out casResult) porcupine.Operation {
		return porcupine.Operation{Input: casCall{key: "k", version: version, value: value}, Call: call, Return: ret, Output: out}
	}
	read := func(call, ret int64, version, value int) porcupine.Operation {
		return porcupine.Operation{Input: casCall{key: "k", read: true}, Call: call, Return: ret, Output: casResult{outcome: wasRead, version: version, value: value}}
	}
	first := write(1, 2, 0, 7, casResult{outcome: written, version: 1})
	for _, tt := range []struct {
		name string
		ops  []porcupine.Operation
		want porcupine.CheckResult
	}{
		{"a write and its read", []porcupine.Operation{first, read(3, 4, 1, 7)}, porcupine.Ok},
		{"an acknowledged write is gone", []porcupine.Operation{first, read(3, 4, 0, 0)}, porcupine.Illegal},
		{"two writes of one version", []porcupine.Operation{first, write(3, 4, 0, 8, casResult{outcome: written, version: 1})}, porcupine.Illegal},
		{"a conflict without another writer", []porcupine.Operation{write(1, 2, 0, 7, casResult{outcome: conflict})}, porcupine.Illegal},
		{"an unknown write that was done later", []porcupine.Operation{write(1, 100, 0, 7, casResult{outcome: unknown}), read(2, 3, 0, 0), read(4, 5, 1, 7)}, porcupine.Ok},
		{"an unknown write that was undone", []porcupine.Operation{write(1, 100, 0, 7, casResult{outcome: unknown}), read(2, 3, 1, 7), read(4, 5, 0, 0)}, porcupine.Illegal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := porcupine.CheckOperationsTimeout(casModel(), tt.ops, time.Minute); got != tt.want {
				t.Errorf("it is %s, want %s", got, tt.want)
			}
		})
	}
}

// TestLeaderKilled kills the leader again and again under load and measures how
// long no write succeeds. Nothing that was acknowledged may be lost, and the
// history must be that of single secrets.
func TestLeaderKilled(t *testing.T) {
	c := newCluster(t, 3)
	h := newHistory(c, 24)
	ctx, stop := context.WithCancel(background())
	defer stop()
	wait := h.run(ctx, 12)
	kills := amount(t, "COFFER_FAULTS_LEADER_KILLS", 10)
	var gaps []time.Duration
	for i := range kills {
		leader := c.leader()
		c.nodes[leader].kill()
		gaps = append(gaps, c.interruption(leader))
		c.restart(c.nodes[leader])
		c.serving(c.nodes[leader])
		if t.Failed() {
			t.Fatalf("after kill %d", i+1)
		}
	}
	stop()
	wait()
	h.settled()
	h.check()
	slices.Sort(gaps)
	t.Logf("%d kills; without writes for %v (median), %v (99 of 100), %v (longest)", kills, gaps[len(gaps)/2], gaps[len(gaps)*99/100], gaps[len(gaps)-1])
	// Elections are drawn by lot, and a busy machine makes all of them slower:
	// what is typical is bound closely, what is rare loosely.
	if median, p99 := gaps[len(gaps)/2], gaps[len(gaps)*99/100]; median > 5*time.Second || p99 > 15*time.Second {
		t.Errorf("every second failover took more than %v, one of a hundred more than %v", median, p99)
	}
}

// interruption is the time until a node that was left takes a write.
func (c *cluster) interruption(dead int) time.Duration {
	c.t.Helper()
	began := clock.System{}.Now()
	left := (dead + 1 + rand.N(len(c.nodes)-1)) % len(c.nodes)
	for i := 0; ; i++ {
		ctx, cancel := context.WithTimeout(background(), readiness)
		a := c.nodes[left].callWith(ctx, http.MethodPost, "secret/data/after", c.root, object{"data": object{"n": i}})
		cancel()
		took := clock.System{}.Now().Sub(began)
		if a.acknowledged() {
			return took
		}
		if took > readiness {
			c.t.Fatalf("n%d takes no write %v after the leader's death: %s", left, took, a)
		}
	}
}

// TestReadsGoOnWithoutALeader kills the leader of a cluster and counts what
// readers of the other nodes see.
func TestReadsGoOnWithoutALeader(t *testing.T) {
	c := newCluster(t, 3)
	newHistory(c, 1)
	c.nodes[0].call(http.MethodPost, "secret/data/read", c.root, object{"data": object{"n": 1}}).must(t, 200)
	for _, n := range c.nodes {
		eventually(t, readiness, "the secret is everywhere", func() bool {
			return n.call(http.MethodGet, "secret/data/read", c.root, nil).Status == http.StatusOK
		})
	}
	leader := c.leader()
	c.nodes[leader].kill()
	deadline := clock.System{}.Now().Add(3 * time.Second)
	reads, failed := 0, []string{}
	for (clock.System{}).Now().Before(deadline) {
		for i, n := range c.nodes {
			if i == leader {
				continue
			}
			reads++
			if a := n.call(http.MethodGet, "secret/data/read", c.root, nil); a.Status != http.StatusOK || a.Took > 500*time.Millisecond {
				failed = append(failed, fmt.Sprintf("n%d: %v after %v", i, a, a.Took))
			}
		}
	}
	t.Logf("%d reads in the three seconds after the leader's death", reads)
	if len(failed) > 0 || reads < 100 {
		t.Errorf("%d of %d reads failed, such as %v", len(failed), reads, failed[:min(3, len(failed))])
	}
}
