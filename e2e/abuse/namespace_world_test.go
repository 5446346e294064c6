package abuse_test

import (
	"net/http"
	"testing"

	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
)

// tenants is a world with namespaces: a/ and b/ beside each other, a/c/ within
// the first. Each has the same mounts, users and policies, and who administers it.
type tenants struct {
	*world
	// admins are tokens that may do everything in their namespace, by its path.
	admins map[string]string
}

// places are the namespaces of tenants.
var places = []string{"a", "b", "a/c"}

const adminPolicy = `path "*" { capabilities = ["create", "read", "update", "patch", "delete", "list", "scan", "sudo"] }`

func newTenants(t *testing.T, o servertest.Options) *tenants {
	t.Helper()
	w := &tenants{world: newWorld(t, o), admins: map[string]string{}}
	for _, ns := range places {
		w.space(ns)
	}
	return w
}

// space makes a namespace with the mounts of a tenant.
func (w *tenants) space(ns string) {
	w.t.Helper()
	above, name := split(ns)
	w.in(above, http.StatusOK, http.MethodPost, "sys/namespaces/"+name, nil)
	for path, body := range map[string]map[string]any{
		"sys/mounts/secret": {"type": "kv"}, "sys/mounts/fault": {"type": "fault"}, "sys/auth/userpass": {"type": "userpass"},
		"sys/policies/acl/admin":   {"policy": adminPolicy},
		"auth/userpass/users/ann":  {"password": "of " + ns, "token_policies": "admin"},
		"secret/known":             {"value": "of " + ns},
		"sys/policies/acl/reading": {"policy": `path "secret/*" { capabilities = ["read"] }`},
	} {
		if path == "auth/userpass/users/ann" || path == "secret/known" {
			defer w.in(ns, 0, http.MethodPost, path, body) // below a mount
			continue
		}
		w.in(ns, 0, http.MethodPost, path, body)
	}
	w.admins[ns] = w.tokenIn(ns, "admin")
}

// split cuts the last name off a namespace's path.
func split(ns string) (above, name string) {
	for i := len(ns) - 1; i >= 0; i-- {
		if ns[i] == '/' {
			return ns[:i], ns[i+1:]
		}
	}
	return "", ns
}

// as makes a request in a namespace.
func (w *tenants) as(token, ns, method, path string, body any) servertest.Answer {
	w.t.Helper()
	header := []string{}
	if ns != "" {
		header = append(header, "X-Vault-Namespace", ns)
	}
	if method == http.MethodPatch {
		header = append(header, "Content-Type", mergePatch)
	}
	return w.Do(method, path, token, body, header...)
}

// in makes a request in a namespace as root, and wants a status; 0 is any
// success, with or without warnings.
func (w *tenants) in(ns string, status int, method, path string, body any) servertest.Answer {
	w.t.Helper()
	a := w.as(servertest.RootToken, ns, method, path, body)
	if a.Status != status && (status != 0 || a.Status/100 != 2) {
		w.t.Fatalf("%s %s in %q: got %s, want %d", method, path, ns, a, status)
	}
	return a
}

// tokenIn makes a token of a namespace.
func (w *tenants) tokenIn(ns string, policies ...string) string {
	w.t.Helper()
	return auth(w.in(ns, http.StatusOK, http.MethodPost, "auth/token/create", map[string]any{"policies": policies, "no_parent": true, "ttl": "1h"}), "client_token")
}

// lease has the engine of a namespace grant something and returns the lease's id.
func (w *tenants) lease(ns, token string) string {
	w.t.Helper()
	a := w.as(token, ns, http.MethodGet, "fault/creds/"+ns[len(ns)-1:]+"?ttl=1h", nil)
	id, _ := a.JSON()["lease_id"].(string)
	if id == "" {
		w.t.Fatalf("no lease in %q: %s", ns, a)
	}
	return id
}

// number returns the number of a namespace.
func (w *tenants) number(ns string) store.NamespaceID {
	w.t.Helper()
	sp, err := w.Gate().Namespaces.At(w.t.Context(), ns)
	if err != nil {
		w.t.Fatalf("namespace %q: %v", ns, err)
	}
	return sp.ID
}

// gone waits until a namespace is deleted, and looks for what it has left.
func (w *tenants) gone(ns string, id store.NamespaceID) {
	w.t.Helper()
	above, name := split(ns)
	eventually(w.t, "namespace "+ns+" is gone", func() bool {
		return w.as(servertest.RootToken, above, http.MethodGet, "sys/namespaces/"+name, nil).Status == http.StatusNotFound
	})
	for k := range w.rows() {
		if k.Namespace() == id {
			w.t.Errorf("a row of kind %d under mount %d is left of namespace %q", k.Kind(), k.Mount(), ns)
		}
	}
}
