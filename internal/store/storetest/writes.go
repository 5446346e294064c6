package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

func testRollback(t *testing.T, s store.Store) {
	fill(t, s, 3)
	before := Digest(s)
	calls := 0
	stop := s.Watch(func(store.Commit) { calls++ })
	defer stop()
	mine := errors.New("mine")
	_, err := s.Update(t.Context(), func(txn store.Txn) error {
		if err := errors.Join(txn.Put(key("00"), []byte("x")), txn.Delete(key("01")), txn.Put(key("new"), nil)); err != nil {
			return err
		}
		return fmt.Errorf("wrapped: %w", mine)
	})
	if err == nil || err.Error() != "wrapped: mine" || !errors.Is(err, mine) {
		t.Errorf("Update returned %v, want the function's error as it is", err)
	}
	if after := Digest(s); after != before {
		t.Error("a failed transaction has changed the store")
	}
	if calls != 0 {
		t.Errorf("watchers were called %d times for a failed transaction", calls)
	}
	err = s.View(t.Context(), func(store.Reader) error { return mine })
	if err != mine { //nolint:errorlint // as it is
		t.Errorf("View returned %v, want the function's error as it is", err)
	}
}

func testPanic(t *testing.T, s store.Store) {
	fill(t, s, 3)
	before := Digest(s)
	for range 3 {
		for _, call := range []func(){
			func() {
				_, _ = s.Update(t.Context(), func(txn store.Txn) error {
					_ = txn.Put(key("00"), []byte("x"))
					panic("mine")
				})
			},
			func() { _ = s.View(t.Context(), func(store.Reader) error { panic("mine") }) },
		} {
			func() {
				defer func() {
					if p := recover(); p != "mine" {
						t.Errorf("recovered %v, want the function's panic", p)
					}
				}()
				call()
			}()
		}
	}
	if after := Digest(s); after != before {
		t.Error("a transaction that panicked has changed the store")
	}
	put(t, s, key("00"), "usable")
}

func testReadOnlyUpdate(t *testing.T, s store.Store) {
	fill(t, s, 3)
	calls := 0
	stop := s.Watch(func(store.Commit) { calls++ })
	defer stop()
	_, err := s.Update(t.Context(), func(txn store.Txn) error {
		scan(t, txn, all)
		return nil
	})
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
	if calls != 0 {
		t.Errorf("watchers were called %d times for a transaction without writes", calls)
	}
}

func testIndexes(t *testing.T, s store.Store) {
	var last store.Index
	for i := range 10 {
		index := put(t, s, key("a"), fmt.Sprint(i))
		if index <= last {
			t.Errorf("commit %d has index %d, not above %d", i, index, last)
		}
		last = index
	}
}

func testLimits(t *testing.T, s store.Store) {
	fill(t, s, 3)
	before := Digest(s)
	longest := store.Key(strings.Repeat("k", store.MaxKey))
	megabyte := make([]byte, 1<<20)
	tests := []struct {
		name string
		want fault.Kind
		fn   func(store.Txn) error
	}{
		{"key too long", fault.TooLarge, func(txn store.Txn) error { return txn.Put(longest+"k", nil) }},
		{"key of a megabyte", fault.TooLarge, func(txn store.Txn) error { return txn.Put(store.Key(megabyte), nil) }},
		{"removed key too long", fault.TooLarge, func(txn store.Txn) error { return txn.Delete(longest + "k") }},
		{"value too large", fault.TooLarge, func(txn store.Txn) error { return txn.Put(key("a"), make([]byte, store.MaxValue+1)) }},
		{"transaction too large", fault.TooLarge, func(txn store.Txn) error {
			for i := range store.MaxTxn>>20 + 1 {
				if err := txn.Put(key("big", fmt.Sprint(i)), megabyte); err != nil {
					return err
				}
			}
			return nil
		}},
		{"empty key", fault.Invalid, func(txn store.Txn) error { return txn.Put("", nil) }},
		{"refusal that is not heeded", fault.TooLarge, func(txn store.Txn) error {
			_ = txn.Put(key("00"), []byte("half"))
			_ = txn.Put(longest+"k", nil)
			return nil
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := s.Update(t.Context(), test.fn)
			wantKind(t, err, test.want)
			if after := Digest(s); after != before {
				t.Error("a refused transaction has changed the store")
			}
		})
	}
	_, err := s.Update(t.Context(), func(txn store.Txn) error {
		return errors.Join(txn.Put(longest, []byte("x")), txn.Put(key("large"), make([]byte, store.MaxValue)))
	})
	if err != nil {
		t.Errorf("a transaction within the limits: %v", err)
	}
	if got := read(t, s, longest); got != "x" {
		t.Errorf("row with the longest key is %q", got)
	}
	if got := len(read(t, s, key("large"))); got != store.MaxValue {
		t.Errorf("largest value has %d bytes", got)
	}
}

func testCancel(t *testing.T, s store.Store) {
	fill(t, s, 1)
	before := Digest(s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.View(ctx, func(store.Reader) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("View with a cancelled context: %v", err)
	}
	if _, err := s.Update(ctx, func(txn store.Txn) error { return txn.Put(key("00"), nil) }); !errors.Is(err, context.Canceled) {
		t.Errorf("Update with a cancelled context: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	_, err := s.Update(ctx, func(txn store.Txn) error {
		cancel()
		return txn.Put(key("00"), nil)
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Update cancelled by its function: %v", err)
	}
	if after := Digest(s); after != before {
		t.Error("a cancelled transaction has changed the store")
	}
}

func testClose(t *testing.T, s store.Store) {
	fill(t, s, 3)
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	wantKind(t, s.View(t.Context(), func(store.Reader) error { return nil }), fault.Unavailable)
	_, err := s.Update(t.Context(), func(txn store.Txn) error { return txn.Put(key("00"), nil) })
	wantKind(t, err, fault.Unavailable)
	if err := s.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func testDigest(t *testing.T, s store.Store) {
	seen := map[string]int{Digest(s): 0}
	steps := []func(){
		func() { put(t, s, key("a"), "") },
		func() { put(t, s, key("a"), "b") },
		func() { put(t, s, key("ab"), "") },
		func() { remove(t, s, key("a")) },
	}
	for i, step := range steps {
		step()
		d := Digest(s)
		if before, ok := seen[d]; ok {
			t.Errorf("steps %d and %d have the same digest", before, i+1)
		}
		seen[d] = i + 1
	}
	remove(t, s, key("ab"))
	if before, ok := seen[Digest(s)]; !ok || before != 0 {
		t.Error("the digest of the empty store has changed")
	}
}
