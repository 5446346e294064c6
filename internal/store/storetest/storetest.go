// Package storetest is the conformance suite of the storage contract. Every
// implementation of [store.Store] runs it:
//
//	func TestContract(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) store.Store { return mem.New() })
//	}
package storetest

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Run runs every test of the contract. Each calls open for a store of its own,
// empty at first, and closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	tests := []struct {
		name string
		run  func(*testing.T, store.Store)
	}{
		{"an empty store has nothing", testEmpty},
		{"rows can be written, read and removed", testBasics},
		{"the empty value is a value", testEmptyValue},
		{"scans are ordered and bounded", testScan},
		{"a scan can be broken off and run again", testScanBreak},
		{"a view is a snapshot", testViewIsSnapshot},
		{"a transaction reads its own writes", testOwnWrites},
		{"a transaction scans its own writes", testOwnScan},
		{"writes during a scan do not disturb it", testWriteDuringScan},
		{"an error rolls back", testRollback},
		{"a panic rolls back", testPanic},
		{"values are kept apart from their buffers", testAliasing},
		{"a transaction without writes commits nothing", testReadOnlyUpdate},
		{"indexes rise", testIndexes},
		{"limits are enforced", testLimits},
		{"a conflict on a key retries", testKeyConflict},
		{"an unrelated change does not retry", testNoFalseConflict},
		{"an absent row that appears is a conflict", testAbsentConflict},
		{"no write skew on keys", testWriteSkewKeys},
		{"no write skew on ranges", testWriteSkewRanges},
		{"phantoms are conflicts", testPhantoms},
		{"only what a scan has looked at is a conflict", testScanExtent},
		{"concurrent counters are exact", testCounters},
		{"concurrent transfers keep the sum", testTransfers},
		{"watchers see commits in order", testWatchOrder},
		{"watchers see a commit before Update returns", testWatchSynchronous},
		{"watchers see what was changed", testWatchChanges},
		{"a stopped watcher is not called", testWatchStop},
		{"a cancelled context ends the call", testCancel},
		{"a closed store is unavailable", testClose},
		{"random operations match a model", testModel},
		{"digests tell states apart", testDigest},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { _ = s.Close() })
			test.run(t, s)
		})
	}
}

// Digest returns a fingerprint of every row of s: equal exactly if the rows
// are. A store that cannot be read gives a text that says so.
func Digest(s store.Store) string {
	h := sha256.New()
	err := s.View(context.Background(), func(r store.Reader) error {
		var n [8]byte
		for e, err := range r.Scan(store.Range{}) {
			if err != nil {
				return err
			}
			for _, part := range [][]byte{[]byte(e.Key), e.Value} {
				binary.BigEndian.PutUint64(n[:], uint64(len(part)))
				h.Write(n[:])
				h.Write(part)
			}
		}
		return nil
	})
	if err != nil {
		return "unreadable: " + err.Error()
	}
	return hex.EncodeToString(h.Sum(nil))
}

func key(parts ...string) store.Key { return store.NewKey(store.RootNamespace, 7, 1, parts...) }

// all is the range of every key that key makes.
var all = store.Under(key())

func put(t *testing.T, s store.Store, k store.Key, value string) store.Index {
	t.Helper()
	index, err := s.Update(t.Context(), func(txn store.Txn) error { return txn.Put(k, []byte(value)) })
	if err != nil {
		t.Fatalf("Update(put %q): %v", k, err)
	}
	return index
}

func remove(t *testing.T, s store.Store, k store.Key) store.Index {
	t.Helper()
	index, err := s.Update(t.Context(), func(txn store.Txn) error { return txn.Delete(k) })
	if err != nil {
		t.Fatalf("Update(delete %q): %v", k, err)
	}
	return index
}

// read returns the value at k, or "<none>".
func read(t *testing.T, s store.Store, k store.Key) string {
	t.Helper()
	var value string
	view(t, s, func(r store.Reader) { value = get(t, r, k) })
	return value
}

func view(t *testing.T, s store.Store, fn func(store.Reader)) {
	t.Helper()
	err := s.View(t.Context(), func(r store.Reader) error {
		fn(r)
		return nil
	})
	if err != nil {
		t.Fatalf("View: %v", err)
	}
}

// get returns the value at k, or "<none>". It does not end the test itself:
// it is used in functions that must return to the store.
func get(t *testing.T, r store.Reader, k store.Key) string {
	t.Helper()
	value, err := r.Get(k)
	if errors.Is(err, fault.NotFound) {
		return "<none>"
	}
	if err != nil {
		t.Errorf("Get(%q): %v", k, err)
	}
	return string(value)
}

// scan returns the rows of rg as "part=value".
func scan(t *testing.T, r store.Reader, rg store.Range) []string {
	t.Helper()
	rows := []string{}
	for e, err := range r.Scan(rg) {
		if err != nil {
			t.Errorf("Scan(%v): %v", rg, err)
			break
		}
		rows = append(rows, fmt.Sprintf("%s=%s", e.Key.Last(), e.Value))
	}
	return rows
}

func wantKind(t *testing.T, err error, kind fault.Kind) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("error is %v (%v), want kind %v", err, fault.KindOf(err), kind)
	}
}
