package lease

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/store"
)

const (
	// prefixPage is how many leases of a prefix are marked in one transaction.
	prefixPage = 200
	// atOnce bounds how many leases of a prefix are undone at a time.
	atOnce = 8
	// maxFailures is how many failed attempts end the revocation of a prefix:
	// the system behind the mount is down, and the expiry index goes on.
	maxFailures = 32
)

// queuedError is the failure to undo the grant of a lease that is marked: it is
// no loss, because the expiry index tries again.
type queuedError struct{ error }

func (q queuedError) Unwrap() error { return q.error }

// queued reports whether what failed will be tried again.
func queued(err error) bool {
	var q queuedError
	return errors.As(err, &q)
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
			return queuedError{err}
		}
		s.Log.Warn("lease removed by force, its grant may live on", "lease", e.ID, "error", err)
	}
	if err := s.drop(ctx, e.item(), e); err != nil {
		return queuedError{err}
	}
	return nil
}

// end marks a lease and makes it due now.
func (s *Store) end(tx store.Txn, e *Entry) error {
	if !e.Revoking {
		if err := expiry.Remove(tx, e.item()); err != nil {
			return err
		}
		e.Revoking, e.Expires, e.Retry = true, s.Clock.Now(), time.Time{}
		if err := expiry.Put(tx, e.item()); err != nil {
			return err
		}
	}
	return put(tx, e)
}

func (s *Store) revokeToken(ctx context.Context, e *Entry) error {
	if err := s.Tokens.Revoke(ctx, string(e.Token)); err != nil {
		return err
	}
	_, err := s.Store.Update(ctx, func(tx store.Txn) error { return remove(tx, e) })
	return err
}

// RevokePrefix ends every lease and token under a prefix, which matches whole
// segments. All leases are marked before the first is undone, so none is
// forgotten however many fail. It goes on after some failures and returns them
// joined.
func (s *Store) RevokePrefix(ctx context.Context, ns store.NamespaceID, prefix string, force bool) error {
	root := store.NewKey(ns, store.System, store.KindLease)
	if p := trimSlash(prefix); p != "" {
		root = leaseKey(ns, p)
	}
	if err := s.pages(ctx, root, func(ids []string) error { return s.mark(ctx, ns, ids) }); err != nil {
		return err
	}
	var failures []error
	if err := s.pages(ctx, root, func(ids []string) error {
		failed, err := s.revokeAll(ctx, ns, ids, force)
		failures = append(failures, failed...)
		if err == nil && len(failures) >= maxFailures {
			err = errors.Join(failures...)
		}
		return err
	}); err != nil {
		return err
	}
	return errors.Join(failures...)
}

// mark makes leases due now; those of tokens are the token noun's to end.
func (s *Store) mark(ctx context.Context, ns store.NamespaceID, ids []string) error {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		for _, id := range ids {
			e, err := get(tx, ns, id)
			if errors.Is(err, store.ErrNotFound) || err == nil && (len(e.Token) > 0 || e.Revoking) {
				continue
			}
			if err != nil {
				return err
			}
			if err := s.end(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// revokeAll revokes leases, some at a time. It returns the attempts that will be
// repeated, and the first failure of another kind.
func (s *Store) revokeAll(ctx context.Context, ns store.NamespaceID, ids []string, force bool) (failed []error, err error) {
	var mu sync.Mutex // guards failed and err
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	ended := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return err != nil || !force && len(failed) >= maxFailures
	}
	for _, id := range ids {
		slots <- struct{}{}
		if ended() {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			failure := s.Revoke(ctx, ns, id, force)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case failure == nil:
			case queued(failure):
				failed = append(failed, failure)
			default:
				err = failure
			}
		})
	}
	wg.Wait()
	return failed, err
}

// pages calls fn with the ids of the leases under root, some at a time.
func (s *Store) pages(ctx context.Context, root store.Key, fn func(ids []string) error) error {
	for next, more := root, true; more; {
		var ids []string
		var err error
		if ids, more, err = s.page(ctx, root, &next); err != nil {
			return err
		}
		if err := fn(ids); err != nil {
			return err
		}
	}
	return nil
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
