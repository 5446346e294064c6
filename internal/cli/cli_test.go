package cli_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/cli"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// answers maps "METHOD /v1/path?query" to what the server says; a value is a
// JSON body, with a status in front when it is not 200: "403 {...}". The empty
// value is 204. Several answers to one request, separated by lines "---", are
// given in turn.
type answers map[string]string

// server is a scripted server that remembers what it was asked.
type server struct {
	*httptest.Server
	mu   sync.Mutex
	log  []string
	seen map[string]int
}

func newServer(t *testing.T, script answers) *server {
	t.Helper()
	s := &server{seen: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		key := r.Method + " " + r.URL.RequestURI()
		s.mu.Lock()
		defer s.mu.Unlock()
		s.log = append(s.log, describeRequest(r, key, body))
		answer, ok := script[key]
		if !ok {
			answer = `404 {"errors":[]}`
		}
		turns := strings.Split(answer, "\n---\n")
		n := min(s.seen[key], len(turns)-1)
		s.seen[key]++
		status, text := http.StatusOK, turns[n]
		if text == "" {
			status = http.StatusNoContent
		} else if len(text) > 4 && text[3] == ' ' {
			if _, err := fmt.Sscanf(text[:3], "%d", &status); err == nil {
				text = text[4:]
			}
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	}))
	t.Cleanup(s.Close)
	return s
}

func describeRequest(r *http.Request, key string, body []byte) string {
	for _, h := range []string{"X-Vault-Token", "X-Vault-Namespace", "X-Vault-Wrap-Ttl", "X-Test"} {
		if v := r.Header.Get(h); v != "" {
			key += fmt.Sprintf(" [%s: %s]", h, v)
		}
	}
	if len(body) > 0 {
		key += " " + strings.TrimSpace(string(body))
	}
	return key
}

func (s *server) requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.log
	s.log = nil
	return out
}

// shell runs command lines in an environment of their own.
type shell struct {
	srv   *server
	env   map[string]string
	stdin string
	app   cli.App
}

func newShell(t *testing.T, script answers) *shell {
	t.Helper()
	srv := newServer(t, script)
	return &shell{srv: srv, env: map[string]string{
		"HOME": t.TempDir(), "VAULT_ADDR": srv.URL, "VAULT_TOKEN": "tok", "VAULT_MAX_RETRIES": "0",
	}}
}

type result struct {
	code     int
	out, err string
}

func (s *shell) run(args ...string) result { return s.runAs("coffer", args...) }

func (s *shell) runAs(name string, args ...string) result {
	var out, errs bytes.Buffer
	app := s.app
	app.Stdio = cli.Stdio{In: strings.NewReader(s.stdin), Out: &out, Err: &errs}
	app.Env = func(name string) string { return s.env[name] }
	code := app.Main(context.Background(), append([]string{name}, args...))
	return result{code, out.String(), errs.String()}
}

// transcript runs command lines, given as shell words without quoting, and
// compares what was asked and printed with testdata/name.golden.
func (s *shell) transcript(t *testing.T, name string, lines ...string) {
	t.Helper()
	var b strings.Builder
	for _, line := range lines {
		res := s.run(strings.Fields(line)...)
		fmt.Fprintf(&b, "$ coffer %s\n", line)
		for _, r := range s.srv.requests() {
			fmt.Fprintf(&b, "> %s\n", r)
		}
		b.WriteString(res.out)
		if res.out != "" && !strings.HasSuffix(res.out, "\n") {
			b.WriteString("(no line end)\n")
		}
		for _, l := range strings.SplitAfter(res.err, "\n") {
			if l != "" {
				b.WriteString("! " + l)
			}
		}
		fmt.Fprintf(&b, "= %d\n\n", res.code)
	}
	text := strings.ReplaceAll(b.String(), s.srv.URL, "http://SERVER")
	for _, dir := range []string{s.env["HOME"]} {
		text = strings.ReplaceAll(text, dir, "HOME")
	}
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), text); diff != "" {
		t.Errorf("%s differs (-want +got), rerun with -update if that is right:\n%s", path, diff)
	}
}

const envelope = `{"request_id":"r1","lease_id":"","renewable":false,"lease_duration":0,"wrap_info":null,"warnings":null,"auth":null,"data":%s}`

func data(d string) string { return fmt.Sprintf(envelope, d) }

