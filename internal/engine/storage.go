package engine

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/store"
)

// Storage is a mount's own rows and nothing else: a key of another mount or
// namespace is refused, whatever made it.
type Storage struct {
	ns    store.NamespaceID
	mount store.MountID
	inner store.Store
}

// NewStorage confines a store to a mount.
func NewStorage(ns store.NamespaceID, mount store.MountID, inner store.Store) Storage {
	return Storage{ns: ns, mount: mount, inner: inner}
}

// Key makes a key of this mount.
func (s Storage) Key(kind store.Kind, parts ...string) store.Key {
	return store.NewKey(s.ns, s.mount, kind, parts...)
}

// View calls fn with a snapshot of the mount's rows.
func (s Storage) View(ctx context.Context, fn func(store.Reader) error) error {
	return s.inner.View(ctx, func(r store.Reader) error { return fn(confinedReader{s, r}) })
}

// Update calls fn with a transaction on the mount's rows, see [store.Store].
func (s Storage) Update(ctx context.Context, fn func(store.Txn) error) error {
	_, err := s.inner.Update(ctx, func(tx store.Txn) error { return fn(s.Confine(tx)) })
	return err
}

// Watch calls fn after every commit that changed rows of the mount, with these
// changes in key order; nil stands for "everything may have changed". The rules
// of [store.Store] for watchers hold. What an instance starts it stops in its
// Close.
func (s Storage) Watch(fn func(changes []store.Change)) (stop func()) {
	own := store.Under(store.NewKey(s.ns, s.mount, 0)[:16])
	return s.inner.Watch(func(c store.Commit) {
		if c.Reset {
			fn(nil)
			return
		}
		at := func(k store.Key) int {
			i, _ := slices.BinarySearchFunc(c.Changes, k, func(c store.Change, k store.Key) int { return strings.Compare(string(c.Key), string(k)) })
			return i
		}
		from, to := at(own.Start), len(c.Changes)
		if own.End != "" {
			to = at(own.End)
		}
		if from < to {
			fn(c.Changes[from:to])
		}
	})
}

// Confine narrows a transaction to the mount's rows. Timers given such a
// transaction reach through it.
func (s Storage) Confine(tx store.Txn) store.Txn { return confinedTxn{confinedReader{s, tx}, tx} }

func (s Storage) check(k store.Key) error {
	if k.Namespace() != s.ns || k.Mount() != s.mount {
		return fmt.Errorf("key of namespace %d mount %d used in namespace %d mount %d", k.Namespace(), k.Mount(), s.ns, s.mount)
	}
	return nil
}

type confinedReader struct {
	s Storage
	r store.Reader
}

func (c confinedReader) Get(k store.Key) ([]byte, error) {
	if err := c.s.check(k); err != nil {
		return nil, err
	}
	return c.r.Get(k)
}

func (c confinedReader) Scan(r store.Range) iter.Seq2[store.Entry, error] {
	whole := store.Under(store.NewKey(c.s.ns, c.s.mount, 0)[:16])
	if r.Start < whole.Start || r.End == "" || whole.End != "" && r.End > whole.End {
		return func(yield func(store.Entry, error) bool) {
			yield(store.Entry{}, fmt.Errorf("scan outside namespace %d mount %d", c.s.ns, c.s.mount))
		}
	}
	return c.r.Scan(r)
}

type confinedTxn struct {
	confinedReader
	tx store.Txn
}

func (c confinedTxn) Put(k store.Key, v []byte) error {
	if err := c.s.check(k); err != nil {
		return err
	}
	return c.tx.Put(k, v)
}

func (c confinedTxn) Delete(k store.Key) error {
	if err := c.s.check(k); err != nil {
		return err
	}
	return c.tx.Delete(k)
}

// Unconfine returns the transaction under a confined one. It is for the house
// (timers, leases), not for engines.
func Unconfine(tx store.Txn) store.Txn {
	if c, ok := tx.(confinedTxn); ok {
		return c.tx
	}
	return tx
}
