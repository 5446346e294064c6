package policy_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

const grantA = `path "a" { capabilities = ["read"] }`

// identity is a caller's identity with fixed values.
func identity(id string, revision uint64, values map[string]string) *policy.Identity {
	return &policy.Identity{ID: id, Revision: revision, Value: func(name string) (string, bool) {
		v, ok := values[name]
		return v, ok
	}}
}

func TestInitWritesDefaultOnce(t *testing.T) {
	s := newSite(t)
	s.put("default", grantA)
	s.update(func(tx store.Txn) error { return policy.Init(tx, rootNS, s.clock.Now()) })
	s.mustCan("read", "a", "default")
	s.mustCan("deny", "auth/token/lookup-self", "default")
}

func TestChangesAreInForceAtOnce(t *testing.T) {
	s := newSite(t)
	s.mustCan("deny", "a", "default", "p") // a policy that is not there grants nothing
	s.put("p", grantA)
	s.mustCan("read", "a", "default", "p")
	s.put("p", `path "a" { capabilities = ["update"] }`)
	s.mustCan("update", "a", "default", "p")
	s.put("q", `path "a" { capabilities = ["list"] }`)
	s.mustCan("update", "a", "default", "p")
	s.mustCan("list update", "a", "default", "p", "q")
	s.call(remove, "policies/acl/p", nil)
	s.mustCan("list", "a", "default", "p", "q")
	s.mustCan("deny", "a", "p")

	s.policies.Close()
	s.open()
	s.mustCan("list", "a", "default", "p", "q")
}

func TestBuiltinPolicies(t *testing.T) {
	s := newSite(t)
	s.mustCan("root", "anything", "root")
	s.mustCan("create read", "cubbyhole/response", "response-wrapping")
	for name, want := range map[string]bool{"root": true, "default": true, "response-wrapping": true, "none": false, "": false} {
		if got := s.policies.Exists(rootNS, name); got != want {
			t.Errorf("Exists(%q) = %v", name, got)
		}
	}
	s.ns = 2
	s.mustCan("deny", "anything", "root") // the root policy is the root namespace's
	if s.policies.Exists(2, "root") {
		t.Error("the root policy exists in a child namespace")
	}
}

func TestNamespacesShareNothing(t *testing.T) {
	s := newSite(t)
	s.put("p", grantA)
	s.ns = 2
	s.mustCan("deny", "a", "p")
	s.update(func(tx store.Txn) error { return policy.Init(tx, 2, s.clock.Now()) })
	s.put("p", `path "b" { capabilities = ["read"] }`)
	s.run([]step{{list, "policies/acl", nil, 200, `{"keys": ["default", "p"]}`}, {read, "policies/acl/root", nil, 404, ""}})
	s.mustCan("deny", "a", "p")
	s.mustCan("read", "b", "p")
	s.call(remove, "policies/acl/p", nil)
	s.ns = rootNS
	s.mustCan("read", "a", "p")

	// No spelling of a name reaches the other namespace's policy.
	for _, name := range []string{"../p", "2/p", "p\x00", "\x00\x02p", "P", " p", "p "} {
		s.ns = 2
		s.mustCan("deny", "a", name)
	}
}

func TestUnusablePolicyFailsEveryHolder(t *testing.T) {
	tests := []struct {
		name, row string
		read      int // the text can be looked at, if it is there
	}{
		{"text of a later version", `{"text": "path \"a\" { wishes = [] }", "version": 1}`, 200},
		{"text cut off", `{"text": "path \"a\" {", "version": 1}`, 200},
		{"row that is no object", `7`, 500},
		{"row without end", `{"text": `, 500},
		{"empty row", ``, 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t)
			s.put("good", grantA)
			s.put("bad", grantA)
			s.mustCan("read", "a", "bad", "good")
			s.update(func(tx store.Txn) error {
				return tx.Put(store.NewKey(rootNS, store.System, store.KindPolicy, "bad"), []byte(tt.row))
			})
			for round := range 3 {
				if round == 2 { // as after a restart
					s.policies.Close()
					s.open()
				}
				if got, err := s.can("a", "bad", "good"); fault.KindOf(err) != fault.Internal {
					t.Errorf("round %d: %q, %v", round, got, err)
				}
			}
			s.mustCan("read", "a", "good")
			s.caller = route.Caller{Policies: []string{"bad", "good"}}
			s.run([]step{
				{write, "capabilities-self", fields{"paths": "a"}, 500, ""},
				{read, "internal/ui/resultant-acl", nil, 500, ""},
			})
			s.caller = route.Caller{Root: true}
			s.run([]step{{read, "policies/acl/bad", nil, tt.read, ""}, {remove, "policies/acl/bad", nil, 204, ""}})
			s.mustCan("read", "a", "bad", "good")
		})
	}
}

