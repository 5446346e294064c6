package token

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Role is a template for tokens that callers may create by.
type Role struct {
	Name                   string        `json:"name"`
	AllowedPolicies        []string      `json:"allowed_policies"`
	AllowedPoliciesGlob    []string      `json:"allowed_policies_glob"`
	DisallowedPolicies     []string      `json:"disallowed_policies"`
	DisallowedPoliciesGlob []string      `json:"disallowed_policies_glob"`
	AllowedEntityAliases   []string      `json:"allowed_entity_aliases"`
	Orphan                 bool          `json:"orphan"`
	Renewable              bool          `json:"renewable"`
	PathSuffix             string        `json:"path_suffix"`
	Period                 time.Duration `json:"period"`
	ExplicitMaxTTL         time.Duration `json:"explicit_max_ttl"`
	BoundCIDRs             []string      `json:"bound_cidrs"`
	NumUses                int           `json:"num_uses"`
	NoDefaultPolicy        bool          `json:"no_default_policy"`
	TokenType              string        `json:"token_type"`
	// Legacy says that period and explicit_max_ttl were given under their old
	// names, under which they are then shown too.
	LegacyPeriod         bool `json:"legacy_period,omitempty"`
	LegacyExplicitMaxTTL bool `json:"legacy_explicit_max_ttl,omitempty"`
}

type roleRequest struct {
	Name string `path:"role_name" doc:"Name of the role."`
}

type writeRoleRequest struct {
	roleRequest
	AllowedPolicies        wire.Opt[[]string]      `json:"allowed_policies" doc:"Policies that tokens may ask for; all of them if they ask for none."`
	AllowedPoliciesGlob    wire.Opt[[]string]      `json:"allowed_policies_glob" doc:"The same with '*' in the names."`
	DisallowedPolicies     wire.Opt[[]string]      `json:"disallowed_policies" doc:"Policies that tokens may not have."`
	DisallowedPoliciesGlob wire.Opt[[]string]      `json:"disallowed_policies_glob" doc:"The same with '*' in the names."`
	AllowedEntityAliases   wire.Opt[[]string]      `json:"allowed_entity_aliases" doc:"Aliases that tokens may be tied to."`
	Orphan                 wire.Opt[bool]          `json:"orphan" doc:"Whether tokens are orphans."`
	Renewable              wire.Opt[bool]          `json:"renewable" doc:"Whether tokens can be renewed; true if not given."`
	PathSuffix             wire.Opt[string]        `json:"path_suffix" doc:"Appended to the path that tokens show as their origin."`
	Period                 wire.Opt[wire.Duration] `json:"period" doc:"Use token_period." deprecated:"true"`
	TokenPeriod            wire.Opt[wire.Duration] `json:"token_period" doc:"Makes tokens periodic."`
	ExplicitMaxTTL         wire.Opt[wire.Duration] `json:"explicit_max_ttl" doc:"Use token_explicit_max_ttl." deprecated:"true"`
	TokenExplicitMaxTTL    wire.Opt[wire.Duration] `json:"token_explicit_max_ttl" doc:"Hard limit of the lifetime."`
	BoundCIDRs             wire.Opt[[]string]      `json:"token_bound_cidrs" alias:"bound_cidrs" doc:"Address blocks that tokens may be used from."`
	NumUses                wire.Opt[int]           `json:"token_num_uses" doc:"How often tokens may be used."`
	NoDefaultPolicy        wire.Opt[bool]          `json:"token_no_default_policy" doc:"Leaves the default policy off."`
	TokenType              wire.Opt[string]        `json:"token_type" doc:"service, batch, default-service or default-batch."`
}

type roleAnswer struct {
	AllowedEntityAliases   []string      `json:"allowed_entity_aliases"`
	AllowedPolicies        []string      `json:"allowed_policies"`
	AllowedPoliciesGlob    []string      `json:"allowed_policies_glob"`
	DisallowedPolicies     []string      `json:"disallowed_policies"`
	DisallowedPoliciesGlob []string      `json:"disallowed_policies_glob"`
	ExplicitMaxTTL         wire.Duration `json:"explicit_max_ttl"`
	Name                   string        `json:"name"`
	Orphan                 bool          `json:"orphan"`
	PathSuffix             string        `json:"path_suffix"`
	Period                 wire.Duration `json:"period"`
	Renewable              bool          `json:"renewable"`
	TokenBoundCIDRs        []string      `json:"token_bound_cidrs,omitempty"`
	TokenExplicitMaxTTL    wire.Duration `json:"token_explicit_max_ttl"`
	TokenNoDefaultPolicy   bool          `json:"token_no_default_policy"`
	TokenNumUses           int           `json:"token_num_uses,omitempty"`
	TokenPeriod            wire.Duration `json:"token_period"`
	TokenType              string        `json:"token_type"`
}

