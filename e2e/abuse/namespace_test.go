package abuse_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
)

// elsewhere are the namespaces from which nobody may reach a handle of a/: the
// one above, the one beside and the one within.
var elsewhere = []string{"", "b", "a/c"}

// TestB2_TokensOfANamespace tries a token and an accessor of a namespace at every
// endpoint that takes one, in the other namespaces, as root and as who
// administers those.
func TestB2_TokensOfANamespace(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	made := w.in("a", http.StatusOK, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"reading"}, "ttl": "1h"})
	text, accessor := auth(made, "client_token"), auth(made, "accessor")
	before := w.rows()
	for _, ns := range elsewhere {
		callers := []string{servertest.RootToken}
		if admin := w.admins[ns]; admin != "" {
			callers = append(callers, admin)
		}
		for _, as := range callers {
			for _, path := range []string{
				"auth/token/lookup", "auth/token/renew", "auth/token/revoke", "auth/token/revoke-orphan", "sys/capabilities",
				"auth/token/lookup-accessor", "auth/token/renew-accessor", "auth/token/revoke-accessor", "sys/capabilities-accessor",
				"auth/token/renew/" + text, "sys/wrapping/lookup", "sys/wrapping/unwrap", "sys/wrapping/rewrap",
			} {
				a := w.as(as, ns, http.MethodPost, path, map[string]any{"token": text, "accessor": accessor, "paths": "secret/x"})
				if a.Status/100 == 5 || a.Status/100 == 2 && !strings.Contains(path, "revoke") {
					t.Errorf("POST %s in %q: got %s, want a refusal", path, ns, a)
				}
			}
			for _, key := range list(w.as(as, ns, "LIST", "auth/token/accessors", nil).Data()["keys"]) {
				if key == accessor {
					t.Errorf("the accessor is listed in %q", ns)
				}
			}
		}
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("the token was touched: %v", diff)
	}
	if a := w.as(text, "a", http.MethodGet, "secret/known", nil); a.Status != http.StatusOK {
		t.Errorf("the token in its own namespace: %s", a)
	}
	w.in("a", http.StatusOK, http.MethodPost, "auth/token/lookup-accessor", map[string]any{"accessor": accessor})
}

// TestB3_B4_LeasesOfANamespace sends the id of a namespace's lease to every
// endpoint that takes one, in the other namespaces: in the path, in the body, in
// both with different values, and as every type.
func TestB3_B4_LeasesOfANamespace(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	id := w.lease("a", w.admins["a"])
	for _, ns := range elsewhere {
		// There is a lease of the same path here too, so that a prefix matches.
		w.lease(orDefault(ns, "b"), servertest.RootToken)
		before := w.rows()
		var bodies []any
		for _, v := range []any{id, id + "/", "a/" + id, "../a/" + id, []string{id}, 7, true, nil, map[string]string{"id": id}} {
			bodies = append(bodies, map[string]any{"lease_id": v, "increment": 60, "sync": true}, map[string]any{"url_lease_id": v, "sync": true})
		}
		bodies = append(bodies, nil)
		for _, base := range []string{"sys/leases/lookup", "sys/leases/renew", "sys/leases/revoke", "sys/renew", "sys/revoke"} {
			for _, path := range []string{base, base + "/" + id, base + "/" + id + "/", base + "/nobody"} {
				for _, body := range bodies {
					a := w.as(servertest.RootToken, ns, http.MethodPost, path, body)
					if a.Status/100 == 5 || a.Status/100 == 2 && !strings.Contains(path, "revoke") {
						t.Errorf("%s %v in %q: got %s, want a refusal", path, body, ns, a)
					}
				}
			}
		}
		prefix := id[:strings.LastIndexByte(id, '/')]
		for _, base := range []string{"sys/leases/revoke-prefix/", "sys/leases/revoke-force/", "sys/revoke-prefix/", "sys/revoke-force/"} {
			for _, p := range []string{prefix, prefix + "/", id, "a/" + prefix} {
				if a := w.as(servertest.RootToken, ns, http.MethodPost, base+p, map[string]any{"sync": true}); a.Status/100 == 5 {
					t.Errorf("POST %s%s in %q: got %s", base, p, ns, a)
				}
			}
		}
		if diff := difference(before, w.rows()); len(diff) > 0 {
			t.Errorf("in %q leases were touched: %v", ns, diff)
		}
	}
	if w.Fault.tried() > 0 {
		t.Error("the engine was asked to revoke")
	}
	w.in("a", http.StatusOK, http.MethodPost, "sys/leases/lookup", map[string]any{"lease_id": id})
	w.in("a", http.StatusNoContent, http.MethodPost, "sys/leases/revoke", map[string]any{"lease_id": id, "sync": true})
	if !w.Fault.gone("a") {
		t.Error("in its own namespace the lease was not revoked")
	}
}

