package gate

import (
	"context"
	"strconv"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/envelope"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/identity"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/lockout"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
	"github.com/cofferhq/coffer/internal/wrap"
)

// grant registers the lease of what the handler has made. If that fails, the
// engine undoes it at once; if that fails too, the engine's own note of its
// intent does it later.
func (x *exchange) grant(ctx context.Context, instance any, reply *route.Reply) (*route.Reply, error) {
	var e *lease.Entry
	_, err := x.g.Store.Update(ctx, func(tx store.Txn) error {
		var err error
		e, err = x.g.Leases.Grant(tx, &x.call, reply.Issued, x.confine)
		return err
	})
	if err != nil {
		x.undo(ctx, instance, reply.Issued)
		return nil, err
	}
	reply.Lease = &route.LeaseInfo{ID: e.ID, Duration: e.TTL, Renewable: e.Renewable}
	return reply, nil
}

// undoTime bounds the undoing of a grant whose lease could not be stored.
const undoTime = 30 * time.Second

func (x *exchange) undo(ctx context.Context, instance any, l *route.Lease) {
	r, ok := instance.(engine.Revoker)
	if !ok {
		return
	}
	// The client may be gone, what it asked for is not.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	if err := r.Revoke(ctx, l.Payload); err != nil {
		x.g.Log.Warn("undoing a grant without a lease; the engine will try again", "request", x.req.ID, "error", err)
	}
}

// login runs a login endpoint and makes the token.
func (x *exchange) login(ctx context.Context, instance any) (*route.Reply, error) {
	alias := ""
	if x.mounted.LocksOut() {
		if named, ok := instance.(authn.AliasOf); ok {
			alias = named.LoginAlias(&x.call)
		}
	}
	var try *lockout.Try // nil counts nothing
	if alias != "" {
		var err error
		if try, err = x.g.Lockout.Begin(ctx, x.call.Mount, alias); err != nil {
			return nil, err
		}
		defer try.Done()
	}
	reply, err := x.endpoint.Handle(ctx, instance, &x.call)
	if err != nil {
		if fault.KindOf(err) == fault.Unauthenticated {
			if lerr := try.Failed(context.WithoutCancel(ctx)); lerr != nil {
				return nil, lerr
			}
		}
		return nil, err
	}
	id := reply.Login
	if alias != "" && id.Alias != alias {
		// The counter and the login must speak of the same user, else each
		// spelling of a name would get its own tries.
		x.g.Log.Error("login alias differs from the one that was counted", "mount", x.call.Mount.Path)
		return nil, errDenied
	}
	if !authn.InCIDRs(x.req.Remote, id.Token.BoundCIDRs) {
		return nil, errDenied
	}
	// The verdict is known: others of the same alias need not wait for the
	// token to be stored.
	if err := try.Succeeded(ctx); err != nil {
		return nil, err
	}
	try.Done()
	reply.Auth, err = x.admitIdentity(ctx, id)
	return reply, err
}

// admitIdentity makes the token of an identity, its entity, and what the method
// stores, in one transaction.
func (x *exchange) admitIdentity(ctx context.Context, id *route.Identity) (*route.Auth, error) {
	ns := x.call.Namespace.ID
	entity, write, err := x.g.Identity.ForLogin(ctx, identity.Login{
		NS: ns, Accessor: x.call.Mount.Accessor, Name: id.Alias, Metadata: id.AliasMetadata, Groups: id.Groups,
	})
	if err != nil {
		return nil, err
	}
	var also func(store.Txn, *token.Entry) error
	if write != nil || id.Commit != nil {
		also = func(tx store.Txn, e *token.Entry) error {
			if id.Commit != nil {
				if err := id.Commit(x.confine(tx)); err != nil {
					return err
				}
			}
			if write == nil {
				return nil
			}
			var err error
			e.EntityID, err = write(tx)
			return err
		}
	}
	auth, e, err := x.g.Tokens.Login(ctx, &x.call, id, entity, x.mounted.Entry().Settings.TokenType, also)
	if err != nil || e.EntityID == "" {
		return auth, err
	}
	p, err := x.g.Identity.Admit(ctx, ns, e.EntityID)
	if err != nil {
		return nil, err
	}
	auth.Policies, auth.IdentityPolicies = p.With(auth.Policies), p.Policies()
	return auth, nil
}

// wrap puts the answer under a wrapping token if the client has asked for it.
func (x *exchange) wrap(ctx context.Context, reply *route.Reply) (*route.Reply, error) {
	if x.req.WrapTTL <= 0 || reply == nil || reply.NoContent || reply.Raw != nil || reply.Enveloped != nil || reply.Missing || reply.Wrap != nil {
		return reply, nil
	}
	accessor := reply.Accessor
	if reply.Auth != nil {
		accessor = reply.Auth.Accessor
	}
	body := envelope.Append(nil, x.req.ID, reply, x.call.Warnings(), x.endpoint.Flat)
	info, err := x.g.Wrapping.Wrap(ctx, x.call.Namespace.ID, wrap.Answer{Body: body, Path: x.req.Path, Accessor: accessor, TTL: x.req.WrapTTL, JWT: x.req.WrapJWT})
	if err != nil {
		return nil, err
	}
	return &route.Reply{Wrap: info}, nil
}

// paginate applies the limit that a policy sets on listings.
func (x *exchange) paginate(limit int) error {
	asked := x.req.Query.Get("limit")
	n, err := strconv.Atoi(asked)
	if asked != "" && err != nil {
		return fault.New(fault.Invalid, `field "limit": must be a whole number`)
	}
	if n <= 0 || n > limit {
		n = limit
	}
	q := make(map[string][]string, len(x.req.Query)+1)
	for k, v := range x.req.Query {
		q[k] = v
	}
	q["limit"] = []string{strconv.Itoa(n)}
	x.call.Query = q
	return nil
}
