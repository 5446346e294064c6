// Package openid_test signs people in to an application through Coffer, with a
// relying party's library that knows nothing of it, and tries what an attacker
// would.
package openid_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	rp "github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

type object = map[string]any

const redirect = "https://app.example/callback"

// site is a server with a provider, a client and two people.
type site struct {
	*servertest.Server
	t     *testing.T
	clock *clock.Fake
	// alice may sign in, bob may not: their tokens.
	alice, bob string
	entity     string // alice's
	id, secret string
	provider   *rp.Provider
	issuer     string
	config     oauth2.Config
}

func newSite(t *testing.T) *site {
	t.Helper()
	fake := clock.NewFake(time.Now()) // the library looks at the machine's time
	s := &site{Server: servertest.New(t, servertest.Options{Clock: fake}), t: t, clock: fake}
	s.Must(204, "POST", "sys/auth/userpass", object{"type": "userpass"})
	s.Policy("signin", `path "identity/oidc/provider/app/authorize" { capabilities = ["read", "update"] }
path "identity/oidc/token/*" { capabilities = ["read"] }`)
	s.alice, s.entity = s.login("alice")
	s.bob, _ = s.login("bob")
	group := s.Must(200, "POST", "identity/group", object{"name": "staff", "member_entity_ids": []string{s.entity}}).Data()["id"]
	s.Must(204, "POST", "identity/entity/id/"+s.entity, object{"metadata": object{"mail": "alice@example.com"}})

	s.Must(204, "POST", "identity/oidc/key/signer", object{"algorithm": "ES256", "rotation_period": "1h", "verification_ttl": "2h", "allowed_client_ids": "*"})
	s.Must(204, "POST", "identity/oidc/assignment/staff", object{"group_ids": []any{group}})
	s.Must(204, "POST", "identity/oidc/scope/profile", object{"template": `{"mail": {{identity.entity.metadata.mail}}, "groups": {{identity.entity.groups.names}}}`})
	s.Must(204, "POST", "identity/oidc/client/app", object{
		"key": "signer", "redirect_uris": []string{redirect, "http://127.0.0.1/callback"}, "assignments": "staff", "id_token_ttl": "30m", "access_token_ttl": "1h",
	})
	c := s.Must(200, "GET", "identity/oidc/client/app", nil).Data()
	s.id, s.secret = c["client_id"].(string), c["client_secret"].(string)
	s.Must(204, "POST", "identity/oidc/provider/app", object{"allowed_client_ids": s.id, "scopes_supported": "profile", "issuer": s.Addr})
	s.issuer = s.Addr + "/v1/identity/oidc/provider/app"
	var err error
	if s.provider, err = rp.NewProvider(t.Context(), s.issuer); err != nil {
		t.Fatal(err)
	}
	s.config = oauth2.Config{ClientID: s.id, ClientSecret: s.secret, Endpoint: s.provider.Endpoint(), RedirectURL: redirect, Scopes: []string{rp.ScopeOpenID, "profile"}}
	return s
}

func (s *site) login(name string) (token, entity string) {
	s.t.Helper()
	s.Must(204, "POST", "auth/userpass/users/"+name, object{"password": "pw", "token_policies": "signin"})
	var a struct {
		Auth struct {
			Token  string `json:"client_token"`
			Entity string `json:"entity_id"`
		}
	}
	if err := json.Unmarshal(s.Must(200, "POST", "auth/userpass/login/"+name, object{"password": "pw"}).Body, &a); err != nil {
		s.t.Fatal(err)
	}
	return a.Auth.Token, a.Auth.Entity
}

// authorize does what the page behind the authorization endpoint does with the
// token of who is signed in: it asks for a code.
func (s *site) authorize(token, at string, change func(object)) servertest.Answer {
	s.t.Helper()
	u, err := url.Parse(at)
	if err != nil {
		s.t.Fatal(err)
	}
	body := object{}
	for name, values := range u.Query() {
		body[name] = values[0]
	}
	if change != nil {
		change(body)
	}
	return s.Do("POST", "identity/oidc/provider/app/authorize", token, body)
}

