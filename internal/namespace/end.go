package namespace

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Delete begins to delete a namespace: no request enters it any more, and [Store.Run]
// does the rest. It is [store.ErrNotFound] if there is none, and refused while
// there are namespaces below it.
func (s *Store) Delete(ctx context.Context, parent store.NamespaceID, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	_, err := s.Store.Update(ctx, func(tx store.Txn) error {
		id, err := child(tx, parent, name)
		if err != nil {
			return err
		}
		e, err := get(tx, id)
		if err != nil || e.Tainted {
			return err
		}
		below, err := store.Children(tx, childrenKey(id), "", 1)
		if err != nil {
			return err
		}
		if len(below) > 0 {
			return fault.Newf(fault.Invalid, "cannot delete namespace %q: it has namespaces below it; delete those first", e.Path)
		}
		e.Tainted = true
		if err := store.PutJSON(tx, idKey(id), e); err != nil {
			return err
		}
		return tx.Put(endingKey(id), nil)
	})
	return err
}

// The pauses between attempts to finish a deletion.
const (
	firstPause = time.Second
	maxPause   = time.Minute
)

// Run finishes deletions, also those that a stop has interrupted, until ctx
// ends.
func (s *Store) Run(ctx context.Context) error {
	pause := firstPause
	for {
		var retry <-chan time.Time
		if s.finishAll(ctx) {
			pause = firstPause
		} else {
			retry = s.Clock.After(pause)
			pause = min(2*pause, maxPause)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake:
		case <-retry:
		}
	}
}

// finishAll takes down every namespace that is marked, and reports whether none
// is left.
func (s *Store) finishAll(ctx context.Context) (done bool) {
	var ids []store.NamespaceID
	err := s.Store.View(ctx, func(r store.Reader) error {
		parts, err := store.Children(r, rowKey(ending), "", 0)
		ids = ids[:0]
		for _, p := range parts {
			if n, ok := store.ParseUint64Part(p); ok {
				ids = append(ids, store.NamespaceID(n))
			}
		}
		return err
	})
	if err != nil {
		s.Log.Warn("looking for namespaces to delete", "error", err)
		return false
	}
	var failed atomic.Bool
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for _, id := range ids {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := s.finish(ctx, id); err != nil {
				failed.Store(true)
				s.Log.Warn("deleting a namespace; it is tried again", "namespace", id, "error", err)
			}
		})
	}
	wg.Wait()
	return !failed.Load()
}

// atOnce is how many namespaces are taken down at a time, so that one whose
// database is away holds up few others.
const atOnce = 8

// finish takes down one namespace. Every step can be repeated.
func (s *Store) finish(ctx context.Context, id store.NamespaceID) error {
	sp, err := s.ByID(ctx, id)
	if errors.Is(err, ErrMissing) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := sp.drain(ctx); err != nil {
		return err
	}
	if err := s.End(ctx, id); err != nil {
		return err
	}
	for more := true; more; {
		if more, err = s.wipe(ctx, id); err != nil {
			return err
		}
	}
	e := sp.Entry()
	_, err = s.Store.Update(ctx, func(tx store.Txn) error {
		if err := s.Forget(tx, id); err != nil {
			return err
		}
		for _, key := range []store.Key{idKey(id), childKey(e.Parent, e.Name), endingKey(id)} {
			if err := tx.Delete(key); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil {
		s.Log.Info("a namespace was deleted", "namespace", e.Path)
	}
	return err
}

// wipePage is how many rows one transaction of a wipe removes.
const wipePage = 500

// wipe removes rows whose keys begin with the namespace's number.
func (s *Store) wipe(ctx context.Context, id store.NamespaceID) (more bool, err error) {
	_, err = s.Store.Update(ctx, func(tx store.Txn) error {
		rng := store.Under(store.NewKey(id, 0, 0)[:8])
		rng.Limit = wipePage
		var keys []store.Key
		for row, err := range tx.Scan(rng) {
			if err != nil {
				return err
			}
			keys = append(keys, row.Key)
		}
		for _, k := range keys {
			if err := tx.Delete(k); err != nil {
				return err
			}
		}
		more = len(keys) == wipePage
		return nil
	})
	return more, err
}
