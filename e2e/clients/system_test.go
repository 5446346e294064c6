package clients_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

func TestPolicies(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		const rules = `path "secret/data/app/*" { capabilities = ["read", "list"] }`
		c.sys("PutPolicy", "app", rules).ok()
		c.sys("GetPolicy", "app").has(in{"": rules})
		c.sys("GetPolicy", "none").has(in{"": ""})
		c.sys("ListPolicies").has(in{"": []string{"app", "default", "root"}})
		c.sys("PutPolicy", "bad", `path "x" { capabilities = ["fly"] }`).fails(http.StatusBadRequest, "")
		c.sys("PutPolicy", "root", rules).fails(http.StatusBadRequest, "")

		made := c.token("Create", in{"policies": []string{"app"}, "ttl": "1h"})
		token, accessor := made.text("auth|client_token"), made.text("auth|accessor")
		c.as(token).sys("CapabilitiesSelf", "secret/data/app/x").has(in{"": []string{"list", "read"}})
		c.sys("Capabilities", token, "secret/data/other").has(in{"": []string{"deny"}})
		c.sys("Capabilities", servertest.RootToken, "anything").has(in{"": []string{"root"}})
		if c.kind == "vault" {
			c.sys("CapabilitiesAccessor", accessor, "secret/data/app/x").has(in{"": []string{"list", "read"}})
		}
		c.as(token).kv(2, "secret", "Put", "app/x", in{"a": 1}).fails(http.StatusForbidden, "permission denied")
		c.sys("DeletePolicy", "app").ok()
		c.as(token).kv(2, "secret", "Get", "app/x").fails(http.StatusForbidden, "permission denied")
		c.sys("DeletePolicy", "default").fails(http.StatusBadRequest, "")
	})
}

func TestPasswordPolicies(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		const rules = `length = 24
rule "charset" { charset = "abcdef" min-chars = 1 }
rule "charset" { charset = "0123456789" min-chars = 4 }`
		c.logical("Write", "sys/policies/password/p", in{"policy": rules}).ok()
		c.logical("Read", "sys/policies/password/p").has(in{"data|policy": rules})
		c.logical("List", "sys/policies/password").has(in{"data|keys": []string{"p"}})
		made := c.logical("Read", "sys/policies/password/p/generate").text("data|password")
		if len(made) != 24 || strings.Trim(made, "abcdef0123456789") != "" {
			t.Errorf("made %q", made)
		}
		c.logical("Delete", "sys/policies/password/p").ok()
		c.logical("Read", "sys/policies/password/p").absent()
	})
}

func TestAuditDevices(t *testing.T) {
	open := servertest.Options{Change: func(c *config.Config) { c.AllowAPIAuditCreation = true }}
	tour(t, open, func(t *testing.T, s *servertest.Server, c *client) {
		path := filepath.Join(t.TempDir(), "audit.log")
		c.sys("EnableAuditWithOptions", "second", in{"type": "file", "description": "another", "options": in{"file_path": path}}).ok()
		c.sys("EnableAuditWithOptions", "second", in{"type": "file", "options": in{"file_path": path}}).fails(http.StatusBadRequest, "path already in use")
		c.sys("ListAudit").has(in{"second/|type": "file", "second/|description": "another", "second/|path": "second/", "second/|options|file_path": path})
		hash := c.sys("AuditHash", "second", "a value").text("")
		if !strings.HasPrefix(hash, "hmac-sha256:") || hash != c.sys("AuditHash", "second", "a value").text("") {
			t.Errorf("hash %q", hash)
		}
		c.sys("DisableAudit", "second").ok()
		c.sys("ListAudit").has(in{"second/": nil})
		c.sys("AuditHash", "second", "a value").fails(http.StatusBadRequest, "")
	})
}