// code gets a code for alice.
func (s *site) code(opts ...oauth2.AuthCodeOption) string {
	s.t.Helper()
	a := s.authorize(s.alice, s.config.AuthCodeURL("st", append(opts, rp.Nonce("once"))...), nil)
	if a.Status != 200 || a.JSON()["state"] != "st" {
		s.t.Fatalf("authorize: %s", a)
	}
	return a.JSON()["code"].(string)
}

func TestSignIn(t *testing.T) {
	s := newSite(t)
	verifier := oauth2.GenerateVerifier()
	code := s.code(oauth2.S256ChallengeOption(verifier))
	tokens, err := s.config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := tokens.Extra("id_token").(string)
	id, err := s.provider.Verifier(&rp.Config{ClientID: s.id}).Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := id.VerifyAccessToken(tokens.AccessToken); err != nil {
		t.Error(err)
	}
	if id.Nonce != "once" || id.Subject != s.entity || id.Expiry.Sub(id.IssuedAt) != 30*time.Minute {
		t.Errorf("the identity token is %+v", id)
	}
	want := object{"mail": "alice@example.com", "groups": []any{"staff"}}
	var got object
	if err := id.Claims(&got); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, object{"mail": got["mail"], "groups": got["groups"]}); d != "" {
		t.Errorf("claims:\n%s", d)
	}
	info, err := s.provider.UserInfo(t.Context(), oauth2.StaticTokenSource(tokens))
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	if err := info.Claims(&got); err != nil {
		t.Fatal(err)
	}
	want["sub"] = s.entity
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("userinfo:\n%s", d)
	}
}

func TestTokensAreGoodForOnePurpose(t *testing.T) {
	s := newSite(t)
	tokens, err := s.config.Exchange(t.Context(), s.code())
	if err != nil {
		t.Fatal(err)
	}
	id := tokens.Extra("id_token").(string)
	userinfo := func(token string) int {
		return s.Do("GET", "identity/oidc/provider/app/userinfo", "", nil, "Authorization", "Bearer "+token).Status
	}
	if got := userinfo(tokens.AccessToken); got != 200 {
		t.Fatalf("userinfo: %d", got)
	}
	for name, token := range map[string]string{"an identity token": id, "a token of the API": s.alice, "the root token": servertest.RootToken, "nothing": "", "junk": "a.b.c"} {
		if got := userinfo(token); got != 401 {
			t.Errorf("userinfo with %s answers %d", name, got)
		}
	}
	for name, token := range map[string]string{"an access token": tokens.AccessToken, "an identity token": id} {
		if a := s.Do("GET", "auth/token/lookup-self", token, nil); a.Status != 403 {
			t.Errorf("the API with %s: %s", name, a)
		}
	}
	if a := s.Must(200, "POST", "identity/oidc/introspect", object{"token": tokens.AccessToken}); a.JSON()["active"] != false {
		t.Errorf("an access token counts as an identity token: %s", a)
	}
	s.Must(204, "POST", "identity/entity/id/"+s.entity, object{"disabled": true})
	if got := userinfo(tokens.AccessToken); got != 401 {
		t.Errorf("userinfo of a disabled entity: %d", got)
	}
	s.Must(204, "POST", "identity/entity/id/"+s.entity, object{"disabled": false})
	s.clock.Advance(61 * time.Minute)
	if got := userinfo(tokens.AccessToken); got != 401 {
		t.Errorf("userinfo with an access token that has expired: %d", got)
	}
}

