package pki

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/engine/pki/profile"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// subjectFields are the names that a request about a CA gives.
type subjectFields struct {
	CommonName    string   `json:"common_name" doc:"Common name."`
	AltNames      []string `json:"alt_names" doc:"DNS names and email addresses."`
	IPs           []string `json:"ip_sans" doc:"IP addresses."`
	URIs          []string `json:"uri_sans" doc:"URIs."`
	OtherNames    []string `json:"other_sans" doc:"Names such as 1.3.6.1.4.1.311.20.2.3;UTF8:user@example.org."`
	ExcludeCN     bool     `json:"exclude_cn_from_sans" doc:"Keep the common name out of the alternative names."`
	SerialNumber  string   `json:"serial_number" doc:"serialNumber attribute of the subject."`
	Country       []string `json:"country" doc:"Country of the subject."`
	Organization  []string `json:"organization" doc:"Organisation of the subject."`
	Unit          []string `json:"ou" doc:"Organisational unit of the subject."`
	Locality      []string `json:"locality" doc:"Locality of the subject."`
	Province      []string `json:"province" doc:"Province of the subject."`
	StreetAddress []string `json:"street_address" doc:"Street address of the subject."`
	PostalCode    []string `json:"postal_code" doc:"Postal code of the subject."`
}

func (s *subjectFields) template(csr *x509.CertificateRequest) (*x509.Certificate, error) {
	role := profile.Role{Country: s.Country, Organization: s.Organization, Unit: s.Unit, Locality: s.Locality, Province: s.Province, StreetAddress: s.StreetAddress, PostalCode: s.PostalCode}
	role.UseCSRCommonName, role.UseCSRNames = csr != nil, csr != nil
	if csr == nil {
		// A CA's common name is a title: it is an alternative name only if asked for.
		s.ExcludeCN = s.ExcludeCN || !strings.Contains(s.CommonName, ".")
	}
	return profile.AlternativeOnly(&profile.Request{
		CommonName: s.CommonName, AltNames: s.AltNames, IPs: s.IPs, URIs: s.URIs, OtherNames: s.OtherNames, SerialNumber: s.SerialNumber,
		ExcludeCN: s.ExcludeCN, CSR: csr, WholeSubject: csr != nil,
	}, role)
}

// validityFields are the limits that a request about a CA gives.
type validityFields struct {
	TTL               wire.Duration `json:"ttl" doc:"Lifetime; the mount's default if not given."`
	NotBefore         string        `json:"not_before" doc:"Begin of the validity, as a date."`
	NotBeforeDuration wire.Duration `json:"not_before_duration" default:"30" doc:"How long before now the validity begins, for clocks that are behind."`
	NotAfter          string        `json:"not_after" doc:"End of the validity, as a date, instead of ttl."`
}

// constraintFields bind what a CA may sign (RFC 5280, sections 4.2.1.9 and
// 4.2.1.10).
type constraintFields struct {
	PathLength     int      `json:"max_path_length" default:"-1" doc:"How many CAs may follow; -1 is no limit."`
	PermittedDNS   []string `json:"permitted_dns_domains" doc:"DNS domains that certificates may name."`
	ExcludedDNS    []string `json:"excluded_dns_domains" doc:"DNS domains that certificates must not name."`
	PermittedIP    []string `json:"permitted_ip_ranges" doc:"Networks that certificates may name."`
	ExcludedIP     []string `json:"excluded_ip_ranges" doc:"Networks that certificates must not name."`
	PermittedEmail []string `json:"permitted_email_addresses" doc:"Email addresses, hosts or domains that certificates may name."`
	ExcludedEmail  []string `json:"excluded_email_addresses" doc:"Email addresses, hosts or domains that certificates must not name."`
	PermittedURI   []string `json:"permitted_uri_domains" doc:"Hosts of URIs that certificates may name."`
	ExcludedURI    []string `json:"excluded_uri_domains" doc:"Hosts of URIs that certificates must not name."`
	KeyUsage       []string `json:"key_usage" doc:"Key usages beside certificate and list signing."`
	ExtKeyUsage    []string `json:"ext_key_usage" doc:"Extended key usages."`
	ExtKeyUsageOID []string `json:"ext_key_usage_oids" doc:"Extended key usages as object identifiers."`
	Policies       []string `json:"policy_identifiers" doc:"Certificate policies: object identifiers, or objects with oid, cps and notice."`
	SignatureBits  int      `json:"signature_bits" doc:"Bits of the hash: 256, 384 or 512; 0 is what fits the key."`
	UsePSS         bool     `json:"use_pss" doc:"Sign with RSA-PSS."`
}

