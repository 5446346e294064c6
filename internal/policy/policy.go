package policy

import (
	"slices"
	"time"

	"github.com/cofferhq/coffer/internal/store"
)

// Policy is one parsed policy. It is immutable and safe for concurrent use.
type Policy struct {
	name  string
	rules []Rule
	root  bool
	seen  store.NamespaceID // the latest namespace when it was written
}

// Name returns the name the policy was parsed under.
func (p *Policy) Name() string { return p.name }

// IsRoot reports whether the policy is the built-in one that allows
// everything. No text makes one: only [Root] does.
func (p *Policy) IsRoot() bool { return p.root }

// Rules returns the rules in the order written.
func (p *Policy) Rules() []Rule { return slices.Clone(p.rules) }

// Templated reports whether a path speaks of the caller's identity, so that
// the policy must be rendered before it is compiled.
func (p *Policy) Templated() bool {
	return slices.ContainsFunc(p.rules, func(r Rule) bool { return r.template.hasHoles() })
}

// Rule is one path block of a policy.
type Rule struct {
	// Path is the pattern, without a leading slash.
	Path string
	// Line is where the block starts.
	Line int
	// Capabilities is what the block grants, or Deny alone.
	Capabilities Capability
	// MinWrappingTTL and MaxWrappingTTL bound the lifetime of the wrapped
	// answer; when one is set, the request must ask for wrapping.
	MinWrappingTTL, MaxWrappingTTL time.Duration
	// PaginationLimit is the most keys one listing may return; zero is no
	// limit.
	PaginationLimit int
	// Expires is when the block stops to exist; zero is never.
	Expires time.Time
	// MFAMethods and ControlGroup say that the block asks for a second factor
	// or for approval, which the caller of this package must enforce.
	MFAMethods   []string
	ControlGroup bool
	// Comment is the author's.
	Comment string

	params   parameterRules
	template template
}

// Denies reports whether the rule takes access away: by saying so, or by
// granting nothing where a wider rule might.
func (r *Rule) Denies() bool { return r.Capabilities == 0 || r.Capabilities.Has(Deny) }

// HasParameterRules reports whether the rule constrains request parameters.
func (r *Rule) HasParameterRules() bool { return !r.params.empty() }
