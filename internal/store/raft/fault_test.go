package raft_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/raft"
)

// trouble is a disk whose operations a test can make fail.
type trouble struct {
	disk *vfs.MemFS
	rule atomic.Pointer[func(errorfs.Op) error]
}

func newTrouble() *trouble { return &trouble{disk: vfs.NewCrashableMem()} }

func (d *trouble) set(rule func(errorfs.Op) error) { d.rule.Store(&rule) }
func (d *trouble) clear()                          { d.rule.Store(nil) }

func (d *trouble) fs() vfs.FS {
	return errorfs.Wrap(d.disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if rule := d.rule.Load(); rule != nil {
			return (*rule)(op)
		}
		return nil
	}))
}

func (d *trouble) config() raft.Config {
	config := small("/data")
	config.FS = d.fs()
	return config
}

// once lets an error happen one time.
func once(err error) func() error {
	var used atomic.Bool
	return func() error {
		if used.CompareAndSwap(false, true) {
			return err
		}
		return nil
	}
}

func wantKind(t *testing.T, what string, err error, kind fault.Kind) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%s: error is %v (%v), want kind %v", what, err, fault.KindOf(err), kind)
	}
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("in vain: %s", what)
		}
	}
}

// TestFailedWriteStopsTheNode makes one write of the log fail, and all others
// succeed. Nothing may be acknowledged or read after it, and what was
// acknowledged before must be there on the disk.
func TestFailedWriteStopsTheNode(t *testing.T) {
	tests := map[string]func(errorfs.Op) bool{
		"fsync": func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileSyncData },
		"write": func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileWriteAt },
	}
	for name, applies := range tests {
		t.Run(name, func(t *testing.T) {
			d := newTrouble()
			s := open(t, d.config())
			for range 10 {
				if _, err := increment(t, s, row(0)); err != nil {
					t.Fatalf("Update: %v", err)
				}
			}
			fail := once(syscall.EIO)
			d.set(func(op errorfs.Op) error {
				if applies(op) && strings.HasSuffix(op.Path, ".wal") {
					return fail()
				}
				return nil
			})
			for i := range 3 {
				_, err := increment(t, s, row(0))
				wantKind(t, fmt.Sprint("update ", i), err, fault.Unavailable)
				if strings.Contains(fault.Message(err), "/data") {
					t.Errorf("the client is told a path: %q", fault.Message(err))
				}
				wantKind(t, "view", s.View(t.Context(), func(store.Reader) error { return nil }), fault.Unavailable)
			}
			if s.Health().Err == nil {
				t.Error("Health does not know")
			}
			_ = s.Close()

			config := small("/data")
			config.FS = d.disk.CrashClone(vfs.CrashCloneCfg{})
			if got := counter(t, open(t, config), row(0)); got < 10 {
				t.Errorf("counter is %d after a restart, but 10 was acknowledged", got)
			}
		})
	}
}

// TestFailedFlushStopsTheNode lets the state's files fail rather than the log.
func TestFailedFlushStopsTheNode(t *testing.T) {
	for _, file := range []string{".sst", "MANIFEST"} {
		t.Run(file, func(t *testing.T) {
			d := newTrouble()
			s := open(t, d.config())
			load(t, s, 100)
			d.set(func(op errorfs.Op) error {
				sync := op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData
				if sync && strings.Contains(op.Path, file) {
					return syscall.EIO
				}
				return nil
			})
			go func() { _ = raft.FlushState(s) }() // never returns if Pebble gives up
			eventually(t, "the failure is noticed", func() bool { return s.Health().Err != nil })
			_, err := increment(t, s, row(0))
			wantKind(t, "update", err, fault.Unavailable)
			wantKind(t, "view", s.View(t.Context(), func(store.Reader) error { return nil }), fault.Unavailable)
		})
	}
}

// TestHangingDisk blocks an fsync. Callers may give up, Health tells how long
// it has been, and all is well when the disk comes back.
func TestHangingDisk(t *testing.T) {
	d := newTrouble()
	config := d.config()
	clk := clock.NewFake(time.Time{})
	config.Clock = clk
	s := open(t, config)
	hang := make(chan struct{})
	d.set(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, ".wal") {
			<-hang
		}
		return nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, err := s.Update(ctx, func(txn store.Txn) error { return txn.Put(row(1), []byte("x")) })
		result <- err
	}()
	eventually(t, "the disk hangs", func() bool {
		clk.Advance(time.Second)
		return s.Health().Stalled > 3*time.Second
	})
	if err := s.View(t.Context(), func(store.Reader) error { return nil }); err != nil {
		t.Errorf("reading while the disk hangs: %v", err)
	}
	cancel()
	wantKind(t, "update", <-result, fault.Unavailable)
	close(hang)
	d.clear()
	if _, err := increment(t, s, row(2)); err != nil {
		t.Errorf("Update after the disk has come back: %v", err)
	}
	if got := s.Health(); got.Stalled != 0 || got.Err != nil || !got.Leader {
		t.Errorf("Health is %+v", got)
	}
}

func noSpace(op errorfs.Op) error {
	switch op.Kind {
	case errorfs.OpCreate, errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpFilePreallocate, errorfs.OpReuseForWrite:
		return syscall.ENOSPC
	}
	return nil
}

