package ldap

import (
	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/wire"
)

type (
	emptyRequest struct{}
	loginRequest struct {
		Name     string      `path:"username" doc:"Name of the user, in any spelling that the directory takes."`
		Password wire.Secret `json:"password" doc:"Password of the user." sensitive:"true"`
	}
	nameRequest struct {
		Name string `path:"name" doc:"Name, in lower case unless names are case-sensitive."`
	}
	groupRequest struct {
		nameRequest
		Policies []string `json:"policies" doc:"Policies of the group's members."`
	}
	groupAnswer struct {
		Policies []string `json:"policies"`
	}
	userRequest struct {
		nameRequest
		Policies wire.Opt[[]string] `json:"policies" doc:"Policies of the user."`
		Groups   wire.Opt[[]string] `json:"groups" doc:"Groups that the user is in beside those of the directory."`
	}
	userAnswer struct {
		Groups   string   `json:"groups"`
		Policies []string `json:"policies"`
	}
)

type configRequest struct {
	authn.TokenFields
	URL            wire.Opt[string]        `json:"url" doc:"URLs of the directory's servers, tried in this order: ldap://HOST or ldaps://HOST, separated by commas."`
	UserDN         wire.Opt[string]        `json:"userdn" doc:"Entry below which users are."`
	UserAttr       wire.Opt[string]        `json:"userattr" doc:"Attribute that holds the name of a user; cn unless given."`
	UserFilter     wire.Opt[string]        `json:"userfilter" doc:"Filter that finds a user: a template with {{.UserAttr}} and {{.Username}}."`
	UPNDomain      wire.Opt[string]        `json:"upndomain" doc:"Domain that is appended to names, for Active Directory: users bind as NAME@DOMAIN."`
	SAMAccountName wire.Opt[bool]          `json:"enable_samaccountname_login" doc:"With upndomain, finds users by sAMAccountName too."`
	DiscoverDN     wire.Opt[bool]          `json:"discoverdn" doc:"Finds users by a search without a service account."`
	BindDN         wire.Opt[string]        `json:"binddn" doc:"Service account that searches."`
	BindPassword   wire.Opt[wire.Secret]   `json:"bindpass" doc:"Password of the service account." sensitive:"true"`
	GroupDN        wire.Opt[string]        `json:"groupdn" doc:"Entry below which groups are."`
	GroupFilter    wire.Opt[string]        `json:"groupfilter" doc:"Filter that finds the groups of a user: a template with {{.UserDN}} and {{.Username}}."`
	GroupAttr      wire.Opt[string]        `json:"groupattr" doc:"Attribute that holds the name of a group; cn unless given."`
	AnonymousGroup wire.Opt[bool]          `json:"anonymous_group_search" doc:"Searches groups as nobody."`
	TokenGroups    wire.Opt[bool]          `json:"use_token_groups" doc:"Takes groups from the attribute tokenGroups of Active Directory, nested ones included."`
	OldGroupCN     wire.Opt[bool]          `json:"use_pre111_group_cn_behavior" doc:"Takes the value of groupattr as it is, also if it is the name of an entry."`
	Certificate    wire.Opt[string]        `json:"certificate" doc:"Certificates, in PEM form, one of which the directory must show."`
	ClientCert     wire.Opt[string]        `json:"client_tls_cert" doc:"Certificate that Coffer shows the directory, in PEM form."`
	ClientKey      wire.Opt[wire.Secret]   `json:"client_tls_key" doc:"Key of that certificate, in PEM form." sensitive:"true"`
	InsecureTLS    wire.Opt[bool]          `json:"insecure_tls" doc:"Does not verify the directory's certificate."`
	StartTLS       wire.Opt[bool]          `json:"starttls" doc:"Turns encryption on over an ldap:// connection."`
	TLSMin         wire.Opt[string]        `json:"tls_min_version" doc:"Oldest version of TLS: tls10, tls11, tls12 or tls13; tls12 unless given."`
	TLSMax         wire.Opt[string]        `json:"tls_max_version" doc:"Newest version of TLS; tls12 unless given."`
	ConnectTimeout wire.Opt[wire.Duration] `json:"connection_timeout" doc:"How long a server may take to accept a connection before the next is tried; 30 seconds unless given."`
	RequestTimeout wire.Opt[wire.Duration] `json:"request_timeout" doc:"How long a server may take to answer; 90 seconds unless given."`
	Dereference    wire.Opt[string]        `json:"dereference_aliases" doc:"When aliases in the directory are followed: never, finding, searching or always."`
	PageSize       wire.Opt[int]           `json:"max_page_size" doc:"Entries per page of a search; 0 is without pages."`
	CaseSensitive  wire.Opt[bool]          `json:"case_sensitive_names" doc:"Keeps the case of users and groups apart in their mappings to policies."`
	UsernameAlias  wire.Opt[bool]          `json:"username_as_alias" doc:"Takes the name of the login for the alias, whatever the directory calls the user."`
	DenyNullBind   wire.Opt[bool]          `json:"deny_null_bind" doc:"Refuses empty passwords, which is done in any case."`
	PasswordPolicy wire.Opt[string]        `json:"password_policy" doc:"Password policy for new passwords of the service account."`
}

type configAnswer struct {
	authn.TokenAnswer
	AnonymousGroup bool          `json:"anonymous_group_search"`
	BindDN         string        `json:"binddn"`
	CaseSensitive  bool          `json:"case_sensitive_names"`
	Certificate    string        `json:"certificate"`
	ConnectTimeout wire.Duration `json:"connection_timeout"`
	DenyNullBind   bool          `json:"deny_null_bind"`
	Dereference    string        `json:"dereference_aliases"`
	DiscoverDN     bool          `json:"discoverdn"`
	GroupAttr      string        `json:"groupattr"`
	GroupDN        string        `json:"groupdn"`
	GroupFilter    string        `json:"groupfilter"`
	InsecureTLS    bool          `json:"insecure_tls"`
	PageSize       int           `json:"max_page_size"`
	PasswordPolicy string        `json:"password_policy,omitempty"`
	RequestTimeout wire.Duration `json:"request_timeout"`
	SAMAccountName bool          `json:"enable_samaccountname_login,omitempty"`
	StartTLS       bool          `json:"starttls"`
	TLSMax         string        `json:"tls_max_version"`
	TLSMin         string        `json:"tls_min_version"`
	UPNDomain      string        `json:"upndomain"`
	URL            string        `json:"url"`
	OldGroupCN     bool          `json:"use_pre111_group_cn_behavior"`
	TokenGroups    bool          `json:"use_token_groups"`
	UserAttr       string        `json:"userattr"`
	UserDN         string        `json:"userdn"`
	UserFilter     string        `json:"userfilter"`
	UsernameAlias  bool          `json:"username_as_alias"`
}
