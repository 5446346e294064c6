package clients_test

import (
	"net/http"
	"testing"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

func TestUserpassLogin(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.sys("EnableAuthWithOptions", "userpass", in{"type": "userpass"}).ok()
		c.logical("Write", "auth/userpass/users/ann", in{"password": "correct horse", "token_policies": []string{"app"}, "token_ttl": "30m", "token_max_ttl": 7200}).ok()
		c.logical("Read", "auth/userpass/users/ann").has(in{"data|token_policies": []string{"app"}, "data|token_ttl": 1800, "data|token_max_ttl": 7200, "data|password": nil})
		c.logical("List", "auth/userpass/users").has(in{"data|keys": []string{"ann"}})

		nobody := c.as("")
		in1 := nobody.logical("Write", "auth/userpass/login/ann", in{"password": "correct horse"}).has(in{
			"auth|policies": []string{"app", "default"}, "auth|metadata": in{"username": "ann"}, "auth|lease_duration": 1800, "auth|renewable": true,
		})
		c.as(in1.text("auth|client_token")).token("LookupSelf").has(in{"data|display_name": "userpass-ann", "data|path": "auth/userpass/login/ann", "data|entity_id": in1.at("auth|entity_id")})
		c.as(in1.text("auth|client_token")).token("RenewSelf", 0).has(in{"auth|lease_duration": seconds{1799, 1800}})
		nobody.logical("Write", "auth/userpass/login/ann", in{"password": "wrong"}).fails(http.StatusBadRequest, "invalid username or password")
		nobody.logical("Write", "auth/userpass/login/bob", in{"password": "wrong"}).fails(http.StatusBadRequest, "invalid username or password")
		c.logical("Write", "auth/userpass/users/ann/password", in{"password": "battery staple"}).ok()
		nobody.logical("Write", "auth/userpass/login/ann", in{"password": "battery staple"}).text("auth|client_token")
		c.logical("Delete", "auth/userpass/users/ann").ok()
		c.as(in1.text("auth|client_token")).token("RenewSelf", 0).fails(http.StatusForbidden, "no longer exists")
	})
}

func TestAppRoleLogin(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.sys("EnableAuthWithOptions", "approle", in{"type": "approle"}).ok()
		c.logical("Write", "auth/approle/role/web", in{"token_policies": "app", "token_ttl": "20m", "secret_id_num_uses": 2, "secret_id_ttl": "1h"}).ok()
		role := c.logical("Read", "auth/approle/role/web/role-id").text("data|role_id")
		secret := c.logical("Write", "auth/approle/role/web/secret-id", in{"metadata": `{"build":"7"}`}).has(in{"data|secret_id_num_uses": 2, "data|secret_id_ttl": 3600})

		nobody := c.as("")
		with := in{"role_id": role, "secret_id": secret.text("data|secret_id")}
		first := nobody.logical("Write", "auth/approle/login", with).has(in{
			"auth|policies": []string{"app", "default"}, "auth|lease_duration": 1200, "auth|metadata": in{"role_name": "web", "build": "7"},
		})
		c.as(first.text("auth|client_token")).token("LookupSelf").has(in{"data|display_name": "approle", "data|path": "auth/approle/login"})
		c.logical("Write", "auth/approle/role/web/secret-id-accessor/lookup", in{"secret_id_accessor": secret.text("data|secret_id_accessor")}).has(in{"data|secret_id_num_uses": 1})
		nobody.logical("Write", "auth/approle/login", with).ok()
		nobody.logical("Write", "auth/approle/login", with).fails(http.StatusBadRequest, "invalid role or secret ID")
		nobody.logical("Write", "auth/approle/login", in{"role_id": "none", "secret_id": "none"}).fails(http.StatusBadRequest, "invalid role or secret ID")

		wrapped := c.wrapping("60s").logical("Write", "auth/approle/role/web/secret-id", in{}).text("wrap_info|token")
		with["secret_id"] = nobody.logical("Unwrap", wrapped).text("data|secret_id")
		nobody.logical("Write", "auth/approle/login", with).ok()
	})
}
