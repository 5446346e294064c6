package pki

import (
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/fault"
)

// certificate is a signed certificate and what is known of it without parsing.
type certificate struct {
	der     []byte
	serial  string
	from    *issuer
	t       *x509.Certificate // the template
	warning string
}

// options of a signature.
type signing struct {
	bits int // of the hash; 0 is what fits the key
	pss  bool
}

// algorithm chooses the signature algorithm for a key. Only RSA leaves a choice
// that verifiers agree on; ECDSA's hash follows the curve unless bits say
// otherwise.
func (s signing) algorithm(key crypto.Signer) (x509.SignatureAlgorithm, error) {
	spec, _ := keypair.Of(key.Public())
	switch spec.Type {
	case keypair.Ed25519:
		return x509.PureEd25519, nil
	case keypair.EC:
		switch s.bits {
		case 256:
			return x509.ECDSAWithSHA256, nil
		case 384:
			return x509.ECDSAWithSHA384, nil
		case 512:
			return x509.ECDSAWithSHA512, nil
		case 0:
			return x509.UnknownSignatureAlgorithm, nil
		}
	case keypair.RSA:
		plain := map[int]x509.SignatureAlgorithm{0: x509.SHA256WithRSA, 256: x509.SHA256WithRSA, 384: x509.SHA384WithRSA, 512: x509.SHA512WithRSA}
		pss := map[int]x509.SignatureAlgorithm{0: x509.SHA256WithRSAPSS, 256: x509.SHA256WithRSAPSS, 384: x509.SHA384WithRSAPSS, 512: x509.SHA512WithRSAPSS}
		if a, ok := plain[s.bits]; ok {
			if s.pss {
				a = pss[s.bits]
			}
			return a, nil
		}
	}
	return 0, fault.New(fault.Invalid, "signature_bits must be 0, 256, 384 or 512")
}

// sign completes a template and signs it with an issuer.
func (e *Engine) sign(a *authority, i *issuer, t *x509.Certificate, s signing) (*certificate, error) {
	out := &certificate{from: i, t: t}
	if t.NotAfter.After(i.cert.NotAfter) {
		switch i.Leaf {
		case leafPermit:
		case leafTruncate:
			t.NotAfter = i.cert.NotAfter
			out.warning = "The certificate was cut to the end of its issuer."
		default:
			return nil, fault.Newf(fault.Invalid, "cannot satisfy request, as the certificate would end %s, after its issuer, which ends %s", rfc3339(t.NotAfter), rfc3339(i.cert.NotAfter))
		}
	}
	u, err := a.urlsOf(i)
	if err != nil {
		return nil, err
	}
	t.IssuingCertificateURL, t.CRLDistributionPoints, t.OCSPServer = u.Issuing, u.CRL, u.OCSP
	if t.SerialNumber == nil {
		if t.SerialNumber, err = e.newSerial(); err != nil {
			return nil, err
		}
	}
	if t.SignatureAlgorithm, err = s.algorithm(i.key); err != nil {
		return nil, err
	}
	if out.der, err = x509.CreateCertificate(e.host.Rand, t, i.cert, t.PublicKey, i.key); err != nil {
		return nil, fmt.Errorf("signing a certificate: %w", err)
	}
	out.serial = serialText(t.SerialNumber)
	return out, i.checkConstraints(out.der, e.host.Clock.Now())
}

// checkConstraints refuses what the issuer's own name constraints forbid: no
// verifier would take the certificate.
func (i *issuer) checkConstraints(der []byte, now time.Time) error {
	if !i.constrained() {
		return nil
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("reading a certificate that was just signed: %w", err)
	}
	roots, middle := x509.NewCertPool(), x509.NewCertPool()
	for n, link := range i.chain {
		if n == len(i.chain)-1 {
			roots.AddCert(link.cert)
		} else {
			middle.AddCert(link.cert)
		}
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: middle, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && (invalid.Reason == x509.CANotAuthorizedForThisName || invalid.Reason == x509.TooManyIntermediates || invalid.Reason == x509.UnconstrainedName) {
		return fault.New(fault.Invalid, "the issuer's name constraints or path length do not allow this certificate")
	}
	return nil
}

func (i *issuer) constrained() bool {
	for _, link := range i.chain {
		c := link.cert
		if len(c.PermittedDNSDomains)+len(c.ExcludedDNSDomains)+len(c.PermittedIPRanges)+len(c.ExcludedIPRanges)+len(c.PermittedEmailAddresses)+len(c.ExcludedEmailAddresses)+len(c.PermittedURIDomains)+len(c.ExcludedURIDomains) > 0 {
			return true
		}
	}
	return false
}

// The formats of certificates and keys in answers.
const (
	formatPEM    = "pem"
	formatDER    = "der"
	formatBundle = "pem_bundle"
)

func checkFormat(format string) error {
	switch format {
	case formatPEM, formatDER, formatBundle:
		return nil
	}
	return fault.New(fault.Invalid, `"format" must be pem, der or pem_bundle`)
}

// checkKeyFormat refuses unknown forms of private keys. "der" and "pem" are the
// key's own encoding.
func checkKeyFormat(format string) error {
	switch format {
	case "", "der", "pem", "pkcs8":
		return nil
	}
	return fault.New(fault.Invalid, `"private_key_format" must be der, pem or pkcs8`)
}

func privatePEM(key crypto.Signer, pkcs8 bool) (string, error) {
	der, kind, err := keypair.Legacy(key)
	if pkcs8 {
		kind = "PRIVATE KEY"
		der, err = keypair.PKCS8(key)
	}
	if err != nil {
		return "", fmt.Errorf("encoding a private key: %w", err)
	}
	return strings.TrimSuffix(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})), "\n"), nil
}

// privateText writes a key in an answer's format.
func privateText(key crypto.Signer, format, keyFormat string) (string, error) {
	if format != formatDER {
		return privatePEM(key, keyFormat == "pkcs8")
	}
	der, _, err := keypair.Legacy(key)
	if keyFormat == "pkcs8" {
		der, err = keypair.PKCS8(key)
	}
	return base64.StdEncoding.EncodeToString(der), err
}

// certText writes a certificate in an answer's format.
func certText(der []byte, format string) string {
	if format == formatDER {
		return base64.StdEncoding.EncodeToString(der)
	}
	return certPEM(der)
}

// text writes an issuer's certificate in an answer's format.
func (i *issuer) text(format string) string {
	if format == formatDER {
		return certText(i.DER, format)
	}
	return i.pem
}

// chainText writes a chain in an answer's format.
func chainText(chain []*issuer, format string, noRoots bool) []string {
	list := make([]string, 0, len(chain))
	for _, i := range chain {
		if !noRoots || !i.root {
			list = append(list, i.text(format))
		}
	}
	return list
}

func rfc3339(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

// parseCSR reads a certificate request and checks its signature, by which its
// key's owner asked for it.
func parseCSR(text string) (*x509.CertificateRequest, error) {
	block, _ := pem.Decode([]byte(strings.TrimSpace(text)))
	if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, fault.New(fault.Invalid, `"csr" must be a certificate request as PEM`)
	}
	return parseCSRDER(block.Bytes)
}

func parseCSRDER(der []byte) (*x509.CertificateRequest, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the certificate request is malformed")
	}
	if key, ok := csr.PublicKey.(*rsa.PublicKey); ok && key.N.BitLen() > 8192 {
		return nil, fault.New(fault.Invalid, "RSA keys have at most 8192 bits")
	}
	if csr.CheckSignature() != nil {
		return nil, fault.New(fault.Invalid, "the signature of the certificate request is invalid")
	}
	return csr, nil
}
