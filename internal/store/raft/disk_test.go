package raft_test

import (
	"crypto/sha256"
	"encoding/binary"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/raft"
)

// tokenRows are rows like those of the n-th token: as many, as long, at places
// that have as little to do with each other. Values do not compress.
func tokenRows(n int) []store.Change {
	hash := sha256.Sum256(binary.BigEndian.AppendUint64(nil, uint64(n)))
	handle := string(hash[:])
	random := rand.NewChaCha8(hash)
	value := func(size int) []byte {
		b := make([]byte, size)
		_, _ = random.Read(b) // never fails
		return b
	}
	return []store.Change{
		{Key: store.NewKey(0, 0, 1, handle), Value: value(280)},
		{Key: store.NewKey(0, 0, 2, handle[:24]), Value: value(61)},
		{Key: store.NewKey(0, 0, 3, "the parent's handle, also a hash", handle), Value: value(29)},
		{Key: store.NewKey(0, 0, 4, "auth/token/create", handle), Value: value(29)},
		{Key: store.NewKey(0, 0, 5, store.Uint64Part(0), store.Uint64Part(uint64(n)), handle), Value: value(31)},
	}
}

// churn writes the rows of tokens up to n and removes those that are live older.
func churn(t testing.TB, s *raft.Store, from, n, live int) {
	t.Helper()
	const batch = 128
	for ; from < n; from += batch {
		_, err := s.Update(t.Context(), func(tx store.Txn) error {
			for i := from; i < min(from+batch, n); i++ {
				for _, row := range tokenRows(i) {
					if err := tx.Put(row.Key, row.Value); err != nil {
						return err
					}
				}
				if i < live {
					continue
				}
				for _, row := range tokenRows(i - live) {
					if err := tx.Delete(row.Key); err != nil {
						return err
					}
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// allocated is how much room a folder's files take on the disk.
func allocated(t testing.TB, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if os.IsNotExist(err) {
			return nil // removed meanwhile
		}
		if err == nil {
			bytes += info.Sys().(*syscall.Stat_t).Blocks * 512
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return bytes
}

// TestChurnLeavesLittleBehind replaces a set of tokens ten times over. The data
// directory, with log, reserve and what compaction has not come to, is never
// more than three times what lives. COFFER_CHURN is how many tokens live.
func TestChurnLeavesLittleBehind(t *testing.T) {
	live := 40_000
	if text := os.Getenv("COFFER_CHURN"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		live = n
	}
	size := int64(0)
	for _, row := range tokenRows(0) {
		size += int64(len(row.Key) + len(row.Value))
	}
	size *= int64(live)
	dir := t.TempDir()
	s := open(t, raft.Config{Path: dir})
	churn(t, s, 0, live, live)
	peak := int64(0)
	steps := 100
	for i := range steps {
		at := live + i*live*10/steps
		churn(t, s, at, live+(i+1)*live*10/steps, live)
		peak = max(peak, allocated(t, dir))
	}
	end := allocated(t, dir)
	t.Logf("%d tokens of %d bytes: %.1f MB live, %.1f MB on the disk after ten times as many, %.1f MB at most on the way",
		live, size/int64(live), float64(size)/1e6, float64(end)/1e6, float64(peak)/1e6)
	if end > 3*size {
		t.Errorf("%.2f times the live data, want no more than 3", float64(end)/float64(size))
	}
	// On the way it depends on how much of the machine compaction gets.
	if peak > 6*size {
		t.Errorf("%.2f times the live data at most, want no more than 6", float64(peak)/float64(size))
	}
}
