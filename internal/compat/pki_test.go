package compat_test

import "testing"

const (
	roleFields   = "allow_any_name allow_bare_domains allow_glob_domains allow_globs_in_identity_templates allow_ip_sans allow_localhost allow_subdomains allow_token_displayname allow_wildcard_certificates allowed_domains allowed_domains_template allowed_ip_sans_cidr allowed_other_sans allowed_serial_numbers allowed_uri_sans allowed_uri_sans_template allowed_user_ids basic_constraints_valid_for_non_ca client_flag cn_validations code_signing_flag country email_protection_flag enforce_hostnames ext_key_usage ext_key_usage_oids generate_lease issuer_ref key_bits key_type key_usage locality max_ttl no_store not_after not_after_bound not_before not_before_bound not_before_duration organization ou policy_identifiers postal_code province require_cn server_flag signature_bits street_address ttl use_csr_common_name use_csr_sans use_pss"
	issuedFields = "ca_chain certificate expiration issuing_ca not_before private_key private_key_type serial_number"
	rootFields   = "certificate expiration issuer_id issuer_name issuing_ca key_id key_name serial_number"
	issuerFields = "ca_chain certificate crl_distribution_points delta_crl_distribution_points issuer_id issuer_name issuing_certificates key_id leaf_not_after_behavior manual_chain ocsp_servers revocation_signature_algorithm revoked usage"
)

func TestCertificateAuthority(t *testing.T) {
	story(t, []exchange{
		{method: post, path: "sys/mounts/ca", body: object{"type": "pki", "config": object{"max_lease_ttl": "8760h"}}, status: 204},
		{name: "before there is one", method: get, path: "ca/ca/pem", token: "-", status: 204},
		{name: "before there is one", method: get, path: "ca/cert/ca", status: 400, top: failed, errors: "no default issuer currently configured"},
		{method: post, path: "ca/root/generate/internal", body: object{"common_name": "Root", "key_type": "ec", "ttl": "4000h", "issuer_name": "r1"}, status: 200, top: enveloped, data: rootFields, warned: true},
		{name: "of no kind", method: post, path: "ca/root/generate/bogus", body: object{"common_name": "x"}, status: 400, top: failed},
		{method: get, path: "ca/issuer/r1", status: 200, top: enveloped, data: issuerFields},
		{method: list, path: "ca/issuers", token: "-", status: 200, top: enveloped, data: "key_info keys"},
		{method: list, path: "ca/keys", status: 200, top: enveloped, data: "key_info keys"},
		{method: get, path: "ca/config/crl", status: 200, top: enveloped, data: "allow_expired_cert_revocation auto_rebuild auto_rebuild_grace_period delta_rebuild_interval disable enable_delta expiry ocsp_disable ocsp_expiry"},
		{method: post, path: "ca/roles/any", body: object{"allow_any_name": true, "key_type": "ec", "ttl": "1h"}, status: 200, top: enveloped, data: roleFields},
		{name: "that is not there", method: get, path: "ca/roles/none", status: 404, top: failed, errors: none},
		{method: post, path: "ca/issue/any", body: object{"common_name": "a.example.org"}, status: 200, top: enveloped, data: issuedFields, keep: "s=data.serial_number"},
		{name: "of no role", method: post, path: "ca/issue/none", body: object{"common_name": "a"}, status: 400, top: failed, errors: "unknown role"},
		{method: get, path: "ca/issue/any", status: 405, top: failed, errors: "unsupported operation"},
		{method: post, path: "ca/revoke", body: object{"serial_number": "${s}"}, status: 200, top: enveloped, data: "revocation_time revocation_time_rfc3339 state"},
		{name: "that is revoked", method: get, path: "ca/cert/${s}", token: "-", status: 200, top: enveloped, data: "certificate issuer_id revocation_time revocation_time_rfc3339"},
		{name: "that is not there", method: get, path: "ca/cert/00:11", token: "-", status: 404, top: failed, errors: none},
		{method: get, path: "ca/crl/rotate", status: 200, top: enveloped, data: "success"},
		{name: "while it is off", method: get, path: "ca/acme/directory", token: "-", status: 404},
		{method: post, path: "ca/tidy", body: object{"tidy_cert_store": true}, status: 202, top: enveloped, warned: true},
		{method: remove, path: "ca/root", status: 200, top: enveloped, warned: true},
	})
}
