package material

import (
	"crypto"
	"crypto/aes"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/cofferhq/coffer/internal/fault"
)

var (
	errWrapped = fault.New(fault.Invalid, "the wrapped key could not be opened: it must be an AES-256 key encrypted by RSA-OAEP with the wrapping key, followed by the key in AES-KWP (RFC 5649), with the hash_function that was named")
	// kwpPrefix begins the integrity check of RFC 5649, section 3.
	kwpPrefix = [4]byte{0xa6, 0x59, 0x59, 0xa6}
)

// WrappingHash finds the hash function of OAEP by its name in the API.
func WrappingHash(name string) (crypto.Hash, error) {
	switch name {
	case "SHA1":
		return crypto.SHA1, nil
	case "SHA224":
		return crypto.SHA224, nil
	case "SHA256", "":
		return crypto.SHA256, nil
	case "SHA384":
		return crypto.SHA384, nil
	case "SHA512":
		return crypto.SHA512, nil
	}
	return 0, fault.New(fault.Invalid, "unsupported hash_function; use SHA1, SHA224, SHA256, SHA384 or SHA512")
}

// WrapFor wraps a key for the owner of an RSA key: an ephemeral AES-256 key by
// RSA-OAEP, and under it the key by AES-KWP.
func WrapFor(public *rsa.PublicKey, h crypto.Hash, key []byte, random io.Reader) ([]byte, error) {
	ephemeral := make([]byte, 32)
	if _, err := io.ReadFull(random, ephemeral); err != nil {
		return nil, fmt.Errorf("%w: %w", errRandom, err)
	}
	defer clear(ephemeral)
	head, err := rsa.EncryptOAEP(h.New(), random, public, ephemeral, nil)
	if err != nil {
		return nil, fmt.Errorf("wrapping an ephemeral key: %w", err)
	}
	body, err := WrapKWP(ephemeral, key)
	if err != nil {
		return nil, err
	}
	return append(head, body...), nil
}

// UnwrapWith opens what [WrapFor] made. Whatever is wrong is the same
// [fault.Invalid].
func (k *Key) UnwrapWith(h crypto.Hash, wrapped []byte) ([]byte, error) {
	private, ok := k.signer.(*rsa.PrivateKey)
	if !ok || len(wrapped) <= private.Size() {
		return nil, errWrapped
	}
	ephemeral, err := rsa.DecryptOAEP(h.New(), nil, private, wrapped[:private.Size()], nil)
	if err != nil || len(ephemeral) != 32 {
		return nil, errWrapped
	}
	defer clear(ephemeral)
	return UnwrapKWP(ephemeral, wrapped[private.Size():])
}

// WrapKWP is AES Key Wrap with Padding (RFC 5649) of key under kek.
func WrapKWP(kek, key []byte) ([]byte, error) {
	b, err := aes.NewCipher(kek)
	if err != nil || len(key) == 0 {
		return nil, fmt.Errorf("wrapping a key: bad length")
	}
	var iv [8]byte
	copy(iv[:], kwpPrefix[:])
	binary.BigEndian.PutUint32(iv[4:], uint32(len(key)))
	padded := make([]byte, 8+(len(key)+7)/8*8)
	copy(padded, iv[:])
	copy(padded[8:], key)
	if len(padded) == aes.BlockSize {
		b.Encrypt(padded, padded)
		return padded, nil
	}
	// RFC 3394, section 2.2.1, in place: A is the first block of 8 bytes.
	n := len(padded)/8 - 1
	var block [aes.BlockSize]byte
	copy(block[:8], padded[:8])
	for j := range 6 {
		for i := 1; i <= n; i++ {
			copy(block[8:], padded[i*8:])
			b.Encrypt(block[:], block[:])
			binary.BigEndian.PutUint64(block[:8], binary.BigEndian.Uint64(block[:8])^uint64(n*j+i))
			copy(padded[i*8:], block[8:])
		}
	}
	copy(padded, block[:8])
	return padded, nil
}

// UnwrapKWP opens what [WrapKWP] made.
func UnwrapKWP(kek, wrapped []byte) ([]byte, error) {
	b, err := aes.NewCipher(kek)
	if err != nil || len(wrapped) < aes.BlockSize || len(wrapped)%8 != 0 {
		return nil, errWrapped
	}
	out := make([]byte, len(wrapped))
	copy(out, wrapped)
	if len(out) == aes.BlockSize {
		b.Decrypt(out, out)
	} else {
		n := len(out)/8 - 1
		var block [aes.BlockSize]byte
		copy(block[:8], out[:8])
		for j := 5; j >= 0; j-- {
			for i := n; i >= 1; i-- {
				binary.BigEndian.PutUint64(block[:8], binary.BigEndian.Uint64(block[:8])^uint64(n*j+i))
				copy(block[8:], out[i*8:])
				b.Decrypt(block[:], block[:])
				copy(out[i*8:], block[8:])
			}
		}
		copy(out, block[:8])
	}
	return checkKWP(out)
}

// checkKWP checks prefix, length and padding together, so that none can be told
// from another.
func checkKWP(out []byte) ([]byte, error) {
	size := int(binary.BigEndian.Uint32(out[4:8]))
	body := out[8:]
	ok := subtle.ConstantTimeCompare(out[:4], kwpPrefix[:])
	if size <= len(body)-8 || size > len(body) {
		return nil, errWrapped
	}
	zero := byte(0)
	for _, c := range body[size:] {
		zero |= c
	}
	ok &= subtle.ConstantTimeByteEq(zero, 0)
	if ok != 1 {
		return nil, errWrapped
	}
	return body[:size], nil
}
