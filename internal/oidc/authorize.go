package oidc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// refusal is an error of OAuth 2.0, as the endpoints answer it: RFC 6749,
// sections 4.1.2.1 and 5.2, RFC 6750, section 3.1.
type refusal struct {
	status      int
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
	State       string `json:"state,omitempty"`
}

// The statuses of refusals. They are the protocol's own, not those of the API.
const (
	badRequest   = 400
	unauthorized = 401
)

func refuse(code, description string) *refusal {
	return &refusal{status: badRequest, Code: code, Description: description}
}

// bytes puts a refusal on the wire.
func (r refusal) bytes() (route.Bytes, error) {
	body, err := json.Marshal(r)
	b := route.Bytes{Status: r.status, ContentType: "application/json", Body: body, Header: map[string]string{"Cache-Control": "no-store"}}
	if r.status == unauthorized {
		b.Header["WWW-Authenticate"] = `Bearer error="` + r.Code + `"`
		if r.Code == "invalid_client" {
			b.Header["WWW-Authenticate"] = "Basic"
		}
	}
	return b, err
}

// code is the row of an authorisation code: what it was given for.
type code struct {
	Provider  string    `json:"provider"`
	Client    string    `json:"client"` // its id
	Redirect  string    `json:"redirect"`
	Entity    string    `json:"entity"`
	Scopes    []string  `json:"scopes"`
	Nonce     string    `json:"nonce,omitempty"`
	Challenge string    `json:"challenge,omitempty"`
	Method    string    `json:"method,omitempty"`
	AuthTime  int64     `json:"auth_time,omitempty"`
	Expires   time.Time `json:"expires"`
}

// codeTime is how long a code is good for. RFC 6749 recommends ten minutes at
// most.
const codeTime = 5 * time.Minute

