package cli_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHintsOnConnectionErrors(t *testing.T) {
	hold := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hold:
		case <-r.Context().Done():
		}
	}))
	defer slow.Close()
	defer close(hold)
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of what is tested here
	secure.StartTLS()
	defer secure.Close()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()

	for _, tc := range []struct {
		name, address, want string
		code                int
	}{
		{"nothing listens", "http://127.0.0.1:1", "server -dev", 2},
		{"no socket", "unix:///no/such/socket", "server -dev", 2},
		{"https to a plain server", strings.Replace(plain.URL, "http:", "https:", 1), "export VAULT_ADDR='" + plain.URL + "'", 2},
		{"http to a TLS server", strings.Replace(secure.URL, "https:", "http:", 1), "use https://", 2},
		{"an unknown authority", secure.URL, "VAULT_CACERT", 2},
		{"a server that does not answer", slow.URL, "VAULT_CLIENT_TIMEOUT", 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sh := newShell(t, nil)
			sh.env["VAULT_CLIENT_TIMEOUT"] = "10s"
			if tc.address == slow.URL {
				sh.env["VAULT_CLIENT_TIMEOUT"] = "200ms"
			}
			got := sh.run("read", "-address="+tc.address, "a")
			if got.code != tc.code || !strings.Contains(got.err, tc.want) {
				t.Errorf("got %+v, want the hint %q", got, tc.want)
			}
		})
	}
}

func TestHintsOnRefusals(t *testing.T) {
	sh := newShell(t, answers{
		"GET /v1/limited": `429 {"errors":["request path: rate limit quota exceeded"]}`,
		"GET /v1/nowhere": `404 {"errors":["no handler for route \"nowhere\". route entry not found."]}`,
		"GET /v1/denied":  `403 {"errors":["permission denied"]}`,
		"GET /v1/proxy":   "502 <html>Bad gateway</html>",
		"GET /v1/text":    "500 out of cheese",
	})
	for path, want := range map[string]string{
		"limited": "rate limit was reached",
		"nowhere": "secrets list",
		"denied":  "token capabilities denied",
		"proxy":   "Code: 502. Bad Gateway",
		"text":    "* out of cheese",
	} {
		if got := sh.run("read", path); got.code != 2 || !strings.Contains(got.err, want) {
			t.Errorf("%s: got %+v, want %q", path, got, want)
		}
	}
	delete(sh.env, "VAULT_TOKEN")
	if got := sh.run("read", "denied"); !strings.Contains(got.err, "No token was sent") {
		t.Errorf("without a token: %+v", got)
	}
}

func TestAnAnswerThatIsNotOurs(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }))
	defer page.Close()
	sh := newShell(t, nil)
	got := sh.run("read", "-address="+page.URL, "a")
	if got.code == 0 || !strings.Contains(got.err, "is the address that of a server") {
		t.Errorf("got %+v", got)
	}
}
