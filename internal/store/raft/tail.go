package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/hashicorp/raft-wal/segment"
)

// The frames of a segment, as raft-wal writes them: after a header of 32 bytes
// each frame has 8 bytes (type, three zeros, length or checksum, little
// endian) and a payload padded to 8 bytes. A commit frame, without payload,
// carries the checksum of everything since the commit frame before it.
const (
	segmentHeaderLen = 32
	frameHeaderLen   = 8
	frameAlign       = 8
)

// errDamaged says that the log is broken where it must not be.
var errDamaged = errors.New("the log is damaged before its end; restore this node from a snapshot or a peer")

// verifyTail tells a torn end from damage in the middle of the segment that
// was being written. raft-wal reads up to the first frame that makes no sense
// and takes that for the end. A crash leaves at most one unfinished batch
// there. If a whole batch follows behind an unfinished one, it was written
// after the unfinished one had been finished: then what was lost was
// acknowledged, and the log must not be used.
func (l *logStore) verifyTail() error {
	tail, ok := l.meta.tail()
	if !ok {
		return nil
	}
	path := l.fs.PathJoin(l.dir, segment.FileName(tail))
	f, err := l.fs.Open(path)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	if at, damaged := damagedAt(b); damaged {
		return fmt.Errorf("%s at offset %d: %w", path, at, errDamaged)
	}
	return nil
}

// damagedAt reports whether a segment has a whole batch behind a broken one,
// and where the broken one begins.
func damagedAt(b []byte) (int, bool) {
	// The batches up to the first that is not whole.
	end := 0
	for {
		next, ok := batch(b, end)
		if !ok {
			break
		}
		end = next
	}
	// A commit frame, wherever it may be, with a whole batch behind it.
	for at := max(end, segmentHeaderLen); at+frameHeaderLen <= len(b); at += frameAlign {
		if b[at] != segment.FrameCommit || b[at+1]|b[at+2]|b[at+3] != 0 {
			continue
		}
		if _, ok := batch(b, at+frameHeaderLen); ok {
			return end, true
		}
	}
	return 0, false
}

// batch parses the frames from offset start up to and with a commit frame, and
// returns the offset behind it. ok says that there is at least one entry and
// that the checksum is right.
func batch(b []byte, start int) (end int, ok bool) {
	at := start
	if at == 0 {
		at = segmentHeaderLen // the first batch's checksum covers the header
	}
	for entries := 0; at+frameHeaderLen <= len(b); {
		kind, n := b[at], binary.LittleEndian.Uint32(b[at+4:])
		switch kind {
		case segment.FrameCommit:
			at += frameHeaderLen
			return at, entries > 0 && crc32.Checksum(b[start:at-frameHeaderLen], castagnoli) == n
		case segment.FrameEntry, segment.FrameIndex:
			if n > segment.MaxEntrySize {
				return 0, false
			}
			if kind == segment.FrameEntry {
				entries++
			}
			at += frameHeaderLen + int(n+frameAlign-1)/frameAlign*frameAlign
		default:
			return 0, false
		}
	}
	return 0, false
}
