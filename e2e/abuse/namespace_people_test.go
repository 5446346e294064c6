package abuse_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
)

// person makes a user of a namespace without policies, logs in, and returns the
// token and the entity.
func (w *tenants) person(ns, name string) (token, entity string) {
	w.t.Helper()
	w.in(ns, http.StatusNoContent, http.MethodPost, "auth/userpass/users/"+name, map[string]any{"password": "a password"})
	a := w.as("", ns, http.MethodPost, "auth/userpass/login/"+name, map[string]any{"password": "a password"})
	if a.Status != http.StatusOK {
		w.t.Fatalf("login in %q: %s", ns, a)
	}
	return auth(a, "client_token"), auth(a, "entity_id")
}

// group makes a group of a namespace and returns its id.
func (w *tenants) group(ns string, body map[string]any) string {
	w.t.Helper()
	id, _ := w.in(ns, http.StatusOK, http.MethodPost, "identity/group", body).Data()["id"].(string)
	return id
}

// TestGroupsTakeMembersFromAbove: a group's policies reach members of the
// namespaces above it, within its own namespace and below, and nobody else.
func TestGroupsTakeMembersFromAbove(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	w.space("a/c/d")
	bob, entity := w.person("a", "bob")
	check := func(when string, want map[string]int) {
		t.Helper()
		for ns, status := range want {
			a := w.as(bob, ns, http.MethodGet, "secret/known", nil)
			if a.Status != status {
				t.Errorf("%s: reading in %q: got %s, want %d", when, ns, a, status)
			}
			c := w.as(bob, ns, http.MethodPost, "sys/capabilities-self", map[string]any{"paths": "secret/known"})
			if may := strings.Contains(string(c.Body), `"read"`); c.Status == http.StatusOK && may != (status == http.StatusOK) {
				t.Errorf("%s: capabilities in %q: %s", when, ns, c)
			}
		}
	}
	check("without groups", map[string]int{"a": 403, "a/c": 403, "a/c/d": 403, "b": 403})
	id := w.group("a/c", map[string]any{"name": "g", "policies": "reading", "member_entity_ids": entity})
	check("as a member", map[string]int{"a": 403, "a/c": 200, "a/c/d": 403, "b": 403})
	w.in("a/c", 0, http.MethodPost, "sys/policies/acl/reading", map[string]any{"policy": `path "secret/*" { capabilities = ["read"] } path "d/secret/*" { capabilities = ["read"] }`})
	look := w.as(bob, "a", http.MethodGet, "auth/token/lookup-self", nil)
	external, _ := look.Data()["external_namespace_policies"].(map[string]any)
	if len(external) != 1 {
		t.Errorf("a lookup shows %v", external)
	}
	for uuid, names := range external {
		if got := list(names); len(got) != 1 || got[0] != "reading" {
			t.Errorf("a lookup shows %v", external)
		}
		granted := `"granting_policies":[{"name":"reading","namespace_id":"` + uuid + `","namespace_path":"a/c/","type":"acl"}]`
		if log := w.auditText(); !strings.Contains(log, granted) || !strings.Contains(log, `"external_namespace_policies":{"`+uuid+`":["reading"]}`) {
			t.Errorf("the audit log does not tell of %s", granted)
		}
	}
	check("with a policy for what is below", map[string]int{"a": 403, "a/c": 200, "a/c/d": 200, "b": 403})
	a := w.in("a", http.StatusOK, http.MethodGet, "identity/entity/id/"+entity, nil)
	if got := list(a.Data()["direct_group_ids"]); len(got) != 1 || got[0] != id {
		t.Errorf("the entity's groups are %v, not %s", got, id)
	}
	w.in("a/c", http.StatusNoContent, http.MethodDelete, "identity/group/id/"+id, nil)
	check("after the group has gone", map[string]int{"a": 403, "a/c": 403, "a/c/d": 403})

	above := w.group("a", map[string]any{"name": "people", "member_entity_ids": entity})
	w.group("a/c", map[string]any{"name": "g", "policies": "reading", "member_group_ids": above})
	check("through a group above", map[string]int{"a": 403, "a/c": 200, "b": 403})
	w.in("a", http.StatusNoContent, http.MethodPost, "identity/group/id/"+above, map[string]any{"member_entity_ids": []string{}})
	check("after it has left that", map[string]int{"a": 403, "a/c": 403})
	w.in("a", http.StatusNoContent, http.MethodPost, "identity/group/id/"+above, map[string]any{"member_entity_ids": entity})
	check("after it is back", map[string]int{"a/c": 200})
	w.in("a", 0, http.MethodPost, "sys/policies/acl/no", map[string]any{"policy": `path "c/secret/known" { capabilities = ["deny"] }`})
	w.in("a", http.StatusNoContent, http.MethodPost, "identity/entity/id/"+entity, map[string]any{"policies": "no"})
	check("with a denial of its own", map[string]int{"a/c": 403})
	w.in("a", http.StatusNoContent, http.MethodPost, "identity/entity/id/"+entity, map[string]any{"policies": []string{}})

	deep, parent := w.number("a/c/d"), w.number("a/c")
	w.in("a/c", http.StatusOK, http.MethodDelete, "sys/namespaces/d", nil)
	w.gone("a/c/d", deep)
	w.in("a", http.StatusOK, http.MethodDelete, "sys/namespaces/c", nil)
	w.gone("a/c", parent)
	a = w.in("a", http.StatusOK, http.MethodGet, "identity/entity/id/"+entity, nil)
	if got := list(a.Data()["group_ids"]); len(got) != 1 || got[0] != above {
		t.Errorf("after its namespace was deleted, the entity's groups are %v", got)
	}
	if a := w.as(bob, "a", http.MethodGet, "auth/token/lookup-self", nil); a.Status != http.StatusOK {
		t.Errorf("the member's token: %s", a)
	}
	for k := range w.rows() {
		if k.Kind() == store.KindIdentityIndex && k.Namespace() != w.number("a") && strings.Contains(string(k), entity) {
			t.Error("a membership is left")
		}
	}
}

