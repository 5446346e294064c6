package token

import (
	"context"
	"errors"

	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/store"
)

// budget is how many tokens, leases and cubbyhole rows one transaction of a
// revocation touches at most.
const budget = 256

// errTooBig says that a tree does not fit into one transaction.
var errTooBig = errors.New("revocation does not fit into one transaction")

// Revoke revokes a token, its descendants and their leases. When it returns,
// none of the tokens can be used. An absent token is no error.
func (s *Store) Revoke(ctx context.Context, handle string) error {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		left := budget
		return s.revokeWhole(tx, handle, &left)
	})
	if errors.Is(err, errTooBig) {
		return s.revokeInParts(ctx, handle)
	}
	return err
}

// RevokeWithin revokes a token in a transaction that is under way. Its tree must
// be small.
func (s *Store) RevokeWithin(tx store.Txn, handle string) error {
	left := budget
	return s.revokeWhole(tx, handle, &left)
}

// NamespaceOf returns the namespace of a token.
func (s *Store) NamespaceOf(r store.Reader, handle string) (store.NamespaceID, error) {
	e, err := get(r, handle)
	if err != nil {
		return 0, err
	}
	return e.NS, nil
}

// revokeWhole takes down a tree within tx, as long as the budget lasts.
func (s *Store) revokeWhole(tx store.Txn, handle string, left *int) error {
	pending := []string{handle}
	for len(pending) > 0 {
		h := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if *left--; *left < 0 {
			return errTooBig
		}
		children, err := store.Children(tx, childrenKey(h), "", *left+1)
		if err != nil {
			return err
		}
		if len(children) > *left {
			return errTooBig
		}
		e, err := present(tx, h)
		if err != nil {
			return err
		}
		if err := s.strip(tx, h, e, left); err != nil {
			return err
		}
		if err := s.remove(tx, h, e, children); err != nil {
			return err
		}
		pending = append(pending, children...)
	}
	return nil
}

// present returns a token's record, nil if there is none.
func present(tx store.Txn, handle string) (*Entry, error) {
	e, err := get(tx, handle)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // absence is an ordinary answer within this package
	}
	return e, err
}

// strip ends a token's leases and wipes its cubbyhole within the budget. e is
// its record, nil if that is gone.
func (s *Store) strip(tx store.Txn, handle string, e *Entry, left *int) error {
	n, err := s.Leases.EndOwned(tx, handle, *left+1)
	if err != nil {
		return err
	}
	if *left -= n; *left < 0 {
		return errTooBig
	}
	ns := store.RootNamespace
	if e != nil {
		ns = e.NS
	}
	if n, err = s.WipeCubbyhole(tx, ns, handle, *left+1); err != nil {
		return err
	}
	if *left -= n; *left < 0 {
		return errTooBig
	}
	return nil
}

// remove deletes a token's own rows and its links to the given children.
func (s *Store) remove(tx store.Txn, handle string, e *Entry, children []string) error {
	for _, child := range children {
		if err := tx.Delete(childrenKey(handle).Append(child)); err != nil {
			return err
		}
	}
	if e == nil {
		return nil
	}
	if err := tx.Delete(tokenKey(handle)); err != nil {
		return err
	}
	if err := tx.Delete(accessorKey(e.Accessor)); err != nil {
		return err
	}
	if len(e.Parent) > 0 {
		if err := tx.Delete(childrenKey(string(e.Parent)).Append(handle)); err != nil {
			return err
		}
	}
	if err := lease.RemoveToken(tx, e.NS, e.Path, handle); err != nil {
		return err
	}
	return expiry.Remove(tx, due(e))
}

// revokeInParts marks a tree's root, so that it cannot be used and the expiry
// index finishes the work should this server stop, and takes down what hangs
// on it part by part.
func (s *Store) revokeInParts(ctx context.Context, handle string) error {
	if err := s.mark(ctx, handle, false); err != nil {
		return err
	}
	for {
		var children []string
		err := s.Store.View(ctx, func(r store.Reader) error {
			var err error
			children, err = store.Children(r, childrenKey(handle), "", budget)
			return err
		})
		if err != nil {
			return err
		}
		if len(children) == 0 {
			break
		}
		for _, child := range children {
			if err := s.Revoke(ctx, child); err != nil {
				return err
			}
			// A child without a record leaves only the link behind.
			if _, err := s.Store.Update(ctx, func(tx store.Txn) error {
				return tx.Delete(childrenKey(handle).Append(child))
			}); err != nil {
				return err
			}
		}
	}
	return s.finish(ctx, handle)
}

// mark makes a token useless, for its holder and as a parent. sparing says that
// its children are to be let go rather than revoked.
func (s *Store) mark(ctx context.Context, handle string, sparing bool) error {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		e, err := get(tx, handle)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil || e.Revoking {
			return err
		}
		if err := expiry.Remove(tx, due(e)); err != nil {
			return err
		}
		e.Revoking, e.Sparing, e.Expires = true, sparing, s.Clock.Now()
		if err := put(tx, e); err != nil {
			return err
		}
		return expiry.Put(tx, due(e))
	})
	return err
}

// finish strips a marked token in parts and removes it.
func (s *Store) finish(ctx context.Context, handle string) error {
	for {
		more := false
		_, err := s.Store.Update(ctx, func(tx store.Txn) error {
			left := budget
			e, err := present(tx, handle)
			if err != nil {
				return err
			}
			err = s.strip(tx, handle, e, &left)
			more = errors.Is(err, errTooBig)
			if more {
				return nil
			}
			if err != nil {
				return err
			}
			return s.remove(tx, handle, e, nil)
		})
		if err != nil || !more {
			return err
		}
	}
}

// RevokeOrphan revokes a token alone: its children live on as orphans. The token
// is marked first, so that no more children are made while those there are let
// go; they could be made faster than that.
func (s *Store) RevokeOrphan(ctx context.Context, handle string) error {
	if err := s.mark(ctx, handle, true); err != nil {
		return err
	}
	for {
		more := false
		_, err := s.Store.Update(ctx, func(tx store.Txn) error {
			children, err := store.Children(tx, childrenKey(handle), "", budget)
			if err != nil {
				return err
			}
			if err := s.orphan(tx, handle, children); err != nil {
				return err
			}
			if more = len(children) == budget; more {
				return nil
			}
			left := budget
			e, err := present(tx, handle)
			if err != nil {
				return err
			}
			if err := s.strip(tx, handle, e, &left); errors.Is(err, errTooBig) {
				more = true // of its leases
				return nil
			} else if err != nil {
				return err
			}
			return s.remove(tx, handle, e, nil)
		})
		if err != nil || !more {
			return err
		}
	}
}

func (s *Store) orphan(tx store.Txn, handle string, children []string) error {
	for _, child := range children {
		if err := tx.Delete(childrenKey(handle).Append(child)); err != nil {
			return err
		}
		e, err := get(tx, child)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		e.Parent = nil
		if err := put(tx, e); err != nil {
			return err
		}
	}
	return nil
}