// TestB5_NamesOfTheNamespaceItself: no spelling of the root, or of nothing, means
// the namespace that a request is in.
func TestB5_NamesOfTheNamespaceItself(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	before := w.rows()
	for _, ns := range []string{"", "a", "a/c"} {
		for _, name := range []string{
			"root", "root/", "%20root", "root%20", "ROOT", "Root", ".", "..", "./root", "%2e/root", "%2e%2e", "sys", "sys/", "auth", "audit", "identity", "cubbyhole", "%00", "%0a", "a%00", "x/y", "root/root", "%2froot",
		} {
			for _, verb := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete} {
				a := w.as(servertest.RootToken, ns, verb, "sys/namespaces/"+name, map[string]any{"custom_metadata": map[string]string{"x": "y"}})
				if a.Status != http.StatusBadRequest {
					t.Errorf("%s %s in %q: got %s, want 400", verb, name, ns, a)
				}
			}
			for _, base := range []string{"sys/namespaces/api-lock/lock/", "sys/namespaces/api-lock/unlock/"} {
				if a := w.as(servertest.RootToken, ns, http.MethodPost, base+name, map[string]any{"unlock_key": "x"}); a.Status/100 != 4 {
					t.Errorf("POST %s%s in %q: got %s, want a refusal", base, name, ns, a)
				}
			}
		}
		for _, verb := range []string{http.MethodPatch, http.MethodDelete, http.MethodPost} {
			for _, path := range []string{"sys/namespaces", "sys/namespaces/"} {
				if a := w.as(servertest.RootToken, ns, verb, path, map[string]any{}); a.Status/100 != 4 {
					t.Errorf("%s %s in %q: got %s, want a refusal", verb, path, ns, a)
				}
			}
		}
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("refused requests have changed the store: %v", diff)
	}
	for _, path := range []string{"sys/namespaces/api-lock/lock", "sys/namespaces/api-lock/lock/root"} {
		if a := w.as(servertest.RootToken, "", http.MethodPost, path, nil); a.Status != http.StatusBadRequest {
			t.Errorf("locking the root by %s: %s", path, a)
		}
	}
}

// TestB10_WhatIsTheServersAlone: an endpoint of the root namespace is refused in
// a child to everybody, root included.
func TestB10_WhatIsTheServersAlone(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	before := w.rows()
	for _, e := range w.endpoints() {
		catalog := strings.HasPrefix(e.Pattern, "plugins/catalog/") && e.Effect
		if !e.RootOnly && !catalog {
			continue
		}
		for _, ns := range places {
			for _, as := range []string{servertest.RootToken, w.admins[ns], ""} {
				for _, path := range []string{e.Path, ns + "/" + e.Path} {
					at := ns
					if path != e.Path {
						at = ""
					}
					a := w.as(as, at, method(e.Verb), path, map[string]any{})
					if a.Status != http.StatusBadRequest && a.Status != http.StatusForbidden {
						t.Errorf("%s by %s in %q: got %s, want a refusal", e, path, at, a)
					}
					if catalog && as != "" && a.Status != http.StatusForbidden {
						t.Errorf("%s by %s in %q: got %s, want 403", e, path, at, a)
					}
				}
			}
		}
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("refused requests have changed the store: %v", diff)
	}
}