func TestCodesThatAreRefused(t *testing.T) {
	s := newSite(t)
	verifier := oauth2.GenerateVerifier()
	for _, tt := range []struct {
		name   string
		config func(c *oauth2.Config)
		opts   []oauth2.AuthCodeOption // of the exchange
		before func()
		want   string
	}{
		{"another redirect_uri", func(c *oauth2.Config) { c.RedirectURL += "/" }, []oauth2.AuthCodeOption{oauth2.VerifierOption(verifier)}, nil, "invalid_grant"},
		{"no verifier", nil, nil, nil, "invalid_grant"},
		{"another verifier", nil, []oauth2.AuthCodeOption{oauth2.VerifierOption(oauth2.GenerateVerifier())}, nil, "invalid_grant"},
		{"the challenge as verifier", nil, []oauth2.AuthCodeOption{oauth2.VerifierOption(oauth2.S256ChallengeFromVerifier(verifier))}, nil, "invalid_grant"},
		{"a wrong secret", func(c *oauth2.Config) { c.ClientSecret += "x" }, []oauth2.AuthCodeOption{oauth2.VerifierOption(verifier)}, nil, "invalid_client"},
		{"no secret", func(c *oauth2.Config) { c.ClientSecret = "" }, []oauth2.AuthCodeOption{oauth2.VerifierOption(verifier)}, nil, "invalid_client"},
		{"another client", func(c *oauth2.Config) { c.ClientID = "nobody" }, []oauth2.AuthCodeOption{oauth2.VerifierOption(verifier)}, nil, "invalid_client"},
		{"too late", nil, []oauth2.AuthCodeOption{oauth2.VerifierOption(verifier)}, func() { s.clock.Advance(5*time.Minute + time.Second) }, "invalid_grant"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code := s.code(oauth2.S256ChallengeOption(verifier))
			c := s.config
			if tt.config != nil {
				tt.config(&c)
			}
			if tt.before != nil {
				tt.before()
			}
			_, err := c.Exchange(t.Context(), code, tt.opts...)
			var refused *oauth2.RetrieveError
			if !errors.As(err, &refused) || refused.ErrorCode != tt.want {
				t.Errorf("it answered %v, want %s", err, tt.want)
			}
			if tt.want == "invalid_grant" { // whoever stole it must not have it for a second try
				if _, err := s.config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier)); err == nil {
					t.Error("the code was still good afterwards")
				}
			}
		})
	}
}

func TestACodeIsRedeemedOnce(t *testing.T) {
	s := newSite(t)
	code := s.code()
	var mu sync.Mutex
	good := 0
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := s.config.Exchange(context.WithoutCancel(t.Context()), code); err == nil {
				mu.Lock()
				defer mu.Unlock()
				good++
			}
		})
	}
	all.Wait()
	if good != 1 {
		t.Errorf("the code was redeemed %d times", good)
	}
}

func TestSignInsThatAreRefused(t *testing.T) {
	s := newSite(t)
	at := s.config.AuthCodeURL("st")
	for _, tt := range []struct {
		name, token, want string
		change            func(object)
	}{
		{"no assignment", s.bob, "access_denied", nil},
		{"no entity", servertest.RootToken, "access_denied", nil},
		{"another client", s.alice, "unauthorized_client", func(b object) { b["client_id"] = "x" }},
		{"redirect to elsewhere", s.alice, "invalid_request", func(b object) { b["redirect_uri"] = "https://evil.example/callback" }},
		{"redirect below", s.alice, "invalid_request", func(b object) { b["redirect_uri"] = redirect + "/x" }},
		{"redirect with a user", s.alice, "invalid_request", func(b object) { b["redirect_uri"] = "http://127.0.0.1:80@evil.example/callback" }},
		{"no openid", s.alice, "invalid_scope", func(b object) { b["scope"] = "profile" }},
		{"implicit flow", s.alice, "unsupported_response_type", func(b object) { b["response_type"] = "token" }},
		{"unknown challenge", s.alice, "invalid_request", func(b object) { b["code_challenge"] = strings.Repeat("a", 43); b["code_challenge_method"] = "S512" }},
		{"short challenge", s.alice, "invalid_request", func(b object) { b["code_challenge"] = "a" }},
		{"sign-in too old", s.alice, "access_denied", func(b object) { s.clock.Advance(2 * time.Second); b["max_age"] = 1 }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if a := s.authorize(tt.token, at, tt.change); a.Status != 400 || a.JSON()["error"] != tt.want || a.JSON()["code"] != nil || a.JSON()["state"] != "st" {
				t.Errorf("it answered %s, want %s", a, tt.want)
			}
		})
	}
	if a := s.authorize(s.alice, at, func(b object) { b["redirect_uri"] = "http://127.0.0.1:49152/callback" }); a.Status != 200 {
		t.Errorf("a loopback redirect with a port of its own: %s", a)
	}
}

