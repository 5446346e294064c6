package token_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/token"
)

// with gives a token its policies.
func with(policies ...string) func(*token.Entry) {
	return func(e *token.Entry) { e.Policies = policies }
}

func root(e *token.Entry) { e.Policies, e.TTL, e.Renewable = []string{policy.RootName}, 0, false }

func sudo(c *route.Call) { c.Sudo = true }

func TestWhatACallerMayCreate(t *testing.T) {
	tests := []struct {
		name   string
		caller func(*token.Entry)
		sudo   bool
		path   string
		body   string
		role   string
		want   []string // policies
		err    error
	}{
		{name: "the caller's policies", caller: with("a", "b"), body: `{}`, want: []string{"a", "b", "default"}},
		{name: "fewer policies", caller: with("a", "b"), body: `{"policies": ["a"]}`, want: []string{"a", "default"}},
		{name: "without the default policy", caller: with("a", "default"), body: `{"no_default_policy": true}`, want: []string{"a"}},
		{name: "policies twice, in any spelling", caller: with("a", "b"), body: `{"policies": ["B", "a", "a"]}`, want: []string{"a", "b", "default"}},
		{name: "a policy that the caller has not", caller: with("a"), body: `{"policies": ["b"]}`, err: fault.Invalid},
		{name: "any policy with sudo", caller: with("a"), sudo: true, body: `{"policies": ["b"]}`, want: []string{"b", "default"}},
		{name: "root", caller: with("a"), body: `{"policies": ["root"]}`, err: fault.Denied},
		{name: "root with sudo", caller: with("a"), sudo: true, body: `{"policies": ["root"]}`, err: fault.Denied},
		{name: "root in other letters", caller: with("a"), sudo: true, body: `{"policies": ["ROOT"]}`, err: fault.Denied},
		{name: "root from root", caller: root, body: `{}`, want: []string{"root"}},
		{name: "root beside others", caller: root, body: `{"policies": ["root", "a"]}`, err: fault.Invalid},
		{name: "root in a batch token", caller: root, body: `{"type": "batch"}`, err: fault.Invalid},
		{name: "an orphan", caller: with("a"), body: `{"no_parent": true}`, err: fault.Invalid},
		{name: "an orphan with sudo", caller: with("a"), sudo: true, body: `{"no_parent": true}`, want: []string{"a", "default"}},
		{name: "an orphan at its own path", caller: with("a"), path: "create-orphan", body: `{}`, want: []string{"a", "default"}},
		{name: "a text of one's own", caller: with("a"), body: `{"id": "mine"}`, err: fault.Invalid},
		{name: "a text of one's own with sudo", caller: with("a"), sudo: true, body: `{"id": "mine"}`, want: []string{"a", "default"}},
		{name: "a text with a dot", caller: root, body: `{"id": "cfs.mine"}`, err: fault.Invalid},
		{name: "a text with a space", caller: root, body: `{"id": "m ine"}`, err: fault.Invalid},
		{name: "a text that is too long", caller: root, body: `{"id": "` + strings.Repeat("x", 513) + `"}`, err: fault.Invalid},
		{name: "a period", caller: with("a"), body: `{"period": "1h"}`, err: fault.Invalid},
		{name: "negative uses", caller: with("a"), body: `{"num_uses": -1}`, err: fault.Invalid},
		{name: "an unknown type", caller: with("a"), body: `{"type": "x"}`, err: fault.Invalid},
		{name: "a batch token that counts uses", caller: with("a"), body: `{"type": "batch", "num_uses": 1}`, err: fault.Invalid},
		{name: "a batch token with a text", caller: root, body: `{"type": "batch", "id": "mine"}`, err: fault.Invalid},
		{name: "no time", caller: with("a"), body: `{"ttl": "500ms"}`, err: fault.Invalid},
		{name: "from a token with few uses", caller: func(e *token.Entry) { e.NumUses = 5 }, body: `{}`, err: fault.Invalid},
		{name: "metadata that is no object", caller: with("a"), body: `{"meta": "x"}`, err: fault.Invalid},

		{name: "by an unknown role", caller: with("a"), path: "create/r", body: `{}`, err: fault.Invalid},
		{name: "by a role's policies", caller: with("a"), path: "create/r", role: `{"allowed_policies": "x,y"}`, body: `{}`, want: []string{"default", "x", "y"}},
		{name: "by some of them", caller: with("a"), path: "create/r", role: `{"allowed_policies": "x,y"}`, body: `{"policies": ["x"]}`, want: []string{"default", "x"}},
		{name: "by others", caller: with("a"), path: "create/r", role: `{"allowed_policies": "x,y"}`, body: `{"policies": ["a"]}`, err: fault.Invalid},
		{name: "by a pattern", caller: with("a"), path: "create/r", role: `{"allowed_policies_glob": "x-*"}`, body: `{"policies": ["x-1"]}`, want: []string{"default", "x-1"}},
		{name: "by no pattern", caller: with("a"), path: "create/r", role: `{"allowed_policies_glob": "x-*"}`, body: `{"policies": ["y-1"]}`, err: fault.Invalid},
		{name: "forbidden policies", caller: with("a"), path: "create/r", role: `{"disallowed_policies": "x"}`, body: `{"policies": ["x"]}`, err: fault.Invalid},
		{name: "forbidden patterns", caller: with("a"), path: "create/r", role: `{"disallowed_policies_glob": "x*"}`, body: `{"policies": ["xy"]}`, err: fault.Invalid},
		{name: "a role that allows root", caller: root, path: "create/r", role: `{"allowed_policies": "root"}`, body: `{"policies": ["root"]}`, err: fault.Invalid},
		{name: "the default policy forbidden", caller: with("a"), path: "create/r", role: `{"allowed_policies": "x", "disallowed_policies": "default"}`, body: `{}`, want: []string{"x"}},
		{name: "the default policy forbidden by a pattern", caller: with("a"), path: "create/r", role: `{"allowed_policies": "x", "disallowed_policies_glob": "def*"}`, body: `{}`, want: []string{"x"}},
		{name: "a role without the default policy", caller: with("a"), path: "create/r", role: `{"allowed_policies": "x", "token_no_default_policy": true}`, body: `{}`, want: []string{"x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			caller := w.create(nil, tt.caller)
			if tt.role != "" {
				w.role("r", tt.role)
			}
			path := tt.path
			if path == "" {
				path = "create"
			}
			rows := len(w.rows())
			reply, _, err := w.ask(route.VerbWrite, caller, path, tt.body, func(c *route.Call) { c.Sudo = tt.sudo })
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				if n := len(w.rows()); n != rows {
					t.Errorf("%d rows became %d by a refusal", rows, n)
				}
				return
			}
			if diff := cmp.Diff(tt.want, reply.Auth.TokenPolicies); diff != "" {
				t.Errorf("policies (-want +got):\n%s", diff)
			}
			e, err := w.Authenticate(t.Context(), reply.Auth.ClientToken)
			if err != nil {
				t.Fatal(err)
			}
			if orphan := tt.path == "create-orphan" || strings.Contains(tt.body, "no_parent"); (len(e.Parent) == 0) != orphan {
				t.Errorf("orphan: %v, want %v", len(e.Parent) == 0, orphan)
			}
		})
	}
}

