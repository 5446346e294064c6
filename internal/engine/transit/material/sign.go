package material

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // Signatures of old clients; registers itself.
	"crypto/sha256"
	_ "crypto/sha3"   // registers itself
	_ "crypto/sha512" // registers itself
	"encoding/asn1"
	"fmt"
	"io"
	"math/big"

	"github.com/cofferhq/coffer/internal/fault"
)

// ParseHash finds a hash function by its name in the API. The name "none", and
// only it, is 0.
func ParseHash(name string) (crypto.Hash, error) {
	switch name {
	case "sha1":
		return crypto.SHA1, nil
	case "sha2-224":
		return crypto.SHA224, nil
	case "sha2-256":
		return crypto.SHA256, nil
	case "sha2-384":
		return crypto.SHA384, nil
	case "sha2-512":
		return crypto.SHA512, nil
	case "sha3-224":
		return crypto.SHA3_224, nil
	case "sha3-256":
		return crypto.SHA3_256, nil
	case "sha3-384":
		return crypto.SHA3_384, nil
	case "sha3-512":
		return crypto.SHA3_512, nil
	case "none":
		return 0, nil
	}
	return 0, fault.New(fault.Invalid, "unsupported hash algorithm; use sha2-224, sha2-256, sha2-384, sha2-512, sha3-224, sha3-256, sha3-384, sha3-512, sha1 or none")
}

// Signing says how to sign or verify.
type Signing struct {
	// Hash is applied to the input unless Prehashed, when the input is a hash
	// already. 0 is no hash at all: the input goes into PKCS #1 v1.5 padding as
	// it is (RFC 8017, section 9.2, without a DigestInfo).
	Hash      crypto.Hash
	Prehashed bool
	// PKCS1v15 chooses that padding for RSA instead of PSS.
	PKCS1v15 bool
	// Salt is the length of PSS's salt in bytes, or rsa.PSSSaltLengthAuto or
	// rsa.PSSSaltLengthEqualsHash.
	Salt int
	// JWS writes ECDSA signatures as R and S of fixed length (RFC 7515, 3.4)
	// instead of ASN.1.
	JWS bool
}

var errHashNone = fault.New(fault.Invalid, `hash_algorithm "none" needs prehashed=true, an RSA key and signature_algorithm "pkcs1v15"`)

// digest is what is signed for types that sign a hash.
func (o Signing) digest(input []byte) ([]byte, error) {
	if o.Hash == 0 {
		return nil, errHashNone
	}
	if o.Prehashed {
		if len(input) == 0 {
			return nil, fault.New(fault.Invalid, "the input is empty, which is no hash")
		}
		return input, nil
	}
	h := o.Hash.New()
	h.Write(input)
	return h.Sum(nil), nil
}

// Sign signs input. Wrong options are [fault.Invalid].
func (k *Key) Sign(input []byte, o Signing) ([]byte, error) {
	if !k.typ.Signs() {
		return nil, errSigns(k.typ)
	}
	if !k.Private() && k.signer == nil {
		return nil, ErrPublicOnly
	}
	switch private := k.signer.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(private, input), nil
	case *ecdsa.PrivateKey:
		digest, err := o.digest(input)
		if err != nil {
			return nil, err
		}
		sig, err := ecdsa.SignASN1(rand.Reader, private, digest)
		if err != nil {
			return nil, fmt.Errorf("signing by ECDSA: %w", err)
		}
		if o.JWS {
			return fixedLength(sig, private.Curve.Params().BitSize)
		}
		return sig, nil
	case *rsa.PrivateKey:
		return signRSA(private, input, o)
	case *mldsaKey:
		if o.Prehashed {
			return nil, errPure
		}
		return private.sign(input)
	}
	return nil, errSigns(k.typ)
}

func signRSA(private *rsa.PrivateKey, input []byte, o Signing) ([]byte, error) {
	if err := o.checkRSA(&private.PublicKey, input); err != nil {
		return nil, err
	}
	digest := input
	if !o.Prehashed {
		digest, _ = o.digest(input)
	}
	var sig []byte
	var err error
	if o.PKCS1v15 {
		sig, err = rsa.SignPKCS1v15(rand.Reader, private, o.Hash, digest)
	} else {
		sig, err = rsa.SignPSS(rand.Reader, private, o.Hash, digest, &rsa.PSSOptions{SaltLength: o.Salt})
	}
	if err != nil {
		return nil, fmt.Errorf("signing by RSA: %w", err)
	}
	return sig, nil
}

