package server_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// TestListenerOfANamespace: what a listener with a namespace of its own shows as
// the root is that namespace, and nothing of the rest can be reached.
func TestListenerOfANamespace(t *testing.T) {
	setup := servertest.New(t, servertest.Options{})
	for _, x := range [][2]string{{"", "a"}, {"", "b"}, {"a", "c"}} {
		setup.Must(http.StatusOK, http.MethodPost, "sys/namespaces/"+x[1], nil, "X-Vault-Namespace", x[0])
	}
	for _, ns := range []string{"", "a", "a/c", "b"} {
		setup.Must(http.StatusNoContent, http.MethodPost, "sys/mounts/kv", map[string]any{"type": "kv"}, "X-Vault-Namespace", ns)
		setup.Must(http.StatusNoContent, http.MethodPost, "kv/x", map[string]any{"at": "in " + ns}, "X-Vault-Namespace", ns)
	}
	h := setup.Listener(func(c *config.Listener) { c.Namespace = "a" })
	ask := func(path, namespace string) servertest.Answer {
		r := httptest.NewRequest(http.MethodGet, "/v1/"+path, nil)
		r.Header.Set("X-Vault-Token", servertest.RootToken)
		r.Header.Set("X-Vault-Namespace", namespace)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return servertest.Answer{Status: w.Code, Body: w.Body.Bytes()}
	}
	for _, tt := range []struct{ header, path, want string }{
		{"", "kv/x", "in a"}, {"root", "kv/x", "in a"}, {"/", "kv/x", "in a"}, {"c", "kv/x", "in a/c"}, {"", "c/kv/x", "in a/c"}, {"a", "kv/x", ""}, {"b", "kv/x", ""}, {"../b", "kv/x", ""}, {"", "b/kv/x", ""}, {"root/b", "kv/x", ""},
	} {
		a := ask(tt.path, tt.header)
		if got, _ := a.Data()["at"].(string); got != tt.want {
			t.Errorf("%s in %q: got %s, want %q", tt.path, tt.header, a, tt.want)
		}
	}
	for _, path := range []string{"sys/audit", "sys/rekey/init", "sys/init", "sys/host-info"} {
		if a := ask(path, ""); a.Status != http.StatusBadRequest {
			t.Errorf("%s: %s", path, a)
		}
	}
	for _, path := range []string{"sys/health", "sys/seal-status"} {
		if a := ask(path, ""); a.Status != http.StatusOK {
			t.Errorf("%s: %s", path, a)
		}
	}
}

// TestNamespacesOnEveryNode makes a namespace at one node and uses it at the
// others at once, until it is deleted.
func TestNamespacesOnEveryNode(t *testing.T) {
	ns := newNodes(t, 3)
	for i, made := range ns.all {
		name := "team" + made.id
		next, last := ns.all[(i+1)%3], ns.all[(i+2)%3]
		made.must(http.StatusOK, ns.token, http.MethodPost, "sys/namespaces/"+name, nil)
		next.must(http.StatusNoContent, ns.token, http.MethodPost, "sys/mounts/kv", map[string]any{"type": "kv"}, "X-Vault-Namespace", name)
		last.must(http.StatusNoContent, ns.token, http.MethodPost, name+"/kv/x", map[string]any{"v": name})
		for _, n := range ns.all {
			for path, header := range map[string]string{"kv/x": name, name + "/kv/x": ""} {
				a := n.must(http.StatusOK, ns.token, http.MethodGet, path, nil, "X-Vault-Namespace", header)
				if a.data()["v"] != name {
					t.Errorf("at %s by %s in %q: %v", n.id, path, header, a.data())
				}
			}
		}
		last.must(http.StatusNoContent, ns.token, http.MethodPut, "sys/policies/acl/p", map[string]any{"policy": `path "kv/*" { capabilities = ["read"] }`}, "X-Vault-Namespace", name)
		a := next.must(http.StatusOK, ns.token, http.MethodPost, "auth/token/create", map[string]any{"policies": []string{"p"}}, "X-Vault-Namespace", name)
		auth, _ := a.json()["auth"].(map[string]any)
		text, _ := auth["client_token"].(string)
		for _, n := range ns.all {
			n.must(http.StatusOK, text, http.MethodGet, "kv/x", nil, "X-Vault-Namespace", name)
			n.must(http.StatusForbidden, text, http.MethodGet, "sys/mounts", nil)
			n.must(http.StatusOK, text, http.MethodGet, "auth/token/lookup-self", nil)
		}
		next.must(http.StatusOK, ns.token, http.MethodDelete, "sys/namespaces/"+name, nil)
		for _, n := range ns.all {
			eventually(t, name+" is gone at "+n.id, func() bool {
				return n.do(ns.token, http.MethodGet, "sys/namespaces/"+name, nil).status == http.StatusNotFound
			})
			n.must(http.StatusForbidden, text, http.MethodGet, "kv/x", nil, "X-Vault-Namespace", "")
			n.must(http.StatusNotFound, ns.token, http.MethodGet, "kv/x", nil, "X-Vault-Namespace", name)
		}
	}
}
