package authn

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// TokenFields are the request fields that every method's roles and users share;
// embed it in the request struct of a write.
type TokenFields struct {
	TTL             wire.Opt[wire.Duration] `json:"token_ttl" doc:"Initial lifetime of the token."`
	MaxTTL          wire.Opt[wire.Duration] `json:"token_max_ttl" doc:"Lifetime that renewal cannot exceed."`
	ExplicitMaxTTL  wire.Opt[wire.Duration] `json:"token_explicit_max_ttl" doc:"Hard limit of the token's lifetime, also for periodic tokens."`
	Period          wire.Opt[wire.Duration] `json:"token_period" doc:"Makes the token periodic: renewable for ever, by this much each time."`
	Policies        wire.Opt[[]string]      `json:"token_policies" doc:"Policies of the token."`
	NoDefaultPolicy wire.Opt[bool]          `json:"token_no_default_policy" doc:"Leaves the default policy off the token."`
	BoundCIDRs      wire.Opt[[]string]      `json:"token_bound_cidrs" doc:"Address blocks that the token may be used from, and the login made from."`
	StrictlyBindIP  wire.Opt[bool]          `json:"token_strictly_bind_ip" doc:"Binds the token to the address that the login came from."`
	NumUses         wire.Opt[int]           `json:"token_num_uses" doc:"How often the token may be used; 0 is without limit."`
	Type            wire.Opt[string]        `json:"token_type" doc:"Kind of token: service, batch, default-service, default-batch or default."`
}

// Apply checks the fields that were given and lays them over p.
func (f *TokenFields) Apply(p *TokenParams) error {
	next := *p
	f.durations(&next)
	f.NoDefaultPolicy.Into(&next.NoDefaultPolicy)
	f.StrictlyBindIP.Into(&next.StrictlyBindIP)
	f.NumUses.Into(&next.NumUses)
	if next.NumUses < 0 {
		return fault.New(fault.Invalid, `'token_num_uses' cannot be negative`)
	}
	if f.Policies.Set {
		list, err := CleanPolicies(f.Policies.Value)
		if err != nil {
			return err
		}
		next.Policies = list
	}
	if f.BoundCIDRs.Set {
		list, err := CleanCIDRs(f.BoundCIDRs.Value)
		if err != nil {
			return err
		}
		next.BoundCIDRs = BareHosts(list)
	}
	if f.Type.Set {
		kind, err := cleanType(f.Type.Value)
		if err != nil {
			return err
		}
		next.Type = kind
	}
	if err := checkTokenParams(&next); err != nil {
		return err
	}
	*p = next
	return nil
}

func (f *TokenFields) durations(p *TokenParams) {
	for _, d := range []struct {
		from wire.Opt[wire.Duration]
		to   *time.Duration
	}{{f.TTL, &p.TTL}, {f.MaxTTL, &p.MaxTTL}, {f.ExplicitMaxTTL, &p.ExplicitMaxTTL}, {f.Period, &p.Period}} {
		if d.from.Set {
			*d.to = d.from.Value.D()
		}
	}
}

func cleanType(kind string) (string, error) {
	switch kind {
	case "", "default":
		return "default", nil
	case "service", "batch", "default-service", "default-batch":
		return kind, nil
	}
	return "", fault.New(fault.Invalid, `invalid 'token_type': use service, batch, default-service, default-batch or default`)
}

func checkTokenParams(p *TokenParams) error {
	if p.TTL > 0 && p.MaxTTL > 0 && p.TTL > p.MaxTTL {
		return fault.New(fault.Invalid, "'token_ttl' cannot be greater than 'token_max_ttl'")
	}
	if p.Type == "batch" {
		if p.NumUses > 0 {
			return fault.New(fault.Invalid, "'token_type' cannot be 'batch' when 'token_num_uses' is set: a batch token cannot be counted")
		}
		if p.Period > 0 {
			return fault.New(fault.Invalid, "'token_type' cannot be 'batch' when 'token_period' is set: a batch token cannot be renewed")
		}
	}
	return nil
}

