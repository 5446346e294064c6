package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"hash/crc32"
	"io"
	"strings"
	"sync"
)

// The prefixes of token texts.
const (
	ServicePrefix = "cfs."
	BatchPrefix   = "cfb."
)

const (
	alphabet  = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	randomLen = 43 // base62 digits of 256 bits
	sumLen    = 6  // base62 digits of 32 bits
	rootLen   = 22 // base62 digits of 128 bits
	// RootLen is the length of a root token's text. Clients that generate one
	// were made for 26 characters, the length of their one-time pad, which
	// leaves no room for a checksum.
	RootLen = len(ServicePrefix) + rootLen
	// MaxLen is the longest token text that is looked at.
	MaxLen = 8 << 10
)

// newID makes a service token's text.
func newID(rand io.Reader) (string, error) {
	body, err := randomText(rand, 32, randomLen)
	if err != nil {
		return "", err
	}
	return ServicePrefix + body + checksum(body), nil
}

// newRootID makes a root token's text.
func newRootID(rand io.Reader) (string, error) {
	body, err := randomText(rand, 16, rootLen)
	return ServicePrefix + body, err
}

func randomText(rand io.Reader, bytes, digits int) (string, error) {
	b := make([]byte, bytes)
	if _, err := io.ReadFull(rand, b); err != nil {
		return "", err
	}
	return base62(b, digits), nil
}

// checksum returns the digits that follow a token's random part.
func checksum(body string) string {
	var b [randomLen]byte // a string's own bytes would be copied to the heap
	n := copy(b[:], body)
	sum := crc32.ChecksumIEEE(b[:n])
	var out [sumLen]byte
	for i := range out {
		out[sumLen-1-i] = alphabet[sum%base]
		sum /= base
	}
	return string(out[:])
}

const base = uint32(len(alphabet))

// base62 writes b, at most 32 bytes, as a number of exactly the given digits;
// those beyond are cut off. Tokens are made by the thousand, so this divides by
// as many digits' worth at a time as fit a machine word.
func base62(b []byte, digits int) string {
	const step, stepBase = 5, base * base * base * base * base
	var limbs [8]uint32 // big-endian
	for i, c := range b {
		at := len(b) - 1 - i
		limbs[len(limbs)-1-at/4] |= uint32(c) << (8 * (at % 4))
	}
	out := make([]byte, digits)
	for at := digits; at > 0; {
		var rest uint64
		for i, limb := range limbs {
			rest = rest<<32 | uint64(limb)
			limbs[i] = uint32(rest / uint64(stepBase))
			rest %= uint64(stepBase)
		}
		for range min(step, at) {
			at--
			out[at] = alphabet[rest%uint64(base)]
			rest /= uint64(base)
		}
	}
	return string(out)
}

// wellFormed reports whether text can be a token: one with our prefix must have
// our checksum, or the length of a root token.
func wellFormed(text string) bool {
	if text == "" || len(text) > MaxLen {
		return false
	}
	body, ours := strings.CutPrefix(text, ServicePrefix)
	if !ours {
		return true
	}
	if len(body) == rootLen {
		return true
	}
	return len(body) == randomLen+sumLen && checksum(body[:randomLen]) == body[randomLen:]
}

// hasher computes the keyed hash under which a token is stored.
type hasher struct{ pool sync.Pool }

// keyed is a keyed hash with room for what it is computed of.
type keyed struct {
	mac hash.Hash
	in  []byte
	sum [sha256.Size]byte
}

func newHasher(key []byte) *hasher {
	return &hasher{pool: sync.Pool{New: func() any { return &keyed{mac: hmac.New(sha256.New, key)} }}}
}

// sum returns the handle of a token's text: 32 bytes as a string.
func (h *hasher) sum(text string) string {
	k := h.pool.Get().(*keyed)
	defer h.pool.Put(k)
	k.in = append(k.in[:0], text...)
	k.mac.Reset()
	_, _ = k.mac.Write(k.in) // it never fails
	k.mac.Sum(k.sum[:0])
	clear(k.in) // no token outlives its request here
	return string(k.sum[:])
}
