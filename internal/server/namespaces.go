package server

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/engine/cubbyhole"
	"github.com/cofferhq/coffer/internal/identity"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wrap"
)

// What namespaces mean to several nouns at once.

// bornIn writes what every namespace has.
func (s *Server) bornIn(tx store.Txn, ns store.NamespaceID) error {
	if err := mount.Init(tx, rand.Reader, ns); err != nil {
		return err
	}
	return policy.Init(tx, ns, s.clock.Now())
}

// endNamespace ends what was granted in a namespace: its leases and tokens, in
// the systems behind its engines too, and then its mounts.
func (h *house) endNamespace(ctx context.Context, ns store.NamespaceID) error {
	if err := h.leases.RevokePrefix(ctx, ns, "", false); err != nil {
		return err
	}
	if err := h.identity.End(ctx, ns); err != nil {
		return err
	}
	return h.mounts.End(ctx, ns)
}

// groupPolicies returns the policies that groups of other namespaces give an
// entity in the namespace of a request.
func (h *house) groupPolicies(ctx context.Context, p *identity.Principal, at store.NamespaceID) ([]policy.GroupPolicies, error) {
	var list []policy.GroupPolicies
	for _, x := range p.External() {
		r, ok, err := h.namespaces.Reach(ctx, x.NS, at)
		if errors.Is(err, namespace.ErrMissing) || err == nil && !ok {
			continue // they hold elsewhere
		}
		if err != nil {
			return nil, err
		}
		list = append(list, policy.GroupPolicies{Namespace: x.NS, Policies: x.Policies, At: policy.Below{Prefix: r.Prefix, IDs: r.IDs}})
	}
	return list, nil
}

// known reports whether a public request comes with a usable token.
func (h *house) known(ctx context.Context, c *route.Call) bool {
	text := c.ClientToken.Reveal()
	if text == "" {
		return false
	}
	e, err := h.tokens.Authenticate(ctx, text)
	if err != nil {
		return false
	}
	var reach namespace.Reach
	if e.NS != c.Namespace.ID {
		var ok bool
		if reach, ok, err = h.namespaces.Reach(ctx, e.NS, c.Namespace.ID); err != nil || !ok {
			return false
		}
	}
	if len(e.BoundCIDRs) > 0 && (!c.Remote.IsValid() || !authn.InCIDRs(c.Remote, e.BoundCIDRs)) {
		return false
	}
	c.Caller = e.Caller()
	c.Caller.Prefix, c.Caller.Below = reach.Prefix, reach.IDs
	return true
}

// allowed reports whether the caller's policies grant anything under a path.
func (h *house) allowed(ctx context.Context, c *route.Call, path string) bool {
	holder, err := h.caller(ctx, c)
	if err != nil {
		return false
	}
	rights, err := h.policies.Rights(ctx, holder)
	return err == nil && rights.AllowsUnder(path)
}

// visible reports whether who makes a public request may do anything under a
// path.
func (h *house) visible(ctx context.Context, c *route.Call, path string) bool {
	return h.known(ctx, c) && h.allowed(ctx, c, path)
}

// wipe removes what goes with a token: its cubbyhole and what it wraps.
func (h *house) wipe(tx store.Txn, ns store.NamespaceID, handle string, _ int) (int, error) {
	if ns != store.RootNamespace {
		if err := h.mounts.Open(context.Background(), ns); err != nil { // no context gets into transactions
			return 0, err
		}
	}
	if m, _, ok := h.mounts.Resolve(ns, "cubbyhole/"); ok {
		storage := m.Storage()
		if err := cubbyhole.Wipe(storage.Confine(tx), storage, handle); err != nil {
			return 0, err
		}
	}
	return 0, wrap.Drop(tx, handle)
}
