package mount

import (
	"context"
	"errors"

	"github.com/cofferhq/coffer/internal/store"
)

// End takes down the mounts of a namespace that goes. One that cannot be taken
// down yet does not stop the others; the error is the failures joined, and the
// call can be repeated.
func (t *Table) End(ctx context.Context, ns store.NamespaceID) error {
	if err := t.Open(ctx, ns); err != nil {
		return err
	}
	var failures []error
	var own []*Entry // those that every namespace has
	for _, m := range t.inside(ns) {
		e := m.Entry()
		if builtin(e) {
			own = append(own, e)
			continue
		}
		there, err := t.taint(ctx, e)
		if err == nil && there {
			err = t.finish(ctx, m)
		}
		if err != nil {
			failures = append(failures, err)
		}
	}
	if err := errors.Join(failures...); err != nil {
		return err
	}
	_, err := t.Store.Update(ctx, func(tx store.Txn) error {
		for _, e := range own {
			if err := tx.Delete(placeKey(e.ID)); err != nil {
				return err
			}
			if err := tx.Delete(e.key()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.spaces, ns)
	return nil
}

// inside returns every mount of a namespace, also those being disabled.
func (t *Table) inside(ns store.NamespaceID) []*Mounted {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var list []*Mounted
	for _, m := range t.pathsLocked(ns) {
		list = append(list, m)
	}
	return list
}
