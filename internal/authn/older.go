package authn

import "github.com/cofferhq/coffer/internal/wire"

// OlderFields are the names that some token settings had before they were
// shared by all methods; embed it beside [TokenFields]. A setting given by both
// of its names has the value of the newer one.
type OlderFields struct {
	OldPolicies   wire.Opt[[]string]      `json:"policies" doc:"Older name of token_policies." deprecated:"true"`
	OldTTL        wire.Opt[wire.Duration] `json:"ttl" doc:"Older name of token_ttl." deprecated:"true"`
	OldMaxTTL     wire.Opt[wire.Duration] `json:"max_ttl" doc:"Older name of token_max_ttl." deprecated:"true"`
	OldPeriod     wire.Opt[wire.Duration] `json:"period" doc:"Older name of token_period." deprecated:"true"`
	OldNumUses    wire.Opt[int]           `json:"num_uses" doc:"Older name of token_num_uses." deprecated:"true"`
	OldBoundCIDRs wire.Opt[[]string]      `json:"bound_cidrs" doc:"Older name of token_bound_cidrs." deprecated:"true"`
}

// OlderNames says which settings were last given by their older names; a role
// keeps it, because clients then expect to read them by those names too.
type OlderNames struct {
	Policies   bool `json:"policies,omitempty"`
	TTL        bool `json:"ttl,omitempty"`
	MaxTTL     bool `json:"max_ttl,omitempty"`
	Period     bool `json:"period,omitempty"`
	NumUses    bool `json:"num_uses,omitempty"`
	BoundCIDRs bool `json:"bound_cidrs,omitempty"`
}

// OlderAnswer shows the settings that were given by their older names; embed it
// beside [TokenAnswer].
type OlderAnswer struct {
	OldPolicies   []string       `json:"policies,omitempty"`
	OldTTL        *wire.Duration `json:"ttl,omitempty"`
	OldMaxTTL     *wire.Duration `json:"max_ttl,omitempty"`
	OldPeriod     *wire.Duration `json:"period,omitempty"`
	OldNumUses    *int           `json:"num_uses,omitempty"`
	OldBoundCIDRs []string       `json:"bound_cidrs,omitempty"`
}

// Merge returns the fields of a request with what was given by older names, and
// notes in by which were.
func (o *OlderFields) Merge(fields TokenFields, by *OlderNames) TokenFields {
	newer(&fields.Policies, o.OldPolicies, &by.Policies)
	newer(&fields.TTL, o.OldTTL, &by.TTL)
	newer(&fields.MaxTTL, o.OldMaxTTL, &by.MaxTTL)
	newer(&fields.Period, o.OldPeriod, &by.Period)
	newer(&fields.NumUses, o.OldNumUses, &by.NumUses)
	newer(&fields.BoundCIDRs, o.OldBoundCIDRs, &by.BoundCIDRs)
	return fields
}

// newer takes a setting from its older name if the newer was not given, and
// notes by which it came.
func newer[T any](field *wire.Opt[T], older wire.Opt[T], byOlder *bool) {
	if older.Set || field.Set {
		*byOlder = older.Set
	}
	if !field.Set {
		*field = older
	}
}

// Answer shows those of a role's settings that were given by older names.
func (by OlderNames) Answer(p TokenParams) OlderAnswer {
	shown := Answer(p)
	var a OlderAnswer
	if by.Policies {
		a.OldPolicies = shown.Policies
	}
	if by.TTL {
		a.OldTTL = &shown.TTL
	}
	if by.MaxTTL {
		a.OldMaxTTL = &shown.MaxTTL
	}
	if by.Period {
		a.OldPeriod = &shown.Period
	}
	if by.NumUses {
		a.OldNumUses = &shown.NumUses
	}
	if by.BoundCIDRs {
		a.OldBoundCIDRs = shown.BoundCIDRs
	}
	return a
}
