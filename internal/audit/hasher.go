package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"hash"
)

// hashPrefix marks a hashed value in an entry.
const hashPrefix = "hmac-sha256:"

const hexSum = 2 * sha256.Size

// hasher computes the HMAC-SHA256 of values with one device's salt. It keeps
// the keyed state: after the first use [hash.Hash.Reset] restores it without
// hashing the key again and without allocating. It is not safe for concurrent
// use; encoders own one each.
type hasher struct {
	mac hash.Hash
	in  []byte
	sum []byte
	// memo holds the identifiers that occur more than once in one entry (the
	// client token stands under auth and under request). It is forgotten after
	// each entry.
	memo  [4]memoised
	memos int
	empty [hexSum]byte
}

type memoised struct {
	value string
	hex   [hexSum]byte
}

func newHasher(salt []byte) *hasher {
	h := &hasher{mac: hmac.New(sha256.New, salt), sum: make([]byte, 0, sha256.Size)}
	hex.Encode(h.empty[:], h.mac.Sum(nil))
	return h
}

// append appends the hash of b, with its prefix, to dst.
func (h *hasher) append(dst, b []byte) []byte {
	dst = append(dst, hashPrefix...)
	if len(b) == 0 {
		return append(dst, h.empty[:]...)
	}
	return hex.AppendEncode(dst, h.digest(b))
}

// appendString is append for a string that occurs once.
func (h *hasher) appendString(dst []byte, s string) []byte {
	h.in = append(h.in[:0], s...)
	return h.append(dst, h.in)
}

// appendIdentifier is append for a string that may occur again in this entry.
func (h *hasher) appendIdentifier(dst []byte, s string) []byte {
	for i := range h.memos {
		// Both sides come from this server's own record, not from a guess
		// to be compared with a secret, so timing tells nothing.
		if h.memo[i].value == s {
			return append(append(dst, hashPrefix...), h.memo[i].hex[:]...)
		}
	}
	start := len(dst) + len(hashPrefix)
	dst = h.appendString(dst, s)
	if h.memos < len(h.memo) {
		m := &h.memo[h.memos]
		m.value = s
		copy(m.hex[:], dst[start:])
		h.memos++
	}
	return dst
}

func (h *hasher) digest(b []byte) []byte {
	h.mac.Reset()
	h.mac.Write(b)
	h.sum = h.mac.Sum(h.sum[:0])
	return h.sum
}

// forget drops what the last entry left behind, so that no token outlives its
// request here.
func (h *hasher) forget() {
	for i := range h.memos {
		h.memo[i].value = ""
	}
	h.memos = 0
	clear(h.in)
}
