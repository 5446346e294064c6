package gate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/audit"
	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

// canary is a secret that must not be shown.
const canary = "hunter2-canary"

// sink is an audit sink in memory that can be told to fail.
type sink struct {
	mu    sync.Mutex
	out   bytes.Buffer // guarded by mu
	fails bool         // guarded by mu
}

func (s *sink) Open() (audit.Tail, error) { return audit.Tail{}, nil }
func (s *sink) Sync() error               { return nil }
func (s *sink) Close() error              { return nil }

func (s *sink) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails {
		return 0, errors.New("no space left on device")
	}
	return s.out.Write(p)
}

func (s *sink) fail(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = on
}

// record is what the tests look at in a line of the log.
type record struct {
	Type    string
	Error   string
	Request struct{ ID, Path, Operation string }
}

// records returns the log's entries for a request.
func (s *sink) records(t testing.TB, id string) []record {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []record
	for line := range strings.Lines(s.out.String()) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("a line of the log is no JSON: %v", err)
		}
		if r.Request.ID == id {
			list = append(list, r)
		}
	}
	return list
}

// stub is an engine and an auth method that do what a test says.
type stub struct {
	mu      sync.Mutex
	calls   int                     // guarded by mu
	revoked []string                // payloads; guarded by mu
	behaves func(*route.Call) error // may be nil; guarded by mu
	exists  func(*route.Call) bool  // may be nil; guarded by mu
	commit  func(store.Txn) error   // of what it grants; guarded by mu
	limit   string                  // that a listing was given; guarded by mu
}

type named struct {
	Name  string `path:"name"`
	Value string `json:"value"`
}

type answer struct {
	Name string `json:"name"`
}

func (s *stub) set(behaves func(*route.Call) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaves = behaves
}

func (s *stub) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

func (s *stub) act(c *route.Call) error {
	s.mu.Lock()
	s.calls++
	behaves := s.behaves
	s.mu.Unlock()
	if behaves == nil {
		return nil
	}
	return behaves(c)
}

func (s *stub) handle(_ context.Context, c *route.Call, in named) (answer, error) {
	return answer{in.Name}, s.act(c)
}

func (s *stub) warn(_ context.Context, c *route.Call, in named) (answer, error) {
	c.Warn("careful")
	return answer{in.Name}, s.act(c)
}

func (s *stub) there(_ context.Context, c *route.Call, _ named) (bool, error) {
	return s.exists == nil || s.exists(c), nil
}

func (s *stub) list(_ context.Context, c *route.Call, _ struct{}) (route.Keys, error) {
	s.mu.Lock()
	s.limit = c.Query.Get("limit")
	s.mu.Unlock()
	return route.Keys{Keys: []string{"a", "b", "c", "d"}}, s.act(c)
}

func (s *stub) issue(_ context.Context, c *route.Call, in named) (answer, engine.Lease, error) {
	return answer{in.Name}, engine.Lease{TTL: time.Minute, Payload: []byte(in.Name), Commit: s.commit}, s.act(c)
}

func (s *stub) Revoke(_ context.Context, payload []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revoked = append(s.revoked, string(payload))
	return nil
}

func (s *stub) login(_ context.Context, c *route.Call, in named) (authn.Identity, error) {
	if err := s.act(c); err != nil {
		return authn.Identity{}, err
	}
	if in.Value != "right" {
		return authn.Identity{}, fault.New(fault.Unauthenticated, "invalid credentials")
	}
	return authn.Identity{Alias: in.Name, DisplayName: in.Name}, nil
}

// LoginAlias is the name as the login reads it.
func (s *stub) LoginAlias(c *route.Call) string { return c.Param("name") }

// house is a gate over a whole server, with an audit device of the test's own.
type house struct {
	*servertest.Server
	t    testing.TB
	gate *gate.Gate
	sink *sink
	stub *stub
	last string // the id of the last request
	n    int
}

