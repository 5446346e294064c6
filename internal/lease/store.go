package lease

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Tokens is what the lease noun needs of the token noun.
type Tokens interface {
	// Revoke revokes a token by its handle.
	Revoke(ctx context.Context, handle string) error
	// Alive reports with an error that a token cannot hold a lease any more.
	Alive(tx store.Reader, handle string) error
	// Times returns when a token was issued, last renewed and ends, and
	// whether it can be renewed.
	Times(ctx context.Context, handle string) (issued, renewed, expires time.Time, renewable bool, err error)
}

// Config is what a [Store] needs.
type Config struct {
	Store store.Store
	Clock clock.Clock
	Log   *slog.Logger
	// Tokens ends tokens and tells whether one may hold a lease.
	Tokens Tokens
	// Engine returns the instance at a mount and the mount; the error is
	// [fault.NotFound] if there is no such mount.
	Engine func(ctx context.Context, id store.MountID) (any, route.Mount, error)
	// Serving reports with an error that a mount is gone, moved or being
	// disabled. Read in a transaction, it makes a grant and the mount's end
	// exclude each other, so that no grant is forgotten. Nil asks nobody.
	Serving func(r store.Reader, m route.Mount) error
}

// Store is the lease noun.
type Store struct{ Config }

// New returns the noun over a store.
func New(c Config) *Store { return &Store{c} }

// undoLimit bounds one attempt of an engine to undo a grant.
const undoLimit = 30 * time.Second

// newID names a lease: the path that granted it and a random part.
func newID(path string) string { return path + "/" + rand.Text()[:24] }

// Grant writes the lease of an endpoint's answer in tx: its rows and its item.
// The engine's own Commit runs in the same transaction, narrowed by confine.
func (s *Store) Grant(tx store.Txn, c *route.Call, l *route.Lease, confine func(store.Txn) store.Txn) (*Entry, error) {
	if s.Serving != nil {
		if err := s.Serving(tx, c.Mount); err != nil {
			return nil, err
		}
	}
	if l.Commit != nil {
		if err := l.Commit(confine(tx)); err != nil {
			return nil, err
		}
	}
	e := &Entry{ID: newID(c.Full), NS: c.Namespace.ID, Mount: c.Mount.ID, Payload: l.Payload, Issued: c.Now, Renewable: l.Renewable}
	e.MaxTTL = shorter(l.MaxTTL, c.Mount.MaxTTL)
	if e.TTL = l.TTL; e.TTL <= 0 {
		e.TTL = c.Mount.DefaultTTL
	}
	e.TTL = min(e.TTL, e.MaxTTL).Truncate(time.Second)
	e.Expires = c.Now.Add(e.TTL)
	if err := s.own(tx, c, e); err != nil {
		return nil, err
	}
	if e.TTL <= 0 || !e.Expires.After(c.Now) {
		return nil, fault.New(fault.Invalid, "the lease would end at once: the token or its limits leave it no time")
	}
	if err := put(tx, e); err != nil {
		return nil, err
	}
	return e, expiry.Put(tx, e.item())
}

// own ties the lease to the caller's token; that of a batch token to the token
// that made it, because a batch token cannot be revoked.
func (s *Store) own(tx store.Txn, c *route.Call, e *Entry) error {
	owner := c.Caller.Token
	if c.Caller.Batch {
		owner = c.Caller.Parent
		e.OwnerEnds = c.Caller.ExpiresAt
		if e.Expires.After(e.OwnerEnds) {
			e.Expires, e.TTL = e.OwnerEnds, e.OwnerEnds.Sub(c.Now).Truncate(time.Second)
		}
	}
	if owner == "" {
		return nil
	}
	if err := s.Tokens.Alive(tx, owner); err != nil {
		return err
	}
	e.Owner = []byte(owner)
	return tx.Put(ownerKey(e.Owner).Append(ownedPart(e.NS, e.ID)), nil)
}

func shorter(a, b time.Duration) time.Duration {
	switch {
	case a <= 0:
		return b
	case b <= 0:
		return a
	}
	return min(a, b)
}

