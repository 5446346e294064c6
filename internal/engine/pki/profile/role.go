// Package profile decides what a certificate may say. A [Role] holds the rules,
// a [Request] what somebody wants, and [Role.Build] makes the certificate's
// template from the two, or refuses.
//
// A template is always built anew from parsed fields. Nothing of a certificate
// request is copied as it came, so an extension or a kind of name that no rule
// knows cannot ride along; and every rule is asked about the final template,
// wherever a name came from.
package profile

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// KeyAny in a role lets callers sign any type of key.
const KeyAny = "any"

// Strings is a list that is an array in JSON even when it is empty.
type Strings []string

// MarshalJSON writes an array.
func (s Strings) MarshalJSON() ([]byte, error) {
	if len(s) == 0 {
		return []byte("[]"), nil
	}
	return wire.AppendStrings(nil, s), nil
}

// Role is a role as it is stored and as the API shows it.
type Role struct {
	IssuerRef string `json:"issuer_ref"`

	TTL               wire.Duration `json:"ttl"`
	MaxTTL            wire.Duration `json:"max_ttl"`
	NotBeforeDuration wire.Duration `json:"not_before_duration"`
	NotBefore         string        `json:"not_before"`
	NotBeforeBound    string        `json:"not_before_bound"`
	NotAfter          string        `json:"not_after"`
	NotAfterBound     string        `json:"not_after_bound"`

	AllowAnyName           bool    `json:"allow_any_name"`
	AllowLocalhost         bool    `json:"allow_localhost"`
	AllowBareDomains       bool    `json:"allow_bare_domains"`
	AllowSubdomains        bool    `json:"allow_subdomains"`
	AllowGlobDomains       bool    `json:"allow_glob_domains"`
	AllowWildcards         bool    `json:"allow_wildcard_certificates"`
	AllowTokenDisplayName  bool    `json:"allow_token_displayname"`
	AllowedDomains         Strings `json:"allowed_domains"`
	AllowedDomainsTemplate bool    `json:"allowed_domains_template"`
	AllowGlobsInTemplates  bool    `json:"allow_globs_in_identity_templates"`
	EnforceHostnames       bool    `json:"enforce_hostnames"`
	CNValidations          Strings `json:"cn_validations"`
	RequireCN              bool    `json:"require_cn"`
	AllowIPs               bool    `json:"allow_ip_sans"`
	AllowedIPs             Strings `json:"allowed_ip_sans_cidr"`
	AllowedURIs            Strings `json:"allowed_uri_sans"`
	AllowedURIsTemplate    bool    `json:"allowed_uri_sans_template"`
	AllowedOtherNames      Strings `json:"allowed_other_sans"`
	AllowedSerialNumbers   Strings `json:"allowed_serial_numbers"`
	AllowedUserIDs         Strings `json:"allowed_user_ids"`
	UseCSRCommonName       bool    `json:"use_csr_common_name"`
	UseCSRNames            bool    `json:"use_csr_sans"`

	Country       Strings `json:"country"`
	Organization  Strings `json:"organization"`
	Unit          Strings `json:"ou"`
	Locality      Strings `json:"locality"`
	Province      Strings `json:"province"`
	StreetAddress Strings `json:"street_address"`
	PostalCode    Strings `json:"postal_code"`

	KeyType          string  `json:"key_type"`
	KeyBits          int     `json:"key_bits"`
	SignatureBits    int     `json:"signature_bits"`
	UsePSS           bool    `json:"use_pss"`
	ServerFlag       bool    `json:"server_flag"`
	ClientFlag       bool    `json:"client_flag"`
	CodeSigningFlag  bool    `json:"code_signing_flag"`
	EmailFlag        bool    `json:"email_protection_flag"`
	KeyUsage         Strings `json:"key_usage"`
	ExtKeyUsage      Strings `json:"ext_key_usage"`
	ExtKeyUsageOIDs  Strings `json:"ext_key_usage_oids"`
	Policies         Strings `json:"policy_identifiers"`
	BasicConstraints bool    `json:"basic_constraints_valid_for_non_ca"`

	GenerateLease bool `json:"generate_lease"`
	NoStore       bool `json:"no_store"`
}

// NewRole returns a role with the default of every setting.
func NewRole() Role {
	return Role{
		IssuerRef: "default", KeyType: keypair.RSA, NotBeforeDuration: wire.Duration(30 * time.Second), NotBeforeBound: BoundPermit, NotAfterBound: BoundPermit,
		AllowLocalhost: true, AllowWildcards: true, EnforceHostnames: true, CNValidations: Strings{"email", "hostname"}, RequireCN: true, AllowIPs: true,
		UseCSRCommonName: true, UseCSRNames: true, ServerFlag: true, ClientFlag: true,
		KeyUsage: Strings{"DigitalSignature", "KeyAgreement", "KeyEncipherment"},
	}
}

// Verbatim returns the rules of signing a request as it is: any name.
func Verbatim() Role {
	r := NewRole()
	r.AllowAnyName, r.EnforceHostnames, r.CNValidations, r.RequireCN = true, false, Strings{"disabled"}, false
	r.AllowedURIs, r.AllowedOtherNames, r.AllowedSerialNumbers, r.AllowedUserIDs = Strings{"*"}, Strings{"*"}, Strings{"*"}, Strings{"*"}
	r.KeyType, r.ServerFlag, r.ClientFlag = KeyAny, false, false
	return r
}