// checkRSA refuses options that cannot be signed or verified with.
func (o Signing) checkRSA(public *rsa.PublicKey, input []byte) error {
	if o.Hash == 0 {
		if !o.PKCS1v15 || !o.Prehashed {
			return errHashNone
		}
		if len(input) > public.Size()-11 {
			return fault.New(fault.Invalid, "the input is too long for the key")
		}
		return nil
	}
	if o.Prehashed && len(input) != o.Hash.Size() {
		return fault.Newf(fault.Invalid, "the input is not a hash of the algorithm that was named: it must have %d bytes", o.Hash.Size())
	}
	if o.PKCS1v15 {
		return nil
	}
	// RFC 8017, section 9.1.1: emLen >= hLen + sLen + 2.
	most := (public.N.BitLen()-1+7)/8 - o.Hash.Size() - 2
	salt := max(o.Salt, 0)
	if o.Salt == rsa.PSSSaltLengthEqualsHash {
		salt = o.Hash.Size()
	}
	if salt > most || most < 0 {
		return fault.Newf(fault.Invalid, "salt_length must be at most %d for this key and hash", max(most, 0))
	}
	return nil
}

// Verify reports whether sig is a signature of input. Wrong options are
// [fault.Invalid]; a signature of any wrong shape is only not valid.
func (k *Key) Verify(input, sig []byte, o Signing) (bool, error) {
	switch public := k.public.(type) {
	case ed25519.PublicKey:
		return len(sig) == ed25519.SignatureSize && ed25519.Verify(public, input, sig), nil
	case *ecdsa.PublicKey:
		digest, err := o.digest(input)
		if err != nil {
			return false, err
		}
		if o.JWS {
			if sig, err = fromFixedLength(sig, public.Curve.Params().BitSize); err != nil {
				return false, nil //nolint:nilerr // a wrong length is a wrong signature
			}
		}
		return ecdsa.VerifyASN1(public, digest, sig), nil
	case *rsa.PublicKey:
		if err := o.checkRSA(public, input); err != nil {
			return false, err
		}
		digest := input
		if !o.Prehashed {
			digest, _ = o.digest(input)
		}
		if o.PKCS1v15 {
			return rsa.VerifyPKCS1v15(public, o.Hash, digest, sig) == nil, nil
		}
		return rsa.VerifyPSS(public, o.Hash, digest, sig, &rsa.PSSOptions{SaltLength: o.Salt}) == nil, nil
	case mldsaPublic:
		if o.Prehashed {
			return false, errPure
		}
		return public.verify(input, sig), nil
	}
	return false, errSigns(k.typ)
}

func errSigns(t Type) error { return fault.Newf(fault.Invalid, "keys of type %s do not sign", t) }

// fixedLength turns an ASN.1 ECDSA signature into R and S.
func fixedLength(sig []byte, bits int) ([]byte, error) {
	var rs struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(sig, &rs); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("decoding a new signature: malformed")
	}
	n := (bits + 7) / 8
	out := make([]byte, 2*n)
	rs.R.FillBytes(out[:n])
	rs.S.FillBytes(out[n:])
	return out, nil
}

func fromFixedLength(sig []byte, bits int) ([]byte, error) {
	n := (bits + 7) / 8
	if len(sig) != 2*n {
		return nil, fmt.Errorf("a signature of %d bytes, want %d", len(sig), 2*n)
	}
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:n]), new(big.Int).SetBytes(sig[n:])})
}

// deriveEd25519 makes the key pair for a context: its seed is HKDF-SHA-256 of
// the version's private key (seed and public key, as RFC 8032's
// implementations keep it) with the context as info.
func (k *Key) deriveEd25519(context []byte) (*Key, error) {
	private, ok := k.signer.(ed25519.PrivateKey)
	if !ok {
		return nil, ErrPublicOnly
	}
	seed, err := hkdf.Key(sha256.New, private, nil, string(context), ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	derived := ed25519.NewKeyFromSeed(seed)
	return &Key{typ: Ed25519, secret: seed, signer: derived, public: derived.Public()}, nil
}

// MAC is HMAC (RFC 2104) of input under key.
func MAC(h crypto.Hash, key, input []byte) []byte {
	m := hmac.New(h.New, key)
	m.Write(input)
	return m.Sum(nil)
}

// NewMACKey makes the key that a version has for HMAC beside its own.
func NewMACKey(random io.Reader) ([]byte, error) {
	b := make([]byte, 32)
	if _, err := io.ReadFull(random, b); err != nil {
		return nil, fmt.Errorf("%w: %w", errRandom, err)
	}
	return b, nil
}
