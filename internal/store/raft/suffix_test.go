package raft_test

import (
	"os"
	"path/filepath"
	"testing"

	hraft "github.com/hashicorp/raft"

	"github.com/cofferhq/coffer/internal/store/raft"
)

// A new leader has followers take back the end of their log. Such a log must be
// good after a restart, whether the crash came before or after that was noted.
func TestLogWhoseEndWasTakenBack(t *testing.T) {
	for _, tt := range []struct {
		name string
		// noted says that the crash came after the bookkeeping was written.
		noted bool
		last  uint64 // that is there afterwards
	}{
		{"and noted", true, 5},
		{"and not noted", false, 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			meta := filepath.Join(dir, "meta")
			appendEntries(t, dir, 1, 10, 1)
			before, err := os.ReadFile(meta)
			if err != nil {
				t.Fatal(err)
			}
			l, err := raft.OpenLog(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.DeleteRange(6, 10); err != nil {
				t.Fatal(err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if !tt.noted {
				if err := os.WriteFile(meta, before, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			checkEntries(t, dir, tt.last, func(uint64) uint64 { return 1 })
			// It goes on with entries of the new leader, and those are there too.
			appendEntries(t, dir, tt.last+1, tt.last+3, 2)
			checkEntries(t, dir, tt.last+3, func(index uint64) uint64 {
				if index > tt.last {
					return 2
				}
				return 1
			})
		})
	}
}

func appendEntries(t *testing.T, dir string, first, last, term uint64) {
	t.Helper()
	l, err := raft.OpenLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := first; i <= last; i++ {
		if err := l.StoreLog(&hraft.Log{Index: i, Term: term, Data: []byte("an entry")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func checkEntries(t *testing.T, dir string, last uint64, term func(index uint64) uint64) {
	t.Helper()
	l, err := raft.OpenLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if got, err := l.LastIndex(); err != nil || got != last {
		t.Fatalf("the last entry is %d, %v, want %d", got, err, last)
	}
	for i := uint64(1); i <= last; i++ {
		var e hraft.Log
		if err := l.GetLog(i, &e); err != nil || e.Index != i || e.Term != term(i) {
			t.Errorf("entry %d: %+v, %v, want term %d", i, e, err, term(i))
		}
	}
}
