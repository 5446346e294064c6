package api_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/api"
)

// TestCalls pins the request that each method makes and that it understands
// the answer.
func TestCalls(t *testing.T) {
	const meta = `{"data":{"version":2,"created_time":"2026-01-02T03:04:05Z","deletion_time":"","destroyed":false}}`
	const none = ""
	value := func(want, got any, err error) error {
		if err != nil {
			return err
		}
		if diff := cmp.Diff(want, got); diff != "" {
			return errors.New("(-want +got):\n" + diff)
		}
		return nil
	}
	for _, tc := range []struct {
		name         string
		answer       string
		method, path string
		body         string
		call         func(ctx context.Context, c *api.Client) error
	}{
		{"list", `{"data":{"keys":["a"]}}`, "LIST", "/v1/secret/metadata/x/", none, func(ctx context.Context, c *api.Client) error {
			keys, err := c.KVv2("secret/").List(ctx, "x")
			return value([]string{"a"}, keys, err)
		}},
		{"scan", `{"data":{"keys":["a/b"]}}`, "SCAN", "/v1/x/", none, func(ctx context.Context, c *api.Client) error {
			s, err := c.Scan(ctx, "x")
			return value("", s.LeaseID, err)
		}},
		{"patch", none, "PATCH", "/v1/x", `{"a":null}`, func(ctx context.Context, c *api.Client) error {
			_, err := c.Patch(ctx, "x", map[string]any{"a": nil})
			return err
		}},
		{"kv1 put", none, "PUT", "/v1/kv/a", `{"k":"v"}`, func(ctx context.Context, c *api.Client) error {
			return c.KVv1("kv").Put(ctx, "a", map[string]string{"k": "v"})
		}},
		{"kv1 get", `{"data":{"k":"v"}}`, "GET", "/v1/kv/a", none, func(ctx context.Context, c *api.Client) error {
			s, err := c.KVv1("/kv/").Get(ctx, "/a")
			if err != nil {
				return err
			}
			v, err := api.Field[string](s, "k")
			return value("v", v, err)
		}},
		{"kv1 list", `{"data":{"keys":["a"]}}`, "LIST", "/v1/kv/", none, func(ctx context.Context, c *api.Client) error {
			keys, err := c.KVv1("kv").List(ctx, "")
			return value([]string{"a"}, keys, err)
		}},
		{"kv1 delete", none, "DELETE", "/v1/kv/a", none, func(ctx context.Context, c *api.Client) error { return c.KVv1("kv").Delete(ctx, "a") }},
		{"kv2 put", meta, "PUT", "/v1/kv/data/a", `{"data":{"k":"v"},"options":{"cas":0}}`, func(ctx context.Context, c *api.Client) error {
			v, err := c.KVv2("kv").Put(ctx, "a", map[string]string{"k": "v"}, api.CheckAndSet(0))
			if err != nil {
				return err
			}
			return value(2, v.Version, nil)
		}},
		{"kv2 patch", meta, "PATCH", "/v1/kv/data/a", `{"data":{"k":"v"},"options":{}}`, func(ctx context.Context, c *api.Client) error {
			_, err := c.KVv2("kv").Patch(ctx, "a", map[string]string{"k": "v"})
			return err
		}},
		{"kv2 version", `{"data":{"data":{"k":"v"},"metadata":{"version":1,"created_time":"2026-01-02T03:04:05Z"}}}`, "GET", "/v1/kv/data/a?version=1", none, func(ctx context.Context, c *api.Client) error {
			s, err := c.KVv2("kv").GetVersion(ctx, "a", 1)
			if err != nil {
				return err
			}
			return value(1, s.Metadata.Version, nil)
		}},
		{"kv2 delete", none, "DELETE", "/v1/kv/data/a", none, func(ctx context.Context, c *api.Client) error { return c.KVv2("kv").Delete(ctx, "a") }},
		{"kv2 delete versions", none, "PUT", "/v1/kv/delete/a", `{"versions":[1,2]}`, func(ctx context.Context, c *api.Client) error {
			return c.KVv2("kv").DeleteVersions(ctx, "a", 1, 2)
		}},
		{"kv2 undelete", none, "PUT", "/v1/kv/undelete/a", `{"versions":[1]}`, func(ctx context.Context, c *api.Client) error { return c.KVv2("kv").Undelete(ctx, "a", 1) }},
		{"kv2 destroy", none, "PUT", "/v1/kv/destroy/a", `{"versions":[1]}`, func(ctx context.Context, c *api.Client) error { return c.KVv2("kv").Destroy(ctx, "a", 1) }},
		{"kv2 metadata", `{"data":{"current_version":2,"created_time":"2026-01-02T03:04:05Z","updated_time":"2026-01-02T03:04:05Z","versions":{"2":{"created_time":"2026-01-02T03:04:05Z"}}}}`, "GET", "/v1/kv/metadata/a", none, func(ctx context.Context, c *api.Client) error {
			m, err := c.KVv2("kv").Metadata(ctx, "a")
			if err != nil {
				return err
			}
			return value(1, len(m.Versions), nil)
		}},
		{"kv2 put metadata", none, "PUT", "/v1/kv/metadata/a", `{"max_versions":0,"custom_metadata":{}}`, func(ctx context.Context, c *api.Client) error {
			return c.KVv2("kv").PutMetadata(ctx, "a", api.KVMetadataRequest{MaxVersions: new(int), CustomMetadata: map[string]string{}})
		}},
		{"kv2 delete metadata", none, "DELETE", "/v1/kv/metadata/a", none, func(ctx context.Context, c *api.Client) error { return c.KVv2("kv").DeleteMetadata(ctx, "a") }},
		{"userpass", `{"auth":{"client_token":"t"}}`, "PUT", "/v1/auth/team/login/u", `{"password":"p"}`, func(ctx context.Context, c *api.Client) error {
			s, err := c.LoginUserpass(ctx, api.UserpassLogin{Mount: "team/", Username: "u", Password: "p"})
			if err != nil {
				return err
			}
			return value("t", s.Auth.ClientToken, nil)
		}},
		{"create orphan", `{"auth":{"client_token":"t"}}`, "POST", "/v1/auth/token/create-orphan", `{"policies":["p"],"ttl":"1h"}`, func(ctx context.Context, c *api.Client) error {
			_, err := c.Tokens().CreateOrphan(ctx, api.TokenRequest{Policies: []string{"p"}, TTL: "1h"})
			return err
		}},
		{"renew token", `{"auth":{"client_token":"t"}}`, "PUT", "/v1/auth/token/renew", `{"increment":60,"token":"x"}`, func(ctx context.Context, c *api.Client) error {
			_, err := c.Tokens().Renew(ctx, "x", time.Minute)
			return err
		}},
		{"accessors", `{"data":{"keys":["a"]}}`, "LIST", "/v1/auth/token/accessors/", none, func(ctx context.Context, c *api.Client) error {
			_, err := c.Tokens().Accessors(ctx)
			return err
		}},
		{"lease", `{"data":{"id":"l","issue_time":"2026-01-02T03:04:05Z","expire_time":"2026-01-02T04:04:05Z","last_renewal":null,"renewable":true,"ttl":9}}`, "PUT", "/v1/sys/leases/lookup", `{"lease_id":"l"}`, func(ctx context.Context, c *api.Client) error {
			l, err := c.Lease(ctx, "l")
			if err != nil {
				return err
			}
			return value(9, l.TTL, nil)
		}},
		{"policy", `{"data":{"name":"p","policy":"rules"}}`, "GET", "/v1/sys/policies/acl/p", none, func(ctx context.Context, c *api.Client) error {
			p, err := c.Policy(ctx, "p")
			return value("rules", p, err)
		}},
		{"capabilities", `{"data":{"a":["read"],"b":["deny"]}}`, "POST", "/v1/sys/capabilities-self", `{"paths":["a","b"]}`, func(ctx context.Context, c *api.Client) error {
			m, err := c.Capabilities(ctx, "a", "b")
			return value(map[string][]string{"a": {"read"}, "b": {"deny"}}, m, err)
		}},
		{"mount", `{"data":{"type":"kv","accessor":"kv_1","options":{"version":"2"}}}`, "GET", "/v1/sys/mounts/kv", none, func(ctx context.Context, c *api.Client) error {
			m, err := c.Mounts().Read(ctx, "kv/")
			if err != nil {
				return err
			}
			return value("2", m.Options["version"], nil)
		}},
		{"tuning", `{"data":{"default_lease_ttl":60,"max_lease_ttl":120,"force_no_cache":false}}`, "GET", "/v1/sys/auth/userpass/tune", none, func(ctx context.Context, c *api.Client) error {
			m, err := c.Auths().Tuning(ctx, "userpass")
			if err != nil {
				return err
			}
			return value(120, m.MaxLeaseTTL, nil)
		}},
		{"tune", none, "POST", "/v1/sys/mounts/kv/tune", `{"passthrough_request_headers":[]}`, func(ctx context.Context, c *api.Client) error {
			_, err := c.Mounts().Tune(ctx, "kv", api.MountTuning{PassthroughRequestHeaders: []string{}})
			return err
		}},
		{"health", `{"initialized":true,"sealed":true,"standby":true,"server_time_utc":1,"version":"1"}`, "GET", "/v1/sys/health?drsecondarycode=200&perfstandbycode=200&sealedcode=200&standbycode=200&uninitcode=200", none, func(ctx context.Context, c *api.Client) error {
			h, err := c.Health(ctx)
			if err != nil {
				return err
			}
			return value(true, h.Sealed, nil)
		}},
		{"init", `{"keys":["aa"],"keys_base64":["qg=="],"root_token":"t"}`, "PUT", "/v1/sys/init", `{"secret_shares":1,"secret_threshold":1}`, func(ctx context.Context, c *api.Client) error {
			r, err := c.Init(ctx, api.InitRequest{SecretShares: 1, SecretThreshold: 1})
			if err != nil {
				return err
			}
			return value("t", r.RootToken, nil)
		}},
		{"audit hash", `{"data":{"hash":"h"}}`, "PUT", "/v1/sys/audit-hash/f", `{"input":"x"}`, func(ctx context.Context, c *api.Client) error {
			h, err := c.AuditHash(ctx, "f/", "x")
			return value("h", h, err)
		}},
		{"wrap", `{"wrap_info":{"token":"w","ttl":60,"creation_time":"2026-01-02T03:04:05Z"}}`, "PUT", "/v1/sys/wrapping/wrap", `{"a":1}`, func(ctx context.Context, c *api.Client) error {
			w, err := c.Wrap(ctx, map[string]int{"a": 1}, "60s")
			if err != nil {
				return err
			}
			return value("w", w.Token, nil)
		}},
		{"rekey update", `{"complete":true,"keys_base64":["qg=="],"nonce":"n"}`, "PUT", "/v1/sys/rekey/update", `{"key":"k","nonce":"n"}`, func(ctx context.Context, c *api.Client) error {
			u, err := c.Rekey("").Update(ctx, "k", "n")
			if err != nil {
				return err
			}
			return value(true, u.Complete, nil)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t, reply{body: tc.answer})
			if err := tc.call(t.Context(), f.client(t)); err != nil {
				t.Fatal(err)
			}
			r := f.requests[0]
			got := []string{r.Method, r.URL.RequestURI(), f.bodies[0]}
			if diff := cmp.Diff([]string{tc.method, tc.path, tc.body}, got); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

func TestADeletedVersionIsDescribed(t *testing.T) {
	f := newFake(t, reply{status: 404, body: `{"request_id":"r","data":{"data":null,"metadata":{"version":2,"created_time":"2026-01-02T03:04:05Z","deletion_time":"2026-01-03T03:04:05Z"}}}`}, reply{status: 404, body: `{"errors":[]}`})
	s, err := f.client(t).KVv2("kv").Get(t.Context(), "a")
	if !errors.Is(err, api.ErrNotFound) || s == nil || s.Metadata.Version != 2 {
		t.Errorf("got %v, %v", s, err)
	}
	if s, err = f.client(t).KVv2("kv").Get(t.Context(), "none"); !errors.Is(err, api.ErrNotFound) || s != nil {
		t.Errorf("got %v, %v", s, err)
	}
}

func TestLoginsDoNotSendTheOldToken(t *testing.T) {
	f := newFake(t, reply{body: `{"data":{"secret_id":"sid"}}`}, reply{body: `{"auth":{"client_token":"new"}}`}, reply{body: `{}`})
	c := f.client(t)
	if _, err := c.LoginAppRole(t.Context(), api.AppRoleLogin{RoleID: "r", SecretID: "wrapped", SecretIDWrapped: true}); err != nil {
		t.Fatal(err)
	}
	if got := f.requests[0].Header.Get("X-Vault-Token"); got != "wrapped" {
		t.Errorf("unwrapped with the token %q", got)
	}
	if got := f.requests[1].Header.Get("X-Vault-Token"); got != "" || f.bodies[1] != `{"role_id":"r","secret_id":"sid"}` {
		t.Errorf("logged in with the token %q and %s", got, f.bodies[1])
	}
	if _, err := c.LoginUserpass(t.Context(), api.UserpassLogin{Username: "u"}); err == nil {
		t.Error("a login without a token in its answer succeeded")
	}
	if _, err := c.LoginUserpass(t.Context(), api.UserpassLogin{Username: "../x"}); err == nil {
		t.Error("a user name with a slash was sent")
	}
}