// A policy that does not render for a caller takes its denials with it, so
// nothing else that the caller holds may count either (abuse case A3); and a
// value never becomes more than text within its segment (A4, A5).
func TestTemplatesFailClosed(t *testing.T) {
	s := newSite(t)
	s.put("wide", `path "kv/+/secret" { capabilities = ["read"] }
path "kv/blue/*" { capabilities = ["read"] }`)
	s.put("denies", `path "kv/{{identity.entity.metadata.team}}/secret" { capabilities = ["deny"] }`)
	s.put("grants", `path "kv/{{identity.entity.metadata.team}}/x" { capabilities = ["read"] }`)

	const team = "identity.entity.metadata.team"
	s.who = identity("e1", 1, map[string]string{team: "blue"})
	s.mustCan("deny", "kv/blue/secret", "denies", "wide")
	s.mustCan("read", "kv/red/secret", "denies", "wide")
	s.mustCan("read", "kv/blue/x", "grants")

	for i, value := range []string{"a/b", "../x", "..", "%2f/", "x\x00", "x\n", "+", "*", "x,root", "{{", "", "\xff"} {
		s.who = identity("e2", uint64(i), map[string]string{team: value})
		for _, names := range [][]string{{"denies", "wide"}, {"grants", "wide"}, {"denies"}, {"grants"}} {
			if got, err := s.can("kv/blue/secret", names...); fault.KindOf(err) != fault.Denied {
				t.Errorf("value %q, policies %v: %q, %v", value, names, got, err)
			}
		}
		s.mustCan("read", "kv/red/secret", "wide")
	}

	// Without the value: a denial cannot be placed, a grant is nobody's.
	for _, who := range []*policy.Identity{nil, identity("e3", 1, nil)} {
		s.who = who
		if got, err := s.can("kv/blue/secret", "denies", "wide"); fault.KindOf(err) != fault.Denied {
			t.Errorf("no value: %q, %v", got, err)
		}
		s.mustCan("deny", "kv/blue/y", "grants")
		s.mustCan("read", "kv/blue/secret", "grants", "wide")
	}
}

func TestEveryIdentityHasItsOwnRules(t *testing.T) {
	s := newSite(t)
	s.put("p", `path "home/{{identity.entity.name}}" { capabilities = ["read"] }`)
	const name = "identity.entity.name"
	steps := []struct {
		who  *policy.Identity
		can  string
		want string
	}{
		{identity("e1", 1, map[string]string{name: "ann"}), "home/ann", "read"},
		{identity("e2", 1, map[string]string{name: "bob"}), "home/bob", "read"},
		{identity("e2", 1, map[string]string{name: "bob"}), "home/ann", "deny"},
		{identity("e1", 1, map[string]string{name: "ann"}), "home/bob", "deny"},
		{identity("e1", 2, map[string]string{name: "anna"}), "home/ann", "deny"},
		{identity("e1", 2, map[string]string{name: "anna"}), "home/anna", "read"},
		{nil, "home/anna", "deny"},
	}
	for range 2 {
		for i, st := range steps {
			s.who = st.who
			if got, err := s.can(st.can, "p"); err != nil || got != st.want {
				t.Errorf("step %d: %q, %v", i, got, err)
			}
		}
	}
}

// A name in capitals means the policy in small letters, but is another path to
// the rules about policies (abuse case A1).
func TestSpellingDoesNotEvadeDeny(t *testing.T) {
	s := newSite(t)
	s.put("team-a", grantA)
	s.put("operator", `path "sys/policies/acl/team-*" { capabilities = ["read", "update", "patch", "delete"] }
path "sys/policies/acl/team-admin" { capabilities = ["deny"] }
path "sys/policies/acl/Team-Odd" { capabilities = ["update"] }
path "sys/policies/acl/TEAM-*" { capabilities = ["update"] }
path "sys/policies/acl/+" { capabilities = ["read", "update"] }`)
	s.put("team-admin", grantA)
	s.caller = route.Caller{Policies: []string{"operator"}}
	evil := fields{"policy": `path "a" { capabilities = ["sudo", "update"] }`}
	s.run([]step{
		{write, "policies/acl/team-A", evil, 200, ""},
		{read, "policies/acl/team-A", nil, 200, ""},
		{write, "policies/acl/team-ADMIN", evil, 403, ""},
		{patch, "policies/acl/team-Admin", evil, 403, ""},
		{remove, "policies/acl/team-admiN", nil, 403, ""},
		{read, "policies/acl/team-Admin", nil, 403, ""},
		{write, "policies/acl/Team-Admin", evil, 403, ""},
		{write, "policies/acl/Team-Odd", evil, 403, ""},
		{write, "policies/acl/TEAM-A", evil, 403, ""},
		{write, "policy/team-ADMIN", evil, 403, ""},
	})
	s.mustCan("sudo update", "a", "team-a")
	s.mustCan("read", "a", "team-admin")
	s.mustCan("deny", "a", "team-odd")
}

