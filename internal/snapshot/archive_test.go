package snapshot_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/snapshot"
	"github.com/cofferhq/coffer/internal/store"
)

// cluster is what a Service is told of its cluster, and what it does to it.
type cluster struct {
	state    string
	key      byte // of its seal
	fits     error
	standby  bool
	replaced string
	fails    error // of writing the state
}

func (c *cluster) service(t testing.TB) *snapshot.Service {
	t.Helper()
	return snapshot.New(snapshot.Config{
		Clock: clock.NewFake(time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)), Log: slog.New(slog.DiscardHandler), Version: "9", Scratch: t.TempDir(),
		ClusterID: func() string { return "c1" },
		Copy: func(context.Context) (*snapshot.Copy, error) {
			return &snapshot.Copy{Index: 7, Term: 2, Commit: 5, Size: int64(len(c.state)), Close: func() {}, Write: func(w io.Writer) error {
				if c.fails != nil {
					_, _ = io.WriteString(w, c.state[:1]) // half of it
					return c.fails
				}
				_, err := io.WriteString(w, c.state)
				return err
			}}, nil
		},
		Rows: func(r io.Reader, row func(store.Entry) error) error {
			b, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			return row(store.Entry{Key: "k", Value: b})
		},
		Replace: func(_ context.Context, size int64, r io.Reader) error {
			b, err := io.ReadAll(r)
			if int64(len(b)) != size {
				t.Errorf("the state has %d bytes, announced are %d", len(b), size)
			}
			c.replaced = string(b)
			return err
		},
		Leads: func() bool { return !c.standby },
		Foundation: func() (func(store.Entry), func(context.Context, bool) error) {
			seen := ""
			return func(e store.Entry) { seen = string(e.Value) }, func(_ context.Context, foreign bool) error {
				if seen == "" {
					t.Error("the rows were not looked at")
				}
				if foreign {
					return nil
				}
				return c.fits
			}
		},
		Seal: func(_ context.Context, plain []byte) ([]byte, error) {
			return append([]byte{c.key}, plain...), nil
		},
		Opened: func(_ context.Context, sealed []byte) ([]byte, error) {
			if len(sealed) == 0 || sealed[0] != c.key {
				return nil, errors.New("another key")
			}
			return sealed[1:], nil
		},
		Restored: func(context.Context, bool) {},
	})
}

func saved(t testing.TB, c *cluster) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := c.service(t).Save(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRestoreChecksBeforeItChanges(t *testing.T) {
	whole := saved(t, &cluster{state: "the state", key: 1})
	misfit := fault.New(fault.Invalid, "does not fit")
	for name, tt := range map[string]struct {
		cluster cluster
		file    []byte
		foreign bool
		want    error // nil is success
	}{
		"a snapshot of its own":         {cluster{key: 1}, whole, false, nil},
		"under other keys":              {cluster{key: 2}, whole, false, fault.Invalid},
		"under other keys, forced":      {cluster{key: 2}, whole, true, nil},
		"that does not fit":             {cluster{key: 1, fits: misfit}, whole, false, fault.Invalid},
		"that does not fit, forced":     {cluster{key: 1, fits: misfit}, whole, true, nil},
		"on a standby":                  {cluster{key: 1, standby: true}, whole, true, fault.Standby},
		"nothing":                       {cluster{key: 1}, nil, true, fault.Invalid},
		"no archive":                    {cluster{key: 1}, []byte("not a snapshot"), true, fault.Invalid},
		"what was cut off":              {cluster{key: 1}, whole[:len(whole)-20], true, fault.Invalid},
		"what was cut off at the start": {cluster{key: 1}, whole[:15], true, fault.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			c := tt.cluster
			err := c.service(t).Restore(t.Context(), bytes.NewReader(tt.file), tt.foreign)
			if tt.want == nil {
				if err != nil || c.replaced != "the state" {
					t.Errorf("restored %q, %v", c.replaced, err)
				}
				return
			}
			if !errors.Is(err, tt.want) || c.replaced != "" {
				t.Errorf("error is %v (%v), and the state is %q", err, fault.KindOf(err), c.replaced)
			}
		})
	}
}

// TestSaveThatFailsLeavesNoSnapshot has the state break off: what was written
// must not pass for a snapshot.
func TestSaveThatFailsLeavesNoSnapshot(t *testing.T) {
	c := &cluster{state: "the state", key: 1, fails: errors.New("the disk")}
	var b bytes.Buffer
	if err := c.service(t).Save(t.Context(), &b); err == nil {
		t.Error("no error")
	}
	if _, err := snapshot.Read(&b, io.Discard); err == nil {
		t.Error("half of a snapshot was read as a whole one")
	}
}

func FuzzRead(f *testing.F) {
	whole := saved(f, &cluster{state: "the state", key: 1})
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Fuzz(func(t *testing.T, file []byte) {
		var state bytes.Buffer
		a, err := snapshot.Read(bytes.NewReader(file), &state)
		if err == nil && int64(state.Len()) != a.Meta.Size {
			t.Fatalf("%d bytes of state, announced are %d", state.Len(), a.Meta.Size)
		}
	})
}
