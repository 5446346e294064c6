package api_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/api"
)

// reply is what a scripted server answers.
type reply struct {
	status int
	body   string
	header http.Header
}

// fake answers requests in turn and remembers them.
type fake struct {
	*httptest.Server
	requests []*http.Request
	bodies   []string
}

func newFake(t *testing.T, replies ...reply) *fake {
	t.Helper()
	f := &fake{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		f.requests, f.bodies = append(f.requests, r), append(f.bodies, string(body))
		if len(f.requests) > len(replies) {
			t.Errorf("request %d, %s %s, was not expected", len(f.requests), r.Method, r.URL)
			return
		}
		answer := replies[len(f.requests)-1]
		for name, values := range answer.header {
			w.Header()[name] = values
		}
		w.WriteHeader(max(answer.status, 200))
		_, _ = io.WriteString(w, answer.body)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) client(t *testing.T) *api.Client {
	t.Helper()
	cfg := api.DefaultConfig()
	cfg.Address, cfg.Token = f.URL, "tok"
	c, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newClient(t *testing.T, cfg api.Config) *api.Client {
	t.Helper()
	c, err := api.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const okBody = `{"request_id":"r1","data":{"a":"1"}}`

func TestRequestsCarryWhatTheClientWasGiven(t *testing.T) {
	f := newFake(t, reply{body: okBody}, reply{body: okBody})
	c := f.client(t)
	other := c.WithToken("other").WithNamespace("team").WithWrapTTL("5m").WithHeader("X-Extra", "1").WithHeader("X-Extra", "2")
	if _, err := other.Write(t.Context(), "secret/a b", map[string]int{"n": 1}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(t.Context(), "/secret/a", nil); err != nil {
		t.Fatal(err)
	}
	r := f.requests[0]
	got := []string{r.Method, r.URL.EscapedPath(), r.Header.Get("X-Vault-Token"), r.Header.Get("X-Vault-Namespace"), r.Header.Get("X-Vault-Wrap-Ttl"), r.Header.Get("X-Vault-Request"), r.Header.Get("Content-Type"), strings.Join(r.Header["X-Extra"], ","), f.bodies[0]}
	want := []string{"PUT", "/v1/secret/a%20b", "other", "team", "5m", "true", "application/json", "1,2", `{"n":1}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the changed copy (-want +got):\n%s", diff)
	}
	r = f.requests[1]
	got = []string{r.Method, r.URL.Path, r.Header.Get("X-Vault-Token"), r.Header.Get("X-Vault-Namespace"), r.Header.Get("X-Vault-Wrap-Ttl"), r.Header.Get("X-Extra")}
	if diff := cmp.Diff([]string{"GET", "/v1/secret/a", "tok", "", "", ""}, got); diff != "" {
		t.Errorf("the original changed (-want +got):\n%s", diff)
	}
}

func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		name   string
		reply  reply
		want   error
		errors []string
		secret bool
	}{
		{name: "not found", reply: reply{status: 404, body: `{"errors":[]}`}, want: api.ErrNotFound, errors: []string{}},
		{name: "denied", reply: reply{status: 403, body: `{"errors":["permission denied"]}`}, want: api.ErrPermissionDenied, errors: []string{"permission denied"}},
		{name: "invalid", reply: reply{status: 400, body: `{"errors":["a","b"]}`}, want: api.ErrInvalid, errors: []string{"a", "b"}},
		{name: "unsupported", reply: reply{status: 405, body: `{"errors":["unsupported operation"]}`}, want: api.ErrUnsupported, errors: []string{"unsupported operation"}},
		{name: "an envelope", reply: reply{status: 404, body: `{"request_id":"r","data":{"data":null},"warnings":["w"]}`}, want: api.ErrNotFound, secret: true},
		{name: "plain text", reply: reply{status: 400, body: "Client sent an HTTP request to an HTTPS server.\n"}, want: api.ErrInvalid, errors: []string{"Client sent an HTTP request to an HTTPS server."}},
		{name: "a page", reply: reply{status: 404, body: "<html>nothing here</html>"}, want: api.ErrNotFound},
		{name: "nothing", reply: reply{status: 403}, want: api.ErrPermissionDenied},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t, tc.reply)
			_, err := f.client(t).Read(t.Context(), "a/b", nil)
			var e *api.Error
			if !errors.As(err, &e) || !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if diff := cmp.Diff(tc.errors, e.Errors); diff != "" {
				t.Errorf("messages (-want +got):\n%s", diff)
			}
			if (e.Secret != nil) != tc.secret || e.Path != "/v1/a/b" || e.Method != "GET" {
				t.Errorf("got %+v", e)
			}
			if errors.Is(err, api.ErrRateLimited) || !strings.Contains(err.Error(), "/v1/a/b") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRetries(t *testing.T) {
	now := http.Header{"Retry-After": {"0"}}
	for _, tc := range []struct {
		name    string
		method  string
		replies []reply
		want    int // status, 200 for success
	}{
		{"a read after an internal error", "GET", []reply{{status: 500, header: now}, {body: okBody}}, 200},
		{"a read until the retries are used up", "GET", []reply{{status: 502, header: now}, {status: 502, header: now}, {status: 502}}, 502},
		{"a write is not repeated after an internal error", "PUT", []reply{{status: 500, header: now}}, 500},
		{"a write is repeated when it was refused", "PUT", []reply{{status: 412, header: now}, {status: 429, header: now}, {body: okBody}}, 200},
		{"a write to a server that is not ready", "POST", []reply{{status: 503, header: now}, {body: okBody}}, 200},
		{"no repetition of a refusal", "GET", []reply{{status: 403, header: now}}, 403},
		{"no repetition of what is not implemented", "GET", []reply{{status: 501, header: now}}, 501},
		{"a date that has passed", "GET", []reply{{status: 429, header: http.Header{"Date": {"Mon, 02 Jan 2006 15:04:05 GMT"}, "Retry-After": {"Mon, 02 Jan 2006 15:04:04 GMT"}}}, {body: okBody}}, 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFake(t, tc.replies...)
			_, err := f.client(t).Secret(t.Context(), &api.Request{Method: tc.method, Path: "a", Body: []byte(`{"k":"v"}`)})
			got := 200
			var e *api.Error
			if errors.As(err, &e) {
				got = e.Status
			} else if err != nil {
				t.Fatal(err)
			}
			if got != tc.want || len(f.requests) != len(tc.replies) {
				t.Errorf("got status %d after %d requests, want %d after %d", got, len(f.requests), tc.want, len(tc.replies))
			}
			for _, b := range f.bodies {
				if b != `{"k":"v"}` {
					t.Errorf("a repeated request has the body %q", b)
				}
			}
		})
	}
}

func TestRedirectsKeepTheRequest(t *testing.T) {
	active := newFake(t, reply{body: okBody})
	standby := newFake(t, reply{status: 307, header: http.Header{"Location": {active.URL + "/v1/a?x=1"}}})
	if _, err := standby.client(t).Write(t.Context(), "a", map[string]string{"k": "v"}); err != nil {
		t.Fatal(err)
	}
	r := active.requests[0]
	if r.Method != "PUT" || r.URL.RequestURI() != "/v1/a?x=1" || r.Header.Get("X-Vault-Token") != "tok" || active.bodies[0] != `{"k":"v"}` {
		t.Errorf("got %s %s %v %q", r.Method, r.URL, r.Header, active.bodies[0])
	}
}

func TestRedirectsThatAreRefused(t *testing.T) {
	to := func(location string) reply { return reply{status: 302, header: http.Header{"Location": {location}}} }
	for name, location := range map[string]string{"another scheme": "ftp://host/", "no URL": "http://[::1"} {
		f := newFake(t, to(location))
		if _, err := f.client(t).Read(t.Context(), "a", nil); err == nil {
			t.Errorf("%s: followed", name)
		}
	}
	loop := newFake(t, to("/v1/a"), to("/v1/a"), to("/v1/a"), to("/v1/a"))
	if _, err := loop.client(t).Read(t.Context(), "a", nil); err == nil || !strings.Contains(err.Error(), "redirects") {
		t.Errorf("a loop: got %v", err)
	}

	plain := newFake(t)
	secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/v1/a", http.StatusTemporaryRedirect))
	defer secure.Close()
	c := newClient(t, api.Config{Address: secure.URL, Token: "tok", TLS: api.TLSConfig{InsecureSkipVerify: true}})
	if _, err := c.Read(t.Context(), "a", nil); err == nil || !strings.Contains(err.Error(), "from https to http") {
		t.Errorf("a downgrade: got %v", err)
	}

	off := newFake(t, to("/v1/b"))
	c = newClient(t, api.Config{Address: off.URL, DisableRedirects: true})
	res, err := c.Do(t.Context(), &api.Request{Method: "GET", Path: "a"})
	if err != nil || res.StatusCode != 302 {
		t.Errorf("redirects disabled: got %v, %v", res, err)
	}
	res.Body.Close()
}

func TestAddresses(t *testing.T) {
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, okBody) })}}
	srv.Start()
	defer srv.Close()
	if _, err := newClient(t, api.Config{Address: "unix://" + dir + "/s"}).Read(t.Context(), "a", nil); err != nil {
		t.Errorf("a unix socket: %v", err)
	}
	f := newFake(t, reply{body: okBody})
	if _, err := newClient(t, api.Config{Address: f.URL + "/behind/proxy/"}).Read(t.Context(), "a", nil); err != nil || f.requests[0].URL.Path != "/behind/proxy/v1/a" {
		t.Errorf("a path in the address: %v", err)
	}
	for _, bad := range []string{"localhost:8200", "http://", "ftp://x", "unix://", "http://a b/", "http://user:secret@[bad"} {
		if _, err := api.New(api.Config{Address: bad}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

func TestTLS(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, okBody) }))
	defer srv.Close()
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw})
	dir := t.TempDir()
	file := filepath.Join(dir, "ca.pem")
	for name, text := range map[string][]byte{"ca.pem": ca, "README": []byte("no certificate")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, cfg := range map[string]api.TLSConfig{
		"a file":        {CACert: file},
		"bytes":         {CACertBytes: ca},
		"a directory":   {CAPath: dir},
		"a server name": {CACert: file, ServerName: "example.com"},
		"no check":      {InsecureSkipVerify: true},
	} {
		if _, err := newClient(t, api.Config{Address: srv.URL, TLS: cfg}).Read(t.Context(), "a", nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, cfg := range map[string]api.TLSConfig{
		"no such file":      {CACert: filepath.Join(dir, "none")},
		"no certificate":    {CACert: filepath.Join(dir, "README")},
		"no PEM bytes":      {CACertBytes: []byte("x")},
		"an empty path":     {CAPath: t.TempDir()},
		"half a pair":       {ClientCert: file},
		"a pair of no keys": {ClientCert: file, ClientKey: file},
	} {
		if _, err := api.New(api.Config{Address: srv.URL, TLS: cfg}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestConfigFromEnv(t *testing.T) {
	env := map[string]string{
		"VAULT_ADDR": "https://v:1", "BAO_ADDR": "https://b:1", "VAULT_TOKEN": "t", "COFFER_NAMESPACE": "n", "VAULT_NAMESPACE": "other",
		"VAULT_CACERT": "ca", "VAULT_CACERT_BYTES": "pem", "VAULT_CAPATH": "dir", "VAULT_CLIENT_CERT": "cert", "VAULT_CLIENT_KEY": "key",
		"VAULT_SKIP_VERIFY": "true", "VAULT_TLS_SERVER_NAME": "name", "VAULT_CLIENT_TIMEOUT": "90", "VAULT_MAX_RETRIES": "0", "VAULT_RATE_LIMIT": "10:20",
		"VAULT_WRAP_TTL": "5m", "VAULT_PROXY_ADDR": "http://p", "VAULT_HTTP_PROXY": "http://q", "VAULT_DISABLE_REDIRECTS": "1",
	}
	got, err := api.ConfigFromEnv(func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	want := api.Config{
		Address: "https://b:1", Token: "t", Namespace: "n", Timeout: 90e9, MaxRetries: 0, RateLimit: 10, Burst: 20, WrapTTL: "5m", ProxyAddress: "http://p", DisableRedirects: true,
		TLS: api.TLSConfig{CACert: "ca", CACertBytes: []byte("pem"), CAPath: "dir", ClientCert: "cert", ClientKey: "key", ServerName: "name", InsecureSkipVerify: true},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for name, bad := range map[string]string{"SKIP_VERIFY": "perhaps", "CLIENT_TIMEOUT": "soon", "MAX_RETRIES": "-1", "RATE_LIMIT": "fast", "DISABLE_REDIRECTS": "x"} {
		_, err := api.ConfigFromEnv(func(n string) string {
			if n == "VAULT_"+name {
				return bad
			}
			return ""
		})
		if err == nil || !strings.Contains(err.Error(), "VAULT_"+name) {
			t.Errorf("%s=%s: got %v", name, bad, err)
		}
	}
}

func TestSecretAccessors(t *testing.T) {
	s, err := api.ParseSecret(strings.NewReader(`{"request_id":"r","data":{"name":"x","n":12345678901234567890,"keys":["a","b"],"null":null}}`))
	if err != nil {
		t.Fatal(err)
	}
	if name, err := api.Field[string](s, "name"); name != "x" || err != nil {
		t.Errorf("name: %q, %v", name, err)
	}
	if _, err := api.Field[int](s, "name"); err == nil || strings.Contains(err.Error(), `"x"`) {
		t.Errorf("a field of another type: %v", err)
	}
	if _, err := api.Field[string](s, "none"); err == nil {
		t.Error("a missing field was found")
	}
	if keys, err := s.Keys(); !slices.Equal(keys, []string{"a", "b"}) || err != nil {
		t.Errorf("keys: %v, %v", keys, err)
	}
	m, err := s.Map()
	if err != nil || m["n"] != json.Number("12345678901234567890") {
		t.Errorf("map: %v, %v", m, err)
	}
	none := &api.Secret{}
	if m, err := none.Map(); len(m) != 0 || err != nil {
		t.Errorf("no data: %v, %v", m, err)
	}
	if err := none.Decode(&m); err == nil {
		t.Error("no data was decoded")
	}
}

func TestABareObjectIsData(t *testing.T) {
	for body, want := range map[string]string{
		`{"sealed":false,"t":1}`:        `{"sealed":false,"t":1}`,
		`{"request_id":"","data":null}`: `null`,
		`{"warnings":["w"]}`:            ``,
		`{"auth":null,"sealed":false}`:  ``,
		`{}`:                            ``,
		``:                              ``,
	} {
		s, err := api.ParseSecret(strings.NewReader(body))
		if err != nil || string(s.Data) != want {
			t.Errorf("%s: got data %q, %v, want %q", body, s.Data, err, want)
		}
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	const hidden = "hvs.hidden"
	for _, v := range []any{
		&api.Secret{Data: json.RawMessage(`"` + hidden + `"`), Auth: &api.Auth{ClientToken: hidden}},
		&api.Auth{ClientToken: hidden}, &api.WrapInfo{Token: hidden}, &api.TokenInfo{ID: hidden}, &api.InitResponse{RootToken: hidden},
		&api.RekeyUpdate{Keys: []string{hidden}}, &api.KVSecret{Data: json.RawMessage(`"` + hidden + `"`)},
	} {
		for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
			if out := fmt.Sprintf(format, v); strings.Contains(out, hidden) {
				t.Errorf("%s of %T shows %s", format, v, out)
			}
		}
	}
}

func TestCancelledRequestsEnd(t *testing.T) {
	f := newFake(t, reply{status: 503, header: http.Header{"Retry-After": {"30"}}})
	ctx, cancel := context.WithTimeout(t.Context(), 50e6)
	defer cancel()
	if _, err := f.client(t).Read(ctx, "a", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestUnwrap(t *testing.T) {
	f := newFake(t, reply{body: okBody}, reply{body: okBody}, reply{body: okBody})
	c := f.client(t)
	for _, use := range []struct {
		c      *api.Client
		token  string
		header string
		body   string
	}{
		{c, "wrapped", "tok", `{"token":"wrapped"}`},
		{c.WithToken(""), "wrapped", "wrapped", ""},
		{c, "", "tok", ""},
	} {
		if _, err := use.c.WithWrapTTL("1m").Unwrap(t.Context(), use.token); err != nil {
			t.Fatal(err)
		}
		r, body := f.requests[len(f.requests)-1], f.bodies[len(f.bodies)-1]
		if r.Header.Get("X-Vault-Token") != use.header || body != use.body || r.Header.Get("X-Vault-Wrap-Ttl") != "" {
			t.Errorf("got %v %q, want token %q and body %q", r.Header, body, use.header, use.body)
		}
	}
}

func FuzzParseSecret(f *testing.F) {
	f.Add([]byte(okBody))
	f.Add([]byte(`{"data":null,"auth":{"client_token":"x"}}`))
	f.Add([]byte(`[]`))
	f.Add([]byte("<html>"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := api.ParseSecret(strings.NewReader(string(body)))
		if err != nil {
			return
		}
		_, _ = s.Map()
		_, _ = s.Keys()
		_ = s.String()
	})
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"90", "1h30m", "7d", "-1s", "9223372036854775807", "1e9", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := api.ParseDuration(s)
		if err != nil {
			return
		}
		if again, err := api.ParseDuration(d.String()); err != nil || again != d {
			t.Errorf("%q is %v, which reads %v, %v", s, d, again, err)
		}
	})
}
