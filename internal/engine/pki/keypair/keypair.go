// Package keypair makes, reads and writes the private keys of certificates:
// RSA, ECDSA on the NIST curves, and Ed25519.
package keypair

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // RFC 5280's key identifier, no security rests on it
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"io"
	"slices"

	"github.com/cofferhq/coffer/internal/fault"
)

// The types of keys.
const (
	RSA     = "rsa"
	EC      = "ec"
	Ed25519 = "ed25519"
)

// Spec is a type of key and its size in bits. Ed25519 has no size.
type Spec struct {
	Type string
	Bits int
}

// sizes are those that each type may have; the first is the default.
func sizes(kind string) ([]int, bool) {
	switch kind {
	case RSA:
		return []int{2048, 3072, 4096, 8192}, true
	case EC:
		return []int{256, 224, 384, 521}, true
	case Ed25519:
		return []int{0}, true
	}
	return nil, false
}

// Check returns the spec with its default size filled in. An unknown type or
// size is [fault.Invalid].
func (s Spec) Check() (Spec, error) {
	known, ok := sizes(s.Type)
	if !ok {
		return s, fault.New(fault.Invalid, "unknown key type: it must be rsa, ec or ed25519")
	}
	switch {
	case s.Type == Ed25519:
		s.Bits = 0
	case s.Bits == 0:
		s.Bits = known[0]
	case !slices.Contains(known, s.Bits):
		return s, fault.Newf(fault.Invalid, "a key of type %s has one of %v bits, not %d", s.Type, known, s.Bits)
	}
	return s, nil
}

// Generate makes a key.
func (s Spec) Generate(random io.Reader) (crypto.Signer, error) {
	s, err := s.Check()
	if err != nil {
		return nil, err
	}
	switch s.Type {
	case RSA:
		return rsa.GenerateKey(random, s.Bits)
	case EC:
		return ecdsa.GenerateKey(curve(s.Bits), random)
	}
	_, key, err := ed25519.GenerateKey(random)
	return key, err
}

func curve(bits int) elliptic.Curve {
	switch bits {
	case 224:
		return elliptic.P224()
	case 384:
		return elliptic.P384()
	case 521:
		return elliptic.P521()
	}
	return elliptic.P256()
}

// Of returns the spec of a public key; ok is false for a type that is not
// known here.
func Of(public crypto.PublicKey) (s Spec, ok bool) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return Spec{RSA, k.N.BitLen()}, true
	case *ecdsa.PublicKey:
		return Spec{EC, k.Params().BitSize}, true
	case ed25519.PublicKey:
		return Spec{Type: Ed25519}, true
	}
	return Spec{}, false
}

// PKCS8 encodes a key as a PKCS #8 structure in DER.
func PKCS8(key crypto.Signer) ([]byte, error) { return x509.MarshalPKCS8PrivateKey(key) }

// Legacy encodes a key in the form of its own type: PKCS #1 for RSA, SEC 1 for
// ECDSA, PKCS #8 for Ed25519. kind is the PEM type that goes with it.
func Legacy(key crypto.Signer) (der []byte, kind string, err error) {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return x509.MarshalPKCS1PrivateKey(k), "RSA PRIVATE KEY", nil
	case *ecdsa.PrivateKey:
		der, err = x509.MarshalECPrivateKey(k)
		return der, "EC PRIVATE KEY", err
	}
	der, err = PKCS8(key)
	return der, "PRIVATE KEY", err
}

// ParseDER reads a key in any of the encodings that this package writes.
func ParseDER(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		return signer(key)
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	return nil, errKey
}

var errKey = fault.New(fault.Invalid, "a private key must be RSA, ECDSA or Ed25519, in PKCS #1, SEC 1 or PKCS #8 encoding")

func signer(key any) (crypto.Signer, error) {
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, errKey
	}
	if _, ok := Of(s.Public()); !ok {
		return nil, errKey
	}
	return s, nil
}

// ParsePEM reads the first private key of a PEM text.
func ParsePEM(text []byte) (crypto.Signer, error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errKey
		}
		if IsPrivate(block) {
			return ParseDER(block.Bytes)
		}
		text = rest
	}
}

// IsPrivate reports whether a PEM block holds a private key.
func IsPrivate(b *pem.Block) bool {
	return slices.Contains([]string{"RSA PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY"}, b.Type)
}

// ID returns the identifier of a public key: the SHA-1 hash of its bits (RFC
// 5280, section 4.2.1.2, method 1).
func ID(public crypto.PublicKey) ([]byte, error) {
	bits, err := Bits(public)
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum(bits) //nolint:gosec // see the import
	return sum[:], nil
}

// Bits returns the bits of a public key: the subjectPublicKey of its
// SubjectPublicKeyInfo (RFC 5280, section 4.1).
func Bits(public crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encoding a public key: %w", err)
	}
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, fmt.Errorf("decoding a public key: %w", err)
	}
	return info.Key.RightAlign(), nil
}

// Same reports whether two public keys are equal.
func Same(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
