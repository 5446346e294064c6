package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"strings"

	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

type generateIntermediateRequest struct {
	keyFields
	csrFields
}

type crossSignRequest struct {
	KeyRef    string `json:"key_ref" default:"default" doc:"Id or name of the key."`
	Exported  string `json:"exported" doc:"existing, or empty."`
	Format    string `json:"format" default:"pem" doc:"pem or der."`
	KeyFormat string `json:"private_key_format" doc:"der for the key's own encoding, or pkcs8."`
	csrFields
}

// csrFields are what a request for an intermediate certificate says.
type csrFields struct {
	subjectFields
	BasicConstraints bool   `json:"add_basic_constraints" doc:"Ask for a CA certificate in the request itself, as some CAs want."`
	SignatureBits    int    `json:"signature_bits" doc:"Bits of the hash: 256, 384 or 512; 0 is what fits the key."`
	TTL              string `json:"ttl" doc:"Not used: the signer decides." deprecated:"true"`
	NotBefore        string `json:"not_before" doc:"Not used: the signer decides." deprecated:"true"`
	NotBeforeLength  string `json:"not_before_duration" doc:"Not used: the signer decides." deprecated:"true"`
	NotAfter         string `json:"not_after" doc:"Not used: the signer decides." deprecated:"true"`
}

type csrResponse struct {
	CSR            string `json:"csr"`
	KeyID          string `json:"key_id"`
	PrivateKey     string `json:"private_key,omitempty"`
	PrivateKeyType string `json:"private_key_type,omitempty"`
}

func (e *Engine) generateIntermediate(ctx context.Context, c *route.Call, in generateIntermediateRequest) (*csrResponse, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	key, existing, err := e.caKey(a, &in.keyFields)
	if err != nil {
		return nil, err
	}
	der, err := e.newCSR(key, &in.csrFields)
	if err != nil {
		return nil, err
	}
	out := &csrResponse{}
	if existing != nil {
		out.KeyID = existing.ID
	} else if err = e.update(ctx, func(tx store.Txn) error {
		a, err := e.load(tx)
		if err != nil {
			return err
		}
		k, err := e.addKey(tx, a, key, in.KeyName)
		if err == nil {
			out.KeyID = k.ID
		}
		return err
	}); err != nil {
		return nil, err
	}
	a.warnURLs(c)
	out.CSR = csrText(der, in.Format)
	if in.Exported != "exported" {
		return out, nil
	}
	spec, _ := keypair.Of(key.Public())
	out.PrivateKeyType = spec.Type
	if out.PrivateKey, err = privateText(key, in.Format, in.KeyFormat); err == nil && in.Format == formatBundle {
		out.CSR = out.PrivateKey + "\n" + out.CSR
	}
	return out, err
}

// crossSign makes a request for a key that is here already, for another CA to
// sign.
func (e *Engine) crossSign(ctx context.Context, c *route.Call, in crossSignRequest) (*csrResponse, error) {
	return e.generateIntermediate(ctx, c, generateIntermediateRequest{
		keyFields: keyFields{Exported: "existing", KeyRef: in.KeyRef, Format: in.Format, KeyFormat: in.KeyFormat}, csrFields: in.csrFields,
	})
}

var oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}

func (e *Engine) newCSR(key crypto.Signer, in *csrFields) ([]byte, error) {
	t, err := in.template(nil)
	if err != nil {
		return nil, err
	}
	req := &x509.CertificateRequest{Subject: t.Subject, DNSNames: t.DNSNames, EmailAddresses: t.EmailAddresses, IPAddresses: t.IPAddresses, URIs: t.URIs, ExtraExtensions: t.ExtraExtensions}
	if in.BasicConstraints {
		der, err := asn1.Marshal(struct {
			CA bool `asn1:"optional"`
		}{true})
		if err != nil {
			return nil, fmt.Errorf("encoding basic constraints: %w", err)
		}
		req.ExtraExtensions = append(req.ExtraExtensions, pkix.Extension{Id: oidBasicConstraints, Critical: true, Value: der})
	}
	if req.SignatureAlgorithm, err = (signing{bits: in.SignatureBits}).algorithm(key); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificateRequest(e.host.Rand, req, key)
	if err != nil {
		return nil, fmt.Errorf("making a certificate request: %w", err)
	}
	return der, nil
}

func csrText(der []byte, format string) string {
	if format == formatDER {
		return base64.StdEncoding.EncodeToString(der)
	}
	return strings.TrimSuffix(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), "\n")
}

