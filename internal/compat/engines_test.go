package compat_test

import "testing"

const (
	keyFields     = "allow_plaintext_backup auto_rotate_period deletion_allowed derived exportable imported_key keys latest_version min_available_version min_decryption_version min_encryption_version name soft_deleted supports_decryption supports_derivation supports_encryption supports_signing type"
	derivedFields = "convergent_encryption kdf " + keyFields
	hmacFields    = "allow_plaintext_backup auto_rotate_period deletion_allowed derived exportable imported_key key_size latest_version min_available_version min_decryption_version min_encryption_version name soft_deleted supports_decryption supports_derivation supports_encryption supports_signing type"
)

func TestTransitKeys(t *testing.T) {
	story(t, []exchange{
		{method: post, path: "sys/mounts/transit", body: object{"type": "transit"}, status: 204},
		{method: post, path: "transit/keys/k", body: object{}, status: 200, top: enveloped, data: keyFields},
		{name: "that is there", method: post, path: "transit/keys/k", body: object{}, status: 200, top: enveloped, data: keyFields},
		{name: "derived", method: post, path: "transit/keys/d", body: object{"derived": true}, status: 200, top: enveloped, data: derivedFields},
		{name: "for HMAC", method: post, path: "transit/keys/h", body: object{"type": "hmac", "key_size": 32}, status: 200, top: enveloped, data: hmacFields},
		{name: "of no type", method: post, path: "transit/keys/bad", body: object{"type": "nope"}, status: 400, top: failed},
		{method: get, path: "transit/keys/k", status: 200, top: enveloped, data: keyFields},
		{name: "that is not there", method: get, path: "transit/keys/none", status: 404, top: failed, errors: none},
		{method: list, path: "transit/keys", status: 200, top: enveloped, data: "keys"},
		{method: post, path: "transit/keys/k/rotate", status: 200, top: enveloped, data: keyFields},
		{name: "that is not there", method: post, path: "transit/keys/none/rotate", status: 400, top: failed},
		{name: "that may not be deleted", method: remove, path: "transit/keys/k", status: 400, top: failed},
		{method: post, path: "transit/keys/k/config", body: object{"deletion_allowed": true}, status: 200, top: enveloped, data: keyFields},
		{name: "by another verb", method: post, path: "transit/keys/k/soft-delete", status: 405, top: failed, errors: "unsupported operation"},
		{method: remove, path: "transit/keys/k/soft-delete", status: 204},
		{method: post, path: "transit/keys/k/soft-delete-restore", status: 200, top: enveloped, data: keyFields},
		{name: "that was not softly deleted", method: post, path: "transit/keys/k/soft-delete-restore", status: 200, top: enveloped, data: keyFields, warned: true},
		{method: remove, path: "transit/keys/k", status: 204},
		{name: "that is gone", method: remove, path: "transit/keys/k", status: 400, top: failed},
	})
}

func TestTransitData(t *testing.T) {
	story(t, []exchange{
		{method: post, path: "sys/mounts/transit", body: object{"type": "transit"}, status: 204},
		{name: "by a key that is made for it", method: post, path: "transit/encrypt/k", body: object{"plaintext": "eA=="}, status: 200, top: enveloped, data: "ciphertext key_version", keep: "c=data.ciphertext"},
		{method: put, path: "transit/decrypt/k", body: object{"ciphertext": "${c}"}, status: 200, top: enveloped, data: "plaintext"},
		{name: "by no key", method: post, path: "transit/decrypt/none", body: object{"ciphertext": "${c}"}, status: 400, top: failed, errors: "encryption key not found"},
		{name: "that is none", method: post, path: "transit/decrypt/k", body: object{"ciphertext": "junk"}, status: 400, top: failed},
		{name: "of a batch with a bad item", method: post, path: "transit/encrypt/k", body: object{"batch_input": []object{{"plaintext": "eA=="}, {"plaintext": "***"}}}, status: 400, top: enveloped, data: "batch_results"},
		{name: "of a batch with a bad item and a status", method: post, path: "transit/encrypt/k", body: object{"batch_input": []object{{"plaintext": "eA=="}, {"plaintext": "***"}}, "partial_failure_response_code": 206}, status: 206, top: enveloped, data: "batch_results"},
		{method: post, path: "transit/rewrap/k", body: object{"ciphertext": "${c}"}, status: 200, top: enveloped, data: "ciphertext key_version"},
		{method: post, path: "transit/datakey/plaintext/k", status: 200, top: enveloped, data: "ciphertext key_version plaintext"},
		{method: post, path: "transit/datakey/wrapped/k", status: 200, top: enveloped, data: "ciphertext key_version"},
		{method: post, path: "transit/keys/s", body: object{"type": "ed25519"}, status: 200, top: enveloped, data: keyFields},
		{method: post, path: "transit/sign/s", body: object{"input": "eA=="}, status: 200, top: enveloped, data: "key_version signature", keep: "s=data.signature"},
		{method: post, path: "transit/verify/s", body: object{"input": "eQ==", "signature": "${s}"}, status: 200, top: enveloped, data: "valid"},
		{method: post, path: "transit/hmac/k/sha2-512", body: object{"input": "eA=="}, status: 200, top: enveloped, data: "hmac"},
		{method: post, path: "transit/random/8", status: 200, top: enveloped, data: "random_bytes"},
		{method: post, path: "transit/hash", body: object{"input": "eA=="}, status: 200, top: enveloped, data: "sum"},
		{name: "of a key that is not exportable", method: get, path: "transit/export/encryption-key/k", status: 400, top: failed},
		{name: "of no key", method: get, path: "transit/export/encryption-key/none", status: 404, top: failed, errors: none},
		{method: get, path: "transit/cache-config", status: 200, top: enveloped, data: "size"},
		{method: get, path: "transit/config/keys", status: 200, top: enveloped, data: "disable_upsert"},
	})
}