func newHouse(t testing.TB) *house {
	t.Helper()
	st := &stub{}
	s := servertest.New(t, servertest.Options{
		Engines: []engine.Type{{Name: "stub", New: func(engine.Host) (any, error) { return st, nil }, Routes: []route.Endpoint{
			route.Read("read/{name}", (*stub).handle), route.Read("warn/{name}", (*stub).warn), route.List("read", (*stub).list),
			route.Write("write/{name}", (*stub).handle, route.Exists((*stub).there), route.Doc{Summary: "Write a thing."}),
			route.Write("compute/{name}", (*stub).handle, route.Pure(), route.Exists((*stub).there)),
			route.Write("sudo/{name}", (*stub).handle, route.Sudo()), route.Write("public/{name}", (*stub).handle, route.Public()),
			engine.Issue(route.VerbWrite, "issue/{name}", (*stub).issue),
		}}},
		Methods: []authn.Type{{Name: "stub", Lockout: true, New: func(authn.Host) (any, error) { return st, nil }, Routes: []route.Endpoint{
			authn.Login("login/{name}", (*stub).login),
		}}},
	})
	s.Must(204, "POST", "sys/mounts/stub", map[string]any{"type": "stub"})
	s.Must(204, "POST", "sys/auth/stub", map[string]any{"type": "stub"})
	h := &house{Server: s, t: t, sink: &sink{}, stub: st}
	c := s.Gate().Config
	c.Audit = newBroker(t, h.sink)
	h.gate = gate.New(c)
	return h
}

// newBroker runs an audit broker with one device that writes to a sink.
func newBroker(t testing.TB, out audit.Sink) *audit.Broker {
	t.Helper()
	b, err := audit.New(audit.Config{
		Store: mem.New(), Clock: clock.System{}, Log: slog.New(slog.DiscardHandler), Declared: []audit.Device{{Path: "test/", Type: "test", Declared: true}},
		Openers: map[string]audit.Opener{"test": func(audit.Device) (audit.Sink, error) { return out, nil }},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := b.Load(ctx); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

// request returns a request that tells nobody more than it must.
func (h *house) request(v route.Verb, path, token, body string) *gate.Request {
	h.n++
	h.last = wire.Hex([]byte{byte(h.n >> 8), byte(h.n)}) + "-request"
	r := &gate.Request{
		ID: h.last, Namespace: namespace.Root, Verb: v, Path: path, Token: token, Query: url.Values{}, Limits: wire.DefaultLimits, Remote: netip.MustParseAddr("10.0.0.1"),
		Headers: func(string) []string { return nil },
	}
	if body != "" {
		r.Body = func() ([]byte, error) { return []byte(body), nil }
	}
	return r
}

// do serves a request.
func (h *house) do(v route.Verb, path, token, body string) gate.Answer {
	return h.gate.Serve(context.Background(), h.request(v, path, token, body))
}

// ok serves a request that must succeed.
func (h *house) ok(v route.Verb, path, token, body string) *route.Reply {
	h.t.Helper()
	a := h.do(v, path, token, body)
	if a.Err != nil {
		h.t.Fatalf("%s %s: %v", v, path, a.Err)
	}
	return a.Reply
}

// lines says of the last request what its records are: the type, and "!" for
// one with an error.
func (h *house) lines() string {
	h.t.Helper()
	var parts []string
	for _, r := range h.sink.records(h.t, h.last) {
		if r.Error != "" {
			r.Type += "!"
		}
		parts = append(parts, r.Type)
	}
	return strings.Join(parts, " ")
}

// usable reports whether a token can still be used, without using it.
func (h *house) usable(token string) bool {
	h.t.Helper()
	return h.Do("POST", "auth/token/lookup", servertest.RootToken, map[string]any{"token": token}).Status == 200
}

// counted makes a token of a policy for a number of uses.
func (h *house) counted(policy string, uses int) string {
	h.t.Helper()
	a := h.Must(200, "POST", "auth/token/create", map[string]any{"policies": []string{policy}, "num_uses": uses, "ttl": "1h"})
	text, _ := a.JSON()["auth"].(map[string]any)["client_token"].(string)
	return text
}
