package raft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/hashicorp/raft-wal/segment"
)

// The frames of a segment, as raft-wal writes them: after a header of 32 bytes
// each frame has 8 bytes (type, three zeros, length or checksum, little
// endian) and a payload padded to 8 bytes. A commit frame, without payload,
// carries the checksum of everything since the commit frame before it. The
// last batch of a full segment has an index frame: it seals the segment.
const (
	segmentHeaderLen = 32
	frameHeaderLen   = 8
	frameAlign       = 8
)

// errDamaged says that the log is broken where it must not be.
var errDamaged = errors.New("the log is damaged before its end; restore this node from a snapshot or a peer")

// mendTail brings the segment that was being written into a state that
// raft-wal can open, or refuses it.
//
// raft-wal reads up to the first frame that makes no sense and takes that for
// the end. A crash leaves at most one unfinished batch there. If a whole batch
// follows behind an unfinished one, it was written after the unfinished one
// had been finished: then what was lost was acknowledged, and the log is
// refused. Otherwise the unfinished batch is wiped, because raft-wal 0.4 takes
// an index frame in it for a seal. A segment whose seal was written, but not
// yet noted in the meta file, is noted there: raft-wal 0.4 would open it and
// then accept no more entries.
func (l *logStore) mendTail() error {
	state, err := l.meta.Load(l.dir)
	if err != nil {
		return err
	}
	tail, ok := l.meta.tail()
	if !ok {
		return nil
	}
	path := l.fs.PathJoin(l.dir, segment.FileName(tail))
	content, err := readWhole(l.fs, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the crash came before it was made
	}
	if err != nil {
		return err
	}
	batches := readBatches(content)
	if batches.resumes(content) {
		return fmt.Errorf("%s at offset %d: %w", path, batches.end, errDamaged)
	}
	if err := wipe(l.fs, path, content, batches.end); err != nil {
		return err
	}
	if batches.index == 0 {
		return nil
	}
	return l.meta.CommitState(sealed(state, batches, l.clock.Now))
}

func readWhole(fs vfs.FS, path string) ([]byte, error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return b, nil
}

// wipe fills what is behind end with zeros, if it is anything else.
func wipe(fs vfs.FS, path string, content []byte, end int) error {
	garbage := bytes.TrimRight(content[end:], "\x00")
	if len(garbage) == 0 {
		return nil
	}
	f, err := fs.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(make([]byte, len(garbage)), int64(end))
	if err == nil {
		err = f.SyncData()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("wiping the unfinished end of %s: %w", path, err)
	}
	return nil
}

// batches are the whole batches at the beginning of a segment.
type batches struct {
	end     int // offset behind the last
	entries int
	index   int // offset of the index array in the last one, or 0
}

func readBatches(b []byte) batches {
	var all batches
	for {
		one, ok := readBatch(b, all.end)
		if !ok {
			return all
		}
		all.end, all.index = one.end, one.index
		all.entries += one.entries
	}
}

// resumes reports whether a whole batch begins somewhere behind the end. The
// rest of an unfinished one is none: a checksum covers a batch from its start.
func (s batches) resumes(b []byte) bool {
	for at := max(s.end, segmentHeaderLen); at+frameHeaderLen <= len(b); at += frameAlign {
		if b[at] != segment.FrameEntry || b[at+1]|b[at+2]|b[at+3] != 0 {
			continue
		}
		if _, ok := readBatch(b, at); ok {
			return true
		}
	}
	return false
}

// readBatch reads the frames from offset start up to and with a commit frame.
// ok says that there is at least one entry and that the checksum is right.
func readBatch(b []byte, start int) (one batches, ok bool) {
	at := start
	if at == 0 {
		at = segmentHeaderLen // the first batch's checksum covers the header
	}
	for at+frameHeaderLen <= len(b) {
		kind, n := b[at], binary.LittleEndian.Uint32(b[at+4:])
		if b[at+1]|b[at+2]|b[at+3] != 0 {
			return one, false
		}
		switch kind {
		case segment.FrameCommit:
			one.end = at + frameHeaderLen
			return one, one.entries > 0 && crc32.Checksum(b[start:at], castagnoli) == n
		case segment.FrameIndex:
			one.index = at + frameHeaderLen
		case segment.FrameEntry:
			one.entries++
		default:
			return one, false
		}
		if n > segment.MaxEntrySize {
			return one, false
		}
		at += frameHeaderLen + int(n+frameAlign-1)/frameAlign*frameAlign
	}
	return one, false
}
