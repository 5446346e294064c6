package policy

import (
	"time"

	"github.com/cofferhq/coffer/internal/wire"
)

type noInput struct{}

type nameRequest struct {
	Name string `path:"name" doc:"Name of the policy."`
}

// settings are what a write says about a policy beside its text.
type settings struct {
	CAS            wire.Opt[int]  `json:"cas" doc:"Version that the policy must have now; -1 if it must not be there."`
	CASRequired    wire.Opt[bool] `json:"cas_required" doc:"Whether later writes must give cas."`
	Expiration     wire.JSON      `json:"expiration" doc:"When the policy stops to exist, as in RFC 3339 or in seconds since 1970."`
	TTL            wire.Duration  `json:"ttl" doc:"How long the policy exists from now, instead of expiration."`
	AllowSlashes   bool           `json:"allow_slashes_in_identity_templates" doc:"Always false: a templated value stays within its path segment."`
	AllowWildcards bool           `json:"allow_wildcards_in_identity_templates" doc:"Always false: a templated value is plain text."`
}

type writeRequest struct {
	Name   string           `path:"name" doc:"Name of the policy."`
	Policy wire.Opt[string] `json:"policy" doc:"Text of the policy, HCL or JSON, plain or in base64."`
	settings
}

type legacyWriteRequest struct {
	writeRequest
	Rules string `json:"rules" doc:"Older name of policy." deprecated:"true"`
}

// facts is an ACL policy without its text, as the API shows it.
type facts struct {
	Name           string     `json:"name"`
	Version        int        `json:"version"`
	Modified       *time.Time `json:"modified,omitempty"`
	Expiration     *time.Time `json:"expiration,omitempty"`
	CASRequired    bool       `json:"cas_required"`
	AllowSlashes   bool       `json:"allow_slashes_in_identity_templates"`
	AllowWildcards bool       `json:"allow_wildcards_in_identity_templates"`
}

type aclAnswer struct {
	facts
	Policy string `json:"policy"`
}

type legacyAnswer struct {
	facts
	Rules string `json:"rules"`
}

type legacyList struct {
	Keys     []string `json:"keys"`
	Policies []string `json:"policies"`
}

type passwordRequest struct {
	Name   string `path:"name" doc:"Name of the password policy."`
	Policy string `json:"policy" doc:"Text of the policy, HCL or JSON, plain or in base64."`
}

type passwordPolicyAnswer struct {
	Policy string `json:"policy"`
}

type passwordAnswer struct {
	Password string `json:"password"`
}

type pathsRequest struct {
	Paths []string `json:"paths" alias:"path" doc:"Paths to look at."`
}

type selfPathsRequest struct {
	pathsRequest
	Token string `json:"token" doc:"Ignored; the caller's token is looked at." sensitive:"true" deprecated:"true"`
}

type tokenPathsRequest struct {
	pathsRequest
	Token string `json:"token" doc:"Text of the token to look at." sensitive:"true"`
}

type accessorPathsRequest struct {
	pathsRequest
	Accessor string `json:"accessor" doc:"Accessor of the token to look at."`
}

// capabilitiesAnswer holds the capabilities by path, and those of a single
// path once more under "capabilities".
type capabilitiesAnswer map[string][]string

type resultantAnswer struct {
	Root       bool                        `json:"root"`
	ExactPaths map[string]resultantGranted `json:"exact_paths"`
	GlobPaths  map[string]resultantGranted `json:"glob_paths"`
}

type resultantGranted struct {
	Capabilities []string `json:"capabilities"`
}