type signIntermediateRequest struct {
	CSR          string `json:"csr" doc:"Certificate request as PEM."`
	UseCSRValues bool   `json:"use_csr_values" doc:"Take subject and alternative names from the request."`
	SubjectKeyID string `json:"skid" doc:"Subject key identifier as hexadecimal digits, instead of the hash of the key."`
	Format       string `json:"format" default:"pem" doc:"pem, der or pem_bundle."`
	KeyFormat    string `json:"private_key_format" doc:"Not used." deprecated:"true"`
	IssuerName   string `json:"issuer_name" doc:"Not used." deprecated:"true"`
	subjectFields
	validityFields
	constraintFields
}

type signRootRequest struct {
	signIntermediateRequest
	IssuerRef string `json:"issuer_ref" default:"default" doc:"Id or name of the issuer."`
}

type signAtIssuerRequest struct {
	signIntermediateRequest
	IssuerRef string `path:"issuer_ref" doc:"Id or name of the issuer, or default."`
}

type signedCAResponse struct {
	Chain        []string `json:"ca_chain"`
	Certificate  string   `json:"certificate"`
	Expiration   int64    `json:"expiration"`
	IssuingCA    string   `json:"issuing_ca"`
	SerialNumber string   `json:"serial_number"`
}

func (e *Engine) signIntermediateRoot(ctx context.Context, c *route.Call, in signRootRequest) (*signedCAResponse, error) {
	return e.signIntermediate(ctx, c, in.signIntermediateRequest, in.IssuerRef)
}

func (e *Engine) signIntermediateAt(ctx context.Context, c *route.Call, in signAtIssuerRequest) (*signedCAResponse, error) {
	return e.signIntermediate(ctx, c, in.signIntermediateRequest, in.IssuerRef)
}

func (e *Engine) signIntermediate(ctx context.Context, c *route.Call, in signIntermediateRequest, ref string) (*signedCAResponse, error) {
	if in.CSR == "" {
		return nil, fault.New(fault.Invalid, `field "csr" is required`)
	}
	if err := checkFormat(in.Format); err != nil {
		return nil, err
	}
	csr, err := parseCSR(in.CSR)
	if err != nil {
		return nil, err
	}
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	i, err := a.signer(ref, usageIssue)
	if err != nil {
		return nil, err
	}
	t, err := in.build(c, i, csr)
	if err != nil {
		return nil, err
	}
	cert, err := e.sign(a, i, t, signing{in.SignatureBits, in.UsePSS})
	if err != nil {
		return nil, err
	}
	err = e.update(ctx, func(tx store.Txn) error {
		return e.storeCert(tx, &record{DER: cert.der, Issuer: i.ID, NotAfter: t.NotAfter.Unix(), Source: "intermediate", by: byCall(c)}, t)
	})
	if err != nil {
		return nil, err
	}
	if cert.warning != "" {
		c.Warn(cert.warning)
	}
	a.warnURLs(c)
	out := &signedCAResponse{Certificate: certText(cert.der, in.Format), IssuingCA: certText(i.DER, in.Format), Expiration: t.NotAfter.Unix(), SerialNumber: cert.serial}
	out.Chain = append([]string{certText(cert.der, in.Format)}, chainText(i.chain, in.Format, false)...)
	if in.Format == formatBundle {
		out.Certificate = strings.Join(out.Chain, "\n")
	}
	return out, nil
}

// build makes the template of an intermediate's certificate.
func (in *signIntermediateRequest) build(c *route.Call, i *issuer, csr *x509.CertificateRequest) (*x509.Certificate, error) {
	from := csr
	if !in.UseCSRValues {
		from = nil
		if in.CommonName == "" {
			return nil, fault.New(fault.Invalid, `field "common_name" is required unless use_csr_values is set`)
		}
	}
	t, err := in.template(from)
	if err != nil {
		return nil, err
	}
	if err := in.limitPath(i, c); err != nil {
		return nil, err
	}
	if err := in.fillCA(t); err != nil {
		return nil, err
	}
	if err := in.fillValidity(t, c); err != nil {
		return nil, err
	}
	if spec, ok := keypair.Of(csr.PublicKey); !ok || spec.Type == keypair.RSA && spec.Bits < 2048 {
		return nil, fault.New(fault.Invalid, "the key must be RSA of at least 2048 bits, ECDSA or Ed25519")
	}
	t.PublicKey = csr.PublicKey
	if in.SubjectKeyID != "" {
		id, ok := parseSerial(in.SubjectKeyID)
		if !ok {
			return nil, fault.New(fault.Invalid, `field "skid": must be hexadecimal digits`)
		}
		t.SubjectKeyId = id.Bytes()
		return t, nil
	}
	t.SubjectKeyId, err = keypair.ID(csr.PublicKey)
	return t, err
}

