package barrier

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
)

// The bounds of [RotationConfig]. The upper bound on operations is nine tenths
// of 2^32, the number of values that may be sealed under one key with random
// nonces (NIST SP 800-38D, section 8.3).
const (
	MinRotationOperations = 1_000_000
	MaxRotationOperations = 3_865_470_566
	MinRotationInterval   = 24 * time.Hour
)

// RotationConfig says when a new data key is installed without being asked for.
type RotationConfig struct {
	// Enabled turns both conditions on.
	Enabled bool
	// MaxOperations is the number of encryptions under one key.
	MaxOperations uint64
	// Interval is the age of a key; zero is no limit.
	Interval time.Duration
}

// DefaultRotation is the configuration of a new keyring.
func DefaultRotation() RotationConfig {
	return RotationConfig{Enabled: true, MaxOperations: MaxRotationOperations}
}

// Validate returns an error that names the setting that is out of bounds.
func (c RotationConfig) Validate() error {
	if c.MaxOperations < MinRotationOperations || c.MaxOperations > MaxRotationOperations {
		return fault.Newf(fault.Invalid, "max_operations must be between %d and %d",
			MinRotationOperations, MaxRotationOperations)
	}
	if c.Interval != 0 && c.Interval < MinRotationInterval {
		return fault.Newf(fault.Invalid, "interval must be 0 or at least %s", MinRotationInterval)
	}
	return nil
}

// KeyStatus describes the data key that encrypts now.
type KeyStatus struct {
	Term        uint32
	InstallTime time.Time
	Encryptions uint64
}

// dataKey is one term of the keyring.
type dataKey struct {
	term        uint32
	installed   time.Time
	encryptions uint64
	key         Key
}

// keyring is the set of data keys, oldest first, with what is stored beside
// them. Its newest key encrypts.
type keyring struct {
	revision uint64
	rotation RotationConfig
	keys     []dataKey
}

func newKeyring(now time.Time, rand io.Reader) (*keyring, error) {
	k := &keyring{rotation: DefaultRotation()}
	return k, k.rotate(now, rand)
}

func (k *keyring) newest() *dataKey { return &k.keys[len(k.keys)-1] }

// rotate adds a term.
func (k *keyring) rotate(now time.Time, rand io.Reader) error {
	key, err := GenerateKey(rand)
	if err != nil {
		return fault.Wrap(fault.Unavailable, err, "no randomness available")
	}
	term := uint32(1)
	if len(k.keys) > 0 {
		term = k.newest().term + 1
	}
	if term == 0 {
		return fault.New(fault.Precondition, "the keyring has no terms left")
	}
	k.keys = append(k.keys, dataKey{term: term, installed: now.UTC(), key: key})
	return nil
}

// zero clears the data keys.
func (k *keyring) zero() {
	for _, d := range k.keys {
		d.key.Zero()
	}
}

const (
	keyringHead = 1 + 8 + 1 + 8 + 8 + 4
	dataKeyLen  = 4 + 8 + 8 + KeySize
)

// appendTo appends the keyring's encoding to b: format version, revision,
// rotation (enabled, operations, interval), number of keys, then per key term,
// install time in Unix nanoseconds, encryptions and key. All big-endian.
func (k *keyring) appendTo(b []byte) []byte {
	b = append(b, formatV1)
	b = binary.BigEndian.AppendUint64(b, k.revision)
	enabled := byte(0)
	if k.rotation.Enabled {
		enabled = 1
	}
	b = append(b, enabled)
	b = binary.BigEndian.AppendUint64(b, k.rotation.MaxOperations)
	b = binary.BigEndian.AppendUint64(b, uint64(k.rotation.Interval))
	b = binary.BigEndian.AppendUint32(b, uint32(len(k.keys)))
	for _, d := range k.keys {
		b = binary.BigEndian.AppendUint32(b, d.term)
		b = binary.BigEndian.AppendUint64(b, uint64(d.installed.UnixNano()))
		b = binary.BigEndian.AppendUint64(b, d.encryptions)
		b = append(b, d.key.Expose()...)
	}
	return b
}

// parseKeyring decodes what appendTo made and nothing else: every accepted
// input is the encoding of its result.
func parseKeyring(b []byte) (*keyring, error) {
	if len(b) < keyringHead+dataKeyLen || b[0] != formatV1 || b[9] > 1 {
		return nil, fmt.Errorf("decoding keyring: malformed head")
	}
	k := &keyring{
		revision: binary.BigEndian.Uint64(b[1:]),
		rotation: RotationConfig{
			Enabled:       b[9] == 1,
			MaxOperations: binary.BigEndian.Uint64(b[10:]),
			Interval:      time.Duration(binary.BigEndian.Uint64(b[18:])),
		},
	}
	n := uint64(binary.BigEndian.Uint32(b[26:]))
	b = b[keyringHead:]
	if k.rotation.Interval < 0 || n*dataKeyLen != uint64(len(b)) {
		return nil, fmt.Errorf("decoding keyring: %d bytes of keys for %d keys", len(b), n)
	}
	for last := uint32(0); len(b) > 0; b = b[dataKeyLen:] {
		d, err := parseDataKey(b[:dataKeyLen])
		if err != nil || d.term <= last {
			k.zero()
			return nil, fmt.Errorf("decoding keyring: key out of order after term %d", last)
		}
		last = d.term
		k.keys = append(k.keys, d)
	}
	return k, nil
}

func parseDataKey(b []byte) (dataKey, error) {
	installed := binary.BigEndian.Uint64(b[4:])
	if installed > math.MaxInt64 {
		return dataKey{}, fmt.Errorf("decoding data key: install time before 1970")
	}
	key, err := ParseKey(b[20:])
	if err != nil {
		return dataKey{}, err
	}
	return dataKey{
		term:        binary.BigEndian.Uint32(b),
		installed:   time.Unix(0, int64(installed)).UTC(),
		encryptions: binary.BigEndian.Uint64(b[12:]),
		key:         key,
	}, nil
}
