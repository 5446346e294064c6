package approle

import (
	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/wire"
)

type policiesSetting struct {
	roleName
	Policies wire.Opt[[]string] `json:"token_policies" doc:"Policies of the token."`
	Old      wire.Opt[[]string] `json:"policies" doc:"Older name of token_policies." deprecated:"true"`
}

type policiesAnswer struct {
	Policies []string `json:"token_policies"`
	Old      []string `json:"policies,omitempty"`
}

func (s policiesSetting) apply(r *role) error {
	if !s.Policies.Set && !s.Old.Set {
		return missing("token_policies")
	}
	newer(&s.Policies, s.Old, &r.ByPolicies)
	return r.applyToken(authn.TokenFields{Policies: s.Policies})
}

type periodSetting struct {
	roleName
	Period wire.Opt[wire.Duration] `json:"token_period" doc:"Makes tokens periodic: renewable for ever, by this much each time."`
	Old    wire.Opt[wire.Duration] `json:"period" doc:"Older name of token_period." deprecated:"true"`
}

type periodAnswer struct {
	Period wire.Duration  `json:"token_period"`
	Old    *wire.Duration `json:"period,omitempty"`
}

func (s periodSetting) apply(r *role) error {
	if !s.Period.Set && !s.Old.Set {
		return missing("token_period")
	}
	newer(&s.Period, s.Old, &r.ByPeriod)
	return r.applyToken(authn.TokenFields{Period: s.Period})
}

type tokenTTLSetting struct {
	roleName
	TTL wire.Opt[wire.Duration] `json:"token_ttl" doc:"First lifetime of tokens."`
}

type tokenTTLAnswer struct {
	TTL wire.Duration `json:"token_ttl"`
}

func (s tokenTTLSetting) apply(r *role) error {
	if !s.TTL.Set {
		return missing("token_ttl")
	}
	return r.applyToken(authn.TokenFields{TTL: s.TTL})
}

type tokenMaxTTLSetting struct {
	roleName
	MaxTTL wire.Opt[wire.Duration] `json:"token_max_ttl" doc:"Lifetime that renewal cannot exceed."`
}

type tokenMaxTTLAnswer struct {
	MaxTTL wire.Duration `json:"token_max_ttl"`
}

func (s tokenMaxTTLSetting) apply(r *role) error {
	if !s.MaxTTL.Set {
		return missing("token_max_ttl")
	}
	return r.applyToken(authn.TokenFields{MaxTTL: s.MaxTTL})
}

type tokenNumUsesSetting struct {
	roleName
	NumUses wire.Opt[int] `json:"token_num_uses" doc:"How often a token may be used; 0 is without limit."`
}

type tokenNumUsesAnswer struct {
	NumUses int `json:"token_num_uses"`
}

func (s tokenNumUsesSetting) apply(r *role) error {
	if !s.NumUses.Set {
		return missing("token_num_uses")
	}
	return r.applyToken(authn.TokenFields{NumUses: s.NumUses})
}

type tokenBoundCIDRsSetting struct {
	roleName
	CIDRs wire.Opt[[]string] `json:"token_bound_cidrs" doc:"Address blocks that tokens may be used from, and logins made from."`
}

type tokenBoundCIDRsAnswer struct {
	CIDRs []string `json:"token_bound_cidrs"`
}

func (s tokenBoundCIDRsSetting) apply(r *role) error {
	if !s.CIDRs.Set {
		return missing("token_bound_cidrs")
	}
	return r.applyToken(authn.TokenFields{BoundCIDRs: s.CIDRs})
}

type bindSecretIDSetting struct {
	roleName
	Bind wire.Opt[bool] `json:"bind_secret_id" doc:"Demands a secret id at login."`
}

type bindSecretIDAnswer struct {
	Bind bool `json:"bind_secret_id"`
}

func (s bindSecretIDSetting) apply(r *role) error {
	if !s.Bind.Set {
		return missing("bind_secret_id")
	}
	r.BindSecretID = s.Bind.Value
	return nil
}

type secretIDNumUsesSetting struct {
	roleName
	NumUses wire.Opt[int] `json:"secret_id_num_uses" doc:"How many logins a secret id is good for; 0 is without limit."`
}

type secretIDNumUsesAnswer struct {
	NumUses int `json:"secret_id_num_uses"`
}

func (s secretIDNumUsesSetting) apply(r *role) error {
	if !s.NumUses.Set {
		return missing("secret_id_num_uses")
	}
	r.SecretIDNumUses = s.NumUses.Value
	return nil
}

type secretIDTTLSetting struct {
	roleName
	TTL wire.Opt[wire.Duration] `json:"secret_id_ttl" doc:"Lifetime of secret ids; 0 is without end."`
}

type secretIDTTLAnswer struct {
	TTL wire.Duration `json:"secret_id_ttl"`
}

func (s secretIDTTLSetting) apply(r *role) error {
	if !s.TTL.Set {
		return missing("secret_id_ttl")
	}
	r.SecretIDTTL = s.TTL.Value.D()
	return nil
}

type secretIDBoundCIDRsSetting struct {
	roleName
	CIDRs wire.Opt[[]string] `json:"secret_id_bound_cidrs" doc:"Address blocks that logins may come from."`
}

type secretIDBoundCIDRsAnswer struct {
	CIDRs []string `json:"secret_id_bound_cidrs"`
}

func (s secretIDBoundCIDRsSetting) apply(r *role) error {
	if !s.CIDRs.Set {
		return missing("secret_id_bound_cidrs")
	}
	return r.setBoundCIDRs(s.CIDRs.Value)
}

type boundCIDRListSetting struct {
	roleName
	CIDRs wire.Opt[[]string] `json:"bound_cidr_list" doc:"Older name of secret_id_bound_cidrs." deprecated:"true"`
}

type boundCIDRListAnswer struct {
	CIDRs []string `json:"bound_cidr_list"`
}

func (s boundCIDRListSetting) apply(r *role) error {
	if !s.CIDRs.Set {
		return missing("bound_cidr_list")
	}
	return r.setBoundCIDRs(s.CIDRs.Value)
}

type localSecretIDsAnswer struct {
	Local bool `json:"local_secret_ids"`
}
