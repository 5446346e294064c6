package material

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"

	"github.com/cofferhq/coffer/internal/fault"
)

// PublicDER is the public half as PKIX (RFC 5280, SubjectPublicKeyInfo), nil for
// a key without one.
func (k *Key) PublicDER() ([]byte, error) {
	switch {
	case !k.typ.Asymmetric():
		return nil, nil
	case table[k.typ].seeded:
		return k.pqPKIX()
	}
	return x509.MarshalPKIXPublicKey(k.public)
}

// PublicText is the public half as the API shows it: PEM, but base64 of the 32
// bytes for ed25519.
func (k *Key) PublicText() (string, error) {
	if p, ok := k.public.(ed25519.PublicKey); ok {
		return base64.StdEncoding.EncodeToString(p), nil
	}
	der, err := k.PublicDER()
	if err != nil {
		return "", fmt.Errorf("encoding a public key: %w", err)
	}
	return block("PUBLIC KEY", der), nil
}

// Exportable is the private key, or the raw symmetric key, in the form that is
// wrapped for import elsewhere: raw bytes, a seed, or PKCS #8.
func (k *Key) Exportable() ([]byte, error) {
	if !k.Private() {
		return nil, ErrPublicOnly
	}
	return k.secret, nil
}

// Format is how an exported key is written.
type Format string

// The formats. FormatDefault is what the API has always given: base64 of raw
// symmetric and ed25519 keys, PKCS #1 for RSA, SEC 1 for ECDSA.
const (
	FormatDefault Format = ""
	FormatRaw     Format = "raw"
	FormatDER     Format = "der"
	FormatPEM     Format = "pem"
)

// ParseFormat checks a format's name.
func ParseFormat(name string) (Format, error) {
	switch f := Format(name); f {
	case FormatDefault, FormatRaw, FormatDER, FormatPEM:
		return f, nil
	}
	return "", fault.New(fault.Invalid, `unsupported format; use "raw", "der" or "pem", or leave it out`)
}

// ExportPrivate writes the secret key.
func (k *Key) ExportPrivate(f Format) (string, error) {
	if !k.Private() {
		return "", ErrPublicOnly
	}
	if !k.typ.Asymmetric() {
		if f == FormatDER || f == FormatPEM {
			return "", fault.Newf(fault.Invalid, "a key of type %s has no %s form; use raw", k.typ, f)
		}
		return base64.StdEncoding.EncodeToString(k.secret), nil
	}
	switch f {
	case FormatRaw:
		return k.rawPrivate()
	case FormatDER, FormatPEM:
		der, err := k.pkcs8()
		if err != nil {
			return "", err
		}
		if f == FormatDER {
			return base64.StdEncoding.EncodeToString(der), nil
		}
		return block("PRIVATE KEY", der), nil
	}
	switch private := k.signer.(type) {
	case *rsa.PrivateKey:
		return block("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(private)), nil
	case *ecdsa.PrivateKey:
		der, err := x509.MarshalECPrivateKey(private)
		if err != nil {
			return "", fmt.Errorf("encoding an EC key: %w", err)
		}
		return block("EC PRIVATE KEY", der), nil
	}
	return k.rawPrivate()
}

func (k *Key) rawPrivate() (string, error) {
	if private, ok := k.signer.(ed25519.PrivateKey); ok {
		return base64.StdEncoding.EncodeToString(private), nil
	}
	if table[k.typ].seeded {
		return base64.StdEncoding.EncodeToString(k.secret), nil
	}
	return "", fault.Newf(fault.Invalid, "a key of type %s has no raw form; use der or pem", k.typ)
}

func (k *Key) pkcs8() ([]byte, error) {
	if table[k.typ].seeded {
		return k.pqPKCS8()
	}
	return x509.MarshalPKCS8PrivateKey(k.signer)
}

// ExportPublic writes the public half.
func (k *Key) ExportPublic(f Format) (string, error) {
	der, err := k.PublicDER()
	if err != nil {
		return "", fmt.Errorf("encoding a public key: %w", err)
	}
	switch {
	case der == nil:
		return "", fault.Newf(fault.Invalid, "a key of type %s has no public half", k.typ)
	case f == FormatDER:
		return base64.StdEncoding.EncodeToString(der), nil
	case f == FormatPEM:
		return block("PUBLIC KEY", der), nil
	case f == FormatRaw && table[k.typ].seeded:
		return base64.StdEncoding.EncodeToString(k.pqBytes()), nil
	case f == FormatRaw && k.typ != Ed25519:
		return "", fault.Newf(fault.Invalid, "a public key of type %s has no raw form; use der or pem", k.typ)
	}
	return k.PublicText()
}

// Agree makes a symmetric key of type t with the owner of peer, a public key of
// the same curve: HKDF-SHA-256 of the ECDH secret (SP 800-56A), without salt and
// info.
func (k *Key) Agree(peer any, t Type) (*Key, error) {
	private, ok := k.signer.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fault.New(fault.Invalid, "the base key must be of an ecdsa type and have its private half")
	}
	other, ok := peer.(*ecdsa.PublicKey)
	if !ok || other.Curve != private.Curve {
		return nil, fault.New(fault.Invalid, "the peer's public key must be of the base key's curve")
	}
	if t.KeySize() == 0 {
		return nil, fault.New(fault.Invalid, "the derived key must be of a symmetric type")
	}
	mine, err := private.ECDH()
	if err != nil {
		return nil, fmt.Errorf("preparing a key for ECDH: %w", err)
	}
	theirs, err := other.ECDH()
	if err != nil {
		return nil, fault.New(fault.Invalid, "the peer's public key is not on its curve")
	}
	return agree(mine, theirs, t)
}

func agree(mine *ecdh.PrivateKey, theirs *ecdh.PublicKey, t Type) (*Key, error) {
	secret, err := mine.ECDH(theirs)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the peer's public key gives no secret")
	}
	key, err := hkdf.Key(sha256.New, secret, nil, "", t.KeySize())
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	return Parse(t, key)
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
