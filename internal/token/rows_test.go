package token_test

import (
	"encoding/hex"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
)

// rowsOf are the rows that a token with an end must have, and no others.
func rowsOf(m *made) []string {
	key := func(kind store.Kind, parts ...string) string {
		return describe(store.NewKey(store.RootNamespace, store.System, kind), parts)
	}
	rows := []string{
		key(store.KindToken, m.Handle), key(store.KindAccessor, m.Accessor),
		key(store.KindLease, "auth", "token", "create", "h"+hex.EncodeToString([]byte(m.Handle))),
		key(store.KindDue, store.Uint64Part(0), store.Uint64Part(uint64(m.Expires.UnixNano())), "t"+m.Handle),
	}
	if len(m.Parent) > 0 {
		rows = append(rows, key(store.KindTokenParent, string(m.Parent), m.Handle))
	}
	return rows
}

// TestEveryRowOfATokenIsWrittenAndRemovedTogether compares whole row sets.
func TestEveryRowOfATokenIsWrittenAndRemovedTogether(t *testing.T) {
	w := newWorld(t)
	parent := w.create(nil)
	child := w.create(parent)
	want := slices.Sorted(slices.Values(slices.Concat(w.empty, rowsOf(parent), rowsOf(child))))
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(w.rows()))); diff != "" {
		t.Errorf("rows of a parent and its child (-want +got):\n%s", diff)
	}
	if err := w.Revoke(t.Context(), child.Handle); err != nil {
		t.Fatal(err)
	}
	want = slices.Sorted(slices.Values(slices.Concat(w.empty, rowsOf(parent))))
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(w.rows()))); diff != "" {
		t.Errorf("rows after the child was revoked (-want +got):\n%s", diff)
	}
	if err := w.Revoke(t.Context(), parent.Handle); err != nil {
		t.Fatal(err)
	}
	w.gone()
}

func TestARenewalLeavesOneItemInTheIndex(t *testing.T) {
	w := newWorld(t)
	m := w.create(nil)
	for range 3 {
		w.clock.Advance(time.Minute)
		after, err := w.Renew(t.Context(), w.call(m), m.Entry, 0)
		if err != nil {
			t.Fatal(err)
		}
		m.Entry = after
	}
	want := slices.Sorted(slices.Values(slices.Concat(w.empty, rowsOf(m))))
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(w.rows()))); diff != "" {
		t.Errorf("rows after three renewals (-want +got):\n%s", diff)
	}
}

func TestAFailedCreationLeavesNothing(t *testing.T) {
	ours := errors.New("the method's own row")
	tests := []struct {
		name string
		do   func(w *world) error
		want error
	}{
		{"the store fails", func(w *world) error {
			w.db.left.Store(0)
			_, _, err := w.Create(t.Context(), token.Entry{TTL: time.Hour, Type: token.Service}, "", nil)
			return err
		}, fault.Unavailable},
		{"what goes with it fails", func(w *world) error {
			_, _, err := w.Create(t.Context(), token.Entry{TTL: time.Hour, Type: token.Service}, "", func(tx store.Txn, _ *token.Entry) error {
				return errors.Join(tx.Put("row", nil), ours)
			})
			return err
		}, ours},
		{"the parent is gone", func(w *world) error {
			_, _, err := w.Create(t.Context(), token.Entry{TTL: time.Hour, Type: token.Service, Parent: []byte("nobody")}, "", nil)
			return err
		}, fault.Denied},
		{"it would live for ever", func(w *world) error {
			_, _, err := w.Create(t.Context(), token.Entry{Type: token.Service, Policies: []string{"default"}}, "", nil)
			return err
		}, fault.Internal},
		{"it would live for less than a second", func(w *world) error {
			_, _, err := w.Create(t.Context(), token.Entry{Type: token.Service, TTL: time.Second - 1}, "", nil)
			return err
		}, fault.Internal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			err := tt.do(w)
			if !errors.Is(err, tt.want) && fault.KindOf(err) != tt.want {
				t.Errorf("error %v, want %v", err, tt.want)
			}
			w.gone()
		})
	}
}

func TestATextCanBeTakenOnce(t *testing.T) {
	w := newWorld(t)
	e := token.Entry{NS: store.RootNamespace, TTL: time.Hour, Type: token.Service}
	if _, _, err := w.Create(t.Context(), e, "mine", nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.Create(t.Context(), e, "mine", nil); !errors.Is(err, fault.Invalid) {
		t.Errorf("second token of the same text: %v, want invalid", err)
	}
}
