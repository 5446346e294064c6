package cert

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// role is a row.
type role struct {
	Certificate string            `json:"certificate"`
	Allowed     constraints       `json:"allowed"`
	Metadata    []string          `json:"metadata,omitempty"`
	DisplayName string            `json:"display_name,omitempty"`
	OCSP        ocspSettings      `json:"ocsp"`
	Token       authn.TokenParams `json:"token"`
	Older       authn.OlderNames  `json:"older"`
}

// ocspSettings say whether and how responders are asked.
type ocspSettings struct {
	Enabled  bool          `json:"enabled,omitempty"`
	CAs      string        `json:"cas,omitempty"`
	Servers  []string      `json:"servers,omitempty"`
	FailOpen bool          `json:"fail_open,omitempty"`
	QueryAll bool          `json:"query_all,omitempty"`
	MaxAge   time.Duration `json:"max_age,omitempty"`
	Retries  int           `json:"retries,omitempty"`
}

// maxRetries bounds how often a responder is asked again.
const maxRetries = 5

func (m *method) roleKey(name string) store.Key { return m.storage.Key(kindRole, name) }

func (m *method) listRoles(ctx context.Context, _ *route.Call, _ listRequest) (keys route.Keys, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		keys.Keys, err = store.Children(r, m.storage.Key(kindRole), "", 0)
		return err
	})
	return keys, err
}

func (m *method) readRole(ctx context.Context, _ *route.Call, in nameRequest) (a roleAnswer, err error) {
	if err := authn.CheckName("role", in.Name); err != nil {
		return a, err
	}
	var r role
	if err := m.storage.View(ctx, func(rd store.Reader) (err error) {
		r, err = store.GetJSON[role](rd, m.roleKey(in.Name))
		return err
	}); err != nil {
		return a, err
	}
	return roleAnswer{
		TokenAnswer: authn.Answer(r.Token), OlderAnswer: r.Older.Answer(r.Token), CommonNames: r.Allowed.CommonNames, DNSNames: r.Allowed.DNSNames,
		Emails: r.Allowed.Emails, Metadata: r.Metadata, AllowedNames: r.Allowed.Names, Units: r.Allowed.Units, URIs: r.Allowed.URIs,
		Certificate: r.Certificate, DisplayName: r.displayName(in.Name), OCSPCAs: r.OCSP.CAs, OCSP: r.OCSP.Enabled, OCSPFailOpen: r.OCSP.FailOpen,
		OCSPQueryAll: r.OCSP.QueryAll, OCSPServers: r.OCSP.Servers, OCSPMaxAge: wire.Duration(r.OCSP.MaxAge), OCSPRetries: r.OCSP.Retries, Extensions: r.Allowed.Extensions,
	}, nil
}

func (r *role) displayName(name string) string {
	if r.DisplayName != "" {
		return r.DisplayName
	}
	return name
}

func (m *method) writeRole(ctx context.Context, _ *route.Call, in roleRequest) (route.None, error) {
	if err := authn.CheckName("role", in.Name); err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error {
		r, err := store.GetJSON[role](tx, m.roleKey(in.Name))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err := in.apply(&r); err != nil {
			return err
		}
		return store.PutJSON(tx, m.roleKey(in.Name), &r)
	})
}

func (m *method) deleteRole(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	if err := authn.CheckName("role", in.Name); err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error { return tx.Delete(m.roleKey(in.Name)) })
}

// apply lays the settings that were given over the role's and checks the whole.
func (in *roleRequest) apply(r *role) error {
	if !in.OldTTL.Set {
		in.OldTTL = in.Lease
	}
	fields := in.OlderFields.Merge(in.TokenFields, &r.Older)
	if err := fields.Apply(&r.Token); err != nil {
		return err
	}
	in.Certificate.Into(&r.Certificate)
	for _, l := range []struct {
		from wire.Opt[[]string]
		to   *[]string
	}{
		{in.AllowedNames, &r.Allowed.Names}, {in.CommonNames, &r.Allowed.CommonNames}, {in.DNSNames, &r.Allowed.DNSNames}, {in.Emails, &r.Allowed.Emails},
		{in.URIs, &r.Allowed.URIs}, {in.Units, &r.Allowed.Units}, {in.Extensions, &r.Allowed.Extensions}, {in.Metadata, &r.Metadata}, {in.OCSPServers, &r.OCSP.Servers},
	} {
		if l.from.Set {
			*l.to = orNull(l.from.Value)
		}
	}
	in.DisplayName.Into(&r.DisplayName)
	in.OCSP.Into(&r.OCSP.Enabled)
	in.OCSPCAs.Into(&r.OCSP.CAs)
	in.OCSPFailOpen.Into(&r.OCSP.FailOpen)
	in.OCSPQueryAll.Into(&r.OCSP.QueryAll)
	in.OCSPMaxRetries.Into(&r.OCSP.Retries)
	if in.OCSPMaxAge.Set {
		r.OCSP.MaxAge = in.OCSPMaxAge.Value.D()
	}
	return r.validate()
}

func orNull(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

func (r *role) validate() error {
	trusted, err := parseCertificates(r.Certificate)
	if err != nil {
		return fault.New(fault.Invalid, "failed to parse certificate: give trusted certificates in PEM form")
	}
	for _, c := range trusted {
		if !c.IsCA && !forClients(c) {
			return fault.New(fault.Invalid, "non-CA certificates should have TLS client authentication set as an extended key usage")
		}
	}
	if r.OCSP.CAs != "" {
		if _, err := parseCertificates(r.OCSP.CAs); err != nil {
			return fault.New(fault.Invalid, "ocsp_ca_certificates holds something that is no certificate in PEM form")
		}
	}
	for _, s := range r.OCSP.Servers {
		if !isURL(s) {
			return fault.New(fault.Invalid, `ocsp_servers_override has URLs such as "http://ocsp.example"`)
		}
	}
	if r.OCSP.Retries < 0 || r.OCSP.Retries > maxRetries {
		return fault.Newf(fault.Invalid, "ocsp_max_retries may be at most %d", maxRetries)
	}
	for _, oid := range r.Metadata {
		if _, err := x509.ParseOID(oid); err != nil {
			return fault.New(fault.Invalid, `allowed_metadata_extensions has OIDs such as "1.3.6.1.4.1.1"`)
		}
	}
	return r.Allowed.validate()
}

func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

// forClients reports whether clients may use a certificate: it says so, or says
// nothing about its use.
func forClients(c *x509.Certificate) bool {
	return len(c.ExtKeyUsage)+len(c.UnknownExtKeyUsage) == 0 || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(c.ExtKeyUsage, x509.ExtKeyUsageAny)
}

var errPEM = errors.New("no certificate in PEM form")

// parseCertificates reads one or more certificates and nothing else.
func parseCertificates(text string) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	rest := []byte(strings.TrimSpace(text))
	for len(rest) > 0 {
		block, after := pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, errPEM
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errPEM
		}
		list, rest = append(list, c), []byte(strings.TrimSpace(string(after)))
	}
	if len(list) == 0 {
		return nil, errPEM
	}
	return list, nil
}
