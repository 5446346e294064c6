package pki

import (
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/engine/pki/acme"
	"github.com/cofferhq/coffer/internal/engine/pki/profile"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// acmeConfig are the settings of ACME.
type acmeConfig struct {
	Enabled         bool            `json:"enabled"`
	AllowedIssuers  profile.Strings `json:"allowed_issuers"`
	AllowedRoles    profile.Strings `json:"allowed_roles"`
	AllowRoleUsages bool            `json:"allow_role_ext_key_usage"`
	DefaultPolicy   string          `json:"default_directory_policy"`
	DNSResolver     string          `json:"dns_resolver"`
	EABPolicy       string          `json:"eab_policy"`
	Permitted       []string        `json:"challenge_permitted_ip_ranges,omitempty"`
	Excluded        []string        `json:"challenge_excluded_ip_ranges,omitempty"`
}

// Who may have an account.
const (
	eabNotRequired = "not-required"
	eabNewAccount  = "new-account-required"
	eabAlways      = "always-required"
)

// What the directory without a role does.
const (
	policyForbid   = "forbid"
	policyVerbatim = "sign-verbatim"
	policyRole     = "role:"
)

func defaultACME() acmeConfig {
	return acmeConfig{AllowedIssuers: profile.Strings{"*"}, AllowedRoles: profile.Strings{"*"}, DefaultPolicy: policyVerbatim, EABPolicy: eabNotRequired}
}

type acmeConfigRequest struct {
	Enabled         wire.Opt[bool]     `json:"enabled" doc:"Serve ACME."`
	AllowedIssuers  wire.Opt[[]string] `json:"allowed_issuers" doc:"Issuers with directories, or *."`
	AllowedRoles    wire.Opt[[]string] `json:"allowed_roles" doc:"Roles with directories, or *."`
	AllowRoleUsages wire.Opt[bool]     `json:"allow_role_ext_key_usage" doc:"Let roles decide the extended key usages, which are for TLS servers alone otherwise."`
	DefaultPolicy   wire.Opt[string]   `json:"default_directory_policy" doc:"What the directory without a role does: forbid, sign-verbatim, or role:<name>."`
	DNSResolver     wire.Opt[string]   `json:"dns_resolver" doc:"Host and port of the DNS server for challenges; empty is the system's."`
	EABPolicy       wire.Opt[string]   `json:"eab_policy" doc:"Whether accounts need an external account: not-required, new-account-required or always-required."`
	Permitted       wire.Opt[[]string] `json:"challenge_permitted_ip_ranges" doc:"Networks that challenges may reach although they are not public."`
	Excluded        wire.Opt[[]string] `json:"challenge_excluded_ip_ranges" doc:"Networks that challenges must not reach."`
}

func (q *acmeConfigRequest) into(c *acmeConfig) error {
	q.Enabled.Into(&c.Enabled)
	q.AllowRoleUsages.Into(&c.AllowRoleUsages)
	q.DefaultPolicy.Into(&c.DefaultPolicy)
	q.DNSResolver.Into(&c.DNSResolver)
	q.EABPolicy.Into(&c.EABPolicy)
	q.Permitted.Into(&c.Permitted)
	q.Excluded.Into(&c.Excluded)
	for _, f := range []struct {
		from wire.Opt[[]string]
		to   *profile.Strings
	}{{q.AllowedIssuers, &c.AllowedIssuers}, {q.AllowedRoles, &c.AllowedRoles}} {
		if f.from.Set {
			*f.to = f.from.Value
		}
		if len(*f.to) == 0 {
			return fault.New(fault.Invalid, `allowed_issuers and allowed_roles hold names, or "*" for any`)
		}
	}
	switch role, named := strings.CutPrefix(c.DefaultPolicy, policyRole); {
	case c.DefaultPolicy == policyForbid || c.DefaultPolicy == policyVerbatim:
	case !named || role == "":
		return fault.New(fault.Invalid, "default_directory_policy must be forbid, sign-verbatim or role:<name>")
	case !c.allows(c.AllowedRoles, role):
		return fault.New(fault.Invalid, "default_directory_policy names a role that allowed_roles does not let in")
	}
	if !slices.Contains([]string{eabNotRequired, eabNewAccount, eabAlways}, c.EABPolicy) {
		return fault.New(fault.Invalid, "eab_policy must be not-required, new-account-required or always-required")
	}
	if c.DNSResolver != "" {
		if _, _, err := net.SplitHostPort(c.DNSResolver); err != nil {
			return fault.New(fault.Invalid, "dns_resolver must be a host and port, such as 10.0.0.53:53")
		}
	}
	_, _, err := c.networks()
	return err
}

func (c *acmeConfig) allows(list profile.Strings, name string) bool {
	return slices.Contains(list, "*") || slices.Contains(list, name)
}

func (c *acmeConfig) networks() (permitted, excluded []netip.Prefix, err error) {
	for _, f := range []struct {
		from []string
		to   *[]netip.Prefix
	}{{c.Permitted, &permitted}, {c.Excluded, &excluded}} {
		for _, text := range f.from {
			p, err := netip.ParsePrefix(text)
			if err != nil {
				return nil, nil, fault.New(fault.Invalid, "challenge_permitted_ip_ranges and challenge_excluded_ip_ranges hold networks such as 10.0.0.0/8")
			}
			*f.to = append(*f.to, p)
		}
	}
	return permitted, excluded, nil
}

func (e *Engine) readACMEConfig(ctx context.Context, _ *route.Call, _ struct{}) (*acmeConfig, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	return &a.acme, nil
}

func (e *Engine) writeACMEConfig(ctx context.Context, c *route.Call, in acmeConfigRequest) (*acmeConfig, error) {
	var out acmeConfig
	err := e.update(ctx, func(tx store.Txn) error {
		out = defaultACME()
		if err := setting(e, tx, "acme", &out); err != nil {
			return err
		}
		if err := in.into(&out); err != nil {
			return err
		}
		a, err := e.load(tx)
		if err != nil {
			return err
		}
		if out.Enabled && a.cluster.Path == "" {
			return fault.New(fault.Invalid, "ACME needs to know where clients reach this mount: set path at config/cluster")
		}
		return e.putSetting(tx, "acme", out)
	})
	return &out, err
}

// directory is where an ACME client has come in: the mount, an issuer, a role.
type directory struct {
	prefix string // of the paths: "acme", "roles/web/acme"
	base   string // the same as a URL
	role   string
	issuer string
	config *acmeConfig
	// rules are those of certificates.
	rules *profile.Role
}

// errACMEOff is answered with 404 and nothing else.
var errACMEOff = errors.New("ACME is off")

// directoryOf finds the directory of a request by its path.
func (e *Engine) directoryOf(ctx context.Context, c *route.Call) (*directory, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	if !a.acme.Enabled || a.cluster.Path == "" {
		return nil, errACMEOff
	}
	d := &directory{role: c.Param("role"), issuer: c.Param("issuer_ref"), config: &a.acme}
	switch {
	case d.issuer != "" && d.role != "":
		d.prefix = "issuer/" + d.issuer + "/roles/" + d.role + "/acme"
	case d.issuer != "":
		d.prefix = "issuer/" + d.issuer + "/acme"
	case d.role != "":
		d.prefix = "roles/" + d.role + "/acme"
	default:
		d.prefix = "acme"
	}
	d.base = a.cluster.Path + "/" + d.prefix
	return d, e.admitDirectory(ctx, a, d)
}

// admitDirectory applies the mount's policy to a directory and finds its rules.
func (e *Engine) admitDirectory(ctx context.Context, a *authority, d *directory) error {
	if d.role == "" {
		switch role, named := strings.CutPrefix(a.acme.DefaultPolicy, policyRole); {
		case named:
			d.role = role
		case a.acme.DefaultPolicy == policyForbid:
			return acme.Errorf(acme.Unauthorized, "this directory is closed: the one of a role has to be used")
		}
	}
	if d.role != "" && !a.acme.allows(a.acme.AllowedRoles, d.role) {
		return acme.Errorf(acme.Unauthorized, "the role has no directory")
	}
	rules := profile.Verbatim()
	if d.role != "" {
		role, err := e.role(ctx, d.role)
		if err != nil {
			return acme.Errorf(acme.Malformed, "the role does not exist")
		}
		rules = *role
		if d.issuer == "" {
			d.issuer = role.IssuerRef
		}
	}
	if d.issuer == "" {
		d.issuer = refDefault
	}
	i, err := a.signer(d.issuer, usageIssue)
	if err != nil {
		return acme.Errorf(acme.Malformed, "the issuer does not exist or cannot issue")
	}
	if !a.acme.allows(a.acme.AllowedIssuers, i.ID) && !a.acme.allows(a.acme.AllowedIssuers, i.Name) && !a.acme.allows(a.acme.AllowedIssuers, d.issuer) {
		return acme.Errorf(acme.Unauthorized, "the issuer has no directory")
	}
	if d.role == "" || !a.acme.AllowRoleUsages {
		rules.ServerFlag, rules.ClientFlag, rules.CodeSigningFlag, rules.EmailFlag, rules.ExtKeyUsage, rules.ExtKeyUsageOIDs = true, false, false, false, nil, nil
	}
	// Names come from the order, and the client has them back from here.
	rules.RequireCN, rules.UseCSRCommonName, rules.UseCSRNames, rules.GenerateLease, rules.NoStore = false, false, false, false, false
	d.rules = &rules
	return nil
}

// eabKey is a key of an external account (RFC 8555, section 7.3.4).
type eabKey struct {
	ID        string
	Key       string // base64url, as clients take it
	Directory string // prefix
	Created   time.Time
}

type eabResponse struct {
	Directory string `json:"acme_directory"`
	Created   string `json:"created_on"`
	ID        string `json:"id"`
	Key       string `json:"key,omitempty"`
	Type      string `json:"key_type"`
}

func (k *eabKey) response() eabResponse {
	return eabResponse{Directory: k.Directory + "/directory", Created: k.Created.UTC().Format(time.RFC3339), ID: k.ID, Key: k.Key, Type: "hs"}
}

// eabPrefix begins every key's text, so that one is known when it is seen. It
// is base64url, of whole bytes.
const eabPrefix = "vault-eab-0-"

func (e *Engine) newEAB(ctx context.Context, c *route.Call, _ struct{}) (*eabResponse, error) {
	id, err := e.newID()
	if err != nil {
		return nil, err
	}
	raw := make([]byte, 33)
	if _, err := io.ReadFull(e.host.Rand, raw); err != nil {
		return nil, err
	}
	k := eabKey{ID: id, Key: eabPrefix + base64.RawURLEncoding.EncodeToString(raw), Directory: strings.TrimSuffix(c.Path, "/new-eab"), Created: c.Now}
	out := k.response()
	return &out, e.update(ctx, func(tx store.Txn) error { return store.PutJSON(tx, e.key(kindACME, "eab", id), k) })
}

func (e *Engine) listEAB(ctx context.Context, _ *route.Call, _ struct{}) (out route.Keys, err error) {
	err = e.view(ctx, func(r store.Reader) error {
		out = route.Keys{Info: map[string]any{}}
		for entry, err := range r.Scan(store.Under(e.key(kindACME, "eab"))) {
			if err != nil {
				return err
			}
			k, err := store.GetJSON[eabKey](r, entry.Key)
			if err != nil {
				return err
			}
			info := k.response()
			info.Key = ""
			out.Keys = append(out.Keys, k.ID)
			out.Info[k.ID] = info
		}
		return nil
	})
	return out, err
}

type eabRequest struct {
	ID string `path:"key_id" doc:"Id of the key."`
}

func (e *Engine) deleteEAB(ctx context.Context, c *route.Call, in eabRequest) (*route.Reply, error) {
	found := false
	err := e.update(ctx, func(tx store.Txn) (err error) {
		if found, err = store.Exists(tx, e.key(kindACME, "eab", in.ID)); err != nil || !found {
			return err
		}
		return tx.Delete(e.key(kindACME, "eab", in.ID))
	})
	if err == nil && !found {
		c.Warn("There was no such key.")
	}
	return &route.Reply{NoContent: true}, err
}
