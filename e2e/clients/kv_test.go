package clients_test

import (
	"net/http"
	"testing"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

func TestVersionedSecrets(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		kv := func(method string, args ...any) got { t.Helper(); return c.kv(2, "secret", method, args...) }
		kv("Get", "app").missing()
		kv("Put", "app", in{"user": "a", "n": 1}).has(in{"VersionMetadata|Version": 1})
		kv("Put", "app", in{"user": "b"}).has(in{"VersionMetadata|Version": 2})
		kv("Get", "app").has(in{"Data": in{"user": "b"}, "VersionMetadata|Version": 2, "VersionMetadata|Destroyed": false, "CustomMetadata": nil})
		kv("GetVersion", "app", 1).has(in{"Data": in{"user": "a", "n": 1}, "VersionMetadata|Version": 1})
		kv("GetVersion", "app", 9).missing()
	})
}

func cas(version int) func() (string, any) {
	return func() (string, any) { return "cas", version }
}

func method(name string) func() (string, any) {
	return func() (string, any) { return "method", name }
}

func TestCheckAndSet(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		kv := func(method string, args ...any) got { t.Helper(); return c.kv(2, "secret", method, args...) }
		kv("Put", "app", in{"a": 1}, cas(0)).has(in{"VersionMetadata|Version": 1})
		kv("Put", "app", in{"a": 2}, cas(0)).fails(http.StatusBadRequest, "check-and-set parameter did not match the current version")
		kv("Put", "app", in{"a": 2}, cas(1)).has(in{"VersionMetadata|Version": 2})
		kv("PutMetadata", "app", in{"CASRequired": true}).ok()
		kv("Put", "app", in{"a": 3}).fails(http.StatusBadRequest, "check-and-set parameter required for this call")
	})
}
