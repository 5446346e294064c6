package profile

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// hostname matches a name of labels as RFC 1123, section 2.1, has them, in
// lower case; underscores are let in as browsers and resolvers do.
var hostname = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.?$`)

// asciiName returns the spelling of a DNS name in certificates: ASCII, lower
// case. ok is false for what is no DNS name; a wildcard as the whole, or part
// of, the first label is let in.
func asciiName(name string) (ascii string, wildcard, ok bool) {
	if len(name) > 253 || name == "" {
		return "", false, false
	}
	rest := name
	first := ""
	if strings.Contains(name, "*") {
		wildcard = true
		var more bool
		if first, rest, more = strings.Cut(name, "."); !more || strings.Count(first, "*") != 1 || strings.Contains(rest, "*") {
			return "", true, false
		}
		if first = strings.ToLower(first); first != "*" && !hostname.MatchString(strings.Replace(first, "*", "x", 1)) {
			return "", true, false
		}
		first += "."
	}
	if hostname.MatchString(rest) && !strings.Contains(rest, "xn--") { // as most are: the tables need not be asked
		return first + rest, wildcard, true
	}
	p := idna.New(idna.MapForLookup(), idna.Transitional(false), idna.StrictDomainName(false))
	converted, err := p.ToASCII(rest)
	if err != nil || !hostname.MatchString(converted) {
		return "", wildcard, false
	}
	return first + converted, wildcard, true
}

// asker is who asks, as rules may speak of them.
type asker struct {
	displayName string
	domains     Strings
}

// allowsName decides about a DNS name or an email address, in lower case.
func (r *Role) allowsName(name string, who asker) bool {
	local, domain, isEmail := strings.Cut(name, "@")
	if !isEmail {
		domain = name
	} else if local == "" || domain == "" || strings.Contains(domain, "@") {
		return false
	}
	ascii, wildcard, ok := asciiName(domain)
	if !ok {
		if r.EnforceHostnames || !isEmail && strings.Contains(domain, "*") {
			return false
		}
		ascii = domain
	}
	if wildcard && (isEmail || !r.AllowWildcards) {
		return false
	}
	if r.AllowAnyName {
		return true
	}
	// Below a domain is what lies left of a dot; the wildcard's own label counts
	// as such.
	under := func(base string) bool { return base != "" && strings.HasSuffix(ascii, "."+base) }
	if r.AllowLocalhost && !isEmail {
		for _, local := range []string{"localhost", "localdomain"} {
			if ascii == local || r.AllowSubdomains && under(local) {
				return true
			}
		}
	}
	if r.AllowTokenDisplayName && who.displayName != "" {
		own := strings.ToLower(who.displayName)
		if name == own || r.AllowSubdomains && (!isEmail && under(own) || isEmail && strings.HasSuffix(ascii, "."+own)) {
			return true
		}
	}
	for _, rule := range who.domains {
		if r.underRule(name, ascii, isEmail, wildcard, strings.ToLower(strings.TrimSpace(rule)), under) {
			return true
		}
	}
	return false
}

// underRule decides by one of the allowed domains.
func (r *Role) underRule(name, ascii string, isEmail, wildcard bool, rule string, under func(string) bool) bool {
	if rule == "" {
		return false
	}
	if plain, _, ok := asciiName(rule); ok {
		rule = plain
	}
	switch {
	case r.AllowBareDomains && (ascii == rule && (!isEmail || !wildcard) || isEmail && name == rule):
		return true
	case r.AllowSubdomains && under(rule):
		return true
	case r.AllowGlobDomains && strings.Contains(rule, "*"):
		target := ascii
		if isEmail {
			target = name
		}
		return wire.MatchGlob(rule, target)
	}
	return false
}

// checkCommonName applies the role's validations to the common name, and the
// rules to what it is: an address, an email address or a host name.
func (r *Role) checkCommonName(cn string, who asker) error {
	if cn == "" {
		if r.RequireCN {
			return fault.New(fault.Invalid, `the role requires a common name: give "common_name", or set require_cn to false in the role`)
		}
		return nil
	}
	if slices.Equal(r.CNValidations, []string{"disabled"}) {
		return nil
	}
	if ip, err := netip.ParseAddr(cn); err == nil && !r.AllowAnyName {
		return r.checkIP(ip)
	}
	kind := "hostname"
	if strings.Contains(cn, "@") {
		kind = "email"
	}
	if !slices.Contains(r.CNValidations, kind) {
		return fault.Newf(fault.Invalid, "common name %q is not allowed: the role's cn_validations do not let in a name of kind %s", clip(cn), kind)
	}
	if !r.allowsName(strings.ToLower(cn), who) {
		return fault.Newf(fault.Invalid, "common name %q not allowed by this role", clip(cn))
	}
	return nil
}

func (r *Role) checkIP(ip netip.Addr) error {
	if !r.AllowIPs {
		return fault.New(fault.Invalid, "IP Subject Alternative Names are not allowed by this role")
	}
	if len(r.AllowedIPs) == 0 {
		return nil
	}
	ip = ip.Unmap()
	for _, cidr := range r.AllowedIPs {
		if p, err := netip.ParsePrefix(cidr); err == nil && p.Contains(ip) {
			return nil
		}
	}
	return fault.Newf(fault.Invalid, "IP address %s not allowed by this role", ip)
}

func globs(list Strings, value string) bool {
	return slices.ContainsFunc(list, func(p string) bool { return wire.MatchGlob(p, value) })
}

// clip bounds a name of the request in an error.
func clip(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}