// TestNobodyLeavesItsNamespace asks every endpoint in every namespace with the
// tokens of the others, by header, by path and by both.
func TestNobodyLeavesItsNamespace(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	own := []string{"lookup-self", "renew-self", "revoke-self", "rewrap"} // they follow their token home
	before := w.rows()
	for _, e := range w.endpoints() {
		if e.Public || slices.ContainsFunc(own, func(s string) bool { return strings.HasSuffix(e.Path, s) }) || !tenantMount(e.Mount) {
			continue
		}
		for _, tt := range []struct{ of, header, path string }{
			{"a", "", ""}, {"a", "b", ""}, {"a", "", "b/"}, {"b", "", ""}, {"b", "a", ""}, {"b", "a/c", ""}, {"b", "a", "c/"}, {"b", "", "a/c/"},
			{"a/c", "", ""}, {"a/c", "a", ""}, {"a/c", "b", ""}, {"a/c", "", "a/"},
		} {
			a := w.as(w.admins[tt.of], tt.header, method(e.Verb), tt.path+e.Path, map[string]any{})
			if a.Status != http.StatusForbidden && !(e.RootOnly && a.Status == http.StatusBadRequest) {
				t.Errorf("%s with a token of %q in %q by %s: got %s, want 403", e, tt.of, tt.header, tt.path+e.Path, a)
			}
		}
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("refused requests have changed the store: %v", diff)
	}
}

// tenantMount reports whether tenants have a mount.
func tenantMount(path string) bool {
	return slices.Contains([]string{"sys/", "auth/token/", "identity/", "cubbyhole/", "secret/", "auth/userpass/"}, path)
}

// TestOneNameInTwoNamespaces: policies, users, entities, mounts and leases of one
// name have nothing to do with each other.
func TestOneNameInTwoNamespaces(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	for _, ns := range places {
		a := w.as("", ns, http.MethodPost, "auth/userpass/login/ann", map[string]any{"password": "of " + ns})
		if a.Status != http.StatusOK {
			t.Fatalf("login in %q: %s", ns, a)
		}
		text, entity := auth(a, "client_token"), auth(a, "entity_id")
		for _, other := range places {
			if other == ns {
				continue
			}
			if a := w.as("", other, http.MethodPost, "auth/userpass/login/ann", map[string]any{"password": "of " + ns}); a.Status/100 == 2 {
				t.Errorf("the password of %q opens %q", ns, other)
			}
			if a := w.as(servertest.RootToken, other, http.MethodGet, "identity/entity/id/"+entity, nil); a.Status != http.StatusNotFound {
				t.Errorf("the entity of %q in %q: %s", ns, other, a)
			}
		}
		a = w.as(text, ns, http.MethodGet, "secret/known", nil)
		if got := a.Data()["value"]; got != "of "+ns {
			t.Errorf("in %q the secret is %v", ns, got)
		}
	}
	// A change of one policy is no change of the other: also for A9, in which one
	// namespace's policy bound another's tokens.
	text := w.tokenIn("b", "reading")
	w.in("a", http.StatusNoContent, http.MethodPost, "sys/policies/acl/reading", map[string]any{"policy": `path "secret/*" { capabilities = ["deny"] }`})
	if a := w.as(text, "b", http.MethodGet, "secret/known", nil); a.Status != http.StatusOK {
		t.Errorf("after the other namespace's policy has changed: %s", a)
	}
	w.in("a", http.StatusNoContent, http.MethodDelete, "sys/policies/acl/reading", nil)
	if a := w.as(text, "b", http.MethodGet, "secret/known", nil); a.Status != http.StatusOK {
		t.Errorf("after the other namespace's policy has gone: %s", a)
	}
}

