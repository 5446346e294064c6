package material

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/elliptic"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/cofferhq/coffer/internal/fault"
)

// Type is a kind of key.
type Type uint8

// The types. Their numbers are stored nowhere; their names are.
const (
	AES128GCM Type = iota + 1
	AES256GCM
	ChaCha20Poly1305
	XChaCha20Poly1305
	Ed25519
	ECDSAP256
	ECDSAP384
	ECDSAP521
	RSA2048
	RSA3072
	RSA4096
	HMAC
	MLDSA44
	MLDSA65
	MLDSA87
	MLKEM768
	MLKEM1024
	numTypes
)

// traits are what a type is and can do.
type traits struct {
	name string
	// size is the length of a symmetric key or a seed in bytes, of an RSA
	// modulus in bits.
	size int
	aead func(key []byte) (cipher.AEAD, error)
	// curve of an ECDSA key.
	curve elliptic.Curve
	// shown is how a version of an asymmetric key is called.
	shown                        string
	encrypts, signs, derives     bool
	asymmetric, rsa, seeded, kem bool
}

var table = [numTypes]traits{
	AES128GCM:         {name: "aes128-gcm96", size: 16, aead: gcm, encrypts: true, derives: true},
	AES256GCM:         {name: "aes256-gcm96", size: 32, aead: gcm, encrypts: true, derives: true},
	ChaCha20Poly1305:  {name: "chacha20-poly1305", size: 32, aead: chacha20poly1305.New, encrypts: true, derives: true},
	XChaCha20Poly1305: {name: "xchacha20-poly1305", size: 32, aead: chacha20poly1305.NewX, encrypts: true, derives: true},
	Ed25519:           {name: "ed25519", size: 32, shown: "ed25519", asymmetric: true, signs: true, derives: true},
	ECDSAP256:         {name: "ecdsa-p256", curve: elliptic.P256(), shown: "P-256", asymmetric: true, signs: true},
	ECDSAP384:         {name: "ecdsa-p384", curve: elliptic.P384(), shown: "P-384", asymmetric: true, signs: true},
	ECDSAP521:         {name: "ecdsa-p521", curve: elliptic.P521(), shown: "P-521", asymmetric: true, signs: true},
	RSA2048:           {name: "rsa-2048", size: 2048, shown: "rsa-2048", asymmetric: true, rsa: true, encrypts: true, signs: true},
	RSA3072:           {name: "rsa-3072", size: 3072, shown: "rsa-3072", asymmetric: true, rsa: true, encrypts: true, signs: true},
	RSA4096:           {name: "rsa-4096", size: 4096, shown: "rsa-4096", asymmetric: true, rsa: true, encrypts: true, signs: true},
	HMAC:              {name: "hmac"},
	MLDSA44:           {name: "ml-dsa-44", size: 32, shown: "ml-dsa-44", asymmetric: true, signs: true, seeded: true},
	MLDSA65:           {name: "ml-dsa-65", size: 32, shown: "ml-dsa-65", asymmetric: true, signs: true, seeded: true},
	MLDSA87:           {name: "ml-dsa-87", size: 32, shown: "ml-dsa-87", asymmetric: true, signs: true, seeded: true},
	MLKEM768:          {name: "ml-kem-768", size: 64, shown: "ml-kem-768", asymmetric: true, encrypts: true, seeded: true, kem: true},
	MLKEM1024:         {name: "ml-kem-1024", size: 64, shown: "ml-kem-1024", asymmetric: true, encrypts: true, seeded: true, kem: true},
}

func gcm(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// ParseType finds a type by its name. The name "ml-dsa" needs a parameter set
// (44, 65 or 87), every other name none. The error is [fault.Invalid].
func ParseType(name, parameterSet string) (Type, error) {
	switch {
	case name == "ml-dsa" && parameterSet == "":
		return 0, fault.New(fault.Invalid, `type "ml-dsa" needs a parameter_set: 44, 65 or 87`)
	case name == "ml-dsa":
		name += "-" + parameterSet
	case parameterSet != "":
		return 0, fault.New(fault.Invalid, `parameter_set is only for the type "ml-dsa"`)
	}
	for t := Type(1); t < numTypes; t++ {
		if table[t].name == name {
			return t, nil
		}
	}
	return 0, fault.New(fault.Invalid, "unknown key type; use aes128-gcm96, aes256-gcm96, chacha20-poly1305, xchacha20-poly1305, ed25519, ecdsa-p256, ecdsa-p384, ecdsa-p521, rsa-2048, rsa-3072, rsa-4096, hmac, ml-dsa-44, ml-dsa-65, ml-dsa-87, ml-kem-768 or ml-kem-1024")
}

// String returns the type's name in the API.
func (t Type) String() string { return table[t].name }

// Shown is how a version of an asymmetric key of this type is called, "" for
// other types.
func (t Type) Shown() string { return table[t].shown }

// Encrypts reports whether keys of this type encrypt and decrypt.
func (t Type) Encrypts() bool { return table[t].encrypts }

// Signs reports whether keys of this type sign and verify.
func (t Type) Signs() bool { return table[t].signs }

// Derives reports whether keys of this type can be derived by a context.
func (t Type) Derives() bool { return table[t].derives }

// Converges reports whether keys of this type can encrypt convergently.
func (t Type) Converges() bool { return table[t].aead != nil }

// Authenticates reports whether associated data can go with a ciphertext.
func (t Type) Authenticates() bool { return table[t].aead != nil || table[t].kem }

// Asymmetric reports whether keys of this type have a public half.
func (t Type) Asymmetric() bool { return table[t].asymmetric }

// RSA reports whether this is one of the RSA types.
func (t Type) RSA() bool { return table[t].rsa }

// Agrees reports whether keys of this type can agree on a secret with another
// party's key (ECDH).
func (t Type) Agrees() bool { return table[t].curve != nil }

// Certifiable reports whether X.509 in the standard library knows the type.
func (t Type) Certifiable() bool { return table[t].signs && !table[t].seeded }

// KeySize is the length of a symmetric key of this type in bytes, 0 if it has
// none of a fixed length.
func (t Type) KeySize() int {
	if table[t].aead == nil {
		return 0
	}
	return table[t].size
}