func TestTools(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		const sum = "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9" // of "hello world"
		c.logical("Write", "sys/tools/hash/sha2-256", in{"input": "aGVsbG8gd29ybGQ=", "format": "hex"}).has(in{"data|sum": sum})
		if text := c.logical("Write", "sys/tools/random/16", in{"format": "hex"}).text("data|random_bytes"); len(text) != 32 {
			t.Errorf("16 bytes are %q", text)
		}
	})
}

func TestFactsAboutTheServer(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.sys("CORSStatus").has(in{"enabled": false})
		c.sys("ConfigureCORS", in{"enabled": true, "allowed_origins": []string{"https://app.example"}}).ok()
		c.sys("CORSStatus").has(in{"enabled": true, "allowed_origins": []string{"https://app.example"}}).includes("allowed_headers", "X-Vault-Token")
		c.sys("DisableCORS").ok()
		c.sys("CORSStatus").has(in{"enabled": false})

		c.sys("ListPlugins", in{"type": 0}).includes("types|1", "approle") // by the number of the type
		c.sys("GetPlugin", in{"type": 3, "Name": "x"}).fails(http.StatusNotFound, "")
		c.call(c.api, "Help", "secret/data/app").text("help")
		c.logical("ReadWithData", "sys/leases/count", map[string][]string{"type": {"irrevocable"}}).has(in{"data|lease_count": 0})
		c.logical("Read", "sys/internal/ui/mounts").has(in{"data|secret|secret/|type": "kv"})
		c.logical("Read", "sys/host-info").text("data|host|hostname")
		c.logical("List", "sys/version-history").ok()
		c.logical("Read", "sys/config/state/sanitized").has(in{"data|default_lease_ttl": 0})
	})
}

func TestErrorsAsClientsSeeThem(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.logical("Read", "secret/data/none").absent()
		c.logical("List", "secret/metadata").absent()
		c.logical("Read", "no-such-mount/x").absent() // a 404 to a read
		c.logical("Write", "no-such-mount/x", in{"a": 1}).fails(http.StatusNotFound, "no handler for route")
		c.logical("Write", "sys/mounts", in{}).fails(http.StatusMethodNotAllowed, "")
		c.logical("Write", "secret/data/x", in{"options": "wrong"}).fails(http.StatusBadRequest, "")
		c.as("").logical("Read", "secret/data/none").fails(http.StatusForbidden, "permission denied")
		c.as("hvs.nonsense").logical("Read", "secret/data/none").fails(http.StatusForbidden, "permission denied")
		c.logical("Delete", "secret/data/none").ok()
	})
}

func TestRootNamespace(t *testing.T) {
	for _, name := range []string{"root", "root/", "/", ""} {
		t.Run("named "+name, func(t *testing.T) {
			tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
				c.call(c.api, "SetNamespace", name)
				c.token("LookupSelf").has(in{"data|policies": []string{"root"}})
			})
		})
	}
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.call(c.api, "SetNamespace", "no/such")
		if c.logical("Read", "auth/token/lookup-self").err == nil && c.logical("Read", "auth/token/lookup-self").tree() != nil {
			t.Error("a token of the root namespace worked in one that is not there")
		}
	})
}

// A client that is told that the server is busy comes again by itself.
func TestClientsRetry(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		var calls atomic.Int32
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if calls.Add(1) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			a := s.Do(r.Method, strings.TrimPrefix(r.URL.Path, "/v1/"), r.Header.Get("X-Vault-Token"), nil)
			w.WriteHeader(a.Status)
			_, _ = w.Write(a.Body) // the client reports what it misses
		}))
		defer front.Close()
		c.call(c.api, "SetAddress", front.URL)
		c.call(c.api, "SetMaxRetries", 4)
		c.call(c.api, "SetMinRetryWait", 1)
		c.call(c.api, "SetMaxRetryWait", 2)
		c.token("LookupSelf").has(in{"data|policies": []string{"root"}})
		if calls.Load() != 3 {
			t.Errorf("%d calls, want 3", calls.Load())
		}
	})
}
