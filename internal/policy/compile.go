package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// rule is what all policies of a token say about one pattern.
type rule struct {
	pattern  string
	caps     Capability
	policies []string // names, sorted
	params   parameterRules
	checked  bool // params constrains something
	minWrap  time.Duration
	maxWrap  time.Duration
	pages    int
	mfa      []string
	approval bool
	rank     int // priority among patterns, the higher the better
	// seen is the latest namespace that was there when the oldest of the
	// policies that grant here was written.
	seen store.NamespaceID
}

// Compile joins the policies of one token as they stand at the time now. The
// result is immutable and safe for concurrent use.
//
// Policies with templates must be rendered before; one that is not is an
// error, as its rules would match nothing.
func Compile(policies []*Policy, now time.Time) (*ACL, error) {
	acl := &ACL{exact: map[string]*rule{}, exactDirs: map[string]*rule{}}
	byPattern := map[string]*rule{}
	for _, p := range policies {
		if p == nil || p.Templated() {
			return nil, fault.New(fault.Internal, "a policy was compiled before it was rendered")
		}
		acl.root = acl.root || p.root
		for i := range p.rules {
			r := &p.rules[i]
			if !r.Expires.IsZero() {
				if !now.Before(r.Expires) {
					continue
				}
				if acl.expires.IsZero() || r.Expires.Before(acl.expires) {
					acl.expires = r.Expires
				}
			}
			acl.add(byPattern, p, r)
		}
	}
	acl.index(byPattern)
	return acl, nil
}

// add joins one policy's rule with what others say about the same pattern.
func (a *ACL) add(byPattern map[string]*rule, p *Policy, r *Rule) {
	merged := byPattern[r.Path]
	if merged == nil {
		merged = &rule{pattern: r.Path, seen: p.seen}
		byPattern[r.Path] = merged
	}
	switch {
	case merged.caps.Has(Deny):
		if !r.Capabilities.Has(Deny) {
			return
		}
	case r.Capabilities.Has(Deny):
		*merged = rule{pattern: r.Path, caps: Deny}
	default:
		merged.caps |= r.Capabilities
		merged.seen = min(merged.seen, p.seen)
		merged.params.merge(r.params)
		merged.minWrap = tighter(merged.minWrap, r.MinWrappingTTL)
		merged.maxWrap = tighter(merged.maxWrap, r.MaxWrappingTTL)
		merged.pages = tighter(merged.pages, r.PaginationLimit)
		merged.mfa = append(merged.mfa, r.MFAMethods...)
		merged.approval = merged.approval || r.ControlGroup
	}
	if !slices.Contains(merged.policies, p.name) {
		merged.policies = append(merged.policies, p.name)
	}
}

// tighter returns the lower of two limits, of which zero is none.
func tighter[T int | time.Duration](a, b T) T {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// index builds the lookup structures.
func (a *ACL) index(byPattern map[string]*rule) {
	var globs []*rule
	for pattern, r := range byPattern {
		slices.Sort(r.policies)
		slices.Sort(r.mfa)
		r.mfa = slices.Compact(r.mfa)
		r.checked = !r.params.empty()
		a.rules = append(a.rules, r)
		switch {
		case isGlob(pattern):
			globs = append(globs, r)
		case pattern[len(pattern)-1] == '/':
			a.exactDirs[pattern[:len(pattern)-1]] = r
		default:
			a.exact[pattern] = r
		}
	}
	slices.SortFunc(a.rules, func(x, y *rule) int { return strings.Compare(x.pattern, y.pattern) })
	slices.SortFunc(globs, func(x, y *rule) int { return comparePriority(x.pattern, y.pattern) })
	for i, r := range globs {
		r.rank = i + 1
		a.globs.insert(r)
	}
	a.globs.seal()
}
