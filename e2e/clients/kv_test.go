package clients_test

import (
	"net/http"
	"testing"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

// Options of the KV helpers are functions in both clients.
func cas(version int) func() (string, any) {
	return func() (string, any) { return "cas", version }
}

func merge(method string) func() (string, any) {
	return func() (string, any) { return "method", method }
}

func TestVersionedSecrets(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		kv := func(method string, args ...any) got { t.Helper(); return c.kv(2, "secret", method, args...) }
		kv("Get", "app").missing()
		kv("Put", "app", in{"user": "a", "n": 1}).has(in{"VersionMetadata|Version": 1})
		kv("Put", "app", in{"user": "b"}).has(in{"VersionMetadata|Version": 2})
		kv("Get", "app").has(in{"Data": in{"user": "b"}, "VersionMetadata|Version": 2, "VersionMetadata|Destroyed": false, "CustomMetadata": nil})
		kv("GetVersion", "app", 1).has(in{"Data": in{"user": "a", "n": 1}, "VersionMetadata|Version": 1})
		kv("GetVersion", "app", 9).missing()
		kv("Rollback", "app", 1).has(in{"VersionMetadata|Version": 3})
		kv("Get", "app").has(in{"Data": in{"user": "a", "n": 1}})
		if n := len(kv("GetVersionsAsList", "app").at("").([]any)); n != 3 {
			t.Errorf("%d versions, want 3", n)
		}

		kv("Put", "dir/one", in{"a": 1}).ok()
		c.logical("List", "secret/metadata").has(in{"data|keys": []string{"app", "dir/"}})
		c.logical("List", "secret/metadata/dir").has(in{"data|keys": []string{"one"}})
		c.logical("List", "secret/metadata/none").absent()
		c.logical("Read", "secret/subkeys/app").has(in{"data|subkeys": in{"user": nil, "n": nil}})
	})
}

func TestDeletedSecrets(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		kv := func(method string, args ...any) got { t.Helper(); return c.kv(2, "secret", method, args...) }
		kv("Put", "app", in{"v": 1}).ok()
		kv("Put", "app", in{"v": 2}).ok()
		kv("Delete", "app").ok()
		// A deleted version has metadata and no data, and is no error.
		kv("Get", "app").has(in{"Data": nil, "VersionMetadata|Version": 2, "VersionMetadata|Destroyed": false}).text("VersionMetadata|DeletionTime")
		kv("Rollback", "app", 2).fails(0, "")
		kv("Undelete", "app", []int{2}).ok()
		kv("Get", "app").has(in{"Data": in{"v": 2}})
		kv("DeleteVersions", "app", []int{1}).ok()
		kv("GetVersion", "app", 1).has(in{"Data": nil})
		kv("Destroy", "app", []int{1}).ok()
		kv("GetVersion", "app", 1).has(in{"Data": nil, "VersionMetadata|Destroyed": true})
		kv("GetMetadata", "app").has(in{"CurrentVersion": 2, "OldestVersion": 0, "Versions|1|Destroyed": true})
		kv("DeleteMetadata", "app").ok()
		kv("Get", "app").missing()
		kv("GetMetadata", "app").missing()
	})
}

func TestCheckAndSet(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		kv := func(method string, args ...any) got { t.Helper(); return c.kv(2, "secret", method, args...) }
		kv("Put", "app", in{"a": 1}, cas(0)).has(in{"VersionMetadata|Version": 1})
		kv("Put", "app", in{"a": 2}, cas(0)).fails(http.StatusBadRequest, "check-and-set parameter did not match the current version")
		kv("Put", "app", in{"a": 2}, cas(1)).has(in{"VersionMetadata|Version": 2})
		kv("PutMetadata", "app", in{"CASRequired": true}).ok()
		kv("Put", "app", in{"a": 3}).fails(http.StatusBadRequest, "check-and-set parameter required for this call")
		c.logical("Write", "secret/config", in{"cas_required": true, "max_versions": 4}).ok()
		c.logical("Read", "secret/config").has(in{"data|cas_required": true, "data|max_versions": 4, "data|delete_version_after": "0s"})
		kv("Put", "other", in{"a": 3}).fails(http.StatusBadRequest, "check-and-set parameter required for this call")
	})
}

