package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const loginAnswer = `{"request_id":"r1","lease_id":"","renewable":false,"lease_duration":0,"data":null,"warnings":null,"wrap_info":null,"auth":{"client_token":"hvs.new","accessor":"acc","policies":["default"],"token_policies":["default"],"metadata":{"username":"u"},"lease_duration":3600,"renewable":true,"orphan":true,"entity_id":"e","token_type":"service","num_uses":0,"mfa_requirement":null}}`

func TestLogin(t *testing.T) {
	self := data(`{"accessor":"acc","display_name":"root","expire_time":null,"id":"hvs.given","policies":["root"],"ttl":0,"meta":null,"type":"service","orphan":true,"renewable":false}`)
	sh := newShell(t, answers{
		"GET /v1/auth/token/lookup-self":  self,
		"PUT /v1/auth/userpass/login/u":   loginAnswer,
		"PUT /v1/auth/team/login/u":       loginAnswer,
		"PUT /v1/auth/userpass/login/w":   `{"request_id":"","data":null,"auth":null,"wrap_info":{"token":"hvs.wrap","accessor":"wacc","ttl":60,"creation_time":"2026-01-01T00:00:00Z","creation_path":"auth/userpass/login/w","wrapped_accessor":"acc"}}`,
		"PUT /v1/auth/userpass/login/bad": `400 {"errors":["invalid username or password"]}`,
		"PUT /v1/auth/approle/login":      loginAnswer,
		"PUT /v1/auth/jwt/login":          loginAnswer,
	})
	delete(sh.env, "VAULT_TOKEN")
	sh.stdin = "hvs.given\n"
	sh.transcript(t, "login",
		"login hvs.given", "print token", "login", "login -", "login -no-store token=hvs.given", "login a b", "login -non-interactive",
		"login -method=userpass username=u password=p", "print token", "login -method=userpass username=u", "login -method=userpass", "login -method=userpass username=a/b password=x",
		"login -method=userpass -path=team username=u password=p", "login -method=userpass mount=team username=u password=p", "login -method=userpass username=bad password=p",
		"login -method=userpass -token-only username=u password=p", "login -method=userpass -field=token_duration username=u password=p", "login -method=userpass -no-print username=u password=p", "login -method=userpass -format=json username=u password=p",
		"login -method=userpass -wrap-ttl=60s username=w password=p", "login -method=userpass -wrap-ttl=60s -token-only username=w password=p",
		"login -method=approle role_id=r secret_id=s", "login -method=approle role_id=r", "login -method=approle secret_id=s", "login -method=jwt role=ci jwt=x",
		"read none",
	)
	info, err := os.Stat(filepath.Join(sh.env["HOME"], ".vault-token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("token file: %v, %v", info, err)
	}
	sh.env["BAO_TOKEN"] = "set"
	if got := sh.run("login", "hvs.given"); !strings.Contains(got.err, "BAO_TOKEN is set") {
		t.Errorf("no warning about the environment: %+v", got)
	}
}

func TestTokenHelper(t *testing.T) {
	sh := newShell(t, answers{
		"PUT /v1/auth/userpass/login/u": loginAnswer,
		"GET /v1/a":                     data(`{"x":"1"}`),
	})
	delete(sh.env, "VAULT_TOKEN")
	home := sh.env["HOME"]
	helper := filepath.Join(home, "helper")
	script := "#!/bin/sh\ncase $1 in\nget) cat " + home + "/kept 2>/dev/null;;\nstore) cat > " + home + "/kept;;\nerase) rm -f " + home + "/kept;;\nesac\nexit 0\n"
	write(t, helper, script, 0o700)
	write(t, filepath.Join(home, ".vault"), `token_helper = "`+helper+`"`, 0o600)

	if got := sh.run("login", "-method=userpass", "username=u", "password=p"); got.code != 0 {
		t.Fatalf("login: %+v", got)
	}
	if kept, err := os.ReadFile(filepath.Join(home, "kept")); string(kept) != "hvs.new" {
		t.Errorf("the helper keeps %q, %v", kept, err)
	}
	sh.srv.requests()
	sh.run("read", "a")
	if got := sh.srv.requests(); len(got) != 1 || !strings.Contains(got[0], "[X-Vault-Token: hvs.new]") {
		t.Errorf("requests %q", got)
	}

	for name, config := range map[string]string{
		"relative":  `token_helper = "helper"`,
		"malformed": `token_helper = [`,
		"failing":   `token_helper = "/bin/false"`,
		"missing":   `token_helper = "/no/such/helper"`,
	} {
		write(t, filepath.Join(home, ".vault"), config, 0o600)
		if got := sh.run("read", "a"); got.code != 1 || !strings.Contains(got.err, "reading the stored token") || len(sh.srv.requests()) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTokenSources(t *testing.T) {
	sh := newShell(t, nil)
	home := sh.env["HOME"]
	token := func() string { return strings.TrimSpace(sh.run("print", "token").out) }
	check := func(want string) {
		t.Helper()
		if got := token(); got != want {
			t.Errorf("got token %q, want %q", got, want)
		}
	}
	check("tok")
	sh.env["BAO_TOKEN"] = "bao"
	check("bao")
	sh.env["COFFER_TOKEN"] = "coffer"
	check("coffer")
	for _, v := range []string{"VAULT_TOKEN", "BAO_TOKEN", "COFFER_TOKEN"} {
		delete(sh.env, v)
	}
	check("")
	write(t, filepath.Join(home, ".vault-token"), "shared\n", 0o600)
	check("shared")
	write(t, filepath.Join(home, ".coffer-token"), "own", 0o600)
	check("own")
	write(t, filepath.Join(home, "elsewhere"), "path", 0o600)
	sh.env["VAULT_TOKEN_PATH"] = filepath.Join(home, "elsewhere")
	check("path")

	t.Chdir(home)
	delete(sh.env, "VAULT_TOKEN_PATH")
	delete(sh.env, "HOME")
	check("")
	if got := sh.run("login", "-no-lookup", "x"); got.code != 1 || !strings.Contains(got.err, "HOME is not set") {
		t.Errorf("got %+v", got)
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
