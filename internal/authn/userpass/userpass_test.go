package userpass_test

import (
	"net/netip"
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

func TestLoginsComeFromWithinTheirBlocks(t *testing.T) {
	m := mount(t)
	m.Write("users/bob", map[string]any{"password": "pw", "token_bound_cidrs": "10.0.0.0/8"})
	good := map[string]any{"password": "pw"}
	for _, addr := range []netip.Addr{netip.MustParseAddr("192.0.2.1"), {}} {
		m.Remote = addr
		if err := m.Fails(fault.Denied, route.VerbWrite, "login/bob", good); fault.Message(err) != "permission denied" {
			t.Errorf("from %v: %v", addr, err)
		}
		m.Fails(fault.Unauthenticated, route.VerbWrite, "login/bob", map[string]any{"password": "wrong"})
	}
	m.Remote = netip.MustParseAddr("10.1.2.3")
	m.Write("login/bob", good)
}

func TestChangingAPassword(t *testing.T) {
	m := mount(t)
	m.Write("users/bob", map[string]any{"password": "pw1", "token_policies": "p"})
	m.Write("users/bob/password", map[string]any{"password": "pw2"})
	m.Fails(fault.Unauthenticated, route.VerbWrite, "login/bob", map[string]any{"password": "pw1"})
	m.Write("login/bob", map[string]any{"password": "pw2"})
	m.Write("users/bob", map[string]any{"password": "pw3"})
	r := m.Write("login/bob", map[string]any{"password": "pw3"})
	if diff := cmp.Diff([]string{"p"}, r.Login.Token.Policies); diff != "" {
		t.Errorf("a new password changes the policies:\n%s", diff)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "users/bob/password", map[string]any{})
	m.Fails(fault.NotFound, route.VerbWrite, "users/none/password", map[string]any{"password": "x"})
	m.Fails(fault.NotFound, route.VerbWrite, "users/none/policies", map[string]any{"policies": "x"})
	m.Fails(fault.Invalid, route.VerbWrite, "users/bob/policies", map[string]any{})
}

// hashOfSecret is the bcrypt hash of "secret" with the cost 4.
const hashOfSecret = "$2a$04$8fQacI/NF7HcinpJUNQwIeyM1DgbU0IS22zDIZ9wNpyTmWt/h/OzG"

func TestReadyMadeHashes(t *testing.T) {
	m := mount(t)
	m.Write("users/h", map[string]any{"password_hash": hashOfSecret})
	m.Write("login/h", map[string]any{"password": "secret"})
	m.Fails(fault.Unauthenticated, route.VerbWrite, "login/h", map[string]any{"password": "Secret"})
	for name, hash := range map[string]string{
		"empty":          "",
		"plain text":     "secret-canary-secret-canary-secret-canary-secret-canary-sec",
		"cut off":        hashOfSecret[:59],
		"too long":       hashOfSecret + "A",
		"not base 64":    hashOfSecret[:30] + "!" + hashOfSecret[31:],
		"another scheme": "$6$" + hashOfSecret[3:],
		"without end":    "$2a$31$" + hashOfSecret[7:],
		"NUL":            hashOfSecret[:59] + "\x00",
	} {
		err := m.Fails(fault.Invalid, route.VerbWrite, "users/h", map[string]any{"password_hash": hash})
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error repeats the hash", name)
		}
	}
	m.Fails(fault.Invalid, route.VerbWrite, "users/h", map[string]any{"password_hash": hashOfSecret, "password": "x"})
}

