package compat_test

import "testing"

const namespaceFields = "custom_metadata id locked path tainted uuid"

func TestNamespaces(t *testing.T) {
	team, deep := []string{"X-Vault-Namespace", "team"}, []string{"X-Vault-Namespace", "team/app/"}
	story(t, []exchange{
		{name: "none yet", method: list, path: "sys/namespaces", status: 404, top: failed, errors: none},
		{method: post, path: "sys/namespaces/team", body: object{"custom_metadata": object{"a": "b"}}, status: 200, top: enveloped, data: namespaceFields},
		{method: get, path: "sys/namespaces/team", status: 200, top: enveloped, data: namespaceFields},
		{method: list, path: "sys/namespaces", status: 200, top: enveloped, data: "key_info keys"},
		{method: get, path: "sys/namespaces/none", status: 404, top: failed, errors: none},
		{name: "a reserved name", method: post, path: "sys/namespaces/root", body: object{}, status: 400, top: failed},
		{name: "two names", method: post, path: "sys/namespaces/team/app", body: object{}, status: 400, top: failed},
		{name: "within", method: post, path: "sys/namespaces/app", header: team, body: object{}, status: 200, top: enveloped, data: namespaceFields},
		{name: "a mount within", method: post, path: "sys/mounts/kv", header: deep, body: object{"type": "kv"}, status: 204},
		{name: "by the header", method: post, path: "kv/x", header: deep, body: object{"v": "1"}, status: 204},
		{name: "by header and path", method: get, path: "app/kv/x", header: team, status: 200, top: enveloped, data: "v"},
		{name: "by the path", method: get, path: "team/app/kv/x", status: 200, top: enveloped, data: "v"},
		{name: "by neither", method: get, path: "kv/x", status: 404, top: failed, errors: "no handler for route"},
		{name: "that is not there", method: get, path: "sys/mounts", header: []string{"X-Vault-Namespace", "none"}, status: 404, top: failed, errors: "namespace not found"},
		{name: "that is not there", method: get, path: "sys/health", header: []string{"X-Vault-Namespace", "none"}, status: 400, top: failed, errors: none},
		{name: "in a namespace", method: get, path: "sys/seal-status", header: team, token: "-", status: 200, top: "cluster_id cluster_name commit_date initialized migration n nonce progress recovery_seal sealed storage_type t type version"},
		{name: "in a namespace", method: put, path: "sys/seal", header: team, status: 400, top: failed},
		{name: "in a namespace", method: get, path: "sys/audit", header: team, status: 400, top: failed},
		{name: "in a namespace", method: get, path: "sys/raw/x", header: team, status: 400, top: failed},
		{name: "of a namespace", method: post, path: "auth/token/create", header: team, body: object{"policies": []string{"default"}}, status: 200, top: enveloped, auth: authFields, keep: "t=auth.client_token"},
		{name: "in its namespace", method: get, path: "auth/token/lookup-self", header: team, token: "t", status: 200, top: enveloped, data: tokenFields + " namespace_path"},
		{name: "in the one above", method: get, path: "auth/token/lookup-self", token: "t", status: 200, top: enveloped, data: tokenFields + " namespace_path"},
		{name: "beyond its namespace", method: get, path: "sys/mounts", token: "t", status: 403, top: failed, errors: "permission denied"},
		{method: post, path: "sys/namespaces/api-lock/lock/team/app", status: 200, top: enveloped, data: "unlock_key"},
		{name: "that is locked", method: get, path: "team/app/kv/x", status: 503, top: failed, errors: "has been locked by an administrator"},
		{method: post, path: "sys/namespaces/api-lock/unlock/team/app", body: object{}, status: 204},
		{name: "with one below", method: remove, path: "sys/namespaces/team", status: 400, top: failed},
		{method: remove, path: "sys/namespaces/app", header: team, status: 200, top: enveloped, data: "status"},
		{name: "that is not there", method: remove, path: "sys/namespaces/none", status: 200, top: enveloped, warned: true},
	})
}
