// Package enginetest runs an engine or auth method without a server: requests
// go through its real routes over an in-memory store, with a clock that the
// test moves. Leases and tokens are not registered; what the handler asked for
// is returned to the test.
package enginetest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

// Mount is a mounted instance under test.
type Mount struct {
	Instance any
	Clock    *clock.Fake
	Store    store.Store
	Storage  engine.Storage
	// Settings is the mount as the instance sees it; tests may change it.
	Settings route.Mount
	// Caller is who calls; tests may change it.
	Caller route.Caller
	// Remote is the address of the caller.
	Remote netip.Addr
	// TLS is the caller's connection, nil for one without TLS.
	TLS *tls.ConnectionState

	// Values are what templates speak of, by name, whoever calls.
	Values map[string]string

	t     testing.TB
	table *route.Table
	mu    sync.Mutex
	due   map[string]alarm // guarded by mu
}

// Result is what a call gave.
type Result struct {
	*route.Reply
	Warnings []string
	Err      error
}

// New mounts an engine: its routes and its constructor.
func New(t testing.TB, routes []route.Endpoint, make func(engine.Host) (any, error)) *Mount {
	t.Helper()
	inner := mem.New()
	t.Cleanup(func() { _ = inner.Close() })
	m := &Mount{t: t, Store: inner, Clock: clock.NewFake(time.Time{}), Remote: netip.MustParseAddr("127.0.0.1"), due: map[string]alarm{}}
	m.Storage = engine.NewStorage(store.RootNamespace, 7, inner)
	m.Settings = route.Mount{ID: 7, Namespace: store.RootNamespace, Path: "test/", Accessor: "test_1", UUID: "0", DefaultTTL: 768 * time.Hour, MaxTTL: 768 * time.Hour}
	m.Caller = route.Caller{Token: "tester", DisplayName: "token", Policies: []string{"root"}, Root: true, CubbyholeID: "tester"}
	table, err := route.NewTable(routes)
	if err != nil {
		t.Fatal(err)
	}
	m.table = table
	m.Instance, err = make(engine.Host{
		Mount: func() route.Mount { return m.Settings }, Storage: m.Storage, Clock: m.Clock, Rand: rand.Reader,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Timers: timers{m}, Passwords: passwords, Identity: m.identity,
	})
	if err != nil {
		t.Fatal(err)
	}
	if c, ok := m.Instance.(engine.Closer); ok {
		t.Cleanup(func() { _ = c.Close() })
	}
	return m
}

func (m *Mount) identity(_ context.Context, entity string) (func(string) (string, bool), error) {
	if entity == "" {
		return nil, fault.New(fault.Denied, "")
	}
	return func(name string) (string, bool) {
		v, ok := m.Values[name]
		return v, ok
	}, nil
}

func passwords(_ context.Context, policy string) (string, error) {
	if policy != "" && policy != "test" {
		return "", fault.Newf(fault.Invalid, "no password policy is called %q", policy)
	}
	return "Pw-" + policy + "-" + rand.Text()[:16], nil
}

