package userpass

import (
	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/wire"
)

type nameRequest struct {
	Name string `path:"username" doc:"Name of the user, in lower case."`
}

type loginRequest struct {
	Name     string      `path:"username" doc:"Name of the user, in any case."`
	Password wire.Secret `json:"password" doc:"Password of the user." sensitive:"true"`
}

type listRequest struct{}

// credentials are the two ways to set a password.
type credentials struct {
	Password wire.Opt[wire.Secret] `json:"password" doc:"Password of the user, at most 72 bytes." sensitive:"true"`
	Hash     wire.Opt[wire.Secret] `json:"password_hash" doc:"bcrypt hash of the password, instead of the password." sensitive:"true"`
}

type userRequest struct {
	Name string `path:"username" doc:"Name of the user, in lower case."`
	credentials
	authn.TokenFields
	OldPolicies   wire.Opt[[]string]      `json:"policies" doc:"Older name of token_policies." deprecated:"true"`
	OldTTL        wire.Opt[wire.Duration] `json:"ttl" doc:"Older name of token_ttl." deprecated:"true"`
	OldMaxTTL     wire.Opt[wire.Duration] `json:"max_ttl" doc:"Older name of token_max_ttl." deprecated:"true"`
	OldBoundCIDRs wire.Opt[[]string]      `json:"bound_cidrs" doc:"Older name of token_bound_cidrs." deprecated:"true"`
}

type passwordRequest struct {
	Name string `path:"username" doc:"Name of the user, in lower case."`
	credentials
}

type policiesRequest struct {
	Name        string             `path:"username" doc:"Name of the user, in lower case."`
	Policies    wire.Opt[[]string] `json:"token_policies" doc:"Policies of the token."`
	OldPolicies wire.Opt[[]string] `json:"policies" doc:"Older name of token_policies." deprecated:"true"`
}

// userAnswer shows a user. The older names appear only if the settings were
// last given by them.
type userAnswer struct {
	authn.TokenAnswer
	OldPolicies   []string       `json:"policies,omitempty"`
	OldTTL        *wire.Duration `json:"ttl,omitempty"`
	OldMaxTTL     *wire.Duration `json:"max_ttl,omitempty"`
	OldBoundCIDRs []string       `json:"bound_cidrs,omitempty"`
}
