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
