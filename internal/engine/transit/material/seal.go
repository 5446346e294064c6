package material

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/mlkem"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cofferhq/coffer/internal/fault"
)

// MaxOverhead is the most that Seal adds to a plaintext, in bytes, for types
// that do not bound the plaintext itself.
const MaxOverhead = 1568 + 12 + 16

// nonceKeySize is the length of the key that nonces are made with.
const nonceKeySize = 32

var (
	// errOpen says no more, so that nobody learns which part was wrong.
	errOpen = fault.New(fault.Invalid, "decryption failed: the ciphertext does not belong to this key, context or associated data, or was changed")
	// ErrPublicOnly is returned where the private half is needed.
	ErrPublicOnly = fault.New(fault.Invalid, "this version of the key has only a public half")
)

// opener is the private half of an ML-KEM key.
type opener interface {
	Decapsulate(ciphertext []byte) (sharedKey []byte, err error)
}

// Derive returns the key for a context; convergent makes its Seal choose the
// nonce by the plaintext.
func (k *Key) Derive(context []byte, convergent bool) (*Key, error) {
	if k.typ == Ed25519 {
		return k.deriveEd25519(context)
	}
	tr := &table[k.typ]
	size := tr.size
	if convergent {
		size += nonceKeySize
	}
	okm, err := hkdf.Key(sha256.New, k.secret, nil, string(context), size)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	d, err := Parse(k.typ, okm[:tr.size:tr.size])
	if err == nil && convergent {
		d.nonceKey = okm[tr.size:]
	}
	return d, err
}

// NonceSize is the number of random bytes that Seal reads for an AEAD key, 0 for
// other types and for convergent keys.
func (k *Key) NonceSize() int {
	if k.aead == nil || k.nonceKey != nil {
		return 0
	}
	return k.aead.NonceSize()
}

// Seal encrypts plaintext and appends the result to dst, whose capacity it uses.
// Associated data must be nil for types that do not authenticate any. An error
// of random is returned and nothing is encrypted.
func (k *Key) Seal(dst, plaintext, ad []byte, random io.Reader) ([]byte, error) {
	if k.aead != nil {
		return k.sealAEAD(dst, plaintext, ad, random)
	}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		if limit := public.Size() - 2*sha256.Size - 2; len(plaintext) > limit {
			return dst, fault.Newf(fault.Invalid, "an RSA key of %d bits encrypts at most %d bytes; encrypt a data key instead", public.N.BitLen(), limit)
		}
		c, err := rsa.EncryptOAEP(sha256.New(), random, public, plaintext, nil)
		if err != nil {
			return dst, fmt.Errorf("encrypting by RSA: %w", err)
		}
		return append(dst, c...), nil
	case *mlkem.EncapsulationKey768:
		shared, c := public.Encapsulate()
		return sealShared(append(dst, c...), shared, plaintext, ad, random)
	case *mlkem.EncapsulationKey1024:
		shared, c := public.Encapsulate()
		return sealShared(append(dst, c...), shared, plaintext, ad, random)
	}
	return dst, errEncrypts(k.typ)
}

func (k *Key) sealAEAD(dst, plaintext, ad []byte, random io.Reader) ([]byte, error) {
	n := k.aead.NonceSize()
	start := len(dst)
	if k.nonceKey != nil {
		dst = append(dst, k.convergentNonce(plaintext, ad)[:n]...)
	} else {
		dst = append(dst, make([]byte, n)...)
		if _, err := io.ReadFull(random, dst[start:]); err != nil {
			return dst[:start], fmt.Errorf("%w: %w", errRandom, err)
		}
	}
	return k.aead.Seal(dst, dst[start:start+n], plaintext, ad), nil
}

// convergentNonce is a pseudorandom function of what is encrypted. Associated
// data has a part in it, through another function, because one nonce under two
// of them would give the authentication key away.
func (k *Key) convergentNonce(plaintext, ad []byte) []byte {
	if len(ad) == 0 {
		h := hmac.New(sha256.New, k.nonceKey)
		h.Write(plaintext)
		return h.Sum(nil)
	}
	h := hmac.New(sha512.New, k.nonceKey)
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(ad))))
	h.Write(ad)
	h.Write(plaintext)
	return h.Sum(nil)
}

// Open decrypts what Seal made and appends the plaintext to dst. A ciphertext
// that does not open is [fault.Invalid], whatever is wrong with it.
func (k *Key) Open(dst, ciphertext, ad []byte) ([]byte, error) {
	if k.aead != nil {
		return openAEAD(dst, k.aead, ciphertext, ad)
	}
	if !k.typ.Encrypts() {
		return dst, errEncrypts(k.typ)
	}
	if !k.Private() {
		return dst, ErrPublicOnly
	}
	if k.opener != nil {
		size := mlkem.CiphertextSize768
		if k.typ == MLKEM1024 {
			size = mlkem.CiphertextSize1024
		}
		if len(ciphertext) < size {
			return dst, errOpen
		}
		shared, err := k.opener.Decapsulate(ciphertext[:size])
		if err != nil {
			return dst, errOpen
		}
		aead, err := sharedAEAD(shared)
		if err != nil {
			return dst, err
		}
		return openAEAD(dst, aead, ciphertext[size:], ad)
	}
	p, err := rsa.DecryptOAEP(sha256.New(), nil, k.signer.(*rsa.PrivateKey), ciphertext, nil)
	if err != nil {
		return dst, errOpen
	}
	return append(dst, p...), nil
}

func openAEAD(dst []byte, aead cipher.AEAD, ciphertext, ad []byte) ([]byte, error) {
	n := aead.NonceSize()
	if len(ciphertext) < n+aead.Overhead() {
		return dst, errOpen
	}
	p, err := aead.Open(dst, ciphertext[:n], ciphertext[n:], ad)
	if err != nil {
		return dst, errOpen
	}
	return p, nil
}

func errEncrypts(t Type) error {
	return fault.Newf(fault.Invalid, "keys of type %s do not encrypt", t)
}

// sharedAEAD makes the cipher of an ML-KEM ciphertext.
func sharedAEAD(shared []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, shared, nil, "coffer transit ml-kem", 32)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	return gcm(key)
}

func sealShared(dst, shared, plaintext, ad []byte, random io.Reader) ([]byte, error) {
	aead, err := sharedAEAD(shared)
	if err != nil {
		return dst, err
	}
	return (&Key{typ: AES256GCM, aead: aead}).sealAEAD(dst, plaintext, ad, random)
}
