package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/config"
)

func TestParseReportsEveryProblemWithItsPlace(t *testing.T) {
	t.Setenv("COFFER_TEST_SECRET", "hunter2")
	tests := map[string]struct {
		src  string
		want []string
	}{
		"a misspelt key names the nearest one": {
			"ui = true\nlog_levl = \"info\"\n",
			[]string{`c:2:1: unknown key "log_levl"; did you mean "log_level"?`},
		},
		"a key in another case or with dashes": {
			"Log-Level = \"info\"",
			[]string{`c:1:1: unknown key "Log-Level"; did you mean "log_level"?`},
		},
		"a key that resembles nothing": {
			"zzz = 1",
			[]string{`c:1:1: unknown key "zzz"; remove it or correct its name`},
		},
		"a misspelt key in a labelled block": {
			"listener \"tcp\" {\n  adress = \"x\"\n}",
			[]string{`c:2:3: unknown key "adress" in listener "tcp"; did you mean "address"?`},
		},
		"a misspelt key two blocks deep": {
			"listener \"tcp\" {\n  telemetry {\n    unauthenticated_metric_access = true\n  }\n}",
			[]string{`c:3:5: unknown key "unauthenticated_metric_access" in telemetry; did you mean "unauthenticated_metrics_access"?`},
		},
		"a misspelt audit option in the unlabelled form": {
			"audit {\n  file {\n    path = \"a\"\n    log_rw = true\n  }\n}",
			[]string{`c:4:5: unknown key "log_rw" in audit "file"; did you mean "log_raw"?`},
		},
		"a misspelt audit option in the labelled form": {
			"audit \"file\" \"a\" {\n  options {\n    file_pth = \"a\"\n  }\n}",
			[]string{`c:3:5: unknown key "file_pth" in the options of audit "file"; did you mean "file_path"?`},
		},
		"an audit device that leaves requests out": {
			"audit \"file\" \"a\" {\n  options { filter = \"x\" }\n}",
			[]string{`c:2:13: filter is not supported: every device records every request`},
		},
		"every problem of the file at once": {
			"ui = 3\nfoo_bar_baz = 1\nmax_lease_ttl = \"soon\"\nui = true",
			[]string{
				`c:1:6: ui must be true or false, not 3`,
				`c:2:1: unknown key "foo_bar_baz"; remove it or correct its name`,
				`c:3:17: max_lease_ttl must be a duration such as "90s", "1h30m", "7d" or a number of seconds, not "soon"`,
				`c:4:1: "ui" is set twice (first at c:1:1); keep one`,
			},
		},
		"a key set twice in a block": {
			"storage \"raft\" {\n  path = \"a\"\n  path = \"b\"\n}",
			[]string{`c:3:3: "path" is set twice (first at c:2:3); keep one`},
		},
		"a second storage block": {
			"storage \"inmem\" {}\nbackend \"inmem\" {}",
			[]string{`c:2:1: storage is already configured at c:1:1; keep one storage block`},
		},
		"a storage type of another server": {
			"storage \"consul\" {}",
			[]string{`c:1:1: storage type "consul" is not supported; use raft, file or inmem`},
		},
		"a listener of an unknown type": {
			"listener \"quic\" {}",
			[]string{`c:1:1: listener type "quic" is not supported; use tcp or unix`},
		},
		"a block without its label": {
			"listener {\n  address = \"a\"\n}",
			[]string{`c:2:3: listener needs a label that names its type, as in listener "..." { address = ... }`},
		},
		"a value where a block belongs": {
			"listener = 3",
			[]string{`c:1:12: listener must be a block, not a number`},
		},
		"a list where a value belongs": {
			"api_addr = [\"a\"]",
			[]string{`c:1:12: api_addr must be a single value, not a list`},
		},
		"a negative duration": {
			"default_lease_ttl = \"-5m\"",
			[]string{`c:1:21: default_lease_ttl must be a duration such as "90s", "1h30m", "7d" or a number of seconds, not "-5m"`},
		},
		"a size with a wrong unit": {
			"listener \"tcp\" { max_request_size = \"3 potatoes\" }",
			[]string{`c:1:37: max_request_size must be a size such as "32MiB", a number of bytes, or -1 for no limit, not "3 potatoes"`},
		},
		"an address list with a name in it": {
			"listener \"tcp\" { x_forwarded_for_authorized_addrs = \"10.0.0.0/8,proxy\" }",
			[]string{`c:1:53: x_forwarded_for_authorized_addrs must hold IP addresses or CIDR blocks such as "10.0.0.0/8", not "proxy"`},
		},
		"an insecure cipher suite": {
			"listener \"tcp\" { tls_cipher_suites = \"TLS_RSA_WITH_RC4_128_SHA\" }",
			[]string{`c:1:38: tls_cipher_suites: TLS_RSA_WITH_RC4_128_SHA is insecure; remove it`},
		},
		"a response header that belongs to the API": {
			"listener \"tcp\" {\n  custom_response_headers {\n    \"default\" = { \"x-vault-index\" = [\"1\"] }\n  }\n}",
			[]string{`c:3:19: custom_response_headers: X-Vault-Index is reserved; headers of the API cannot be set`},
		},
		"a response header for no status": {
			"listener \"tcp\" { custom_response_headers { \"666\" = { \"X-A\" = \"1\" } } }",
			[]string{`c:1:44: custom_response_headers: "666" is not a status; use "default", a class such as "2xx" or a code such as "404"`},
		},
		"certificates from ACME": {
			"listener \"tcp\" { tls_acme_domains = [\"a\"] }",
			[]string{`c:1:18: tls_acme_domains is not supported: obtain the certificate with an ACME client and set tls_cert_file and tls_key_file`},
		},
		"an unset environment variable": {
			"cluster_name = \"env://COFFER_TEST_UNSET\"",
			[]string{`c:1:16: cluster_name refers to the environment variable "COFFER_TEST_UNSET", which is not set`},
		},
		"a value from the environment is not shown": {
			"max_lease_ttl = \"env://COFFER_TEST_SECRET\"",
			[]string{`c:1:17: max_lease_ttl must be a duration such as "90s", "1h30m", "7d" or a number of seconds, not the value of the environment variable`},
		},
		"a file that is missing": {
			"cluster_name = \"file:///nonexistent/name\"",
			[]string{`c:1:16: cluster_name refers to a file that cannot be read: stat /nonexistent/name: no such file or directory`},
		},
		"a syntax error in HCL": {
			"ui = true\nstorage \"raft\" {\n  path = \n}\n",
			[]string{`c:4:1: syntax error: Unknown token: 4:1 RBRACE }`},
		},
		"a syntax error in JSON": {
			"{\n  \"ui\": true,\n  \"log_level\" \"info\"\n}",
			[]string{`c:3:15: syntax error: invalid character '"' after object key`},
		},
		"JSON that ends early": {
			"{\n  \"ui\": true",
			[]string{`c:2:13: syntax error: the file ends in the middle of a value`},
		},
		"text after JSON": {
			"{}\nui = true",
			[]string{`c:2:1: syntax error: there is text after the closing brace`},
		},
		"a misspelt key in JSON": {
			"{\n  \"listener\": [{\"tcp\": {\"adress\": \"a\"}}]\n}",
			[]string{`c:2:25: unknown key "adress" in listener "tcp"; did you mean "address"?`},
		},
		"a key set twice in JSON": {
			"{\"ui\": true,\n \"ui\": false}",
			[]string{`c:2:2: "ui" is set twice (first at c:1:2); keep one`},
		},
		"a wrong type in JSON": {
			"{\"ui\": [true]}",
			[]string{`c:1:8: ui must be a single value, not a list`},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("c", []byte(test.src))
			if diff := cmp.Diff(test.want, lines(err)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseRefusesHostileFiles(t *testing.T) {
	tests := map[string]struct{ src, want string }{
		"a huge file":                {strings.Repeat("#", 1<<20+1), "larger than 1048576 bytes"},
		"many brackets":              {strings.Repeat("a{", 5000), "opens 5000 blocks and lists"},
		"deep blocks in HCL":         {strings.Repeat("a{", 100) + strings.Repeat("}", 100), "nested more than 32 deep"},
		"deep lists in HCL":          {"a=" + strings.Repeat("[", 100) + strings.Repeat("]", 100), "nested more than 32 deep"},
		"deep values in JSON":        {strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100), "nested more than 32 deep"},
		"many labels":                {strings.Repeat("a ", 1000) + "{}", "too many or no labels"},
		"more problems than fit":     {strings.Repeat("zzz = 1\n", 5000), "more problems than the 100 reported"},
		"a device instead of a file": {`cluster_name = "file:///dev/zero"`, "not a regular file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := config.Parse("c", []byte(test.src))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error = %v, want %q in it", err, test.want)
			}
			if len(err.Error()) > 20000 {
				t.Errorf("the message has %d bytes", len(err.Error()))
			}
		})
	}
}

func TestLoadReportsTheProblemsOfEveryFile(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "a.hcl", "uii = true\n")
	write(t, dir, "b.json", "{\"log_levle\": \"info\"}\n")
	write(t, dir, "c.hcl", "storage {\n")
	write(t, dir, "README.md", "not a configuration")
	_, err := config.Load([]string{dir})
	want := []string{
		filepath.Join(dir, "a.hcl") + `:1:1: unknown key "uii"; did you mean "ui"?`,
		filepath.Join(dir, "b.json") + `:1:2: unknown key "log_levle"; did you mean "log_level"?`,
		filepath.Join(dir, "c.hcl") + `:2:2: syntax error: object expected closing RBRACE got: EOF`,
	}
	if diff := cmp.Diff(want, lines(err)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	var problem *config.Error
	if !errors.As(err, &problem) || problem.Pos.Line != 1 {
		t.Errorf("the error does not carry a position: %v", err)
	}
}

func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
