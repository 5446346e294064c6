// Package authn is the contract of auth methods. A method is a [Type] with a
// route table; an instance is made per mount, on its first use. A method says
// who the caller is ([Identity]); what that identity gets is the token noun's
// business.
//
// Methods import this package, engine (for Host), route, wire, fault, clock and
// their own libraries; never each other, the gate or httpd.
package authn

import (
	"context"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/route"
)

// Type is a kind of auth method, listed in server/builtins.go.
type Type struct {
	// Name is the mount type: "userpass".
	Name string
	// Routes are the endpoints; their receiver is what New returns.
	Routes []route.Endpoint
	// New makes the instance of a mount. It does no I/O.
	New func(Host) (any, error)
	// Singleton methods (token) are mounted once by the server.
	Singleton bool
	// Lockout says that failed logins lock the alias out (userpass, approle,
	// ldap).
	Lockout bool
	// Doc describes the method in one sentence.
	Doc string
}

// Host is what an instance gets from the house.
type Host = engine.Host

// Identity is what a method has established, see [route.Identity].
type Identity = route.Identity

// TokenParams are a role's token settings, see [route.TokenParams].
type TokenParams = route.TokenParams

// Renewer is an instance that has a say when a token it granted is renewed.
type Renewer interface {
	// Renew gets the payload of the login and returns the role's present token
	// settings, or an error if the caller may not renew (role or user gone).
	Renew(ctx context.Context, c *route.Call, payload []byte) (TokenParams, error)
}

// Grouper is an instance whose logins say which external groups a user is in.
// Asked again when a token that it granted is renewed, so that memberships
// follow; without it they stay as the login left them.
type Grouper interface {
	// Groups gets the payload of the login and returns the names of the groups
	// that the user is in now.
	Groups(ctx context.Context, c *route.Call, payload []byte) ([]string, error)
}

// AliasOf is an instance whose logins can be locked out. It gives the
// canonical name of the alias that a login request is about, before the login
// is judged, by the same normaliser that the login uses.
type AliasOf interface {
	LoginAlias(c *route.Call) string
}

// Login declares the endpoint that grants a token. Its handler returns an
// identity or an error; a refusal for bad credentials is
// [fault.Unauthenticated].
func Login[E, In any](pattern string, h func(E, context.Context, *route.Call, In) (Identity, error), opts ...route.Option) route.Endpoint {
	return LoginBy(route.VerbWrite, pattern, h, opts...)
}

// LoginBy is [Login] for another verb than a write: a browser that comes back
// from an identity provider reads.
func LoginBy[E, In any](verb route.Verb, pattern string, h func(E, context.Context, *route.Call, In) (Identity, error), opts ...route.Option) route.Endpoint {
	opts = append([]route.Option{route.Public()}, opts...)
	e := route.Full(verb, pattern, func(recv E, ctx context.Context, c *route.Call, in In) (*route.Reply, error) {
		id, err := h(recv, ctx, c, in)
		if err != nil {
			return nil, err
		}
		reply := &route.Reply{Login: &id}
		if id.EmptyData {
			reply.Data = []byte("{}")
		}
		return reply, nil
	}, opts...)
	e.Effect, e.Login = true, true
	return e
}
