package jwt

import (
	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/wire"
)

type (
	listRequest  struct{}
	configQuery  struct{}
	loginRequest struct {
		Role string      `json:"role" doc:"Role to log in with; the default role of the mount unless given."`
		JWT  wire.Secret `json:"jwt" doc:"Signed token, in compact form." sensitive:"true"`
	}
	nameRequest struct {
		Name string `path:"name" doc:"Name of the role, in lower case."`
	}
)

// keySetURL is one of several key sets.
type keySetURL struct {
	URL   string `json:"jwks_url"`
	CAPEM string `json:"jwks_ca_pem,omitempty"`
}

type configRequest struct {
	DiscoveryURL   string               `json:"oidc_discovery_url" doc:"URL of the issuer, without .well-known."`
	DiscoveryCAPEM string               `json:"oidc_discovery_ca_pem" doc:"Certificates that the issuer must show one of; the system's unless given."`
	ClientID       string               `json:"oidc_client_id" doc:"Id of Coffer at the provider."`
	ClientSecret   wire.Secret          `json:"oidc_client_secret" doc:"Secret of Coffer at the provider; a public client has none." sensitive:"true"`
	ResponseMode   string               `json:"oidc_response_mode" doc:"How the provider sends its answer: query or form_post."`
	ResponseTypes  []string             `json:"oidc_response_types" doc:"What the provider is asked for: code."`
	JWKSURL        string               `json:"jwks_url" doc:"URL of a key set."`
	JWKSCAPEM      string               `json:"jwks_ca_pem" doc:"Certificates that the server of the key set must show one of."`
	JWKSPairs      []keySetURL          `json:"jwks_pairs" doc:"Several key sets: objects with jwks_url and jwks_ca_pem."`
	PublicKeys     []string             `json:"jwt_validation_pubkeys" doc:"Public keys in PEM form."`
	BoundIssuer    string               `json:"bound_issuer" doc:"Issuer (iss) that tokens must name."`
	Algorithms     []string             `json:"jwt_supported_algs" doc:"Signature algorithms that are accepted; all asymmetric ones unless given."`
	DefaultRole    string               `json:"default_role" doc:"Role of a login that names none."`
	Provider       map[string]wire.JSON `json:"provider_config" doc:"Settings for special providers; none are known."`
	NSInState      wire.Opt[bool]       `json:"namespace_in_state" doc:"Appends the namespace to the state parameter, for redirect addresses that several namespaces share."`
	SkipValidation bool                 `json:"skip_jwks_validation" doc:"Stores the settings even if the issuer cannot be reached now."`
	ServerNames    []string             `json:"override_allowed_server_names" doc:"Names that the issuer's certificate may have instead of that in its URL."`
}

type configAnswer struct {
	BoundIssuer    string               `json:"bound_issuer"`
	DefaultRole    string               `json:"default_role"`
	JWKSCAPEM      string               `json:"jwks_ca_pem"`
	JWKSURL        string               `json:"jwks_url"`
	JWKSPairs      []keySetURL          `json:"jwks_pairs,omitempty"`
	Algorithms     []string             `json:"jwt_supported_algs"`
	PublicKeys     []string             `json:"jwt_validation_pubkeys"`
	NSInState      bool                 `json:"namespace_in_state"`
	ClientID       string               `json:"oidc_client_id"`
	DiscoveryCAPEM string               `json:"oidc_discovery_ca_pem"`
	DiscoveryURL   string               `json:"oidc_discovery_url"`
	ResponseMode   string               `json:"oidc_response_mode"`
	ResponseTypes  []string             `json:"oidc_response_types"`
	ServerNames    []string             `json:"override_allowed_server_names"`
	Provider       map[string]wire.JSON `json:"provider_config"`
	Status         string               `json:"status"`
}

