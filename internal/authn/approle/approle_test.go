package approle_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/authn/approle"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

func mount(t *testing.T) *enginetest.Mount {
	t.Helper()
	return enginetest.New(t, approle.Type.Routes, approle.Type.New)
}

type object = map[string]any

func text(t *testing.T, r enginetest.Result, name string) string {
	t.Helper()
	s, ok := r.Map(t)[name].(string)
	if !ok {
		t.Fatalf("the answer has no %s", name)
	}
	return s
}

// body is no body for no settings.
func body(settings object) any {
	if settings == nil {
		return nil
	}
	return settings
}

// withRole creates a role and returns its id.
func withRole(t *testing.T, m *enginetest.Mount, name string, settings object) string {
	t.Helper()
	m.Write("role/"+name, body(settings))
	return text(t, m.Read("role/"+name+"/role-id"), "role_id")
}

// secretID makes a secret id and returns it with its accessor.
func secretID(t *testing.T, m *enginetest.Mount, role string, settings object) (secret, accessor string) {
	t.Helper()
	r := m.Write("role/"+role+"/secret-id", body(settings))
	return text(t, r, "secret_id"), text(t, r, "secret_id_accessor")
}

func login(m *enginetest.Mount, role, secret string) enginetest.Result {
	return m.Call(route.VerbWrite, "login", object{"role_id": role, "secret_id": secret})
}

