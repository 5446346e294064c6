package server

import (
	"context"
	"crypto/rand"
	"errors"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/identity"
	"github.com/cofferhq/coffer/internal/oidc"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
)

// What the identity noun says about the holders of tokens, as the nouns that
// must not know it ask for it.

// openID is the noun of identity tokens and of sign-ins to other applications.
func (h *house) openID() *oidc.Provider {
	return oidc.New(oidc.Config{
		Store: h.barrier, Clock: h.s.clock, Rand: rand.Reader, Address: func() string { return h.s.config.APIAddr },
		Person: func(ctx context.Context, ns store.NamespaceID, entity string) (oidc.Person, error) {
			return h.identity.Admit(ctx, ns, entity)
		},
	})
}

// mountOf finds a mount by its accessor.
func (h *house) mountOf(ns store.NamespaceID, accessor string) (route.Mount, error) {
	m, err := h.mounts.ByAccessor(ns, accessor)
	if err != nil {
		return route.Mount{}, err
	}
	return *m.Mount(), nil
}

// holder returns who holds a token's policies, together with the policies of its
// entity, in the namespace of a request. It refuses for an entity that is gone or disabled.
func (h *house) holder(ctx context.Context, at, ns store.NamespaceID, policies []string, entity string) (policy.Holder, error) {
	holder := policy.Holder{Namespace: ns, Policies: policies}
	if entity == "" {
		return holder, nil
	}
	p, err := h.identity.Admit(ctx, ns, entity)
	if err != nil {
		return policy.Holder{}, err
	}
	holder.Policies, holder.Identity = p.With(policies), p.Identity()
	holder.Groups, err = h.groupPolicies(ctx, p, at)
	return holder, err
}

// caller returns who makes a call.
func (h *house) caller(ctx context.Context, c *route.Call) (policy.Holder, error) {
	holder, err := h.holder(ctx, c.Namespace.ID, c.Caller.Namespace, c.Caller.Policies, c.Caller.EntityID)
	holder.At = policy.Below{Prefix: c.Caller.Prefix, IDs: c.Caller.Below}
	return holder, err
}

// valuesOf returns what the names in an engine's templates stand for. The entity
// is of the engine's namespace or, like the tokens that act there, of one above.
func (h *house) valuesOf(ctx context.Context, ns store.NamespaceID, entity string) (func(name string) (string, bool), error) {
	above, err := h.namespaces.Ancestors(ctx, ns)
	if err != nil {
		return nil, err
	}
	for _, at := range append([]store.NamespaceID{ns}, above...) {
		_, err = h.identity.Principal(ctx, at, entity)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		p, err := h.identity.Admit(ctx, at, entity)
		if err != nil {
			return nil, err
		}
		return p.Identity().Value, nil
	}
	_, err = h.identity.Admit(ctx, ns, entity)
	return nil, err
}

// entityOf returns the entity of an alias at a mount, or what makes it.
func (h *house) entityOf(ctx context.Context, m route.Mount, alias string) (string, func(store.Txn) (string, error), error) {
	return h.identity.ForLogin(ctx, identity.Login{NS: m.Namespace, Accessor: m.Accessor, Name: alias})
}

// entityPolicies returns what an entity adds to the policies of its tokens.
func (h *house) entityPolicies(ctx context.Context, ns store.NamespaceID, entity string) ([]string, error) {
	p, err := h.identity.Principal(ctx, ns, entity)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return p.Policies(), nil
}

// externalPolicies returns what groups of other namespaces give an entity.
func (h *house) externalPolicies(ctx context.Context, ns store.NamespaceID, entity string) (map[string][]string, error) {
	p, err := h.identity.Principal(ctx, ns, entity)
	if errors.Is(err, store.ErrNotFound) || err == nil && len(p.External()) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	by := map[string][]string{}
	for _, x := range p.External() {
		sp, err := h.namespaces.ByID(ctx, x.NS)
		if err != nil {
			return nil, err
		}
		by[sp.UUID] = x.Policies
	}
	return by, nil
}

// renewing lets the renewal of an entity's token go on, and lets its external
// groups follow if the method that granted it speaks of groups.
func (h *house) renewing(ctx context.Context, c *route.Call, e *token.Entry) (func(store.Txn) error, error) {
	if _, err := h.identity.Admit(ctx, e.NS, e.EntityID); err != nil || e.Mount == store.System {
		return nil, err
	}
	method, mount, err := h.method(ctx, e.Mount)
	if err != nil {
		return nil, err
	}
	grouper, ok := method.(authn.Grouper)
	if !ok {
		return nil, nil
	}
	groups, err := grouper.Groups(ctx, c, e.Payload)
	if err != nil {
		return nil, err
	}
	return h.identity.ForRenewal(ctx, e.EntityID, identity.Login{NS: e.NS, Accessor: mount.Accessor, Groups: groups})
}

// holders looks up tokens for the capabilities endpoints.
type holders struct{ h *house }

func (x holders) HolderByToken(ctx context.Context, c *route.Call, text string) (policy.Holder, error) {
	e, err := x.h.tokens.Find(ctx, text)
	return x.holder(ctx, c, e, err)
}

func (x holders) HolderByAccessor(ctx context.Context, c *route.Call, accessor string) (policy.Holder, error) {
	e, err := x.h.tokens.ByAccessor(ctx, accessor)
	return x.holder(ctx, c, e, err)
}

func (x holders) holder(ctx context.Context, c *route.Call, e *token.Entry, err error) (policy.Holder, error) {
	if err != nil {
		return policy.Holder{}, err
	}
	if e.NS != c.Namespace.ID {
		return policy.Holder{}, fault.New(fault.NotFound, "")
	}
	holder, err := x.h.holder(ctx, c.Namespace.ID, e.NS, e.Policies, e.EntityID)
	if errors.Is(err, fault.Denied) {
		return policy.Holder{}, fault.New(fault.NotFound, "") // the token cannot be used
	}
	return holder, err
}
