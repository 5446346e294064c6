package raft

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/hashicorp/raft"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Backup is a consistent copy of the state that is about to be streamed.
type Backup struct {
	// Index is the newest commit in it, LogIndex and Term the newest log entry.
	Index          store.Index
	LogIndex, Term uint64
	// Size is the length of the stream, in bytes.
	Size int64

	store *Store
	snap  *snapshot
}

// Backup takes a copy of the state as it is now. It costs next to nothing until
// it is written; it must be closed.
func (s *Store) Backup(ctx context.Context) (*Backup, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	snap, err := s.state.acquire()
	if err != nil {
		return nil, err
	}
	b := &Backup{store: s, snap: snap}
	at, err := readApplied(snap.pebble)
	if err == nil {
		b.Index, b.LogIndex, b.Term = at.commit, at.log, at.term
		b.Size, err = streamSize(snap.pebble)
	}
	if err != nil {
		b.Close()
		return nil, s.readFailed(err)
	}
	return b, nil
}

// WriteTo writes the whole stream.
func (b *Backup) WriteTo(w io.Writer) (int64, error) {
	if err := writeStream(w, b.snap.pebble, forRestore); err != nil {
		return 0, err
	}
	return b.Size, nil
}

// Close gives the copy back.
func (b *Backup) Close() { b.store.state.release(b.snap) }

// ReadBackup calls row with every row of a backup, and returns an error that is
// not nil unless the whole stream is what [Backup.WriteTo] wrote. The value is
// the caller's to keep.
func ReadBackup(r io.Reader, row func(store.Entry) error) (store.Index, error) {
	s, err := newStreamReader(r)
	if err != nil {
		return 0, err
	}
	for {
		key, stored, err := s.next()
		switch {
		case err == io.EOF: //nolint:errorlint // a wrapped one is an early end
			return s.commit, nil
		case err != nil:
			return 0, err
		}
		if err := row(store.Entry{Key: key, Value: stored[versionLen:]}); err != nil {
			return 0, err
		}
	}
}

// Restore replaces the rows of the whole cluster by those of a backup, which
// the caller has read to its end before: what is not a whole backup is refused
// here, too, and changes nothing. The members stay as they are. It must be
// called on the leader, and returns once this node has the new state; the
// others follow. Watchers get a commit with Reset.
func (s *Store) Restore(ctx context.Context, size int64, from io.Reader) error {
	if err := s.mayWrite(ctx); err != nil {
		return err
	}
	purpose := make([]byte, 1)
	if _, err := io.ReadFull(from, purpose); err != nil {
		return fault.Wrap(fault.Invalid, err, "the snapshot is empty")
	}
	stream := io.MultiReader(bytes.NewReader([]byte{forRestore}), from)
	meta := &raft.SnapshotMeta{Version: raft.SnapshotVersionMax, Size: size}
	done := make(chan error, 1)
	go func() { done <- s.raft.Restore(meta, stream, 0) }()
	select {
	case err := <-done:
		if errors.Is(err, raft.ErrNotLeader) {
			return fault.Wrap(fault.Standby, err, notLeader)
		}
		if err != nil {
			return fault.Wrap(fault.Unavailable, err, "the snapshot was not restored; see the server log")
		}
		return nil
	case <-s.broken:
		return s.usable()
	}
}

// Digest waits until the state is exactly that of a commit and returns its
// SHA-256: equal on every node. A state that is beyond it gives an error.
func (s *Store) Digest(ctx context.Context, index store.Index) ([sha256.Size]byte, error) {
	var sum [sha256.Size]byte
	if err := s.WaitApplied(ctx, index); err != nil {
		return sum, err
	}
	snap, err := s.state.acquire()
	if err != nil {
		return sum, err
	}
	defer s.state.release(snap)
	if snap.index != index {
		return sum, fmt.Errorf("the state is at commit %d already, beyond %d", snap.index, index)
	}
	h := sha256.New()
	if err := writeStream(h, snap.pebble, forReplica); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}
