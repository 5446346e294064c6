package jwt_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

func roleAnswer(over object) object {
	m := object{
		"allowed_redirect_uris": nil, "bound_audiences": nil, "bound_claims": nil, "bound_claims_type": "string", "bound_subject": "",
		"callback_mode": "client", "claim_mappings": nil, "clock_skew_leeway": 0.0, "expiration_leeway": 0.0, "groups_claim": "", "max_age": 0.0,
		"not_before_leeway": 0.0, "oauth2_metadata": nil, "oidc_disable_confirmation": false, "oidc_scopes": nil, "role_type": "oidc",
		"token_policies_template_claims": false, "user_claim": "sub", "user_claim_json_pointer": false, "verbose_oidc_logging": false,
		"token_bound_cidrs": []any{}, "token_explicit_max_ttl": 0.0, "token_max_ttl": 0.0, "token_no_default_policy": false, "token_num_uses": 0.0,
		"token_period": 0.0, "token_policies": []any{}, "token_strictly_bind_ip": false, "token_ttl": 0.0, "token_type": "default",
	}
	for k, v := range over {
		m[k] = v
	}
	return m
}

func TestEverySettingOfARoleIsReadBack(t *testing.T) {
	m := mount(t)
	m.Write("role/a", object{
		"role_type": "jwt", "user_claim": "email", "bound_audiences": "x,y", "bound_subject": "s", "bound_claims": `{"a": ["b", 1]}`,
		"bound_claims_type": "glob", "claim_mappings": "c=d", "groups_claim": "g", "clock_skew_leeway": -1, "expiration_leeway": "5m", "not_before_leeway": "90",
		"max_age": "1h", "allowed_redirect_uris": []string{"http://x"}, "oidc_scopes": "profile,groups", "verbose_oidc_logging": true, "callback_mode": "device",
		"user_claim_json_pointer": true, "policies": "P", "ttl": 60, "max_ttl": "2m", "num_uses": 3, "bound_cidrs": "127.0.0.1", "token_type": "service",
	})
	want := roleAnswer(object{
		"role_type": "jwt", "user_claim": "email", "bound_audiences": []any{"x", "y"}, "bound_subject": "s", "bound_claims": object{"a": []any{"b", 1.0}},
		"bound_claims_type": "glob", "claim_mappings": object{"c": "d"}, "groups_claim": "g", "clock_skew_leeway": -1.0, "expiration_leeway": 300.0, "not_before_leeway": 90.0,
		"max_age": 3600.0, "allowed_redirect_uris": []any{"http://x"}, "oidc_scopes": []any{"profile", "groups"}, "verbose_oidc_logging": true, "callback_mode": "device",
		"user_claim_json_pointer": true, "policies": []any{"p"}, "token_policies": []any{"p"}, "ttl": 60.0, "token_ttl": 60.0, "max_ttl": 120.0, "token_max_ttl": 120.0,
		"num_uses": 3.0, "token_num_uses": 3.0, "bound_cidrs": []any{"127.0.0.1"}, "token_bound_cidrs": []any{"127.0.0.1"}, "token_type": "service",
	})
	if diff := cmp.Diff(want, m.Read("role/a").Map(t)); diff != "" {
		t.Error(diff)
	}
	m.Write("role/a", object{"bound_subject": "other"})
	want["bound_subject"] = "other"
	if diff := cmp.Diff(want, m.Read("role/a").Map(t)); diff != "" {
		t.Errorf("a change of one setting: %s", diff)
	}
}

