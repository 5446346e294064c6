package clients_test

import (
	"net/http"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"
	openbao "github.com/openbao/openbao/api/v2"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

func TestTokens(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		s.Policy("app", `path "secret/data/app" { capabilities = ["read"] }`)
		made := c.token("Create", in{"policies": []string{"app"}, "ttl": "1h", "display_name": "worker", "meta": in{"team": "a"}})
		made.has(in{"auth|policies": []string{"app", "default"}, "auth|lease_duration": 3600, "auth|renewable": true, "auth|orphan": false, "auth|metadata": in{"team": "a"}})
		text, accessor := made.text("auth|client_token"), made.text("auth|accessor")
		c.as(text).token("LookupSelf").has(in{
			"data|display_name": "token-worker", "data|id": text, "data|meta": in{"team": "a"}, "data|path": "auth/token/create",
			"data|ttl": seconds{3590, 3600}, "data|type": "service", "data|num_uses": 0, "data|orphan": false,
		})
		c.token("Lookup", text).has(in{"data|accessor": accessor})
		c.token("LookupAccessor", accessor).has(in{"data|id": "", "data|display_name": "token-worker"})
		c.as(text).token("RenewSelf", 7200).has(in{"auth|lease_duration": seconds{7190, 7200}, "auth|client_token": text})
		c.token("Renew", text, 60).has(in{"auth|lease_duration": seconds{55, 60}})
		c.token("RenewAccessor", accessor, 120).has(in{"auth|lease_duration": seconds{115, 120}, "auth|client_token": ""})
		c.token("RenewTokenAsSelf", text, 180).has(in{"auth|lease_duration": seconds{175, 180}})
		c.logical("List", "auth/token/accessors").includes("data|keys", accessor)
		c.token("RevokeAccessor", accessor).ok()
		c.as(text).token("LookupSelf").fails(http.StatusForbidden, "permission denied")
		c.token("Lookup", text).fails(http.StatusForbidden, "bad token")
		c.token("LookupAccessor", accessor).fails(http.StatusBadRequest, "invalid accessor")
	})
}

func TestTokenTrees(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		s.Policy("maker", `path "auth/token/create" { capabilities = ["update"] }`)
		parent := c.token("Create", in{"policies": []string{"maker"}, "ttl": "1h"}).text("auth|client_token")
		child := c.as(parent).token("Create", in{"ttl": "10m"}).text("auth|client_token")
		orphan := c.token("CreateOrphan", in{"policies": []string{"maker"}}).has(in{"auth|orphan": true}).text("auth|client_token")
		grandchild := c.as(orphan).token("Create", in{"ttl": "10m"}).text("auth|client_token")

		c.as(child).token("LookupSelf").ok()
		c.token("RevokeTree", parent).ok()
		c.as(child).token("LookupSelf").fails(http.StatusForbidden, "permission denied")
		c.token("RevokeOrphan", orphan).ok()
		c.as(grandchild).token("LookupSelf").has(in{"data|orphan": true})
		c.as(grandchild).token("RevokeSelf", "").ok()
		c.as(grandchild).token("LookupSelf").fails(http.StatusForbidden, "permission denied")
	})
}

func TestKindsOfTokens(t *testing.T) {
	for name, test := range map[string]struct {
		create, auth, lookup in
		renewFails           bool
	}{
		"periodic": {
			create: in{"period": "30m"}, auth: in{"auth|lease_duration": 1800, "auth|renewable": true},
			lookup: in{"data|period": 1800, "data|ttl": seconds{1790, 1800}},
		},
		"explicit maximum": {
			create: in{"ttl": "10m", "explicit_max_ttl": "20m"}, auth: in{"auth|lease_duration": 600},
			lookup: in{"data|explicit_max_ttl": 1200},
		},
		"not renewable": {
			create: in{"ttl": "10m", "renewable": false}, auth: in{"auth|renewable": false}, lookup: in{"data|renewable": false}, renewFails: true,
		},
		"batch": {
			create: in{"type": "batch", "ttl": "10m", "policies": []string{"reader"}}, auth: in{"auth|accessor": "", "auth|renewable": false},
			lookup: in{"data|type": "batch", "data|orphan": false}, renewFails: true,
		},
		"no default policy": {
			create: in{"policies": []string{"reader"}, "no_default_policy": true, "ttl": "1m"}, auth: in{"auth|policies": []string{"reader"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
				s.Policy("reader", `path "secret/*" { capabilities = ["read"] }`)
				text := c.token("Create", test.create).has(test.auth).text("auth|client_token")
				c.token("Lookup", text).has(test.lookup)
				if test.renewFails {
					c.token("Renew", text, 60).fails(http.StatusBadRequest, "")
				} else if test.lookup != nil {
					c.token("Renew", text, 60).ok()
				}
			})
		})
	}
}

