package engine_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
)

const (
	ns    store.NamespaceID = 2
	mount store.MountID     = 7
)

// foreign are keys that are not of the mount, and its neighbours in the order
// of keys.
func foreign() map[string]store.Key {
	return map[string]store.Key{
		"mount before":   store.NewKey(ns, mount-1, 255, "x"),
		"mount after":    store.NewKey(ns, mount+1, 0),
		"namespace":      store.NewKey(ns+1, mount, 1, "x"),
		"root namespace": store.NewKey(store.RootNamespace, mount, 1, "x"),
		"system":         store.NewKey(ns, store.System, store.KindToken, "x"),
		"empty":          "",
		"too short":      store.NewKey(ns, mount, 1)[:16],
	}
}

func confined(t *testing.T) (engine.Storage, store.Store) {
	t.Helper()
	inner := mem.New()
	t.Cleanup(func() { _ = inner.Close() })
	_, err := inner.Update(context.Background(), func(tx store.Txn) error {
		for _, k := range foreign() {
			if len(k) > 16 {
				if err := tx.Put(k, []byte("theirs")); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return engine.NewStorage(ns, mount, inner), inner
}

func TestStorageServesTheMount(t *testing.T) {
	s, inner := confined(t)
	ctx := context.Background()
	k := s.Key(1, "dir", "a")
	if k != store.NewKey(ns, mount, 1, "dir", "a") {
		t.Fatalf("the key is %q", k)
	}
	err := s.Update(ctx, func(tx store.Txn) error {
		if err := tx.Put(k, []byte("mine")); err != nil {
			return err
		}
		return tx.Put(s.Key(255, "\xff"), []byte("last"))
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.View(ctx, func(r store.Reader) error {
		if v, err := r.Get(k); err != nil || string(v) != "mine" {
			t.Errorf("got %q, %v", v, err)
		}
		n := 0
		for _, err := range r.Scan(store.Range{Start: store.NewKey(ns, mount, 0), End: store.NewKey(ns, mount+1, 0)[:16]}) {
			if err != nil {
				return err
			}
			n++
		}
		if n != 2 {
			t.Errorf("the whole mount has %d rows", n)
		}
		children, err := store.Children(r, s.Key(1), "", 0)
		if err != nil || len(children) != 1 || children[0] != "dir" {
			t.Errorf("children %q, %v", children, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Update(ctx, func(tx store.Txn) error { return tx.Delete(k) }); err != nil {
		t.Fatal(err)
	}
	_ = inner.View(ctx, func(r store.Reader) error {
		if _, err := r.Get(k); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("after the deletion: %v", err)
		}
		return nil
	})
}

func TestStorageRefusesForeignKeys(t *testing.T) {
	s, inner := confined(t)
	ctx := context.Background()
	for name, k := range foreign() {
		t.Run(name, func(t *testing.T) {
			if err := s.View(ctx, func(r store.Reader) error { _, err := r.Get(k); return err }); err == nil || errors.Is(err, store.ErrNotFound) {
				t.Errorf("get: %v", err)
			}
			for op, fn := range map[string]func(store.Txn) error{
				"get":    func(tx store.Txn) error { _, err := tx.Get(k); return err },
				"put":    func(tx store.Txn) error { return tx.Put(k, []byte("mine")) },
				"delete": func(tx store.Txn) error { return tx.Delete(k) },
			} {
				if err := s.Update(ctx, fn); err == nil || errors.Is(err, store.ErrNotFound) {
					t.Errorf("%s in a transaction: %v", op, err)
				}
			}
			if len(k) <= 16 {
				return
			}
			_ = inner.View(ctx, func(r store.Reader) error {
				if v, err := r.Get(k); err != nil || string(v) != "theirs" {
					t.Errorf("the row is now %q, %v", v, err)
				}
				return nil
			})
		})
	}
}

func TestStorageRefusesForeignRanges(t *testing.T) {
	s, _ := confined(t)
	first, end := store.NewKey(ns, mount, 0), store.NewKey(ns, mount+1, 0)[:16]
	for name, r := range map[string]store.Range{
		"everything":             {},
		"without an end":         {Start: first},
		"without a start":        {End: end},
		"from the mount before":  {Start: store.NewKey(ns, mount-1, 255), End: end},
		"into the mount after":   {Start: first, End: store.NewKey(ns, mount+1, 0)},
		"another mount":          store.Under(store.NewKey(ns, mount+1, 1)),
		"another namespace":      store.Under(store.NewKey(ns+1, mount, 1)),
		"backwards without ends": {Reverse: true},
		"the whole namespace":    store.Under(store.NewKey(ns, 0, 0)[:8]),
	} {
		t.Run(name, func(t *testing.T) {
			err := s.Update(context.Background(), func(tx store.Txn) error {
				for e, err := range tx.Scan(r) {
					if err == nil {
						t.Errorf("a row came: %q", e.Key)
					}
					return err
				}
				return nil
			})
			if err == nil {
				t.Error("the scan was not refused")
			}
		})
	}
}

func TestConfinementCanBeNested(t *testing.T) {
	s, inner := confined(t)
	other := engine.NewStorage(ns, mount+1, inner)
	_, err := inner.Update(context.Background(), func(tx store.Txn) error {
		narrow := s.Confine(tx)
		if engine.Unconfine(narrow) != tx || engine.Unconfine(tx) != tx {
			t.Error("the transaction below is another one")
		}
		twice := other.Confine(narrow)
		for _, k := range []store.Key{s.Key(1, "a"), other.Key(1, "a")} {
			if err := twice.Put(k, nil); err == nil {
				t.Errorf("%q was written through two mounts", k)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestStorageIsToldOfItsOwnChanges(t *testing.T) {
	s, inner := confined(t)
	ctx := context.Background()
	var seen [][]store.Change
	stop := s.Watch(func(changes []store.Change) { seen = append(seen, changes) })
	put := func(keys ...store.Key) {
		t.Helper()
		if _, err := inner.Update(ctx, func(tx store.Txn) error {
			for _, k := range keys {
				if err := tx.Put(k, []byte("v")); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	for _, k := range foreign() {
		if len(k) > 16 {
			put(k)
		}
	}
	put(store.NewKey(ns, mount-1, 255, "x"), s.Key(1, "a"), s.Key(255, "z"), store.NewKey(ns, mount+1, 0))
	stop()
	put(s.Key(1, "late"))
	if len(seen) != 1 || len(seen[0]) != 2 || seen[0][0].Key != s.Key(1, "a") || seen[0][1].Key != s.Key(255, "z") {
		t.Errorf("the watcher saw %v", seen)
	}
}
