package token

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/route"
)

// entityPolicies returns what the token's entity adds to its policies.
func (s *Store) entityPolicies(ctx context.Context, e *Entry) ([]string, error) {
	if e.EntityID == "" || s.EntityPolicies == nil {
		return nil, nil
	}
	return s.EntityPolicies(ctx, e.NS, e.EntityID)
}

// facts shows the token with its entity's policies.
func (s *Store) facts(ctx context.Context, c *route.Call, e *Entry, text string) (facts, error) {
	f := e.facts(text, c.Now)
	f.NamespacePath = c.Namespace.Path
	if e.NS != c.Namespace.ID { // the caller's own token, in a namespace below its own
		f.NamespacePath = strings.TrimSuffix(f.NamespacePath, c.Caller.Prefix)
	}
	var err error
	if f.IdentityPolicies, err = s.entityPolicies(ctx, e); err != nil || e.EntityID == "" || s.ExternalPolicies == nil {
		return f, err
	}
	f.ExternalPolicies, err = s.ExternalPolicies(ctx, e.NS, e.EntityID)
	return f, err
}

// auth returns the envelope's auth part with the entity's policies.
func (s *Store) auth(ctx context.Context, e *Entry, text string, now time.Time) (*route.Auth, error) {
	a := e.auth(text, now)
	own, err := s.entityPolicies(ctx, e)
	if err == nil && len(own) > 0 {
		a.IdentityPolicies = own
		a.Policies = slices.Concat(e.Policies, own)
		slices.Sort(a.Policies)
		a.Policies = slices.Compact(a.Policies)
	}
	return a, err
}
