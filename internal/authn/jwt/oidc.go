package jwt

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

func oidcRoutes() []route.Endpoint {
	const finish = "Finish a login through the provider with what it has sent to the redirect address."
	return []route.Endpoint{
		route.Write("oidc/auth_url", (*method).authURL, route.Public(), route.Pure(),
			route.Doc{Summary: "Begin a login through the provider: get the URL that the user opens."}),
		authn.LoginBy(route.VerbRead, "oidc/callback", (*method).callback, route.Doc{Summary: finish}),
		authn.LoginBy(route.VerbWrite, "oidc/callback", (*method).callback, route.Doc{Summary: finish}),
		authn.Login("oidc/poll", (*method).poll, route.Doc{Summary: "Ask whether a login on another device is finished."}),
	}
}

type authURLRequest struct {
	Role        string `json:"role" doc:"Role to log in with; the default role of the mount unless given."`
	RedirectURI string `json:"redirect_uri" doc:"Address that the provider shall send the user back to; one of the role's."`
	ClientNonce string `json:"client_nonce" doc:"Random text that the client keeps, and shows when it finishes the login."`
}

type authURLAnswer struct {
	AuthURL string `json:"auth_url"`
	// The others are of the device flow.
	State        string `json:"state,omitempty"`
	UserCode     string `json:"user_code,omitempty"`
	PollInterval string `json:"poll_interval,omitempty"`
}

type callbackRequest struct {
	State       string      `json:"state" doc:"State that the login began with."`
	Code        wire.Secret `json:"code" doc:"Code from the provider." sensitive:"true"`
	ClientNonce wire.Secret `json:"client_nonce" doc:"What the client gave when it began the login." sensitive:"true"`
	Error       string      `json:"error" doc:"Error from the provider."`
	Description string      `json:"error_description" doc:"Not looked at."`
	ErrorURI    string      `json:"error_uri" doc:"Not looked at."`
	IDToken     wire.Secret `json:"id_token" doc:"Not looked at: identity tokens come from the provider itself." sensitive:"true"`
}

type pollRequest struct {
	State       string      `json:"state" doc:"State that the login began with."`
	ClientNonce wire.Secret `json:"client_nonce" doc:"What the client gave when it began the login." sensitive:"true"`
}

// relying is what Coffer is to a provider.
type relying struct {
	*trust
	provider *provider
	oauth    oauth2.Config
}

// relyingParty prepares to speak with the provider about a role.
func (t *trust) relyingParty(ctx context.Context, r *role, redirect string) (*relying, error) {
	if t.issuer == nil || t.config.ClientID == "" {
		return nil, fault.New(fault.Invalid, "logins through the provider need oidc_discovery_url and oidc_client_id in the method's config")
	}
	p, err := t.issuer.get(ctx)
	if err != nil {
		return nil, err
	}
	scopes := append([]string{oidc.ScopeOpenID}, r.Scopes...)
	return &relying{t, p, oauth2.Config{
		ClientID: t.config.ClientID, ClientSecret: t.config.ClientSecret, RedirectURL: redirect, Scopes: slices.Compact(scopes),
		Endpoint: oauth2.Endpoint{AuthURL: p.AuthURL, TokenURL: p.TokenURL, DeviceAuthURL: p.DeviceAuthURL, AuthStyle: p.authStyle(t.config.ClientSecret)},
	}}, nil
}

// authStyle is how Coffer shows who it is: by HTTP Basic, unless the provider does
// not offer it (OpenID Connect Core 1.0, section 9), and by its name alone if it
// has no secret. The library would try both, and a code is good once.
func (p *provider) authStyle(secret string) oauth2.AuthStyle {
	const basic, post = "client_secret_basic", "client_secret_post"
	if secret == "" || !slices.Contains(p.AuthMethods, basic) && slices.Contains(p.AuthMethods, post) {
		return oauth2.AuthStyleInParams
	}
	return oauth2.AuthStyleInHeader
}

// client lets libraries use the client of the issuer.
func (rp *relying) client(ctx context.Context) context.Context {
	return oidc.ClientContext(ctx, rp.issuer.client.Client())
}