// Call makes a request: verb, path below the mount (with an optional query), a
// body that is nil, a JSON string, or any value to encode.
func (m *Mount) Call(verb route.Verb, path string, body any) Result {
	m.t.Helper()
	path, query, _ := strings.Cut(path, "?")
	var match route.Match
	e, known := m.table.Find(verb, path, &match)
	switch {
	case e == nil && known:
		return Result{Err: fault.New(fault.Unsupported, "unsupported operation")}
	case e == nil:
		return Result{Err: fault.New(fault.NotFound, "unsupported path")}
	}
	c := &route.Call{
		ID: "test", Verb: verb, Path: path, Full: m.Settings.Path + path, Namespace: route.Namespace{ID: store.RootNamespace},
		Mount: m.Settings, Caller: m.Caller, Remote: m.Remote, TLS: m.TLS, Now: m.Clock.Now(), Header: func(string) string { return "" },
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	c.Query, _ = url.ParseQuery(query)
	var err error
	if raw := encode(m.t, body); e.Opaque {
		c.Raw = raw
	} else if c.Body, err = wire.ParseObject(raw, wire.DefaultLimits); err != nil {
		return Result{Err: err}
	}
	c.SetMatch(&match, e)
	if e.HasExists() {
		exists, err := e.Exists(m.t.Context(), m.Instance, c)
		if err != nil {
			return Result{Err: err}
		}
		c.Create = !exists
	}
	reply, err := e.Handle(m.t.Context(), m.Instance, c)
	if err == nil {
		err = m.commit(reply)
	}
	return Result{Reply: reply, Warnings: c.Warnings(), Err: err}
}

// commit runs what the reply wants stored, as the gate would together with the
// lease or token.
func (m *Mount) commit(r *route.Reply) error {
	for _, fn := range []func(store.Txn) error{issued(r), login(r)} {
		if fn == nil {
			continue
		}
		if err := m.Storage.Update(m.t.Context(), fn); err != nil {
			return err
		}
	}
	return nil
}

func issued(r *route.Reply) func(store.Txn) error {
	if r.Issued == nil {
		return nil
	}
	return r.Issued.Commit
}

func login(r *route.Reply) func(store.Txn) error {
	if r.Login == nil {
		return nil
	}
	return r.Login.Commit
}

func encode(t testing.TB, body any) []byte {
	t.Helper()
	switch b := body.(type) {
	case nil:
		return nil
	case string:
		return []byte(b)
	}
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Read, List, Scan, Write, Delete and Patch make a request and want it to succeed.
func (m *Mount) Read(path string) Result { m.t.Helper(); return m.must(route.VerbRead, path, nil) }
func (m *Mount) List(path string) Result { m.t.Helper(); return m.must(route.VerbList, path, nil) }
func (m *Mount) Scan(path string) Result { m.t.Helper(); return m.must(route.VerbScan, path, nil) }
func (m *Mount) Write(path string, body any) Result {
	m.t.Helper()
	return m.must(route.VerbWrite, path, body)
}
func (m *Mount) Delete(path string) Result { m.t.Helper(); return m.must(route.VerbDelete, path, nil) }
func (m *Mount) Patch(path string, body any) Result {
	m.t.Helper()
	return m.must(route.VerbPatch, path, body)
}

func (m *Mount) must(verb route.Verb, path string, body any) Result {
	m.t.Helper()
	r := m.Call(verb, path, body)
	if r.Err != nil {
		m.t.Fatalf("%s %s: %v", verb, path, r.Err)
	}
	return r
}

// Fails makes a request and wants an error of the given kind.
func (m *Mount) Fails(want fault.Kind, verb route.Verb, path string, body any) error {
	m.t.Helper()
	r := m.Call(verb, path, body)
	if r.Err == nil || fault.KindOf(r.Err) != want {
		m.t.Fatalf("%s %s: got error %v of kind %v, want kind %v", verb, path, r.Err, fault.KindOf(r.Err), want)
	}
	return r.Err
}

// Map decodes the reply's data.
func (r Result) Map(t testing.TB) map[string]any {
	t.Helper()
	m := map[string]any{}
	if r.Data == nil {
		return m
	}
	if err := json.Unmarshal(r.Data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// Advance moves the clock and fires the timers that have come due.
func (m *Mount) Advance(d time.Duration) {
	m.t.Helper()
	m.Clock.Advance(d)
	for {
		name, set, ok := m.nextDue()
		if !ok {
			return
		}
		if err := m.Instance.(engine.TimerHandler).Fire(m.t.Context(), name); err != nil {
			m.t.Logf("timer %s: %v", name, err)
			return
		}
		m.mu.Lock()
		if m.due[name] == set {
			delete(m.due, name)
		}
		m.mu.Unlock()
	}
}

// alarm is a timer that is set. The mark tells it from earlier settings.
type alarm struct {
	at   time.Time
	mark *byte
}

func (m *Mount) nextDue() (string, alarm, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, set := range m.due {
		if !set.at.After(m.Clock.Now()) {
			return name, set, true
		}
	}
	return "", alarm{}, false
}

// Timers are the names of the timers that are set.
func (m *Mount) Timers() map[string]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	set := make(map[string]time.Time, len(m.due))
	for name, a := range m.due {
		set[name] = a.at
	}
	return set
}

// timers keeps the mount's timers; unlike the real ones they take effect when
// scheduled, not when the transaction commits.
type timers struct{ m *Mount }

func (t timers) Schedule(_ store.Txn, name string, at time.Time) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	t.m.due[name] = alarm{at, new(byte)}
	return nil
}

func (t timers) Cancel(_ store.Txn, name string) error {
	t.m.mu.Lock()
	defer t.m.mu.Unlock()
	delete(t.m.due, name)
	return nil
}