const unsealed = `{"type":"shamir","initialized":true,"sealed":false,"t":1,"n":1,"progress":0,"nonce":"","version":"1.0.0","build_date":"","migration":false,"cluster_name":"c1","cluster_id":"id1","recovery_seal":false,"storage_type":"inmem"}`

func TestReadAndWrite(t *testing.T) {
	sh := newShell(t, answers{
		"GET /v1/cubbyhole/a":    data(`{"b":1234567890123456789,"a":"x&y","n":null,"m":{"k":[1,true]},"ttl":3600}`),
		"GET /v1/pg/creds/app":   `{"request_id":"r1","lease_id":"pg/creds/app/x1","renewable":true,"lease_duration":3600,"data":{"username":"u","password":"p"},"warnings":["careful"],"auth":null,"wrap_info":null}`,
		"GET /v1/kv1/a":          `{"request_id":"r1","lease_id":"","renewable":false,"lease_duration":2764800,"data":{"v":"1"},"warnings":null,"auth":null,"wrap_info":null}`,
		"GET /v1/q?a=1&a=2":      data(`{"ok":true}`),
		"PUT /v1/cubbyhole/a":    "",
		"PUT /v1/issue":          data(`{"serial":"01"}`),
		"PATCH /v1/cfg":          "",
		"LIST /v1/cubbyhole/":    data(`{"keys":["a","b/"]}`),
		"SCAN /v1/cubbyhole/":    data(`{"keys":["a","b/c"]}`),
		"DELETE /v1/cubbyhole/a": "",
		"GET /v1/denied":         `403 {"errors":["1 error occurred:\n\t* permission denied"]}`,
		"GET /v1/sealed":         `503 {"errors":["Vault is sealed"]}`,
		"GET /v1/kv2/a":          `404 {"request_id":"r1","data":null,"warnings":["use data/ in the path"]}`,
	})
	sh.transcript(t, "readwrite",
		"read cubbyhole/a", "read -format=json cubbyhole/a", "read -format=yaml cubbyhole/a", "read -format=raw cubbyhole/a",
		"read -field=a cubbyhole/a", "read -field=m cubbyhole/a", "read cubbyhole/a --field b", "read -field=zz cubbyhole/a",
		"read -format=json -field=m cubbyhole/a",
		"read pg/creds/app", "read kv1/a", "read q a=1 a=2", "read none", "read kv2/a", "read denied", "read sealed",
		"read -format=xml a", "read", "read a -nope",
		"write cubbyhole/a k=v l=1 l=2 e= \\ q=\\@x", "write cubbyhole/a k=v l=1 l=2 e= q=\\@x", "write -f cubbyhole/a", "write cubbyhole/a",
		"write issue common_name=x", "write -field=serial issue common_name=x", "write -format=json issue a=b", "write -format=json cubbyhole/a k=v",
		"patch cfg a=1",
		"list cubbyhole", "list -format=json cubbyhole/", "list nothing", "scan cubbyhole",
		"delete cubbyhole/a",
		"-ns=team read a", "read -ns=team/a -wrap-ttl=5m -header=X-Test=1 none",
	)
}

func TestStatus(t *testing.T) {
	t.Run("unsealed", func(t *testing.T) {
		sh := newShell(t, answers{"GET /v1/sys/seal-status": unsealed, "GET /v1/sys/leader": `{"ha_enabled":true,"is_self":true,"active_time":"2026-01-01T00:00:00Z","leader_cluster_address":"https://a:8201"}`})
		sh.transcript(t, "status", "status", "status -format=json", "status -field=version")
	})
	t.Run("sealed", func(t *testing.T) {
		sealed := strings.NewReplacer(`"sealed":false`, `"sealed":true`, `"t":1`, `"t":3`, `"progress":0`, `"progress":1`, `"nonce":""`, `"nonce":"n1"`).Replace(unsealed)
		sh := newShell(t, answers{"GET /v1/sys/seal-status": sealed, "GET /v1/sys/leader": `{"ha_enabled":false}`})
		sh.transcript(t, "status-sealed", "status")
	})
	t.Run("unreachable", func(t *testing.T) {
		sh := newShell(t, nil)
		sh.srv.Close()
		got := sh.run("status")
		if got.code != 1 || !strings.Contains(got.err, "connection refused") || !strings.Contains(got.err, "coffer server -dev") {
			t.Errorf("got %+v", got)
		}
		if got := sh.run("read", "x"); got.code != 2 {
			t.Errorf("read: got %+v", got)
		}
	})
}
