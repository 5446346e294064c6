package cli_test

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestFieldsFromArgumentsFilesAndStandardInput(t *testing.T) {
	sh := newShell(t, answers{"PUT /v1/a": ""})
	dir := t.TempDir()
	object := filepath.Join(dir, "object.json")
	write(t, object, `{"n":12345678901234567890,"nested":{"a":[1]},"k":"from file"}`, 0o600)
	text := filepath.Join(dir, "text")
	write(t, text, "line one\nline two\n", 0o600)
	broken := filepath.Join(dir, "broken")
	write(t, broken, `{"a":1} trailing`, 0o600)

	for _, tc := range []struct {
		name  string
		args  []string
		stdin string
		want  string // body, or the start of the error when it begins with !
	}{
		{name: "strings stay strings", args: []string{"a=1", "b=true", "c="}, want: `{"a":"1","b":"true","c":""}`},
		{name: "a value may hold equal signs", args: []string{"a=b=c=="}, want: `{"a":"b=c=="}`},
		{name: "a repeated key is a list", args: []string{"a=1", "a=2", "a=3"}, want: `{"a":["1","2","3"]}`},
		{name: "a file as value", args: []string{"a=@" + text}, want: `{"a":"line one\nline two\n"}`},
		{name: "a literal at sign", args: []string{`a=\@x`}, want: `{"a":"@x"}`},
		{name: "standard input as value", args: []string{"a=-"}, stdin: "secret\n", want: `{"a":"secret\n"}`},
		{name: "a file of fields", args: []string{"@" + object}, want: `{"k":"from file","n":12345678901234567890,"nested":{"a":[1]}}`},
		{name: "fields on standard input", args: []string{"-"}, stdin: `{"x":null}`, want: `{"x":null}`},
		{name: "a dash after the flags", args: []string{"--", "-"}, stdin: `{"x":1}`, want: `{"x":1}`},
		{name: "standard input twice", args: []string{"a=-", "b=-"}, stdin: "x", want: "!Standard input can be read only once"},
		{name: "no equal sign", args: []string{"novalue"}, want: "!Invalid argument"},
		{name: "no key", args: []string{"=x"}, want: "!Invalid argument"},
		{name: "a missing file", args: []string{"a=@/no/such"}, want: "!Error: reading /no/such"},
		{name: "text after the object", args: []string{"@" + broken}, want: "!Error: " + broken + " has text after"},
		{name: "no object", args: []string{"-"}, stdin: `[1]`, want: "!Error: standard input is not a JSON object"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sh.stdin = tc.stdin
			got := sh.run(append([]string{"write", "a"}, tc.args...)...)
			requests := sh.srv.requests()
			if want, isError := strings.CutPrefix(tc.want, "!"); isError {
				if got.code != 1 || !strings.HasPrefix(got.err, want) || len(requests) != 0 {
					t.Errorf("got %+v after requests %q, want an error %q", got, requests, want)
				}
				return
			}
			if got.code != 0 || len(requests) != 1 || !strings.HasSuffix(requests[0], "] "+tc.want) {
				t.Errorf("got %+v with requests %q, want the body %s", got, requests, tc.want)
			}
		})
	}
}