// TestGroupsTakeNobodyElse: neither somebody from beside nor from below can be
// put into a group.
func TestGroupsTakeNobodyElse(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	_, bob := w.person("a", "bob")
	_, carl := w.person("a/c", "carl")
	inner := w.group("a/c", map[string]any{"name": "inner"})
	for _, tt := range []struct {
		ns   string
		body map[string]any
	}{
		{"b", map[string]any{"member_entity_ids": bob}}, {"b", map[string]any{"member_entity_ids": carl}}, {"a", map[string]any{"member_entity_ids": carl}},
		{"", map[string]any{"member_entity_ids": bob}}, {"a", map[string]any{"member_group_ids": inner}}, {"b", map[string]any{"member_group_ids": inner}},
	} {
		if a := w.as(servertest.RootToken, tt.ns, http.MethodPost, "identity/group", tt.body); a.Status != http.StatusBadRequest {
			t.Errorf("a group of %q with %v: got %s, want 400", tt.ns, tt.body, a)
		}
	}
}

// TestB6_BatchDeleteOfAForeignEntity: one id of another namespace in a batch, and
// nothing is deleted.
func TestB6_BatchDeleteOfAForeignEntity(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	_, mine := w.person("a", "bob")
	for _, ns := range []string{"b", "a/c", ""} {
		theirs := ""
		if ns == "" {
			theirs, _ = w.in("", http.StatusOK, http.MethodPost, "identity/entity", map[string]any{"name": "root's"}).Data()["id"].(string)
		} else {
			_, theirs = w.person(ns, "bob")
		}
		before := w.rows()
		if a := w.as(w.admins["a"], "a", http.MethodPost, "identity/entity/batch-delete", map[string]any{"entity_ids": []string{mine, theirs}}); a.Status != http.StatusForbidden {
			t.Errorf("with an entity of %q: got %s, want 403", ns, a)
		}
		if diff := difference(before, w.rows()); len(diff) > 0 {
			t.Errorf("with an entity of %q: %v", ns, diff)
		}
	}
	w.in("a", http.StatusNoContent, http.MethodPost, "identity/entity/batch-delete", map[string]any{"entity_ids": []string{mine, "nobody"}})
}

// TestLockoutIsANamespacesOwn: failed logins lock the user of one namespace only.
func TestLockoutIsANamespacesOwn(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	for range 6 {
		w.as("", "a", http.MethodPost, "auth/userpass/login/ann", map[string]any{"password": "wrong"})
	}
	if a := w.as("", "a", http.MethodPost, "auth/userpass/login/ann", map[string]any{"password": "of a"}); a.Status != http.StatusForbidden {
		t.Errorf("the locked user: %s", a)
	}
	for _, ns := range []string{"b", "a/c"} {
		if a := w.as("", ns, http.MethodPost, "auth/userpass/login/ann", map[string]any{"password": "of " + ns}); a.Status != http.StatusOK {
			t.Errorf("the user of that name in %q: %s", ns, a)
		}
		if a := w.in(ns, http.StatusOK, http.MethodGet, "sys/locked-users", nil); strings.Contains(string(a.Body), "ann") {
			t.Errorf("%q shows %s", ns, a)
		}
	}
	if a := w.in("a", http.StatusOK, http.MethodGet, "sys/locked-users", nil); !strings.Contains(string(a.Body), `"a/"`) || !strings.Contains(string(a.Body), "ann") {
		t.Errorf("its own namespace shows %s", a)
	}
}

// TestQuotasBindNamespaces: a limit on one namespace leaves the one beside alone,
// and one that is handed down binds what is below.
func TestQuotasBindNamespaces(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	w.in("", http.StatusNoContent, http.MethodPost, "sys/quotas/rate-limit/a", map[string]any{"rate": 3, "interval": "1h", "path": "a/", "inheritable": true})
	refused := map[string]bool{}
	for _, ns := range []string{"b", "a/c", ""} {
		for range 5 {
			a := w.as(w.admins["a"], ns, http.MethodGet, "auth/token/lookup-self", nil)
			refused[ns] = refused[ns] || a.Status == http.StatusTooManyRequests
		}
	}
	if refused["b"] || !refused["a/c"] || refused[""] {
		t.Errorf("refused: %v", refused)
	}
	w.in("", http.StatusNoContent, http.MethodDelete, "sys/quotas/rate-limit/a", nil)
	w.in("b", http.StatusNoContent, http.MethodPost, "sys/quotas/lease-count/few", map[string]any{"max_leases": 4})
	var last servertest.Answer
	for range 4 {
		last = w.as(servertest.RootToken, "b", http.MethodGet, "fault/creds/x?ttl=1h", nil)
	}
	if last.Status != http.StatusTooManyRequests {
		t.Errorf("the fourth lease beside two tokens: %s", last)
	}
	w.lease("a/c", servertest.RootToken)
}
