package store_test

import (
	"cmp"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/store"
)

// tuple is what a key encodes.
type tuple struct {
	NS    store.NamespaceID
	Mount store.MountID
	Kind  store.Kind
	Parts []string
}

func (t tuple) key() store.Key { return store.NewKey(t.NS, t.Mount, t.Kind, t.Parts...) }

func (t tuple) compare(u tuple) int {
	return cmp.Or(cmp.Compare(t.NS, u.NS), cmp.Compare(t.Mount, u.Mount), cmp.Compare(t.Kind, u.Kind), slices.Compare(t.Parts, u.Parts))
}

// within reports whether u's tuple begins with t's.
func (t tuple) within(u tuple) bool {
	return t.NS == u.NS && t.Mount == u.Mount && t.Kind == u.Kind && len(u.Parts) >= len(t.Parts) && slices.Equal(t.Parts, u.Parts[:len(t.Parts)])
}

// randomTuple makes tuples that are close to each other, of the bytes that the
// encoding treats specially.
func randomTuple(r *rand.Rand) tuple {
	t := tuple{store.NamespaceID(r.IntN(2) * 255), store.MountID(r.IntN(2) * 256), store.Kind(r.IntN(2) * 255), nil}
	for range r.IntN(4) {
		part := make([]byte, r.IntN(4))
		for i := range part {
			part[i] = []byte{0, 1, 2, 'a', 0xfe, 0xff}[r.IntN(6)]
		}
		t.Parts = append(t.Parts, string(part))
	}
	return t
}

func TestKeysCompareAsTheirTuples(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 100_000 {
		a, b := randomTuple(r), randomTuple(r)
		if got, want := cmp.Compare(a.key(), b.key()), a.compare(b); got != want {
			t.Fatalf("%v and %v compare as %d, their keys as %d", a, b, want, got)
		}
		if got, want := strings.HasPrefix(string(b.key()), string(a.key())), a.within(b); got != want {
			t.Fatalf("the key of %v is a prefix of that of %v: %t, want %t", a, b, got, want)
		}
		if got, want := store.Under(a.key()).Contains(b.key()), a.within(b); got != want {
			t.Fatalf("%v is under %v: %t, want %t", b, a, got, want)
		}
		if after := store.After(a.key()); (b.key() >= after) != (a.compare(b) < 0 && !a.within(b)) {
			t.Fatalf("%v is after all of %v: %t", b, a, b.key() >= after)
		}
	}
}

func TestKeysAreDecoded(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 10_000 {
		a := randomTuple(r)
		k := a.key()
		parts, err := k.Parts()
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(a, tuple{k.Namespace(), k.Mount(), k.Kind(), parts}); diff != "" {
			t.Fatal(diff)
		}
		if n := len(a.Parts); n > 0 && (k.Last() != a.Parts[n-1] || store.NewKey(a.NS, a.Mount, a.Kind, a.Parts[:n-1]...).Append(a.Parts[n-1]) != k) {
			t.Fatalf("%v ends with %v", a, k.Last())
		}
	}
}

func TestRangesOfParts(t *testing.T) {
	k := store.NewKey(1, 2, 3, "dir")
	for _, tt := range []struct {
		name, part       string
		atOrAfter, begin bool // of "b\x00"
	}{
		{"before", "a", false, false},
		{"the same", "b\x00", true, true},
		{"shorter", "b", false, false},
		{"longer", "b\x00c", true, true},
		{"after", "c", true, false},
		{"escaped byte after", "b\x01", true, false},
		{"empty", "", false, false},
	} {
		row := k.Append(tt.part, "more")
		if got := store.From(k, "b\x00").Contains(row); got != tt.atOrAfter {
			t.Errorf("%s: from is %t", tt.name, got)
		}
		if got := store.UnderPart(k, "b\x00").Contains(row); got != tt.begin {
			t.Errorf("%s: under is %t", tt.name, got)
		}
		if !store.UnderPart(k, "").Contains(row) {
			t.Errorf("%s: not under the empty prefix", tt.name)
		}
	}
	if store.UnderPart(k, "").Contains(store.NewKey(1, 2, 3, "dis")) {
		t.Error("the empty prefix reaches beyond its parent")
	}
	if (store.Range{Start: "b"}).Contains("a") || !(store.Range{Start: "b"}).Contains("\xff") {
		t.Error("a range without an end is wrong")
	}
}

func TestMalformedKeys(t *testing.T) {
	whole := store.NewKey(1, 2, 3, "a\x00b")
	for n := range len(whole) {
		if parts, err := whole[:n].Parts(); err == nil && n != 17 {
			t.Errorf("the first %d bytes decode to %q", n, parts)
		}
	}
	if _, err := (whole + "\x00\x02").Parts(); err == nil {
		t.Error("a bad escape decodes")
	}
	short := store.Key("short")
	if short.Namespace() != 0 || short.Mount() != 0 || short.Kind() != 0 || short.Last() != "" {
		t.Error("a short key has components")
	}
}

func TestUint64PartsSortAsNumbers(t *testing.T) {
	numbers := []uint64{0, 1, 255, 256, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 1}
	for i, n := range numbers {
		if got, ok := store.ParseUint64Part(store.Uint64Part(n)); !ok || got != n {
			t.Errorf("%d comes back as %d", n, got)
		}
		if i > 0 && store.NewKey(1, 1, 1, store.Uint64Part(numbers[i-1])) >= store.NewKey(1, 1, 1, store.Uint64Part(n)) {
			t.Errorf("%d sorts before %d", n, numbers[i-1])
		}
	}
	if _, ok := store.ParseUint64Part("1234567"); ok {
		t.Error("seven bytes are a number")
	}
}

func FuzzParts(f *testing.F) {
	for _, seed := range []store.Key{"", store.NewKey(1, 2, 3), store.NewKey(1, 2, 3, "a", "", "\x00\x01\xff"), store.NewKey(1, 2, 3) + "a\x00\x02"} {
		f.Add(string(seed))
	}
	f.Fuzz(func(t *testing.T, text string) {
		k := store.Key(text)
		parts, err := k.Parts()
		if err != nil {
			return
		}
		if again := store.NewKey(k.Namespace(), k.Mount(), k.Kind(), parts...); again != k {
			t.Fatalf("%q and %q decode to the same", k, again)
		}
	})
}

func FuzzNewKey(f *testing.F) {
	f.Add(uint64(1), uint64(2), byte(3), "a", "b\x00", "")
	f.Fuzz(func(t *testing.T, ns, mount uint64, kind byte, a, b, c string) {
		k := store.NewKey(store.NamespaceID(ns), store.MountID(mount), store.Kind(kind), a, b, c)
		parts, err := k.Parts()
		if err != nil || !slices.Equal(parts, []string{a, b, c}) || binary.BigEndian.Uint64([]byte(k[:8])) != ns || uint64(k.Mount()) != mount || byte(k.Kind()) != kind {
			t.Fatalf("%q decodes to %q, %v", k, parts, err)
		}
	})
}

func BenchmarkNewKey(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_ = store.NewKey(1, 7, 2, "some", "name")
	}
}
