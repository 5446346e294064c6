package kubernetes

import (
	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/wire"
)

type (
	listRequest  struct{}
	configQuery  struct{}
	loginRequest struct {
		Role string      `json:"role" doc:"Role to log in with."`
		JWT  wire.Secret `json:"jwt" doc:"Token of the service account." sensitive:"true"`
	}
	nameRequest struct {
		Name string `path:"name" doc:"Name of the role, in lower case."`
	}
)

type configRequest struct {
	Host          string         `json:"kubernetes_host" doc:"URL of the API server, as \"https://10.0.0.1:6443\"."`
	CAPEM         string         `json:"kubernetes_ca_cert" doc:"Certificates that the API server must show one of; those of Coffer's own pod unless given."`
	Reviewer      wire.Secret    `json:"token_reviewer_jwt" doc:"Token that may review tokens; that of Coffer's own pod unless given." sensitive:"true"`
	PublicKeys    []string       `json:"pem_keys" doc:"Public keys or certificates, in PEM form, one of which must have signed a token."`
	Issuer        string         `json:"issuer" doc:"Issuer (iss) that tokens must name, if issuers are checked."`
	IgnoreIssuer  wire.Opt[bool] `json:"disable_iss_validation" doc:"Leaves the issuer to the API server; true unless given."`
	IgnorePod     bool           `json:"disable_local_ca_jwt" doc:"Uses neither the certificates nor the token of Coffer's own pod."`
	AliasMetadata bool           `json:"use_annotations_as_alias_metadata" doc:"Reads the service account, and takes annotations that begin with vault.hashicorp.com/alias-metadata- for metadata of the alias."`
}

type configAnswer struct {
	IgnoreIssuer  bool     `json:"disable_iss_validation"`
	IgnorePod     bool     `json:"disable_local_ca_jwt"`
	Issuer        string   `json:"issuer"`
	CAPEM         string   `json:"kubernetes_ca_cert"`
	Host          string   `json:"kubernetes_host"`
	PublicKeys    []string `json:"pem_keys"`
	ReviewerSet   bool     `json:"token_reviewer_jwt_set"`
	AliasMetadata bool     `json:"use_annotations_as_alias_metadata,omitempty"`
}

type roleRequest struct {
	nameRequest
	authn.TokenFields
	authn.OlderFields
	Names       wire.Opt[[]string] `json:"bound_service_account_names" doc:"Names of service accounts; \"*\" stands for any text."`
	Namespaces  wire.Opt[[]string] `json:"bound_service_account_namespaces" doc:"Namespaces of service accounts; \"*\" stands for any text."`
	Selector    wire.Opt[string]   `json:"bound_service_account_namespace_selector" doc:"Label selector for namespaces, in JSON or YAML; one that it selects will do as well as one that is named."`
	Audience    wire.Opt[string]   `json:"audience" doc:"Audience that tokens must be for."`
	AliasSource wire.Opt[string]   `json:"alias_name_source" doc:"What names the alias: serviceaccount_uid, unless given, or serviceaccount_name, which is namespace/name."`
}

type roleAnswer struct {
	authn.TokenAnswer
	authn.OlderAnswer
	AliasSource string   `json:"alias_name_source"`
	Audience    string   `json:"audience,omitempty"`
	Names       []string `json:"bound_service_account_names"`
	Selector    string   `json:"bound_service_account_namespace_selector"`
	Namespaces  []string `json:"bound_service_account_namespaces"`
}
