package cli_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cofferhq/coffer/internal/cli"
)

// FuzzAnswers gives commands whatever a server, or something in its place,
// could answer: no answer may crash them.
func FuzzAnswers(f *testing.F) {
	for _, body := range []string{
		data(kv2Mount), data(`{"keys":["a"],"key_info":{"a":{"x":1}}}`), data(`{"data":{"a":null},"metadata":{"version":1}}`), data(`{"data":null,"metadata":null,"versions":{"x":1}}`),
		data(`{"path":"a/","options":null}`), loginAnswer, unsealed, `{"errors":["x"]}`, `{"nodes":null,"data":{"nodes":[{}]}}`, `{"wrap_info":{}}`, `{"auth":{}}`, `[]`, `null`, ``, `{`, `"x"`, `<html>`,
	} {
		f.Add(uint16(200), []byte(body))
		f.Add(uint16(404), []byte(body))
	}
	type answer struct {
		status int
		body   []byte
	}
	var current atomic.Pointer[answer]
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		a := current.Load()
		w.WriteHeader(a.status)
		_, _ = w.Write(a.body)
	}))
	f.Cleanup(srv.Close)
	commands := []string{
		"read a", "read -format=yaml a", "read -field=data a", "write a k=v", "list -detailed a", "kv get a/b", "kv get -field=x a/b", "kv put a/b k=v", "kv patch -method=rw a/b k=v", "kv rollback -version=1 a/b", "kv metadata get a/b",
		"secrets list -detailed", "auth list", "policy read p", "policy list", "token lookup", "token capabilities a", "lease lookup l", "audit list -detailed", "status", "status -format=json", "login -no-store x",
		"operator init", "operator unseal k", "operator rekey -status", "operator rekey -nonce=n k", "operator rekey -backup-retrieve", "operator generate-root -init", "operator generate-root -generate-otp", "operator key-status", "operator members",
		"unwrap x", "path-help a", "version-history", "plugin list", "namespace list",
	}
	f.Fuzz(func(t *testing.T, status uint16, body []byte) {
		// 1xx and redirects to nowhere say nothing about the commands.
		current.Store(&answer{200 + int(status)%400, body})
		for _, line := range commands {
			var out, errs bytes.Buffer
			app := cli.App{
				Stdio: cli.Stdio{In: strings.NewReader(""), Out: &out, Err: &errs},
				Env: func(name string) string {
					return map[string]string{"HOME": "/none", "VAULT_ADDR": srv.URL, "VAULT_TOKEN": "tok", "VAULT_MAX_RETRIES": "0"}[name]
				},
			}
			code := app.Main(context.Background(), append([]string{"coffer"}, strings.Fields(line)...))
			if code != 0 && errs.Len() == 0 && !strings.HasPrefix(line, "status") {
				t.Errorf("%s ends with %d and says nothing", line, code)
			}
		}
	})
}
