package jwt_test

import (
	"errors"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/authn/jwt"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

const back = "http://localhost:8250/oidc/callback"

// website is a mount with a provider and a role "web" for people.
type website struct {
	*enginetest.Mount
	idp *idp
}

func newWebsite(t testing.TB, role object) *website {
	t.Helper()
	m := mount(t)
	w := &website{Mount: m, idp: newIDP(t, m.Clock.Now)}
	m.Write("config", object{"oidc_discovery_url": w.idp.URL, "oidc_client_id": clientID, "oidc_client_secret": clientSecret, "default_role": "web"})
	w.role(role)
	return w
}

func (w *website) role(changes object) {
	body := object{"user_claim": "sub", "allowed_redirect_uris": []string{back, "https://coffer.example/ui/callback"}, "token_policies": "web", "groups_claim": "groups"}
	for k, v := range changes {
		body[k] = v
	}
	w.Delete("role/web")
	w.Write("role/web", body)
}

// open begins a login and returns the provider's page.
func (w *website) open(t testing.TB, clientNonce string) string {
	t.Helper()
	page, _ := w.Write("oidc/auth_url", object{"redirect_uri": back, "client_nonce": clientNonce}).Map(t)["auth_url"].(string)
	return page
}

func (w *website) finish(params ...string) enginetest.Result {
	q := url.Values{}
	for i := 0; i+1 < len(params); i += 2 {
		q.Set(params[i], params[i+1])
	}
	return w.Call(route.VerbRead, "oidc/callback?"+q.Encode(), nil)
}

func TestALoginThroughTheProvider(t *testing.T) {
	w := newWebsite(t, object{"oidc_scopes": "profile,groups", "max_age": "1h", "claim_mappings": object{"email": "mail"}})
	w.idp.info = object{"sub": "alice", "email": "alice@example.org", "groups": []string{"root"}}
	page := w.open(t, "secret of the client")
	q, _ := url.Parse(page)
	if got := q.Query(); got.Get("scope") != "openid profile groups" || got.Get("max_age") != "3600" || strings.Contains(page, "secret") {
		t.Errorf("the page is %s", page)
	}
	state, code := w.idp.approve(t, page)
	r := w.finish("state", state, "code", code, "client_nonce", "secret of the client")
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if r.Login.Alias != "alice" || !cmp.Equal(r.Login.Groups, []string{"dev"}) || !cmp.Equal(r.Login.Metadata, map[string]string{"role": "web", "mail": "alice@example.org"}) {
		t.Errorf("got %+v", r.Login)
	}
	state, code = w.idp.approve(t, w.open(t, ""))
	if r := w.Call(route.VerbWrite, "oidc/callback", object{"state": state, "code": code}); r.Err != nil {
		t.Errorf("by POST: %v", r.Err)
	}
}

// TestWhoFinishesALogin is E12: nobody but who has begun a login gets its token,
// and nobody twice.
func TestWhoFinishesALogin(t *testing.T) {
	w := newWebsite(t, nil)
	refuse := func(what string, r enginetest.Result) {
		t.Helper()
		if !errors.Is(r.Err, fault.Unauthenticated) {
			t.Errorf("%s: %v", what, r.Err)
		}
	}
	state, code := w.idp.approve(t, w.open(t, "mine"))
	refuse("another client", w.finish("state", state, "code", code, "client_nonce", "yours"))
	refuse("no client", w.finish("state", state, "code", code))
	refuse("no state", w.finish("code", code, "client_nonce", "mine"))
	refuse("made-up state", w.finish("state", "nope", "code", code, "client_nonce", "mine"))
	refuse("changed state", w.finish("state", state[:len(state)-2]+"AA", "code", code, "client_nonce", "mine"))
	refuse("another's code", w.finish("state", state, "code", "other", "client_nonce", "mine"))
	other, _ := w.idp.approve(t, w.open(t, "mine"))
	refuse("the code of another login", w.finish("state", other, "code", code, "client_nonce", "mine"))

	state, code = w.idp.approve(t, w.open(t, "mine"))
	if r := w.finish("state", state, "code", code, "client_nonce", "mine"); r.Err != nil {
		t.Fatal(r.Err)
	}
	_, code = w.idp.approve(t, w.open(t, "mine"))
	refuse("a state that was used", w.finish("state", state, "code", code, "client_nonce", "mine"))

	state, code = w.idp.approve(t, w.open(t, "mine"))
	w.Clock.Advance(5 * time.Minute)
	refuse("a state that is too old", w.finish("state", state, "code", code, "client_nonce", "mine"))

	state, code = w.idp.approve(t, w.open(t, "mine"))
	w.Write("config", object{"oidc_discovery_url": w.idp.URL, "oidc_client_id": clientID, "oidc_client_secret": clientSecret, "default_role": "web"})
	refuse("a state of earlier settings", w.finish("state", state, "code", code, "client_nonce", "mine"))

	theirs := newWebsite(t, nil)
	state, code = theirs.idp.approve(t, theirs.open(t, "mine"))
	refuse("a state of another mount", w.finish("state", state, "code", code, "client_nonce", "mine"))
}

func TestOneStateIsOneToken(t *testing.T) {
	w := newWebsite(t, nil)
	w.idp.token = func(object) {} // the provider takes one code once; give each its own
	page := w.open(t, "mine")
	var wg sync.WaitGroup
	var mu sync.Mutex
	granted := 0
	for range 8 {
		state, code := w.idp.approve(t, page)
		wg.Go(func() {
			if r := w.finish("state", state, "code", code, "client_nonce", "mine"); r.Err == nil {
				mu.Lock()
				granted++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if granted != 1 {
		t.Errorf("%d tokens for one state", granted)
	}
}

func TestMarksOfUsedStatesGo(t *testing.T) {
	w := newWebsite(t, nil)
	for range 3 {
		state, code := w.idp.approve(t, w.open(t, ""))
		if r := w.finish("state", state, "code", code); r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	if len(w.Timers()) == 0 {
		t.Fatal("no timer is set")
	}
	w.Advance(10 * time.Minute)
	if n := usedStates(t, w.Mount); n != 0 || len(w.Timers()) != 0 {
		t.Errorf("%d marks and the timers %v are left", n, w.Timers())
	}
}

func TestTheIdentityTokenIsVerified(t *testing.T) {
	for name, change := range map[string]func(*idp){
		"another issuer":         func(p *idp) { p.changes = object{"iss": "https://evil.example"} },
		"for another":            func(p *idp) { p.changes = object{"aud": "other"} },
		"expired":                func(p *idp) { p.changes = object{"exp": 1} },
		"another nonce":          func(p *idp) { p.changes = object{"nonce": "x"} },
		"no nonce":               func(p *idp) { p.changes = object{"nonce": nil} },
		"another access token":   func(p *idp) { p.changes = object{"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"} },
		"authenticated long ago": func(p *idp) { p.changes = object{"auth_time": 1} },
		"no authentication time": func(p *idp) { p.changes = object{"auth_time": nil} },
		"no groups":              func(p *idp) { p.changes = object{"groups": nil} },
		"none":                   func(p *idp) { p.token = func(o object) { delete(o, "id_token") } },
		"junk":                   func(p *idp) { p.token = func(o object) { o["id_token"] = "a.b.c" } },
		"unsigned":               func(p *idp) { p.token = func(o object) { o["id_token"] = "eyJhbGciOiJub25lIn0.e30." } },
		"information of others":  func(p *idp) { p.info = object{"sub": "bob", "groups": []string{"root"}} },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWebsite(t, object{"max_age": "1h"})
			change(w.idp)
			state, code := w.idp.approve(t, w.open(t, ""))
			if r := w.finish("state", state, "code", code); !errors.Is(r.Err, fault.Unauthenticated) {
				t.Errorf("got %v", r.Err)
			}
		})
	}
}

// TestErrorsOfTheProvider is E13: what stands in a link is not shown.
func TestErrorsOfTheProvider(t *testing.T) {
	w := newWebsite(t, nil)
	state, _ := w.idp.approve(t, w.open(t, ""))
	for code, shown := range map[string]bool{"access_denied": true, "<script>alert(1)</script>": false, "A b": false} {
		r := w.finish("state", state, "error", code, "error_description", "<script>canary</script>", "error_uri", "javascript:canary")
		if !errors.Is(r.Err, fault.Unauthenticated) || strings.Contains(fault.Message(r.Err), code) != shown || strings.Contains(r.Err.Error(), "canary") {
			t.Errorf("%s: %v", code, r.Err)
		}
	}
	if r := w.finish("state", state, "code", "wrong"); strings.Contains(r.Err.Error(), "canary") || strings.Contains(r.Err.Error(), clientSecret) {
		t.Errorf("the error repeats the provider's answer: %v", r.Err)
	}
}

func TestRedirectAddresses(t *testing.T) {
	w := newWebsite(t, nil)
	for address, ok := range map[string]bool{
		back: true, "http://localhost:9999/oidc/callback": true, "https://coffer.example/ui/callback": true, "http://127.0.0.1:8250/oidc/callback": false,
		"http://localhost:8250/oidc/callback2": false, "http://localhost:8250/oidc/callback?x=y": false, "https://coffer.example:444/ui/callback": false,
		"https://coffer.example.evil/ui/callback": false, "http://localhost.evil:8250/oidc/callback": false, "http://localhost:8250@evil/oidc/callback": false,
		"http://u:p@localhost:8250/oidc/callback": false, "javascript:alert(1)": false, "https://localhost:8250/oidc/callback": false,
	} {
		page := w.Write("oidc/auth_url", object{"role": "web", "redirect_uri": address}).Map(t)["auth_url"]
		if (page != "") != ok {
			t.Errorf("%s: the page is %q", address, page)
		}
	}
	w.Fails(fault.Invalid, route.VerbWrite, "oidc/auth_url", object{"role": "web"})
	w.Fails(fault.Invalid, route.VerbWrite, "oidc/auth_url", object{"role": "none", "redirect_uri": back})
	w.Write("role/machine", object{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "x"})
	w.Fails(fault.Invalid, route.VerbWrite, "oidc/auth_url", object{"role": "machine", "redirect_uri": back})
}

// TestAddressesBindLogins is E11.
func TestAddressesBindLogins(t *testing.T) {
	w := newWebsite(t, object{"token_bound_cidrs": "10.0.0.0/8"})
	w.Remote = netip.MustParseAddr("192.0.2.1")
	state, code := w.idp.approve(t, w.open(t, ""))
	if r := w.finish("state", state, "code", code); !errors.Is(r.Err, fault.Denied) {
		t.Errorf("got %v", r.Err)
	}
}

func TestLoginsOnAnotherDevice(t *testing.T) {
	w := newWebsite(t, object{"callback_mode": "device", "allowed_redirect_uris": []string{}})
	w.Fails(fault.Invalid, route.VerbWrite, "oidc/auth_url", object{}) // nothing binds it to the client
	begun := w.Write("oidc/auth_url", object{"client_nonce": "mine"}).Map(t)
	if begun["auth_url"] != w.idp.URL+"/enter?c=ABCD" || begun["user_code"] != "ABCD" || begun["poll_interval"] != "7" {
		t.Errorf("got %v", begun)
	}
	poll := func(nonce string) enginetest.Result {
		return w.Call(route.VerbWrite, "oidc/poll", object{"state": begun["state"], "client_nonce": nonce})
	}
	if r := poll("mine"); fault.Message(r.Err) != "authorization_pending" {
		t.Errorf("before the user is done: %v", r.Err)
	}
	w.idp.done()
	if r := poll("yours"); !errors.Is(r.Err, fault.Unauthenticated) {
		t.Errorf("another client: %v", r.Err)
	}
	if state, _ := begun["state"].(string); w.finish("state", state, "code", "x", "client_nonce", "mine").Err == nil {
		t.Error("a login on another device was finished in a browser")
	}
	if r := poll("mine"); r.Err != nil || r.Login.Alias != "alice" {
		t.Errorf("got %v", r.Err)
	}
	if r := poll("mine"); !errors.Is(r.Err, fault.Unauthenticated) {
		t.Errorf("again: %v", r.Err)
	}
	web := newWebsite(t, nil)
	state, _ := web.idp.approve(t, web.open(t, "mine"))
	web.Fails(fault.Unauthenticated, route.VerbWrite, "oidc/poll", object{"state": state, "client_nonce": "mine"})
}

func TestBeginningALoginStoresNothing(t *testing.T) {
	w := newWebsite(t, nil)
	before := rows(t, w.Mount)
	for range 50 {
		w.open(t, "mine")
	}
	if after := rows(t, w.Mount); after != before {
		t.Errorf("there were %d rows, and are %d", before, after)
	}
}

func FuzzState(f *testing.F) {
	for _, seed := range []string{"", "AAAA,ns=x", strings.Repeat("A", 100)} {
		f.Add(seed, "code")
	}
	f.Fuzz(func(t *testing.T, state, code string) {
		m := mount(t)
		m.Write("config", object{"jwks_url": "http://127.0.0.1:1/", "skip_jwks_validation": true})
		w := &website{Mount: m}
		if r := w.finish("state", state, "code", code); r.Err == nil {
			t.Errorf("the state %q gave a token", state)
		}
	})
}

// A redirect address that namespaces share needs to know which one to call.
func TestTheNamespaceTravelsWithTheState(t *testing.T) {
	w := newWebsite(t, nil)
	table, err := route.NewTable(jwt.Type.Routes)
	if err != nil {
		t.Fatal(err)
	}
	page := func() string {
		var match route.Match
		e, _ := table.Find(route.VerbWrite, "oidc/auth_url", &match)
		body, err := wire.ParseObject([]byte(`{"redirect_uri": "`+back+`"}`), wire.DefaultLimits)
		if err != nil {
			t.Fatal(err)
		}
		c := &route.Call{Verb: route.VerbWrite, Namespace: route.Namespace{ID: 2, Path: "team/a/"}, Body: body, Log: slog.New(slog.DiscardHandler)}
		c.SetMatch(&match, e)
		reply, err := e.Handle(t.Context(), w.Instance, c)
		if err != nil {
			t.Fatal(err)
		}
		text, _ := enginetest.Result{Reply: reply}.Map(t)["auth_url"].(string)
		return text
	}
	state, code := w.idp.approve(t, page())
	if !strings.HasSuffix(state, ",ns=team/a") {
		t.Errorf("the state is %s", state)
	}
	if r := w.finish("state", state, "code", code); r.Err != nil {
		t.Error(r.Err)
	}
	w.Write("config", object{"oidc_discovery_url": w.idp.URL, "oidc_client_id": clientID, "oidc_client_secret": clientSecret, "default_role": "web", "namespace_in_state": false})
	if state, _ := w.idp.approve(t, page()); strings.Contains(state, ",ns=") {
		t.Errorf("the state is %s", state)
	}
}
