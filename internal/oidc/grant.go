package oidc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"hash"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// The grants, RFC 6749 section 4.
const (
	grantCode        = "authorization_code"
	grantCredentials = "client_credentials"
)

// grantRequest is the body of the token endpoint: a form, or JSON.
type grantRequest struct {
	grant, code, redirect, verifier, scope string
	client, secret                         string
	basic                                  bool // the client has shown itself by a header
}

// parseGrant reads the body, and the client's name and secret wherever they
// are.
func parseGrant(c *route.Call) (in grantRequest, refused *refusal) {
	field, err := fields(c.Raw)
	if err != nil {
		return in, refuse("invalid_request", "the body is neither a form nor a JSON object")
	}
	in = grantRequest{
		grant: field("grant_type"), code: field("code"), redirect: field("redirect_uri"), verifier: field("code_verifier"), scope: field("scope"),
		client: field("client_id"), secret: field("client_secret"),
	}
	if user, password, ok := basicAuth(c.Credentials.Reveal()); ok {
		if in.secret != "" {
			return in, refuse("invalid_request", "the client shows itself in two ways at once")
		}
		in.client, in.secret, in.basic = user, password, true
	}
	return in, nil
}

// fields gives the values of a form or a JSON object.
func fields(body []byte) (func(name string) string, error) {
	if strings.HasPrefix(strings.TrimSpace(string(body)), "{") {
		object, err := wire.ParseObject(body, wire.DefaultLimits)
		return func(name string) string {
			raw, _ := object.Lookup(name)
			text, err := wire.ParseString(raw)
			if err != nil {
				return ""
			}
			return text
		}, err
	}
	form, err := url.ParseQuery(string(body))
	return form.Get, err
}

// basicAuth reads a header as RFC 6749 section 2.3.1 has it: both parts are
// form-encoded before they are put together.
func basicAuth(header string) (user, password string, ok bool) {
	scheme, encoded, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", false
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", "", false
	}
	user, password, ok = strings.Cut(string(raw), ":")
	if u, err := url.QueryUnescape(user); err == nil {
		user = u
	}
	if p, err := url.QueryUnescape(password); err == nil {
		password = p
	}
	return user, password, ok
}

// grant is the token endpoint.
func (p *Provider) grant(ctx context.Context, c *route.Call, in nameRequest) (route.Bytes, error) {
	request, refused := parseGrant(c)
	if refused != nil {
		return refused.bytes()
	}
	var row provider
	var cl client
	known := false
	err := p.view(ctx, c, func(v rows) (err error) {
		if row, err = v.provider(in.Name); err == nil {
			cl, known, err = v.clientByID(request.client)
		}
		return err
	})
	if err != nil {
		return route.Bytes{}, err
	}
	if refused := request.authenticate(row, cl, known); refused != nil {
		return refused.bytes()
	}
	var answer *grantAnswer
	switch {
	case request.grant == grantCode && cl.Code:
		answer, refused, err = p.redeem(ctx, c, in.Name, cl, request)
	case request.grant == grantCredentials && cl.Credentials:
		answer, refused, err = p.credentials(ctx, c, in.Name, row, cl, request)
	case request.grant == grantCode, request.grant == grantCredentials:
		refused = refuse("unauthorized_client", "the client may not use this grant_type")
	default:
		refused = refuse("unsupported_grant_type", "grant_type must be authorization_code or client_credentials")
	}
	if err != nil {
		return route.Bytes{}, err
	}
	if refused != nil {
		return refused.bytes()
	}
	body, err := json.Marshal(answer)
	return route.Bytes{ContentType: "application/json", Body: body, Header: map[string]string{"Cache-Control": "no-store", "Pragma": "no-cache"}}, err
}

// authenticate makes sure of the client.
func (in grantRequest) authenticate(row provider, cl client, known bool) *refusal {
	if in.grant == "" || in.client == "" && !in.basic {
		return refuse("invalid_request", "grant_type and the client's id are required")
	}
	// A client that is not known takes the same time as a wrong secret.
	good := subtle.ConstantTimeCompare([]byte(in.secret), []byte(cl.Secret)) == 1
	if !known || !row.allows(cl.ID) || !good || cl.Public && in.secret != "" {
		return &refusal{status: unauthorized, Code: "invalid_client", Description: "the client is not known, or could not be made sure of"}
	}
	return nil
}

// grantAnswer is what a grant gives, RFC 6749 section 5.1.
type grantAnswer struct {
	AccessToken string `json:"access_token"`
	IDToken     string `json:"id_token,omitempty"`
	ExpiresIn   int64  `json:"expires_in"`
	Type        string `json:"token_type"`
	Scope       string `json:"scope,omitempty"`
}

// errInvalidGrant never says which of the reasons it was.
func invalidGrant() *refusal {
	return refuse("invalid_grant", "the code is not good: it was used, has expired, or was given for another client, redirect_uri or code_verifier")
}

