package clients_test

import (
	"net/http"
	"testing"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

func TestSecretsEngines(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.sys("ListMounts").has(in{"secret/|type": "kv", "secret/|options": in{"version": "2"}, "sys/|type": "system", "cubbyhole/|local": true, "identity/|type": "identity"})
		c.sys("Mount", "apps", in{"type": "kv", "description": "of apps", "options": in{"version": "1"}, "config": in{"default_lease_ttl": "1h", "max_lease_ttl": "2h"}}).ok()
		c.sys("Mount", "apps", in{"type": "kv"}).fails(http.StatusBadRequest, "path is already in use at apps/")
		c.sys("Mount", "apps/inner", in{"type": "kv"}).fails(http.StatusBadRequest, "")
		c.sys("Mount", "x", in{"type": "no-such"}).fails(http.StatusBadRequest, "")
		c.sys("ListMounts").has(in{"apps/|type": "kv", "apps/|description": "of apps", "apps/|config|default_lease_ttl": 3600}).text("apps/|accessor")
		c.sys("MountConfig", "apps").has(in{"default_lease_ttl": 3600, "max_lease_ttl": 7200, "force_no_cache": false})
		c.sys("TuneMount", "apps", in{"max_lease_ttl": "3h", "description": "tuned", "listing_visibility": "unauth", "audit_non_hmac_request_keys": []string{"a"}}).ok()
		c.sys("MountConfig", "apps").has(in{"max_lease_ttl": 10800, "listing_visibility": "unauth", "audit_non_hmac_request_keys": []string{"a"}})
		c.sys("ListMounts").has(in{"apps/|description": "tuned"})

		c.kv(1, "apps", "Put", "k", in{"v": 1}).ok()
		c.sys("Remount", "apps", "moved/deep").ok()
		c.kv(1, "moved/deep", "Get", "k").has(in{"Data": in{"v": 1}})
		c.logical("Read", "apps/k").absent()
		c.sys("Unmount", "moved/deep").ok()
		c.sys("ListMounts").has(in{"moved/deep/": nil})
		c.sys("Unmount", "never-there").ok()
		c.sys("Unmount", "sys").fails(http.StatusBadRequest, "")
	})
}

func TestOneMount(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		method := map[string]string{"vault": "GetMount", "openbao": "MountInfo"}[c.kind]
		c.sys(method, "secret").has(in{"type": "kv", "options": in{"version": "2"}}).text("uuid")
	})
}

func TestAuthMethods(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.sys("ListAuth").has(in{"token/|type": "token", "token/|description": "token based credentials"}).text("token/|accessor")
		c.sys("EnableAuthWithOptions", "people", in{"type": "userpass", "description": "people", "config": in{"default_lease_ttl": "10m"}}).ok()
		c.sys("EnableAuthWithOptions", "people", in{"type": "userpass"}).fails(http.StatusBadRequest, "path is already in use")
		c.sys("ListAuth").has(in{"people/|type": "userpass", "people/|description": "people"})
		c.sys("TuneMount", "auth/people", in{"token_type": "batch", "max_lease_ttl": "20m"}).ok()
		c.sys("MountConfig", "auth/people").has(in{"token_type": "batch", "default_lease_ttl": 600, "max_lease_ttl": 1200})
		c.sys("DisableAuth", "people").ok()
		c.sys("ListAuth").has(in{"people/": nil})
		c.sys("DisableAuth", "token").fails(http.StatusBadRequest, "")
	})
}
