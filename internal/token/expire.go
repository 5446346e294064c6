package token

import (
	"context"
	"errors"

	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/store"
)

// Expire handles a token's end: it is the expiry index's handler of tokens.
func (s *Store) Expire(ctx context.Context, it expiry.Item) error {
	var e *Entry
	err := s.Store.View(ctx, func(r store.Reader) error {
		var err error
		e, err = s.ended(r, it)
		return err
	})
	if err != nil {
		return err
	}
	if e != nil {
		end := s.Revoke
		if e.Sparing { // a revocation that was interrupted
			end = s.RevokeOrphan
		}
		if err := end(ctx, it.ID); err != nil {
			return err
		}
	}
	_, err = s.Store.Update(ctx, func(tx store.Txn) error { return s.settle(tx, it) })
	return err
}

// ended returns the token of an item if it is there and at its end, else nil; a
// token that was renewed has another item.
func (s *Store) ended(r store.Reader, it expiry.Item) (*Entry, error) {
	e, err := get(r, it.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // absence is an ordinary answer within this package
	}
	if err != nil || e.Expires.IsZero() || e.Expires.After(s.Clock.Now()) {
		return nil, err
	}
	return e, nil
}

// settle takes away an item that has been seen to. A token that lives still
// keeps an item of its own: if the clock was set back, this one may have been
// the only one that it had.
func (s *Store) settle(tx store.Txn, it expiry.Item) error {
	if err := expiry.Remove(tx, it); err != nil {
		return err
	}
	e, err := get(tx, it.ID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || e.Expires.IsZero() {
		return err
	}
	return expiry.Put(tx, due(e))
}

// ExpireBatch ends many tokens in one transaction, if they fit.
func (s *Store) ExpireBatch(ctx context.Context, items []expiry.Item) error {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		left := 2 * budget
		for _, it := range items {
			e, err := s.ended(tx, it)
			if err != nil {
				return err
			}
			if e != nil && e.Sparing {
				return errTooBig // its children must be let go first
			}
			if e != nil {
				if err := s.revokeWhole(tx, it.ID, &left); err != nil {
					return err
				}
			}
			if err := s.settle(tx, it); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}
