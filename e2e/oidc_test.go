package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/cli"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// startProvider runs a real OpenID Connect provider, in node, until the test ends.
func startProvider(t *testing.T, redirect string) (issuer string) {
	t.Helper()
	if _, err := os.Stat("provider/node_modules/oidc-provider"); err != nil {
		t.Fatal("this test needs node and the provider's modules; scripts/test.sh installs them")
	}
	port := freePort(t)
	issuer = "http://127.0.0.1:" + port
	cmd := exec.Command("node", "provider.mjs", port, redirect)
	cmd.Dir = "provider"
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	deadline := time.After(patience)
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		resp, err := http.Get(issuer + "/.well-known/openid-configuration")
		if err == nil {
			_ = resp.Body.Close()
			tick.Stop()
			return issuer
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the provider does not answer: %v\n%s", err, out.String())
		}
	}
}

// prompts is what a command says on standard error, with the first page that it
// asks the user to open.
type prompts struct {
	found chan string
	text  bytes.Buffer
}

var pageLine = regexp.MustCompile(`(?m)^\s+(http://\S+)$`)

func (p *prompts) Write(b []byte) (int, error) {
	p.text.Write(b)
	if m := pageLine.FindStringSubmatch(p.text.String()); m != nil {
		select {
		case p.found <- m[1]:
		default: // it is known
		}
	}
	return len(b), nil
}

// browser keeps cookies and follows redirects.
type browser struct {
	t *testing.T
	*http.Client
}

func newBrowser(t *testing.T) browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return browser{t, &http.Client{Jar: jar, Timeout: patience}}
}

// see returns where the browser has come to, and the page there.
func (b browser) see(resp *http.Response, err error) (at *url.URL, page string) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	if resp.StatusCode/100 != 2 {
		b.t.Fatalf("%s: %s %s", resp.Request.URL, resp.Status, text)
	}
	return resp.Request.URL, string(text)
}

var action = regexp.MustCompile(`action="([^"]+)"`)

// submit sends the form of a page.
func (b browser) submit(at *url.URL, page string, form url.Values) (*url.URL, string) {
	b.t.Helper()
	m := action.FindStringSubmatch(page)
	if m == nil {
		b.t.Fatalf("%s has no form: %s", at, page)
	}
	target, err := at.Parse(m[1])
	if err != nil {
		b.t.Fatal(err)
	}
	return b.see(b.PostForm(target.String(), form))
}

// signIn signs alice in on the provider's page and gives her consent.
func (b browser) signIn(at *url.URL, page string) (*url.URL, string) {
	b.t.Helper()
	at, page = b.submit(at, page, url.Values{"prompt": {"login"}, "login": {"alice"}, "password": {"any"}})
	return b.submit(at, page, url.Values{"prompt": {"consent"}})
}

// TestLoginThroughARealProvider goes the whole way with the command line: in a
// browser on the same machine, and on another device.
func TestLoginThroughARealProvider(t *testing.T) {
	port := freePort(t)
	redirect := "http://localhost:" + port + "/oidc/callback"
	issuer := startProvider(t, redirect)
	s := servertest.New(t, servertest.Options{})
	s.Must(http.StatusNoContent, http.MethodPost, "sys/auth/sso", map[string]any{"type": "oidc"})
	s.Must(http.StatusNoContent, http.MethodPost, "auth/sso/config", map[string]any{"oidc_discovery_url": issuer, "oidc_client_id": "coffer", "oidc_client_secret": "a secret & more"})
	for _, mode := range []string{"client", "device"} {
		s.Must(http.StatusNoContent, http.MethodPost, "auth/sso/role/"+mode, map[string]any{
			"user_claim": "sub", "groups_claim": "groups", "oidc_scopes": "groups,email", "claim_mappings": map[string]string{"email": "email"}, "token_policies": "dev",
			"allowed_redirect_uris": redirect, "callback_mode": mode,
		})
	}
	s.Must(http.StatusNoContent, http.MethodPut, "sys/policies/acl/ops", map[string]any{"policy": `path "x" { capabilities = ["read"] }`})
	accessor, _ := s.Must(http.StatusOK, http.MethodGet, "sys/auth/sso", nil).Data()["accessor"].(string)
	group, _ := s.Must(http.StatusOK, http.MethodPost, "identity/group", map[string]any{"name": "ops", "type": "external", "policies": "ops"}).Data()["id"].(string)
	s.Must(http.StatusOK, http.MethodPost, "identity/group-alias", map[string]any{"name": "ops", "mount_accessor": accessor, "canonical_id": group})

	for mode, use := range map[string]func(b browser, at *url.URL, page string){
		"client": func(b browser, at *url.URL, page string) {
			if at, page := b.signIn(at, page); !strings.Contains(page, "The login is done") {
				t.Errorf("the browser is at %s: %s", at, page)
			}
		},
		"device": func(b browser, at *url.URL, page string) {
			code := regexp.MustCompile(`name="xsrf" value="([^"]+)"`).FindStringSubmatch(page)
			if code == nil {
				t.Fatalf("%s asks for no code: %s", at, page)
			}
			at, page = b.submit(at, page, url.Values{"xsrf": {code[1]}, "user_code": {at.Query().Get("user_code")}, "confirm": {"yes"}})
			if at, page = b.signIn(at, page); !strings.Contains(page, "Success") {
				t.Errorf("the browser is at %s: %s", at, page)
			}
		},
	} {
		t.Run(mode, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			var out bytes.Buffer
			said := &prompts{found: make(chan string, 1)}
			home := map[string]string{"HOME": t.TempDir(), "VAULT_ADDR": s.Addr}
			app := cli.App{Stdio: cli.Stdio{In: strings.NewReader(""), Out: &out, Err: said}, Env: func(name string) string { return home[name] }}
			done := make(chan int, 1)
			go func() {
				done <- app.Main(ctx, []string{"coffer", "login", "-format=json", "-method=oidc", "-path=sso", "role=" + mode, "port=" + port, "skip_browser=true"})
			}()
			var page string
			select {
			case page = <-said.found:
			case code := <-done:
				t.Fatalf("the command has ended with %d: %s", code, said.text.String())
			}
			b := newBrowser(t)
			at, text := b.see(b.Get(page))
			use(b, at, text)
			if code := <-done; code != 0 {
				t.Fatalf("the command has ended with %d: %s", code, said.text.String())
			}
			var answer struct {
				Auth struct {
					Policies []string          `json:"policies"`
					Metadata map[string]string `json:"metadata"`
				} `json:"auth"`
			}
			if err := json.Unmarshal(out.Bytes(), &answer); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(answer.Auth.Policies, []string{"default", "dev", "ops"}) || answer.Auth.Metadata["email"] != "alice@example.org" {
				t.Errorf("got %+v", answer.Auth)
			}
			if _, err := os.Stat(filepath.Join(home["HOME"], ".vault-token")); err != nil {
				t.Error(fmt.Errorf("the token was not kept: %w", err))
			}
		})
	}
}
