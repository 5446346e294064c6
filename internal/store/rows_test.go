package store_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
)

// counting counts the rows that a reader hands out.
type counting struct {
	store.Reader
	rows int
	err  error // fails every scan, if set
}

func (c *counting) Scan(r store.Range) iter.Seq2[store.Entry, error] {
	return func(yield func(store.Entry, error) bool) {
		if c.err != nil {
			yield(store.Entry{}, c.err)
			return
		}
		for e, err := range c.Reader.Scan(r) {
			c.rows++
			if !yield(e, err) {
				return
			}
		}
	}
}

func filled(t *testing.T, keys ...store.Key) store.Store {
	t.Helper()
	s := mem.New()
	t.Cleanup(func() { _ = s.Close() })
	_, err := s.Update(context.Background(), func(tx store.Txn) error {
		for _, k := range keys {
			if err := tx.Put(k, []byte("{}")); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestChildrenSeekFromChildToChild(t *testing.T) {
	dir := store.NewKey(1, 2, 3, "dir")
	keys := []store.Key{dir, store.NewKey(1, 2, 3, "dis", "other"), store.NewKey(1, 2, 4, "dir", "other"), dir.Append("", "x"), dir.Append("leaf"), dir.Append("nul\x00"), dir.Append("nul\x00", "x")}
	for i := range 200 {
		keys = append(keys, dir.Append("big", fmt.Sprint(i)), dir.Append("big", fmt.Sprint(i), "deeper"))
	}
	s := filled(t, keys...)
	all := []string{"", "big", "leaf", "nul\x00"}
	for _, tt := range []struct {
		name, after string
		limit       int
		want        []string
	}{
		{"all", "", 0, all},
		{"two", "", 2, all[:2]},
		{"exactly all", "", 4, all},
		{"after a child with rows below it", "big", 0, all[2:]},
		{"after a name between", "c", 1, all[2:3]},
		{"after the last", "nul\x00", 0, nil},
		{"after the prefix of a name", "nul", 0, all[3:]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := s.View(context.Background(), func(r store.Reader) error {
				c := &counting{Reader: r}
				got, err := store.Children(c, dir, tt.after, tt.limit)
				if diff := cmp.Diff(tt.want, got); diff != "" {
					t.Error(diff)
				}
				if c.rows > len(tt.want)+1 { // the row of the folder itself
					t.Errorf("%d rows were read for %d children", c.rows, len(tt.want))
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestChildrenOfNothing(t *testing.T) {
	s := filled(t)
	broken := errors.New("broken")
	err := s.View(context.Background(), func(r store.Reader) error {
		if got, err := store.Children(r, store.NewKey(1, 2, 3), "", 0); err != nil || got != nil {
			t.Errorf("got %q, %v", got, err)
		}
		if _, err := store.Children(&counting{Reader: r, err: broken}, store.NewKey(1, 2, 3), "", 0); !errors.Is(err, broken) {
			t.Errorf("a scan that fails: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestJSONRows(t *testing.T) {
	type row struct{ Name string }
	good, bad := store.NewKey(1, 2, 3, "good"), store.NewKey(1, 2, 3, "bad")
	s := filled(t)
	ctx := context.Background()
	_, err := s.Update(ctx, func(tx store.Txn) error {
		if err := store.PutJSON(tx, good, row{"x"}); err != nil {
			return err
		}
		if err := store.PutJSON(tx, bad, func() {}); err == nil {
			t.Error("a function was written as JSON")
		}
		return tx.Put(bad, []byte(`{"Name":["canary"]}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	err = s.View(ctx, func(r store.Reader) error {
		if got, err := store.GetJSON[row](r, good); err != nil || got.Name != "x" {
			t.Errorf("got %v, %v", got, err)
		}
		if _, err := store.GetJSON[row](r, bad); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("a malformed row: %v", err)
		}
		if _, err := store.GetJSON[row](r, good.Append("none")); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an absent row: %v", err)
		}
		for k, want := range map[store.Key]bool{good: true, good.Append("none"): false} {
			if got, err := store.Exists(r, k); err != nil || got != want {
				t.Errorf("exists: %t, %v", got, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBudget(t *testing.T) {
	key := store.NewKey(1, 2, 3, "x")
	for _, tt := range []struct {
		name string
		key  store.Key
		size int
		want error
	}{
		{"a row", key, 10, nil},
		{"the largest value", key, store.MaxValue, nil},
		{"too large a value", key, store.MaxValue + 1, fault.TooLarge},
		{"too long a key", store.Key(strings.Repeat("k", store.MaxKey+1)), 0, fault.TooLarge},
		{"no key", "", 0, fault.Invalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var b store.Budget
			if err := b.Spend(tt.key, make([]byte, tt.size)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
	var b store.Budget
	for range store.MaxTxn/store.MaxValue - 1 {
		if err := b.Spend(key, make([]byte, store.MaxValue)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Spend(key, make([]byte, store.MaxValue)); !errors.Is(err, fault.TooLarge) {
		t.Errorf("a transaction over the limit: %v", err)
	}
}
