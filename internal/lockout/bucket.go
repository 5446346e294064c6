package lockout

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cofferhq/coffer/internal/store"
)

const (
	// buckets is how many rows a mount has at most; part of the format.
	buckets = 1024
	// perBucket is how many entries a row has at most.
	perBucket = 16
)

// bucket is a row.
type bucket struct {
	// Type is the mount's type.
	Type    string  `json:"type"`
	Entries []entry `json:"entries"`
}

// entry are the failures of one alias.
type entry struct {
	Alias    string    `json:"alias"`
	Failures int       `json:"failures"`
	Last     time.Time `json:"last"`
}

// counts is how many failures the entry stands for now: none once its lock is
// over, or its last failure long enough ago.
func (e *entry) counts(limits Limits, now time.Time) int {
	lasting := limits.CounterReset
	if e.Failures >= limits.Threshold {
		lasting = limits.Duration
	}
	if !now.Before(e.Last.Add(lasting)) {
		return 0
	}
	return e.Failures
}

func (b *bucket) find(alias string) int {
	return slices.IndexFunc(b.Entries, func(e entry) bool { return e.Alias == alias })
}

// add counts a failure of alias.
func (b *bucket) add(alias string, limits Limits, now time.Time) {
	b.Entries = slices.DeleteFunc(b.Entries, func(e entry) bool { return e.counts(limits, now) == 0 })
	if i := b.find(alias); i >= 0 {
		b.Entries[i].Failures++
		b.Entries[i].Last = now
		return
	}
	if len(b.Entries) >= perBucket {
		b.evict()
	}
	b.Entries = append(b.Entries, entry{Alias: alias, Failures: 1, Last: now})
}

// evict drops the entry with the fewest failures, the oldest of those.
func (b *bucket) evict() {
	least := 0
	for i, e := range b.Entries {
		if l := b.Entries[least]; e.Failures < l.Failures || e.Failures == l.Failures && e.Last.Before(l.Last) {
			least = i
		}
	}
	b.Entries = slices.Delete(b.Entries, least, least+1)
}

func hashKey(ns store.NamespaceID) store.Key {
	return store.NewKey(ns, store.System, store.KindLockout, "")
}

func mountKey(ns store.NamespaceID, accessor string) store.Key {
	return store.NewKey(ns, store.System, store.KindLockout, accessor)
}

// bucketKey returns the row that holds the entry of p, if there is one. The
// error is [store.ErrNotFound] if the namespace has never had a failure.
func bucketKey(r store.Reader, p place) (store.Key, error) {
	key, err := r.Get(hashKey(p.ns))
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(p.alias))
	n := binary.BigEndian.Uint64(mac.Sum(nil)) % buckets
	return mountKey(p.ns, p.accessor).Append(store.Uint64Part(n)), nil
}

// failures is how many failures of an alias count now.
func (s *Store) failures(ctx context.Context, p place, limits Limits) (n int, err error) {
	err = s.Store.View(ctx, func(r store.Reader) error {
		key, err := bucketKey(r, p)
		if err != nil {
			return err
		}
		b, err := store.GetJSON[bucket](r, key)
		if err != nil {
			return err
		}
		if i := b.find(p.alias); i >= 0 {
			n = b.Entries[i].counts(limits, s.Clock.Now())
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	return n, err
}

// record adds a failure.
func (s *Store) record(tx store.Txn, p place, mountType string) error {
	key, err := bucketKey(tx, p)
	if errors.Is(err, store.ErrNotFound) {
		if err = s.makeKey(tx, p.ns); err == nil {
			key, err = bucketKey(tx, p)
		}
	}
	if err != nil {
		return err
	}
	b, err := store.GetJSON[bucket](tx, key)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	b.Type = mountType
	b.add(p.alias, s.limits(p.ns, mountType, p.accessor), s.Clock.Now())
	return store.PutJSON(tx, key, b)
}

func (s *Store) makeKey(tx store.Txn, ns store.NamespaceID) error {
	key := make([]byte, 32)
	if _, err := io.ReadFull(s.Rand, key); err != nil {
		return fmt.Errorf("reading randomness: %w", err)
	}
	return tx.Put(hashKey(ns), key)
}

// forget removes the failures of an alias.
func (s *Store) forget(tx store.Txn, p place) error {
	key, err := bucketKey(tx, p)
	if err == nil {
		err = s.forgetIn(tx, key, p.alias)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

func (s *Store) forgetIn(tx store.Txn, key store.Key, alias string) error {
	b, err := store.GetJSON[bucket](tx, key)
	if err != nil {
		return err
	}
	i := b.find(alias)
	switch {
	case i < 0:
		return nil
	case len(b.Entries) == 1:
		return tx.Delete(key)
	}
	b.Entries = slices.Delete(b.Entries, i, i+1)
	return store.PutJSON(tx, key, b)
}

// ForgetMount removes what is counted at a mount that is being disabled; it is
// at most as many rows as a mount has buckets.
func ForgetMount(tx store.Txn, ns store.NamespaceID, accessor string) error {
	for e, err := range tx.Scan(store.Under(mountKey(ns, accessor))) {
		if err != nil {
			return err
		}
		if err := tx.Delete(e.Key); err != nil {
			return err
		}
	}
	return nil
}
