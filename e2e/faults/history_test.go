package faults_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cofferhq/coffer/internal/clock"
)

// outcome is how a check-and-set ended.
type outcome int

const (
	written outcome = iota
	conflict
	unknown // no answer, or one that promises nothing
	wasRead
)

// casCall and casResult are one operation on a secret of KV version 2: a write
// that wants a version, or a read that the leader was asked to answer.
type casCall struct {
	key     string
	read    bool
	version int // wanted by a write
	value   int
}

type casResult struct {
	outcome outcome
	version int
	value   int
}

// casState is a secret.
type casState struct{ version, value int }

// casModel is what one secret may do, for the checker.
func casModel() porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, op := range all {
				key := op.Input.(casCall).key
				byKey[key] = append(byKey[key], op)
			}
			var parts [][]porcupine.Operation
			for _, ops := range byKey {
				parts = append(parts, ops)
			}
			return parts
		},
		Init: func() any { return casState{} },
		Step: func(state, input, output any) (bool, any) {
			s, in, out := state.(casState), input.(casCall), output.(casResult)
			matches := s.version == in.version
			next := casState{version: s.version + 1, value: in.value}
			switch {
			case in.read:
				return s.version == out.version && s.value == out.value, s
			case out.outcome == written:
				return matches && out.version == next.version, next
			case out.outcome == conflict:
				return !matches, s
			case matches: // it may have been done at any later time
				return true, next
			default:
				return true, s
			}
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
	}
}

// history records operations of clients that run at the same time.
type history struct {
	c    *cluster
	keys []string

	mu  sync.Mutex
	ops []porcupine.Operation // guarded by mu
	// acked and refused count writes that were answered and such that were not.
	acked, refused, reads int // guarded by mu
}

// newHistory makes the mount whose secrets the clients write.
func newHistory(c *cluster, keys int) *history {
	c.t.Helper()
	c.nodes[0].call(http.MethodPost, "sys/mounts/secret", c.root, object{"type": "kv", "options": object{"version": "2"}}).must(c.t, 204)
	h := &history{c: c}
	for i := range keys {
		h.keys = append(h.keys, fmt.Sprintf("secret/data/cas-%d", i))
	}
	return h
}

// run lets clients work until the context ends. Each speaks to one node, so that
// those of the others go on when it does not answer.
func (h *history) run(ctx context.Context, clients int) (wait func()) {
	var all sync.WaitGroup
	for id := range clients {
		all.Go(func() { h.work(ctx, id) })
	}
	return all.Wait
}

func (h *history) work(ctx context.Context, id int) {
	seen := map[string]casState{}
	pace := time.NewTicker(4 * time.Millisecond)
	defer pace.Stop()
	for turn := 1; ; turn++ {
		select {
		case <-ctx.Done():
			return
		case <-pace.C:
		}
		key := h.keys[rand.N(len(h.keys))]
		n := h.c.nodes[id%len(h.c.nodes)]
		if rand.N(4) == 0 {
			if s, ok := h.read(n, id, key); ok {
				seen[key] = s
			}
			continue
		}
		in := casCall{key: key, version: seen[key].version, value: id<<32 | turn}
		out := h.write(n, id, in)
		switch out.outcome {
		case written:
			seen[key] = casState{out.version, in.value}
		case conflict, unknown:
			if s, err := readState(n, h.c.root, key); err == nil { // a hint only: it may be an old one
				seen[key] = s
			}
		}
	}
}

// write sends a check-and-set and records it.
func (h *history) write(n *node, id int, in casCall) casResult {
	out := casResult{outcome: unknown}
	ctx, cancel := context.WithTimeout(background(), 4*time.Second)
	defer cancel()
	began := now()
	a := n.callWith(ctx, http.MethodPost, in.key, h.c.root, object{"options": object{"cas": in.version}, "data": object{"n": in.value}})
	ended := now()
	var op *net.OpError
	switch {
	case errors.As(a.Err, &op) && op.Op == "dial": // it was never sent
		return out
	case a.acknowledged():
		v, err := data[struct{ Version int }](a)
		if err != nil {
			h.c.t.Errorf("%s: %v", a, err)
		}
		out = casResult{outcome: written, version: v.Version}
	case a.Err == nil && a.Status == http.StatusBadRequest:
		out.outcome = conflict
	default:
		ended = math.MaxInt64
	}
	h.note(porcupine.Operation{ClientId: id, Input: in, Call: began, Output: out, Return: ended})
	return out
}

// read asks the leader, through any node.
func (h *history) read(n *node, id int, key string) (casState, bool) {
	ctx, cancel := context.WithTimeout(background(), 4*time.Second)
	defer cancel()
	began := now()
	s, err := readStateWith(ctx, n, h.c.root, key, "X-Vault-Forward", "active-node")
	if err != nil {
		return s, false // a read without an answer says nothing
	}
	h.note(porcupine.Operation{
		ClientId: id, Input: casCall{key: key, read: true}, Call: began,
		Output: casResult{outcome: wasRead, version: s.version, value: s.value}, Return: now(),
	})
	return s, true
}

func now() int64 { return clock.System{}.Now().UnixNano() }

func (h *history) note(op porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	switch out := op.Output.(casResult); {
	case op.Input.(casCall).read:
		h.reads++
	case out.outcome == unknown:
		h.refused++
	default:
		h.acked++
	}
}

// readState reads a secret as some node has it.
func readState(n *node, token, key string) (casState, error) {
	ctx, cancel := context.WithTimeout(background(), 4*time.Second)
	defer cancel()
	return readStateWith(ctx, n, token, key)
}

func readStateWith(ctx context.Context, n *node, token, key string, headers ...string) (casState, error) {
	a := n.callWith(ctx, http.MethodGet, key, token, nil, headers...)
	if a.Err == nil && a.Status == http.StatusNotFound {
		return casState{}, nil
	}
	if !a.acknowledged() {
		return casState{}, a.error()
	}
	v, err := data[secretVersion](a)
	return casState{v.Metadata.Version, v.Data.N}, err
}

// check fails the test if the history is not that of single secrets, each
// changed by one operation at a time.
func (h *history) check() {
	t := h.c.t
	t.Helper()
	h.mu.Lock()
	ops := h.ops
	t.Logf("%d writes answered, %d without an answer, %d reads", h.acked, h.refused, h.reads)
	h.mu.Unlock()
	result, info := porcupine.CheckOperationsVerbose(casModel(), ops, time.Minute)
	if result == porcupine.Ok {
		return
	}
	if result == porcupine.Unknown { // each write without an answer doubles the work
		t.Log("the checker did not come to an end in time")
		return
	}
	name := filepath.Join(t.ArtifactDir(), "history.html")
	if err := porcupine.VisualizePath(casModel(), info, name); err != nil {
		t.Log(err)
	}
	t.Errorf("the history is %s as that of single secrets; drawn in %s", result, name)
}

// settled checks, after the faults, that all nodes have the same secrets.
func (h *history) settled() {
	t := h.c.t
	t.Helper()
	for _, key := range h.keys {
		want, err := readStateWith(background(), h.c.nodes[h.c.leader()], h.c.root, key)
		if err != nil {
			t.Fatal(err)
		}
		for i, n := range h.c.nodes {
			eventually(t, readiness, fmt.Sprintf("n%d has the newest %s", i, key), func() bool {
				got, err := readState(n, h.c.root, key)
				return err == nil && got == want
			})
		}
	}
}
