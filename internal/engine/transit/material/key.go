package material

import (
	"crypto"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/mlkem"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"io"

	"github.com/cofferhq/coffer/internal/fault"
)

// The bounds of an HMAC key in bytes, as in the field.
const (
	minHMAC = 32
	maxHMAC = 512
)

// Key is the key of one version. Only the fields of its type are set.
type Key struct {
	typ Type
	// secret is the stored form: the raw key, the seed, or PKCS #8. Nil if only
	// the public half is known.
	secret []byte
	aead   cipher.AEAD
	// nonceKey is set on a derived key that encrypts convergently.
	nonceKey []byte
	// signer is an *ecdsa.PrivateKey, *rsa.PrivateKey, ed25519.PrivateKey or an
	// ML-DSA key.
	signer crypto.Signer
	// public is an *ecdsa.PublicKey, *rsa.PublicKey, ed25519.PublicKey, an
	// ML-DSA public key, or an ML-KEM encapsulator.
	public any
	opener opener
}

var (
	errImport = fault.New(fault.Invalid, "the key could not be parsed: a symmetric key is its raw bytes, an asymmetric one PKCS #8")
	errPublic = fault.New(fault.Invalid, "the public key could not be parsed: it must be PKIX in PEM, of the key's type")
	errRandom = errors.New("reading randomness")
)

// Generate makes a key. Size is the length of an HMAC key in bytes, 0 for every
// other type.
func Generate(t Type, size int, random io.Reader) (*Key, error) {
	tr := &table[t]
	switch {
	case t == HMAC && (size < minHMAC || size > maxHMAC):
		return nil, fault.Newf(fault.Invalid, "key_size must be between %d and %d bytes for the type hmac", minHMAC, maxHMAC)
	case t != HMAC && size != 0:
		return nil, fault.New(fault.Invalid, "key_size is only for the type hmac")
	case t == HMAC:
		return generateRaw(t, size, random)
	case tr.rsa:
		k, err := rsa.GenerateKey(random, tr.size)
		if err != nil {
			return nil, fmt.Errorf("generating an RSA key: %w", err)
		}
		return fromPrivate(t, k)
	case tr.curve != nil:
		k, err := ecdsa.GenerateKey(tr.curve, random)
		if err != nil {
			return nil, fmt.Errorf("generating an EC key: %w", err)
		}
		return fromPrivate(t, k)
	}
	return generateRaw(t, tr.size, random)
}

// generateRaw makes a key whose stored form is random bytes, or follows from
// them.
func generateRaw(t Type, size int, random io.Reader) (*Key, error) {
	b := make([]byte, size)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("%w: %w", errRandom, err)
	}
	if t == Ed25519 {
		return fromPrivate(t, ed25519.NewKeyFromSeed(b))
	}
	return Parse(t, b)
}

func fromPrivate(t Type, private crypto.Signer) (*Key, error) {
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("encoding a new key: %w", err)
	}
	return &Key{typ: t, secret: der, signer: private, public: private.Public()}, nil
}

// Parse reads the stored form of a key, which is also the form in which keys are
// imported. The error is [fault.Invalid] and tells nothing of the key.
func Parse(t Type, secret []byte) (*Key, error) {
	tr := &table[t]
	switch {
	case t == HMAC:
		if len(secret) < 16 || len(secret) > maxHMAC {
			return nil, fault.Newf(fault.Invalid, "an HMAC key must have between 16 and %d bytes", maxHMAC)
		}
		return &Key{typ: t, secret: secret}, nil
	case tr.aead != nil:
		if len(secret) != tr.size {
			return nil, fault.Newf(fault.Invalid, "a key of type %s must have %d bytes", t, tr.size)
		}
		aead, err := tr.aead(secret)
		if err != nil {
			return nil, fmt.Errorf("making a cipher: %w", err)
		}
		return &Key{typ: t, secret: secret, aead: aead}, nil
	case tr.seeded:
		return parseSeed(t, secret)
	}
	return parsePKCS8(t, secret)
}

func parsePKCS8(t Type, der []byte) (*Key, error) {
	private, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, errImport // the parser's text may tell of the key
	}
	signer, ok := private.(crypto.Signer)
	if !ok || !t.matches(signer.Public()) {
		return nil, fault.Newf(fault.Invalid, "the key is not of type %s", t)
	}
	if k, ok := signer.(*rsa.PrivateKey); ok {
		if err := k.Validate(); err != nil {
			return nil, errImport
		}
	}
	return &Key{typ: t, secret: der, signer: signer, public: signer.Public()}, nil
}

func parseSeed(t Type, seed []byte) (*Key, error) {
	if len(seed) != table[t].size {
		return nil, fault.Newf(fault.Invalid, "a key of type %s is a seed of %d bytes", t, table[t].size)
	}
	k := &Key{typ: t, secret: seed}
	switch t {
	case MLKEM768:
		d, err := mlkem.NewDecapsulationKey768(seed)
		if err != nil {
			return nil, errImport
		}
		k.opener, k.public = d, d.EncapsulationKey()
	case MLKEM1024:
		d, err := mlkem.NewDecapsulationKey1024(seed)
		if err != nil {
			return nil, errImport
		}
		k.opener, k.public = d, d.EncapsulationKey()
	default:
		s := newMLDSA(t, seed)
		k.signer, k.public = s, s.Public()
	}
	return k, nil
}

// ParsePublic reads the public half of a key: PKIX in DER. What it makes can
// only verify and encrypt.
func ParsePublic(t Type, der []byte) (*Key, error) {
	if !t.Asymmetric() {
		return nil, fault.Newf(fault.Invalid, "a key of type %s has no public half", t)
	}
	if table[t].seeded {
		public, err := parsePQ(t, der)
		if err != nil {
			return nil, err
		}
		return &Key{typ: t, public: public}, nil
	}
	public, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errPublic
	}
	if !t.matches(public) {
		return nil, fault.Newf(fault.Invalid, "the public key is not of type %s", t)
	}
	return &Key{typ: t, public: public}, nil
}

// matches reports whether a public key is of this type.
func (t Type) matches(public any) bool {
	switch p := public.(type) {
	case ed25519.PublicKey:
		return t == Ed25519
	case *ecdsa.PublicKey:
		return table[t].curve != nil && p.Curve == table[t].curve
	case *rsa.PublicKey:
		return table[t].rsa && p.N.BitLen() == table[t].size
	}
	return false
}

// Type returns the key's type.
func (k *Key) Type() Type { return k.typ }

// Secret is the stored form of the key, nil if only the public half is known.
// It belongs to the key.
func (k *Key) Secret() []byte { return k.secret }

// Private reports whether the key has more than a public half.
func (k *Key) Private() bool { return k.secret != nil }

// Size is the length of a raw key in bytes.
func (k *Key) Size() int { return len(k.secret) }

// Signer returns the private key for X.509, nil if there is none.
func (k *Key) Signer() crypto.Signer {
	if !k.typ.Certifiable() {
		return nil
	}
	return k.signer
}

// SamePublic reports whether public is this key's public half.
func (k *Key) SamePublic(public any) bool {
	own, ok := k.public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && own.Equal(public)
}

// RSAPublic returns the public half of an RSA key, nil for other types.
func (k *Key) RSAPublic() *rsa.PublicKey {
	p, _ := k.public.(*rsa.PublicKey)
	return p
}
