package userpass_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/authn/userpass"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

func mount(t *testing.T) *enginetest.Mount {
	t.Helper()
	return enginetest.New(t, userpass.Type.Routes, userpass.Type.New)
}

func answer(over map[string]any) map[string]any {
	m := map[string]any{
		"token_bound_cidrs": []any{}, "token_explicit_max_ttl": 0.0, "token_max_ttl": 0.0, "token_no_default_policy": false, "token_num_uses": 0.0,
		"token_period": 0.0, "token_policies": []any{}, "token_strictly_bind_ip": false, "token_ttl": 0.0, "token_type": "default",
	}
	for k, v := range over {
		m[k] = v
	}
	return m
}

func TestUsersAreCreatedReadListedAndDeleted(t *testing.T) {
	m := mount(t)
	if r := m.Write("users/bob", map[string]any{"password": "pw1", "token_policies": []string{"default", "dev"}, "token_ttl": "30m", "token_max_ttl": "2h"}); !r.NoContent {
		t.Error("creating a user answers a body")
	}
	want := answer(map[string]any{"token_policies": []any{"default", "dev"}, "token_ttl": 1800.0, "token_max_ttl": 7200.0})
	if diff := cmp.Diff(want, m.Read("users/bob").Map(t)); diff != "" {
		t.Errorf("bob differs from what was written:\n%s", diff)
	}
	if diff := cmp.Diff(map[string]any{"keys": []any{"bob"}}, m.List("users").Map(t)); diff != "" {
		t.Errorf("list:\n%s", diff)
	}
	m.Delete("users/bob")
	m.Delete("users/bob")
	m.Fails(fault.NotFound, route.VerbRead, "users/bob", nil)
	m.Fails(fault.NotFound, route.VerbList, "users", nil)
	m.Fails(fault.Unauthenticated, route.VerbWrite, "login/bob", map[string]any{"password": "pw1"})
}

func TestSettingsGivenByTheirOlderNamesAreShownByBoth(t *testing.T) {
	m := mount(t)
	m.Write("users/a", map[string]any{"password": "x", "policies": "p1,p2", "ttl": 600, "max_ttl": "1h", "bound_cidrs": "10.0.0.0/8"})
	want := answer(map[string]any{
		"policies": []any{"p1", "p2"}, "token_policies": []any{"p1", "p2"}, "ttl": 600.0, "token_ttl": 600.0, "max_ttl": 3600.0, "token_max_ttl": 3600.0,
		"bound_cidrs": []any{"10.0.0.0/8"}, "token_bound_cidrs": []any{"10.0.0.0/8"},
	})
	if diff := cmp.Diff(want, m.Read("users/a").Map(t)); diff != "" {
		t.Error(diff)
	}
	m.Write("users/a", map[string]any{"token_ttl": 5, "token_max_ttl": 50, "token_bound_cidrs": []string{}})
	m.Write("users/a/policies", map[string]any{"token_policies": "ops"})
	want = answer(map[string]any{"token_policies": []any{"ops"}, "token_ttl": 5.0, "token_max_ttl": 50.0})
	if diff := cmp.Diff(want, m.Read("users/a").Map(t)); diff != "" {
		t.Error(diff)
	}
}

func TestLoginSaysWhoTheCallerIs(t *testing.T) {
	m := mount(t)
	m.Write("users/bob", map[string]any{"password": "pw1", "token_policies": "dev", "token_ttl": "30m"})
	for _, path := range []string{"login/bob", "login/BOB"} {
		r := m.Write(path, map[string]any{"password": "pw1"})
		want := &authn.Identity{
			DisplayName: "bob", Alias: "bob", Metadata: map[string]string{"username": "bob"}, Payload: []byte("bob"),
			Token: authn.TokenParams{Policies: []string{"dev"}, TTL: 30 * time.Minute},
		}
		if diff := cmp.Diff(want, r.Login); diff != "" {
			t.Errorf("%s:\n%s", path, diff)
		}
		if r.Data != nil || r.Auth != nil {
			t.Error("a login answers more than an identity")
		}
	}
}

func TestRefusedLoginsAreAlike(t *testing.T) {
	m := mount(t)
	m.Write("users/bob", map[string]any{"password": strings.Repeat("p", 72)})
	for name, c := range map[string]struct{ path, password string }{
		"wrong password":             {"login/bob", "no"},
		"no such user":               {"login/none", "no"},
		"name that no user can have": {"login/b\u00f6b", "no"},
		"longer than bcrypt reads":   {"login/bob", strings.Repeat("p", 73)},
	} {
		err := m.Fails(fault.Unauthenticated, route.VerbWrite, c.path, map[string]any{"password": c.password})
		if got := fault.Message(err); got != "invalid username or password" {
			t.Errorf("%s: the text is %q", name, got)
		}
	}
	m.Write("login/bob", map[string]any{"password": strings.Repeat("p", 72)})
	m.Fails(fault.Invalid, route.VerbWrite, "login/bob", map[string]any{})
	m.Fails(fault.Unsupported, route.VerbRead, "login/bob", nil)
}