func (m *method) authURL(ctx context.Context, c *route.Call, in authURLRequest) (authURLAnswer, error) {
	t, r, name, err := m.setup(ctx, in.Role)
	if err != nil {
		return authURLAnswer{}, err
	}
	if r.Type != roleOIDC {
		return authURLAnswer{}, fault.New(fault.Invalid, "role with jwt role_type is not allowed: log in with a token")
	}
	if r.CallbackMode == callbackDevice {
		return m.beginDevice(ctx, t, &r, name, in.ClientNonce)
	}
	if in.RedirectURI == "" {
		return authURLAnswer{}, fault.New(fault.Invalid, "missing redirect_uri")
	}
	if !r.redirects(in.RedirectURI) {
		// Clients know an empty URL as the answer.
		c.Log.Warn("refused to begin a login through the provider: the redirect address is not among the role's", "role", name)
		return authURLAnswer{}, nil
	}
	rp, err := t.relyingParty(ctx, &r, in.RedirectURI)
	if err != nil {
		return authURLAnswer{}, err
	}
	f := m.begin(name, in.ClientNonce)
	f.Redirect, f.Nonce, f.Verifier = in.RedirectURI, rand.Text(), oauth2.GenerateVerifier()
	state, err := m.seal(ctx, f)
	if err != nil {
		return authURLAnswer{}, err
	}
	if ns := strings.TrimSuffix(c.Namespace.Path, "/"); ns != "" && t.config.NSInState {
		state += ",ns=" + ns
	}
	return authURLAnswer{AuthURL: rp.oauth.AuthCodeURL(state, rp.options(&r, f)...)}, nil
}

// options are the parameters of the provider's page beside the usual ones.
func (rp *relying) options(r *role, f *flow) []oauth2.AuthCodeOption {
	options := []oauth2.AuthCodeOption{oidc.Nonce(f.Nonce), oauth2.S256ChallengeOption(f.Verifier)}
	if mode := rp.config.ResponseMode; mode != "" {
		options = append(options, oauth2.SetAuthURLParam("response_mode", mode))
	}
	if r.MaxAge > 0 {
		options = append(options, oauth2.SetAuthURLParam("max_age", strconv.FormatInt(int64(r.MaxAge.Seconds()), 10)))
	}
	return options
}

func (m *method) begin(role, clientNonce string) *flow {
	f := &flow{ID: rand.Text(), Role: role, Expires: m.clock.Now().Add(flowTime)}
	if clientNonce != "" {
		f.Client = clientHash(clientNonce)
	}
	return f
}

// redirects reports whether the role allows a redirect address: one of its own as
// it is, or one on the client's own machine that differs in the port only (RFC
// 8252, section 7.3).
func (r *role) redirects(text string) bool {
	if slices.Contains(r.RedirectURIs, text) {
		return true
	}
	asked, ok := withoutPort(text)
	return ok && slices.ContainsFunc(r.RedirectURIs, func(allowed string) bool {
		a, ok := withoutPort(allowed)
		return ok && a == asked
	})
}

// withoutPort drops the port of an address on the client's own machine.
func withoutPort(text string) (string, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" || u.User != nil {
		return "", false
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	if host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return "", false
	}
	u.Host = host
	return u.String(), true
}

// errorCode is what an error of a provider looks like (RFC 6749, section
// 4.1.2.1). Descriptions are text that anybody can put into a link.
var errorCode = regexp.MustCompile(`^[a-z_]{1,64}$`)

func (m *method) callback(ctx context.Context, c *route.Call, in callbackRequest) (authn.Identity, error) {
	f, err := m.open(ctx, in.State, in.ClientNonce.Reveal())
	if err != nil {
		return authn.Identity{}, err
	}
	switch {
	case in.Error != "" && errorCode.MatchString(in.Error):
		return authn.Identity{}, fault.Newf(fault.Unauthenticated, "the provider has refused the login: %s", in.Error)
	case in.Error != "":
		return authn.Identity{}, fault.New(fault.Unauthenticated, "the provider has refused the login")
	case f.Device != "":
		return authn.Identity{}, errState
	case in.Code == "":
		return authn.Identity{}, fault.New(fault.Invalid, "missing code")
	}
	t, r, name, err := m.setup(ctx, f.Role)
	if err != nil {
		return authn.Identity{}, err
	}
	rp, err := t.relyingParty(ctx, &r, f.Redirect)
	if err != nil {
		return authn.Identity{}, err
	}
	token, err := rp.oauth.Exchange(rp.client(ctx), in.Code.Reveal(), oauth2.VerifierOption(f.Verifier))
	if err != nil {
		return authn.Identity{}, exchangeFailed(err)
	}
	return m.finish(ctx, c, rp, &r, name, f, token)
}

