package barrier

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/fips140"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/cofferhq/coffer/internal/fault"
)

// ErrUnreadable is the error for every stored value that does not open: changed,
// moved to another key or cluster, cut short, or of an unknown term or format.
var ErrUnreadable = fault.Wrap(fault.Internal, errors.New("stored value cannot be opened"), "")

const (
	formatV1  = 1
	termLen   = 4
	nonceLen  = 12
	tagLen    = 16
	headerLen = 1 + termLen

	// Overhead is how much longer a sealed value is than its plaintext.
	Overhead = headerLen + nonceLen + tagLen
)

// gcm is AES-256-GCM that writes its random nonce in front of the ciphertext.
type gcm struct {
	aead cipher.AEAD
	// ownNonce says that aead draws and prepends the nonce itself, which is
	// the only way the FIPS 140-3 module approves of.
	ownNonce bool
}

// newGCM refuses a key that was cleared, so that a use after [Key.Zero] can
// never seal under a known key.
func newGCM(key Key) (gcm, error) {
	if key.IsZero() || key.Equal(Key{new([KeySize]byte)}) {
		return gcm{}, errors.New("expanding key: it was cleared")
	}
	block, err := aes.NewCipher(key.Expose())
	if err != nil {
		return gcm{}, fmt.Errorf("expanding key: %w", err)
	}
	if fips140.Enabled() {
		aead, err := cipher.NewGCMWithRandomNonce(block)
		return gcm{aead, true}, err
	}
	aead, err := cipher.NewGCM(block)
	return gcm{aead, false}, err
}

// seal appends nonce, ciphertext and tag to dst.
func (g gcm) seal(dst, plaintext, ad []byte, rand io.Reader) ([]byte, error) {
	if g.ownNonce {
		return g.aead.Seal(dst, nil, plaintext, ad), nil
	}
	start := len(dst)
	dst = append(dst, make([]byte, nonceLen)...)
	nonce := dst[start:]
	if _, err := io.ReadFull(rand, nonce); err != nil {
		return nil, fault.Wrap(fault.Unavailable, fmt.Errorf("reading nonce: %w", err), "no randomness available")
	}
	return g.aead.Seal(dst, nonce, plaintext, ad), nil
}

// open appends the plaintext of what seal made to dst.
func (g gcm) open(dst, sealed, ad []byte) ([]byte, error) {
	if len(sealed) < nonceLen+tagLen {
		return nil, ErrUnreadable
	}
	var nonce []byte
	if !g.ownNonce {
		nonce, sealed = sealed[:nonceLen], sealed[nonceLen:]
	}
	out, err := g.aead.Open(dst, nonce, sealed, ad)
	if err != nil {
		return nil, ErrUnreadable
	}
	return out, nil
}

// termCipher seals and opens values under one data key.
type termCipher struct {
	term uint32
	gcm  gcm
	// pending counts encryptions that the stored keyring does not have yet.
	pending atomic.Uint64
}

// entryPrefix is the part of the associated data that all values share.
func entryPrefix(clusterID string) []byte {
	b := []byte{formatV1}
	b = binary.BigEndian.AppendUint32(b, uint32(len(clusterID)))
	return append(b, clusterID...)
}

// appendAD appends the associated data of the value at key to dst.
func appendAD(dst, prefix []byte, key string, term uint32) []byte {
	dst = append(dst, prefix...)
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(key)))
	dst = append(dst, key...)
	return binary.BigEndian.AppendUint32(dst, term)
}

// sealEntry appends value, sealed, to dst.
func (t *termCipher) sealEntry(dst, value, ad []byte, rand io.Reader) ([]byte, error) {
	t.pending.Add(1)
	dst = append(dst, formatV1)
	dst = binary.BigEndian.AppendUint32(dst, t.term)
	return t.gcm.seal(dst, value, ad, rand)
}

// entryTerm returns the term a sealed value names, if its header is sound.
func entryTerm(sealed []byte) (uint32, error) {
	if len(sealed) < Overhead || sealed[0] != formatV1 {
		return 0, ErrUnreadable
	}
	return binary.BigEndian.Uint32(sealed[1:]), nil
}
