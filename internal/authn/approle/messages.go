package approle

import (
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/wire"
)

// roleName is the part of a request that says which role it is about.
type roleName struct {
	Role string `path:"role_name" doc:"Name of the role, in lower case."`
}

func (n roleName) name() string { return n.Role }

type listRequest struct{}

type loginRequest struct {
	RoleID   string      `json:"role_id" doc:"Id of the role."`
	SecretID wire.Secret `json:"secret_id" doc:"Secret id, if the role demands one." sensitive:"true"`
}

type roleRequest struct {
	roleName
	authn.TokenFields
	RoleID             wire.Opt[string]        `json:"role_id" doc:"Id of the role; a random one if none is given."`
	BindSecretID       wire.Opt[bool]          `json:"bind_secret_id" doc:"Demands a secret id at login; true unless given."`
	SecretIDBoundCIDRs wire.Opt[[]string]      `json:"secret_id_bound_cidrs" alias:"bound_cidr_list" doc:"Address blocks that logins may come from."`
	SecretIDNumUses    wire.Opt[int]           `json:"secret_id_num_uses" doc:"How many logins a secret id is good for; 0 is without limit."`
	SecretIDTTL        wire.Opt[wire.Duration] `json:"secret_id_ttl" doc:"Lifetime of secret ids; 0 is without end."`
	LocalSecretIDs     wire.Opt[bool]          `json:"local_secret_ids" doc:"Keeps secret ids to this cluster; fixed when the role is created."`
	OldPolicies        wire.Opt[[]string]      `json:"policies" doc:"Older name of token_policies." deprecated:"true"`
	OldPeriod          wire.Opt[wire.Duration] `json:"period" doc:"Older name of token_period." deprecated:"true"`
}

// roleAnswer shows a role. The older names appear only if the settings were
// last given by them.
type roleAnswer struct {
	authn.TokenAnswer
	BindSecretID       bool           `json:"bind_secret_id"`
	LocalSecretIDs     bool           `json:"local_secret_ids"`
	SecretIDBoundCIDRs []string       `json:"secret_id_bound_cidrs"`
	SecretIDNumUses    int            `json:"secret_id_num_uses"`
	SecretIDTTL        wire.Duration  `json:"secret_id_ttl"`
	OldPolicies        []string       `json:"policies,omitempty"`
	OldPeriod          *wire.Duration `json:"period,omitempty"`
}

type roleIDRequest struct {
	roleName
	RoleID string `json:"role_id" doc:"Id of the role; no other role of the mount may have it."`
}

type roleIDAnswer struct {
	RoleID string `json:"role_id"`
}

// secretIDSettings are those of one secret id.
type secretIDSettings struct {
	Metadata   map[string]string       `json:"metadata" doc:"Names and values that tokens get as metadata: an object, or JSON in a string."`
	CIDRs      []string                `json:"cidr_list" doc:"Address blocks that logins may come from, within those of the role."`
	TokenCIDRs []string                `json:"token_bound_cidrs" doc:"Address blocks that tokens may be used from, within those of the role."`
	NumUses    wire.Opt[int]           `json:"num_uses" doc:"How many logins it is good for; at most what the role says."`
	TTL        wire.Opt[wire.Duration] `json:"ttl" doc:"Its lifetime; at most what the role says."`
}

type generateRequest struct {
	roleName
	secretIDSettings
}

type customRequest struct {
	roleName
	SecretID wire.Secret `json:"secret_id" doc:"Text of the secret id." sensitive:"true"`
	secretIDSettings
}

type secretIDAnswer struct {
	SecretID string        `json:"secret_id"`
	Accessor string        `json:"secret_id_accessor"`
	NumUses  int           `json:"secret_id_num_uses"`
	TTL      wire.Duration `json:"secret_id_ttl"`
}

// WrappedAccessor tells whoever gets the secret id wrapped how to revoke it.
func (a secretIDAnswer) WrappedAccessor() string { return a.Accessor }

type secretIDRequest struct {
	roleName
	SecretID wire.Secret `json:"secret_id" doc:"The secret id." sensitive:"true"`
}

type accessorRequest struct {
	roleName
	Accessor string `json:"secret_id_accessor" doc:"Accessor of the secret id."`
}

type lookupAnswer struct {
	Accessor   string            `json:"secret_id_accessor"`
	CIDRs      []string          `json:"cidr_list"`
	TokenCIDRs []string          `json:"token_bound_cidrs"`
	Metadata   map[string]string `json:"metadata"`
	NumUses    int               `json:"secret_id_num_uses"`
	TTL        wire.Duration     `json:"secret_id_ttl"`
	Created    time.Time         `json:"creation_time"`
	Updated    time.Time         `json:"last_updated_time"`
	Expires    time.Time         `json:"expiration_time"`
}
