package kv

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/route"
)

// operation is how a version came to be.
type operation byte

const (
	opUnknown operation = iota
	opCreate
	opUpdate
	opPatch
	numOperations
)

var operationNames = [numOperations]string{"", "create", "update", "patch"}

// String returns the name that the API shows.
func (o operation) String() string {
	if o < numOperations {
		return operationNames[o]
	}
	return ""
}

// record is the row of a version, or of a version 1 secret:
//
//	byte    format, 1
//	byte    operation
//	8 bytes creation time, Unix nanoseconds
//	varint  lease hint in nanoseconds, 0 for none
//	varint  length of the creator, and the creator (see [encodeCreator])
//	rest    the client's JSON; nothing if it was destroyed
type record struct {
	op      operation
	created int64
	lease   time.Duration
	creator []byte
	data    []byte
}

const recordFormat = 1

var errRecord = errors.New("decoding the row of a secret's data: malformed")

func (r record) encode() []byte {
	b := make([]byte, 0, 2+8+2*binary.MaxVarintLen64+len(r.creator)+len(r.data))
	b = append(b, recordFormat, byte(r.op))
	b = binary.BigEndian.AppendUint64(b, uint64(r.created))
	b = binary.AppendUvarint(b, uint64(r.lease))
	b = binary.AppendUvarint(b, uint64(len(r.creator)))
	b = append(b, r.creator...)
	return append(b, r.data...)
}

// decodeRecord reads a row. The record's slices are parts of b.
func decodeRecord(b []byte) (record, error) {
	if len(b) < 12 || b[0] != recordFormat {
		return record{}, errRecord
	}
	r := record{op: operation(b[1]), created: int64(binary.BigEndian.Uint64(b[2:]))}
	b = b[10:]
	lease, n := binary.Uvarint(b)
	if n <= 0 || lease > 1<<63-1 {
		return record{}, errRecord
	}
	r.lease = time.Duration(lease)
	var ok bool
	if r.creator, b, ok = cutCounted(b[n:]); !ok {
		return record{}, errRecord
	}
	r.data = b
	return r, nil
}

// cutCounted takes a counted string off the front of b.
func cutCounted(b []byte) (s, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	return b[n : n+int(size)], b[n+int(size):], true
}

// encodeCreator notes who is calling: display name, entity id and token
// accessor, each with its length before it.
func encodeCreator(c *route.Caller) []byte {
	fields := [...]string{c.DisplayName, c.EntityID, c.Accessor}
	size := 0
	for _, f := range fields {
		size += binary.MaxVarintLen32 + len(f)
	}
	b := make([]byte, 0, size)
	for _, f := range fields {
		b = binary.AppendUvarint(b, uint64(len(f)))
		b = append(b, f...)
	}
	return b
}

// decodeCreator reads what [encodeCreator] wrote.
func decodeCreator(b []byte) (name, entity, accessor []byte, err error) {
	fields := [...]*[]byte{&name, &entity, &accessor}
	for _, f := range fields {
		var ok bool
		if *f, b, ok = cutCounted(b); !ok {
			return nil, nil, nil, errRecord
		}
	}
	return name, entity, accessor, nil
}