// CleanPolicies lower-cases and sorts names of policies and drops duplicates.
// Names that could be mistaken for others are refused.
func CleanPolicies(names []string) ([]string, error) {
	list := make([]string, 0, len(names))
	for _, name := range names {
		clean, err := cleanPolicy(name)
		if err != nil {
			return nil, err
		}
		list = append(list, clean)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

func cleanPolicy(name string) (string, error) {
	trimmed := strings.TrimSpace(name)
	if trimmed == "" {
		return "", fault.New(fault.Invalid, "a policy name is empty")
	}
	for _, r := range trimmed {
		if r <= ' ' || r > '~' {
			return "", fault.New(fault.Invalid, "policy names may have printable ASCII characters only, without spaces")
		}
	}
	if strings.Contains(trimmed, "..") || strings.ContainsAny(trimmed, `/\`) {
		return "", fault.New(fault.Invalid, `policy names may not contain "/" or ".."`)
	}
	return strings.ToLower(trimmed), nil
}

// mappedBits is the length of the prefix ::ffff:0:0, which is followed by an
// IPv4 address.
const mappedBits = 96

// CleanCIDRs checks a list of address blocks; a bare address is the block of
// itself. A block of IPv4 addresses that is written as IPv6 becomes the block
// that it means: clients' addresses are compared as IPv4.
func CleanCIDRs(blocks []string) ([]string, error) {
	list := make([]string, 0, len(blocks))
	for _, text := range blocks {
		text = strings.TrimSpace(text)
		if p, err := netip.ParsePrefix(text); err == nil {
			if p.Addr().Is4In6() && p.Bits() >= mappedBits {
				text = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mappedBits).String()
			}
			list = append(list, text)
			continue
		}
		if _, err := netip.ParseAddr(text); err != nil {
			return nil, fault.New(fault.Invalid, `a bound CIDR is not an address block such as "10.0.0.0/8"`)
		}
		list = append(list, text)
	}
	return list, nil
}

// BareHosts writes blocks of a single address without their length, as clients
// are used to see the blocks of tokens.
func BareHosts(blocks []string) []string {
	bare := make([]string, len(blocks))
	for i, text := range blocks {
		bare[i] = text
		if p, err := netip.ParsePrefix(text); err == nil && p.IsSingleIP() {
			bare[i] = p.Addr().String()
		}
	}
	return bare
}

// InCIDRs reports whether addr lies in one of the blocks, which [CleanCIDRs]
// has checked. No blocks allow every address.
func InCIDRs(addr netip.Addr, blocks []string) bool {
	if len(blocks) == 0 {
		return true
	}
	addr = addr.Unmap()
	for _, text := range blocks {
		if p, err := netip.ParsePrefix(text); err == nil {
			if p.Contains(addr) {
				return true
			}
		} else if a, err := netip.ParseAddr(text); err == nil && a.Unmap() == addr {
			return true
		}
	}
	return false
}

// TokenAnswer are the same settings as a role's read shows them; embed it in
// the answer.
type TokenAnswer struct {
	BoundCIDRs      []string      `json:"token_bound_cidrs"`
	ExplicitMaxTTL  wire.Duration `json:"token_explicit_max_ttl"`
	MaxTTL          wire.Duration `json:"token_max_ttl"`
	NoDefaultPolicy bool          `json:"token_no_default_policy"`
	NumUses         int           `json:"token_num_uses"`
	Period          wire.Duration `json:"token_period"`
	Policies        []string      `json:"token_policies"`
	StrictlyBindIP  bool          `json:"token_strictly_bind_ip"`
	TTL             wire.Duration `json:"token_ttl"`
	Type            string        `json:"token_type"`
}

// Answer shows p.
func Answer(p TokenParams) TokenAnswer {
	a := TokenAnswer{
		BoundCIDRs: p.BoundCIDRs, ExplicitMaxTTL: wire.Duration(p.ExplicitMaxTTL), MaxTTL: wire.Duration(p.MaxTTL),
		NoDefaultPolicy: p.NoDefaultPolicy, NumUses: p.NumUses, Period: wire.Duration(p.Period), Policies: p.Policies,
		StrictlyBindIP: p.StrictlyBindIP, TTL: wire.Duration(p.TTL), Type: p.Type,
	}
	if a.BoundCIDRs == nil {
		a.BoundCIDRs = []string{}
	}
	if a.Policies == nil {
		a.Policies = []string{}
	}
	if a.Type == "" {
		a.Type = "default"
	}
	return a
}
