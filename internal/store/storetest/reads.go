package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

func testEmpty(t *testing.T, s store.Store) {
	view(t, s, func(r store.Reader) {
		_, err := r.Get(key("a"))
		if !errors.Is(err, store.ErrNotFound) || !errors.Is(err, fault.NotFound) {
			t.Errorf("Get of an absent row: %v, want ErrNotFound", err)
		}
		if rows := scan(t, r, store.Range{}); len(rows) != 0 {
			t.Errorf("Scan of an empty store: %q", rows)
		}
		if rows := scan(t, r, store.Range{Reverse: true}); len(rows) != 0 {
			t.Errorf("reverse Scan of an empty store: %q", rows)
		}
	})
}

func testBasics(t *testing.T, s store.Store) {
	put(t, s, key("a"), "1")
	put(t, s, key("b"), "2")
	put(t, s, key("a"), "3")
	remove(t, s, key("b"))
	remove(t, s, key("absent"))
	for k, want := range map[string]string{"a": "3", "b": "<none>", "absent": "<none>"} {
		if got := read(t, s, key(k)); got != want {
			t.Errorf("row %s is %q, want %q", k, got, want)
		}
	}
	put(t, s, key("b"), "4")
	if got := read(t, s, key("b")); got != "4" {
		t.Errorf("row b is %q after it was removed and put again", got)
	}
}

func testEmptyValue(t *testing.T, s store.Store) {
	for _, empty := range [][]byte{nil, {}} {
		var seen []byte
		stop := s.Watch(func(c store.Commit) { seen = c.Changes[0].Value })
		_, err := s.Update(t.Context(), func(txn store.Txn) error { return txn.Put(key("e"), empty) })
		stop()
		if err != nil {
			t.Fatalf("Update: %v", err)
		}
		if seen == nil {
			t.Error("the watcher takes an empty value for a removal")
		}
		if got := read(t, s, key("e")); got != "" {
			t.Errorf("row is %q, want the empty value", got)
		}
	}
}