// redeem exchanges a code. It is gone afterwards, whatever comes of it: who has
// a code and not what belongs to it has stolen it.
func (p *Provider) redeem(ctx context.Context, c *route.Call, name string, cl client, in grantRequest) (*grantAnswer, *refusal, error) {
	if in.code == "" || in.redirect == "" {
		return nil, refuse("invalid_request", "code and redirect_uri are required"), nil
	}
	var given code
	found := false
	err := p.change(ctx, c, func(e edit) (err error) {
		if given, found, err = get[code](e.rows, rowCode, codeKey(in.code)); err != nil || !found {
			return err
		}
		return e.delete(rowCode, codeKey(in.code))
	})
	if err != nil {
		return nil, nil, err
	}
	if !found || !given.Expires.After(c.Now) || given.Client != cl.ID || given.Provider != name || given.Redirect != in.redirect || !given.proves(in.verifier) {
		return nil, invalidGrant(), nil
	}
	who, err := p.Person(ctx, c.Namespace.ID, given.Entity)
	if fault.KindOf(err) == fault.Denied {
		return nil, invalidGrant(), nil
	}
	if err != nil {
		return nil, nil, err
	}
	issuer, more, err := p.claimsOf(ctx, c, name, given.Scopes, who)
	if err != nil {
		return nil, nil, err
	}
	k, err := p.signingKey(ctx, c, cl.Key)
	if err != nil {
		return nil, nil, err
	}
	if !k.allows(cl.ID) {
		return nil, refuse("unauthorized_client", "the client's key may not be used by it"), nil
	}
	access, err := p.accessToken(c, k, issuer, who.ID(), cl, append([]string{openID}, given.Scopes...))
	if err != nil {
		return nil, nil, err
	}
	claims := standard{
		Issuer: issuer, Subject: who.ID(), Audience: cl.ID, IssuedAt: c.Now.Unix(), Expires: c.Now.Add(cl.IDTTL).Unix(), Namespace: c.Namespace.UUID,
		Nonce: given.Nonce, AuthTime: given.AuthTime, AtHash: halfOf(k.Algorithm, access), CodeHash: halfOf(k.Algorithm, in.code),
	}
	body, err := claims.encode(more)
	if err != nil {
		return nil, nil, err
	}
	id, err := k.sign(body, identityToken)
	return &grantAnswer{AccessToken: access, IDToken: id, ExpiresIn: int64(cl.AccessTTL / time.Second), Type: "Bearer"}, nil, err
}

// proves checks a PKCE verifier, RFC 7636 section 4.6.
func (g code) proves(verifier string) bool {
	if g.Challenge == "" {
		return verifier == ""
	}
	if g.Method == "S256" {
		sum := sha256.Sum256([]byte(verifier))
		verifier = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return subtle.ConstantTimeCompare([]byte(verifier), []byte(g.Challenge)) == 1
}

// halfOf is the left half of a digest that goes with a signature's algorithm.
func halfOf(algorithm, text string) string {
	var h hash.Hash
	switch algorithm {
	case "RS384", "ES384":
		h = sha512.New384()
	case "RS512", "ES512", "EdDSA":
		h = sha512.New()
	default:
		h = sha256.New()
	}
	h.Write([]byte(text))
	return half(h.Sum(nil))
}

// claimsOf fills in the templates of scopes. Two scopes must not give one claim
// two values.
func (p *Provider) claimsOf(ctx context.Context, c *route.Call, name string, scopes []string, who Person) (issuer string, all map[string]json.RawMessage, err error) {
	all = map[string]json.RawMessage{}
	err = p.view(ctx, c, func(v rows) error {
		row, err := v.provider(name)
		if err != nil {
			return err
		}
		if issuer, err = p.issuerOf(v, c, name, row); err != nil {
			return err
		}
		for _, s := range scopes {
			sc, _, err := get[scope](v, rowScope, s)
			if err != nil {
				return err
			}
			some, err := claims(sc.Template, who, c.Now)
			if err != nil {
				return err
			}
			for claim, value := range some {
				if _, taken := all[claim]; taken {
					return fault.Newf(fault.Invalid, "the claim %q is given by two of the scopes that were asked for", claim)
				}
				all[claim] = value
			}
		}
		return nil
	})
	return issuer, all, err
}

// accessClaims are those of an access token, RFC 9068 section 2.2.
type accessClaims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"` // the userinfo endpoint
	Client   string `json:"client_id"`
	Scope    string `json:"scope"`
	IssuedAt int64  `json:"iat"`
	Expires  int64  `json:"exp"`
	ID       string `json:"jti"`
}

func (p *Provider) accessToken(c *route.Call, k namedKey, issuer, subject string, cl client, scopes []string) (string, error) {
	body, err := json.Marshal(accessClaims{
		Issuer: issuer, Subject: subject, Audience: issuer + "/userinfo", Client: cl.ID, Scope: strings.Join(scopes, " "),
		IssuedAt: c.Now.Unix(), Expires: c.Now.Add(cl.AccessTTL).Unix(), ID: rand.Text(),
	})
	if err != nil {
		return "", err
	}
	return k.sign(body, accessToken)
}

// credentials gives a client an access token for itself.
func (p *Provider) credentials(ctx context.Context, c *route.Call, name string, row provider, cl client, in grantRequest) (*grantAnswer, *refusal, error) {
	var scopes []string
	for _, s := range strings.Fields(in.scope) {
		if !slices.Contains(row.Scopes, s) {
			return nil, refuse("invalid_scope", "a scope is not supported by this provider"), nil
		}
		scopes = append(scopes, s)
	}
	k, err := p.signingKey(ctx, c, cl.Key)
	if err != nil {
		return nil, nil, err
	}
	if !k.allows(cl.ID) {
		return nil, refuse("unauthorized_client", "the client's key may not be used by it"), nil
	}
	var issuer string
	if err := p.view(ctx, c, func(v rows) error { issuer, err = p.issuerOf(v, c, name, row); return err }); err != nil {
		return nil, nil, err
	}
	access, err := p.accessToken(c, k, issuer, cl.ID, cl, scopes)
	return &grantAnswer{AccessToken: access, ExpiresIn: int64(cl.AccessTTL / time.Second), Type: "Bearer", Scope: strings.Join(scopes, " ")}, nil, err
}
