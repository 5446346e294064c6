package barrier

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"

	"golang.org/x/sys/unix"
)

// KeySize is the length of every key here, in bytes: AES-256.
const KeySize = 32

const redacted = "[redacted key]"

// Key is a secret key that cannot be printed, logged or marshalled by accident.
// Copies of a Key share their bytes, so [Key.Zero] on one clears all. The zero
// Key holds no key.
type Key struct {
	b *[KeySize]byte
}

// newKey allocates a key whose pages the system is asked not to swap. It asks
// once and ignores a refusal: the limit on locked memory is the operator's. The
// pages stay locked, since a neighbour on the same page may be a key as well.
func newKey() Key {
	b := new([KeySize]byte)
	_ = unix.Mlock(b[:])
	return Key{b}
}

// GenerateKey returns a key of random bytes.
func GenerateKey(rand io.Reader) (Key, error) {
	k := newKey()
	if _, err := io.ReadFull(rand, k.b[:]); err != nil {
		return Key{}, fmt.Errorf("reading randomness: %w", err)
	}
	return k, nil
}

// ParseKey returns a key with a copy of raw, which must be [KeySize] bytes.
func ParseKey(raw []byte) (Key, error) {
	if len(raw) != KeySize {
		return Key{}, fmt.Errorf("parsing key: %d bytes, want %d", len(raw), KeySize)
	}
	k := newKey()
	copy(k.b[:], raw)
	return k, nil
}

// Expose returns the key's own bytes, which the caller must not keep.
func (k Key) Expose() []byte {
	if k.b == nil {
		return nil
	}
	return k.b[:]
}

// Clone returns a key with the same bytes that lives on after k is zeroed.
func (k Key) Clone() Key {
	if k.b == nil {
		return Key{}
	}
	c := newKey()
	*c.b = *k.b
	return c
}

// Equal compares two keys in constant time.
func (k Key) Equal(other Key) bool {
	return subtle.ConstantTimeCompare(k.Expose(), other.Expose()) == 1
}

// IsZero reports whether k holds no key.
func (k Key) IsZero() bool { return k.b == nil }

// Zero overwrites the key's bytes, also those of its copies.
func (k Key) Zero() {
	if k.b != nil {
		clear(k.b[:])
	}
}

// String redacts.
func (k Key) String() string { return redacted }

// GoString redacts.
func (k Key) GoString() string { return redacted }

// Format redacts under every verb.
func (k Key) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue redacts.
func (k Key) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON redacts.
func (k Key) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText redacts.
func (k Key) MarshalText() ([]byte, error) { return []byte(redacted), nil }