// fill puts the rows "00".."n-1", with values that are the same as the parts.
func fill(t *testing.T, s store.Store, n int) {
	t.Helper()
	_, err := s.Update(t.Context(), func(txn store.Txn) error {
		for i := range n {
			part := fmt.Sprintf("%02d", i)
			if err := txn.Put(key(part), []byte(part)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func testScan(t *testing.T, s store.Store) {
	fill(t, s, 20)
	put(t, s, store.NewKey(store.RootNamespace, 6, 1, "before"), "x")
	put(t, s, store.NewKey(store.RootNamespace, 8, 1, "behind"), "x")
	put(t, s, store.NewKey(store.RootNamespace, 7, 2, "behind"), "x")
	put(t, s, store.NewKey(2, 0, 1, "last"), "x")
	tests := []struct {
		name string
		rg   store.Range
		want []string
	}{
		{"a part of it", store.Range{Start: key("03"), End: key("06")}, []string{"03", "04", "05"}},
		{"its end", store.Range{Start: key("18"), End: all.End}, []string{"18", "19"}},
		{"reverse", store.Range{Start: key("03"), End: key("06"), Reverse: true}, []string{"05", "04", "03"}},
		{"limit", store.Range{Start: key("03"), End: all.End, Limit: 2}, []string{"03", "04"}},
		{"reverse limit", store.Range{Start: all.Start, End: all.End, Reverse: true, Limit: 2}, []string{"19", "18"}},
		{"limit beyond the end", store.Range{Start: key("18"), End: all.End, Limit: 9}, []string{"18", "19"}},
		{"bounds that are no rows", store.Range{Start: key("035"), End: key("055")}, []string{"04", "05"}},
		{"reverse bounds that are no rows", store.Range{Start: key("035"), End: key("055"), Reverse: true}, []string{"05", "04"}},
		{"empty", store.Range{Start: key("03"), End: key("03")}, nil},
		{"turned around", store.Range{Start: key("06"), End: key("03")}, nil},
		{"turned around, reverse", store.Range{Start: key("06"), End: key("03"), Reverse: true}, nil},
		{"without end", store.Range{Start: store.NewKey(2, 0, 0)}, []string{"last"}},
		{"without end, reverse", store.Range{Start: store.NewKey(store.RootNamespace, 7, 2), Reverse: true}, []string{"last", "behind", "behind"}},
		{"first of all", store.Range{Limit: 1}, []string{"before"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			check := func(r store.Reader) {
				var got []string
				for e, err := range r.Scan(test.rg) {
					if err != nil {
						t.Errorf("Scan: %v", err)
						return
					}
					got = append(got, e.Key.Last())
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("rows (-want +got):\n%s", diff)
				}
			}
			view(t, s, check)
			if _, err := s.Update(t.Context(), func(txn store.Txn) error { check(txn); return nil }); err != nil {
				t.Errorf("Update: %v", err)
			}
		})
	}
}

func testScanBreak(t *testing.T, s store.Store) {
	fill(t, s, 10)
	view(t, s, func(r store.Reader) {
		rows := r.Scan(all)
		for range 3 {
			n := 0
			for e, err := range rows {
				if err != nil || e.Key.Last() != fmt.Sprintf("%02d", n) {
					t.Errorf("row %d is %q, %v", n, e.Key, err)
				}
				if n++; n == 4 {
					break
				}
			}
		}
		// Two scans at once, one inside the other.
		n := 0
		for range r.Scan(store.Range{Start: all.Start, End: all.End, Limit: 3}) {
			for range r.Scan(store.Range{Start: all.Start, End: all.End, Limit: 3, Reverse: true}) {
				n++
			}
		}
		if n != 9 {
			t.Errorf("nested scans saw %d rows, want 9", n)
		}
	})
}

func testViewIsSnapshot(t *testing.T, s store.Store) {
	fill(t, s, 5)
	view(t, s, func(r store.Reader) {
		before := scan(t, r, all)
		var during []string
		for e, err := range r.Scan(all) {
			if err != nil {
				t.Errorf("Scan: %v", err)
				return
			}
			during = append(during, fmt.Sprintf("%s=%s", e.Key.Last(), e.Value))
			put(t, s, key("02"), "changed")
			put(t, s, key("03x"), "new")
			remove(t, s, key("04"))
		}
		for _, rows := range [][]string{during, scan(t, r, all)} {
			if diff := cmp.Diff(before, rows); diff != "" {
				t.Errorf("the snapshot has changed (-before +after):\n%s", diff)
			}
		}
		if got := get(t, r, key("04")); got != "04" {
			t.Errorf("removed row is %q in the older snapshot, want 04", got)
		}
	})
	if got := read(t, s, key("02")); got != "changed" {
		t.Errorf("a later view reads %q, want the change", got)
	}
}

func testOwnWrites(t *testing.T, s store.Store) {
	put(t, s, key("a"), "old")
	put(t, s, key("b"), "old")
	_, err := s.Update(t.Context(), func(txn store.Txn) error {
		steps := []struct {
			change func() error
			want   [3]string
		}{
			{func() error { return nil }, [3]string{"old", "old", "<none>"}},
			{func() error { return txn.Put(key("a"), []byte("new")) }, [3]string{"new", "old", "<none>"}},
			{func() error { return txn.Delete(key("b")) }, [3]string{"new", "<none>", "<none>"}},
			{func() error { return txn.Put(key("c"), []byte("1")) }, [3]string{"new", "<none>", "1"}},
			{func() error { return txn.Delete(key("c")) }, [3]string{"new", "<none>", "<none>"}},
			{func() error { return txn.Put(key("b"), []byte("back")) }, [3]string{"new", "back", "<none>"}},
		}
		for i, step := range steps {
			if err := step.change(); err != nil {
				return err
			}
			got := [3]string{get(t, txn, key("a")), get(t, txn, key("b")), get(t, txn, key("c"))}
			if got != step.want {
				t.Errorf("step %d: rows are %q, want %q", i, got, step.want)
			}
		}
		if got := read(t, s, key("a")); got != "old" {
			t.Errorf("others see %q before the commit", got)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
	view(t, s, func(r store.Reader) {
		if diff := cmp.Diff([]string{"a=new", "b=back"}, scan(t, r, all)); diff != "" {
			t.Errorf("after the commit (-want +got):\n%s", diff)
		}
	})
}

func testOwnScan(t *testing.T, s store.Store) {
	fill(t, s, 6)
	_, err := s.Update(t.Context(), func(txn store.Txn) error {
		err := errors.Join(
			txn.Put(key("00a"), []byte("new")), txn.Put(key("02"), []byte("changed")),
			txn.Delete(key("03")), txn.Delete(key("05")), txn.Put(key("09"), []byte("end")),
			txn.Put(key("08"), []byte("gone")), txn.Delete(key("08")))
		tests := []struct {
			rg   store.Range
			want []string
		}{
			{all, []string{"00=00", "00a=new", "01=01", "02=changed", "04=04", "09=end"}},
			{store.Range{Start: all.Start, End: all.End, Reverse: true}, []string{"09=end", "04=04", "02=changed", "01=01", "00a=new", "00=00"}},
			{store.Range{Start: key("01"), End: all.End, Limit: 3}, []string{"01=01", "02=changed", "04=04"}},
			{store.Range{Start: all.Start, End: key("09"), Limit: 2, Reverse: true}, []string{"04=04", "02=changed"}},
			{store.Range{Start: key("03"), End: key("04")}, []string{}},
			{store.Range{Start: key("05"), End: all.End}, []string{"09=end"}},
			{store.Range{Start: key("00a"), End: key("01")}, []string{"00a=new"}},
		}
		for _, test := range tests {
			if diff := cmp.Diff(test.want, scan(t, txn, test.rg)); diff != "" {
				t.Errorf("Scan(%+v) (-want +got):\n%s", test.rg, diff)
			}
		}
		return err
	})
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func testWriteDuringScan(t *testing.T, s store.Store) {
	for _, reverse := range []bool{false, true} {
		fill(t, s, 10)
		_, err := s.Update(t.Context(), func(txn store.Txn) error {
			n := 0
			for e, err := range txn.Scan(store.Range{Start: all.Start, End: all.End, Reverse: reverse}) {
				if err != nil {
					return err
				}
				n++
				if err := errors.Join(txn.Delete(e.Key), txn.Put(e.Key.Append("child"), nil)); err != nil {
					return err
				}
			}
			if n != 10 {
				t.Errorf("reverse %t: the scan saw %d rows, want the 10 there were when it began", reverse, n)
			}
			for e, err := range txn.Scan(all) {
				if err != nil {
					return err
				}
				if e.Key.Last() != "child" {
					t.Errorf("reverse %t: %q is still there", reverse, e.Key)
				}
				if err := txn.Delete(e.Key); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatalf("Update: %v", err)
		}
		view(t, s, func(r store.Reader) {
			if rows := scan(t, r, all); len(rows) != 0 {
				t.Errorf("reverse %t: rows left: %q", reverse, rows)
			}
		})
	}
}

func testAliasing(t *testing.T, s store.Store) {
	buf := []byte("first")
	_, err := s.Update(t.Context(), func(txn store.Txn) error { return txn.Put(key("a"), buf) })
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
	copy(buf, "XXXXX") // the transaction has ended, the buffer is ours again
	if got := read(t, s, key("a")); got != "first" {
		t.Errorf("row is %q after the caller's buffer was changed", got)
	}
	view(t, s, func(r store.Reader) {
		kept, err := r.Get(key("a"))
		if err != nil {
			t.Errorf("Get: %v", err)
		}
		put(t, s, key("a"), "other")
		for range r.Scan(store.Range{}) {
		}
		if _, err := r.Get(key("a")); err != nil || !bytes.Equal(kept, []byte("first")) {
			t.Errorf("a slice is %q later in its view (%v)", kept, err)
		}
	})
}