func roleKey(ns store.NamespaceID, name string) store.Key {
	return store.NewKey(ns, store.System, store.KindTokenRole, name)
}

// role returns a role, or nil if there is none.
func (s *Store) role(ctx context.Context, ns store.NamespaceID, name string) (*Role, error) {
	var r Role
	err := s.Store.View(ctx, func(rd store.Reader) error {
		var err error
		r, err = store.GetJSON[Role](rd, roleKey(ns, name))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // absence is an ordinary answer within this package
	}
	return &r, err
}

func (s *Store) roleExists(ctx context.Context, c *route.Call, in writeRoleRequest) (bool, error) {
	r, err := s.role(ctx, c.Namespace.ID, in.Name)
	return r != nil, err
}

func (s *Store) listRoles(ctx context.Context, c *route.Call, _ noInput) (route.Keys, error) {
	var names []string
	err := s.Store.View(ctx, func(r store.Reader) error {
		var err error
		names, err = store.Children(r, store.NewKey(c.Namespace.ID, store.System, store.KindTokenRole), "", 0)
		return err
	})
	return route.Keys{Keys: names}, err
}

func (s *Store) readRole(ctx context.Context, c *route.Call, in roleRequest) (*roleAnswer, error) {
	r, err := s.role(ctx, c.Namespace.ID, in.Name)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return nil, fault.New(fault.NotFound, "")
	}
	a := &roleAnswer{
		AllowedEntityAliases: r.AllowedEntityAliases, AllowedPolicies: orEmpty(r.AllowedPolicies), AllowedPoliciesGlob: orEmpty(r.AllowedPoliciesGlob),
		DisallowedPolicies: orEmpty(r.DisallowedPolicies), DisallowedPoliciesGlob: orEmpty(r.DisallowedPoliciesGlob), Name: r.Name, Orphan: r.Orphan,
		PathSuffix: r.PathSuffix, Renewable: r.Renewable, TokenBoundCIDRs: r.BoundCIDRs, TokenExplicitMaxTTL: wire.Duration(r.ExplicitMaxTTL),
		TokenNoDefaultPolicy: r.NoDefaultPolicy, TokenNumUses: r.NumUses, TokenPeriod: wire.Duration(r.Period), TokenType: r.TokenType,
	}
	if r.LegacyPeriod {
		a.Period = wire.Duration(r.Period)
	}
	if r.LegacyExplicitMaxTTL {
		a.ExplicitMaxTTL = wire.Duration(r.ExplicitMaxTTL)
	}
	return a, nil
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (s *Store) deleteRole(ctx context.Context, c *route.Call, in roleRequest) (route.None, error) {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error { return tx.Delete(roleKey(c.Namespace.ID, in.Name)) })
	return route.None{}, err
}

func (s *Store) writeRole(ctx context.Context, c *route.Call, in writeRoleRequest) (route.None, error) {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		r, err := store.GetJSON[Role](tx, roleKey(c.Namespace.ID, in.Name))
		if errors.Is(err, store.ErrNotFound) {
			r, err = Role{Name: in.Name, Renewable: true, TokenType: "default-service"}, nil
		}
		if err != nil {
			return err
		}
		if err := in.apply(&r); err != nil {
			return err
		}
		return store.PutJSON(tx, roleKey(c.Namespace.ID, in.Name), r)
	})
	return route.None{}, err
}

