package policy

import (
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/store"
)

// ACL is the union of a token's policies, ready to judge requests.
type ACL struct {
	root      bool
	exact     map[string]*rule // by path, for paths without a last slash
	exactDirs map[string]*rule // by path without its last slash
	globs     tree
	rules     []*rule // by pattern
	expires   time.Time
}

// Root reports whether the token may do everything.
func (a *ACL) Root() bool { return a.root }

// Expires returns when the first rule with an expiration stops to exist and
// the policies must be compiled anew; the zero time is never.
func (a *ACL) Expires() time.Time { return a.expires }

// Reason says why a request was allowed or denied.
type Reason uint8

// The reasons of a [Decision].
const (
	// NoRule means that no pattern matches the path.
	NoRule Reason = iota
	// DeniedByRule means that the deciding rule denies.
	DeniedByRule
	// NoCapability means that the deciding rule grants other operations.
	NoCapability
	// WrappingRefused means that the wrapping asked for, or its absence, is
	// outside the rule's bounds.
	WrappingRefused
	// ParametersRefused means that the request's parameters are.
	ParametersRefused
	// Granted means that the rule grants the operation.
	Granted
	// GrantedToRoot means that the token may do everything.
	GrantedToRoot
	// Unforeseen means that the deciding rule names a namespace that was not
	// there when its policy was written.
	Unforeseen
)

var reasonTexts = [...]string{
	"no rule matches the path", "the rule denies", "the rule does not grant the operation",
	"the rule's bounds on response wrapping are not met", "the rule's conditions on parameters are not met",
	"the rule grants the operation", "the token has the root policy",
	"the rule names a namespace that was made after its policy was written",
}

// String words the reason for an explanation.
func (r Reason) String() string {
	if int(r) < len(reasonTexts) {
		return reasonTexts[r]
	}
	return "unknown"
}

// Decision is the answer to one request. Its slices belong to the ACL and must
// not be changed.
type Decision struct {
	// Allowed says that the request may proceed. An endpoint that is
	// protected needs Sudo too.
	Allowed bool
	Sudo    bool
	Reason  Reason
	// Pattern is the pattern that decided, and Policies the names of the
	// policies that hold it.
	Pattern  string
	Policies []string
	// MinWrappingTTL and MaxWrappingTTL are the bounds that the request met.
	MinWrappingTTL, MaxWrappingTTL time.Duration
	// PaginationLimit is the most keys a listing may return; zero is no limit.
	PaginationLimit int
	// MFAMethods and NeedsApproval are what the rule asks for beyond this.
	MFAMethods    []string
	NeedsApproval bool

	// Seen is the latest namespace that the rule may name, see [Below].
	Seen store.NamespaceID
	// Of is the namespace of the policies, if it is not the token's.
	Of store.NamespaceID
}

// Check judges an operation on a canonical path without a leading slash.
// params may be nil when there are none; wrapTTL is the lifetime asked for a
// wrapped answer, zero when none is asked for.
func (a *ACL) Check(op Op, path string, params ParamView, wrapTTL time.Duration) Decision {
	if a.root {
		return Decision{Allowed: true, Sudo: true, Reason: GrantedToRoot}
	}
	r := a.deciding(op.onDirectory(), path)
	if r == nil {
		return Decision{}
	}
	d := Decision{
		Pattern: r.pattern, Policies: r.policies,
		Sudo:           r.caps.Has(CanSudo),
		MinWrappingTTL: r.minWrap, MaxWrappingTTL: r.maxWrap,
		PaginationLimit: r.pages,
		MFAMethods:      r.mfa, NeedsApproval: r.approval, Seen: r.seen,
	}
	need := op.capability()
	switch {
	case r.caps.Has(Deny):
		d.Reason = DeniedByRule
	case need == 0 || !r.caps.Has(need):
		d.Reason = NoCapability
	case !r.wrappingAllowed(wrapTTL):
		d.Reason = WrappingRefused
	case r.checked && op.carriesParameters() && !r.params.allow(params):
		d.Reason = ParametersRefused
	default:
		d.Allowed, d.Reason = true, Granted
	}
	return d
}

// carriesParameters reports whether parameter rules apply to the operation.
func (o Op) carriesParameters() bool {
	return o == Create || o == Read || o == Update || o == Patch
}

// wrappingAllowed judges the bounds. Either bound makes wrapping mandatory.
// Bounds joined from two policies may exclude each other, and then nothing
// satisfies them.
func (r *rule) wrappingAllowed(ttl time.Duration) bool {
	if r.minWrap == 0 && r.maxWrap == 0 {
		return true
	}
	return ttl > 0 && ttl >= r.minWrap && (r.maxWrap == 0 || ttl <= r.maxWrap)
}

// deciding returns the one rule that judges the path, or nil.
func (a *ACL) deciding(directory bool, path string) *rule {
	if !directory {
		return a.lookup(path)
	}
	path = strings.TrimSuffix(path, "/")
	dir := a.lookupDir(path)
	if dir != nil && dir.caps.Has(Deny) {
		return dir
	}
	if path == "" {
		return dir
	}
	plain := a.lookup(path)
	if plain != nil && plain.caps.Has(Deny) {
		return plain
	}
	// A rule for exactly "a/b" is as specific as one for "a/b/" can be. Any
	// other rule for the name counts only where the directory has none.
	if dir == nil || (a.exact[path] != nil && a.exactDirs[path] == nil) {
		return plain
	}
	return dir
}

// sameRule reports whether one rule decides over both paths.
func (a *ACL) sameRule(p, q string) bool {
	if a.root {
		return true
	}
	r := a.lookup(p)
	return r != nil && r == a.lookup(q)
}

// lookup finds the rule for the path as it is spelt.
func (a *ACL) lookup(path string) *rule {
	if base, ok := strings.CutSuffix(path, "/"); ok {
		return a.lookupDir(base)
	}
	if r := a.exact[path]; r != nil {
		return r
	}
	return a.globs.lookup(path, false, nil)
}

// lookupDir finds the rule for base with a slash after it.
func (a *ACL) lookupDir(base string) *rule {
	if r := a.exactDirs[base]; r != nil {
		return r
	}
	return a.globs.lookup(base, true, nil)
}

// Capabilities returns the sorted names of what the token may do at path, as
// sys/capabilities tells them: ["root"] for root, ["deny"] for nothing.
// Parameter and wrapping conditions are not looked at.
func (a *ACL) Capabilities(path string) []string {
	return a.In(Below{}).Capabilities(path)
}

// Grant is one compiled rule, for listings.
type Grant struct {
	// Pattern is the whole pattern; Path is it without a last "*".
	Pattern, Path string
	// Glob says that the pattern has a wildcard.
	Glob bool
	// Capabilities are the sorted names, ["deny"] for none.
	Capabilities []string
	// Policies are the names of the policies that hold the pattern.
	Policies []string

	// Seen is the latest namespace that the pattern may name, see [Below].
	Seen store.NamespaceID
}

// Grants returns every rule, sorted by pattern.
func (a *ACL) Grants() []Grant {
	out := make([]Grant, 0, len(a.rules))
	for _, r := range a.rules {
		caps := r.caps
		if caps == 0 {
			caps = Deny
		}
		out = append(out, Grant{
			Pattern: r.pattern, Path: strings.TrimSuffix(r.pattern, "*"), Glob: isGlob(r.pattern),
			Capabilities: caps.Names(), Policies: r.policies, Seen: r.seen,
		})
	}
	return out
}
