package raft

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cofferhq/coffer/internal/store"
)

// A log entry is a pack of transactions:
//
//	entry       = version(1 byte) { length(uvarint) transaction }
//	transaction = base nreads { key version } nranges { start end count } nwrites { write }
//	write       = 0 key | 1 key value
//
// Numbers are uvarints, keys and values are preceded by their length. base is
// the index of the commit whose state the transaction has read; version is
// that of the row, 0 for none; count is the number of rows in the range.
// Writes are in strictly ascending order of their keys.
const entryVersion = 1

// maxTransaction bounds an encoded transaction, reads included; raft-wal takes
// entries of at most 64 MiB.
const maxTransaction = store.MaxTxn + 16<<20

// transaction is a transaction as the log carries it.
type transaction struct {
	base   store.Index
	reads  []keyRead
	ranges []rangeRead
	writes []write
}

type keyRead struct {
	key     store.Key
	version store.Index
}

type rangeRead struct {
	start, end store.Key
	count      uint64
}

// write sets a row, or removes it if value is nil.
type write struct {
	key   store.Key
	value []byte
}

// about returns a key that the transaction is about.
func (t *transaction) about() store.Key {
	switch {
	case len(t.reads) > 0:
		return t.reads[0].key
	case len(t.writes) > 0:
		return t.writes[0].key
	}
	return ""
}

func (t *transaction) encode() []byte {
	size := 4 * binary.MaxVarintLen64
	for i := range t.reads {
		size += len(t.reads[i].key) + 2*binary.MaxVarintLen32
	}
	for i := range t.ranges {
		size += len(t.ranges[i].start) + len(t.ranges[i].end) + 3*binary.MaxVarintLen32
	}
	for i := range t.writes {
		size += len(t.writes[i].key) + len(t.writes[i].value) + 2*binary.MaxVarintLen32
	}
	b := make([]byte, 0, size)
	b = binary.AppendUvarint(b, uint64(t.base))
	b = binary.AppendUvarint(b, uint64(len(t.reads)))
	for _, r := range t.reads {
		b = appendBytes(b, r.key)
		b = binary.AppendUvarint(b, uint64(r.version))
	}
	b = binary.AppendUvarint(b, uint64(len(t.ranges)))
	for _, r := range t.ranges {
		b = appendBytes(b, r.start)
		b = appendBytes(b, r.end)
		b = binary.AppendUvarint(b, r.count)
	}
	b = binary.AppendUvarint(b, uint64(len(t.writes)))
	for _, w := range t.writes {
		if w.value == nil {
			b = append(b, 0)
			b = appendBytes(b, w.key)
			continue
		}
		b = append(b, 1)
		b = appendBytes(b, w.key)
		b = appendBytes(b, w.value)
	}
	return b
}

func appendBytes[T ~string | ~[]byte](b []byte, s T) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// newEntry begins an entry that is expected to hold size bytes.
func newEntry(size int) []byte {
	return append(make([]byte, 0, size), entryVersion)
}

func appendTransaction(entry, encoded []byte) []byte { return appendBytes(entry, encoded) }

var errMalformed = errors.New("malformed log entry")

// decodeEntry decodes a whole entry, or nothing of it. Values alias data.
func decodeEntry(data []byte) ([]transaction, error) {
	if len(data) == 0 || data[0] != entryVersion {
		return nil, fmt.Errorf("%w: unknown version", errMalformed)
	}
	var txns []transaction
	outer := decoder{rest: data[1:]}
	for len(outer.rest) > 0 && !outer.bad {
		inner := decoder{rest: outer.bytes()}
		if outer.bad {
			break
		}
		t := inner.transaction()
		if inner.bad || len(inner.rest) > 0 {
			return nil, fmt.Errorf("%w: transaction %d", errMalformed, len(txns))
		}
		txns = append(txns, t)
	}
	if outer.bad {
		return nil, fmt.Errorf("%w: length", errMalformed)
	}
	return txns, nil
}

// decoder reads from rest until something is wrong; from then on it is bad and
// yields zeros.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) fail() {
	d.bad = true
	d.rest = nil
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.rest)
	if size <= 0 {
		d.fail()
		return 0
	}
	d.rest = d.rest[size:]
	return n
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.rest)) {
		d.fail()
		return nil
	}
	b := d.rest[:n:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) key() store.Key {
	b := d.bytes()
	if len(b) > store.MaxKey+1 { // a range may end just behind the longest key
		d.fail()
	}
	return store.Key(b)
}

// count reads the length of a list whose elements have at least min bytes.
func (d *decoder) count(min int) int {
	n := d.uvarint()
	if n > uint64(len(d.rest)/min) {
		d.fail()
		return 0
	}
	return int(n)
}

func (d *decoder) transaction() transaction {
	t := transaction{base: store.Index(d.uvarint())}
	if n := d.count(2); n > 0 {
		t.reads = make([]keyRead, n)
	}
	for i := range t.reads {
		t.reads[i] = keyRead{d.key(), store.Index(d.uvarint())}
	}
	if n := d.count(3); n > 0 {
		t.ranges = make([]rangeRead, n)
	}
	for i := range t.ranges {
		t.ranges[i] = rangeRead{d.key(), d.key(), d.uvarint()}
	}
	if n := d.count(2); n > 0 {
		t.writes = make([]write, n)
	}
	for i := range t.writes {
		t.writes[i] = d.write()
		if i > 0 && t.writes[i].key <= t.writes[i-1].key {
			d.fail()
		}
	}
	return t
}

func (d *decoder) write() write {
	kind := d.uvarint()
	w := write{key: d.key()}
	if len(w.key) == 0 || len(w.key) > store.MaxKey || kind > 1 {
		d.fail()
		return w
	}
	if kind == 1 {
		w.value = d.bytes()
		if w.value == nil && !d.bad {
			w.value = []byte{}
		}
		if len(w.value) > store.MaxValue {
			d.fail()
		}
	}
	return w
}
