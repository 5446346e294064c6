package cert

import (
	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/wire"
)

type (
	listRequest  struct{}
	loginRequest struct {
		Name string `json:"name" doc:"Role to log in with; the first, by name, that fits the certificate unless given."`
	}
	nameRequest struct {
		Name string `path:"name" doc:"Name of the role, in lower case."`
	}
	listName struct {
		Name string `path:"name" doc:"Name of the revocation list, in lower case."`
	}
	listWrite struct {
		listName
		CRL string `json:"crl" doc:"Revocation list, in PEM form."`
		URL string `json:"url" doc:"URL that the list is fetched from, now and when its next update is due."`
	}
)

type roleRequest struct {
	nameRequest
	authn.TokenFields
	authn.OlderFields
	Lease          wire.Opt[wire.Duration] `json:"lease" doc:"Oldest name of token_ttl." deprecated:"true"`
	Certificate    wire.Opt[string]        `json:"certificate" doc:"Trusted certificates in PEM form: authorities, or certificates of clients."`
	AllowedNames   wire.Opt[[]string]      `json:"allowed_names" doc:"Common names, DNS names and email addresses, one of which the certificate must have."`
	CommonNames    wire.Opt[[]string]      `json:"allowed_common_names" doc:"Common names, one of which the certificate must have."`
	DNSNames       wire.Opt[[]string]      `json:"allowed_dns_sans" doc:"DNS names, one of which the certificate must have."`
	Emails         wire.Opt[[]string]      `json:"allowed_email_sans" doc:"Email addresses, one of which the certificate must have."`
	URIs           wire.Opt[[]string]      `json:"allowed_uri_sans" doc:"URIs, one of which the certificate must have."`
	Units          wire.Opt[[]string]      `json:"allowed_organizational_units" doc:"Organizational units, one of which the certificate must have."`
	Extensions     wire.Opt[[]string]      `json:"required_extensions" doc:"Extensions that the certificate must have, all of them, as OID:TEXT or hex:OID:HEX."`
	Metadata       wire.Opt[[]string]      `json:"allowed_metadata_extensions" doc:"OIDs of extensions whose text becomes metadata."`
	DisplayName    wire.Opt[string]        `json:"display_name" doc:"Display name of tokens; the name of the role unless given."`
	OCSP           wire.Opt[bool]          `json:"ocsp_enabled" doc:"Asks OCSP responders about the certificate."`
	OCSPCAs        wire.Opt[string]        `json:"ocsp_ca_certificates" doc:"Certificates, in PEM form, that may sign answers beside the issuer and whom it appoints."`
	OCSPServers    wire.Opt[[]string]      `json:"ocsp_servers_override" doc:"URLs of responders to ask instead of those in the certificate."`
	OCSPFailOpen   wire.Opt[bool]          `json:"ocsp_fail_open" doc:"Lets a login pass if no responder gives an answer that counts."`
	OCSPQueryAll   wire.Opt[bool]          `json:"ocsp_query_all_servers" doc:"Asks all responders and counts the worst answer, instead of the first."`
	OCSPMaxAge     wire.Opt[wire.Duration] `json:"ocsp_this_update_max_age" doc:"How old an answer may be, whatever it says itself; 0 is without limit."`
	OCSPMaxRetries wire.Opt[int]           `json:"ocsp_max_retries" doc:"How often a responder that does not answer is asked again."`
}

type roleAnswer struct {
	authn.TokenAnswer
	authn.OlderAnswer
	CommonNames  []string      `json:"allowed_common_names"`
	DNSNames     []string      `json:"allowed_dns_sans"`
	Emails       []string      `json:"allowed_email_sans"`
	Metadata     []string      `json:"allowed_metadata_extensions"`
	AllowedNames []string      `json:"allowed_names"`
	Units        []string      `json:"allowed_organizational_units"`
	URIs         []string      `json:"allowed_uri_sans"`
	Certificate  string        `json:"certificate"`
	DisplayName  string        `json:"display_name"`
	OCSPCAs      string        `json:"ocsp_ca_certificates"`
	OCSP         bool          `json:"ocsp_enabled"`
	OCSPFailOpen bool          `json:"ocsp_fail_open"`
	OCSPQueryAll bool          `json:"ocsp_query_all_servers"`
	OCSPServers  []string      `json:"ocsp_servers_override"`
	OCSPMaxAge   wire.Duration `json:"ocsp_this_update_max_age,omitempty"`
	OCSPRetries  int           `json:"ocsp_max_retries,omitempty"`
	Extensions   []string      `json:"required_extensions"`
}

type listAnswer struct {
	Serials map[string]struct{} `json:"serials"`
	CDP     *source             `json:"cdp,omitempty"`
}
