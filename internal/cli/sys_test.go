package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMounts(t *testing.T) {
	mounts := `{
		"secret/":{"accessor":"kv_1","config":{"default_lease_ttl":0,"force_no_cache":false,"max_lease_ttl":0},"description":"key/value","options":{"version":"2"},"type":"kv","uuid":"u1","local":false,"seal_wrap":false,"running_plugin_version":"v1"},
		"cubbyhole/":{"accessor":"cubbyhole_1","config":{"default_lease_ttl":3600,"force_no_cache":false,"max_lease_ttl":7200},"description":"","options":null,"type":"cubbyhole","uuid":"u2","local":true,"seal_wrap":false}}`
	auths := `{"token/":{"accessor":"auth_token_1","config":{"default_lease_ttl":0,"force_no_cache":false,"max_lease_ttl":0,"token_type":"default-service"},"description":"token based credentials","options":null,"type":"token","uuid":"u3","local":false,"seal_wrap":false}}`
	sh := newShell(t, answers{
		"GET /v1/sys/mounts":                  data(mounts),
		"GET /v1/sys/auth":                    data(auths),
		"POST /v1/sys/mounts/kv":              "",
		"POST /v1/sys/mounts/team/kv":         "",
		"POST /v1/sys/mounts/bad":             `400 {"errors":["plugin not found in the catalog: bad"]}`,
		"POST /v1/sys/auth/userpass":          "",
		"DELETE /v1/sys/mounts/kv":            "",
		"DELETE /v1/sys/auth/userpass":        "",
		"POST /v1/sys/mounts/kv/tune":         "",
		"POST /v1/sys/auth/userpass/tune":     "",
		"POST /v1/sys/remount":                data(`{"migration_id":"m1"}`),
		"GET /v1/sys/remount/status/m1":       data(`{"migration_id":"m1","migration_info":{"source_mount":"a/","target_mount":"b/","status":"success"}}`),
		"GET /v1/auth/userpass?help=1":        `{"help":"## DESCRIPTION\n\nuserpass","openapi":null}`,
		"GET /v1/sys/internal/ui/mounts/none": `403 {"errors":["permission denied"]}`,
	})
	sh.transcript(t, "mounts",
		"secrets list", "secrets list -detailed", "secrets list -format=json",
		"secrets enable kv", "secrets enable -path=team/kv -description=x -version=2 -default-lease-ttl=1h -max-lease-ttl=1d -options=a=b kv", "secrets enable bad",
		"secrets enable plugin", "secrets disable kv/", "secrets tune -default-lease-ttl=90 -description= -passthrough-request-headers=X-A,X-B kv",
		"secrets move a b", "secrets enable", "secrets",
		"auth list", "auth list -detailed -format=yaml", "auth enable userpass", "auth tune -token-type=batch -user-lockout-threshold=3 -user-lockout-disable=false -user-lockout-duration=10m userpass",
		"auth disable userpass", "auth move a b", "auth help userpass",
	)
}

func TestPolicies(t *testing.T) {
	sh := newShell(t, answers{
		"LIST /v1/sys/policies/acl":        data(`{"keys":["default","ops","root"]}`),
		"GET /v1/sys/policies/acl/ops":     data(`{"name":"ops","policy":"path \"a\" {}\n"}`),
		"PUT /v1/sys/policies/acl/ops":     "",
		"PUT /v1/sys/policies/acl/broad":   `{"request_id":"r1","data":null,"warnings":["secret/* also grants secret/metadata/*"]}`,
		"DELETE /v1/sys/policies/acl/ops":  "",
		"DELETE /v1/sys/policies/acl/root": `400 {"errors":["cannot delete \"root\" policy"]}`,
	})
	sh.stdin = `path "a" { capabilities = ["read"] }`
	sh.transcript(t, "policies",
		"policy list", "policy list -format=json", "policy read ops", "policy read OPS -format=json", "policy read none", "policy read -field=policy ops",
		"policy write ops -", "policy write broad -", "policy write ops /no/such/file", "policy delete ops", "policy delete root",
		"policy fmt -",
	)
}

