package kv

import (
	"encoding/binary"
	"errors"
	"time"
)

// secret is the row that holds the settings and the versions of a path:
//
//	byte     format, 1
//	byte     flags
//	4 bytes  max_versions
//	8 bytes  each: creation time, update time (Unix nanoseconds), current
//	         version, oldest version as shown, metadata version,
//	         delete_version_after (nanoseconds)
//	4 bytes  number of versions in the table
//	17 bytes per version, the current one last: creation time, deletion time
//	         (0 for none), flags
//	rest     custom metadata as a JSON object; nothing if there is none
//
// The versions in the table follow each other without a gap.
type secret struct {
	casRequired, metadataCASRequired bool

	maxVersions     uint32
	created         int64
	updated         int64
	current         uint64
	oldest          uint64
	metadataVersion uint64
	deleteAfter     time.Duration
	table           []byte
	custom          []byte
}

// version is an entry of a secret's table.
type version struct {
	created   int64
	deletion  int64 // 0 for none
	destroyed bool
}

const (
	secretFormat = 1
	secretHeader = 2 + 4 + 6*8 + 4
	versionSize  = 17

	flagCASRequired         = 1
	flagMetadataCASRequired = 2
	flagDestroyed           = 1

	// maxVersion is beyond every number that can have been given out.
	maxVersion = 1 << 62
	// defaultMaxVersions is in force where neither secret nor mount set any.
	defaultMaxVersions = 10
)

var errSecret = errors.New("decoding the row of a secret: malformed")

func (s *secret) encode() []byte {
	b := make([]byte, 0, secretHeader+len(s.table)+len(s.custom))
	var flags byte
	if s.casRequired {
		flags |= flagCASRequired
	}
	if s.metadataCASRequired {
		flags |= flagMetadataCASRequired
	}
	b = append(b, secretFormat, flags)
	b = binary.BigEndian.AppendUint32(b, s.maxVersions)
	for _, n := range [...]uint64{uint64(s.created), uint64(s.updated), s.current, s.oldest, s.metadataVersion, uint64(s.deleteAfter)} {
		b = binary.BigEndian.AppendUint64(b, n)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(s.count()))
	b = append(b, s.table...)
	return append(b, s.custom...)
}

// decodeSecret reads a row. The secret's slices are parts of b.
func decodeSecret(b []byte) (secret, error) {
	if len(b) < secretHeader || b[0] != secretFormat {
		return secret{}, errSecret
	}
	u64 := func(i int) uint64 { return binary.BigEndian.Uint64(b[6+8*i:]) }
	s := secret{
		casRequired:         b[1]&flagCASRequired != 0,
		metadataCASRequired: b[1]&flagMetadataCASRequired != 0,
		maxVersions:         binary.BigEndian.Uint32(b[2:]),
		created:             int64(u64(0)),
		updated:             int64(u64(1)),
		current:             u64(2),
		oldest:              u64(3),
		metadataVersion:     u64(4),
		deleteAfter:         time.Duration(u64(5)),
	}
	n := uint64(binary.BigEndian.Uint32(b[secretHeader-4:]))
	rest := b[secretHeader:]
	if n*versionSize > uint64(len(rest)) || n > s.current || s.current > maxVersion {
		return secret{}, errSecret
	}
	size := int(n) * versionSize
	s.table, s.custom = rest[:size:size], rest[size:]
	return s, nil
}

// count is the number of versions in the table.
func (s *secret) count() int { return len(s.table) / versionSize }

// first is the number of the oldest version in the table.
func (s *secret) first() uint64 { return s.current - uint64(s.count()) + 1 }

// version returns the entry of version n.
func (s *secret) version(n uint64) (version, bool) {
	if n < s.first() || n > s.current || s.current > maxVersion {
		return version{}, false
	}
	b := s.table[int(n-s.first())*versionSize:]
	return version{
		created:   int64(binary.BigEndian.Uint64(b)),
		deletion:  int64(binary.BigEndian.Uint64(b[8:])),
		destroyed: b[16]&flagDestroyed != 0,
	}, true
}

func appendVersion(b []byte, v version) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(v.created))
	b = binary.BigEndian.AppendUint64(b, uint64(v.deletion))
	var flags byte
	if v.destroyed {
		flags = flagDestroyed
	}
	return append(b, flags)
}

// set replaces the entry of version n, which must be in the table. The table is
// changed in place, so the caller must have made it its own.
func (s *secret) set(n uint64, v version) {
	at := int(n-s.first()) * versionSize
	appendVersion(s.table[:at], v)
}

// add appends a new current version and drops those beyond the newest keep. It
// returns the range of versions that were dropped: [from, to).
func (s *secret) add(v version, keep uint32) (from, to uint64) {
	from = s.first()
	table := make([]byte, 0, len(s.table)+versionSize)
	table = appendVersion(append(table, s.table...), v)
	s.current++
	s.updated = v.created
	if surplus := len(table)/versionSize - int(keep); surplus > 0 {
		table = table[surplus*versionSize:]
		s.oldest = from + uint64(surplus)
		to = s.oldest
	} else {
		to = from
	}
	s.table = table
	return from, to
}

// keeps is how many versions of the secret are kept: what the secret says, else
// what the mount says, else [defaultMaxVersions].
func (s *secret) keeps(cfg config) uint32 {
	switch {
	case s.maxVersions > 0:
		return s.maxVersions
	case cfg.MaxVersions > 0:
		return cfg.MaxVersions
	}
	return defaultMaxVersions
}

// deletionTime is when a version created at the given time deletes itself, 0
// for never. The shorter of the secret's and the mount's time counts; a
// negative one of either switches it off.
func (s *secret) deletionTime(cfg config, created time.Time) int64 {
	after, mount := s.deleteAfter, time.Duration(cfg.DeleteVersionAfter)
	switch {
	case after < 0 || mount < 0:
		return 0
	case after == 0 || mount > 0 && mount < after:
		after = mount
	}
	if after == 0 {
		return 0
	}
	return created.Add(after).UnixNano()
}

// deleted reports whether the version is deleted at the given time, in Unix
// nanoseconds.
func (v version) deleted(now int64) bool { return v.deletion != 0 && v.deletion <= now }

// readable reports whether the version's data can be read at the given time.
func (v version) readable(now int64) bool { return !v.destroyed && !v.deleted(now) }