// Check fills in what follows from other settings, and refuses what makes no
// sense with [fault.Invalid].
func (r *Role) Check() error {
	if r.MaxTTL > 0 && r.TTL > r.MaxTTL {
		return fault.New(fault.Invalid, `"ttl" must not be longer than "max_ttl"`)
	}
	if err := r.checkKey(); err != nil {
		return err
	}
	for _, err := range []error{checkBound("not_before", r.NotBeforeBound), checkBound("not_after", r.NotAfterBound), checkTime("not_before", r.NotBefore), checkTime("not_after", r.NotAfter)} {
		if err != nil {
			return err
		}
	}
	if len(r.CNValidations) == 0 {
		r.CNValidations = Strings{"email", "hostname"}
	}
	for _, v := range r.CNValidations {
		switch v {
		case "email", "hostname":
		case "disabled":
			if len(r.CNValidations) > 1 {
				return fault.New(fault.Invalid, `cn_validations: "disabled" stands alone`)
			}
		default:
			return fault.New(fault.Invalid, `cn_validations holds "email", "hostname" or "disabled"`)
		}
	}
	for _, cidr := range r.AllowedIPs {
		if _, err := netip.ParsePrefix(cidr); err != nil {
			return fault.New(fault.Invalid, "allowed_ip_sans_cidr holds networks such as 10.0.0.0/8")
		}
	}
	for _, allowed := range r.AllowedOtherNames {
		if _, err := parseAllowedOther(allowed); err != nil {
			return err
		}
	}
	if _, err := keyUsage(r.KeyUsage); err != nil {
		return err
	}
	if _, _, err := r.extKeyUsage(); err != nil {
		return err
	}
	_, err := policies(r.Policies)
	return err
}

func (r *Role) checkKey() error {
	switch r.SignatureBits {
	case 0, 256, 384, 512:
	default:
		return fault.New(fault.Invalid, "signature_bits must be 0, 256, 384 or 512")
	}
	if r.KeyType == KeyAny {
		if r.KeyBits != 0 {
			return fault.New(fault.Invalid, "key_bits must be 0 with key_type any")
		}
		return nil
	}
	spec, err := keypair.Spec{Type: r.KeyType, Bits: r.KeyBits}.Check()
	r.KeyBits = spec.Bits
	return err
}

// checkPublic refuses a key that the role does not want.
func (r *Role) checkPublic(s keypair.Spec) error {
	switch {
	case r.KeyType == KeyAny:
		if s.Type == keypair.RSA && s.Bits < 2048 {
			return fault.New(fault.Invalid, "RSA keys of fewer than 2048 bits are not signed")
		}
		return nil
	case s.Type != r.KeyType:
		return fault.Newf(fault.Invalid, "the role wants a key of type %s, the request has one of type %s", r.KeyType, s.Type)
	case s.Type == keypair.EC && s.Bits != r.KeyBits, s.Bits < r.KeyBits:
		return fault.Newf(fault.Invalid, "the role wants a key of %d bits, the request has one of %d", r.KeyBits, s.Bits)
	}
	return nil
}

// expanded returns a list of rules with their templates filled in. A rule that
// speaks of an identity that the caller does not have is left out.
func expanded(list Strings, template bool, globs bool, values func(string) (string, bool)) (Strings, error) {
	if !template || !slices.ContainsFunc(list, func(s string) bool { return engine.Template(s).Templated() }) {
		return list, nil
	}
	out := make(Strings, 0, len(list))
	for _, rule := range list {
		t := engine.Template(rule)
		if !t.Templated() {
			out = append(out, rule)
			continue
		}
		text, ok, err := t.Expand(values, globs)
		if err != nil {
			return nil, err
		}
		if ok && text != "" && (globs || strings.Count(text, "*") == strings.Count(rule, "*")) {
			out = append(out, text)
		}
	}
	return out, nil
}

// Templated reports whether a rule speaks of the caller's identity.
func (r *Role) Templated() bool {
	has := func(on bool, list Strings) bool {
		return on && slices.ContainsFunc(list, func(s string) bool { return engine.Template(s).Templated() })
	}
	return has(r.AllowedDomainsTemplate, r.AllowedDomains) || has(r.AllowedURIsTemplate, r.AllowedURIs)
}

// Limit takes over what another role says about everything but names and usages:
// lifetimes, signature, storage and leases.
func (r *Role) Limit(by *Role) {
	r.IssuerRef, r.TTL, r.MaxTTL, r.NotBeforeDuration = by.IssuerRef, by.TTL, by.MaxTTL, by.NotBeforeDuration
	r.NotBefore, r.NotBeforeBound, r.NotAfter, r.NotAfterBound = by.NotBefore, by.NotBeforeBound, by.NotAfter, by.NotAfterBound
	r.SignatureBits, r.UsePSS, r.GenerateLease, r.NoStore, r.BasicConstraints = by.SignatureBits, by.UsePSS, by.GenerateLease, by.NoStore, by.BasicConstraints
}