func TestBadUsersAreRefusedAndChangeNothing(t *testing.T) {
	m := mount(t)
	m.Write("users/bob", map[string]any{"password": "pw", "token_policies": "p"})
	before := m.Read("users/bob").Map(t)
	ok := map[string]any{"password": "other", "token_policies": "q"}
	for name, c := range map[string]struct {
		verb route.Verb
		path string
		body any
	}{
		"upper case":            {route.VerbWrite, "users/BOB", ok},
		"upper case read":       {route.VerbRead, "users/Bob", nil},
		"upper case delete":     {route.VerbDelete, "users/BOB", nil},
		"upper case password":   {route.VerbWrite, "users/Bob/password", ok},
		"upper case policies":   {route.VerbWrite, "users/Bob/policies", ok},
		"trailing space":        {route.VerbWrite, "users/bob ", ok},
		"long s":                {route.VerbWrite, "users/\u017f", ok},
		"NUL":                   {route.VerbWrite, "users/bob\x00", ok},
		"trailing dot":          {route.VerbWrite, "users/bob.", ok},
		"wildcard":              {route.VerbWrite, "users/+", ok},
		"no password":           {route.VerbWrite, "users/new", map[string]any{}},
		"empty password":        {route.VerbWrite, "users/new", map[string]any{"password": ""}},
		"long password":         {route.VerbWrite, "users/bob", map[string]any{"password": strings.Repeat("p", 73)}},
		"password with NUL":     {route.VerbWrite, "users/bob", map[string]any{"password": "p\x00p"}},
		"bad token type":        {route.VerbWrite, "users/bob", map[string]any{"token_type": "weird"}},
		"lifetime beyond limit": {route.VerbWrite, "users/bob", map[string]any{"token_ttl": "5h", "token_max_ttl": "1h"}},
		"bad block":             {route.VerbWrite, "users/bob", map[string]any{"bound_cidrs": "zzz"}},
	} {
		m.Fails(fault.Invalid, c.verb, c.path, c.body)
		if diff := cmp.Diff(before, m.Read("users/bob").Map(t)); diff != "" {
			t.Fatalf("%s changed bob:\n%s", name, diff)
		}
		if diff := cmp.Diff(map[string]any{"keys": []any{"bob"}}, m.List("users").Map(t)); diff != "" {
			t.Fatalf("%s changed the list:\n%s", name, diff)
		}
	}
	m.Write("login/bob", map[string]any{"password": "pw"})
}

func TestARenewalHasTheUsersPresentSettings(t *testing.T) {
	m := mount(t)
	m.Write("users/bob", map[string]any{"password_hash": hashOfSecret, "token_ttl": "1m"})
	payload := m.Write("login/bob", map[string]any{"password": "secret"}).Login.Payload
	renew := func() (authn.TokenParams, error) {
		return m.Instance.(authn.Renewer).Renew(t.Context(), &route.Call{}, payload)
	}
	m.Write("users/bob", map[string]any{"token_ttl": "2m"})
	if p, err := renew(); err != nil || p.TTL != 2*time.Minute {
		t.Errorf("renewal: %v %v", p, err)
	}
	m.Delete("users/bob")
	if _, err := renew(); fault.KindOf(err) != fault.Denied {
		t.Errorf("renewal without the user: %v", err)
	}
}

// A value of the wrong type must not come back in the error: it may be a
// password that landed in the wrong field.
func TestErrorsDoNotRepeatWhatWasSent(t *testing.T) {
	m := mount(t)
	m.Write("users/bob", map[string]any{"password_hash": hashOfSecret})
	for _, e := range userpass.Type.Routes {
		for _, p := range e.Input() {
			if p.In == "path" || e.Verb != route.VerbWrite {
				continue
			}
			for _, bad := range []any{map[string]any{"canary": "canary"}, []any{map[string]any{"canary": "canary"}}, "canary canary \x00", []any{"canary canary"}} {
				path := strings.ReplaceAll(e.Pattern, "{username}", "bob")
				if r := m.Call(e.Verb, path, map[string]any{p.Name: bad}); r.Err != nil && strings.Contains(r.Err.Error(), "canary") {
					t.Errorf("%s, field %s: %v", path, p.Name, r.Err)
				}
			}
		}
	}
}