func (in *writeRoleRequest) apply(r *Role) error {
	for _, f := range []struct {
		from wire.Opt[[]string]
		to   *[]string
	}{{in.AllowedPolicies, &r.AllowedPolicies}, {in.AllowedPoliciesGlob, &r.AllowedPoliciesGlob}, {in.DisallowedPolicies, &r.DisallowedPolicies}, {in.DisallowedPoliciesGlob, &r.DisallowedPoliciesGlob}} {
		if !f.from.Set {
			continue
		}
		list, err := authn.CleanPolicies(f.from.Value)
		if err != nil {
			return err
		}
		*f.to = list
	}
	in.AllowedEntityAliases.Into(&r.AllowedEntityAliases)
	in.Orphan.Into(&r.Orphan)
	in.Renewable.Into(&r.Renewable)
	in.PathSuffix.Into(&r.PathSuffix)
	in.NoDefaultPolicy.Into(&r.NoDefaultPolicy)
	in.NumUses.Into(&r.NumUses)
	if r.NumUses < 0 {
		return fault.New(fault.Invalid, "'token_num_uses' cannot be negative")
	}
	if strings.ContainsAny(r.PathSuffix, "/.\x00 ") || len(r.PathSuffix) > 128 {
		return fault.New(fault.Invalid, "'path_suffix' must be one path segment of letters, digits and dashes")
	}
	in.durations(r)
	if in.BoundCIDRs.Set {
		list, err := authn.CleanCIDRs(in.BoundCIDRs.Value)
		if err != nil {
			return err
		}
		r.BoundCIDRs = authn.BareHosts(list)
	}
	return in.tokenType(r)
}

func (in *writeRoleRequest) durations(r *Role) {
	if in.Period.Set {
		r.Period, r.LegacyPeriod = in.Period.Value.D(), true
	}
	if in.TokenPeriod.Set {
		r.Period, r.LegacyPeriod = in.TokenPeriod.Value.D(), false
	}
	if in.ExplicitMaxTTL.Set {
		r.ExplicitMaxTTL, r.LegacyExplicitMaxTTL = in.ExplicitMaxTTL.Value.D(), true
	}
	if in.TokenExplicitMaxTTL.Set {
		r.ExplicitMaxTTL, r.LegacyExplicitMaxTTL = in.TokenExplicitMaxTTL.Value.D(), false
	}
}

func (in *writeRoleRequest) tokenType(r *Role) error {
	if !in.TokenType.Set {
		return nil
	}
	switch in.TokenType.Value {
	case Service, Batch, "default-service", "default-batch":
		r.TokenType = in.TokenType.Value
	case "", "default":
		r.TokenType = "default-service"
	default:
		return fault.New(fault.Invalid, "invalid 'token_type': use service, batch, default-service or default-batch")
	}
	if r.TokenType == Batch && (r.Period > 0 || r.NumUses > 0 || r.Renewable && in.Renewable.Set) {
		return fault.New(fault.Invalid, "batch tokens can have neither period nor use limit, and cannot be renewed")
	}
	return nil
}

// restricts reports whether the role says anything about policies.
func (r *Role) restricts() bool {
	return len(r.AllowedPolicies)+len(r.AllowedPoliciesGlob)+len(r.DisallowedPolicies)+len(r.DisallowedPoliciesGlob) > 0
}

// choose returns the policies of a token that asks for some under this role.
func (r *Role) choose(asked, parent []string) ([]string, error) {
	if len(asked) == 0 {
		asked = slices.Clone(r.AllowedPolicies)
		if len(r.AllowedPolicies)+len(r.AllowedPoliciesGlob) == 0 {
			asked = slices.DeleteFunc(slices.Clone(parent), func(n string) bool { return n == policy.RootName })
		}
	}
	allowAll := len(r.AllowedPolicies)+len(r.AllowedPoliciesGlob) == 0
	for _, name := range asked {
		switch {
		case name == policy.RootName:
			return nil, fault.New(fault.Invalid, "a role cannot be used to create root tokens")
		case r.forbids(name):
			return nil, fault.Newf(fault.Invalid, "token policy %q is disallowed by the role", name)
		case allowAll || name == policy.DefaultName || slices.Contains(r.AllowedPolicies, name) || matchesAny(r.AllowedPoliciesGlob, name):
		default:
			return nil, fault.New(fault.Invalid, "token policies are not a subset of the role's allowed policies")
		}
	}
	return asked, nil
}

// forbids reports whether tokens of the role may not have a policy.
func (r *Role) forbids(name string) bool {
	return slices.Contains(r.DisallowedPolicies, name) || matchesAny(r.DisallowedPoliciesGlob, name)
}

// matchesAny matches a name with patterns in which '*' stands for any text.
func matchesAny(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return wire.MatchGlob(p, name) })
}

// allowsAlias reports whether tokens of the role may be tied to an alias, in
// whatever case it is written.
func (r *Role) allowsAlias(alias string) bool {
	return slices.ContainsFunc(r.AllowedEntityAliases, func(pattern string) bool {
		return wire.MatchGlob(strings.ToLower(pattern), strings.ToLower(alias))
	})
}