func TestSSH(t *testing.T) {
	const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIuII2X7Vty6OJnTxfnrqjH8zsALBS5iivDkbJ13UgtO"
	const roleFields = "algorithm_signer allow_bare_domains allow_commas_in_identity_templates allow_empty_principals allow_host_certificates allow_subdomains allow_user_certificates allow_user_key_ids allowed_critical_options allowed_domains allowed_domains_template allowed_extensions allowed_user_key_lengths allowed_users allowed_users_template default_critical_options default_extensions default_extensions_template default_user default_user_template issuer_ref key_id_format key_type max_ttl not_before_duration ttl"
	story(t, []exchange{
		{method: post, path: "sys/mounts/ssh", body: object{"type": "ssh"}, status: 204},
		{name: "that is not there", method: get, path: "ssh/config/ca", status: 400, top: failed, errors: "no default issuer currently configured"},
		{method: post, path: "ssh/config/ca", body: object{"key_type": "ed25519"}, status: 200, top: enveloped, data: "issuer_id issuer_name public_key"},
		{method: get, path: "ssh/config/ca", status: 200, top: enveloped, data: "issuer_id issuer_name public_key"},
		{method: post, path: "ssh/roles/u", body: object{"key_type": "ca", "allow_user_certificates": true, "default_user": "app"}, status: 204},
		{method: get, path: "ssh/roles/u", status: 200, top: enveloped, data: roleFields},
		{method: list, path: "ssh/roles", status: 200, top: enveloped, data: "key_info keys"},
		{method: post, path: "ssh/sign/u", body: object{"public_key": key}, status: 200, top: enveloped, data: "issuer_id serial_number signed_key"},
		{method: post, path: "ssh/issue/u", body: object{"key_type": "ed25519"}, status: 200, top: enveloped, data: "issuer_id private_key private_key_type serial_number signed_key"},
		{name: "for somebody else", method: post, path: "ssh/sign/u", body: object{"public_key": key, "valid_principals": "root"}, status: 400, top: failed},
		{method: post, path: "ssh/roles/o", body: object{"key_type": "otp", "default_user": "app", "cidr_list": "10.0.0.0/8"}, status: 204},
		{method: get, path: "ssh/roles/o", status: 200, top: enveloped, data: "allowed_users cidr_list default_user exclude_cidr_list key_type port"},
		{method: post, path: "ssh/creds/o", body: object{"ip": "10.1.2.3"}, status: 200, top: enveloped, data: "ip key key_type port username", keep: "k=data.key"},
		{method: post, path: "ssh/verify", body: object{"otp": "${k}"}, token: "-", status: 200, top: enveloped, data: "ip role_name username"},
		{name: "twice", method: post, path: "ssh/verify", body: object{"otp": "${k}"}, token: "-", status: 400, top: failed},
		{name: "whether it is there", method: post, path: "ssh/verify", body: object{"otp": "verify-echo-request"}, token: "-", status: 200, top: enveloped, data: "message"},
		{method: post, path: "ssh/lookup", body: object{"ip": "10.1.2.3"}, status: 200, top: enveloped, data: "roles"},
		{name: "by another verb", method: get, path: "ssh/creds/o", status: 405, top: failed, errors: "unsupported operation"},
		{method: remove, path: "ssh/config/ca", status: 200, top: enveloped, warned: true},
	})
}

func TestTOTP(t *testing.T) {
	story(t, []exchange{
		{method: post, path: "sys/mounts/totp", body: object{"type": "totp"}, status: 204},
		{method: post, path: "totp/keys/k", body: object{"generate": true, "issuer": "i", "account_name": "a"}, status: 200, top: enveloped, data: "barcode url"},
		{name: "without a barcode", method: post, path: "totp/keys/k", body: object{"generate": true, "issuer": "i", "account_name": "a", "qr_size": 0}, status: 200, top: enveloped, data: "url"},
		{name: "from elsewhere", method: post, path: "totp/keys/e", body: object{"key": "JBSWY3DPEHPK3PXP"}, status: 204},
		{method: get, path: "totp/keys/k", status: 200, top: enveloped, data: "account_name algorithm digits issuer period"},
		{method: get, path: "totp/code/k", status: 200, top: enveloped, data: "code expire_time generated period", keep: "c=data.code"},
		{method: post, path: "totp/code/k", body: object{"code": "${c}"}, status: 200, top: enveloped, data: "valid"},
		{name: "twice", method: post, path: "totp/code/k", body: object{"code": "${c}"}, status: 400, top: failed},
		{name: "of no key", method: get, path: "totp/code/none", status: 400, top: failed},
		{name: "that is not there", method: get, path: "totp/keys/none", status: 404, top: failed, errors: none},
		{method: list, path: "totp/keys", status: 200, top: enveloped, data: "keys"},
		{method: remove, path: "totp/keys/k", status: 204},
	})
}
