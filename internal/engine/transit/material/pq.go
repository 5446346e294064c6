package material

import (
	"crypto"
	"crypto/mlkem"
	"crypto/subtle"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"

	"github.com/cloudflare/circl/sign"
	"github.com/cloudflare/circl/sign/mldsa/mldsa44"
	"github.com/cloudflare/circl/sign/mldsa/mldsa65"
	"github.com/cloudflare/circl/sign/mldsa/mldsa87"

	"github.com/cofferhq/coffer/internal/fault"
)

// errPure is returned for a hash in place of a message: ML-DSA hashes itself.
var errPure = fault.New(fault.Invalid, "keys of the ml-dsa types sign messages, not hashes: leave prehashed out")

// mldsaKey is an ML-DSA key pair (FIPS 204).
type mldsaKey struct {
	scheme  sign.Scheme
	private sign.PrivateKey
	public  mldsaPublic
}

type mldsaPublic struct {
	scheme sign.Scheme
	key    sign.PublicKey
}

func mldsaScheme(t Type) sign.Scheme {
	switch t {
	case MLDSA44:
		return mldsa44.Scheme()
	case MLDSA65:
		return mldsa65.Scheme()
	}
	return mldsa87.Scheme()
}

// newMLDSA makes the key pair of a seed (FIPS 204, ML-DSA.KeyGen_internal).
func newMLDSA(t Type, seed []byte) *mldsaKey {
	s := mldsaScheme(t)
	public, private := s.DeriveKey(seed)
	return &mldsaKey{s, private, mldsaPublic{s, public}}
}

// Public returns the public half, for [crypto.Signer].
func (k *mldsaKey) Public() crypto.PublicKey { return k.public }

// Sign is there for [crypto.Signer]; it signs the message, not a hash.
func (k *mldsaKey) Sign(_ io.Reader, message []byte, _ crypto.SignerOpts) ([]byte, error) {
	return k.sign(message)
}

func (k *mldsaKey) sign(message []byte) ([]byte, error) {
	switch private := k.private.(type) {
	case *mldsa44.PrivateKey:
		sig := make([]byte, mldsa44.SignatureSize)
		return sig, mldsa44.SignTo(private, message, nil, true, sig)
	case *mldsa65.PrivateKey:
		sig := make([]byte, mldsa65.SignatureSize)
		return sig, mldsa65.SignTo(private, message, nil, true, sig)
	case *mldsa87.PrivateKey:
		sig := make([]byte, mldsa87.SignatureSize)
		return sig, mldsa87.SignTo(private, message, nil, true, sig)
	}
	return nil, errors.New("signing by ML-DSA: unknown parameter set")
}

func (p mldsaPublic) verify(message, sig []byte) bool {
	return len(sig) == p.scheme.SignatureSize() && p.scheme.Verify(p.key, message, sig, nil)
}

// Equal reports whether other is the same public key.
func (p mldsaPublic) Equal(other crypto.PublicKey) bool {
	o, ok := other.(mldsaPublic)
	return ok && o.scheme == p.scheme && subtle.ConstantTimeCompare(p.bytes(), o.bytes()) == 1
}

func (p mldsaPublic) bytes() []byte {
	b, err := p.key.MarshalBinary()
	if err != nil {
		return nil
	}
	return b
}

// The object identifiers of RFC 9881 (ML-DSA) and RFC 9935 (ML-KEM).
var pqOIDs = map[Type]asn1.ObjectIdentifier{
	MLDSA44:   {2, 16, 840, 1, 101, 3, 4, 3, 17},
	MLDSA65:   {2, 16, 840, 1, 101, 3, 4, 3, 18},
	MLDSA87:   {2, 16, 840, 1, 101, 3, 4, 3, 19},
	MLKEM768:  {2, 16, 840, 1, 101, 3, 4, 4, 2},
	MLKEM1024: {2, 16, 840, 1, 101, 3, 4, 4, 3},
}

type algorithm struct{ OID asn1.ObjectIdentifier }

type subjectPublicKey struct {
	Algorithm algorithm
	Key       asn1.BitString
}

type privateKeyInfo struct {
	Version   int
	Algorithm algorithm
	Key       []byte
}

// pqBytes is the raw public key.
func (k *Key) pqBytes() []byte {
	switch p := k.public.(type) {
	case mldsaPublic:
		return p.bytes()
	case *mlkem.EncapsulationKey768:
		return p.Bytes()
	case *mlkem.EncapsulationKey1024:
		return p.Bytes()
	}
	return nil
}

func (k *Key) pqPKIX() ([]byte, error) {
	raw := k.pqBytes()
	return asn1.Marshal(subjectPublicKey{algorithm{pqOIDs[k.typ]}, asn1.BitString{Bytes: raw, BitLength: 8 * len(raw)}})
}

// pqPKCS8 is the seed in PKCS #8: the form "seed", [0] IMPLICIT, of those RFCs.
func (k *Key) pqPKCS8() ([]byte, error) {
	inner, err := asn1.Marshal(asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, Bytes: k.secret})
	if err != nil {
		return nil, fmt.Errorf("encoding a seed: %w", err)
	}
	return asn1.Marshal(privateKeyInfo{0, algorithm{pqOIDs[k.typ]}, inner})
}

func parsePQ(t Type, der []byte) (any, error) {
	var spki subjectPublicKey
	if rest, err := asn1.Unmarshal(der, &spki); err != nil || len(rest) > 0 || spki.Key.BitLength%8 != 0 {
		return nil, errPublic
	}
	if !spki.Algorithm.OID.Equal(pqOIDs[t]) {
		return nil, fault.Newf(fault.Invalid, "the public key is not of type %s", t)
	}
	public, err := pqPublic(t, spki.Key.Bytes)
	if err != nil {
		return nil, errPublic
	}
	return public, nil
}

func pqPublic(t Type, raw []byte) (any, error) {
	switch t {
	case MLKEM768:
		return mlkem.NewEncapsulationKey768(raw)
	case MLKEM1024:
		return mlkem.NewEncapsulationKey1024(raw)
	}
	s := mldsaScheme(t)
	key, err := s.UnmarshalBinaryPublicKey(raw)
	if err != nil {
		return nil, err
	}
	return mldsaPublic{s, key}, nil
}