// keyFields choose the key of a new CA.
type keyFields struct {
	Exported  string `path:"exported" doc:"internal keeps the key here, exported shows it once, existing uses the one at key_ref."`
	Type      string `json:"key_type" default:"rsa" doc:"rsa, ec or ed25519."`
	Bits      int    `json:"key_bits" doc:"Size; 0 is 2048 for rsa and 256 for ec."`
	KeyName   string `json:"key_name" doc:"Name of the new key."`
	KeyRef    string `json:"key_ref" default:"default" doc:"With existing: id or name of the key."`
	Format    string `json:"format" default:"pem" doc:"pem, der or pem_bundle."`
	KeyFormat string `json:"private_key_format" doc:"der for the key's own encoding, or pkcs8."`
}

// fillCA makes a template that of a CA certificate.
func (f *constraintFields) fillCA(t *x509.Certificate) error {
	role := profile.Role{KeyUsage: f.KeyUsage, ExtKeyUsage: f.ExtKeyUsage, ExtKeyUsageOIDs: f.ExtKeyUsageOID, Policies: f.Policies}
	if err := role.FillUsage(t); err != nil {
		return err
	}
	t.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	t.BasicConstraintsValid, t.IsCA = true, true
	t.MaxPathLen, t.MaxPathLenZero = f.PathLength, f.PathLength == 0
	if f.PathLength < -1 {
		return fault.New(fault.Invalid, "max_path_length must be -1 or more")
	}
	t.PermittedDNSDomains, t.ExcludedDNSDomains = f.PermittedDNS, f.ExcludedDNS
	t.PermittedEmailAddresses, t.ExcludedEmailAddresses = f.PermittedEmail, f.ExcludedEmail
	t.PermittedURIDomains, t.ExcludedURIDomains = f.PermittedURI, f.ExcludedURI
	for _, r := range []struct {
		from []string
		to   *[]*net.IPNet
	}{{f.PermittedIP, &t.PermittedIPRanges}, {f.ExcludedIP, &t.ExcludedIPRanges}} {
		for _, text := range r.from {
			_, network, err := net.ParseCIDR(strings.TrimSpace(text))
			if err != nil {
				return fault.New(fault.Invalid, "permitted_ip_ranges and excluded_ip_ranges hold networks such as 10.0.0.0/8")
			}
			*r.to = append(*r.to, network)
		}
	}
	t.PermittedDNSDomainsCritical = len(t.PermittedDNSDomains)+len(t.ExcludedDNSDomains)+len(t.PermittedIPRanges)+len(t.ExcludedIPRanges)+
		len(t.PermittedEmailAddresses)+len(t.ExcludedEmailAddresses)+len(t.PermittedURIDomains)+len(t.ExcludedURIDomains) > 0
	return nil
}

// fillValidity sets the ends of a CA certificate and warns if they were cut.
func (f *validityFields) fillValidity(t *x509.Certificate, c *route.Call) error {
	role := profile.NewRole()
	role.NotBeforeDuration = f.NotBeforeDuration
	v, err := role.Validity(&profile.Request{TTL: f.TTL.D(), NotBefore: f.NotBefore, NotAfter: f.NotAfter}, env(c))
	if v.Warning != "" {
		c.Warn(v.Warning)
	}
	t.NotBefore, t.NotAfter = v.NotBefore, v.NotAfter
	return err
}

func env(c *route.Call) profile.Env {
	return profile.Env{Now: c.Now, DefaultTTL: c.Mount.DefaultTTL, MaxTTL: c.Mount.MaxTTL, DisplayName: c.Caller.DisplayName}
}

type generateRootRequest struct {
	keyFields
	subjectFields
	validityFields
	constraintFields
	IssuerName string `json:"issuer_name" doc:"Name of the new issuer."`
}

type rootResponse struct {
	Certificate    string `json:"certificate"`
	Expiration     int64  `json:"expiration"`
	IssuerID       string `json:"issuer_id"`
	IssuerName     string `json:"issuer_name"`
	IssuingCA      string `json:"issuing_ca"`
	KeyID          string `json:"key_id"`
	KeyName        string `json:"key_name"`
	PrivateKey     string `json:"private_key,omitempty"`
	PrivateKeyType string `json:"private_key_type,omitempty"`
	SerialNumber   string `json:"serial_number"`
}

// caKey returns the key of a new CA: a new one, or that of an existing row.
func (e *Engine) caKey(a *authority, f *keyFields) (signer crypto.Signer, existing *keyRow, err error) {
	if err := checkFormat(f.Format); err != nil {
		return nil, nil, err
	}
	if err := checkKeyFormat(f.KeyFormat); err != nil {
		return nil, nil, err
	}
	switch f.Exported {
	case "internal", "exported":
		signer, err = keypair.Spec{Type: f.Type, Bits: f.Bits}.Generate(e.host.Rand)
		return signer, nil, err
	case "existing":
		k, err := a.key(f.KeyRef)
		if err != nil {
			return nil, nil, err
		}
		return a.parsed[k.ID], k, nil
	case "kms":
		return nil, nil, errKMS
	}
	return nil, nil, fault.New(fault.Invalid, "the kind of key must be internal, exported, existing or kms")
}

