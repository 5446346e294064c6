package wire

import (
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// Hex writes bytes as lower-case hexadecimal digits.
func Hex(b []byte) string { return hex.EncodeToString(b) }

// NewUUID returns a random UUID, version 4 (RFC 9562).
func NewUUID(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("reading randomness: %w", err)
	}
	return UUID(b), nil
}

// UUID returns the text of the UUID, version 4, that random bytes make.
func UUID(b [16]byte) string {
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var out [36]byte
	hex.Encode(out[:], b[:4])
	out[8] = '-'
	hex.Encode(out[9:], b[4:6])
	out[13] = '-'
	hex.Encode(out[14:], b[6:8])
	out[18] = '-'
	hex.Encode(out[19:], b[8:10])
	out[23] = '-'
	hex.Encode(out[24:], b[10:])
	return string(out[:])
}

// MatchGlob reports whether name matches a pattern in which every "*" stands for
// any text. Policies' parameter rules have a narrower form of their own.
func MatchGlob(pattern, name string) bool {
	head, tail, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, head)
	if !ok {
		return false
	}
	for {
		part, rest, more := strings.Cut(tail, "*")
		if !more {
			return strings.HasSuffix(name, part)
		}
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name, tail = name[i+len(part):], rest
	}
}
