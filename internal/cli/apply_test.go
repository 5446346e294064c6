package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestApply(t *testing.T) {
	role, err := os.ReadFile("../../e2e/testdata/kubernetes-role.hcl")
	if err != nil {
		t.Fatal(err)
	}
	sh := newShell(t, answers{"PUT /v1/auth/kubernetes/role/app-service": "", "PUT /v1/auth/jwt/role/ci": "", "PUT /v1/auth/bad": `400 {"errors":["no"]}`})
	file := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		write(t, path, text, 0o600)
		return path
	}
	more := file("more.hcl", `path "auth/jwt/role/ci" {
  bound_claims = { team = ["a"], "/x/y" = 1 }
  token_ttl = 60
  verbose_oidc_logging = true
}`)
	got := sh.run("apply", file("role.hcl", string(role)), more)
	requests := strings.Join(sh.srv.requests(), "\n")
	for _, want := range []string{
		`PUT /v1/auth/kubernetes/role/app-service [X-Vault-Token: tok] {"bound_service_account_names":["app-sa"],"bound_service_account_namespaces":["production"],"policies":["app-service"],"ttl":"1h"}`,
		`PUT /v1/auth/jwt/role/ci [X-Vault-Token: tok] {"bound_claims":{"/x/y":1,"team":["a"]},"token_ttl":60,"verbose_oidc_logging":true}`,
	} {
		if got.code != 0 || !strings.Contains(requests, want) {
			t.Errorf("got %+v and the requests\n%s\nwant %s", got, requests, want)
		}
	}
	sh.stdin = `{"path": {"auth/jwt/role/ci": {"user_claim": "sub"}}}`
	if got := sh.run("apply", "-"); got.code != 0 || !strings.Contains(strings.Join(sh.srv.requests(), ""), `{"user_claim":"sub"}`) {
		t.Errorf("JSON from standard input: %+v", got)
	}
	for name, text := range map[string]string{
		"nothing":           "",
		"a policy":          `path "x" { capabilities = ["read"] }`,
		"another block":     `role "x" { a = 1 }`,
		"a setting":         `path = "x"`,
		"no path":           `path "" { a = 1 }`,
		"a path twice":      "path \"x\" { a = 1 }\npath \"x\" { a = 2 }",
		"a setting twice":   "path \"x\" {\n a = 1\n a = 2\n}",
		"no HCL":            `path "x" {`,
		"one bad of two":    "path \"auth/jwt/role/ci\" { a = 1 }\npath \"y\" { capabilities = [] }",
		"refused by server": `path "auth/bad" { a = 1 }`,
	} {
		got := sh.run("apply", file("bad.hcl", text))
		if got.code == 0 || got.err == "" {
			t.Errorf("%s: %+v", name, got)
		}
		if r := sh.srv.requests(); len(r) > 0 && name != "refused by server" {
			t.Errorf("%s: something was written: %v", name, r)
		}
	}
}
