package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"hash/crc32"
	"io"
	"math/big"
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

func checksum(body string) string {
	sum := crc32.ChecksumIEEE([]byte(body))
	return base62([]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}, sumLen)
}

// base62 writes b as a number with at least the given digits.
func base62(b []byte, digits int) string {
	n, base, rest := new(big.Int).SetBytes(b), big.NewInt(62), new(big.Int)
	out := make([]byte, digits)
	for i := digits - 1; i >= 0; i-- {
		n.DivMod(n, base, rest)
		out[i] = alphabet[rest.Int64()]
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

func newHasher(key []byte) *hasher {
	return &hasher{pool: sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

// sum returns the handle of a token's text: 32 bytes as a string.
func (h *hasher) sum(text string) string {
	mac := h.pool.Get().(hash.Hash)
	mac.Reset()
	_, _ = io.WriteString(mac, text)
	var out [sha256.Size]byte
	mac.Sum(out[:0])
	h.pool.Put(mac)
	return string(out[:])
}