func (e *Engine) generateRoot(ctx context.Context, c *route.Call, in generateRootRequest) (*rootResponse, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkName("issuer_name", in.IssuerName); err != nil {
		return nil, err
	}
	key, existing, err := e.caKey(a, &in.keyFields)
	if err != nil {
		return nil, err
	}
	der, t, err := e.selfSign(c, key, &in)
	if err != nil {
		return nil, err
	}
	out := &rootResponse{Expiration: t.NotAfter.Unix(), SerialNumber: serialText(t.SerialNumber), IssuerName: in.IssuerName}
	err = e.update(ctx, func(tx store.Txn) error {
		a, err := e.load(tx)
		if err != nil {
			return err
		}
		k := existing
		if k == nil {
			if k, err = e.addKey(tx, a, key, in.KeyName); err != nil {
				return err
			}
		}
		row := issuerRow{Name: in.IssuerName, KeyID: k.ID, DER: der, Leaf: leafErr, Usage: usageAll, RevocationAlgorithm: algorithmOf(der)}
		i, err := e.addIssuer(tx, a, row)
		if err != nil {
			return err
		}
		out.IssuerID, out.KeyID, out.KeyName = i.ID, k.ID, k.Name
		return e.storeCert(tx, &record{DER: der, Issuer: i.ID, NotAfter: t.NotAfter.Unix(), Source: "root", by: byCall(c)}, t)
	})
	if err != nil {
		return nil, err
	}
	a.warnURLs(c)
	out.Certificate = certText(der, in.Format)
	out.IssuingCA = out.Certificate
	if in.Exported == "exported" {
		err = out.export(key, &in.keyFields, der)
	}
	return out, err
}

// export adds the private key to the answer.
func (out *rootResponse) export(key crypto.Signer, f *keyFields, der []byte) (err error) {
	spec, _ := keypair.Of(key.Public())
	out.PrivateKeyType = spec.Type
	if out.PrivateKey, err = privateText(key, f.Format, f.KeyFormat); err != nil || f.Format != formatBundle {
		return err
	}
	legacy, err := privatePEM(key, false)
	out.Certificate = legacy + "\n" + certPEM(der)
	return err
}

func algorithmOf(der []byte) x509.SignatureAlgorithm {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return x509.UnknownSignatureAlgorithm
	}
	return cert.SignatureAlgorithm
}

// selfSign makes a root certificate.
func (e *Engine) selfSign(c *route.Call, key crypto.Signer, in *generateRootRequest) ([]byte, *x509.Certificate, error) {
	t, err := in.template(nil)
	if err != nil {
		return nil, nil, err
	}
	if err := in.fillCA(t); err != nil {
		return nil, nil, err
	}
	if err := in.fillValidity(t, c); err != nil {
		return nil, nil, err
	}
	if t.SerialNumber, err = e.newSerial(); err != nil {
		return nil, nil, err
	}
	if t.SubjectKeyId, err = keypair.ID(key.Public()); err != nil {
		return nil, nil, err
	}
	t.AuthorityKeyId = t.SubjectKeyId
	if t.SignatureAlgorithm, err = (signing{in.SignatureBits, in.UsePSS}).algorithm(key); err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(e.host.Rand, t, t, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("signing a root certificate: %w", err)
	}
	return der, t, nil
}

// addIssuer stores a new issuer. The first one becomes the default, and each
// later one if the mount says so.
func (e *Engine) addIssuer(tx store.Txn, a *authority, row issuerRow) (*issuer, error) {
	if row.Name != "" && a.names[row.Name] != nil {
		return nil, fault.Newf(fault.Invalid, "the issuer name %q is in use", row.Name)
	}
	var err error
	if row.ID, err = e.newID(); err != nil {
		return nil, err
	}
	row.Made = e.host.Clock.Now().UnixNano() + int64(len(a.issuers))
	cert, err := x509.ParseCertificate(row.DER)
	if err != nil {
		return nil, fmt.Errorf("reading a certificate that was just made: %w", err)
	}
	i := &issuer{issuerRow: row, cert: cert, pem: certPEM(row.DER), key: a.parsed[row.KeyID], root: selfSigned(cert)}
	a.issuers = append(a.issuers, i)
	a.byID[row.ID] = i
	if row.Name != "" {
		a.names[row.Name] = i
	}
	if old := a.byID[a.issuing.Default]; old == nil || old.key == nil && i.key != nil || a.issuing.Follows && i.key != nil {
		a.issuing.Default = i.ID
		if err := e.putSetting(tx, "issuers", a.issuing); err != nil {
			return nil, err
		}
	}
	return i, store.PutJSON(tx, e.key(kindIssuer, row.ID), row)
}

// rotateRoot generates a root under the name "next", unless told otherwise.
func (e *Engine) rotateRoot(ctx context.Context, c *route.Call, in generateRootRequest) (*rootResponse, error) {
	if in.IssuerName == "" {
		in.IssuerName = "next"
	}
	return e.generateRoot(ctx, c, in)
}

func unix(n int64) time.Time { return time.Unix(n, 0).UTC() }
