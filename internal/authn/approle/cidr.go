package approle

import (
	"net/netip"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
)

// block reads an address block that [authn.CleanCIDRs] has checked.
func block(text string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// cleanWithin checks a list of blocks and that each lies within one of those of
// the role, if the role has any.
func cleanWithin(list, role []string, what string) ([]string, error) {
	list, err := authn.CleanCIDRs(list)
	if err != nil {
		return nil, err
	}
	for _, text := range list {
		if len(role) > 0 && !within(text, role) {
			return nil, fault.Newf(fault.Invalid, "%s: %q is not within the blocks of the role", what, text)
		}
	}
	return list, nil
}

func within(text string, role []string) bool {
	inner, ok := block(text)
	if !ok {
		return false
	}
	for _, r := range role {
		outer, ok := block(r)
		if ok && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr()) {
			return true
		}
	}
	return false
}