// TestA7_PoliciesOfNamespacesToCome: a policy that names a path gives nothing in
// a namespace that is made there later, nor in one that is made again.
func TestA7_PoliciesOfNamespacesToCome(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	w.Policy("early", `path "later/secret/*" { capabilities = ["create", "read", "update", "delete", "list"] }`)
	w.Policy("wide", `path "+/secret/*" { capabilities = ["read"] }`)
	w.Policy("shut", `path "*" { capabilities = ["read"] } path "later/secret/known" { capabilities = ["deny"] }`)
	early, wide, shut := w.Token("early"), w.Token("wide"), w.Token("shut")
	refused := func(when, token string) {
		t.Helper()
		for _, by := range [][2]string{{"later", "secret/known"}, {"", "later/secret/known"}} {
			if a := w.as(token, by[0], http.MethodGet, by[1], nil); a.Status != http.StatusForbidden {
				t.Errorf("%s: GET %s in %q: got %s, want 403", when, by[1], by[0], a)
			}
		}
		if a := w.as(token, "later", http.MethodPost, "sys/capabilities-self", map[string]any{"paths": "secret/known"}); strings.Contains(string(a.Body), "read") {
			t.Errorf("%s: capabilities %s", when, a)
		}
	}
	w.space("later")
	refused("a policy written before", early)
	refused("a denial written before", shut)
	if a := w.as(wide, "later", http.MethodGet, "secret/known", nil); a.Status != http.StatusOK {
		t.Errorf("a policy with a wildcard: %s", a)
	}
	w.Policy("early", `path "later/secret/*" { capabilities = ["create", "read", "update", "delete", "list"] }`)
	if a := w.as(early, "later", http.MethodGet, "secret/known", nil); a.Status != http.StatusOK {
		t.Errorf("a policy written after: %s", a)
	}
	id := w.number("later")
	w.in("", http.StatusOK, http.MethodDelete, "sys/namespaces/later", nil)
	w.gone("later", id)
	w.space("later")
	refused("a namespace made again", early)
}

// TestMountsAndNamespacesExcludeEachOther: what a path means never changes under
// a policy, because a namespace cannot be made where a mount is, nor the other way.
func TestMountsAndNamespacesExcludeEachOther(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	w.in("", http.StatusNoContent, http.MethodPost, "sys/mounts/team/kv", map[string]any{"type": "kv"})
	for _, path := range []string{"sys/namespaces/team", "sys/namespaces/secret", "sys/mounts/a", "sys/mounts/a/deep/kv"} {
		if a := w.as(servertest.RootToken, "", http.MethodPost, path, map[string]any{"type": "kv"}); a.Status != http.StatusBadRequest {
			t.Errorf("POST %s: got %s, want 400", path, a)
		}
	}
	w.in("", http.StatusNoContent, http.MethodPost, "sys/mounts/free", map[string]any{"type": "kv"})
	if a := w.as(servertest.RootToken, "", http.MethodPost, "sys/remount", map[string]any{"from": "free", "to": "b/kv"}); a.Status != http.StatusBadRequest {
		t.Errorf("moving a mount into the place of a namespace: %s", a)
	}
	w.in("", http.StatusNoContent, http.MethodPost, "sys/auth/a", map[string]any{"type": "userpass"}) // below auth/ there are no namespaces
}