func TestLifetimesOfNewTokens(t *testing.T) {
	tests := []struct {
		name, body, role string
		want             time.Duration
		warned           bool
	}{
		{name: "the mount's default", body: `{}`, want: day},
		{name: "what was asked for", body: `{"ttl": "90m"}`, want: 90 * time.Minute},
		{name: "the mount's maximum", body: `{"ttl": "10000h"}`, want: 32 * day, warned: true},
		{name: "an explicit maximum", body: `{"ttl": "2h", "explicit_max_ttl": "1h"}`, want: time.Hour, warned: true},
		{name: "an explicit maximum below the default", body: `{"explicit_max_ttl": "1h"}`, want: time.Hour},
		{name: "a period", body: `{"period": "2h"}`, want: 2 * time.Hour},
		{name: "a period beyond the mount's maximum", body: `{"period": "10000h"}`, want: 10000 * time.Hour},
		{name: "a role's period", body: `{}`, role: `{"token_period": "3h"}`, want: 3 * time.Hour},
		{name: "a role's maximum", body: `{}`, role: `{"token_explicit_max_ttl": "3h"}`, want: 3 * time.Hour},
		{name: "the shorter of two maxima", body: `{"explicit_max_ttl": "2h"}`, role: `{"token_explicit_max_ttl": "3h"}`, want: 2 * time.Hour},
		{name: "whole seconds", body: `{"ttl": "1500ms"}`, want: time.Second},
		{name: "a batch token without the role's period", body: `{"type": "batch"}`, role: `{"token_period": "3h"}`, want: day},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			path := "create"
			if tt.role != "" {
				w.role("r", tt.role)
				path = "create/r"
			}
			reply, warnings, err := w.ask(route.VerbWrite, w.create(nil, with("a")), path, tt.body, sudo)
			if err != nil {
				t.Fatal(err)
			}
			if reply.Auth.LeaseDuration != tt.want || (len(warnings) > 0) != tt.warned {
				t.Errorf("lives %v with warnings %q, want %v", reply.Auth.LeaseDuration, warnings, tt.want)
			}
		})
	}
}

