package store

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// NamespaceID and MountID are the first two components of every key, so that
// a row can never be mistaken for another tenant's or another mount's.
type (
	NamespaceID uint64
	MountID     uint64
)

// RootNamespace is the id of the namespace that is always there. System is the
// mount id under which Coffer's own nouns (tokens, leases, policies, ...) keep
// their rows.
const (
	RootNamespace NamespaceID = 1
	System        MountID     = 0
)

// Kind names a table within a mount: what sort of row a key stands for. Kinds
// of engines are theirs to number from 1; the kinds under [System] are in
// kinds.go.
type Kind uint8

// Key is the order-preserving, unambiguous encoding of a tuple (namespace id,
// mount id, kind, parts...): 8 and 8 bytes big-endian, one byte, then each part
// with 0x00 escaped as 0x00 0xff and closed by 0x00 0x01. No key's encoding is
// a prefix of another's unless its tuple is, and comparing encodings compares
// tuples component by component.
type Key string

const headerLen = 8 + 8 + 1

// NewKey encodes a tuple.
func NewKey(ns NamespaceID, mount MountID, kind Kind, parts ...string) Key {
	var header [headerLen]byte
	binary.BigEndian.PutUint64(header[:], uint64(ns))
	binary.BigEndian.PutUint64(header[8:], uint64(mount))
	header[16] = byte(kind)
	var b strings.Builder // whose text is not copied once it is complete
	b.Grow(headerLen + room(parts))
	b.Write(header[:])
	return appendParts(&b, parts)
}

// Append returns the key with more parts at its end.
func (k Key) Append(parts ...string) Key {
	var b strings.Builder
	b.Grow(len(k) + room(parts))
	b.WriteString(string(k))
	return appendParts(&b, parts)
}

// room is how many bytes parts take, if they need no escaping.
func room(parts []string) (n int) {
	for _, p := range parts {
		n += len(p) + 2
	}
	return n
}

func appendParts(b *strings.Builder, parts []string) Key {
	for _, p := range parts {
		for i := strings.IndexByte(p, 0); i >= 0; i = strings.IndexByte(p, 0) {
			b.WriteString(p[:i])
			b.WriteString("\x00\xff")
			p = p[i+1:]
		}
		b.WriteString(p)
		b.WriteString("\x00\x01")
	}
	return Key(b.String())
}

// Namespace returns the namespace id of a well-formed key, else 0.
func (k Key) Namespace() NamespaceID {
	if len(k) < headerLen {
		return 0
	}
	return NamespaceID(binary.BigEndian.Uint64([]byte(k[:8])))
}

// Mount returns the mount id of a well-formed key, else 0.
func (k Key) Mount() MountID {
	if len(k) < headerLen {
		return 0
	}
	return MountID(binary.BigEndian.Uint64([]byte(k[8:16])))
}

// Kind returns the kind of a well-formed key, else 0.
func (k Key) Kind() Kind {
	if len(k) < headerLen {
		return 0
	}
	return Kind(k[16])
}

// Parts decodes the parts after the kind. A key that [NewKey] cannot have made
// gives an error.
func (k Key) Parts() ([]string, error) {
	if len(k) < headerLen {
		return nil, fmt.Errorf("decoding key: %d bytes are too few", len(k))
	}
	var parts []string
	var b strings.Builder
	rest := string(k[headerLen:])
	for len(rest) > 0 {
		b.Reset()
		for {
			i := strings.IndexByte(rest, 0)
			if i < 0 || i+1 >= len(rest) {
				return nil, fmt.Errorf("decoding key: part without end")
			}
			b.WriteString(rest[:i])
			mark := rest[i+1]
			rest = rest[i+2:]
			if mark == 1 {
				break
			}
			if mark != 0xff {
				return nil, fmt.Errorf("decoding key: bad escape %#x", mark)
			}
			b.WriteByte(0)
		}
		parts = append(parts, b.String())
	}
	return parts, nil
}

// Last returns the last part of a well-formed key with at least one part,
// else "".
func (k Key) Last() string {
	parts, err := k.Parts()
	if err != nil || len(parts) == 0 {
		return ""
	}
	return parts[len(parts)-1]
}

// Uint64Part encodes n as a part that sorts as the number does.
func Uint64Part(n uint64) string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], n)
	return string(b[:])
}

// ParseUint64Part decodes what [Uint64Part] made.
func ParseUint64Part(p string) (uint64, bool) {
	if len(p) != 8 {
		return 0, false
	}
	return binary.BigEndian.Uint64([]byte(p)), true
}

// Range is an interval of keys: Start inclusive, End exclusive. An empty End is
// no bound. Limit, if positive, is the most rows wanted.
type Range struct {
	Start, End Key
	Reverse    bool
	Limit      int
}

// Under returns the range of all keys whose tuple begins with k's, including k.
func Under(k Key) Range { return Range{Start: k, End: prefixEnd(k)} }

// From returns the range of keys under k whose next part is at or after part.
func From(k Key, part string) Range {
	r := Under(k)
	r.Start = k.Append(part)
	return r
}

// UnderPart returns the range of keys under k whose next part begins with the
// bytes of prefix.
func UnderPart(k Key, prefix string) Range {
	b := string(k.Append(prefix))
	start := Key(b[:len(b)-2]) // without the part's closing mark
	return Range{Start: start, End: prefixEnd(start)}
}

// After returns the first key after k and everything below it.
func After(k Key) Key { return prefixEnd(k) }

func prefixEnd(k Key) Key {
	b := []byte(k)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return Key(b[:i+1])
		}
	}
	return ""
}

// Contains reports whether k lies in the range's bounds.
func (r Range) Contains(k Key) bool { return k >= r.Start && (r.End == "" || k < r.End) }
