package policy

import (
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/store"
)

// Below is where the namespace of a request lies, as seen from the one whose
// policies judge it. The zero Below is that namespace itself.
type Below struct {
	// Prefix is the path from there, which stands before the request's.
	Prefix string
	// IDs are the numbers of the namespaces that Prefix names, from the top.
	IDs []store.NamespaceID
	// Of is the namespace whose policies judge, if it is not the token's.
	Of store.NamespaceID
}

// foresees reports whether a pattern may grant anything here. A pattern that
// names a namespace means one that was there when its policy was written, seen
// being the latest of those: it must not begin to mean one that somebody makes
// later, or makes again. A wildcard means whatever it covers.
func (b *Below) foresees(pattern string, seen store.NamespaceID) bool {
	for _, id := range b.IDs {
		name, rest, more := strings.Cut(pattern, "/")
		if !more {
			return true // the rest is covered by a last "*"
		}
		if name != "+" && seen < id {
			return false
		}
		pattern = rest
	}
	return true
}

// Rights are what a caller may do in the namespace of its request: by the
// policies of its token, and by those that groups of other namespaces give it.
type Rights struct {
	acl  *ACL
	at   Below
	more []Rights
}

// In returns what the ACL grants in a namespace.
func (a *ACL) In(at Below) Rights { return Rights{acl: a, at: at} }

// With returns the rights together with others. What either denies by a rule of
// its own is denied.
func (r Rights) With(other Rights) Rights {
	r.more = append(slices.Clip(r.more), other)
	return r
}

// Root reports whether the caller may do everything.
func (r Rights) Root() bool { return r.acl.root }

// Check judges an operation on a canonical path of the request's namespace, as
// [ACL.Check] does.
func (r Rights) Check(op Op, path string, params ParamView, wrapTTL time.Duration) Decision {
	if r.at.Prefix == "" && r.more == nil && r.at.Of == 0 {
		return r.acl.Check(op, path, params, wrapTTL)
	}
	d := r.acl.Check(op, r.at.Prefix+path, params, wrapTTL)
	if d.Allowed && d.Reason == Granted && !r.at.foresees(d.Pattern, d.Seen) {
		d = Decision{Reason: Unforeseen, Pattern: d.Pattern, Policies: d.Policies}
	}
	d.Of = r.at.Of
	for _, m := range r.more {
		d = join(d, m.Check(op, path, params, wrapTTL))
	}
	return d
}

// join returns what two decisions about one request come to.
func join(a, b Decision) Decision {
	switch {
	case a.Reason == DeniedByRule || a.Reason == GrantedToRoot:
		return a
	case b.Reason == DeniedByRule || !a.Allowed:
		return b
	case !b.Allowed:
		return a
	}
	a.Sudo = a.Sudo || b.Sudo
	a.PaginationLimit = tighter(a.PaginationLimit, b.PaginationLimit)
	return a
}

// Capabilities returns the sorted names of what the caller may do at a path of
// the request's namespace, as [ACL.Capabilities] does.
func (r Rights) Capabilities(path string) []string {
	if r.acl.root {
		return []string{RootName}
	}
	caps, denied := r.capabilities(path)
	for _, m := range r.more {
		c, d := m.capabilities(path)
		caps |= c
		denied |= d
	}
	if caps &^= denied; caps == 0 {
		caps = Deny
	}
	return caps.Names()
}

// capabilities returns what is granted at a path, and what is denied by a rule.
func (r Rights) capabilities(path string) (caps, denied Capability) {
	const listing = CanList | CanScan
	path = r.at.Prefix + path
	for _, directory := range []bool{false, true} {
		of := ^listing
		if directory {
			of = listing
		}
		rule := r.acl.deciding(directory, path)
		switch {
		case rule == nil:
		case rule.caps.Has(Deny):
			denied |= of
		case r.at.foresees(rule.pattern, rule.seen):
			caps |= rule.caps & of
		}
	}
	return caps, denied
}

// AllowsUnder reports whether some rule grants something on a path of the
// request's namespace below prefix, which ends with a slash or is empty. It
// decides what a caller sees in listings, not what it may do.
func (r Rights) AllowsUnder(prefix string) bool {
	if r.acl.root {
		return true
	}
	for _, rule := range r.acl.rules {
		if rule.caps != 0 && !rule.caps.Has(Deny) && meets(rule.pattern, r.at.Prefix+prefix) && r.at.foresees(rule.pattern, rule.seen) {
			return true
		}
	}
	return slices.ContainsFunc(r.more, func(m Rights) bool { return m.AllowsUnder(prefix) })
}

// sameRule reports whether one rule decides over both paths, of each policy set.
func (r Rights) sameRule(p, q string) bool {
	if !r.acl.root && !r.acl.sameRule(r.at.Prefix+p, r.at.Prefix+q) {
		return false
	}
	return !slices.ContainsFunc(r.more, func(m Rights) bool { return !m.sameRule(p, q) })
}
