package server_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// writers write counters through given nodes until they are stopped. A counter
// is one writer's own, so the last value that was acknowledged must be there.
type writers struct {
	ns     *nodes
	acked  [6]atomic.Int64
	wrote  atomic.Int64 // writes that were acknowledged
	failed atomic.Int64
	first  atomic.Value // the first failure, as text
	stop   context.CancelFunc
	wg     sync.WaitGroup
}

func (ns *nodes) write(through ...*node) *writers {
	ctx, cancel := context.WithCancel(ns.t.Context())
	w := &writers{ns: ns, stop: cancel}
	for i := range w.acked {
		n := through[i%len(through)]
		w.wg.Go(func() {
			for v := int64(1); ctx.Err() == nil; v++ {
				a, err := n.try(ctx, ns.token, http.MethodPost, fmt.Sprintf("kv/w%d", i), map[string]any{"v": v})
				switch {
				case ctx.Err() != nil:
				case err != nil:
					w.fail(fmt.Sprintf("%s: %v", n.id, err))
				case a.status == http.StatusNoContent:
					w.acked[i].Store(v)
					w.wrote.Add(1)
				default:
					w.fail(fmt.Sprintf("%s: %d %s", n.id, a.status, a.body))
				}
			}
		})
	}
	return w
}

func (w *writers) fail(text string) {
	w.failed.Add(1)
	w.first.CompareAndSwap(nil, text)
}

// more waits until n more writes are acknowledged.
func (w *writers) more(n int64) {
	w.ns.t.Helper()
	before := w.wrote.Load()
	eventually(w.ns.t, fmt.Sprintf("%d more writes are acknowledged", n), func() bool { return w.wrote.Load() >= before+n })
}

// end stops the writers and checks that every node has what was acknowledged.
func (w *writers) end(on ...*node) {
	w.ns.t.Helper()
	w.stop()
	w.wg.Wait()
	for i := range w.acked {
		for _, n := range on {
			a := n.must(http.StatusOK, w.ns.token, http.MethodGet, fmt.Sprintf("kv/w%d", i), nil, "X-Vault-Forward", "active-node")
			if v, _ := a.data()["v"].(float64); int64(v) < w.acked[i].Load() {
				w.ns.t.Errorf("%s has %v of writer %d, acknowledged is %d", n.id, v, i, w.acked[i].Load())
			}
		}
	}
}

// TestSteppingDownIsNotNoticed hands the leadership on several times while all
// nodes take writes: none fails, none is lost.
func TestSteppingDownIsNotNoticed(t *testing.T) {
	ns := newNodes(t, 3)
	ns.kv1()
	w := ns.write(ns.all...)
	for range 2 { // who has led does not lead again for a while
		w.more(50)
		before := ns.leader()
		eventually(t, "the leader has heard from a successor", func() bool {
			return before.do(ns.token, http.MethodPut, "sys/step-down", nil).status == http.StatusNoContent && !before.raft.Leader().Self
		})
		eventually(t, "another node leads", func() bool { l := before.raft.Leader(); return l.ID != "" && l.ID != before.id })
	}
	w.more(50)
	w.end(ns.all...)
	if n := w.failed.Load(); n > 0 {
		t.Errorf("%d of %d writes failed, the first: %v", n, n+w.wrote.Load(), w.first.Load())
	}
}

// TestStoppingANodeIsNotNoticed stops the leader as SIGTERM does while the other
// nodes take writes.
func TestStoppingANodeIsNotNoticed(t *testing.T) {
	ns := newNodes(t, 3)
	ns.kv1()
	leader := ns.leader()
	var others []*node
	for _, n := range ns.all {
		if n != leader {
			others = append(others, n)
		}
	}
	w := ns.write(others...)
	w.more(50)
	leader.stop()
	w.more(50)
	w.end(others...)
	if n := w.failed.Load(); n > 0 {
		t.Errorf("%d of %d writes failed, the first: %v", n, n+w.wrote.Load(), w.first.Load())
	}
}

// TestLeaderIsCutOff takes the leader from the others while they take writes. The
// old leader acknowledges nothing, answers no wrong "not found", and follows when
// it is back.
func TestLeaderIsCutOff(t *testing.T) {
	ns := newNodes(t, 3)
	ns.kv1()
	leader := ns.leader()
	var others []*node
	for _, n := range ns.all {
		if n != leader {
			others = append(others, n)
		}
	}
	w := ns.write(others...)
	w.more(50)
	began := time.Now()
	ns.wire.isolate(leader.id, true)
	w.more(50)
	t.Logf("50 writes after %v, %d failed, the first: %v", time.Since(began).Round(time.Millisecond), w.failed.Load(), w.first.Load())
	eventually(t, "the old leader has noticed", func() bool { return !leader.raft.Leader().Self })
	for _, n := range others {
		n.must(http.StatusNoContent, ns.token, http.MethodPost, "kv/new", map[string]any{"v": "1"})
	}
	for path, want := range map[string]int{"kv/w0": http.StatusOK, "kv/new": http.StatusServiceUnavailable} {
		leader.must(want, ns.token, http.MethodGet, path, nil)
	}
	leader.must(http.StatusServiceUnavailable, "hvs.nobody", http.MethodGet, "kv/w0", nil)
	if a := leader.do(ns.token, http.MethodPost, "kv/new", map[string]any{"v": "2"}); a.status != http.StatusServiceUnavailable {
		t.Errorf("a write at the node that is cut off: %d %s", a.status, a.body)
	}
	ns.wire.isolate(leader.id, false)
	w.more(50)
	eventually(t, "the old leader follows", func() bool { l := leader.raft.Leader(); return l.ID != "" && l.ID != leader.id })
	eventually(t, "the old leader has what it has missed", func() bool {
		return leader.do(ns.token, http.MethodGet, "kv/new", nil).status == http.StatusOK
	})
	leader.must(http.StatusForbidden, "hvs.nobody", http.MethodGet, "kv/w0", nil)
	w.end(ns.all...)
}
