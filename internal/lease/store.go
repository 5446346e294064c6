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

// end marks a lease and makes it due now.
func (s *Store) end(tx store.Txn, e *Entry) error {
	if !e.Revoking {
		if err := expiry.Remove(tx, e.item()); err != nil {
			return err
		}
		e.Revoking, e.Expires = true, s.Clock.Now()
		if err := expiry.Put(tx, e.item()); err != nil {
			return err
		}
	}
	return put(tx, e)
}

// Expire ends a lease whose item has come due: it is the expiry index's handler
// of leases.
func (s *Store) Expire(ctx context.Context, it expiry.Item) error {
	ns, id, ok := splitOwned(it.ID)
	if !ok {
		return s.drop(ctx, it, nil)
	}
	e, err := s.read(ctx, ns, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return s.drop(ctx, it, nil)
	case err != nil:
		return err
	case !e.Revoking && e.Expires.After(s.Clock.Now()):
		return s.drop(ctx, it, nil) // renewed: it has another item
	}
	if err := s.undo(ctx, e); err != nil {
		return err
	}
	return s.drop(ctx, it, e)
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

// drop removes an item and, if e is not nil, the lease's rows.
func (s *Store) drop(ctx context.Context, it expiry.Item, e *Entry) error {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		if e != nil {
			if err := remove(tx, e); err != nil {
				return err
			}
			if err := expiry.Remove(tx, e.item()); err != nil {
				return err
			}
		}
		return expiry.Remove(tx, it)
	})
	return err
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

// Revoke ends a lease or token by its id: it is marked first, so that it ends
// even if this server stops, and then undone at once. The error is that of the
// attempt; the lease stays in the expiry index until one succeeds. force
// removes the lease even if its grant could not be undone.
func (s *Store) Revoke(ctx context.Context, ns store.NamespaceID, id string, force bool) error {
	var e *Entry
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		var err error
		if e, err = get(tx, ns, id); err != nil || len(e.Token) > 0 {
			return err
		}
		return s.end(tx, e)
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(e.Token) > 0 {
		return s.revokeToken(ctx, e)
	}
	if err := s.undo(ctx, e); err != nil {
		if !force {
			return err
		}
		s.Log.Warn("lease removed by force, its grant may live on", "lease", e.ID, "error", err)
	}
	return s.drop(ctx, e.item(), e)
}

func (s *Store) revokeToken(ctx context.Context, e *Entry) error {
	if err := s.Tokens.Revoke(ctx, string(e.Token)); err != nil {
		return err
	}
	_, err := s.Store.Update(ctx, func(tx store.Txn) error { return remove(tx, e) })
	return err
}

// prefixPage is how many leases of a prefix are marked in one transaction.
const prefixPage = 200

// RevokePrefix ends every lease and token under a prefix, which matches whole
// segments. It goes on after failures and returns them joined.
func (s *Store) RevokePrefix(ctx context.Context, ns store.NamespaceID, prefix string, force bool) error {
	root := leaseKey(ns, trimSlash(prefix))
	if trimSlash(prefix) == "" {
		root = store.NewKey(ns, store.System, store.KindLease)
	}
	var failures []error
	next := root
	for {
		ids, more, err := s.page(ctx, root, &next)
		if err != nil {
			return err
		}
		for _, id := range ids {
			if err := s.Revoke(ctx, ns, id, force); err != nil {
				failures = append(failures, err)
			}
		}
		if !more || len(failures) > prefixPage {
			return errors.Join(failures...)
		}
	}
}

func (s *Store) page(ctx context.Context, root store.Key, next *store.Key) (ids []string, more bool, err error) {
	err = s.Store.View(ctx, func(r store.Reader) error {
		rng := store.Under(root)
		rng.Start, rng.Limit = *next, prefixPage
		for e, err := range r.Scan(rng) {
			if err != nil {
				return err
			}
			id, err := idOf(e.Key)
			if err != nil {
				return err
			}
			ids = append(ids, id)
			*next = e.Key + "\x00"
		}
		return nil
	})
	return ids, len(ids) == prefixPage, err
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