// Names that look like another's are refused wherever a name is given (D1, B1).
func TestNamesThatAreNotCanonical(t *testing.T) {
	names := []string{
		"root ", " root", "\troot", "root\x00", "root\n", "roo\u0442", "\u017fudo", "\u212aelvin", "..", "a..b", "*", "+", "a,b", "a{b}", "a+b", `a\b`, strings.Repeat("a", 513),
	}
	s := newSite(t)
	body := fields{"policy": grantA}
	password := fields{"policy": policy.DefaultPasswordText}
	for _, name := range names {
		s.run([]step{
			{write, "policies/acl/" + name, body, 400, ""},
			{patch, "policies/acl/" + name, body, 400, ""},
			{read, "policies/acl/" + name, nil, 400, ""},
			{remove, "policies/acl/" + name, nil, 400, ""},
			{write, "policy/" + name, body, 400, ""},
			{read, "policy/" + name, nil, 400, ""},
			{remove, "policy/" + name, nil, 400, ""},
			{write, "policies/password/" + name, password, 400, ""},
			{read, "policies/password/" + name, nil, 400, ""},
			{read, "policies/password/" + name + "/generate", nil, 400, ""},
			{remove, "policies/password/" + name, nil, 400, ""},
		})
	}
	s.run([]step{
		{write, "policies/acl/a/b", body, 404, ""},
		{list, "policies/acl", nil, 200, `{"keys": ["default", "root"]}`},
		{list, "policies/password", nil, 404, ""},
	})
	a := s.call(write, "policies/acl/UP-1", body)
	if a.status != 200 || len(a.warnings) != 1 {
		t.Errorf("a name in capitals: %d, %q", a.status, a.warnings)
	}
	s.mustCan("read", "a", "up-1")
}

// feed is a store whose feed and reads a test can disturb.
type feed struct {
	store.Store
	watcher store.Watcher
	failing atomic.Bool
	// afterView runs once, between a read and its reader's use of it.
	afterView func()
}

var errDisk = fault.New(fault.Unavailable, "the disk has failed")

func (f *feed) Watch(w store.Watcher) func() {
	f.watcher = w
	return f.Store.Watch(w)
}

func (f *feed) View(ctx context.Context, fn func(store.Reader) error) error {
	if f.failing.Load() {
		return errDisk
	}
	err := f.Store.View(ctx, fn)
	if hook := f.afterView; hook != nil {
		f.afterView = nil
		hook()
	}
	return err
}

// disturbed is a site over a feed.
func disturbed(t *testing.T) (*site, *feed) {
	s := newSite(t)
	f := &feed{Store: s.inner}
	var err error
	s.policies.Close()
	if s.policies, err = policy.New(t.Context(), policy.Config{Store: f, Clock: s.clock, Log: quiet()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.policies.Close)
	return s, f
}

func TestResetReadsEverythingAnew(t *testing.T) {
	s, f := disturbed(t)
	s.put("p", grantA)
	s.mustCan("read", "a", "p")

	f.failing.Store(true)
	s.mustCan("read", "a", "p")
	f.watcher(store.Commit{Reset: true})
	if got, err := s.can("a", "p"); !errors.Is(err, errDisk) {
		t.Errorf("while the store cannot be read: %q, %v", got, err)
	}
	f.failing.Store(false)
	s.mustCan("read", "a", "p")
}

func TestChangeDuringFirstRead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(s *site)
		want   string
	}{
		{"written", func(s *site) { s.put("p", `path "a" { capabilities = ["update"] }`) }, "update"},
		{"deleted", func(s *site) { s.call(remove, "policies/acl/p", nil) }, "deny"},
		{"reset", func(s *site) {}, "read"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, f := disturbed(t)
			s.put("p", grantA)
			f.watcher(store.Commit{Reset: true})
			f.afterView = func() {
				if tt.name == "reset" {
					f.watcher(store.Commit{Reset: true})
				}
				tt.change(s)
			}
			s.mustCan(tt.want, "a", "p")
			s.mustCan(tt.want, "a", "p")
		})
	}
}