func TestBadRolesAreRefusedAndChangeNothing(t *testing.T) {
	m := mount(t)
	m.Write("role/dev", object{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "a"})
	before := m.Read("role/dev").Map(t)
	good := object{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "a"}
	for name, tt := range map[string]struct {
		path string
		body object
	}{
		"nothing that binds":       {"role/new", object{"role_type": "jwt", "user_claim": "sub"}},
		"no user":                  {"role/new", object{"role_type": "jwt", "bound_audiences": "a"}},
		"unknown type":             {"role/new", object{"role_type": "saml", "user_claim": "sub", "bound_audiences": "a"}},
		"browser without way back": {"role/new", object{"user_claim": "sub", "bound_audiences": "a"}},
		"upper case":               {"role/DEV", good},
		"mixed case":               {"role/Dev", good},
		"space":                    {"role/dev ", good},
		"long s":                   {"role/\u017f", good},
		"NUL":                      {"role/dev\x00", good},
		"wildcard":                 {"role/+", good},
		"unknown comparison":       {"role/dev", object{"bound_claims_type": "weird"}},
		"claim without value":      {"role/dev", object{"bound_claims": object{"a": []string{}}}},
		"claim with an object":     {"role/dev", object{"bound_claims": object{"a": object{}}}},
		"glob of numbers":          {"role/dev", object{"bound_claims_type": "glob", "bound_claims": object{"a": 1}}},
		"reserved metadata":        {"role/dev", object{"claim_mappings": object{"a": "role"}}},
		"metadata filled twice":    {"role/dev", object{"claim_mappings": object{"a": "x", "b": "x"}}},
		"metadata without name":    {"role/dev", object{"claim_mappings": object{"a": ""}}},
		"unknown callback":         {"role/dev", object{"callback_mode": "direct"}},
		"tokens as metadata":       {"role/dev", object{"oauth2_metadata": "access_token"}},
		"a policy with a path":     {"role/dev", object{"token_policies": "../root"}},
		"a leeway without end":     {"role/dev", object{"clock_skew_leeway": -1e12}},
	} {
		m.Fails(fault.Invalid, route.VerbWrite, tt.path, tt.body)
		if diff := cmp.Diff(before, m.Read("role/dev").Map(t)); diff != "" {
			t.Fatalf("%s changed the role: %s", name, diff)
		}
		if diff := cmp.Diff(object{"keys": []any{"dev"}}, m.List("role").Map(t)); diff != "" {
			t.Fatalf("%s changed the list: %s", name, diff)
		}
	}
	for _, verb := range []route.Verb{route.VerbRead, route.VerbDelete} {
		m.Fails(fault.Invalid, verb, "role/DEV", nil)
	}
	m.Delete("role/dev")
	m.Delete("role/dev")
	m.Fails(fault.NotFound, route.VerbRead, "role/dev", nil)
	m.Fails(fault.NotFound, route.VerbList, "role", nil)
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	m := mount(t)
	key := newECDSA(t, "").pem(t)
	private := "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"
	for name, body := range map[string]object{
		"nothing":                     {},
		"two sources":                 {"jwt_validation_pubkeys": key, "jwks_url": "http://127.0.0.1:1/x"},
		"junk for a key":              {"jwt_validation_pubkeys": "junk"},
		"a private key":               {"jwt_validation_pubkeys": private},
		"nobody there":                {"jwks_url": "http://127.0.0.1:1/x"},
		"a file":                      {"jwks_url": "file:///etc/passwd"},
		"credentials in the URL":      {"jwks_url": "http://user:pw@127.0.0.1:1/"},
		"client without discovery":    {"jwt_validation_pubkeys": key, "oidc_client_id": "x"},
		"implicit flow":               {"jwt_validation_pubkeys": key, "oidc_response_types": "id_token"},
		"unknown mode":                {"jwt_validation_pubkeys": key, "oidc_response_mode": "fragment"},
		"special provider":            {"jwt_validation_pubkeys": key, "provider_config": object{"provider": "gsuite"}},
		"a default role that is none": {"jwt_validation_pubkeys": key, "default_role": "a/b"},
	} {
		err := m.Fails(fault.Invalid, route.VerbWrite, "config", body)
		if strings.Contains(fault.Message(err), "pw@") {
			t.Errorf("%s: the error repeats the password", name)
		}
	}
	m.Fails(fault.NotFound, route.VerbRead, "config", nil)
	m.Write("config", object{"jwks_url": "http://127.0.0.1:1/x", "skip_jwks_validation": true, "namespace_in_state": false})
	if got := m.Read("config").Map(t); got["jwks_url"] != "http://127.0.0.1:1/x" || got["namespace_in_state"] != false {
		t.Errorf("got %v", got)
	}
}

func TestAClientSecretIsNotShown(t *testing.T) {
	server := newKeyServer(t, newECDSA(t, "1").jwk())
	m := mount(t)
	m.Write("config", object{"oidc_discovery_url": server.URL, "oidc_client_id": "id", "oidc_client_secret": "canary"})
	if r := m.Read("config"); strings.Contains(string(r.Data), "canary") {
		t.Errorf("the configuration shows the secret: %s", r.Data)
	}
}