func TestNamesForPeopleAreCleaned(t *testing.T) {
	w := newWorld(t)
	caller := w.create(nil)
	for name, want := range map[string]string{
		"": "token", "ci": "token-ci", " ci job/7 ": "token-ci-job-7", "ünï": "token--n-", "a\x00b\nc": "token-a-b-c", "---": "token----",
	} {
		body := `{"display_name": ` + quoted(name) + `}`
		reply, _, err := w.ask(route.VerbWrite, caller, "create", body)
		if err != nil {
			t.Errorf("%q: %v", name, err)
		} else if reply.Auth.DisplayName != want {
			t.Errorf("%q becomes %q, want %q", name, reply.Auth.DisplayName, want)
		}
	}
}

func quoted(s string) string {
	return `"` + strings.NewReplacer("\x00", `\u0000`, "\n", `\n`).Replace(s) + `"`
}

// TestTokensOfAnotherNamespaceAreNotThere asks about a token from elsewhere.
func TestTokensOfAnotherNamespaceAreNotThere(t *testing.T) {
	w := newWorld(t)
	m := w.create(nil)
	elsewhere := func(c *route.Call) { c.Namespace.ID = 2 }
	caller := w.create(nil, func(e *token.Entry) { e.NS = 2 })
	for path, body := range map[string]string{
		"lookup": `{"token": "` + m.text + `"}`, "lookup-accessor": `{"accessor": "` + m.Accessor + `"}`,
		"renew": `{"token": "` + m.text + `"}`, "renew-accessor": `{"accessor": "` + m.Accessor + `"}`,
		"revoke-orphan": `{"token": "` + m.text + `"}`,
	} {
		if _, _, err := w.ask(route.VerbWrite, caller, path, body, elsewhere); err == nil {
			t.Errorf("%s reaches a token of another namespace", path)
		}
	}
	for path, body := range map[string]string{"revoke": `{"token": "` + m.text + `"}`, "revoke-accessor": `{"accessor": "` + m.Accessor + `"}`} {
		if _, _, err := w.ask(route.VerbWrite, caller, path, body, elsewhere); err != nil {
			t.Errorf("%s of what is not there: %v", path, err)
		}
	}
	reply, _, err := w.ask(route.VerbList, caller, "accessors", "", elsewhere)
	if err != nil || strings.Contains(string(reply.Data), m.Accessor) || !strings.Contains(string(reply.Data), caller.Accessor) {
		t.Errorf("accessors of the other namespace: %v, own missing or foreign shown", err)
	}
	w.wantAlive(true, m)
}

