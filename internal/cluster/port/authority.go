package port

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
)

// How long certificates live and when they are renewed. A node may be switched
// off for most of a year and still be known when it returns.
const (
	NodeLife      = 365 * 24 * time.Hour
	NodeRenewal   = 30 * 24 * time.Hour // age at which a node asks for another
	AuthorityLife = 10 * 365 * 24 * time.Hour
	// AuthorityRenewal is the age at which a new authority is made.
	AuthorityRenewal = 365 * 24 * time.Hour
	// backdate makes certificates valid on nodes whose clocks are behind.
	backdate = 24 * time.Hour
)

// Authority issues the certificates of a cluster's nodes. Its fields are what
// the cluster stores, sealed.
type Authority struct {
	Certificate []byte    // DER
	Key         []byte    // PKCS #8
	Made        time.Time // when it was made
}

// NewAuthority makes an authority for a cluster.
func NewAuthority(cluster string, now time.Time) (Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Authority{}, fmt.Errorf("making the key of the cluster's authority: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return Authority{}, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Coffer cluster " + cluster},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(AuthorityLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Authority{}, fmt.Errorf("making the certificate of the cluster's authority: %w", err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(key)
	return Authority{Certificate: der, Key: encoded, Made: now}, err
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

// Fingerprint names the authority: the SHA-256 of its certificate in hex.
func (a Authority) Fingerprint() string { return fingerprint(a.Certificate) }

func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// Issue makes a certificate (DER) for the key of a certificate request (DER),
// naming the node id. The request must be signed by its key; whatever else it
// says is ignored.
func (a Authority) Issue(request []byte, id string, now time.Time) ([]byte, error) {
	csr, err := parseRequest(request)
	if err != nil {
		return nil, err
	}
	issuer, err := x509.ParseCertificate(a.Certificate)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of the cluster's authority: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(a.Key)
	if err != nil {
		return nil, errors.New("the key of the cluster's authority cannot be read")
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errors.New("the key of the cluster's authority cannot sign")
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	end := now.Add(NodeLife)
	if end.After(issuer.NotAfter) {
		end = issuer.NotAfter
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, URIs: []*url.URL{nodeURI(id)}, NotBefore: now.Add(-backdate), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}, issuer, csr.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("issuing a node's certificate: %w", err)
	}
	return der, nil
}

// parseRequest reads a certificate request that may come from a stranger.
func parseRequest(der []byte) (*x509.CertificateRequest, error) {
	refused := fault.New(fault.Invalid, "the certificate request cannot be read; it must be signed by a P-256 key")
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil || csr.CheckSignature() != nil {
		return nil, refused
	}
	if key, ok := csr.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		return nil, refused
	}
	return csr, nil
}

// RequestKey returns the fingerprint of the key that a certificate request is
// for, or an error for what is none.
func RequestKey(der []byte) (string, error) {
	csr, err := parseRequest(der)
	if err != nil {
		return "", err
	}
	return fingerprint(csr.RawSubjectPublicKeyInfo), nil
}

// nodeURI is how a certificate names a node.
func nodeURI(id string) *url.URL {
	return &url.URL{Scheme: "coffer", Opaque: "node:" + url.PathEscape(id)}
}

// nodeOf returns the node id in a certificate.
func nodeOf(cert *x509.Certificate) (string, error) {
	if len(cert.URIs) == 1 {
		u := cert.URIs[0]
		const prefix = "node:"
		if u.Scheme == "coffer" && len(u.Opaque) > len(prefix) && u.Opaque[:len(prefix)] == prefix {
			return url.PathUnescape(u.Opaque[len(prefix):])
		}
	}
	return "", errors.New("the certificate names no node")
}

// Bundle is the authorities that a node trusts, as DER certificates.
type Bundle [][]byte

func (b Bundle) pool() (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, der := range b {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("reading a trusted authority: %w", err)
		}
		pool.AddCert(cert)
	}
	return pool, nil
}

// Fingerprints names the authorities.
func (b Bundle) Fingerprints() []string {
	names := make([]string, len(b))
	for i, der := range b {
		names[i] = fingerprint(der)
	}
	return names
}

// Equal reports whether both are the same authorities in the same order.
func (b Bundle) Equal(other Bundle) bool {
	if len(b) != len(other) {
		return false
	}
	for i := range b {
		if !bytes.Equal(b[i], other[i]) {
			return false
		}
	}
	return true
}

const pemCertificate = "CERTIFICATE"

func (b Bundle) encode() []byte {
	var out []byte
	for _, der := range b {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: der})...)
	}
	return out
}

func decodeBundle(text []byte) (Bundle, error) {
	var b Bundle
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return b, nil
		}
		if block.Type != pemCertificate {
			return nil, fmt.Errorf("a %s among certificates", block.Type)
		}
		b = append(b, block.Bytes)
		text = rest
	}
}