// TestTokensReachDown: a token acts below its namespace by policies whose paths
// begin with the namespace's, and nowhere else.
func TestTokensReachDown(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	w.in("a", http.StatusNoContent, http.MethodPost, "sys/policies/acl/down", map[string]any{"policy": `path "c/secret/*" { capabilities = ["read"] }`})
	text := w.tokenIn("a", "down")
	for _, tt := range []struct {
		header, path string
		want         int
	}{
		{"a/c", "secret/known", http.StatusOK}, {"a", "c/secret/known", http.StatusOK}, {"", "a/c/secret/known", http.StatusOK},
		{"a", "secret/known", http.StatusForbidden}, {"b", "secret/known", http.StatusForbidden}, {"", "c/secret/known", http.StatusForbidden},
	} {
		if a := w.as(text, tt.header, http.MethodGet, tt.path, nil); a.Status != tt.want {
			t.Errorf("GET %s in %q: got %s, want %d", tt.path, tt.header, a, tt.want)
		}
	}
	// What it makes below has its own namespace's names no more.
	w.in("a", http.StatusNoContent, http.MethodPost, "sys/policies/acl/down", map[string]any{"policy": `path "c/auth/token/create" { capabilities = ["update"] }`})
	for _, body := range []map[string]any{{}, {"policies": []string{"admin"}}, {"policies": []string{"down"}}, {"policies": []string{"root"}}} {
		a := w.as(text, "a/c", http.MethodPost, "auth/token/create", body)
		if got := fmt.Sprint(a.JSON()["auth"]); a.Status/100 == 2 && (strings.Contains(got, "admin") || strings.Contains(got, "down") || strings.Contains(got, "root")) {
			t.Errorf("a token made with %v: %s", body, a)
		}
	}
	if a := w.as(servertest.RootToken, "a", http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"root"}}); a.Status != http.StatusBadRequest {
		t.Errorf("a root token of a namespace: %s", a)
	}
	made := w.in("a", http.StatusOK, http.MethodPost, "auth/token/create", nil)
	if got := fmt.Sprint(made.JSON()["auth"].(map[string]any)["policies"]); got != "[default]" {
		t.Errorf("a token that root makes without naming policies has %s", got)
	}
}

// TestLockedNamespacesAreClosed: nothing but their unlocking passes.
func TestLockedNamespacesAreClosed(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	key, _ := w.in("", http.StatusOK, http.MethodPost, "sys/namespaces/api-lock/lock/a", nil).Data()["unlock_key"].(string)
	for _, ns := range []string{"a", "a/c"} {
		for _, e := range w.endpoints() {
			if !tenantMount(e.Mount) || e.Sealed || e.Verb != route.VerbRead {
				continue
			}
			if a := w.as(w.admins[ns], ns, method(e.Verb), e.Path, nil); a.Status != http.StatusServiceUnavailable {
				t.Errorf("%s in %q: got %s, want 503", e, ns, a)
			}
		}
		if a := w.as("", ns, http.MethodPost, "auth/userpass/login/ann", map[string]any{"password": "of " + ns}); a.Status != http.StatusServiceUnavailable {
			t.Errorf("a login in %q: %s", ns, a)
		}
	}
	if a := w.as(w.admins["b"], "b", http.MethodGet, "secret/known", nil); a.Status != http.StatusOK {
		t.Errorf("the namespace beside it: %s", a)
	}
	for name, body := range map[string]map[string]any{"no key": {}, "another key": {"unlock_key": "x"}, "an empty key": {"unlock_key": ""}} {
		if a := w.as(w.admins["a"], "a", http.MethodPost, "sys/namespaces/api-lock/unlock", body); a.Status != http.StatusBadRequest {
			t.Errorf("unlocking with %s: %s", name, a)
		}
	}
	w.reseal()
	if a := w.as(w.admins["a"], "a", http.MethodGet, "secret/known", nil); a.Status != http.StatusServiceUnavailable {
		t.Errorf("after unsealing: %s", a)
	}
	if a := w.as(w.admins["a"], "a", http.MethodPost, "sys/namespaces/api-lock/unlock", map[string]any{"unlock_key": key}); a.Status != http.StatusNoContent {
		t.Errorf("unlocking from within: %s", a)
	}
	if a := w.as(w.admins["a"], "a", http.MethodGet, "secret/known", nil); a.Status != http.StatusOK {
		t.Errorf("after unlocking: %s", a)
	}
	for _, v := range w.rows() {
		if strings.Contains(v, key) {
			t.Error("the unlock key is stored")
		}
	}
}