func TestPolicyFmtRewritesTheFile(t *testing.T) {
	sh := newShell(t, nil)
	file := filepath.Join(t.TempDir(), "p.hcl")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	write("path \"a/*\" {\ncapabilities=[\"read\"]\n}")
	if got := sh.run("policy", "fmt", file); got.code != 0 {
		t.Fatalf("got %+v", got)
	}
	text, err := os.ReadFile(file)
	if want := "path \"a/*\" {\n  capabilities = [\"read\"]\n}\n"; err != nil || strings.TrimRight(string(text), "\n") != strings.TrimRight(want, "\n") {
		t.Errorf("got %q, %v", text, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("permissions: %v, %v", info.Mode(), err)
	}
	write(`path "a" {`)
	if got := sh.run("policy", "fmt", file); got.code != 1 || !strings.Contains(got.err, "formatting") {
		t.Errorf("a broken file: got %+v", got)
	}
}

func TestTokens(t *testing.T) {
	issued := `{"request_id":"r1","data":null,"warnings":null,"wrap_info":null,"auth":{"client_token":"hvs.x","accessor":"acc","policies":["default","ops"],"token_policies":["default","ops"],"metadata":{"team":"a"},"lease_duration":3600,"renewable":true,"orphan":false,"entity_id":"","token_type":"service","num_uses":0,"mfa_requirement":null}}`
	info := data(`{"accessor":"acc","creation_time":1700000000,"creation_ttl":3600,"display_name":"token","expire_time":null,"id":"tok","policies":["root"],"ttl":0,"meta":null,"type":"service","orphan":true}`)
	sh := newShell(t, answers{
		"POST /v1/auth/token/create":                             issued,
		"POST /v1/auth/token/create/ci":                          issued,
		"GET /v1/auth/token/lookup-self":                         info,
		"POST /v1/auth/token/lookup":                             info,
		"POST /v1/auth/token/lookup-accessor":                    info,
		"PUT /v1/auth/token/renew-self":                          issued,
		"PUT /v1/auth/token/renew":                               issued,
		"POST /v1/auth/token/renew-accessor":                     issued,
		"PUT /v1/auth/token/revoke-self":                         "",
		"PUT /v1/auth/token/revoke":                              "",
		"PUT /v1/auth/token/revoke-orphan":                       "",
		"POST /v1/auth/token/revoke-accessor":                    "",
		"PUT /v1/sys/leases/revoke-prefix/auth/userpass/login/u": "",
		"POST /v1/sys/capabilities-self":                         data(`{"capabilities":["list","read"],"secret/a":["list","read"]}`),
		"POST /v1/sys/capabilities":                              data(`{"capabilities":["deny"],"secret/a":["deny"]}`),
		"POST /v1/sys/capabilities-accessor":                     data(`{"capabilities":["root"],"secret/a":["root"]}`),
	})
	sh.transcript(t, "tokens",
		"token create", "token create -policy=ops -policy=a,b -ttl=1h -explicit-max-ttl=24h -period=30m -metadata=team=a -display-name=d -use-limit=3 -orphan -no-default-policy -renewable=false -id=x -type=service",
		"token create -role=ci -format=json", "token create -type=batch -field=token", "token create -field=token_policies", "token create -wrap-ttl=60s",
		"token lookup", "token lookup other", "token lookup -accessor acc", "token lookup -accessor", "token lookup -format=json -field=policies",
		"token renew", "token renew -increment=30m", "token renew other -i 30m", "token renew -accessor acc",
		"token revoke", "token revoke -self", "token revoke other", "token revoke -mode=orphan other", "token revoke -accessor acc", "token revoke -mode=path auth/userpass/login/u", "token revoke -mode=x other", "token revoke -self other",
		"token capabilities secret/a", "token capabilities other secret/a", "token capabilities -accessor acc secret/a", "token capabilities -format=json secret/a",
	)
}

func TestLeases(t *testing.T) {
	sh := newShell(t, answers{
		"PUT /v1/sys/leases/lookup":                 data(`{"id":"pg/creds/app/1","issue_time":"2026-01-01T00:00:00Z","expire_time":"2026-01-01T01:00:00Z","last_renewal":null,"renewable":true,"ttl":3600}`),
		"PUT /v1/sys/leases/renew":                  `{"request_id":"r1","lease_id":"pg/creds/app/1","renewable":true,"lease_duration":1800,"data":null,"warnings":null}`,
		"PUT /v1/sys/leases/revoke":                 "",
		"PUT /v1/sys/leases/revoke-prefix/pg/creds": "",
		"PUT /v1/sys/leases/revoke-force/pg/creds":  "",
	})
	sh.transcript(t, "leases",
		"lease lookup pg/creds/app/1", "lease renew pg/creds/app/1", "lease renew -increment=30m -format=json pg/creds/app/1",
		"lease revoke pg/creds/app/1", "lease revoke -sync pg/creds/app/1", "lease revoke -prefix pg/creds", "lease revoke -prefix -sync pg/creds", "lease revoke -force pg/creds", "lease revoke -force -prefix pg/creds", "lease revoke -format=json pg/creds/app/1",
	)
}

func TestAudit(t *testing.T) {
	sh := newShell(t, answers{
		"GET /v1/sys/audit":         data(`{"f/":{"type":"file","path":"f/","description":"","options":{"file_path":"/a","log_raw":"false"},"local":false}}`) + "\n---\n" + data(`{"f/":{"type":"file","path":"f/","description":"","options":{"file_path":"/a","log_raw":"false"},"local":false}}`) + "\n---\n" + data(`{}`),
		"PUT /v1/sys/audit/file":    "",
		"PUT /v1/sys/audit/x":       `400 {"errors":["path already in use"]}`,
		"DELETE /v1/sys/audit/file": "",
		"PUT /v1/sys/audit-hash/f":  data(`{"hash":"hmac-sha256:00"}`),
	})
	sh.transcript(t, "audit",
		"audit list", "audit list -detailed", "audit list", "audit list -format=json",
		"audit enable file file_path=/a log_raw=false", "audit enable -path=x -local -description=d file path=/b", "audit disable file/", "audit hash f hello",
	)
}

func TestSystemInformation(t *testing.T) {
	sh := newShell(t, answers{
		"LIST /v1/sys/version-history":                            data(`{"keys":["1.0.0"],"key_info":{"1.0.0":{"timestamp_installed":"2026-01-01T00:00:00Z","build_date":"","previous_version":null}}}`),
		"GET /v1/sys/plugins/catalog":                             data(`{"auth":["approle"],"secret":["kv"],"detailed":[{"name":"approle","type":"auth","version":"v1","builtin":true},{"name":"kv","type":"secret","version":"v2","builtin":true}]}`),
		"GET /v1/sys/plugins/catalog/secret/kv":                   data(`{"name":"kv","builtin":true,"version":"v2"}`),
		"LIST /v1/sys/namespaces/":                                data(`{"keys":["team/"]}`),
		"GET /v1/sys/namespaces/team":                             data(`{"id":"n1","path":"team/","custom_metadata":{}}`),
		"PUT /v1/sys/namespaces/team":                             data(`{"id":"n1","path":"team/","custom_metadata":{"a":"b"}}`),
		"DELETE /v1/sys/namespaces/team":                          "",
		"GET /v1/sys/monitor?log_format=standard&log_level=debug": "first\nsecond\n",
		"GET /v1/sys?help=1":                                      `{"help":"system"}`,
		"PUT /v1/sys/wrapping/unwrap":                             data(`{"a":"1"}`),
	})
	sh.app.Version = "1.2.3"
	sh.transcript(t, "information",
		"version", "-version", "version -format=json", "print token", "version-history", "plugin list", "plugin list auth -format=json", "plugin info secret kv", "plugin info secret none",
		"namespace list", "namespace list -format=json", "namespace lookup team", "namespace lookup none", "namespace create -custom-metadata=a=b team/", "namespace delete team",
		"monitor -log-level=debug", "path-help sys", "unwrap wrapped", "unwrap", "server -dev", "operator diagnose",
		"completion bash", "completion zsh", "completion fish", "completion tcsh", "__complete kv me", "__complete kv get -fo", "__complete kv get -format=", "__complete op", "__complete kv get --na",
		"help kv put", "read -help",
	)
}
