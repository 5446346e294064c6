package ssh

import (
	"context"
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// The types of roles.
const (
	typeCA  = "ca"
	typeOTP = "otp"
)

// roleRow is a role. Its JSON is that of the API.
type roleRow struct {
	Type            string        `json:"key_type"`
	DefaultUser     string        `json:"default_user"`
	AllowedUsers    string        `json:"allowed_users"`
	CIDRs           string        `json:"cidr_list"`
	ExcludedCIDRs   string        `json:"exclude_cidr_list"`
	Port            int           `json:"port"`
	AlgorithmSigner string        `json:"algorithm_signer"`
	IssuerRef       string        `json:"issuer_ref"`
	TTL             wire.Duration `json:"ttl"`
	MaxTTL          wire.Duration `json:"max_ttl"`
	NotBefore       wire.Duration `json:"not_before_duration"`

	AllowUser            bool              `json:"allow_user_certificates"`
	AllowHost            bool              `json:"allow_host_certificates"`
	AllowBareDomains     bool              `json:"allow_bare_domains"`
	AllowSubdomains      bool              `json:"allow_subdomains"`
	AllowUserKeyIDs      bool              `json:"allow_user_key_ids"`
	AllowEmptyPrincipals bool              `json:"allow_empty_principals"`
	AllowCommas          bool              `json:"allow_commas_in_identity_templates"`
	AllowedDomains       string            `json:"allowed_domains"`
	DomainsTemplate      bool              `json:"allowed_domains_template"`
	UsersTemplate        bool              `json:"allowed_users_template"`
	DefaultUserTemplate  bool              `json:"default_user_template"`
	ExtensionsTemplate   bool              `json:"default_extensions_template"`
	AllowedOptions       string            `json:"allowed_critical_options"`
	DefaultOptions       map[string]string `json:"default_critical_options"`
	AllowedExtensions    string            `json:"allowed_extensions"`
	DefaultExtensions    map[string]string `json:"default_extensions"`
	KeyLengths           map[string][]int  `json:"allowed_user_key_lengths"`
	KeyIDFormat          string            `json:"key_id_format"`
}

// otpAnswer is what is shown of an otp role, whose other settings mean nothing.
type otpAnswer struct {
	AllowedUsers  string `json:"allowed_users"`
	CIDRs         string `json:"cidr_list"`
	DefaultUser   string `json:"default_user"`
	ExcludedCIDRs string `json:"exclude_cidr_list"`
	Type          string `json:"key_type"`
	Port          int    `json:"port"`
}

// caAnswer is a ca role without what only otp roles have.
type caAnswer struct {
	roleRow
	CIDRs         *struct{} `json:"cidr_list,omitempty"`
	ExcludedCIDRs *struct{} `json:"exclude_cidr_list,omitempty"`
	Port          *struct{} `json:"port,omitempty"`
}

type roleRequest struct {
	Role string `path:"role" doc:"Name of the role."`
}

type writeRoleRequest struct {
	Role                 string            `path:"role" doc:"Name of the role."`
	Type                 string            `json:"key_type" doc:"ca or otp."`
	DefaultUser          string            `json:"default_user" doc:"Principal of certificates that ask for none; user of passwords."`
	DefaultUserTemplate  bool              `json:"default_user_template" doc:"Whether default_user has templates of the caller's identity."`
	AllowedUsers         string            `json:"allowed_users" doc:"Comma-separated users that may be asked for; * is any."`
	UsersTemplate        bool              `json:"allowed_users_template" doc:"Whether allowed_users has templates of the caller's identity."`
	AllowedDomains       string            `json:"allowed_domains" doc:"Comma-separated domains of host certificates; * is any."`
	DomainsTemplate      bool              `json:"allowed_domains_template" doc:"Whether allowed_domains has templates of the caller's identity."`
	AllowBareDomains     bool              `json:"allow_bare_domains" doc:"Whether a domain itself may be a host."`
	AllowSubdomains      bool              `json:"allow_subdomains" doc:"Whether hosts below a domain may be."`
	AllowUser            bool              `json:"allow_user_certificates" doc:"Whether the role signs for users."`
	AllowHost            bool              `json:"allow_host_certificates" doc:"Whether the role signs for hosts."`
	AllowUserKeyIDs      bool              `json:"allow_user_key_ids" doc:"Whether a key id may be asked for."`
	AllowEmptyPrincipals bool              `json:"allow_empty_principals" doc:"Whether a certificate may be without principals, which OpenSSH takes for any."`
	AllowCommas          bool              `json:"allow_commas_in_identity_templates" doc:"Refused if true: a value is always one name."`
	AllowedOptions       string            `json:"allowed_critical_options" doc:"Comma-separated critical options that may be asked for; any if it is empty."`
	DefaultOptions       map[string]string `json:"default_critical_options" doc:"Critical options of certificates that ask for none."`
	AllowedExtensions    string            `json:"allowed_extensions" doc:"Comma-separated extensions that may be asked for; * is any, none if it is empty."`
	DefaultExtensions    map[string]string `json:"default_extensions" doc:"Extensions of user certificates that ask for none."`
	ExtensionsTemplate   bool              `json:"default_extensions_template" doc:"Whether values of default_extensions have templates of the caller's identity."`
	KeyLengths           keyLengths        `json:"allowed_user_key_lengths" doc:"By type of key, the size or list of sizes that are signed; 0 for ed25519. Any key if it is empty."`
	KeyIDFormat          string            `json:"key_id_format" doc:"Key id with {{token_display_name}}, {{role_name}} and {{public_key_hash}}."`
	AlgorithmSigner      string            `json:"algorithm_signer" default:"default" doc:"Signature algorithm of an RSA issuer: default, rsa-sha2-256, rsa-sha2-512 or ssh-rsa."`
	IssuerRef            string            `json:"issuer_ref" default:"default" doc:"Issuer that signs."`
	TTL                  wire.Duration     `json:"ttl" doc:"Lifetime of certificates that ask for none; 0 is the mount's."`
	MaxTTL               wire.Duration     `json:"max_ttl" doc:"Longest lifetime; 0 is the mount's."`
	NotBefore            wire.Duration     `json:"not_before_duration" default:"30s" doc:"How long before its signing a certificate is valid, for clocks that are behind."`
	CIDRs                string            `json:"cidr_list" doc:"Comma-separated networks that passwords are made for."`
	ExcludedCIDRs        string            `json:"exclude_cidr_list" doc:"Comma-separated networks within those that none are made for."`
	Port                 int               `json:"port" default:"22" doc:"Port of SSH on the hosts."`
}

// keyLengths reads a size, or a list of sizes, by type of key.
type keyLengths map[string][]int

var errLengths = fault.New(fault.Invalid, "must be an object of types of keys (rsa, ec, ed25519) with a size, or a list of sizes, each")

// UnmarshalJSON reads the lenient forms.
func (l *keyLengths) UnmarshalJSON(raw []byte) error {
	if wire.IsNull(raw) {
		return nil
	}
	if len(raw) > 0 && raw[0] == '"' {
		raw = []byte(wire.Unquote(raw))
	}
	var given map[string]json.RawMessage
	if json.Unmarshal(raw, &given) != nil {
		return errLengths
	}
	*l = keyLengths{}
	for kind, sizes := range given {
		if keyKinds[kind] == "" {
			return errLengths
		}
		var list []string
		var err error
		if list, err = wire.ParseStrings(sizes); err != nil || len(list) == 0 {
			return errLengths
		}
		for _, text := range list {
			n, err := wire.ParseInt([]byte(text))
			if err != nil || n < 0 || n > 1<<16 {
				return errLengths
			}
			(*l)[kind] = append((*l)[kind], int(n))
		}
	}
	return nil
}

func (e *Engine) writeRole(ctx context.Context, c *route.Call, in writeRoleRequest) (route.None, error) {
	if err := engine.CheckName(in.Role); err != nil {
		return route.None{}, err
	}
	row := roleRow{
		Type: in.Type, DefaultUser: in.DefaultUser, AllowedUsers: in.AllowedUsers, CIDRs: in.CIDRs, ExcludedCIDRs: in.ExcludedCIDRs, Port: in.Port,
		AlgorithmSigner: in.AlgorithmSigner, IssuerRef: in.IssuerRef, TTL: in.TTL, MaxTTL: in.MaxTTL, NotBefore: in.NotBefore,
		AllowUser: in.AllowUser, AllowHost: in.AllowHost, AllowBareDomains: in.AllowBareDomains, AllowSubdomains: in.AllowSubdomains,
		AllowUserKeyIDs: in.AllowUserKeyIDs, AllowEmptyPrincipals: in.AllowEmptyPrincipals, AllowCommas: in.AllowCommas,
		AllowedDomains: in.AllowedDomains, DomainsTemplate: in.DomainsTemplate, UsersTemplate: in.UsersTemplate,
		DefaultUserTemplate: in.DefaultUserTemplate, ExtensionsTemplate: in.ExtensionsTemplate, AllowedOptions: in.AllowedOptions,
		DefaultOptions: in.DefaultOptions, AllowedExtensions: in.AllowedExtensions, DefaultExtensions: in.DefaultExtensions,
		KeyLengths: in.KeyLengths, KeyIDFormat: in.KeyIDFormat,
	}
	var err error
	switch row.Type {
	case typeCA:
		err = row.checkCA(c)
	case typeOTP:
		err = row.checkOTP()
	default:
		err = fault.New(fault.Invalid, `key_type must be "ca" or "otp"`)
	}
	if err != nil {
		return route.None{}, err
	}
	return route.None{}, e.update(ctx, func(tx store.Txn) error { return store.PutJSON(tx, e.key(kindRole, in.Role), row) })
}

// checkCA refuses settings that could never sign, or sign more than they say.
func (r *roleRow) checkCA(c *route.Call) error {
	switch {
	case !r.AllowUser && !r.AllowHost:
		return fault.New(fault.Invalid, "set allow_user_certificates or allow_host_certificates")
	case r.MaxTTL > 0 && r.TTL > r.MaxTTL:
		return fault.New(fault.Invalid, "ttl must be at most max_ttl")
	case r.AllowCommas:
		return fault.New(fault.Invalid, "allow_commas_in_identity_templates is not supported: the value of a template is always one name")
	}
	switch r.AlgorithmSigner {
	case "":
		r.AlgorithmSigner = "default"
	case "default", "rsa-sha2-256", "rsa-sha2-512":
	case "ssh-rsa":
		c.Warn(`algorithm_signer "ssh-rsa" signs with SHA-1, which OpenSSH 8.2 and later refuse`)
	default:
		return fault.New(fault.Invalid, `algorithm_signer must be "default", "rsa-sha2-256", "rsa-sha2-512" or "ssh-rsa"`)
	}
	if r.IssuerRef == "" {
		r.IssuerRef = defaultRef
	}
	if r.DefaultOptions == nil {
		r.DefaultOptions = map[string]string{}
	}
	if r.DefaultExtensions == nil {
		r.DefaultExtensions = map[string]string{}
	}
	if r.KeyLengths == nil {
		r.KeyLengths = map[string][]int{}
	}
	return nil
}

func (r *roleRow) checkOTP() error {
	if r.DefaultUser == "" {
		return fault.New(fault.Invalid, "an otp role needs a default_user")
	}
	if r.Port < 1 || r.Port > 65535 {
		return fault.New(fault.Invalid, "port must be between 1 and 65535")
	}
	for _, list := range []string{r.CIDRs, r.ExcludedCIDRs} {
		if _, err := parseCIDRs(list); err != nil {
			return err
		}
	}
	return nil
}

func parseCIDRs(list string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range wire.SplitList(list) {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fault.New(fault.Invalid, "cidr_list and exclude_cidr_list must be comma-separated networks such as 10.0.0.0/8")
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

// role reads a role, absent with missing.
func (e *Engine) role(ctx context.Context, name string, missing error) (row roleRow, err error) {
	err = e.view(ctx, func(r store.Reader) error {
		row, err = store.GetJSON[roleRow](r, e.key(kindRole, name))
		if isAbsent(err) {
			return missing
		}
		return err
	})
	return row, err
}

var errNoRole = fault.New(fault.Invalid, "no role has this name")

func (e *Engine) readRole(ctx context.Context, _ *route.Call, in roleRequest) (wire.JSON, error) {
	row, err := e.role(ctx, in.Role, errAbsent)
	if err != nil {
		return nil, err
	}
	if row.Type == typeOTP {
		return json.Marshal(otpAnswer{row.AllowedUsers, row.CIDRs, row.DefaultUser, row.ExcludedCIDRs, row.Type, row.Port})
	}
	return json.Marshal(caAnswer{roleRow: row})
}

func (e *Engine) deleteRole(ctx context.Context, _ *route.Call, in roleRequest) (route.None, error) {
	return route.None{}, e.update(ctx, func(tx store.Txn) error { return tx.Delete(e.key(kindRole, in.Role)) })
}

// roleInfo is what a listing tells of a role.
type roleInfo struct {
	IssuerRef string `json:"issuer_ref,omitempty"`
	Type      string `json:"key_type"`
}

func (e *Engine) listRoles(ctx context.Context, _ *route.Call, _ nothing) (route.Keys, error) {
	var keys route.Keys
	err := e.view(ctx, func(r store.Reader) error {
		keys = route.Keys{Info: map[string]any{}}
		return e.eachRole(r, func(name string, row *roleRow) error {
			keys.Keys = append(keys.Keys, name)
			info := roleInfo{Type: row.Type}
			if row.Type == typeCA {
				info.IssuerRef = row.IssuerRef
			}
			keys.Info[name] = info
			return nil
		})
	})
	return keys, err
}

func (e *Engine) eachRole(r store.Reader, fn func(string, *roleRow) error) error {
	for entry, err := range r.Scan(store.Under(e.key(kindRole))) {
		if err != nil {
			return err
		}
		row, err := store.GetJSON[roleRow](r, entry.Key)
		if err != nil {
			return err
		}
		if err := fn(entry.Key.Last(), &row); err != nil {
			return err
		}
	}
	return nil
}

// lifetime is how long a certificate lives that asks for ttl.
func (r *roleRow) lifetime(m *route.Mount, asked time.Duration) (time.Duration, error) {
	most := m.MaxTTL
	if r.MaxTTL > 0 && r.MaxTTL.D() < most {
		most = r.MaxTTL.D()
	}
	ttl := asked
	if ttl == 0 {
		if ttl = r.TTL.D(); ttl == 0 {
			ttl = m.DefaultTTL
		}
		return min(ttl, most), nil
	}
	if ttl > most {
		return 0, fault.Newf(fault.Invalid, "ttl must be at most %s", most)
	}
	return ttl, nil
}

// listed reports whether a comma-separated list has a name, or "*".
func listed(list, name string) bool {
	for _, item := range wire.SplitList(list) {
		if item == name || item == "*" {
			return true
		}
	}
	return false
}

// normal is a host name as it is compared.
func normal(host string) string { return strings.ToLower(host) }