type roleRequest struct {
	nameRequest
	authn.TokenFields
	authn.OlderFields
	RoleType         wire.Opt[string]               `json:"role_type" doc:"jwt, for logins with a token, or oidc, for logins through the provider; oidc unless given."`
	BoundAudiences   wire.Opt[[]string]             `json:"bound_audiences" doc:"Audiences (aud), one of which a token must name."`
	BoundSubject     wire.Opt[string]               `json:"bound_subject" doc:"Subject (sub) that a token must name."`
	BoundClaims      wire.Opt[map[string]wire.JSON] `json:"bound_claims" doc:"Claims that a token must have: names or JSON pointers, each with a value or a list of values."`
	BoundClaimsType  wire.Opt[string]               `json:"bound_claims_type" doc:"How values of bound claims are compared: string or glob."`
	UserClaim        wire.Opt[string]               `json:"user_claim" doc:"Claim that names the user."`
	UserClaimPointer wire.Opt[bool]                 `json:"user_claim_json_pointer" doc:"Takes user_claim for a JSON pointer."`
	GroupsClaim      wire.Opt[string]               `json:"groups_claim" doc:"Claim that lists the groups of the user: a name or a JSON pointer."`
	ClaimMappings    wire.Opt[map[string]string]    `json:"claim_mappings" doc:"Claims (names or JSON pointers) that become metadata, each with its name there."`
	ExpirationLeeway wire.Opt[leeway]               `json:"expiration_leeway" doc:"Lifetime of a token without expiry; 150 seconds unless given, none if -1."`
	NotBeforeLeeway  wire.Opt[leeway]               `json:"not_before_leeway" doc:"How long before its expiry a token without start is valid; 150 seconds unless given, none if -1."`
	ClockSkewLeeway  wire.Opt[leeway]               `json:"clock_skew_leeway" doc:"How far clocks may differ; 60 seconds unless given, none if -1."`
	MaxAge           wire.Opt[wire.Duration]        `json:"max_age" doc:"How long ago the user may have authenticated to the provider."`
	RedirectURIs     wire.Opt[[]string]             `json:"allowed_redirect_uris" doc:"Addresses that the provider may send the user back to."`
	Scopes           wire.Opt[[]string]             `json:"oidc_scopes" doc:"Scopes asked for beside openid."`
	VerboseLogging   wire.Opt[bool]                 `json:"verbose_oidc_logging" doc:"Logs the names of the claims of refused logins."`
	CallbackMode     wire.Opt[string]               `json:"callback_mode" doc:"client, for a browser that comes back to the client, or device, for the device flow."`
	OAuth2Metadata   wire.Opt[[]string]             `json:"oauth2_metadata" doc:"Not offered: tokens of the provider are not kept."`
	NoConfirmation   wire.Opt[bool]                 `json:"oidc_disable_confirmation" doc:"Of the callback mode direct, which is not offered."`
	PolicyTemplates  wire.Opt[bool]                 `json:"token_policies_template_claims" doc:"Not offered: use templated policies."`
}

type roleAnswer struct {
	authn.TokenAnswer
	authn.OlderAnswer
	RedirectURIs     []string             `json:"allowed_redirect_uris"`
	BoundAudiences   []string             `json:"bound_audiences"`
	BoundClaims      map[string]wire.JSON `json:"bound_claims"`
	BoundClaimsType  string               `json:"bound_claims_type"`
	BoundSubject     string               `json:"bound_subject"`
	CallbackMode     string               `json:"callback_mode"`
	ClaimMappings    map[string]string    `json:"claim_mappings"`
	ClockSkewLeeway  leeway               `json:"clock_skew_leeway"`
	ExpirationLeeway leeway               `json:"expiration_leeway"`
	GroupsClaim      string               `json:"groups_claim"`
	MaxAge           wire.Duration        `json:"max_age"`
	NotBeforeLeeway  leeway               `json:"not_before_leeway"`
	OAuth2Metadata   []string             `json:"oauth2_metadata"`
	NoConfirmation   bool                 `json:"oidc_disable_confirmation"`
	Scopes           []string             `json:"oidc_scopes"`
	RoleType         string               `json:"role_type"`
	PolicyTemplates  bool                 `json:"token_policies_template_claims"`
	UserClaim        string               `json:"user_claim"`
	UserClaimPointer bool                 `json:"user_claim_json_pointer"`
	VerboseLogging   bool                 `json:"verbose_oidc_logging"`
}
