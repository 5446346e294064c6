package raft_test

import (
	"io"
	"sort"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/raft"
	"github.com/cofferhq/coffer/internal/store/storetest"
)

// crashed returns the disk of a node that has counted to n at row(0), one
// commit after the other, and then lost its power, and the path of its newest
// log file.
func crashed(t *testing.T, n int) (*vfs.MemFS, string, raft.Config) {
	t.Helper()
	disk := vfs.NewCrashableMem()
	config := small("/data")
	config.FS = disk
	config.SegmentBytes = 256 << 10
	s := open(t, config)
	for range n {
		if _, err := increment(t, s, row(0)); err != nil {
			t.Fatalf("Update: %v", err)
		}
	}
	after := disk.CrashClone(vfs.CrashCloneCfg{})
	names, err := after.List("/data/log")
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(names)
	newest := ""
	for _, name := range names {
		if strings.HasSuffix(name, ".wal") {
			newest = "/data/log/" + name
		}
	}
	return after, newest, config
}

func content(t *testing.T, disk vfs.FS, path string) []byte {
	t.Helper()
	f, err := disk.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// with returns a copy of the disk where path has another content.
func with(t *testing.T, disk *vfs.MemFS, path string, b []byte) *vfs.MemFS {
	t.Helper()
	changed := disk.CrashClone(vfs.CrashCloneCfg{})
	f, err := changed.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(append([]byte(nil), b...)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return changed
}

// commits returns the offsets behind each whole batch of a segment, as the
// sizes at which a crash between two writes would have left it.
func commits(b []byte) []int {
	ends := []int{}
	for size := 0; ; {
		end, ok := raft.NextBatch(b, size)
		if !ok {
			return ends
		}
		ends = append(ends, end)
		size = end
	}
}

// TestTornTail cuts the newest log file at every offset in the last commits,
// and at some before. Up to the last whole commit everything must be there.
func TestTornTail(t *testing.T) {
	disk, newest, config := crashed(t, 30)
	whole := content(t, disk, newest)
	ends := commits(whole)
	if len(ends) < 30 {
		t.Fatalf("the log has %d batches, want at least 30", len(ends))
	}
	config.FS = disk.CrashClone(vfs.CrashCloneCfg{})
	full := open(t, config)
	last := counter(t, full, row(0))
	_ = full.Close()
	if last != 30 {
		t.Fatalf("counter is %d without damage, want 30", last)
	}

	from := ends[len(ends)-4]
	for cut := 0; cut <= ends[len(ends)-1]; cut++ {
		if cut < from && cut%97 != 0 {
			continue
		}
		kept := 0
		for kept < len(ends) && ends[kept] <= cut {
			kept++
		}
		want := max(0, 30-(len(ends)-kept))
		for _, garbage := range []bool{false, true} {
			b := append([]byte(nil), whole[:cut]...)
			if garbage {
				b = append(b, strings.Repeat("\xa5", 64)...)
			}
			config.FS = with(t, disk, newest, b)
			s, err := raft.Open(config)
			if kept == 0 { // not even who the members are is left
				if err == nil || !strings.Contains(err.Error(), "/data/log") {
					t.Errorf("cut at %d: Open: %v, want an error that names the log", cut, err)
				}
				continue
			}
			if err != nil {
				t.Fatalf("cut at %d of %d (garbage %t): Open: %v", cut, len(whole), garbage, err)
			}
			if got := counter(t, s, row(0)); got != uint64(want) {
				t.Errorf("cut at %d of %d (garbage %t): counter is %d, want %d", cut, len(whole), garbage, got, want)
			}
			if _, err := increment(t, s, row(0)); err != nil {
				t.Errorf("cut at %d: Update: %v", cut, err)
			}
			if err := s.Close(); err != nil {
				t.Errorf("cut at %d: Close: %v", cut, err)
			}
		}
	}
}

// TestBitRotInTheLog flips single bits before the last commit. Each must be
// noticed, and the file named.
func TestBitRotInTheLog(t *testing.T) {
	disk, newest, config := crashed(t, 30)
	whole := content(t, disk, newest)
	ends := commits(whole)
	last := ends[len(ends)-2] // the last batch cannot be told from a torn one
	for at := 0; at < last; at += 7 {
		b := append([]byte(nil), whole...)
		b[at] ^= 1 << (at % 8)
		config.FS = with(t, disk, newest, b)
		s, err := raft.Open(config)
		if err == nil {
			t.Errorf("bit flipped at %d: opened, and the counter is %d", at, counter(t, s, row(0)))
			_ = s.Close()
			continue
		}
		if !strings.Contains(err.Error(), newest) {
			t.Errorf("bit flipped at %d: the error does not name the file: %v", at, err)
		}
	}
}

// TestLostLog takes away log files that the state has applied.
func TestLostLog(t *testing.T) {
	disk := vfs.NewCrashableMem()
	config := small("/data")
	config.FS = disk
	s := open(t, config)
	if _, err := s.Update(t.Context(), func(txn store.Txn) error { return txn.Put(row(1), nil) }); err != nil {
		t.Fatal(err)
	}
	if err := raft.FlushState(s); err != nil {
		t.Fatal(err)
	}
	after := disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 0})
	names, err := after.List("/data/log")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".wal") {
			if err := after.Remove("/data/log/" + name); err != nil {
				t.Fatal(err)
			}
		}
	}
	config.FS = after
	if lost, err := raft.Open(config); err == nil {
		_ = lost.Close()
		t.Error("a node that has lost its log was opened")
	} else if !strings.Contains(err.Error(), "/data/log") {
		t.Errorf("the error does not name the directory: %v", err)
	}
}

// TestBitRotInSmallFiles flips bits in the files that are replaced whole.
func TestBitRotInSmallFiles(t *testing.T) {
	disk, _, config := crashed(t, 3)
	for _, path := range []string{"/data/log/meta", "/data/node-id"} {
		whole := content(t, disk, path)
		for at := range whole {
			b := append([]byte(nil), whole...)
			b[at] ^= 1 << (at % 8)
			config.FS = with(t, disk, path, b)
			s, err := raft.Open(config)
			if err == nil {
				t.Errorf("%s: a bit flipped at %d was not noticed", path, at)
				_ = s.Close()
			} else if !strings.Contains(err.Error(), path) {
				t.Errorf("%s: the error does not name the file: %v", path, err)
			}
		}
	}
}

// TestBitRotInTheState flips bits in Pebble's tables. Wrong data must never be
// read: the directory is refused, or reading it fails, or the bit was not used.
func TestBitRotInTheState(t *testing.T) {
	disk := vfs.NewCrashableMem()
	config := small("/data")
	config.FS = disk
	s := open(t, config)
	load(t, s, 300)
	want := storetest.Digest(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := disk.List("/data/state")
	if err != nil {
		t.Fatal(err)
	}
	noticed := 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		path := "/data/state/" + name
		whole := content(t, disk, path)
		for at := 0; at < len(whole); at += 211 {
			b := append([]byte(nil), whole...)
			b[at] ^= 1 << (at % 8)
			config.FS = with(t, disk, path, b)
			s, err := raft.Open(config)
			if err != nil {
				noticed++
				continue
			}
			got := storetest.Digest(s)
			if strings.HasPrefix(got, "unreadable") {
				noticed++
			} else if got != want {
				t.Errorf("%s: a bit flipped at %d changes what is read", path, at)
			}
			_ = s.Close()
		}
	}
	if noticed == 0 {
		t.Error("no damage was noticed at all")
	}
}