// TestB7_B8_DeletedNamespacesRevokeEverything: leases and tokens of a namespace
// three levels down end in the systems behind it before it is gone, whatever
// stands in the way, also across restarts.
func TestB7_B8_DeletedNamespacesRevokeEverything(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	w.space("a/c/d")
	deep := "a/c/d"
	id := w.number(deep)
	granted := w.lease(deep, w.admins[deep])  // by a token of the namespace
	inherited := w.lease(deep, w.admins["a"]) // by one of a namespace above
	w.lease("a/c", w.admins["a/c"])           // beside it
	w.as(w.admins[deep], deep, http.MethodPost, "cubbyhole/x", map[string]any{"a": "b"})
	wrapped := w.in(deep, http.StatusOK, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"reading"}})
	w.as("", deep, http.MethodPost, "auth/userpass/login/ann", map[string]any{"password": "wrong"})
	w.in(deep, http.StatusNoContent, http.MethodPost, "sys/quotas/rate-limit/all", map[string]any{"rate": 1000000})
	w.in("", http.StatusNoContent, http.MethodPost, "sys/quotas/rate-limit/deep", map[string]any{"rate": 1000000, "path": deep + "/"})
	if a := w.as(servertest.RootToken, "a", http.MethodDelete, "sys/namespaces/c", nil); a.Status != http.StatusBadRequest {
		t.Errorf("deleting one with another below: %s", a)
	}
	w.Fault.set(true)
	w.in("a/c", http.StatusOK, http.MethodDelete, "sys/namespaces/d", nil)
	w.in("a/c", http.StatusOK, http.MethodDelete, "sys/namespaces/d", nil) // again: it goes on
	eventually(t, "the engine was asked", func() bool { return w.Fault.tried() > 0 })
	for _, as := range []string{w.admins[deep], w.admins["a"], auth(wrapped, "client_token"), servertest.RootToken} {
		if a := w.as(as, deep, http.MethodGet, "secret/known", nil); a.Status/100 == 2 {
			t.Errorf("while it is deleted: %s", a)
		}
	}
	a := w.in("a/c", http.StatusOK, http.MethodGet, "sys/namespaces/d", nil)
	if a.Data()["tainted"] != true {
		t.Errorf("while it is deleted: %s", a)
	}
	w.reseal() // no mount is in memory now
	if a := w.as(servertest.RootToken, deep, http.MethodGet, "secret/known", nil); a.Status != http.StatusNotFound {
		t.Errorf("after a restart: %s", a)
	}
	w.Fault.set(false)
	w.gone(deep, id)
	if !w.Fault.gone("d") {
		t.Errorf("%s was not revoked", granted)
	}
	if n := w.Fault.times("d"); n < 2 {
		t.Errorf("%d of %s and %s were revoked", n, granted, inherited)
	}
	if w.Fault.gone("c") {
		t.Error("a lease of the namespace above was revoked")
	}
	for k, v := range w.rows() {
		if k.Kind() == store.KindQuota && k.Mount() == store.System {
			t.Errorf("a quota is left: %s", v)
		}
		if k.Kind() == store.KindToken && k.Mount() == store.System && strings.Contains(v, fmt.Sprintf(`"ns":%d,`, id)) {
			t.Error("a token is left")
		}
	}
	if a := w.as(auth(wrapped, "client_token"), "", http.MethodGet, "auth/token/lookup-self", nil); a.Status != http.StatusForbidden {
		t.Errorf("a token of the namespace: %s", a)
	}
	w.in("a", http.StatusOK, http.MethodDelete, "sys/namespaces/c", nil)
}
