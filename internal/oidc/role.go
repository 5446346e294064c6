package oidc

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// role is the row of a role: what the identity tokens of its name are like.
type role struct {
	Key      string        `json:"key"`
	ClientID string        `json:"client_id"`
	Template string        `json:"template,omitempty"`
	TTL      time.Duration `json:"ttl"`
}

type roleRequest struct {
	nameRequest
	Key      wire.Opt[string]        `json:"key" doc:"Named key that signs; required."`
	ClientID wire.Opt[string]        `json:"client_id" doc:"Audience of the tokens; made at random if not given."`
	Template wire.Opt[string]        `json:"template" doc:"Further claims: a JSON object with names in braces, as it is or in base64."`
	TTL      wire.Opt[wire.Duration] `json:"ttl" doc:"How long a token is good for; 24h if not given, and at most the key's verification_ttl."`
}

type roleAnswer struct {
	ClientID string `json:"client_id"`
	Key      string `json:"key"`
	Template string `json:"template"`
	TTL      int64  `json:"ttl"`
}

func (p *Provider) writeRole(ctx context.Context, c *route.Call, in roleRequest) (route.None, error) {
	if err := checkName(in.Name); err != nil {
		return route.None{}, err
	}
	id, err := p.newClientID()
	if err != nil {
		return route.None{}, err
	}
	return route.None{}, p.change(ctx, c, func(e edit) error {
		r, ok, err := get[role](e.rows, rowRole, in.Name)
		if err != nil {
			return err
		}
		if !ok {
			r = role{ClientID: id, TTL: 24 * time.Hour}
		}
		r.Key, r.TTL = in.Key.Or(r.Key), in.TTL.Or(wire.Duration(r.TTL)).D()
		if in.ClientID.Value != "" {
			r.ClientID = in.ClientID.Value
		}
		if in.Template.Set {
			if r.Template, err = parseTemplate(in.Template.Value); err != nil {
				return err
			}
		}
		if r.Key == "" {
			return fault.New(fault.Invalid, "'key' is required: the named key that signs")
		}
		if strings.ContainsAny(r.ClientID, " ,*") || len(r.ClientID) > maxName {
			return fault.New(fault.Invalid, "'client_id' must not have blanks, commas and asterisks")
		}
		k, ok, err := e.namedKey(r.Key)
		switch {
		case err != nil:
			return err
		case !ok:
			return fault.Newf(fault.Invalid, "key %q does not exist", r.Key)
		case r.TTL < time.Second || r.TTL > k.Verification:
			return fault.New(fault.Invalid, "'ttl' must be more than zero, and at most the key's verification_ttl")
		}
		return e.put(r, rowRole, in.Name)
	})
}

// newClientID returns a random id: 32 letters and digits.
func (p *Provider) newClientID() (string, error) {
	id, err := wire.NewUUID(p.Rand)
	return strings.ReplaceAll(id, "-", ""), err
}

func (p *Provider) readRole(ctx context.Context, c *route.Call, in nameRequest) (roleAnswer, error) {
	r, err := find[role](ctx, p, c, rowRole, in.Name)
	return roleAnswer{r.ClientID, r.Key, r.Template, int64(r.TTL / time.Second)}, err
}

func (p *Provider) listRoles(ctx context.Context, c *route.Call, _ noInput) (keys route.Keys, err error) {
	err = p.view(ctx, c, func(v rows) error { keys.Keys, err = v.names(rowRole); return err })
	return keys, err
}

func (p *Provider) deleteRole(ctx context.Context, c *route.Call, in nameRequest) (route.None, error) {
	return route.None{}, p.change(ctx, c, func(e edit) error { return e.delete(rowRole, in.Name) })
}

// standard are the claims that every token has.
type standard struct {
	Issuer    string `json:"iss"`
	Subject   string `json:"sub"`
	Audience  string `json:"aud"`
	IssuedAt  int64  `json:"iat"`
	Expires   int64  `json:"exp"`
	Namespace string `json:"namespace"`
	Nonce     string `json:"nonce,omitempty"`
	AuthTime  int64  `json:"auth_time,omitempty"`
	AtHash    string `json:"at_hash,omitempty"`
	CodeHash  string `json:"c_hash,omitempty"`
}

// encode returns the claims as a JSON object. Standard ones win.
func (s standard) encode(more map[string]json.RawMessage) ([]byte, error) {
	own, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(own, &all); err != nil {
		return nil, err
	}
	for name, value := range more {
		if _, taken := all[name]; !taken {
			all[name] = value
		}
	}
	return json.Marshal(all)
}

// Types of the JWTs that are signed here.
const (
	identityToken = "JWT"
	accessToken   = "at+jwt" // RFC 9068
)

type tokenAnswer struct {
	ClientID string `json:"client_id"`
	Token    string `json:"token"`
	TTL      int64  `json:"ttl"`
}

