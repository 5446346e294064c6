package server

import (
	"context"
	"io"
	"net/http"
	"os"

	"github.com/cofferhq/coffer/internal/backup"
	"github.com/cofferhq/coffer/internal/seal"
	"github.com/cofferhq/coffer/internal/snapshot"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/raft"
	"github.com/cofferhq/coffer/internal/version"
)

// snapshotAD binds what is encrypted for a snapshot to that purpose.
func snapshotAD() []byte { return []byte("coffer snapshot sums") }

// newSnapshots makes the noun of snapshots, nil on storage that has none.
func (s *Server) newSnapshots() *snapshot.Service {
	if s.raft == nil {
		return nil
	}
	return snapshot.New(snapshot.Config{
		Clock: s.clock, Log: s.log, Version: version.Reported(), Scratch: s.config.Storage.Raft.Path,
		ClusterID: func() string {
			id, err := s.ceremony.ClusterID(context.Background()) // reads this node's copy
			if err != nil {
				return ""
			}
			return id
		},
		Copy: s.copyState,
		Rows: func(r io.Reader, row func(store.Entry) error) error {
			_, err := raft.ReadBackup(r, row)
			return err
		},
		Replace: s.raft.Restore,
		Leads:   func() bool { return s.raft.Leader().Self },
		Foundation: func() (func(store.Entry), func(context.Context, bool) error) {
			f := &seal.Foundation{}
			return f.Add, func(ctx context.Context, foreign bool) error { return s.ceremony.CheckFoundation(ctx, f, foreign) }
		},
		Seal: func(ctx context.Context, plain []byte) ([]byte, error) {
			return s.ceremony.Wrap(ctx, plain, snapshotAD())
		},
		Opened: func(ctx context.Context, sealed []byte) ([]byte, error) {
			return s.ceremony.Unwrap(ctx, sealed, snapshotAD())
		},
		Restored: func(context.Context, bool) { s.cluster.Store(nil) },
	})
}

// openBackups opens the noun of scheduled snapshots, on storage that has them.
func (h *house) openBackups(ctx context.Context) (err error) {
	s := h.s
	if s.raft == nil {
		return nil
	}
	h.backups, err = backup.New(ctx, backup.Config{
		Store: h.barrier, Clock: s.clock, Log: h.log, Scratch: s.config.Storage.Raft.Path, Save: s.newSnapshots().Save,
		Client: &http.Client{Transport: http.DefaultTransport}, Getenv: os.Getenv,
	})
	return err
}

// copyState takes a copy of the state for a snapshot.
func (s *Server) copyState(ctx context.Context) (*snapshot.Copy, error) {
	b, err := s.raft.Backup(ctx)
	if err != nil {
		return nil, err
	}
	return &snapshot.Copy{
		Index: b.LogIndex, Term: b.Term, Commit: b.Index, Size: b.Size, Close: b.Close,
		Write: func(w io.Writer) error { _, err := b.WriteTo(w); return err },
	}, nil
}