func TestPublicClientsNeedAChallenge(t *testing.T) {
	s := newSite(t)
	s.Must(204, "POST", "identity/oidc/client/phone", object{"key": "signer", "client_type": "public", "redirect_uris": redirect, "assignments": "allow_all", "id_token_ttl": "1h", "access_token_ttl": "1h"})
	c := s.Must(200, "GET", "identity/oidc/client/phone", nil).Data()
	if _, has := c["client_secret"]; has {
		t.Error("a public client has a secret")
	}
	s.Must(204, "POST", "identity/oidc/provider/app", object{"allowed_client_ids": []any{s.id, c["client_id"]}})
	s.config.ClientID, s.config.ClientSecret = c["client_id"].(string), ""
	s.config.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	if a := s.authorize(s.bob, s.config.AuthCodeURL("st"), nil); a.JSON()["error"] != "invalid_request" {
		t.Errorf("without a challenge: %s", a)
	}
	verifier := oauth2.GenerateVerifier()
	code := s.authorize(s.bob, s.config.AuthCodeURL("st", oauth2.S256ChallengeOption(verifier)), nil).JSON()["code"].(string)
	if _, err := s.config.Exchange(t.Context(), code, oauth2.VerifierOption(verifier)); err != nil {
		t.Error(err)
	}
}

func TestClientCredentials(t *testing.T) {
	s := newSite(t)
	ask := func() servertest.Answer {
		return s.Do("POST", "identity/oidc/provider/app/token", "", "grant_type=client_credentials&scope=profile",
			"Content-Type", "application/x-www-form-urlencoded", "Authorization", "Basic "+basic(s.id, s.secret))
	}
	if a := ask(); a.JSON()["error"] != "unauthorized_client" {
		t.Errorf("a client that may not: %s", a)
	}
	s.Must(204, "POST", "identity/oidc/client/app", object{"client_credentials": true})
	a := ask()
	if a.Status != 200 || a.JSON()["id_token"] != nil || a.JSON()["scope"] != "profile" {
		t.Fatalf("it answered %s", a)
	}
	// The token is the client's: a verifier of access tokens takes it, and
	// userinfo, which is about people, does not.
	set := rp.NewRemoteKeySet(t.Context(), s.issuer+"/.well-known/keys")
	claims, err := set.VerifySignature(t.Context(), a.JSON()["access_token"].(string))
	if err != nil || !strings.Contains(string(claims), `"client_id":"`+s.id+`"`) {
		t.Errorf("the token has %s (%v)", claims, err)
	}
	if a := s.Do("GET", "identity/oidc/provider/app/userinfo", "", nil, "Authorization", "Bearer "+a.JSON()["access_token"].(string)); a.Status != 401 {
		t.Errorf("userinfo: %s", a)
	}
}

func basic(user, password string) string {
	req := http.Request{Header: http.Header{}}
	req.SetBasicAuth(url.QueryEscape(user), url.QueryEscape(password))
	return strings.TrimPrefix(req.Header.Get("Authorization"), "Basic ")
}

