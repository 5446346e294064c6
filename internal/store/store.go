// Package store is the contract of Coffer's storage: an ordered key-value
// store with serialisable transactions and a feed of every committed change.
//
// Implementations ([github.com/cofferhq/coffer/internal/store/mem],
// [github.com/cofferhq/coffer/internal/store/raft]) run the same conformance
// suite, package storetest. The barrier implements the contract too, on top of
// another store, sealing values on the way down: everything above it is
// written against this package and never sees ciphertext.
//
// Keys are typed tuples, see [Key]. Values are opaque, at most [MaxValue]
// bytes; the empty value is a value. Slices handed out by a Reader are the
// caller's to read during the callback and must be copied to be kept or
// changed; slices handed to a Txn belong to it until the transaction has ended.
package store

import (
	"context"
	"iter"

	"github.com/cofferhq/coffer/internal/fault"
)

// MaxKey and MaxValue bound what one row may hold, in bytes. A larger one is
// refused with [fault.TooLarge] before anything is written.
const (
	MaxKey   = 32 << 10
	MaxValue = 8 << 20
	// MaxTxn bounds the sum of all keys and values written by a transaction.
	MaxTxn = 32 << 20
)

// ErrNotFound is what Get returns for a key without a row. It carries no
// message; the caller who knows what is missing words one.
var ErrNotFound = fault.New(fault.NotFound, "")

// Index numbers committed changes, rising with every commit. Zero is "before
// everything".
type Index uint64

// Entry is a row.
type Entry struct {
	Key   Key
	Value []byte
}

// Reader reads a consistent snapshot.
type Reader interface {
	// Get returns the value at key, or an error that is [ErrNotFound].
	Get(key Key) ([]byte, error)
	// Scan yields the rows of r in key order, or in reverse order if
	// r.Reverse, stopping at the first error, which it yields with a zero
	// Entry. Breaking off the loop is cheap; so is a range whose beginning is
	// far from the rest: a scan seeks, it never skips.
	Scan(r Range) iter.Seq2[Entry, error]
}

// Txn is a transaction: it reads its own writes over a snapshot. Nothing is
// visible to others until it commits, and nothing is if its function returns
// an error.
type Txn interface {
	Reader
	// Put sets the row at key.
	Put(key Key, value []byte) error
	// Delete removes the row at key; an absent one is no error.
	Delete(key Key) error
}

// Store is an ordered, transactional, durable map. All methods are safe for
// concurrent use.
type Store interface {
	// View calls fn with a snapshot that holds every change that was committed
	// before the call. The Reader must not be used after fn returns.
	View(ctx context.Context, fn func(Reader) error) error
	// Update calls fn with a transaction and commits what it wrote, returning
	// the commit's index once it is durable and visible to every later View on
	// this node, and once every watcher of this node has seen it. It is
	// serialisable: if a row that fn read or a range that it scanned has been
	// changed by another commit, fn is called again on a new snapshot, so fn
	// must have no effect but on its Txn and on variables that it sets anew on
	// each call. A transaction without writes commits nothing. An error of fn
	// is returned as it is. Other errors: [fault.Unavailable] when the store
	// cannot be sure (closed, disk failed, leadership lost; the outcome may be
	// unknown), [fault.Full] when there is no room, [fault.TooLarge],
	// [fault.Conflict] after too many retries, [fault.Standby] on a node that
	// may not write.
	Update(ctx context.Context, fn func(Txn) error) (Index, error)
	// Watch registers w for every change that is committed from now on, until
	// stop is called. Watchers are called in commit order, one commit at a
	// time, before the Update that made it returns. They must be quick, must
	// not call the store's Update, and may call View.
	Watch(w Watcher) (stop func())
	// Close ends the store. Running calls end with [fault.Unavailable].
	Close() error
}

// Watcher is told of commits.
type Watcher func(Commit)

// Commit is one committed transaction as a watcher sees it.
type Commit struct {
	// Index is the commit's index.
	Index Index
	// Changes are the rows it set or removed, in key order.
	Changes []Change
	// Reset says that the whole state was replaced (a snapshot was
	// installed): Changes is empty and every view must be built anew.
	Reset bool
}

// Change is one row's change. Value is nil if the row was removed.
type Change struct {
	Key   Key
	Value []byte
}