func TestFlagsAndEnvironment(t *testing.T) {
	for _, tc := range []struct {
		name string
		env  map[string]string
		args []string
		want string // the request, or the start of the error when it begins with !
	}{
		{name: "single dash", args: []string{"read", "-namespace=n", "a"}, want: "GET /v1/a [X-Vault-Token: tok] [X-Vault-Namespace: n]"},
		{name: "double dash", args: []string{"read", "--namespace", "n", "a"}, want: "GET /v1/a [X-Vault-Token: tok] [X-Vault-Namespace: n]"},
		{name: "after the argument", args: []string{"read", "a", "-ns=n"}, want: "GET /v1/a [X-Vault-Token: tok] [X-Vault-Namespace: n]"},
		{name: "between the arguments", args: []string{"read", "a", "-ns=n", "k=v"}, want: "GET /v1/a?k=v [X-Vault-Token: tok] [X-Vault-Namespace: n]"},
		{name: "namespace from the environment", env: map[string]string{"VAULT_NAMESPACE": "e"}, args: []string{"read", "a"}, want: "GET /v1/a [X-Vault-Token: tok] [X-Vault-Namespace: e]"},
		{name: "the flag goes before the environment", env: map[string]string{"VAULT_NAMESPACE": "e"}, args: []string{"read", "-ns=", "a"}, want: "GET /v1/a [X-Vault-Token: tok]"},
		{name: "coffer before bao before vault", env: map[string]string{"VAULT_NAMESPACE": "v", "BAO_NAMESPACE": "b", "COFFER_NAMESPACE": "c"}, args: []string{"read", "a"}, want: "GET /v1/a [X-Vault-Token: tok] [X-Vault-Namespace: c]"},
		{name: "wrapping from the environment", env: map[string]string{"BAO_WRAP_TTL": "1m"}, args: []string{"read", "a"}, want: "GET /v1/a [X-Vault-Token: tok] [X-Vault-Wrap-Ttl: 1m]"},
		{name: "a bad number of retries", env: map[string]string{"BAO_MAX_RETRIES": "many"}, args: []string{"read", "a"}, want: "!Error reading the configuration: reading BAO_MAX_RETRIES"},
		{name: "an address without a scheme", args: []string{"read", "-address=127.0.0.1:8200", "a"}, want: "!Error setting up the connection: address \"127.0.0.1:8200\" needs a scheme"},
		{name: "a certificate that is not there", args: []string{"read", "-ca-cert=/no/such", "a"}, want: "!Error setting up the connection: reading the CA certificate"},
		{name: "a value for a switch", args: []string{"read", "-tls-skip-verify=maybe", "a"}, want: "!invalid boolean value"},
		{name: "a header without a value", args: []string{"read", "-header=x", "a"}, want: "!invalid value"},
		{name: "a space around the path", args: []string{"read", " /a/ "}, want: "GET /v1/a [X-Vault-Token: tok]"},
		{name: "characters that a URL escapes", args: []string{"read", "a b/c?d#e%f"}, want: "GET /v1/a%20b/c%3Fd%23e%25f [X-Vault-Token: tok]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sh := newShell(t, nil)
			for k, v := range tc.env {
				sh.env[k] = v
			}
			got := sh.run(tc.args...)
			requests := sh.srv.requests()
			if want, isError := strings.CutPrefix(tc.want, "!"); isError {
				if got.code != 1 || !strings.HasPrefix(got.err, want) {
					t.Errorf("got %+v, want an error %q", got, want)
				}
				return
			}
			if len(requests) != 1 || requests[0] != tc.want {
				t.Errorf("requests %q, want %q; %+v", requests, tc.want, got)
			}
		})
	}
}

func TestFormatFromTheEnvironment(t *testing.T) {
	sh := newShell(t, answers{"GET /v1/a": data(`{"x":"1"}`)})
	sh.env["VAULT_FORMAT"] = "json"
	if got := sh.run("read", "a"); !strings.HasPrefix(got.out, "{") {
		t.Errorf("got %+v", got)
	}
	if got := sh.run("read", "-format=table", "a"); !strings.HasPrefix(got.out, "Key") {
		t.Errorf("got %+v", got)
	}
	sh.env["VAULT_FORMAT"] = "xml"
	if got := sh.run("read", "a"); got.code != 1 || !strings.Contains(got.err, "Invalid output format") {
		t.Errorf("got %+v", got)
	}
}

func TestDetailFromTheEnvironment(t *testing.T) {
	sh := newShell(t, answers{
		"GET /v1/sys/audit": data(`{"f/":{"type":"file","options":{"file_path":"/a"}}}`),
		"LIST /v1/a/":       data(`{"keys":["k"],"key_info":{"k":{"owner":"ops"}}}`),
	})
	for _, args := range [][]string{{"audit", "list"}, {"list", "a"}} {
		plain := sh.run(args...)
		flagged := sh.run(append(args, "-detailed")...)
		sh.env["VAULT_DETAILED"] = "true"
		byEnv := sh.run(args...)
		delete(sh.env, "VAULT_DETAILED")
		if plain == flagged || flagged != byEnv {
			t.Errorf("%q: plain %+v, with the flag %+v, with the variable %+v", args, plain, flagged, byEnv)
		}
	}
}

func TestPrintedRequestsHideTheToken(t *testing.T) {
	sh := newShell(t, nil)
	sh.transcript(t, "dryrun",
		"read -output-curl-string a?b", "write -output-curl-string a k=it's", "write -output-curl-string -ns=n -wrap-ttl=5m a k=v", "list -output-curl-string a", "delete -output-curl-string a x=1", "patch -output-curl-string a k=v",
		"read -output-policy a", "write -output-policy a k=v", "list -output-policy secret/metadata", "delete -output-policy a", "patch -output-policy a k=v", "scan -output-policy a",
		"operator seal -output-policy", "audit list -output-policy", "lease revoke -prefix -output-policy pg", "token create -output-policy", "secrets move -output-policy a b",
	)
	if sh.srv.requests() != nil {
		t.Error("a printed request was made")
	}
	if out := sh.run("read", "-output-curl-string", "a").out; strings.Contains(out, "tok ") || strings.Contains(out, "tok\"") {
		t.Errorf("the token is shown: %s", out)
	}
}

func TestTheProgramAnswersToOtherNames(t *testing.T) {
	sh := newShell(t, nil)
	for _, name := range []string{"vault", "/usr/bin/bao"} {
		got := sh.runAs(name, "kv")
		want := "Usage: " + filepath.Base(name) + " kv <command>"
		if got.code != 1 || !strings.HasPrefix(got.err, want) {
			t.Errorf("%s: got %+v", name, got)
		}
	}
}
