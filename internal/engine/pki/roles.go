package pki

import (
	"context"
	"errors"
	"sync"

	"github.com/cofferhq/coffer/internal/engine/pki/profile"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// roles holds roles that have been read, until one changes.
type roles struct {
	mu      sync.Mutex
	known   map[string]*profile.Role // guarded by mu; roles are not changed
	changes uint64                   // counts drops; guarded by mu
}

func (s *roles) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known = nil
	s.changes++
}

func (s *roles) get(name string) (*profile.Role, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[name], s.changes
}

// maxRoles bounds the roles in memory.
const maxRoles = 10_000

// keep stores what was read, unless a role has changed since mark.
func (s *roles) keep(name string, r *profile.Role, mark uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changes != mark {
		return
	}
	if s.known == nil || len(s.known) >= maxRoles {
		s.known = map[string]*profile.Role{}
	}
	s.known[name] = r
}

// role returns a role, which must not be changed; an unknown one is
// [fault.Invalid].
func (e *Engine) role(ctx context.Context, name string) (*profile.Role, error) {
	r, mark := e.roles.get(name)
	if r != nil {
		return r, nil
	}
	err := e.view(ctx, func(tx store.Reader) error {
		row, err := store.GetJSON[profile.Role](tx, e.key(kindRole, name))
		r = &row
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, fault.Newf(fault.Invalid, "unknown role: %s", name)
	}
	if err == nil {
		err = r.Check() // what is stored is input too
	}
	if err != nil {
		return nil, err
	}
	e.roles.keep(name, r, mark)
	return r, nil
}

type roleRequest struct {
	Name      string           `path:"name" doc:"Name of the role."`
	IssuerRef wire.Opt[string] `json:"issuer_ref" doc:"Id or name of the issuer; default is the mount's."`

	TTL               wire.Opt[wire.Duration] `json:"ttl" doc:"Lifetime of certificates; the mount's default if zero."`
	MaxTTL            wire.Opt[wire.Duration] `json:"max_ttl" doc:"Longest lifetime; the mount's if zero."`
	NotBeforeDuration wire.Opt[wire.Duration] `json:"not_before_duration" doc:"How long before now the validity begins, for clocks that are behind; 30 seconds if not given."`
	NotBefore         wire.Opt[string]        `json:"not_before" doc:"Begin of the validity, as a date."`
	NotBeforeBound    wire.Opt[string]        `json:"not_before_bound" doc:"What callers may choose: permit, forbid, duration (not before not_before_duration ago) or the earliest date."`
	NotAfter          wire.Opt[string]        `json:"not_after" doc:"End of the validity, as a date, instead of ttl."`
	NotAfterBound     wire.Opt[string]        `json:"not_after_bound" doc:"What callers may choose: permit, forbid, ttl-limited (within max_ttl) or the latest date."`

	AllowAnyName           wire.Opt[bool]     `json:"allow_any_name" doc:"Let in every name."`
	AllowLocalhost         wire.Opt[bool]     `json:"allow_localhost" doc:"Let in localhost; on if not given."`
	AllowBareDomains       wire.Opt[bool]     `json:"allow_bare_domains" doc:"Let in the allowed domains themselves."`
	AllowSubdomains        wire.Opt[bool]     `json:"allow_subdomains" doc:"Let in names below the allowed domains."`
	AllowGlobDomains       wire.Opt[bool]     `json:"allow_glob_domains" doc:"Let the allowed domains hold *, which stands for any text."`
	AllowWildcards         wire.Opt[bool]     `json:"allow_wildcard_certificates" doc:"Let in wildcard names; on if not given."`
	AllowTokenDisplayName  wire.Opt[bool]     `json:"allow_token_displayname" doc:"Let in the token's display name."`
	AllowedDomains         wire.Opt[[]string] `json:"allowed_domains" doc:"Domains that the rules speak of."`
	AllowedDomainsTemplate wire.Opt[bool]     `json:"allowed_domains_template" doc:"Let the allowed domains hold {{identity...}}."`
	AllowGlobsInTemplates  wire.Opt[bool]     `json:"allow_globs_in_identity_templates" doc:"Let values of templates hold *."`
	EnforceHostnames       wire.Opt[bool]     `json:"enforce_hostnames" doc:"Let in only valid host names; on if not given."`
	CNValidations          wire.Opt[[]string] `json:"cn_validations" doc:"What a common name may be: email, hostname, or disabled for no check."`
	RequireCN              wire.Opt[bool]     `json:"require_cn" doc:"Refuse certificates without a common name; on if not given."`
	AllowIPs               wire.Opt[bool]     `json:"allow_ip_sans" doc:"Let in IP addresses; on if not given."`
	AllowedIPs             wire.Opt[[]string] `json:"allowed_ip_sans_cidr" doc:"Networks that addresses must be in; empty is any."`
	AllowedURIs            wire.Opt[[]string] `json:"allowed_uri_sans" doc:"Patterns of URIs."`
	AllowedURIsTemplate    wire.Opt[bool]     `json:"allowed_uri_sans_template" doc:"Let the patterns of URIs hold {{identity...}}."`
	AllowedOtherNames      wire.Opt[[]string] `json:"allowed_other_sans" doc:"Patterns of other names, such as 1.3.6.1.4.1.311.20.2.3;UTF8:*@example.org, or *."`
	AllowedSerialNumbers   wire.Opt[[]string] `json:"allowed_serial_numbers" doc:"Patterns of the subject's serialNumber."`
	AllowedUserIDs         wire.Opt[[]string] `json:"allowed_user_ids" doc:"Patterns of the subject's user ids."`
	UseCSRCommonName       wire.Opt[bool]     `json:"use_csr_common_name" doc:"Take the common name from the certificate request; on if not given."`
	UseCSRNames            wire.Opt[bool]     `json:"use_csr_sans" doc:"Take the alternative names from the certificate request; on if not given."`

	Country       wire.Opt[[]string] `json:"country" doc:"Country of the subject."`
	Organization  wire.Opt[[]string] `json:"organization" doc:"Organisation of the subject."`
	Unit          wire.Opt[[]string] `json:"ou" doc:"Organisational unit of the subject."`
	Locality      wire.Opt[[]string] `json:"locality" doc:"Locality of the subject."`
	Province      wire.Opt[[]string] `json:"province" doc:"Province of the subject."`
	StreetAddress wire.Opt[[]string] `json:"street_address" doc:"Street address of the subject."`
	PostalCode    wire.Opt[[]string] `json:"postal_code" doc:"Postal code of the subject."`

	KeyType          wire.Opt[string]   `json:"key_type" doc:"rsa, ec, ed25519, or any for signing requests; rsa if not given."`
	KeyBits          wire.Opt[int]      `json:"key_bits" doc:"Size of keys; 0 is 2048 for rsa and 256 for ec."`
	SignatureBits    wire.Opt[int]      `json:"signature_bits" doc:"Bits of the hash: 256, 384 or 512; 0 is what fits the key."`
	UsePSS           wire.Opt[bool]     `json:"use_pss" doc:"Sign with RSA-PSS if the issuer's key is RSA."`
	ServerFlag       wire.Opt[bool]     `json:"server_flag" doc:"For TLS servers; on if not given."`
	ClientFlag       wire.Opt[bool]     `json:"client_flag" doc:"For TLS clients; on if not given."`
	CodeSigningFlag  wire.Opt[bool]     `json:"code_signing_flag" doc:"For signing code."`
	EmailFlag        wire.Opt[bool]     `json:"email_protection_flag" doc:"For email."`
	KeyUsage         wire.Opt[[]string] `json:"key_usage" doc:"Key usages: DigitalSignature, KeyAgreement, KeyEncipherment if not given."`
	ExtKeyUsage      wire.Opt[[]string] `json:"ext_key_usage" doc:"Extended key usages beside the flags."`
	ExtKeyUsageOIDs  wire.Opt[[]string] `json:"ext_key_usage_oids" doc:"Extended key usages as object identifiers."`
	Policies         wire.Opt[[]string] `json:"policy_identifiers" doc:"Certificate policies: object identifiers, or objects with oid, cps and notice."`
	BasicConstraints wire.Opt[bool]     `json:"basic_constraints_valid_for_non_ca" doc:"Write the basic constraints extension into certificates that are no CA's."`

	GenerateLease wire.Opt[bool] `json:"generate_lease" doc:"Put certificates under leases, whose end revokes them."`
	NoStore       wire.Opt[bool] `json:"no_store" doc:"Keep no record of certificates: faster, but they cannot be listed, nor revoked by serial number."`
}

// into changes what the request mentions.
func (q *roleRequest) into(r *profile.Role) {
	for _, f := range []struct {
		from wire.Opt[string]
		to   *string
	}{
		{q.IssuerRef, &r.IssuerRef}, {q.NotBefore, &r.NotBefore}, {q.NotBeforeBound, &r.NotBeforeBound}, {q.NotAfter, &r.NotAfter}, {q.NotAfterBound, &r.NotAfterBound}, {q.KeyType, &r.KeyType},
	} {
		f.from.Into(f.to)
	}
	for _, f := range []struct {
		from wire.Opt[wire.Duration]
		to   *wire.Duration
	}{{q.TTL, &r.TTL}, {q.MaxTTL, &r.MaxTTL}, {q.NotBeforeDuration, &r.NotBeforeDuration}} {
		f.from.Into(f.to)
	}
	for _, f := range []struct {
		from wire.Opt[bool]
		to   *bool
	}{
		{q.AllowAnyName, &r.AllowAnyName}, {q.AllowLocalhost, &r.AllowLocalhost}, {q.AllowBareDomains, &r.AllowBareDomains}, {q.AllowSubdomains, &r.AllowSubdomains},
		{q.AllowGlobDomains, &r.AllowGlobDomains}, {q.AllowWildcards, &r.AllowWildcards}, {q.AllowTokenDisplayName, &r.AllowTokenDisplayName},
		{q.AllowedDomainsTemplate, &r.AllowedDomainsTemplate}, {q.AllowGlobsInTemplates, &r.AllowGlobsInTemplates}, {q.EnforceHostnames, &r.EnforceHostnames},
		{q.RequireCN, &r.RequireCN}, {q.AllowIPs, &r.AllowIPs}, {q.AllowedURIsTemplate, &r.AllowedURIsTemplate}, {q.UseCSRCommonName, &r.UseCSRCommonName},
		{q.UseCSRNames, &r.UseCSRNames}, {q.UsePSS, &r.UsePSS}, {q.ServerFlag, &r.ServerFlag}, {q.ClientFlag, &r.ClientFlag}, {q.CodeSigningFlag, &r.CodeSigningFlag},
		{q.EmailFlag, &r.EmailFlag}, {q.BasicConstraints, &r.BasicConstraints}, {q.GenerateLease, &r.GenerateLease}, {q.NoStore, &r.NoStore},
	} {
		f.from.Into(f.to)
	}
	for _, f := range []struct {
		from wire.Opt[[]string]
		to   *profile.Strings
	}{
		{q.AllowedDomains, &r.AllowedDomains}, {q.CNValidations, &r.CNValidations}, {q.AllowedIPs, &r.AllowedIPs}, {q.AllowedURIs, &r.AllowedURIs},
		{q.AllowedOtherNames, &r.AllowedOtherNames}, {q.AllowedSerialNumbers, &r.AllowedSerialNumbers}, {q.AllowedUserIDs, &r.AllowedUserIDs},
		{q.Country, &r.Country}, {q.Organization, &r.Organization}, {q.Unit, &r.Unit}, {q.Locality, &r.Locality}, {q.Province, &r.Province},
		{q.StreetAddress, &r.StreetAddress}, {q.PostalCode, &r.PostalCode}, {q.KeyUsage, &r.KeyUsage}, {q.ExtKeyUsage, &r.ExtKeyUsage},
		{q.ExtKeyUsageOIDs, &r.ExtKeyUsageOIDs}, {q.Policies, &r.Policies},
	} {
		if f.from.Set {
			*f.to = f.from.Value
		}
	}
	q.KeyBits.Into(&r.KeyBits)
	q.SignatureBits.Into(&r.SignatureBits)
}

// writeRole replaces a role.
func (e *Engine) writeRole(ctx context.Context, c *route.Call, in roleRequest) (*profile.Role, error) {
	return e.changeRole(ctx, c, in, func(store.Txn) (profile.Role, error) { return profile.NewRole(), nil })
}

// patchRole changes what is mentioned of a role.
func (e *Engine) patchRole(ctx context.Context, c *route.Call, in roleRequest) (*profile.Role, error) {
	return e.changeRole(ctx, c, in, func(tx store.Txn) (profile.Role, error) {
		r, err := store.GetJSON[profile.Role](tx, e.key(kindRole, in.Name))
		if errors.Is(err, store.ErrNotFound) {
			err = fault.Newf(fault.Invalid, "unknown role: %s", in.Name)
		}
		return r, err
	})
}

func (e *Engine) changeRole(ctx context.Context, c *route.Call, in roleRequest, old func(store.Txn) (profile.Role, error)) (*profile.Role, error) {
	if err := checkName("the role's name", in.Name); err != nil && in.Name != refDefault {
		return nil, err
	}
	var r profile.Role
	var a *authority
	err := e.update(ctx, func(tx store.Txn) (err error) {
		if r, err = old(tx); err != nil {
			return err
		}
		in.into(&r)
		if err := r.Check(); err != nil {
			return err
		}
		if limit := c.Mount.MaxTTL; limit > 0 && r.MaxTTL.D() > limit {
			c.Warn("max_ttl is longer than what the mount permits; certificates will be cut to the mount's limit.")
		}
		if a, err = e.load(tx); err != nil {
			return err
		}
		if _, err := a.issuer(r.IssuerRef); err != nil && !errors.Is(err, errNoDefault) {
			return err
		}
		return store.PutJSON(tx, e.key(kindRole, in.Name), r)
	})
	if err != nil {
		return nil, err
	}
	if _, err := a.issuer(r.IssuerRef); err != nil {
		c.Warn("The role uses the default issuer, and there is none yet: generate or import one, or choose it at config/issuers.")
	}
	return &r, nil
}

func (e *Engine) roleExists(ctx context.Context, _ *route.Call, in roleRequest) (exists bool, err error) {
	err = e.view(ctx, func(r store.Reader) error {
		exists, err = store.Exists(r, e.key(kindRole, in.Name))
		return err
	})
	return exists, err
}

func (e *Engine) readRole(ctx context.Context, _ *route.Call, in nameRequest) (*profile.Role, error) {
	r, err := e.role(ctx, in.Name)
	if fault.KindOf(err) == fault.Invalid && err != nil {
		return nil, fault.New(fault.NotFound, "")
	}
	return r, err
}

func (e *Engine) listRoles(ctx context.Context, _ *route.Call, _ struct{}) (out route.Keys, err error) {
	err = e.view(ctx, func(r store.Reader) error {
		out.Keys, err = store.Children(r, e.key(kindRole), "", 0)
		return err
	})
	return out, err
}

func (e *Engine) deleteRole(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	return route.None{}, e.update(ctx, func(tx store.Txn) error { return tx.Delete(e.key(kindRole, in.Name)) })
}