// limitPath keeps the path length below the issuer's.
func (in *signIntermediateRequest) limitPath(i *issuer, _ *route.Call) error {
	limit, limited := i.cert.MaxPathLen, i.cert.MaxPathLen > 0 || i.cert.MaxPathLenZero
	switch {
	case !limited:
		return nil
	case limit == 0:
		return fault.New(fault.Invalid, "the issuer's path length is 0: it cannot sign certificates of further CAs")
	case in.PathLength < 0:
		in.PathLength = limit - 1
	case in.PathLength >= limit:
		return fault.Newf(fault.Invalid, "max_path_length must be less than the issuer's, which is %d", limit)
	}
	return nil
}

type signSelfIssuedFields struct {
	Certificate string `json:"certificate" doc:"The self-issued CA certificate as PEM."`
	Matching    bool   `json:"require_matching_certificate_algorithms" doc:"Refuse a certificate whose key is of another type than the issuer's."`
}

type signSelfIssuedRequest struct {
	signSelfIssuedFields
	IssuerRef string `json:"issuer_ref" default:"default" doc:"Id or name of the issuer."`
}

type signSelfIssuedAtRequest struct {
	signSelfIssuedFields
	IssuerRef string `path:"issuer_ref" doc:"Id or name of the issuer, or default."`
}

type selfIssuedResponse struct {
	Certificate string `json:"certificate"`
	IssuingCA   string `json:"issuing_ca"`
}

func (e *Engine) signSelfIssuedRoot(ctx context.Context, c *route.Call, in signSelfIssuedRequest) (*selfIssuedResponse, error) {
	return e.signSelfIssued(ctx, c, in.signSelfIssuedFields, in.IssuerRef)
}

func (e *Engine) signSelfIssuedAt(ctx context.Context, c *route.Call, in signSelfIssuedAtRequest) (*selfIssuedResponse, error) {
	return e.signSelfIssued(ctx, c, in.signSelfIssuedFields, in.IssuerRef)
}

// signSelfIssued signs the certificate of another root, so that those who trust
// this issuer trust it too. Subject, key, constraints and dates stay; anything
// else is left out.
func (e *Engine) signSelfIssued(ctx context.Context, c *route.Call, in signSelfIssuedFields, ref string) (*selfIssuedResponse, error) {
	block, _ := pem.Decode([]byte(strings.TrimSpace(in.Certificate)))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fault.New(fault.Invalid, `field "certificate": must be a certificate as PEM`)
	}
	old, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return nil, fault.New(fault.Invalid, `field "certificate": is malformed`)
	case !old.IsCA || !old.BasicConstraintsValid:
		return nil, fault.New(fault.Invalid, "the certificate is not that of a CA")
	case !bytes.Equal(old.RawSubject, old.RawIssuer):
		return nil, fault.New(fault.Invalid, "the certificate is not self-issued")
	}
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	i, err := a.signer(ref, usageIssue)
	if err != nil {
		return nil, err
	}
	if in.Matching && old.PublicKeyAlgorithm != i.cert.PublicKeyAlgorithm {
		return nil, fault.New(fault.Invalid, "the certificate's key is of another type than the issuer's")
	}
	t := &x509.Certificate{
		RawSubject: old.RawSubject, NotBefore: old.NotBefore, NotAfter: old.NotAfter, PublicKey: old.PublicKey, SubjectKeyId: old.SubjectKeyId, KeyUsage: old.KeyUsage,
		BasicConstraintsValid: true, IsCA: true, MaxPathLen: old.MaxPathLen, MaxPathLenZero: old.MaxPathLenZero,
		PermittedDNSDomainsCritical: old.PermittedDNSDomainsCritical, PermittedDNSDomains: old.PermittedDNSDomains, ExcludedDNSDomains: old.ExcludedDNSDomains,
		PermittedIPRanges: old.PermittedIPRanges, ExcludedIPRanges: old.ExcludedIPRanges, PermittedEmailAddresses: old.PermittedEmailAddresses,
		ExcludedEmailAddresses: old.ExcludedEmailAddresses, PermittedURIDomains: old.PermittedURIDomains, ExcludedURIDomains: old.ExcludedURIDomains,
	}
	cert, err := e.sign(a, i, t, signing{})
	if err != nil {
		return nil, err
	}
	err = e.update(ctx, func(tx store.Txn) error {
		return e.storeCert(tx, &record{DER: cert.der, Issuer: i.ID, NotAfter: t.NotAfter.Unix(), Source: "self-issued", by: byCall(c)}, t)
	})
	return &selfIssuedResponse{Certificate: certPEM(cert.der), IssuingCA: i.pem}, err
}
