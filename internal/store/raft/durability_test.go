package raft_test

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/raft"
	"github.com/cofferhq/coffer/internal/store/storetest"
)

// increment adds one to the counter at k and returns its new value.
func increment(t testing.TB, s *raft.Store, k store.Key) (uint64, error) {
	var n uint64
	_, err := s.Update(t.Context(), func(txn store.Txn) error {
		n = 0
		value, err := txn.Get(k)
		switch {
		case err == nil:
			n = binary.BigEndian.Uint64(value)
		case !errors.Is(err, fault.NotFound):
			return err
		}
		n++
		return txn.Put(k, binary.BigEndian.AppendUint64(nil, n))
	})
	return n, err
}

func counter(t testing.TB, s *raft.Store, k store.Key) uint64 {
	t.Helper()
	var n uint64
	err := s.View(t.Context(), func(r store.Reader) error {
		value, err := r.Get(k)
		if errors.Is(err, fault.NotFound) {
			return nil
		}
		if err == nil {
			n = binary.BigEndian.Uint64(value)
		}
		return err
	})
	if err != nil {
		t.Fatalf("View: %v", err)
	}
	return n
}

func TestReopening(t *testing.T) {
	config := small(t.TempDir())
	config.CompactBytes = 256 << 10
	s := open(t, config)
	load(t, s, 5000)
	for round := range 4 {
		var index store.Index
		for i := range 50 {
			var err error
			if index, err = s.Update(t.Context(), func(txn store.Txn) error {
				return errors.Join(txn.Put(row(round*50+i), []byte("changed")), txn.Delete(row(4000+round*50+i)))
			}); err != nil {
				t.Fatalf("Update: %v", err)
			}
		}
		before, node := storetest.Digest(s), s.Stats().NodeID
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		s = open(t, config)
		if diff := cmp.Diff(before, storetest.Digest(s)); diff != "" {
			t.Fatalf("round %d: the digest has changed (-before +after):\n%s", round, diff)
		}
		if got := s.Stats().Index; got != index {
			t.Errorf("round %d: the last index is %d after reopening, want %d", round, got, index)
		}
		if got := s.Stats().NodeID; got != node {
			t.Errorf("round %d: the node's id has changed from %s to %s", round, node, got)
		}
	}
}

func TestOnlyOneProcessMayOpenADirectory(t *testing.T) {
	config := small(t.TempDir())
	s := open(t, config)
	if second, err := raft.Open(config); err == nil {
		_ = second.Close()
		t.Fatal("a second Open of the same directory succeeded")
	} else if !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("the error does not say what is wrong: %v", err)
	}
	if _, err := increment(t, s, row(1)); err != nil {
		t.Errorf("the first store does not work any more: %v", err)
	}
}

func TestADirectoryBelongsToItsNode(t *testing.T) {
	config := small(t.TempDir())
	config.NodeID = "one"
	_ = open(t, config).Close()
	config.NodeID = "two"
	if s, err := raft.Open(config); err == nil {
		_ = s.Close()
		t.Error("the directory of node one was opened by node two")
	}
}

func TestFilesArePrivateWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	config := small(filepath.Join(t.TempDir(), "data"))
	config.ReserveBytes = 1 << 20
	config.CompactBytes = 128 << 10
	s := open(t, config)
	load(t, s, 20_000) // several segments and flushes
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	_ = open(t, config)
	files := 0
	err := filepath.WalkDir(config.Path, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if d.IsDir() {
			want = 0o700
		}
		files++
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %v, want %v", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil || files < 8 {
		t.Errorf("walked over %d files: %v", files, err)
	}
}

// TestPowerLoss stops the world at random moments of a load, on a file system
// that then forgets what was not synced, or some of it, and opens what is left.
func TestPowerLoss(t *testing.T) {
	disk := vfs.NewCrashableMem()
	config := small("/data")
	config.FS = disk
	config.SegmentBytes = 64 << 10
	config.CompactBytes = 128 << 10
	s := open(t, config)

	const workers = 4
	var acked [workers]atomic.Uint64
	done := make(chan struct{})
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				n, err := increment(t, s, row(w))
				if err != nil {
					t.Errorf("Update: %v", err)
					return
				}
				acked[w].Store(n)
			}
		})
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for crash := range 150 {
		for began := acked[0].Load(); acked[0].Load() < began+uint64(rng.IntN(40)) && !t.Failed(); {
			_, _ = increment(t, s, row(workers)) // passes the time
		}
		var before [workers]uint64
		for w := range workers {
			before[w] = acked[w].Load()
		}
		after := config
		after.FS = disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[crash%3], RNG: rng})
		survivor, err := raft.Open(after)
		if err != nil {
			t.Fatalf("crash %d: Open: %v", crash, err)
		}
		for w := range workers {
			if got := counter(t, survivor, row(w)); got < before[w] {
				t.Errorf("crash %d: counter %d is %d, but %d was acknowledged", crash, w, got, before[w])
			}
		}
		if _, err := increment(t, survivor, row(0)); err != nil {
			t.Errorf("crash %d: the store does not accept writes afterwards: %v", crash, err)
		}
		_ = survivor.Close()
	}
	close(done)
	wg.Wait()
}