// rows counts what is stored at the mount.
func rows(t *testing.T, m *enginetest.Mount) (n int) {
	t.Helper()
	err := m.Store.View(t.Context(), func(r store.Reader) error {
		for _, err := range r.Scan(store.Range{}) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func roleAnswer(over object) object {
	m := object{
		"token_bound_cidrs": []any{}, "token_explicit_max_ttl": 0.0, "token_max_ttl": 0.0, "token_no_default_policy": false, "token_num_uses": 0.0,
		"token_period": 0.0, "token_policies": []any{}, "token_strictly_bind_ip": false, "token_ttl": 0.0, "token_type": "default",
		"bind_secret_id": true, "local_secret_ids": false, "secret_id_bound_cidrs": nil, "secret_id_num_uses": 0.0, "secret_id_ttl": 0.0,
	}
	for k, v := range over {
		m[k] = v
	}
	return m
}

func TestRolesAreCreatedReadListedAndDeleted(t *testing.T) {
	m := mount(t)
	m.Write("role/r", object{"token_policies": []string{"default", "web"}, "token_ttl": "20m", "secret_id_ttl": "10m", "secret_id_num_uses": 4, "policies": "ignored", "period": "1h"})
	want := roleAnswer(object{
		"token_policies": []any{"default", "web"}, "policies": []any{"default", "web"}, "token_ttl": 1200.0, "secret_id_ttl": 600.0, "secret_id_num_uses": 4.0,
		"token_period": 3600.0, "period": 3600.0,
	})
	if diff := cmp.Diff(want, m.Read("role/r").Map(t)); diff != "" {
		t.Errorf("r:\n%s", diff)
	}
	m.Write("role/r", object{"bound_cidr_list": "10.0.0.0/8,192.0.2.1", "bind_secret_id": false, "token_bound_cidrs": "10.1.2.3/32", "token_policies": "", "token_period": 0})
	want = roleAnswer(object{
		"token_ttl": 1200.0, "secret_id_ttl": 600.0, "secret_id_num_uses": 4.0, "bind_secret_id": false,
		"secret_id_bound_cidrs": []any{"10.0.0.0/8", "192.0.2.1"}, "token_bound_cidrs": []any{"10.1.2.3"},
	})
	if diff := cmp.Diff(want, m.Read("role/r").Map(t)); diff != "" {
		t.Errorf("r after an update:\n%s", diff)
	}
	if diff := cmp.Diff(object{"keys": []any{"r"}}, m.List("role").Map(t)); diff != "" {
		t.Error(diff)
	}
	m.Delete("role/r")
	m.Delete("role/r")
	m.Fails(fault.NotFound, route.VerbRead, "role/r", nil)
	m.Fails(fault.NotFound, route.VerbList, "role", nil)
	if n := rows(t, m); n != 0 {
		t.Errorf("%d rows are left of a deleted role", n)
	}
}

func TestEveryFieldOfARoleHasItsOwnEndpoint(t *testing.T) {
	for field, c := range map[string]struct{ set, got, reset object }{
		"policies":              {object{"policies": "b,a"}, object{"policies": []any{"a", "b"}, "token_policies": []any{"a", "b"}}, object{"token_policies": []any{}}},
		"period":                {object{"token_period": "1h"}, object{"token_period": 3600.0}, object{"token_period": 0.0}},
		"token-ttl":             {object{"token_ttl": "5m"}, object{"token_ttl": 300.0}, object{"token_ttl": 0.0}},
		"token-max-ttl":         {object{"token_max_ttl": "10m"}, object{"token_max_ttl": 600.0}, object{"token_max_ttl": 0.0}},
		"token-num-uses":        {object{"token_num_uses": "3"}, object{"token_num_uses": 3.0}, object{"token_num_uses": 0.0}},
		"token-bound-cidrs":     {object{"token_bound_cidrs": "127.0.0.1/32"}, object{"token_bound_cidrs": []any{"127.0.0.1"}}, object{"token_bound_cidrs": nil}},
		"bind-secret-id":        {object{"bind_secret_id": true}, object{"bind_secret_id": true}, object{"bind_secret_id": true}},
		"secret-id-num-uses":    {object{"secret_id_num_uses": 7}, object{"secret_id_num_uses": 7.0}, object{"secret_id_num_uses": 0.0}},
		"secret-id-ttl":         {object{"secret_id_ttl": "90s"}, object{"secret_id_ttl": 90.0}, object{"secret_id_ttl": 0.0}},
		"secret-id-bound-cidrs": {object{"secret_id_bound_cidrs": "127.0.0.1/32"}, object{"secret_id_bound_cidrs": []any{"127.0.0.1/32"}}, object{"secret_id_bound_cidrs": nil}},
		"bound-cidr-list":       {object{"bound_cidr_list": "127.0.0.1/32"}, object{"bound_cidr_list": []any{"127.0.0.1/32"}}, object{"bound_cidr_list": nil}},
	} {
		t.Run(field, func(t *testing.T) {
			m := mount(t)
			withRole(t, m, "r", nil)
			path := "role/r/" + field
			m.Write(path, c.set)
			if diff := cmp.Diff(c.got, m.Read(path).Map(t)); diff != "" {
				t.Errorf("after setting it:\n%s", diff)
			}
			m.Fails(fault.Invalid, route.VerbWrite, path, object{})
			m.Delete(path)
			if diff := cmp.Diff(c.reset, m.Read(path).Map(t)); diff != "" {
				t.Errorf("after resetting it:\n%s", diff)
			}
			if diff := cmp.Diff(roleAnswer(nil), m.Read("role/r").Map(t)); diff != "" {
				t.Errorf("the role after resetting it:\n%s", diff)
			}
			m.Fails(fault.NotFound, route.VerbRead, "role/none/"+field, nil)
			m.Fails(fault.NotFound, route.VerbWrite, "role/none/"+field, c.set)
			m.Delete("role/none/" + field)
		})
	}
	m := mount(t)
	withRole(t, m, "r", object{"local_secret_ids": true})
	if diff := cmp.Diff(object{"local_secret_ids": true}, m.Read("role/r/local-secret-ids").Map(t)); diff != "" {
		t.Error(diff)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "role/r", object{"local_secret_ids": false})
	m.Write("role/r", object{"local_secret_ids": true})
}

func TestBadRolesAreRefusedAndChangeNothing(t *testing.T) {
	m := mount(t)
	withRole(t, m, "r", object{"token_policies": "p"})
	withRole(t, m, "bare", object{"bind_secret_id": false, "secret_id_bound_cidrs": "10.0.0.0/8"})
	before := rows(t, m)
	for name, c := range map[string]struct {
		verb route.Verb
		path string
		body object
	}{
		"upper case":              {route.VerbWrite, "role/R", object{"token_policies": "q"}},
		"upper case delete":       {route.VerbDelete, "role/R", nil},
		"upper case read":         {route.VerbRead, "role/R", nil},
		"upper case secret id":    {route.VerbWrite, "role/R/secret-id", nil},
		"upper case field":        {route.VerbWrite, "role/R/policies", object{"policies": "q"}},
		"upper case field delete": {route.VerbDelete, "role/R/policies", nil},
		"space":                   {route.VerbWrite, "role/r ", nil},
		"Kelvin sign":             {route.VerbWrite, "role/\u212a", nil},
		"NUL":                     {route.VerbWrite, "role/r\x00", nil},
		"star":                    {route.VerbWrite, "role/*", nil},
		"no constraint":           {route.VerbWrite, "role/new", object{"bind_secret_id": false}},
		"last constraint gone":    {route.VerbDelete, "role/bare/secret-id-bound-cidrs", nil},
		"bad block":               {route.VerbWrite, "role/new", object{"secret_id_bound_cidrs": "zzz"}},
		"bad token type":          {route.VerbWrite, "role/new", object{"token_type": "x"}},
		"negative uses":           {route.VerbWrite, "role/new", object{"secret_id_num_uses": -1}},
		"negative period":         {route.VerbWrite, "role/new", object{"token_period": "-5s"}},
		"counted batch tokens":    {route.VerbWrite, "role/new", object{"token_type": "batch", "token_num_uses": 3}},
		"role id of another":      {route.VerbWrite, "role/new", object{"role_id": "taken"}},
		"role id with a space":    {route.VerbWrite, "role/new", object{"role_id": "a b"}},
		"empty role id":           {route.VerbWrite, "role/r/role-id", object{}},
	} {
		if name == "role id of another" {
			m.Write("role/bare/role-id", object{"role_id": "taken"})
		}
		m.Fails(fault.Invalid, c.verb, c.path, body(c.body))
		if n := rows(t, m); n != before {
			t.Errorf("%s: %d rows, %d before", name, n, before)
		}
	}
	if got := m.Read("role/r").Map(t)["token_policies"]; !cmp.Equal(got, []any{"p"}) {
		t.Errorf("the role has changed: %v", got)
	}
}

func TestARoleIDCanBeChosenOncePerMount(t *testing.T) {
	m := mount(t)
	old := withRole(t, m, "a", nil)
	secret, _ := secretID(t, m, "a", nil)
	m.Write("role/a/role-id", object{"role_id": "mine"})
	if err := login(m, old, secret).Err; fault.KindOf(err) != fault.Unauthenticated {
		t.Errorf("login with the old role id: %v", err)
	}
	if r := login(m, " mine\n", secret+"\n"); r.Err != nil || r.Login.Alias != "mine" {
		t.Errorf("login with the new role id: %v", r.Err)
	}
	withRole(t, m, "b", object{"role_id": "yours"})
	m.Fails(fault.Invalid, route.VerbWrite, "role/b/role-id", object{"role_id": "mine"})
	m.Write("role/a/role-id", object{"role_id": "mine"})
	m.Delete("role/a")
	m.Write("role/b/role-id", object{"role_id": "mine"})
}

func TestLoginSaysWhoTheCallerIs(t *testing.T) {
	m := mount(t)
	id := withRole(t, m, "r", object{"token_policies": "dev", "token_ttl": "20m", "token_type": "service"})
	for name, metadata := range map[string]any{"an object": object{"tag": "one"}, "JSON in a string": `{"tag":"one","role_name":"root"}`} {
		secret, _ := secretID(t, m, "r", object{"metadata": metadata})
		r := login(m, id, secret)
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		want := authn.Identity{
			Alias: id, Metadata: map[string]string{"role_name": "r", "tag": "one"}, AliasMetadata: map[string]string{"role_name": "r", "tag": "one"},
			Token: authn.TokenParams{Policies: []string{"dev"}, TTL: 20 * time.Minute, Type: "service"},
		}
		got := *r.Login
		got.Payload = nil
		if got.Commit != nil {
			t.Errorf("%s: a login without a use count writes", name)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("metadata as %s:\n%s", name, diff)
		}
		if r.Data != nil || r.Auth != nil {
			t.Error("a login answers more than an identity")
		}
	}
	m.Fails(fault.Invalid, route.VerbWrite, "role/r/secret-id", object{"metadata": "not json"})
	m.Fails(fault.Invalid, route.VerbWrite, "role/r/secret-id", object{"metadata": object{"a": strings.Repeat("x", 9000)}})
}

func TestRefusedLoginsAreAlikeAndLeaveNothing(t *testing.T) {
	m := mount(t)
	id := withRole(t, m, "r", nil)
	other := withRole(t, m, "other", nil)
	secret, _ := secretID(t, m, "r", nil)
	destroyed, accessor := secretID(t, m, "r", nil)
	m.Write("role/r/secret-id-accessor/destroy", object{"secret_id_accessor": accessor})
	expired, _ := secretID(t, m, "r", object{"ttl": 1})
	m.Advance(time.Second)
	before := rows(t, m)
	for name, c := range map[string][2]string{
		"no such role":              {"none", secret},
		"impossible role id":        {"a\x00b", secret},
		"no such secret id":         {id, "x"},
		"no secret id":              {id, ""},
		"secret id of another role": {other, secret},
		"destroyed secret id":       {id, destroyed},
		"expired secret id":         {id, expired},
		"secret id in upper case":   {id, strings.ToUpper(secret)},
		"endless secret id":         {id, strings.Repeat("x", 5000)},
	} {
		r := login(m, c[0], c[1])
		if fault.KindOf(r.Err) != fault.Unauthenticated || fault.Message(r.Err) != "invalid role or secret ID" || r.Reply != nil {
			t.Errorf("%s: %v", name, r.Err)
		}
	}
	m.Fails(fault.Invalid, route.VerbWrite, "login", object{"secret_id": secret})
	if n := rows(t, m); n != before {
		t.Errorf("refused logins changed storage from %d to %d rows", before, n)
	}
}

func TestARenewalHasTheRolesPresentSettings(t *testing.T) {
	m := mount(t)
	id := withRole(t, m, "r", object{"token_ttl": "1m"})
	secret, _ := secretID(t, m, "r", nil)
	payload := login(m, id, secret).Login.Payload
	renew := func() (authn.TokenParams, error) {
		return m.Instance.(authn.Renewer).Renew(t.Context(), &route.Call{}, payload)
	}
	m.Write("role/r", object{"token_ttl": "2m", "role_id": "another"})
	if p, err := renew(); err != nil || p.TTL != 2*time.Minute {
		t.Errorf("renewal: %v %v", p, err)
	}
	m.Delete("role/r")
	if _, err := renew(); fault.KindOf(err) != fault.Denied {
		t.Errorf("renewal without the role: %v", err)
	}
	withRole(t, m, "r", object{"role_id": id})
	if _, err := renew(); fault.KindOf(err) != fault.Denied {
		t.Errorf("renewal with a new role of the same name: %v", err)
	}
}

// approleWrites are the endpoints that take a body.
func approleWrites() (eps []route.Endpoint) {
	for _, e := range approle.Type.Routes {
		if e.Verb == route.VerbWrite {
			eps = append(eps, e)
		}
	}
	return eps
}