// TestWriteMeetsAFullDisk has a write fail for want of room. The reserve is
// given up and the write succeeds; growth is refused from then on, deletions
// are not; and all works again once there is room.
func TestWriteMeetsAFullDisk(t *testing.T) {
	d := newTrouble()
	clk := clock.NewFake(time.Time{})
	config := d.config()
	config.Clock, config.ReserveBytes = clk, 1<<20
	s := open(t, config)
	load(t, s, 100)
	if s.Health().Full {
		t.Fatal("the disk counts as full at first")
	}
	d.set(func(op errorfs.Op) error {
		// Full until the reserve is gone; and too full for a new one.
		if _, err := d.disk.Stat("/data/reserve"); err == nil || strings.HasSuffix(op.Path, "reserve") {
			return noSpace(op)
		}
		return nil
	})
	if _, err := increment(t, s, row(1000)); err != nil {
		t.Fatalf("the write that meets the full disk: %v", err)
	}
	for range 3 {
		_, err := increment(t, s, row(1001))
		wantKind(t, "growth", err, fault.Full)
		_, err = s.Update(t.Context(), func(txn store.Txn) error { return txn.Put(row(4), make([]byte, 8<<10)) })
		wantKind(t, "growth of a row", err, fault.Full)
		if _, err := s.Update(t.Context(), func(txn store.Txn) error {
			return errors.Join(txn.Delete(row(1)), txn.Put(row(2), []byte("smaller")))
		}); err != nil {
			t.Errorf("deletion on a full disk: %v", err)
		}
		if err := s.View(t.Context(), func(r store.Reader) error { _, err := r.Get(row(3)); return err }); err != nil {
			t.Errorf("reading on a full disk: %v", err)
		}
		clk.Advance(time.Second)
	}
	if !s.Health().Full {
		t.Error("Health does not know")
	}
	d.clear()
	clk.Advance(time.Second)
	if _, err := increment(t, s, row(1001)); err != nil {
		t.Errorf("Update once there is room again: %v", err)
	}
	if _, err := d.disk.Stat("/data/reserve"); err != nil {
		t.Errorf("the reserve was not made anew: %v", err)
	}
}

// TestLowSpaceIsForeseen refuses growth before any write fails.
func TestLowSpaceIsForeseen(t *testing.T) {
	d := newTrouble()
	d.disk.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 1 << 30})
	clk := clock.NewFake(time.Time{})
	config := d.config()
	config.Clock, config.ReserveBytes = clk, 1<<20
	s := open(t, config)
	load(t, s, 100)
	for i, step := range []struct {
		avail uint64
		full  bool
	}{{1 << 29, false}, {1 << 19, true}, {1 << 10, true}, {1 << 21, false}, {1, true}, {1 << 30, false}} {
		d.disk.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: step.avail})
		clk.Advance(time.Second)
		_, err := increment(t, s, row(1000+i))
		if step.full {
			wantKind(t, fmt.Sprintf("growth with %d bytes free", step.avail), err, fault.Full)
		} else if err != nil {
			t.Errorf("growth with %d bytes free: %v", step.avail, err)
		}
		if _, err := increment(t, s, row(0)); err != nil {
			t.Errorf("change of a row with %d bytes free: %v", step.avail, err)
		}
		if _, err := s.Update(t.Context(), func(txn store.Txn) error { return txn.Delete(row(5)) }); err != nil {
			t.Errorf("deletion with %d bytes free: %v", step.avail, err)
		}
	}
}

// TestNoRoomAtAll exhausts the reserve as well: the node stops, says what to
// do, and has everything after a restart with room.
func TestNoRoomAtAll(t *testing.T) {
	d := newTrouble()
	config := d.config()
	config.ReserveBytes = 1 << 20
	s := open(t, config)
	acked := uint64(0)
	d.set(noSpace)
	for range 3 {
		n, err := increment(t, s, row(0))
		if err == nil {
			acked = n
			continue
		}
		if !errors.Is(err, fault.Unavailable) && !errors.Is(err, fault.Full) {
			t.Errorf("update without any room: %v", err)
		}
	}
	_ = s.Close()
	d.clear()
	config = small("/data")
	config.FS = d.disk.CrashClone(vfs.CrashCloneCfg{})
	again := open(t, config)
	if got := counter(t, again, row(0)); got < acked {
		t.Errorf("counter is %d, but %d was acknowledged", got, acked)
	}
	if _, err := increment(t, again, row(0)); err != nil {
		t.Errorf("Update after the restart: %v", err)
	}
}

// TestEveryWriteFailsOnce lets write-like operations fail in turn, from opening
// an empty directory on; set COFFER_STORE_EXHAUSTIVE for every single one. Whatever happens, nothing acknowledged is
// lost and the directory can be opened again.
func TestEveryWriteFailsOnce(t *testing.T) {
	step := 5
	if os.Getenv("COFFER_STORE_EXHAUSTIVE") != "" {
		step = 1
	}
	for first, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for n := first; ; n += step {
			d := newTrouble()
			var seen atomic.Int64
			d.set(func(op errorfs.Op) error {
				if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose && op.Kind != errorfs.OpLock &&
					seen.Add(1) == int64(n)+1 {
					return cause
				}
				return nil
			})
			config := d.config()
			config.SegmentBytes = 16 << 10
			config.CompactBytes = 32 << 10
			config.ReserveBytes = 4 << 10
			acked := uint64(0)
			s, err := raft.Open(config)
			if err == nil {
				for range 200 {
					got, err := increment(t, s, row(0))
					if err != nil {
						break
					}
					acked = got
				}
				_ = s.Close()
			}
			d.clear()
			after := small("/data")
			after.FS = d.disk.CrashClone(vfs.CrashCloneCfg{})
			again, err := raft.Open(after)
			if err != nil {
				t.Fatalf("operation %d failed with %v, %d was acknowledged: cannot be opened again: %v", n, cause, acked, err)
			}
			if got := counter(t, again, row(0)); got < acked {
				t.Errorf("operation %d failed with %v: counter is %d, but %d was acknowledged", n, cause, got, acked)
			}
			_ = again.Close()
			if seen.Load() <= int64(n) {
				t.Logf("%v: each %dth of %d operations failed", cause, step, n)
				break
			}
		}
	}
}
