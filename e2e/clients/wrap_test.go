package clients_test

import (
	"net/http"
	"testing"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

// wrapping returns a client that asks for every answer to be wrapped.
func (c *client) wrapping(ttl string) *client {
	c.t.Helper()
	clone := c.as(c.part("Token").(string))
	clone.call(clone.api, "SetWrappingLookupFunc", func(string, string) string { return ttl })
	return clone
}

func TestWrappedAnswers(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.kv(2, "secret", "Put", "app", in{"v": 1}).ok()
		wrapped := c.wrapping("5m").logical("Read", "secret/data/app").has(in{
			"data": nil, "wrap_info|ttl": 300, "wrap_info|creation_path": "secret/data/app",
		})
		token := wrapped.text("wrap_info|token")
		wrapped.text("wrap_info|accessor")
		c.logical("Write", "sys/wrapping/lookup", in{"token": token}).has(in{"data|creation_ttl": 300, "data|creation_path": "secret/data/app"})
		c.logical("Unwrap", token).has(in{"data|data": in{"v": 1}, "wrap_info": nil})
		c.logical("Unwrap", token).fails(http.StatusBadRequest, "wrapping token is not valid or does not exist")

		// The wrapping token may also be the client's own.
		token = c.wrapping("60s").logical("Read", "secret/data/app").text("wrap_info|token")
		c.as(token).logical("Unwrap", "").has(in{"data|data": in{"v": 1}})

		// Clients of old releases read it from the token's cubbyhole.
		token = c.wrapping("60s").logical("Read", "secret/data/app").text("wrap_info|token")
		c.as(token).logical("Read", "cubbyhole/response").text("data|response")
		c.as(token).logical("Read", "cubbyhole/response").fails(http.StatusForbidden, "permission denied")
	})
}

func TestWrappedTokens(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		made := c.wrapping("60s").token("Create", in{"ttl": "10m"}).ok()
		accessor := made.text("wrap_info|wrapped_accessor")
		open := c.logical("Unwrap", made.text("wrap_info|token")).has(in{"auth|accessor": accessor, "auth|lease_duration": 600})
		c.as(open.text("auth|client_token")).token("LookupSelf").ok()
	})
}

func TestWrappingEndpoints(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		first := c.logical("Write", "sys/wrapping/wrap", in{"zip": "zap"}).has(in{"wrap_info|ttl": 300}).text("wrap_info|token")
		second := c.logical("Write", "sys/wrapping/rewrap", in{"token": first}).has(in{"wrap_info|ttl": 300, "wrap_info|creation_path": "sys/wrapping/wrap"}).text("wrap_info|token")
		c.logical("Unwrap", first).fails(http.StatusBadRequest, "wrapping token is not valid or does not exist")
		c.logical("Unwrap", second).has(in{"data|zip": "zap"})
		c.logical("Unwrap", "hvs.nonsense").fails(http.StatusBadRequest, "wrapping token is not valid or does not exist")
	})
}

func TestCubbyhole(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		mine, other := c.as(s.Token("default")), c.as(s.Token("default"))
		mine.logical("Write", "cubbyhole/a/b", in{"k": "v"}).ok()
		mine.logical("Read", "cubbyhole/a/b").has(in{"data": in{"k": "v"}})
		other.logical("Read", "cubbyhole/a/b").absent()
		mine.logical("List", "cubbyhole/").has(in{"data|keys": []string{"a/"}})
		mine.logical("Delete", "cubbyhole/a/b").ok()
		mine.logical("Read", "cubbyhole/a/b").absent()
	})
}
