package gate

import (
	"context"
	"errors"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
)

var errRootOnly = fault.New(fault.Invalid, "the path is served in the root namespace only: repeat the request without a namespace")

// Namespace reports with an error that there is no namespace as a header names
// it.
func (g *Gate) Namespace(ctx context.Context, header string) error {
	_, err := g.Namespaces.At(ctx, strings.TrimSpace(header))
	return err
}

// descend follows a request into the namespaces that its header and its path
// name, and to the mount there. A mount and a namespace never stand at one path,
// so a path that a mount answers names no namespace.
func (x *exchange) descend(ctx context.Context) (m *mount.Mounted, rest string, ok bool, err error) {
	sp, err := x.start(ctx)
	if err != nil {
		return nil, "", false, err
	}
	for {
		if err := x.g.Mounts.Open(ctx, sp.ID); err != nil {
			return nil, "", false, err
		}
		if m, rest, ok = x.g.Mounts.Resolve(sp.ID, x.req.Path); m != nil {
			break
		}
		name, below, more := strings.Cut(x.req.Path, "/")
		if !more {
			break
		}
		next, err := x.g.Namespaces.Child(ctx, sp.ID, name)
		if errors.Is(err, namespace.ErrMissing) {
			break
		}
		if err != nil {
			return nil, "", false, err
		}
		sp, x.req.Namespace, x.req.Path = next, next.Namespace, below
	}
	x.req.located = true
	if sp.ID == store.RootNamespace {
		return m, rest, ok, nil
	}
	if err := sp.Enter(); err != nil {
		return nil, "", false, err
	}
	x.space = sp
	return m, rest, ok, sp.Closed(x.req.Path)
}

// start returns the namespace that the request's path begins in.
func (x *exchange) start(ctx context.Context) (sp *namespace.Space, err error) {
	if x.req.located {
		return x.g.Namespaces.ByID(ctx, x.req.Namespace.ID)
	}
	x.req.Namespace = namespace.Root // for the record, if there is none
	if sp, err = x.g.Namespaces.At(ctx, strings.TrimSpace(x.req.Within)); err == nil {
		x.req.Namespace = sp.Namespace
	}
	return sp, err
}

// leave counts the request out of its namespace.
func (x *exchange) leave() {
	if x.space != nil {
		x.space.Leave()
		x.space = nil
	}
}

// cross judges a token of another namespace than the request's. A token acts in
// its own namespace and in those below; there its policies see the path with
// that of the namespace before it. Where a token looks after itself, the request
// follows it from a namespace above into its own.
func (x *exchange) cross(ctx context.Context, e *token.Entry) error {
	reach, ok, err := x.g.Namespaces.Reach(ctx, e.NS, x.req.Namespace.ID)
	if errors.Is(err, namespace.ErrMissing) {
		return errDenied
	}
	if err != nil {
		return err
	}
	if ok {
		x.reach = reach
		return nil
	}
	return x.goHome(ctx, e)
}

// external are the policies that groups of another namespace give the caller.
type external struct {
	ns       route.Namespace
	policies []string
}

// addGroups adds what groups of other namespaces give the caller's entity in the
// namespace of the request.
func (x *exchange) addGroups(ctx context.Context, who *policy.Identity) error {
	for _, g := range x.person.External() {
		reach, ok, err := x.g.Namespaces.Reach(ctx, g.NS, x.req.Namespace.ID)
		if errors.Is(err, namespace.ErrMissing) {
			continue
		}
		if err != nil {
			return err
		}
		x.external = append(x.external, external{reach.Home, g.Policies})
		if !ok {
			continue // they hold elsewhere
		}
		acl, err := x.g.Policies.ACL(ctx, g.NS, g.Policies, who)
		if err != nil {
			return err
		}
		x.rights = x.rights.With(acl.In(policy.Below{Prefix: reach.Prefix, IDs: reach.IDs, Of: g.NS}))
	}
	return nil
}

// goHome takes a request for the caller's own token to the token's namespace.
func (x *exchange) goHome(ctx context.Context, e *token.Entry) error {
	if x.endpoint == nil || !x.endpoint.Own {
		return errDenied
	}
	home, err := x.g.Namespaces.ByID(ctx, e.NS)
	if err != nil || !strings.HasPrefix(home.Path, x.req.Namespace.Path) {
		return errDenied
	}
	x.leave()
	x.req.Namespace, x.req.located = home.Namespace, true
	if err := x.find(ctx); err != nil {
		return err
	}
	x.begin()
	if x.endpoint == nil || !x.endpoint.Own {
		return errDenied
	}
	return nil
}
