package cli

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/cofferhq/coffer/api"
)

// oidcArguments are those of login -method=oidc; they go to no server.
type oidcArguments struct {
	// listen is where this program waits for the browser, and redirect what the
	// provider is told to send it to.
	listen, redirect string
	skipBrowser      bool
}

// takeOIDC takes the arguments out of data.
func takeOIDC(data map[string]any) (oidcArguments, error) {
	take := func(name, usual string) string {
		v, ok := data[name].(string)
		delete(data, name)
		if !ok || v == "" {
			return usual
		}
		return v
	}
	address, port := take("listenaddress", "localhost"), take("port", "8250")
	scheme, host := take("callbackmethod", "http"), take("callbackhost", "localhost")
	a := oidcArguments{
		listen:   net.JoinHostPort(address, port),
		redirect: scheme + "://" + net.JoinHostPort(host, take("callbackport", port)) + oidcPath,
	}
	var err error
	if a.skipBrowser, err = strconv.ParseBool(take("skip_browser", "false")); err != nil {
		return a, usageError("skip_browser is true or false")
	}
	return a, nil
}

// oidcPath is where the browser comes back to.
const oidcPath = "/oidc/callback"

// oidcTime bounds the wait for the user.
const oidcTime = 5 * time.Minute

// loginOIDC logs in through an OpenID Connect provider: in a browser on this
// machine, or on another device if the role says so.
func (c *call) loginOIDC(ctx context.Context, cl *api.Client, mount string, data map[string]any) (*api.Secret, error) {
	a, err := takeOIDC(data)
	if err != nil {
		return nil, err
	}
	nonce := rand.Text()
	data["redirect_uri"], data["client_nonce"] = a.redirect, nonce
	body, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	s, err := cl.Secret(ctx, &api.Request{Method: http.MethodPut, Path: "auth/" + mount + "/oidc/auth_url", Body: body, Unauthenticated: true})
	if err != nil {
		return nil, failed("beginning the login at auth/"+mount, err)
	}
	var begun struct {
		AuthURL      string `json:"auth_url"`
		State        string `json:"state"`
		UserCode     string `json:"user_code"`
		PollInterval string `json:"poll_interval"`
	}
	if err := s.Decode(&begun); err != nil {
		return nil, err
	}
	if begun.AuthURL == "" {
		return nil, usageError(fmt.Sprintf("The role does not allow the redirect address %s: add it to its allowed_redirect_uris, or give port, callbackhost, callbackport or callbackmethod", a.redirect))
	}
	if begun.State == "" {
		return c.loginBrowser(ctx, cl, mount, begun.AuthURL, nonce, a)
	}
	fmt.Fprintf(c.Err, "Open this page on any device, and enter the code %s if it asks for one:\n\n    %s\n\nWaiting for the login to be finished...\n", begun.UserCode, begun.AuthURL)
	interval, err := strconv.Atoi(begun.PollInterval)
	if err != nil || interval <= 0 {
		interval = 5
	}
	return pollOIDC(ctx, cl, mount, map[string]string{"state": begun.State, "client_nonce": nonce}, time.Duration(interval)*time.Second)
}

// pollOIDC asks until the user is done on the other device.
func pollOIDC(ctx context.Context, cl *api.Client, mount string, data map[string]string, interval time.Duration) (*api.Secret, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*oidcTime)
	defer cancel()
	for {
		timer := time.NewTimer(interval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, errors.New("the login was not finished in time")
		}
		s, err := cl.Login(ctx, mount+"/oidc/poll", data)
		var refused *api.Error
		switch {
		case errors.As(err, &refused) && strings.Contains(strings.Join(refused.Errors, " "), "authorization_pending"):
		case errors.As(err, &refused) && strings.Contains(strings.Join(refused.Errors, " "), "slow_down"):
			interval += 5 * time.Second // RFC 8628, section 3.5
		case err != nil:
			return nil, failed("logging in at auth/"+mount, err)
		default:
			return s, nil
		}
	}
}

// cameBack is what the browser has brought.
type cameBack struct{ state, code, refusal string }

// loginBrowser opens the provider's page and waits for the browser.
func (c *call) loginBrowser(ctx context.Context, cl *api.Client, mount, page, nonce string, a oidcArguments) (*api.Secret, error) {
	u, err := url.Parse(page)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return nil, errors.New("the server has answered with an address that is no page")
	}
	state := u.Query().Get("state")
	ctx, cancel := context.WithTimeout(ctx, oidcTime)
	defer cancel()
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", a.listen)
	if err != nil {
		return nil, failed("waiting for the browser at "+a.listen+"; port=NUMBER chooses another port", err)
	}
	came := make(chan cameBack, 1)
	srv := &http.Server{Handler: browserHandler(state, came), ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(listener) }() // it ends with Shutdown
	defer func() {
		// The browser may still be reading the last answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = srv.Shutdown(ctx)
	}()
	fmt.Fprintf(c.Err, "Complete the login in your browser:\n\n    %s\n\nWaiting for it to be finished...\n", page)
	if !a.skipBrowser {
		openBrowser(page)
	}
	var back cameBack
	select {
	case back = <-came:
	case <-ctx.Done():
		return nil, errors.New("the login was not finished in time")
	}
	if back.refusal != "" {
		return nil, fmt.Errorf("the provider has refused the login: %q", back.refusal)
	}
	q := url.Values{"state": {back.state}, "code": {back.code}, "client_nonce": {nonce}}
	s, err := cl.Secret(ctx, &api.Request{Method: http.MethodGet, Path: "auth/" + mount + oidcPath, Query: q, Unauthenticated: true})
	if err != nil {
		return nil, failed("finishing the login at auth/"+mount, err)
	}
	if s.Auth == nil && s.WrapInfo == nil {
		return nil, fmt.Errorf("the login at auth/%s answered without a token", mount)
	}
	return s, nil
}

// browserHandler takes what the browser brings for the login with a state, by GET
// or by POST (form_post). It answers with text of its own only.
func browserHandler(state string, came chan<- cameBack) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(oidcPath, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'")
		w.Header().Set("Referrer-Policy", "no-referrer")
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		back := cameBack{state: r.FormValue("state"), code: r.FormValue("code"), refusal: r.FormValue("error")}
		if subtle.ConstantTimeCompare([]byte(back.state), []byte(state)) != 1 || back.code == "" && back.refusal == "" {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, "<!doctype html><title>Login</title><p>This is not the login that the command waits for.")
			return
		}
		text := "The login is done. You can close this window and go back to the terminal."
		if back.refusal != "" {
			text = "The provider has refused the login. The terminal says more."
		}
		_, _ = io.WriteString(w, "<!doctype html><title>Login</title><p>"+text)
		select {
		case came <- back:
		default: // it came before
		}
	})
	return mux
}

// openBrowser tries to open a page. Where it cannot, the user does.
func openBrowser(page string) {
	name, args := "xdg-open", []string{page}
	switch runtime.GOOS {
	case "darwin":
		name = "open"
	case "windows":
		name, args = "rundll32", []string{"url.dll,FileProtocolHandler", page}
	}
	_ = exec.Command(name, args...).Start()
}
