package gate

import (
	"context"
	"errors"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// RoleOf is an auth method whose logins have a role, but do not name it as
// "role" in their body.
type RoleOf interface {
	// LoginRole returns the role that a login is for, "" if it tells none.
	LoginRole(ctx context.Context, c *route.Call) string
}

// throttle asks the rate limits before anything of the request is read.
func (x *exchange) throttle() error {
	rates := x.g.Quotas.Rates()
	if rates == nil {
		return nil
	}
	e := x.endpoint
	x.quota = rates.Check(&x.call, e != nil && e.Login && !x.req.Help)
	public := e == nil && x.match.Public || e != nil && (e.Public || x.req.Open) && !x.req.Help
	return x.quota.Arrive(public || x.req.Token == "")
}

// throttleLogin asks the rate limits that depend on a login's role.
func (x *exchange) throttleLogin(ctx context.Context) error {
	if !x.quota.NeedsRole() {
		return nil
	}
	instance, err := x.mounted.Instance()
	if err != nil {
		return err
	}
	role := ""
	if named, ok := instance.(RoleOf); ok {
		role = named.LoginRole(ctx, &x.call)
	} else if raw, ok := x.call.Body.Lookup("role"); ok {
		if role, err = wire.ParseString(raw); err != nil {
			role = "" // the method words what is wrong with it
		}
	}
	return x.quota.Role(role)
}

// turnAway writes a refusal down, as all are, but that of a rate limit only if
// the configuration says so: else a flood would fill the audit devices. Whoever
// is refused before its token was looked at is charged as a stranger.
func (x *exchange) turnAway(ctx context.Context, err error) error {
	if lerr := x.quota.Entity(""); lerr != nil {
		err = lerr
	}
	if errors.Is(err, fault.RateLimited) && !x.quota.Audited() {
		return err
	}
	return x.refuse(ctx, err)
}

// reserve keeps room in the lease-count quotas for what the request is going to
// be granted.
func (x *exchange) reserve(ctx context.Context) (release func(), err error) {
	e := x.endpoint
	token := x.call.Mount.Type == mount.TokenType && e.Verb == route.VerbWrite && strings.HasPrefix(x.call.Path, "create")
	if !e.Issue && !e.Login && !token {
		return func() {}, nil
	}
	return x.g.Quotas.Reserve(ctx, &x.call)
}