// EndOwned makes at most limit leases of a token due now and returns how many
// it touched. Their grants are undone by the expiry index.
func (s *Store) EndOwned(tx store.Txn, owner string, limit int) (int, error) {
	parts, err := store.Children(tx, ownerKey([]byte(owner)), "", limit)
	if err != nil {
		return 0, err
	}
	for _, part := range parts {
		if err := tx.Delete(ownerKey([]byte(owner)).Append(part)); err != nil {
			return 0, err
		}
		ns, id, ok := splitOwned(part)
		if !ok {
			continue
		}
		e, err := get(tx, ns, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return 0, err
		}
		e.Owner = nil
		if err := s.end(tx, e); err != nil {
			return 0, err
		}
	}
	return len(parts), nil
}

// Expire ends a lease whose item has come due: it is the expiry index's handler
// of leases. The lease is marked before its grant is undone, so that a renewal
// that is under way cannot bring it back.
func (s *Store) Expire(ctx context.Context, it expiry.Item) error {
	e, err := s.ending(ctx, it)
	if err != nil || e == nil {
		return err
	}
	if err := s.undo(ctx, e); err != nil {
		return err
	}
	return s.drop(ctx, it, e)
}

// ending marks and returns the lease of an item, or removes an item whose lease
// need not end now and returns nil.
func (s *Store) ending(ctx context.Context, it expiry.Item) (*Entry, error) {
	var ended *Entry
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		ended = nil
		ns, id, ok := splitOwned(it.ID)
		if !ok {
			return expiry.Remove(tx, it)
		}
		e, err := get(tx, ns, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return expiry.Remove(tx, it)
		case err != nil:
			return err
		case !e.Revoking && e.Expires.After(s.Clock.Now()):
			// It was renewed and has another item, or the clock was set
			// back and this one may be the only one that it has.
			if err := expiry.Remove(tx, it); err != nil {
				return err
			}
			return expiry.Put(tx, e.item())
		}
		ended = e
		if e.Revoking {
			return nil
		}
		e.Revoking = true
		return put(tx, e)
	})
	return ended, err
}

// undo lets the engine undo the grant.
func (s *Store) undo(ctx context.Context, e *Entry) error {
	instance, _, err := s.Engine(ctx, e.Mount)
	if errors.Is(err, fault.NotFound) {
		s.Log.Error("lease of a mount that is gone", "lease", e.ID)
		return nil
	}
	if err != nil {
		return err
	}
	r, ok := instance.(engine.Revoker)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, undoLimit)
	defer cancel()
	return r.Revoke(ctx, e.Payload)
}

// drop removes an item and its lease's rows, as they are by now: an attempt
// that has failed meanwhile has moved the lease's item.
func (s *Store) drop(ctx context.Context, it expiry.Item, e *Entry) error {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		if err := expiry.Remove(tx, it); err != nil {
			return err
		}
		cur, err := get(tx, e.NS, e.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := remove(tx, cur); err != nil {
			return err
		}
		return expiry.Remove(tx, cur.item())
	})
	return err
}

// Moved notes the time of the next attempt with the lease, so that whoever
// removes the lease can take its item away.
func (s *Store) Moved(tx store.Txn, it expiry.Item, to time.Time) error {
	ns, id, ok := splitOwned(it.ID)
	if !ok {
		return nil
	}
	e, err := get(tx, ns, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && !e.item().At.Equal(it.At) {
		return nil // the item stands for an older state; it goes when it is next due
	}
	if err != nil {
		return err
	}
	e.Retry = to
	return put(tx, e)
}

func (s *Store) read(ctx context.Context, ns store.NamespaceID, id string) (*Entry, error) {
	var e *Entry
	err := s.Store.View(ctx, func(r store.Reader) error {
		var err error
		e, err = get(r, ns, id)
		return err
	})
	return e, err
}

// Count returns how many leases and granted tokens are under a prefix of the
// namespace.
func (s *Store) Count(ctx context.Context, ns store.NamespaceID) (int, error) {
	n := 0
	err := s.Store.View(ctx, func(r store.Reader) error {
		for _, err := range r.Scan(store.Under(store.NewKey(ns, store.System, store.KindLease))) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}