// codeKey names the row of a code: the code itself is stored nowhere.
func codeKey(text string) string {
	sum := sha256.Sum256([]byte(text))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

type authorizeRequest struct {
	nameRequest
	Client       string          `json:"client_id" doc:"The client's id; required."`
	Redirect     string          `json:"redirect_uri" doc:"Where the client takes the code; required, one of those registered."`
	ResponseType string          `json:"response_type" doc:"code; required."`
	Scope        string          `json:"scope" doc:"Scopes, with openid among them, and blanks between them; required."`
	State        string          `json:"state" doc:"What the client wants back with the code."`
	Nonce        string          `json:"nonce" doc:"What the client wants to find in the identity token."`
	Challenge    string          `json:"code_challenge" doc:"PKCE: what the client proves itself by when it redeems the code; required of public clients."`
	Method       string          `json:"code_challenge_method" default:"plain" doc:"PKCE: S256 or plain."`
	MaxAge       wire.Opt[int64] `json:"max_age" doc:"Seconds since the sign-in, at most."`
}

// authorize gives the caller's entity a code for a client.
func (p *Provider) authorize(ctx context.Context, c *route.Call, in authorizeRequest) (route.Bytes, error) {
	var text string
	refused, err := p.permit(ctx, c, in, &text)
	switch {
	case err != nil:
		return route.Bytes{}, err
	case refused != nil:
		refused.State = in.State
		return refused.bytes()
	}
	body, err := json.Marshal(struct {
		Code  string `json:"code"`
		State string `json:"state,omitempty"`
	}{text, in.State})
	return route.Bytes{ContentType: "application/json", Body: body, Header: map[string]string{"Cache-Control": "no-store"}}, err
}

// permit checks the request and stores a code.
func (p *Provider) permit(ctx context.Context, c *route.Call, in authorizeRequest, text *string) (refused *refusal, err error) {
	if c.Caller.EntityID == "" {
		return refuse("access_denied", "no entity is associated with the token: log in with an auth method"), nil
	}
	who, err := p.Person(ctx, c.Namespace.ID, c.Caller.EntityID)
	if err != nil {
		return nil, err
	}
	*text = rand.Text() + rand.Text()
	err = p.change(ctx, c, func(e edit) error {
		row, err := e.provider(in.Name)
		if err != nil {
			return err
		}
		cl, known, err := e.clientByID(in.Client)
		if err != nil {
			return err
		}
		if refused = in.check(c, row, cl, known); refused != nil {
			return nil
		}
		switch ok, err := e.admits(cl, who); {
		case err != nil:
			return err
		case !ok:
			refused = refuse("access_denied", "the identity is not authorized by an assignment of the client")
			return nil
		}
		if err := e.forgetCodes(c.Now); err != nil {
			return err
		}
		return e.put(code{
			Provider: in.Name, Client: cl.ID, Redirect: in.Redirect, Entity: who.ID(), Scopes: in.scopes(row), Nonce: in.Nonce,
			Challenge: in.Challenge, Method: in.Method, AuthTime: c.Caller.IssuedAt.Unix(), Expires: c.Now.Add(codeTime),
		}, rowCode, codeKey(*text))
	})
	return refused, err
}

// forgetOld is how many codes that nobody has redeemed are looked at when one
// is given: more than are given, so they do not pile up.
const forgetOld = 8

// forgetCodes removes some codes that have expired.
func (e edit) forgetCodes(now time.Time) error {
	r := store.Under(e.key(rowCode))
	r.Limit = forgetOld
	for row, err := range e.r.Scan(r) {
		var old code
		if err == nil {
			err = json.Unmarshal(row.Value, &old)
		}
		if err != nil {
			return err
		}
		if !old.Expires.After(now) {
			if err := e.tx.Delete(row.Key); err != nil {
				return err
			}
		}
	}
	return nil
}

// check refuses what the protocol does not allow.
func (in authorizeRequest) check(c *route.Call, row provider, cl client, known bool) *refusal {
	asked := strings.Fields(in.Scope)
	switch {
	case in.Client == "" || in.Redirect == "" || in.ResponseType == "" || in.Scope == "":
		return refuse("invalid_request", "client_id, redirect_uri, response_type and scope are required")
	case !known || !row.allows(in.Client):
		return refuse("unauthorized_client", "the client is not known to this provider")
	case !cl.Code:
		return refuse("unauthorized_client", "the client does not use authorization codes")
	case !slices.ContainsFunc(cl.Redirects, func(r string) bool { return sameRedirect(r, in.Redirect) }):
		return refuse("invalid_request", "redirect_uri is none of those that are registered for the client")
	case in.ResponseType != "code":
		return refuse("unsupported_response_type", "response_type must be code")
	case !slices.Contains(asked, openID):
		return refuse("invalid_scope", "scope must have openid")
	case cl.Public && in.Challenge == "":
		return refuse("invalid_request", "a public client must send a code_challenge")
	case in.Method != "S256" && in.Method != "plain":
		return refuse("invalid_request", "code_challenge_method must be S256 or plain")
	case in.Challenge != "" && (len(in.Challenge) < 43 || len(in.Challenge) > 128):
		return refuse("invalid_request", "code_challenge must have 43 to 128 characters")
	case in.MaxAge.Set && in.MaxAge.Value < 0:
		return refuse("invalid_request", "max_age must not be negative")
	case in.MaxAge.Set && c.Now.Sub(c.Caller.IssuedAt) > time.Duration(in.MaxAge.Value)*time.Second:
		return refuse("access_denied", "the sign-in is older than max_age: log in again")
	}
	return nil
}

// scopes are those that are asked for and supported, without openid; others
// are ignored, as OpenID Connect Core section 3.1.2.1 wants it.
func (in authorizeRequest) scopes(row provider) []string {
	var all []string
	for _, s := range strings.Fields(in.Scope) {
		if slices.Contains(row.Scopes, s) && !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	return all
}

// sameRedirect compares a registered URL with one that is asked for, letter by
// letter; only the port of a loopback address is the client's own choice (RFC
// 8252, section 7.3).
func sameRedirect(registered, asked string) bool {
	if registered == asked {
		return true
	}
	r, err := url.Parse(registered)
	if err != nil || r.Scheme != "http" || !loopback(r.Hostname()) {
		return false
	}
	a, err := url.Parse(asked)
	if err != nil || a.User != nil || a.Hostname() != r.Hostname() {
		return false
	}
	r.Host = a.Host
	return r.String() == asked
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