// A request that starts after a write was answered sees what was written, or
// something later, whoever compiles meanwhile.
func TestReadersSeeAnsweredWrites(t *testing.T) {
	s := newSite(t)
	s.put("p", `path "v/0" { capabilities = ["read"] }`)
	const writes = 300
	var answered atomic.Int64
	var readers sync.WaitGroup
	done := make(chan struct{})
	for i := range 4 {
		readers.Go(func() {
			names := []string{"default", "p", "q" + strconv.Itoa(i%2)}
			for {
				select {
				case <-done:
					return
				default:
				}
				floor := answered.Load()
				acl, err := s.policies.ACL(context.Background(), rootNS, names, nil)
				if err != nil {
					t.Error(err)
					return
				}
				if got := version(acl); got < floor {
					t.Errorf("a reader sees version %d after %d was answered", got, floor)
					return
				}
			}
		})
	}
	for n := int64(1); n <= writes; n++ {
		s.put("p", fmt.Sprintf(`path "v/%d" { capabilities = ["read"] }`, n))
		answered.Store(n)
		s.mustCan("read", fmt.Sprintf("v/%d", n), "p")
	}
	close(done)
	readers.Wait()
}

// version returns the number in the pattern "v/...".
func version(acl *policy.ACL) int64 {
	for _, g := range acl.Grants() {
		if text, ok := strings.CutPrefix(g.Path, "v/"); ok {
			n, _ := strconv.ParseInt(text, 10, 64)
			return n
		}
	}
	return -1
}

func TestRuleExpiresInCachedACL(t *testing.T) {
	s := newSite(t)
	s.put("p", `path "a" { 
  capabilities = ["read"]
  expiration = "2026-01-02T03:05:05Z"
}
path "b" { capabilities = ["read"] }`)
	s.mustCan("read", "a", "p")
	s.clock.Advance(59e9)
	s.mustCan("read", "a", "p")
	s.clock.Advance(1e9)
	s.mustCan("deny", "a", "p")
	s.mustCan("read", "b", "p")
}

func TestCachedACLDoesNotAllocate(t *testing.T) {
	s := newSite(t)
	s.put("p", grantA)
	ctx, names := context.Background(), []string{"default", "p"}
	for _, who := range []*policy.Identity{nil, identity("e", 1, map[string]string{"identity.entity.id": "e"})} {
		allocations := testing.AllocsPerRun(1000, func() {
			if _, err := s.policies.ACL(ctx, rootNS, names, who); err != nil {
				t.Fatal(err)
			}
		})
		if allocations > 0 {
			t.Errorf("%v allocations", allocations)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	s := newSite(t)
	s.put("p", grantA)
	for i := range 10_000 {
		s.mustCan("read", "a", "p", "q"+strconv.Itoa(i))
	}
	kept, limit := s.policies.CachedACLs()
	if kept > limit || kept < limit/2 {
		t.Errorf("%d sets are kept, %d is the limit", kept, limit)
	}
	// A change takes away what depends on it and nothing else.
	s.mustCan("deny", "a", "default")
	s.put("p", grantA)
	if kept, _ := s.policies.CachedACLs(); kept > 1 {
		t.Errorf("after a change %d sets are kept", kept)
	}
}

func TestCallerWithoutHook(t *testing.T) {
	s, _ := disturbed(t)
	s.put("p", grantA)
	s.caller = route.Caller{Namespace: rootNS, Policies: []string{"p"}}
	s.run([]step{{write, "capabilities-self", fields{"paths": "a"}, 200, `{"a": ["read"], "capabilities": ["read"]}`}})
}

func BenchmarkACL(b *testing.B) {
	s := newSite(b)
	for _, name := range []string{"app-one", "app-two", "billing-read"} {
		s.put(name, grantA)
	}
	who := identity("7d2e3179-f69b-450c-7179-ac8ee8bd8ca9", 3, map[string]string{"identity.entity.id": "7d2e3179-f69b-450c-7179-ac8ee8bd8ca9"})
	for _, bench := range []struct {
		name  string
		names []string
		who   *policy.Identity
	}{
		{"two", []string{"app-one", "default"}, nil},
		{"four", []string{"app-one", "app-two", "billing-read", "default"}, nil},
		{"two with identity", []string{"app-one", "default"}, who},
		{"untemplated with identity", []string{"app-one"}, who},
	} {
		b.Run(bench.name, func(b *testing.B) {
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.policies.ACL(ctx, rootNS, bench.names, bench.who); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("after a change", func(b *testing.B) {
		ctx, names := context.Background(), []string{"app-one", "default"}
		b.ReportAllocs()
		for b.Loop() {
			s.put("app-one", grantA)
			if _, err := s.policies.ACL(ctx, rootNS, names, nil); err != nil {
				b.Fatal(err)
			}
		}
	})
}
