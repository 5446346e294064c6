package compat_test

import "testing"

const (
	mountFields = "accessor config deprecation_status description external_entropy_access local options plugin_version running_plugin_version running_sha256 seal_wrap type uuid"
	healthOf    = "cluster_id cluster_name initialized replication_dr_mode replication_performance_mode sealed server_time_utc standby version"
)

func TestStateOfTheServer(t *testing.T) {
	story(t, []exchange{
		{method: get, path: "sys/health", token: "-", status: 200, top: healthOf},
		{name: "with another code", method: get, path: "sys/health?activecode=299", token: "-", status: 299, top: healthOf},
		{method: "HEAD", path: "sys/health", token: "-", status: 200},
		{method: get, path: "sys/seal-status", token: "-", status: 200, top: "cluster_id cluster_name commit_date initialized migration n nonce progress recovery_seal sealed storage_type t type version"},
		{method: get, path: "sys/leader", token: "-", status: 200, top: "ha_enabled"},
		{method: get, path: "sys/init", token: "-", status: 200, top: "initialized"},
		{method: get, path: "sys/key-status", status: 200, top: enveloped + " encryptions install_time term", data: "encryptions install_time term"},
	})
}

func TestMounts(t *testing.T) {
	story(t, []exchange{
		{method: post, path: "sys/mounts/apps", body: object{"type": "kv"}, status: 204},
		{name: "twice", method: post, path: "sys/mounts/apps", body: object{"type": "kv"}, status: 400, top: failed, errors: "path is already in use at apps/"},
		{name: "of an unknown type", method: post, path: "sys/mounts/x", body: object{"type": "none"}, status: 400, top: failed, errors: "plugin not found"},
		{name: "flat and in data", method: get, path: "sys/mounts", status: 200, top: enveloped + " apps/ cubbyhole/ identity/ secret/ sys/", data: "apps/ cubbyhole/ identity/ secret/ sys/"},
		{method: get, path: "sys/mounts/apps", status: 200, top: enveloped + " " + mountFields, data: mountFields},
		{name: "flat and in data", method: get, path: "sys/auth", status: 200, top: enveloped + " token/", data: "token/"},
		{method: post, path: "sys/mounts/apps/tune", body: object{"max_lease_ttl": "1h"}, status: 204},
		{
			method: get, path: "sys/mounts/apps/tune", status: 200,
			top:  enveloped + " default_lease_ttl description force_no_cache max_lease_ttl",
			data: "default_lease_ttl description force_no_cache max_lease_ttl",
		},
		{method: get, path: "sys/internal/ui/mounts/apps", status: 200, top: enveloped, data: mountFields + " path"},
		{method: remove, path: "sys/mounts/apps", status: 204},
		{name: "that is not there", method: remove, path: "sys/mounts/none", status: 204},
	})
}

func TestPoliciesAndCapabilities(t *testing.T) {
	story(t, []exchange{
		{method: put, path: "sys/policies/acl/app", body: object{"policy": `path "secret/data/x" { capabilities = ["read"] }`}, status: 204},
		{method: get, path: "sys/policies/acl/app", status: 200, top: enveloped, data: "allow_slashes_in_identity_templates allow_wildcards_in_identity_templates cas_required modified name policy version"},
		{method: get, path: "sys/policies/acl/none", status: 404, top: failed, errors: none},
		{method: list, path: "sys/policies/acl", status: 200, top: enveloped, data: "keys"},
		{name: "by its old name", method: get, path: "sys/policy", status: 200, top: enveloped + " keys policies", data: "keys policies"},
		{name: "that does not parse", method: put, path: "sys/policies/acl/bad", body: object{"policy": "path"}, status: 400, top: failed},
		{method: post, path: "sys/capabilities-self", body: object{"paths": []string{"a"}}, status: 200, top: enveloped + " a capabilities", data: "a capabilities"},
		{name: "of two paths", method: post, path: "sys/capabilities-self", body: object{"paths": []string{"a", "b"}}, status: 200, top: enveloped + " a b", data: "a b"},
		{name: "of no accessor", method: post, path: "sys/capabilities-accessor", body: object{"accessor": "no", "paths": "a"}, status: 400, top: failed, errors: "invalid accessor"},
	})
}

func TestLeases(t *testing.T) {
	story(t, []exchange{
		{method: post, path: "sys/leases/lookup", body: object{"lease_id": "no/such"}, status: 400, top: failed, errors: "invalid lease"},
		{method: post, path: "sys/leases/renew", body: object{"lease_id": "no/such"}, status: 400, top: failed, errors: "lease not found"},
		{method: put, path: "sys/leases/revoke", body: object{"lease_id": "no/such"}, status: 204},
		{method: put, path: "sys/leases/revoke-prefix/no/such", status: 204},
		{method: list, path: "sys/leases/lookup/no/such", status: 404, top: failed, errors: none},
	})
}

func TestRefusals(t *testing.T) {
	story(t, []exchange{
		{name: "without a token", method: get, path: "secret/data/app", token: "-", status: 403, top: failed, errors: "permission denied"},
		{name: "without a token or a mount", method: get, path: "none/x", token: "-", status: 403, top: failed, errors: "permission denied"},
		{method: get, path: "none/x", status: 404, top: failed, errors: "no handler for route"},
		{method: get, path: "sys/none", status: 404, top: failed, errors: "unsupported path"},
		{method: "HEAD", path: "secret/data/app", status: 405},
		{method: "TRACE", path: "secret/data/app", status: 405, top: failed, errors: none},
		{name: "of broken JSON", method: post, path: "secret/data/app", body: `{"data":`, status: 400, top: failed},
		{name: "of a list", method: post, path: "secret/data/app", body: `[]`, status: 400, top: failed},
		{name: "of a namespace that is not there", method: get, path: "sys/mounts", header: []string{"X-Vault-Namespace", "no/such"}, status: 404, top: failed, errors: "namespace not found"},
		{name: "of the root namespace", method: get, path: "secret/config", header: []string{"X-Vault-Namespace", "root"}, status: 200, top: enveloped, data: "cas_required delete_version_after max_versions metadata_cas_required"},
		{name: "with a bearer token", method: get, path: "secret/config", token: "-", header: []string{"Authorization", "Bearer root"}, status: 200, top: enveloped, data: "cas_required delete_version_after max_versions metadata_cas_required"},
		{name: "with a policy that does not allow it", method: post, path: "auth/token/create", body: object{"policies": []string{"default"}}, status: 200, top: enveloped, auth: authFields, keep: "d=auth.client_token"},
		{name: "with a policy that does not allow it", method: get, path: "sys/mounts", token: "d", status: 403, top: failed, errors: "permission denied"},
	})
}
