package raft

import (
	"errors"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/store"
)

// Config says where and how a store lives. Path is required.
type Config struct {
	// Path is the data directory. It is created if it is not there.
	Path string
	// NodeID names this node in the cluster. Empty is the id found in the data
	// directory, else a new random one.
	NodeID string
	// Logger gets what is worth an operator's attention. Nil discards it.
	Logger *slog.Logger
	// Clock times fsyncs and retries. Nil is the machine's.
	Clock clock.Clock
	// Network carries messages between nodes. Nil is a cluster of one, which
	// the store then founds by itself in an empty directory. With a network an
	// empty directory waits for [Store.Found] or to be added by another node.
	Network Network
	// Address is where other nodes reach this one, as host:port. It is needed
	// with a Network.
	Address string
	// Multiplier stretches the times after which a silent leader is replaced, 1
	// to 10, for slow networks and machines. Zero is 1.
	Multiplier int
	// Own are the rows that restoring a backup leaves as they are, because they
	// are about this cluster's nodes.
	Own []store.Range
	// FS is the file system. Nil is the machine's.
	FS vfs.FS

	// CacheBytes is the size of the block cache. Zero is 16 MiB.
	CacheBytes int64
	// SegmentBytes is the size of a log file. Zero is 4 MiB.
	SegmentBytes int
	// CompactBytes is how much log may gather before the state is flushed and
	// the log cut. Zero is 16 MiB.
	CompactBytes int64
	// ReserveBytes is the space kept back for deletions on a full disk, and
	// the free space below which growth is refused. Zero is three log files, as
	// cutting the log takes two besides the one that is cut away, and the state
	// some; negative keeps none.
	ReserveBytes int64
	// OpenTimeout bounds how long Open waits until the node can write. Zero is
	// ten seconds.
	OpenTimeout time.Duration
}

func (c Config) withDefaults() (Config, error) {
	if c.Path == "" {
		return c, errors.New("opening storage: no path")
	}
	if c.Network != nil && c.Address == "" {
		return c, errors.New("opening storage: no address for the other nodes")
	}
	if c.Multiplier == 0 {
		c.Multiplier = 1
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.FS == nil {
		c.FS = vfs.Default
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 16 << 20
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = 4 << 20
	}
	if c.CompactBytes == 0 {
		c.CompactBytes = 16 << 20
	}
	if c.ReserveBytes == 0 {
		c.ReserveBytes = 3 * int64(c.SegmentBytes)
	}
	if c.OpenTimeout == 0 {
		c.OpenTimeout = 10 * time.Second
	}
	return c, nil
}
