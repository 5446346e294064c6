package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"sync"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Copy is a consistent copy of the state that is about to be written.
type Copy struct {
	Index, Term uint64 // of the newest log entry in it
	Commit      store.Index
	Size        int64
	Write       func(w io.Writer) error
	Close       func()
}

// Config is what a [Service] needs.
type Config struct {
	Clock clock.Clock
	Log   *slog.Logger
	// Version is that of this server.
	Version string
	// Scratch is the folder in which a snapshot lies while it is checked.
	Scratch string
	// ClusterID returns the cluster's id.
	ClusterID func() string
	// Copy takes a copy of the state.
	Copy func(ctx context.Context) (*Copy, error)
	// Rows calls row with every row of a copy, and gives an error if the copy is
	// not whole.
	Rows func(r io.Reader, row func(store.Entry) error) error
	// Replace makes a copy of that size the cluster's state.
	Replace func(ctx context.Context, size int64, r io.Reader) error
	// Leads reports whether this node may call Replace.
	Leads func() bool
	// Foundation returns what rows are shown to, and the check of what was seen.
	Foundation func() (add func(store.Entry), check func(ctx context.Context, foreign bool) error)
	// Seal encrypts with the cluster's unseal key, Opened decrypts.
	Seal   func(ctx context.Context, plain []byte) ([]byte, error)
	Opened func(ctx context.Context, sealed []byte) ([]byte, error)
	// Restored is called when another state is in force.
	Restored func(ctx context.Context, foreign bool)
}

// Service takes and restores snapshots.
type Service struct {
	Config
	restoring sync.Mutex // one at a time
}

// New returns the noun.
func New(c Config) *Service { return &Service{Config: c} }

// Save writes a whole snapshot.
func (s *Service) Save(ctx context.Context, w io.Writer) error {
	c, err := s.Copy(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	now := s.Clock.Now()
	meta := Meta{
		Version: 1, ID: fmt.Sprintf("%d-%d-%s", c.Term, c.Index, strconv.FormatInt(now.UnixMilli(), 10)),
		Index: c.Index, Term: c.Term, Commit: uint64(c.Commit), Taken: now, Cluster: s.ClusterID(), Server: s.Version, Size: c.Size,
	}
	return writeArchive(w, meta, c.Write, func(sums []byte) ([]byte, error) { return s.Seal(ctx, sums) })
}

var errOthers = fault.New(fault.Invalid, "the snapshot's seal does not open with the unseal keys in use: it is of another cluster, or from before these keys; to restore it nevertheless use snapshot-force, and unseal with the keys of that time")

// Restore checks a whole snapshot and makes it the cluster's state. With foreign
// it may be of another cluster, or from before other unseal keys.
func (s *Service) Restore(ctx context.Context, r io.Reader, foreign bool) error {
	if !s.Leads() {
		return fault.New(fault.Standby, "a snapshot is restored by the leader: send it there (see coffer operator members)")
	}
	if !s.restoring.TryLock() {
		return fault.New(fault.Conflict, "a snapshot is being restored already")
	}
	defer s.restoring.Unlock()
	f, err := os.CreateTemp(s.Scratch, "restore-*.tmp")
	if err != nil {
		return fmt.Errorf("making room for the snapshot: %w", err)
	}
	defer func() { _ = errors.Join(f.Close(), os.Remove(f.Name())) }()
	a, err := Read(r, spool{f})
	if err != nil {
		return err
	}
	if err := s.check(ctx, f, a, foreign); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	s.Log.Warn("restoring a snapshot", "id", a.Meta.ID, "cluster", a.Meta.Cluster, "taken", a.Meta.Taken, "forced", foreign)
	// Half of it must not be given up because a client has gone.
	ctx = context.WithoutCancel(ctx)
	if err := s.Replace(ctx, a.Meta.Size, f); err != nil {
		return err
	}
	s.Log.Warn("restored a snapshot", "id", a.Meta.ID)
	s.Restored(ctx, foreign)
	return nil
}

// check reads the state from its beginning to its end, and makes sure that it
// can be unsealed afterwards.
func (s *Service) check(ctx context.Context, f *os.File, a *Archive, foreign bool) error {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	add, check := s.Foundation()
	if err := s.Rows(f, func(e store.Entry) error { add(e); return nil }); err != nil {
		return refuse(errSums, err)
	}
	if err := check(ctx, foreign); err != nil || foreign {
		return err
	}
	sums, err := s.Opened(ctx, a.Sealed)
	if err != nil || !bytes.Equal(sums, a.Sums) {
		return refuse(errOthers, err)
	}
	return nil
}

// spool tells failures to write from failures to read.
type spool struct{ f *os.File }

// Write implements [io.Writer].
func (s spool) Write(p []byte) (int, error) {
	n, err := s.f.Write(p)
	if err != nil {
		err = writeFailed{err}
	}
	return n, err
}
