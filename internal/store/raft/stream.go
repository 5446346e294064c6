package raft

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cofferhq/coffer/internal/store"
)

// A state on its way to another node or into a backup:
//
//	purpose(1) magic(8) commit(8) floor(8) { length(uvarint) key length(uvarint) row } 0 rows(8) sha256(32)
//
// Numbers of 8 bytes are big-endian. Keys are in strictly ascending order and
// as the callers know them, rows are as they are stored: version and value. No
// key is empty, so the length zero ends the rows. The checksum covers
// everything from the magic on. The purpose is outside of it: a backup is
// written once and read for another purpose.
const (
	streamMagic = "CofferS1"
	streamHead  = 1 + len(streamMagic) + 8 + 8
	streamTail  = 1 + 8 + sha256.Size
)

// What a stream is for.
const (
	// forReplica: the state is to be the receiver's, commit numbers included.
	forReplica = 'r'
	// forRestore: the rows are to be the cluster's, as a new commit.
	forRestore = 'b'
)

var errStream = errors.New("the copy of the state is damaged or not complete")

// streamSize returns how long the stream of r will be.
func streamSize(r pebble.Reader) (int64, error) {
	size := int64(streamHead + streamTail)
	var scratch [binary.MaxVarintLen64]byte
	it, err := r.NewIter(bounds("", ""))
	if err != nil {
		return 0, err
	}
	for ok := it.First(); ok; ok = it.Next() {
		key, row := len(it.Key())-1, len(it.Value())
		size += int64(binary.PutUvarint(scratch[:], uint64(key)) + key)
		size += int64(binary.PutUvarint(scratch[:], uint64(row)) + row)
	}
	return size, errors.Join(it.Error(), it.Close())
}

// writeStream writes the state that r reads.
func writeStream(w io.Writer, r pebble.Reader, purpose byte) (err error) {
	at, err := readApplied(r)
	if err != nil {
		return err
	}
	sum := sha256.New()
	b := bufio.NewWriterSize(w, 64<<10)
	e := encoder{w: io.MultiWriter(b, sum)}
	if err := b.WriteByte(purpose); err != nil {
		return err
	}
	e.write([]byte(streamMagic))
	e.uint64(uint64(at.commit))
	e.uint64(uint64(at.floor))
	it, err := r.NewIter(bounds("", ""))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	rows := uint64(0)
	for ok := it.First(); ok && e.err == nil; ok = it.Next() {
		e.bytes(it.Key()[1:])
		e.bytes(it.Value())
		rows++
	}
	if err := it.Error(); err != nil {
		return err
	}
	e.write([]byte{0})
	e.uint64(rows)
	if e.err != nil {
		return e.err
	}
	if _, err := b.Write(sum.Sum(nil)); err != nil {
		return err
	}
	return b.Flush()
}

// encoder writes until the first error.
type encoder struct {
	w       io.Writer
	err     error
	scratch [binary.MaxVarintLen64]byte
}

func (e *encoder) write(p []byte) {
	if e.err == nil {
		_, e.err = e.w.Write(p)
	}
}

func (e *encoder) uint64(n uint64) { e.write(binary.BigEndian.AppendUint64(e.scratch[:0], n)) }

func (e *encoder) bytes(p []byte) {
	e.write(binary.AppendUvarint(e.scratch[:0], uint64(len(p))))
	e.write(p)
}

// streamReader reads a stream, which may come from a stranger.
type streamReader struct {
	from    *bufio.Reader
	sum     hash.Hash
	purpose byte
	commit  store.Index
	floor   store.Index
	last    []byte
	rows    uint64
}

// newStreamReader reads the head.
func newStreamReader(r io.Reader) (*streamReader, error) {
	s := &streamReader{from: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
	var head [streamHead]byte
	if _, err := io.ReadFull(s.from, head[:]); err != nil {
		return nil, fmt.Errorf("%w: %w", errStream, err)
	}
	s.purpose = head[0]
	rest := head[1:]
	if string(rest[:len(streamMagic)]) != streamMagic {
		return nil, fmt.Errorf("%w: it does not begin as one", errStream)
	}
	s.sum.Write(rest)
	rest = rest[len(streamMagic):]
	s.commit, s.floor = store.Index(binary.BigEndian.Uint64(rest)), store.Index(binary.BigEndian.Uint64(rest[8:]))
	return s, nil
}

// next returns the next row, or io.EOF once the whole stream was read and is
// what was written.
func (s *streamReader) next() (key store.Key, row []byte, err error) {
	n, err := s.length(store.MaxKey)
	if err != nil {
		return "", nil, err
	}
	if n == 0 {
		return "", nil, s.finish()
	}
	k, err := s.read(n)
	if err != nil {
		return "", nil, err
	}
	if bytes.Compare(k, s.last) <= 0 {
		return "", nil, fmt.Errorf("%w: rows out of order", errStream)
	}
	s.last = k
	if n, err = s.length(versionLen + store.MaxValue); err != nil {
		return "", nil, err
	}
	if n < versionLen {
		return "", nil, fmt.Errorf("%w: row without version", errStream)
	}
	if row, err = s.read(n); err != nil {
		return "", nil, err
	}
	s.rows++
	return store.Key(k), row, nil
}

func (s *streamReader) length(most int) (int, error) {
	n, err := binary.ReadUvarint(s.from)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errStream, err)
	}
	if n > uint64(most) {
		return 0, fmt.Errorf("%w: a length beyond the limits", errStream)
	}
	s.sum.Write(binary.AppendUvarint(nil, n))
	return int(n), nil
}

func (s *streamReader) read(n int) ([]byte, error) {
	b := make([]byte, n)
	if _, err := io.ReadFull(s.from, b); err != nil {
		return nil, fmt.Errorf("%w: %w", errStream, err)
	}
	s.sum.Write(b)
	return b, nil
}

// finish checks the tail and returns io.EOF if all is well.
func (s *streamReader) finish() error {
	rows, err := s.read(8)
	if err != nil {
		return err
	}
	want := s.sum.Sum(nil)
	var sum [sha256.Size]byte
	if _, err := io.ReadFull(s.from, sum[:]); err != nil {
		return fmt.Errorf("%w: %w", errStream, err)
	}
	if binary.BigEndian.Uint64(rows) != s.rows || !bytes.Equal(sum[:], want) {
		return fmt.Errorf("%w: the checksum is wrong", errStream)
	}
	if _, err := s.from.ReadByte(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: there is more behind its end", errStream)
	}
	return io.EOF
}
