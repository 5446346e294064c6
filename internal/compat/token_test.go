package compat_test

import "testing"

func TestTokens(t *testing.T) {
	story(t, []exchange{
		{method: post, path: "auth/token/create", body: object{"policies": []string{"default"}, "ttl": "1h"}, status: 200, top: enveloped, auth: authFields, keep: "a=auth.client_token"},
		{method: get, path: "auth/token/lookup-self", token: "a", status: 200, top: enveloped, data: tokenFields, keep: "accessor=data.accessor"},
		{method: post, path: "auth/token/lookup", body: object{"token": "${a}"}, status: 200, top: enveloped, data: tokenFields},
		{method: post, path: "auth/token/lookup-accessor", body: object{"accessor": "${accessor}"}, status: 200, top: enveloped, data: tokenFields},
		{method: post, path: "auth/token/renew-self", token: "a", body: object{"increment": "30m"}, status: 200, top: enveloped, auth: authFields},
		{method: put, path: "auth/token/renew", body: object{"token": "${a}"}, status: 200, top: enveloped, auth: authFields},
		{method: post, path: "auth/token/renew-accessor", body: object{"accessor": "${accessor}"}, status: 200, top: enveloped, auth: authFields},
		{method: list, path: "auth/token/accessors", status: 200, top: enveloped, data: "keys"},
		{name: "as a query", method: get, path: "auth/token/accessors?list=true", status: 200, top: enveloped, data: "keys"},
		{method: post, path: "auth/token/revoke", body: object{"token": "${a}"}, status: 204},
		{name: "of a revoked token", method: get, path: "auth/token/lookup-self", token: "a", status: 403, top: failed, errors: "permission denied"},
		{name: "of a revoked token", method: post, path: "auth/token/lookup", body: object{"token": "${a}"}, status: 403, top: failed, errors: "bad token"},
		{name: "of a revoked token", method: post, path: "auth/token/lookup-accessor", body: object{"accessor": "${accessor}"}, status: 400, top: failed, errors: "invalid accessor"},
		{name: "of a revoked token", method: post, path: "auth/token/renew", body: object{"token": "${a}"}, status: 400, top: failed},
		{name: "of what is no token", method: post, path: "auth/token/revoke", body: object{"token": "nope"}, status: 204},
		{name: "of no accessor's token", method: post, path: "auth/token/revoke-accessor", body: object{"accessor": "nope"}, status: 200, top: enveloped, warned: true},
		{name: "of a root token", method: post, path: "auth/token/renew-self", status: 400, top: failed, errors: "lease is not renewable"},
		{method: post, path: "auth/token/create-orphan", body: object{}, status: 200, top: enveloped, auth: authFields},
	})
}

func TestKindsOfTokens(t *testing.T) {
	story(t, []exchange{
		{name: "periodic", method: post, path: "auth/token/create", body: object{"period": "1h", "policies": []string{"default"}}, status: 200, top: enveloped, auth: authFields, keep: "p=auth.client_token"},
		{name: "periodic", method: get, path: "auth/token/lookup-self", token: "p", status: 200, top: enveloped, data: tokenFields + " period"},
		{method: post, path: "auth/token/revoke-self", token: "p", status: 204},
		{name: "batch", method: post, path: "auth/token/create", body: object{"type": "batch", "policies": []string{"default"}, "ttl": "10m"}, status: 200, top: enveloped, auth: authFields, keep: "b=auth.client_token"},
		{name: "batch", method: post, path: "auth/token/renew-self", token: "b", status: 400, top: failed, errors: "batch tokens cannot be renewed"},
		{name: "batch", method: get, path: "cubbyhole/x", token: "b", status: 400, top: failed},
		{method: post, path: "auth/token/roles/r", body: object{"allowed_policies": "default"}, status: 204},
		{
			method: get, path: "auth/token/roles/r", status: 200, top: enveloped,
			data: "allowed_entity_aliases allowed_policies allowed_policies_glob disallowed_policies disallowed_policies_glob explicit_max_ttl name orphan path_suffix period renewable token_explicit_max_ttl token_no_default_policy token_period token_type",
		},
		{name: "with a role", method: post, path: "auth/token/create/r", body: object{"policies": []string{"default"}}, status: 200, top: enveloped, auth: authFields, keep: "r=auth.client_token"},
		{name: "with a role", method: get, path: "auth/token/lookup-self", token: "r", status: 200, top: enveloped, data: tokenFields + " role"},
		{name: "with a role that forbids it", method: post, path: "auth/token/create/r", body: object{"policies": []string{"other"}}, status: 400, top: failed},
		{method: post, path: "auth/token/create/none", body: object{}, status: 400, top: failed, errors: "unknown role"},
		{method: remove, path: "auth/token/roles/r", status: 204},
		{name: "that is gone", method: get, path: "auth/token/roles/r", status: 404, top: failed, errors: none},
		{name: "that are none", method: list, path: "auth/token/roles", status: 404, top: failed, errors: none},
	})
}

func TestLogins(t *testing.T) {
	story(t, []exchange{
		{method: post, path: "sys/auth/userpass", body: object{"type": "userpass"}, status: 204},
		{method: post, path: "auth/userpass/users/ann", body: object{"password": "pw"}, status: 204},
		{method: post, path: "auth/userpass/login/ann", token: "-", body: object{"password": "pw"}, status: 200, top: enveloped, auth: authFields},
		{name: "with a wrong password", method: post, path: "auth/userpass/login/ann", token: "-", body: object{"password": "no"}, status: 400, top: failed, errors: "invalid username or password"},
		{method: post, path: "sys/auth/approle", body: object{"type": "approle"}, status: 204},
		{method: post, path: "auth/approle/role/web", body: object{}, status: 204},
		{method: get, path: "auth/approle/role/web/role-id", status: 200, top: enveloped, data: "role_id", keep: "role=data.role_id"},
		{method: post, path: "auth/approle/role/web/secret-id", status: 200, top: enveloped, data: "secret_id secret_id_accessor secret_id_num_uses secret_id_ttl", keep: "secret=data.secret_id"},
		{method: post, path: "auth/approle/login", token: "-", body: object{"role_id": "${role}", "secret_id": "${secret}"}, status: 200, top: enveloped, auth: authFields},
		{name: "with a wrong secret id", method: post, path: "auth/approle/login", token: "-", body: object{"role_id": "${role}", "secret_id": "no"}, status: 400, top: failed, errors: "invalid role or secret ID"},
	})
}