// exchangeFailed words the refusal of a code. The error has the provider's whole
// answer in it, which may hold what is secret: it is not kept.
func exchangeFailed(err error) error {
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) {
		return fault.New(fault.Unauthenticated, "the provider does not accept the code of the login")
	}
	return fault.New(fault.Upstream, "the provider's token endpoint cannot be asked")
}

// keySet lets go-oidc verify signatures with the keys of the mount.
type keySet struct{ t *trust }

func (k keySet) VerifySignature(ctx context.Context, token string) ([]byte, error) {
	return k.t.signed(ctx, token)
}

// finish verifies what the provider has answered and says who the user is.
func (m *method) finish(ctx context.Context, c *route.Call, rp *relying, r *role, name string, f *flow, token *oauth2.Token) (authn.Identity, error) {
	if !authn.InCIDRs(c.Remote, r.Token.BoundCIDRs) {
		return authn.Identity{}, fault.New(fault.Denied, "permission denied")
	}
	raw, _ := token.Extra("id_token").(string)
	cl, err := m.idToken(ctx, rp, f, raw, token.AccessToken)
	if err != nil {
		return authn.Identity{}, err
	}
	if cl, err = rp.userInfo(ctx, cl, token); err != nil {
		return authn.Identity{}, err
	}
	id, err := m.judge(r, name, cl)
	if err != nil {
		r.explain(c.Log, name, cl)
		return authn.Identity{}, err
	}
	id.Commit = func(tx store.Txn) error { return m.use(tx, f) }
	return id, nil
}

func (m *method) judge(r *role, name string, cl claims) (authn.Identity, error) {
	if err := r.authenticated(cl, m.clock.Now()); err != nil {
		return authn.Identity{}, err
	}
	if len(r.BoundAudiences) > 0 {
		if err := r.audience(cl); err != nil {
			return authn.Identity{}, err
		}
	}
	return r.identity(name, cl)
}

// idToken verifies an identity token (OpenID Connect Core 1.0, section 3.1.3.7):
// signed by the issuer, for Coffer, for this login, and fitting the access token
// that came with it.
func (m *method) idToken(ctx context.Context, rp *relying, f *flow, raw, access string) (claims, error) {
	if raw == "" {
		return claims{}, refused("the provider has sent no identity token")
	}
	allowed, err := chosenAlgorithms(rp.config.Algorithms)
	if err != nil {
		return claims{}, err
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	issuer := rp.provider.IssuerURL
	if rp.config.BoundIssuer != "" {
		issuer = rp.config.BoundIssuer
	}
	verifier := oidc.NewVerifier(issuer, keySet{rp.trust}, &oidc.Config{ClientID: rp.config.ClientID, SupportedSigningAlgs: names, Now: m.clock.Now})
	token, err := verifier.Verify(ctx, raw)
	if errors.Is(err, fault.Upstream) {
		return claims{}, err
	}
	if err != nil {
		return claims{}, refused("the provider's identity token is not one for this login")
	}
	if f.Nonce != "" && subtle.ConstantTimeCompare([]byte(token.Nonce), []byte(f.Nonce)) != 1 {
		return claims{}, refused("invalid nonce")
	}
	if token.AccessTokenHash != "" && token.VerifyAccessToken(access) != nil {
		return claims{}, refused("the identity token is not of the access token")
	}
	var payload json.RawMessage
	if err := token.Claims(&payload); err != nil {
		return claims{}, refused(errClaims.Error())
	}
	cl, err := parseClaims(payload)
	if err != nil {
		return claims{}, refused(err.Error())
	}
	return cl, nil
}

// userInfo adds what the provider says of the user beside the identity token,
// such as groups. What the token says itself stands. A provider that cannot be
// asked adds nothing: the role decides whether something is missing.
func (rp *relying) userInfo(ctx context.Context, cl claims, token *oauth2.Token) (claims, error) {
	if rp.provider.UserInfoURL == "" || token.AccessToken == "" {
		return cl, nil
	}
	status, body, err := rp.issuer.client.Send(ctx, authn.Message{URL: rp.provider.UserInfoURL, Header: map[string]string{"Authorization": "Bearer " + token.AccessToken, "Accept": "application/json"}})
	if err != nil || status/100 != 2 {
		return cl, nil
	}
	more, err := parseClaims(body)
	if err != nil {
		return cl, nil // a signed answer, or none that we know
	}
	sub, _ := cl.text("sub")
	if about, ok := more.text("sub"); !ok || about != sub {
		return cl, refused("the provider's user information is about somebody else")
	}
	return cl.with(more)
}