// TestRotation signs before and after a key's period. A verifier that fetched
// the keys before knows the next one already; a public key is gone when its
// time has come.
func TestRotation(t *testing.T) {
	s := newSite(t)
	s.Must(204, "POST", "identity/oidc/role/ci", object{"key": "signer", "client_id": "ci", "ttl": "90m"})
	token := func() string {
		return s.MustAs(s.alice, 200, "GET", "identity/oidc/token/ci", nil).Data()["token"].(string)
	}
	active := func(token string) any {
		return s.Must(200, "POST", "identity/oidc/introspect", object{"token": token, "client_id": "ci"}).JSON()["active"]
	}
	first := token()
	kept := s.kids()
	s.clock.Advance(61 * time.Minute)
	second := token()
	if kid(t, first) == kid(t, second) {
		t.Error("the key did not rotate after its period")
	}
	if !kept[kid(t, second)] {
		t.Error("the key that signs was not published before")
	}
	if active(first) != true || active(second) != true {
		t.Error("a token is not good any more because the key has rotated")
	}
	s.Must(204, "POST", "identity/oidc/key/signer/rotate", object{"verification_ttl": "1m"})
	s.clock.Advance(2 * time.Minute)
	if active(second) != false {
		t.Error("a token is good although its key is withdrawn")
	}
	if s.kids()[kid(t, second)] {
		t.Error("a key is published beyond its time")
	}
}

func (s *site) kids() map[string]bool {
	s.t.Helper()
	var set struct{ Keys []struct{ Kid, D string } }
	if err := json.Unmarshal(s.Do("GET", "identity/oidc/.well-known/keys", "", nil).Body, &set); err != nil {
		s.t.Fatal(err)
	}
	all := map[string]bool{}
	for _, k := range set.Keys {
		all[k.Kid] = true
		if k.D != "" {
			s.t.Error("a private key is published")
		}
	}
	return all
}

func kid(t *testing.T, token string) string {
	t.Helper()
	head, _, _ := strings.Cut(token, ".")
	var h struct{ Kid string }
	if err := json.Unmarshal(decode(t, head), &h); err != nil {
		t.Fatal(err)
	}
	return h.Kid
}

func TestTemplatesThatAreRefused(t *testing.T) {
	s := newSite(t)
	for _, template := range []string{
		`{"a": {{identity.entity.name}}`, `{"a": "{{identity.entity.name}}"}`, `{"iss": "evil"}`, `{"sub": {{identity.entity.id}}}`, `[1]`, `{} {}`, `{"a": {{nothing}}}`,
		`{"a": {{identity.entity.name}`, `{"a": {{time.now.plus.x}}}`, `{"a":1,"a":2}`,
	} {
		if a := s.Do("POST", "identity/oidc/scope/bad", servertest.RootToken, object{"template": template}); a.Status != 400 {
			t.Errorf("%s: %s", template, a)
		}
	}
	// What people call themselves is text, whatever is in it.
	s.Must(204, "POST", "identity/entity/id/"+s.entity, object{"metadata": object{"mail": `","sub":"root"}{{identity.entity.id}}`}})
	tokens, err := s.config.Exchange(t.Context(), s.code())
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.provider.Verifier(&rp.Config{ClientID: s.id}).Verify(t.Context(), tokens.Extra("id_token").(string))
	if err != nil || id.Subject != s.entity {
		t.Errorf("subject %q, %v", id.Subject, err)
	}
}

func TestWhatIsUsedIsNotDeleted(t *testing.T) {
	s := newSite(t)
	for _, path := range []string{"key/signer", "scope/profile", "assignment/staff", "key/default", "provider/default", "assignment/allow_all"} {
		if a := s.Do("DELETE", "identity/oidc/"+path, servertest.RootToken, nil); a.Status != 400 {
			t.Errorf("deleting %s: %s", path, a)
		}
	}
	if s.Must(200, "LIST", "identity/oidc/client", nil); strings.Contains(fmt.Sprint(s.Must(200, "LIST", "identity/oidc/client", nil)), s.secret) {
		t.Error("the list of clients shows a secret")
	}
}

func decode(t *testing.T, part string) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