func TestPatchedSecrets(t *testing.T) {
	for name, method := range map[string]string{"by merge patch": "patch", "by reading and writing": "rw"} {
		t.Run(name, func(t *testing.T) {
			tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
				kv := func(method string, args ...any) got { t.Helper(); return c.kv(2, "secret", method, args...) }
				kv("Patch", "none", in{"a": 1}, merge(method)).missing()
				kv("Put", "app", in{"a": 1, "b": 2}).ok()
				kv("Patch", "app", in{"b": 3, "c": 4}, merge(method)).has(in{"VersionMetadata|Version": 2})
				kv("Get", "app").has(in{"Data": in{"a": 1, "b": 3, "c": 4}})
			})
		})
	}
	t.Run("with check-and-set", func(t *testing.T) {
		tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
			kv := func(method string, args ...any) got { t.Helper(); return c.kv(2, "secret", method, args...) }
			kv("Put", "app", in{"a": 1}).ok()
			kv("Patch", "app", in{"a": 2}, cas(7)).fails(http.StatusBadRequest, "check-and-set parameter did not match")
			kv("Patch", "app", in{"a": nil, "b": 1}, cas(1)).ok()
			kv("Get", "app").has(in{"Data": in{"b": 1}})
		})
	})
}

func TestSecretMetadata(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		kv := func(method string, args ...any) got { t.Helper(); return c.kv(2, "secret", method, args...) }
		kv("PutMetadata", "app", in{"CustomMetadata": in{"owner": "ops"}, "MaxVersions": 2, "DeleteVersionAfter": 3600e9}).ok()
		for v := range 3 {
			kv("Put", "app", in{"v": v}).ok()
		}
		kv("Get", "app").has(in{"CustomMetadata": in{"owner": "ops"}, "VersionMetadata|Version": 3})
		kv("GetMetadata", "app").has(in{
			"CASRequired": false, "CurrentVersion": 3, "MaxVersions": 2, "OldestVersion": 2, "DeleteVersionAfter": 3600e9,
			"CustomMetadata": in{"owner": "ops"}, "Versions|1": nil,
		})
		kv("PatchMetadata", "app", in{"CustomMetadata": in{"owner": "dev", "tier": "1"}, "CASRequired": true}).ok()
		kv("GetMetadata", "app").has(in{"CASRequired": true, "MaxVersions": 2, "CustomMetadata": in{"owner": "dev", "tier": "1"}})
	})
}

func TestPlainSecrets(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.sys("Mount", "v1", in{"type": "kv", "options": in{"version": "1"}}).ok()
		c.kv(1, "v1", "Get", "a/b").missing()
		c.kv(1, "v1", "Put", "a/b", in{"user": "x", "list": []int{1, 2}, "deep": in{"k": true}}).ok()
		c.kv(1, "v1", "Get", "a/b").has(in{"Data": in{"user": "x", "list": []int{1, 2}, "deep": in{"k": true}}})
		c.kv(1, "v1", "Put", "a/b", in{"user": "y"}).ok()
		c.kv(1, "v1", "Get", "a/b").has(in{"Data": in{"user": "y"}})
		c.logical("List", "v1/").has(in{"data|keys": []string{"a/"}})
		c.kv(1, "v1", "Delete", "a/b").ok()
		c.kv(1, "v1", "Get", "a/b").missing()
		c.logical("List", "v1/").absent()
	})
}

// OpenBao's client lists in pages and whole trees.
func TestPagesOfNames(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		if c.kind != "openbao" {
			t.Skip("this client has no such methods")
		}
		for _, path := range []string{"a", "b", "c/d", "c/e"} {
			c.kv(2, "secret", "Put", path, in{"v": 1}).ok()
		}
		c.logical("ListPage", "secret/metadata/", "", 2).has(in{"data|keys": []string{"a", "b"}})
		c.logical("ListPage", "secret/metadata/", "b", 2).has(in{"data|keys": []string{"c/"}})
		c.logical("Scan", "secret/metadata/").has(in{"data|keys": []string{"a", "b", "c/d", "c/e"}})
	})
}
