package cli_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"
)

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// oidcServer begins logins and finishes them for whoever has the state, the code
// and what the client kept to itself.
func oidcServer(t *testing.T) *httptest.Server {
	t.Helper()
	nonce := make(chan string, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /v1/auth/sso/oidc/auth_url", func(w http.ResponseWriter, r *http.Request) {
		var in map[string]string
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in["role"] != "dev" || !strings.HasSuffix(in["redirect_uri"], "/oidc/callback") || in["port"] != "" {
			t.Errorf("got %v, %v", in, err)
		}
		nonce <- in["client_nonce"]
		fmt.Fprintf(w, `{"data":{"auth_url":"http://idp.example/auth?state=st,ns%%3Dteam&redirect_uri=%s"}}`, url.QueryEscape(in["redirect_uri"]))
	})
	mux.HandleFunc("GET /v1/auth/sso/oidc/callback", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("state") != "st,ns=team" || q.Get("code") != "the code" || q.Get("client_nonce") != <-nonce {
			t.Errorf("got %v", q)
		}
		_, _ = io.WriteString(w, loginAnswer)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// browse is the browser that comes back: it tries until the command listens.
func browse(t *testing.T, port string, form url.Values, post bool) (status int, page string, header http.Header) {
	t.Helper()
	target := "http://localhost:" + port + "/oidc/callback"
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var resp *http.Response
		var err error
		if post {
			resp, err = http.PostForm(target, form)
		} else {
			resp, err = http.Get(target + "?" + form.Encode())
		}
		if err == nil {
			defer resp.Body.Close()
			text, _ := io.ReadAll(resp.Body)
			return resp.StatusCode, string(text), resp.Header
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the command does not listen: %v", err)
		}
	}
}

func TestLoginInABrowser(t *testing.T) {
	for name, tt := range map[string]struct {
		form url.Values
		post bool
		want string
	}{
		"code":         {url.Values{"state": {"st,ns=team"}, "code": {"the code"}}, false, "hvs.new"},
		"code by form": {url.Values{"state": {"st,ns=team"}, "code": {"the code"}}, true, "hvs.new"},
		"refusal":      {url.Values{"state": {"st,ns=team"}, "error": {"access_denied"}, "error_description": {"<script>x</script>"}}, false, "access_denied"},
	} {
		t.Run(name, func(t *testing.T) {
			srv := oidcServer(t)
			sh := newShell(t, nil)
			sh.env["VAULT_ADDR"] = srv.URL
			delete(sh.env, "VAULT_TOKEN")
			port := freePort(t)
			done := make(chan result, 1)
			go func() {
				done <- sh.run("login", "-method=oidc", "-path=sso", "role=dev", "port="+port, "skip_browser=true")
			}()
			if status, page, _ := browse(t, port, url.Values{"state": {"other"}, "code": {"x"}}, false); status != http.StatusBadRequest || strings.Contains(page, "other") {
				t.Errorf("another login: %d %s", status, page)
			}
			status, page, header := browse(t, port, tt.form, tt.post)
			if status != http.StatusOK || strings.Contains(page, "script") || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
				t.Errorf("the page is %d %s", status, page)
			}
			got := <-done
			if !strings.Contains(got.out+got.err, tt.want) || !strings.Contains(got.err, "http://idp.example/auth?state=") {
				t.Errorf("got %+v", got)
			}
			if (tt.want == "hvs.new") != (sh.run("print", "token").out == "hvs.new\n") {
				t.Error("the stored token is not that of the login")
			}
		})
	}
}

func TestLoginOnAnotherDevice(t *testing.T) {
	sh := newShell(t, answers{
		"PUT /v1/auth/oidc/oidc/auth_url": `{"data":{"auth_url":"http://idp.example/enter","state":"st","user_code":"ABCD","poll_interval":"1"}}`,
		"PUT /v1/auth/oidc/oidc/poll":     `400 {"errors":["authorization_pending"]}` + "\n---\n" + loginAnswer,
	})
	delete(sh.env, "VAULT_TOKEN")
	got := sh.run("login", "-method=oidc", "role=dev")
	if got.code != 0 || !strings.Contains(got.err, "ABCD") || !strings.Contains(got.out, "hvs.new") {
		t.Errorf("got %+v", got)
	}
}

func TestLoginWithARedirectThatIsNotAllowed(t *testing.T) {
	sh := newShell(t, answers{"PUT /v1/auth/oidc/oidc/auth_url": data(`{"auth_url":""}`)})
	if got := sh.run("login", "-method=oidc"); got.code == 0 || !strings.Contains(got.err, "allowed_redirect_uris") {
		t.Errorf("got %+v", got)
	}
	if got := sh.run("login", "-method=oidc", "skip_browser=perhaps"); got.code == 0 {
		t.Errorf("got %+v", got)
	}
}

func TestLoginOfAPodOutsideOfOne(t *testing.T) {
	sh := newShell(t, answers{"PUT /v1/auth/kubernetes/login": loginAnswer})
	if got := sh.run("login", "-method=kubernetes", "role=web"); got.code == 0 || !strings.Contains(got.err, "jwt=@FILE") {
		t.Errorf("got %+v", got)
	}
	if got := sh.run("login", "-method=kubernetes", "role=web", "jwt=x"); got.code != 0 {
		t.Errorf("got %+v", got)
	}
}