// token signs an identity token for the caller's entity.
func (p *Provider) token(ctx context.Context, c *route.Call, in nameRequest) (tokenAnswer, error) {
	if c.Caller.EntityID == "" {
		return tokenAnswer{}, fault.New(fault.Invalid, "no entity is associated with the request's token: log in with an auth method")
	}
	var r role
	var issuer string
	err := p.view(ctx, c, func(v rows) (err error) {
		found := false
		if r, found, err = get[role](v, rowRole, in.Name); err == nil && !found {
			err = fault.Newf(fault.Invalid, "role %q does not exist", in.Name)
		}
		if err == nil {
			issuer, err = p.issuer(v, c)
		}
		return err
	})
	if err != nil {
		return tokenAnswer{}, err
	}
	who, err := p.Person(ctx, c.Namespace.ID, c.Caller.EntityID)
	if err != nil {
		return tokenAnswer{}, err
	}
	k, err := p.signingKey(ctx, c, r.Key)
	if err != nil {
		return tokenAnswer{}, err
	}
	if !k.allows(r.ClientID) {
		return tokenAnswer{}, fault.Newf(fault.Invalid, "key %q may not be used by the client id of role %q: add it to 'allowed_client_ids'", r.Key, in.Name)
	}
	more, err := claims(r.Template, who, c.Now)
	if err != nil {
		return tokenAnswer{}, err
	}
	body, err := standard{
		Issuer: issuer, Subject: who.ID(), Audience: r.ClientID, IssuedAt: c.Now.Unix(), Expires: c.Now.Add(r.TTL).Unix(), Namespace: c.Namespace.UUID,
	}.encode(more)
	if err != nil {
		return tokenAnswer{}, err
	}
	signed, err := k.sign(body, identityToken)
	return tokenAnswer{r.ClientID, signed, int64(r.TTL / time.Second)}, err
}

type introspectRequest struct {
	Token    string `json:"token" doc:"An identity token; required."`
	ClientID string `json:"client_id" doc:"Audience that the token must have."`
}

type introspection struct {
	Active bool   `json:"active"`
	Error  string `json:"error,omitempty"`
}

// introspect tells whether an identity token is good now.
func (p *Provider) introspect(ctx context.Context, c *route.Call, in introspectRequest) (route.Bytes, error) {
	answer, err := p.examine(ctx, c, in)
	if err != nil {
		return route.Bytes{}, err
	}
	body, err := json.Marshal(answer)
	return route.Bytes{ContentType: "application/json", Body: body}, err
}

func (p *Provider) examine(ctx context.Context, c *route.Call, in introspectRequest) (introspection, error) {
	var keys []jose.JSONWebKey
	var issuer string
	err := p.view(ctx, c, func(v rows) (err error) {
		if keys, err = v.allPublished(c.Now); err == nil {
			issuer, err = p.issuer(v, c)
		}
		return err
	})
	if err != nil {
		return introspection{}, err
	}
	body, err := verify(in.Token, keys, identityToken)
	if err != nil {
		return introspection{Error: fault.Message(err)}, nil
	}
	var s standard
	switch err := json.Unmarshal(body, &s); {
	case err != nil || s.Issuer != issuer:
		return introspection{Error: "it is of another issuer"}, nil
	case !time.Unix(s.Expires, 0).After(c.Now):
		return introspection{Error: "it has expired"}, nil
	case in.ClientID != "" && s.Audience != in.ClientID:
		return introspection{Error: "it is for another audience"}, nil
	}
	if _, err := p.Person(ctx, c.Namespace.ID, s.Subject); err != nil {
		if fault.KindOf(err) == fault.Denied {
			return introspection{Error: "its entity is gone or disabled"}, nil
		}
		return introspection{}, err
	}
	return introspection{Active: true}, nil
}

type configRequest struct {
	Issuer string `json:"issuer" doc:"URL of the cluster, without a path, that issuers begin with; empty is api_addr."`
}

func (p *Provider) readConfig(ctx context.Context, c *route.Call, _ noInput) (a struct {
	Issuer string `json:"issuer"`
}, err error) {
	err = p.view(ctx, c, func(v rows) error {
		s, _, err := get[settings](v, rowConfig)
		a.Issuer = s.Issuer
		return err
	})
	return a, err
}

func (p *Provider) writeConfig(ctx context.Context, c *route.Call, in configRequest) (route.None, error) {
	if err := checkIssuer(in.Issuer); err != nil {
		return route.None{}, err
	}
	return route.None{}, p.change(ctx, c, func(e edit) error { return e.put(settings{in.Issuer}, rowConfig) })
}

// checkIssuer wants a URL of a server alone.
func checkIssuer(issuer string) error {
	if issuer == "" {
		return nil
	}
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fault.New(fault.Invalid, "'issuer' must be the URL of a server, as in https://coffer.example.com:8200, without path and query")
	}
	return nil
}

// half is base64url of the left half of a digest, as at_hash and c_hash want it.
func half(sum []byte) string { return base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]) }
