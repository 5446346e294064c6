package oidc

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// userInfo tells a client what the scopes of its access token tell of the
// person, OpenID Connect Core section 5.3.
func (p *Provider) userInfo(ctx context.Context, c *route.Call, in nameRequest) (route.Bytes, error) {
	token, refused, err := p.access(ctx, c, in.Name)
	if err != nil {
		return route.Bytes{}, err
	}
	if refused != nil {
		return refused.bytes()
	}
	who, err := p.Person(ctx, c.Namespace.ID, token.Subject)
	if fault.KindOf(err) == fault.Denied {
		return invalidToken("the entity is gone or disabled").bytes()
	}
	if err != nil {
		return route.Bytes{}, err
	}
	scopes := slices.DeleteFunc(strings.Fields(token.Scope), func(s string) bool { return s == openID })
	_, all, err := p.claimsOf(ctx, c, in.Name, scopes, who)
	if err != nil {
		return route.Bytes{}, err
	}
	if all["sub"], err = json.Marshal(who.ID()); err != nil {
		return route.Bytes{}, err
	}
	body, err := json.Marshal(all)
	return route.Bytes{ContentType: "application/json", Body: body, Header: map[string]string{"Cache-Control": "no-store"}}, err
}

func invalidToken(why string) *refusal {
	return &refusal{status: unauthorized, Code: "invalid_token", Description: why}
}

// access makes sure of an access token of a person, given by this provider to a
// client that is still allowed.
func (p *Provider) access(ctx context.Context, c *route.Call, name string) (token accessClaims, refused *refusal, err error) {
	var keys []jose.JSONWebKey
	var issuer string
	var cl client
	var row provider
	known := false
	err = p.view(ctx, c, func(v rows) (err error) {
		if row, err = v.provider(name); err != nil {
			return err
		}
		if issuer, err = p.issuerOf(v, c, name, row); err != nil {
			return err
		}
		keys, err = v.keysOf(row, c)
		return err
	})
	if err != nil {
		return token, nil, err
	}
	text := c.ClientToken.Reveal()
	if text == "" {
		return token, invalidToken("an access token is required, as a Bearer token"), nil
	}
	body, verr := verify(text, keys, accessToken)
	if verr != nil {
		return token, invalidToken(fault.Message(verr)), nil
	}
	if json.Unmarshal(body, &token) != nil || token.Issuer != issuer || token.Audience != issuer+"/userinfo" || !time.Unix(token.Expires, 0).After(c.Now) {
		return token, invalidToken("it has expired, or is of another provider"), nil
	}
	if err := p.view(ctx, c, func(v rows) (err error) { cl, known, err = v.clientByID(token.Client); return err }); err != nil {
		return token, nil, err
	}
	if !known || !row.allows(cl.ID) {
		return token, invalidToken("the client is not known to this provider any more"), nil
	}
	if !slices.Contains(strings.Fields(token.Scope), openID) {
		return token, invalidToken("it was given to a client for itself, not for a person"), nil
	}
	return token, nil, nil
}