func TestRolesKeepWhatIsNotGiven(t *testing.T) {
	w := newWorld(t)
	w.role("r", `{"allowed_policies": "a,b", "token_period": "1h", "token_bound_cidrs": "10.0.0.0/8"}`)
	w.role("r", `{"orphan": true}`)
	reply, _, err := w.ask(route.VerbRead, nil, "roles/r", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"allowed_policies":["a","b"]`, `"orphan":true`, `"token_period":3600`, `"renewable":true`, `"10.0.0.0/8"`} {
		if !strings.Contains(strings.ReplaceAll(string(reply.Data), " ", ""), want) {
			t.Errorf("the role does not say %s: %s", want, reply.Data)
		}
	}
	for _, body := range []string{
		`{"token_num_uses": -1}`, `{"path_suffix": "a/b"}`, `{"path_suffix": ".."}`, `{"token_type": "x"}`, `{"token_bound_cidrs": "x"}`,
		`{"token_type": "batch"}`, // it has a period
	} {
		if _, _, err := w.ask(route.VerbWrite, nil, "roles/r", body); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want invalid", body, err)
		}
	}
	if _, _, err := w.ask(route.VerbDelete, nil, "roles/r", ""); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.ask(route.VerbRead, nil, "roles/r", ""); !errors.Is(err, fault.NotFound) {
		t.Errorf("a deleted role: %v, want not found", err)
	}
	w.gone()
}

// TestALoginMakesWhatItsRoleSays covers the settings that a method can give.
func TestALoginMakesWhatItsRoleSays(t *testing.T) {
	tests := []struct {
		name   string
		params route.TokenParams
		mount  string
		want   string // kind
		ttl    time.Duration
		err    error
	}{
		{name: "nothing", want: token.Service, ttl: day},
		{name: "a lifetime", params: route.TokenParams{TTL: time.Hour}, want: token.Service, ttl: time.Hour},
		{name: "a maximum", params: route.TokenParams{TTL: 3 * time.Hour, MaxTTL: time.Hour}, want: token.Service, ttl: time.Hour},
		{name: "the mount's maximum", params: route.TokenParams{TTL: 100 * day}, want: token.Service, ttl: 32 * day},
		{name: "a period", params: route.TokenParams{Period: 50 * day}, want: token.Service, ttl: 50 * day},
		{name: "a period below an explicit maximum", params: route.TokenParams{Period: 3 * day, ExplicitMaxTTL: day}, want: token.Service, ttl: day},
		{name: "batch by the role", params: route.TokenParams{Type: token.Batch}, want: token.Batch, ttl: day},
		{name: "batch by the mount", mount: token.Batch, want: token.Batch, ttl: day},
		{name: "the mount's wish, which the role overrides", params: route.TokenParams{Type: token.Service}, mount: "default-batch", want: token.Service, ttl: day},
		{name: "a batch token with a period", params: route.TokenParams{Type: token.Batch, Period: day}, err: fault.Invalid},
		{name: "a batch token that counts uses", params: route.TokenParams{Type: token.Batch, NumUses: 2}, err: fault.Invalid},
		{name: "root", params: route.TokenParams{Policies: []string{"root"}}, err: fault.Invalid},
		{name: "root in other letters", params: route.TokenParams{Policies: []string{"Root"}}, err: fault.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			c := w.call(nil)
			c.Full = "auth/users/login/u"
			auth, e, err := w.Login(t.Context(), c, &route.Identity{DisplayName: "u", Token: tt.params}, "", tt.mount, nil)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				w.gone()
				return
			}
			if e.Type != tt.want || e.TTL != tt.ttl || !slices.Contains(e.Policies, "default") {
				t.Errorf("a %s token of %v with %q, want %s of %v", e.Type, e.TTL, e.Policies, tt.want, tt.ttl)
			}
			if got, err := w.Authenticate(t.Context(), auth.ClientToken); err != nil || got.Path != c.Full {
				t.Errorf("presented: %v", err)
			}
		})
	}
}