func TestTokenUses(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		text := c.token("Create", in{"num_uses": 3, "ttl": "1h"}).text("auth|client_token")
		limited := c.as(text)
		limited.token("LookupSelf").has(in{"data|num_uses": 2})
		limited.token("LookupSelf").has(in{"data|num_uses": 1})
		limited.token("LookupSelf").ok()
		limited.token("LookupSelf").fails(http.StatusForbidden, "permission denied")
	})
}

func TestTokenRoles(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.logical("Write", "auth/token/roles/ops", in{"allowed_policies": "ops,default", "orphan": true, "token_period": "1h", "path_suffix": "v1"}).ok()
		c.logical("Read", "auth/token/roles/ops").has(in{"data|orphan": true, "data|token_period": 3600, "data|allowed_policies": []string{"default", "ops"}, "data|path_suffix": "v1"})
		c.logical("List", "auth/token/roles").has(in{"data|keys": []string{"ops"}})
		made := c.token("CreateWithRole", in{"policies": []string{"ops"}}, "ops").has(in{"auth|orphan": true, "auth|lease_duration": 3600})
		c.token("Lookup", made.text("auth|client_token")).has(in{"data|role": "ops", "data|ttl": seconds{3590, 3600}, "data|path": "auth/token/create/ops/v1"})
		c.token("CreateWithRole", in{"policies": []string{"other"}}, "ops").fails(http.StatusBadRequest, "")
		c.logical("Delete", "auth/token/roles/ops").ok()
		c.logical("Read", "auth/token/roles/ops").absent()
		c.logical("List", "auth/token/roles").absent()
	})
}

func TestLifetimeWatcher(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		made := c.token("Create", in{"ttl": "2s", "explicit_max_ttl": "5s"}).ok()
		c.setToken(made.text("auth|client_token"))
		renewed, done := watch(t, c.api, made.native)
		patience := time.After(30 * time.Second)
		for renewals := 0; ; {
			select {
			case seconds := <-renewed:
				if renewals++; seconds <= 0 || seconds > 2 {
					t.Errorf("renewed for %d s, want at most 2", seconds)
				}
			case err := <-done:
				if err != nil || renewals == 0 {
					t.Errorf("the watcher ended after %d renewals with %v", renewals, err)
				}
				return
			case <-patience:
				t.Fatalf("the watcher did not end; %d renewals", renewals)
			}
		}
	})
}

// watch renews a secret with a client's own watcher, and tells the lifetime that
// each renewal has brought.
func watch(t *testing.T, api, secret any) (renewed <-chan int, done <-chan error) {
	t.Helper()
	lifetimes := make(chan int)
	switch c := api.(type) {
	case *vault.Client:
		w, err := c.NewLifetimeWatcher(&vault.LifetimeWatcherInput{Secret: secret.(*vault.Secret)})
		if err != nil {
			t.Fatal(err)
		}
		go w.Start()
		t.Cleanup(w.Stop)
		go relay(t, w.RenewCh(), lifetimes, func(o *vault.RenewOutput) int { return o.Secret.Auth.LeaseDuration })
		return lifetimes, w.DoneCh()
	case *openbao.Client:
		w, err := c.NewLifetimeWatcher(&openbao.LifetimeWatcherInput{Secret: secret.(*openbao.Secret)})
		if err != nil {
			t.Fatal(err)
		}
		go w.Start()
		t.Cleanup(w.Stop)
		go relay(t, w.RenewCh(), lifetimes, func(o *openbao.RenewOutput) int { return o.Secret.Auth.LeaseDuration })
		return lifetimes, w.DoneCh()
	}
	t.Fatalf("no client: %T", api)
	return nil, nil
}

func relay[T any](t *testing.T, from <-chan T, to chan<- int, lifetime func(T) int) {
	for {
		select {
		case o := <-from:
			select {
			case to <- lifetime(o):
			case <-t.Context().Done():
				return
			}
		case <-t.Context().Done():
			return
		}
	}
}