const childVariable = "COFFER_STORE_CRASH_DIR"

// TestCrashChild is the process that TestKill kills.
func TestCrashChild(t *testing.T) {
	dir := os.Getenv(childVariable)
	if dir == "" {
		t.Skip("only run by TestKill")
	}
	config := small(dir)
	config.SegmentBytes = 256 << 10
	config.CompactBytes = 512 << 10
	s, err := raft.Open(config)
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var out sync.Mutex
	for w := range 8 {
		fmt.Println("start", w, counter(t, s, row(w)))
	}
	for w := range 8 {
		go func() {
			for {
				n, err := increment(t, s, row(w))
				out.Lock()
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				fmt.Println("acked", w, n)
				out.Unlock()
			}
		}()
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is gone
	os.Exit(0)
}

// TestKill kills a process under load over and over. What it had acknowledged
// must be there when it comes back.
func TestKill(t *testing.T) {
	kills := 20
	if testing.Short() {
		kills = 3
	}
	dir := t.TempDir()
	var acked [8]uint64
	total := uint64(0)
	for kill := range kills {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$")
		cmd.Env = append(os.Environ(), childVariable+"="+dir)
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(15*time.Second, func() { _ = cmd.Process.Kill() })
		enough := 100 + rand.IntN(2000)
		seen := 0
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			word := strings.Fields(lines.Text())
			if len(word) == 0 || word[0] == "error" {
				t.Errorf("kill %d: the child says %q", kill, lines.Text())
				break
			}
			if len(word) != 3 {
				continue // the line that the kill has cut
			}
			w, _ := strconv.Atoi(word[1])
			n, _ := strconv.ParseUint(word[2], 10, 64)
			if word[0] == "start" && n < acked[w] {
				t.Errorf("kill %d: counter %d is %d, but %d was acknowledged", kill, w, n, acked[w])
			}
			if word[0] == "acked" {
				acked[w] = n
				total++
			}
			if seen++; seen == enough {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Process.Kill()
		_ = stdin.Close()
		_ = cmd.Wait() // it was killed
		timer.Stop()
		if seen < enough {
			t.Fatalf("kill %d: the child ended by itself after %d lines", kill, seen)
		}
	}
	t.Logf("%d writes acknowledged, %d kills", total, kills)
}

// TestDiskUseIsBounded writes far more than it keeps.
func TestDiskUseIsBounded(t *testing.T) {
	config := small(t.TempDir())
	config.CompactBytes = 2 << 20
	s := open(t, config)
	const live = 2000 // rows of 4 KiB
	value := make([]byte, 4<<10)
	for round := range 16 {
		for start := 0; start < live; start += 100 {
			_, err := s.Update(t.Context(), func(txn store.Txn) error {
				for i := start; i < start+100; i++ {
					for j := range value {
						value[j] = byte(rand.IntN(256))
					}
					if err := txn.Put(row(i), append([]byte{byte(round)}, value...)); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatalf("Update: %v", err)
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	_ = open(t, config)
	var used int64
	_ = filepath.WalkDir(config.Path, func(path string, d fs.DirEntry, err error) error {
		if info, statErr := os.Stat(path); err == nil && statErr == nil && !d.IsDir() {
			used += info.Size()
		}
		return nil
	})
	if limit := int64(3*live*4<<10) + 4<<20; used > limit {
		t.Errorf("%d bytes on the disk for %d bytes of data, want at most %d", used, live*4<<10, limit)
	}
}

// TestCloseUnderLoad closes a store that is busy. Every call returns, what was
// acknowledged is there afterwards, and the rest is unavailable.
func TestCloseUnderLoad(t *testing.T) {
	config := small(t.TempDir())
	var acked [16]uint64
	for round := range 10 {
		s := open(t, config)
		var wg sync.WaitGroup
		started := make(chan struct{}, len(acked))
		for w := range acked {
			wg.Go(func() {
				for first := true; ; first = false {
					n, err := increment(t, s, row(w))
					if first {
						started <- struct{}{}
					}
					if err != nil {
						if !errors.Is(err, fault.Unavailable) {
							t.Errorf("round %d: %v", round, err)
						}
						return
					}
					acked[w] = n
				}
			})
		}
		for range acked {
			<-started
		}
		if err := s.Close(); err != nil {
			t.Errorf("round %d: Close: %v", round, err)
		}
		wg.Wait()
		s = open(t, config)
		for w := range acked {
			if got := counter(t, s, row(w)); got < acked[w] {
				t.Errorf("round %d: counter %d is %d, but %d was acknowledged", round, w, got, acked[w])
			}
		}
		_ = s.Close()
	}
}
