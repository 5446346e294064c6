package policy_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

const rootNS = store.RootNamespace

// site is the policy noun over a store in memory, called through its routes.
type site struct {
	t        testing.TB
	inner    *mem.Store
	clock    *clock.Fake
	policies *policy.Store
	table    *route.Table
	ns       store.NamespaceID
	caller   route.Caller
	who      *policy.Identity
	at       policy.Below
	tokens   tokens
}

// tokens stands for the token noun: holders by text and by accessor.
type tokens map[string]policy.Holder

func (h tokens) HolderByToken(_ context.Context, _ *route.Call, text string) (policy.Holder, error) {
	return h.find(text)
}

func (h tokens) HolderByAccessor(_ context.Context, _ *route.Call, accessor string) (policy.Holder, error) {
	return h.find(accessor)
}

func (h tokens) find(key string) (policy.Holder, error) {
	if holder, ok := h[key]; ok {
		return holder, nil
	}
	return policy.Holder{}, store.ErrNotFound
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{
		t: t, inner: mem.New(), clock: clock.NewFake(time.Time{}), ns: rootNS, tokens: tokens{},
		caller: route.Caller{Token: "tester", Policies: []string{"root"}, Root: true},
	}
	t.Cleanup(func() { _ = s.inner.Close() })
	s.update(func(tx store.Txn) error { return policy.Init(tx, rootNS, s.clock.Now()) })
	s.open()
	table, err := route.NewTable(policy.Routes)
	if err != nil {
		t.Fatal(err)
	}
	s.table = table
	return s
}

func (s *site) open() {
	s.t.Helper()
	var err error
	s.policies, err = policy.New(context.Background(), policy.Config{
		Store: s.inner, Clock: s.clock, Rand: rand.Reader, Log: quiet(), Tokens: s.tokens,
		Caller: func(_ context.Context, c *route.Call) (policy.Holder, error) {
			return policy.Holder{Namespace: c.Namespace.ID, Policies: c.Caller.Policies, Identity: s.who, At: s.at}, nil
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(s.policies.Close)
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func (s *site) update(fn func(store.Txn) error) {
	s.t.Helper()
	if _, err := s.inner.Update(context.Background(), fn); err != nil {
		s.t.Fatal(err)
	}
}

// answer is what a client would see.
type answer struct {
	status   int
	data     string
	warnings []string
	err      error
}

var statuses = map[fault.Kind]int{
	fault.Invalid: 400, fault.Denied: 403, fault.NotFound: 404, fault.Unsupported: 405, fault.Internal: 500,
}

func (s *site) call(verb route.Verb, path string, body any) answer {
	s.t.Helper()
	path, query, _ := strings.Cut(path, "?")
	var match route.Match
	e, known := s.table.Find(verb, path, &match)
	if e == nil {
		kind := fault.NotFound
		if known {
			kind = fault.Unsupported
		}
		return answer{status: statuses[kind], err: kind}
	}
	c := &route.Call{
		ID: "test", Verb: verb, Path: path, Full: "sys/" + path, Namespace: route.Namespace{ID: s.ns}, Caller: s.caller,
		Now: s.clock.Now(), Log: quiet(),
	}
	c.Query, _ = url.ParseQuery(query)
	encoded, err := json.Marshal(body)
	if err != nil {
		s.t.Fatal(err)
	}
	if body == nil {
		encoded = nil
	}
	if c.Body, err = wire.ParseObject(encoded, wire.DefaultLimits); err != nil {
		s.t.Fatal(err)
	}
	c.SetMatch(&match, e)
	reply, err := e.Handle(context.Background(), s.policies, c)
	if err != nil {
		return answer{status: statuses[fault.KindOf(err)], err: err}
	}
	a := answer{status: 200, data: string(reply.Data), warnings: c.Warnings()}
	if reply.NoContent && len(a.warnings) == 0 {
		a.status = 204
	}
	return a
}

// put writes an ACL policy or fails the test.
func (s *site) put(name, text string) {
	s.t.Helper()
	if a := s.call(route.VerbWrite, "policies/acl/"+name, map[string]any{"policy": text}); a.err != nil {
		s.t.Fatalf("writing policy %s: %v", name, a.err)
	}
}

// can returns what the capabilities of named policies are at a path.
func (s *site) can(path string, names ...string) (string, error) {
	acl, err := s.policies.ACL(context.Background(), s.ns, names, s.who)
	if err != nil {
		return "", err
	}
	return strings.Join(acl.Capabilities(path), " "), nil
}

func (s *site) mustCan(want, path string, names ...string) {
	s.t.Helper()
	if got, err := s.can(path, names...); err != nil || got != want {
		s.t.Errorf("%v at %s: %q, %v; want %q", names, path, got, err, want)
	}
}

// sequence pretends that a namespace with this number was made last.
func (s *site) sequence(latest uint64) {
	s.t.Helper()
	_, err := s.inner.Update(s.t.Context(), func(tx store.Txn) error {
		return store.PutJSON(tx, store.NewKey(rootNS, store.System, store.KindSequence, "namespace"), latest)
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// rights returns what policies of the root grant in a namespace below.
func (s *site) rights(at policy.Below, names ...string) policy.Rights {
	s.t.Helper()
	r, err := s.policies.Rights(s.t.Context(), policy.Holder{Namespace: rootNS, Policies: names, At: at})
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}
