package raft_test

import (
	"testing"

	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/raft"
	"github.com/cofferhq/coffer/internal/store/storetest"
)

// small is a configuration for tests: quick to open, with no reserve.
func small(dir string) raft.Config {
	return raft.Config{Path: dir, CacheBytes: 8 << 20, SegmentBytes: 1 << 20, ReserveBytes: -1}
}

func open(t testing.TB, config raft.Config) *raft.Store {
	t.Helper()
	s, err := raft.Open(config)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, small(t.TempDir())) })
}
