package compat_test

import "testing"

const (
	versionFields  = "created_time custom_metadata deletion_time destroyed version"
	metadataFields = "cas_required created_time current_metadata_version current_version custom_metadata delete_version_after max_versions metadata_cas_required oldest_version updated_time versions"
)

func TestVersionedSecrets(t *testing.T) {
	story(t, []exchange{
		{method: post, path: "secret/data/app", body: object{"data": object{"k": "v"}}, status: 200, top: enveloped, data: versionFields},
		{method: get, path: "secret/data/app", status: 200, top: enveloped, data: "data metadata"},
		{name: "that is not there", method: get, path: "secret/data/none", status: 404, top: failed, errors: none},
		{name: "of a version that is not there", method: get, path: "secret/data/app?version=7", status: 404, top: failed, errors: none},
		{name: "with another version in mind", method: post, path: "secret/data/app", body: object{"data": object{}, "options": object{"cas": 7}}, status: 400, top: failed, errors: "check-and-set parameter did not match the current version"},
		{method: patch, path: "secret/data/app", body: object{"data": object{"k": "w"}}, header: []string{"Content-Type", "application/merge-patch+json"}, status: 200, top: enveloped, data: versionFields},
		{method: get, path: "secret/subkeys/app", status: 200, top: enveloped, data: "metadata subkeys"},
		{method: remove, path: "secret/data/app", status: 204},
		{name: "that is deleted", method: get, path: "secret/data/app", status: 404, top: enveloped, data: "data metadata"},
		{method: post, path: "secret/undelete/app", body: object{"versions": []int{2}}, status: 204},
		{method: post, path: "secret/delete/app", body: object{"versions": []int{1}}, status: 204},
		{method: put, path: "secret/destroy/app", body: object{"versions": "1"}, status: 204},
		{name: "that is destroyed", method: get, path: "secret/data/app?version=1", status: 404, top: enveloped, data: "data metadata"},
		{method: get, path: "secret/metadata/app", status: 200, top: enveloped, data: metadataFields},
		{method: post, path: "secret/metadata/app", body: object{"max_versions": 3}, status: 204},
		{method: list, path: "secret/metadata", status: 200, top: enveloped, data: "keys"},
		{name: "with a slash", method: list, path: "secret/metadata/", status: 200, top: enveloped, data: "keys"},
		{name: "of nothing", method: list, path: "secret/metadata/none", status: 404, top: failed, errors: none},
		{method: get, path: "secret/config", status: 200, top: enveloped, data: "cas_required delete_version_after max_versions metadata_cas_required"},
		{name: "as if it had no versions", method: get, path: "secret/app", status: 404, top: enveloped, warned: true},
		{method: remove, path: "secret/metadata/app", status: 204},
		{name: "that is gone", method: get, path: "secret/metadata/app", status: 404, top: failed, errors: none},
	})
}

func TestPlainSecrets(t *testing.T) {
	story(t, []exchange{
		{method: post, path: "sys/mounts/v1", body: object{"type": "kv", "options": object{"version": "1"}}, status: 204},
		{method: put, path: "v1/app", body: object{"a": 1, "b": object{"c": nil}}, status: 204},
		{method: get, path: "v1/app", status: 200, top: enveloped, data: "a b"},
		{method: list, path: "v1", status: 200, top: enveloped, data: "keys"},
		{name: "of nothing", method: post, path: "v1/app", body: object{}, status: 400, top: failed},
		{name: "that is not there", method: get, path: "v1/none", status: 404, top: failed, errors: none},
		{name: "that is not there", method: remove, path: "v1/none", status: 204},
		{method: patch, path: "v1/app", body: object{"a": 2}, status: 405, top: failed, errors: "unsupported operation"},
		{method: put, path: "cubbyhole/app", body: object{"a": 1}, status: 204},
		{method: get, path: "cubbyhole/app", status: 200, top: enveloped, data: "a"},
		{method: get, path: "cubbyhole/none", status: 404, top: failed, errors: none},
	})
}

func TestWrapping(t *testing.T) {
	minute := []string{"X-Vault-Wrap-TTL", "60"}
	story(t, []exchange{
		{method: post, path: "secret/data/app", body: object{"data": object{"k": "v"}}, status: 200, top: enveloped, data: versionFields},
		{name: "wrapped", method: get, path: "secret/data/app", header: minute, status: 200, top: enveloped, wrap: wrapFields, keep: "w=wrap_info.token"},
		{method: post, path: "sys/wrapping/lookup", body: object{"token": "${w}"}, status: 200, top: enveloped, data: "creation_path creation_time creation_ttl"},
		{method: post, path: "sys/wrapping/rewrap", body: object{"token": "${w}"}, status: 200, top: enveloped, wrap: wrapFields, keep: "x=wrap_info.token"},
		{name: "twice", method: post, path: "sys/wrapping/unwrap", body: object{"token": "${w}"}, status: 400, top: failed, errors: "wrapping token is not valid or does not exist"},
		{name: "with the token itself", method: post, path: "sys/wrapping/unwrap", token: "x", body: "null", status: 200, top: enveloped, data: "data metadata"},
		{name: "a token, wrapped", method: post, path: "auth/token/create", body: object{}, header: minute, status: 200, top: enveloped, wrap: wrapFields + " wrapped_accessor", keep: "w=wrap_info.token"},
		{name: "a token", method: post, path: "sys/wrapping/unwrap", body: object{"token": "${w}"}, status: 200, top: enveloped, auth: authFields},
		{method: post, path: "sys/wrapping/wrap", body: object{"a": 1}, header: minute, status: 200, top: enveloped, wrap: wrapFields, keep: "w=wrap_info.token"},
		{name: "as older clients do", method: get, path: "cubbyhole/response", token: "w", status: 200, top: enveloped, data: "response", warned: true},
	})
}
