package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// codec writes log entries with a checksum of their own, so that a damaged one
// is never taken for what was written:
//
//	crc32c(4) index term type appended(unix ns) len(extensions) extensions data
//
// Numbers are uvarints; the checksum covers everything after it.
type codec struct{}

var _ wal.Codec = codec{}

// codecID names the encoding in segment headers.
const codecID = wal.FirstExternalCodecID + 0xc0f

// ID implements [wal.Codec].
func (codec) ID() uint64 { return codecID }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const crcLen = 4

// Encode implements [wal.Codec].
func (codec) Encode(l *raft.Log, w io.Writer) error {
	b := make([]byte, crcLen, crcLen+5*binary.MaxVarintLen64+len(l.Extensions)+len(l.Data))
	b = binary.AppendUvarint(b, l.Index)
	b = binary.AppendUvarint(b, l.Term)
	b = binary.AppendUvarint(b, uint64(l.Type))
	b = binary.AppendUvarint(b, uint64(l.AppendedAt.UnixNano()))
	b = appendBytes(b, l.Extensions)
	b = append(b, l.Data...)
	binary.LittleEndian.PutUint32(b, crc32.Checksum(b[crcLen:], castagnoli))
	_, err := w.Write(b)
	return err
}

var errChecksum = errors.New("checksum mismatch")

// Decode implements [wal.Codec].
func (codec) Decode(b []byte, l *raft.Log) error {
	if len(b) < crcLen || binary.LittleEndian.Uint32(b) != crc32.Checksum(b[crcLen:], castagnoli) {
		return errChecksum
	}
	d := decoder{rest: b[crcLen:]}
	l.Index, l.Term, l.Type = d.uvarint(), d.uvarint(), raft.LogType(d.uvarint())
	l.AppendedAt = time.Unix(0, int64(d.uvarint()))
	l.Extensions = append([]byte(nil), d.bytes()...)
	l.Data = append([]byte(nil), d.rest...)
	if d.bad {
		return fmt.Errorf("%w: log record", errMalformed)
	}
	return nil
}
