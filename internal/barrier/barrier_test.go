package barrier_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
)

const canary = "canary-9f8e7d6c5b4a"

func newKey(t testing.TB) barrier.Key {
	t.Helper()
	k, err := barrier.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// create makes a keyring in inner and returns its root key.
func create(t testing.TB, inner store.Store, cfg barrier.Config) barrier.Key {
	t.Helper()
	root := newKey(t)
	if _, err := inner.Update(t.Context(), func(txn store.Txn) error { return barrier.Create(txn, root, cfg) }); err != nil {
		t.Fatal(err)
	}
	return root
}

func open(t testing.TB, inner store.Store, root barrier.Key, cfg barrier.Config) *barrier.Barrier {
	t.Helper()
	b, err := barrier.Open(t.Context(), inner, root, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// fixture is a barrier over a store in memory.
func fixture(t testing.TB) (*barrier.Barrier, store.Store, barrier.Key, *clock.Fake) {
	t.Helper()
	fake := clock.NewFake(clock.System{}.Now())
	cfg := barrier.Config{ClusterID: "cluster-a", Clock: fake}
	inner := mem.New()
	root := create(t, inner, cfg)
	return open(t, inner, root, cfg), inner, root, fake
}

func key(parts ...string) store.Key { return store.NewKey(store.RootNamespace, 7, 1, parts...) }

func put(t testing.TB, s store.Store, k store.Key, v []byte) {
	t.Helper()
	if _, err := s.Update(t.Context(), func(txn store.Txn) error { return txn.Put(k, v) }); err != nil {
		t.Fatal(err)
	}
}

func get(t testing.TB, s store.Store, k store.Key) ([]byte, error) {
	t.Helper()
	var out []byte
	err := s.View(t.Context(), func(r store.Reader) error {
		v, err := r.Get(k)
		out = bytes.Clone(v)
		return err
	})
	return out, err
}

func TestValuesComeBackAsWritten(t *testing.T) {
	b, _, _, _ := fixture(t)
	for _, v := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte("long"), 100_000)} {
		put(t, b, key("k"), v)
		got, err := get(t, b, key("k"))
		if err != nil || !bytes.Equal(got, v) || got == nil {
			t.Fatalf("%d bytes: got %d bytes, nil %v, error %v", len(v), len(got), got == nil, err)
		}
	}
	if _, err := get(t, b, key("absent")); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("absent row: %v", err)
	}
}

func TestNothingReadableReachesTheStoreBelow(t *testing.T) {
	b, inner, root, _ := fixture(t)
	for i := range 50 {
		put(t, b, key(fmt.Sprint(i)), []byte(canary))
	}
	err := inner.View(t.Context(), func(r store.Reader) error {
		for e, err := range r.Scan(store.Range{}) {
			if err != nil {
				return err
			}
			if bytes.Contains(e.Value, []byte(canary)) || bytes.Contains(e.Value, root.Expose()) {
				t.Errorf("row %q is readable", e.Key)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	one, _ := get(t, inner, key("1"))
	two, _ := get(t, inner, key("2"))
	if bytes.Equal(one, two) || bytes.Equal(one[5:17], two[5:17]) {
		t.Error("nonces repeat")
	}
}

// TestWhatDoesNotOpen moves and changes stored rows in every way a thief of the
// disk could, and expects one and the same error.
func TestWhatDoesNotOpen(t *testing.T) {
	type world struct {
		inner store.Store
		a, b  []byte // the sealed rows at key a and key b
	}
	edit := func(f func(w world) []byte) func(*testing.T, world) {
		return func(t *testing.T, w world) { put(t, w.inner, key("a"), f(w)) }
	}
	flip := func(i int) func(*testing.T, world) {
		return edit(func(w world) []byte { c := bytes.Clone(w.a); c[i] ^= 1; return c })
	}
	cases := map[string]func(*testing.T, world){
		"another row's value":   edit(func(w world) []byte { return w.b }),
		"format version":        flip(0),
		"term, high byte":       flip(1),
		"term, low byte":        flip(4),
		"nonce":                 flip(5),
		"ciphertext":            flip(17),
		"tag":                   edit(func(w world) []byte { c := bytes.Clone(w.a); c[len(c)-1] ^= 1; return c }),
		"other term that is":    edit(func(w world) []byte { c := bytes.Clone(w.a); c[4] = 2; return c }),
		"cut by one":            edit(func(w world) []byte { return w.a[:len(w.a)-1] }),
		"grown by one":          edit(func(w world) []byte { return append(bytes.Clone(w.a), 0) }),
		"header only":           edit(func(w world) []byte { return w.a[:5] }),
		"empty":                 edit(func(world) []byte { return []byte{} }),
		"plaintext":             edit(func(world) []byte { return []byte(canary + canary + canary) }),
		"another cluster":       edit(func(w world) []byte { return sealedElsewhere(t, w.inner, "cluster-b", key("a")) }),
		"another namespace":     edit(func(w world) []byte { return sealedElsewhere(t, w.inner, "cluster-a", store.NewKey(2, 7, 1, "a")) }),
		"another mount":         edit(func(w world) []byte { return sealedElsewhere(t, w.inner, "cluster-a", store.NewKey(1, 8, 1, "a")) }),
		"another kind":          edit(func(w world) []byte { return sealedElsewhere(t, w.inner, "cluster-a", store.NewKey(1, 7, 2, "a")) }),
		"key split differently": edit(func(w world) []byte { return sealedElsewhere(t, w.inner, "cluster-a", key("a", "")) }),
	}
	for name, tamper := range cases {
		t.Run(name, func(t *testing.T) {
			b, inner, _, _ := fixture(t)
			put(t, b, key("a"), []byte("value a"))
			put(t, b, key("b"), []byte("value b"))
			if err := b.Rotate(t.Context()); err != nil {
				t.Fatal(err)
			}
			var w world
			w.inner = inner
			w.a, _ = get(t, inner, key("a"))
			w.b, _ = get(t, inner, key("b"))
			tamper(t, w)
			if _, err := get(t, b, key("a")); err != barrier.ErrUnreadable {
				t.Errorf("Get: %v", err)
			}
			err := b.View(t.Context(), func(r store.Reader) error {
				for _, err := range r.Scan(store.Under(key())) {
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err != barrier.ErrUnreadable {
				t.Errorf("Scan: %v", err)
			}
			if got, err := get(t, b, key("b")); err != nil || string(got) != "value b" {
				t.Errorf("the untouched row: %q, %v", got, err)
			}
		})
	}
}

var sharedRoot = []byte("0123456789abcdef0123456789abcdef")

// sealedElsewhere returns "value a" sealed at another place but, to be fair to
// the attacker, under the very same data key: a copy of the keyring's row is
// resealed for the other cluster by the same root key where that is possible.
func sealedElsewhere(t *testing.T, inner store.Store, cluster string, at store.Key) []byte {
	t.Helper()
	other := mem.New()
	cfg := barrier.Config{ClusterID: cluster, Rand: &repeating{seed: sharedRoot}}
	root := create(t, other, cfg)
	put(t, open(t, other, root, cfg), at, []byte("value a"))
	sealed, err := get(t, other, at)
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

// repeating is a source without randomness: it makes equal data keys.
type repeating struct {
	seed []byte
	n    int
}

func (r *repeating) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = r.seed[r.n%len(r.seed)]
		r.n++
	}
	return len(p), nil
}

// TestPlaceIsBoundUnderOneDataKey shows that the place, not only the key,
// decides: both barriers here have the same data key.
func TestPlaceIsBoundUnderOneDataKey(t *testing.T) {
	fixed := func(cluster string) barrier.Config {
		return barrier.Config{ClusterID: cluster, Rand: &repeating{seed: sharedRoot}}
	}
	home := mem.New()
	b := open(t, home, create(t, home, fixed("cluster-a")), fixed("cluster-a"))
	cases := []struct {
		name    string
		cluster string
		at      store.Key
		opens   bool
	}{
		{"same place", "cluster-a", key("a"), true},
		{"another cluster", "cluster-b", key("a"), false},
		{"another namespace", "cluster-a", store.NewKey(2, 7, 1, "a"), false},
		{"another mount", "cluster-a", store.NewKey(1, 8, 1, "a"), false},
		{"another kind", "cluster-a", store.NewKey(1, 7, 2, "a"), false},
		{"another name", "cluster-a", key("A"), false},
		{"one part more", "cluster-a", key("a", ""), false},
		{"cluster and key shifted", "cluster-", key("a"), false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			other := mem.New()
			put(t, open(t, other, create(t, other, fixed(c.cluster)), fixed(c.cluster)), c.at, []byte("value a"))
			sealed, err := get(t, other, c.at)
			if err != nil {
				t.Fatal(err)
			}
			put(t, home, key("a"), sealed)
			_, err = get(t, b, key("a"))
			if c.opens && err != nil || !c.opens && err != barrier.ErrUnreadable {
				t.Errorf("opens %v, got %v", c.opens, err)
			}
		})
	}
}

func TestSealRowsDoNotPass(t *testing.T) {
	b, inner, _, _ := fixture(t)
	for _, kind := range []store.Kind{store.KindSealConfig, store.KindKeyring, store.KindClusterInfo} {
		k := store.NewKey(store.RootNamespace, store.System, kind, "x")
		put(t, inner, k, []byte("raw"))
		_, err := get(t, b, k)
		if err == nil || errors.Is(err, store.ErrNotFound) {
			t.Errorf("kind %d: Get: %v", kind, err)
		}
		for name, f := range map[string]func(store.Txn) error{
			"Put":    func(txn store.Txn) error { return txn.Put(k, nil) },
			"Delete": func(txn store.Txn) error { return txn.Delete(k) },
		} {
			if _, err := b.Update(t.Context(), f); err == nil {
				t.Errorf("kind %d: %s passed", kind, name)
			}
		}
	}
	engineRow := store.NewKey(store.RootNamespace, 1, store.KindKeyring)
	put(t, b, engineRow, []byte("an engine's kind 2"))
	if _, err := get(t, b, engineRow); err != nil {
		t.Errorf("an engine's row of the same kind: %v", err)
	}
}

func TestScansSkipSealRowsAndKeepTheirLimit(t *testing.T) {
	b, inner, _, _ := fixture(t)
	put(t, inner, store.NewKey(store.RootNamespace, store.System, store.KindSealConfig), []byte("raw"))
	for i := range 5 {
		put(t, b, key(fmt.Sprint(i)), []byte{byte(i)})
	}
	cases := []struct {
		name string
		r    store.Range
		want []string
	}{
		{"everything", store.Range{}, []string{"0", "1", "2", "3", "4"}},
		{"everything, three", store.Range{Limit: 3}, []string{"0", "1", "2"}},
		{"everything, backwards", store.Range{Reverse: true, Limit: 2}, []string{"4", "3"}},
		{"one mount, two", store.Range{Start: key(), End: store.After(key()), Limit: 2}, []string{"0", "1"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			err := b.View(t.Context(), func(r store.Reader) error {
				for e, err := range r.Scan(c.r) {
					if err != nil {
						return err
					}
					got = append(got, e.Key.Last())
				}
				return nil
			})
			if d := cmp.Diff(c.want, got); d != "" || err != nil {
				t.Errorf("error %v, keys (-want +got):\n%s", err, d)
			}
		})
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("no entropy") }

func TestFailingRandomnessFailsTheWrite(t *testing.T) {
	inner := mem.New()
	root := create(t, inner, barrier.Config{ClusterID: "c"})
	b := open(t, inner, root, barrier.Config{ClusterID: "c", Rand: failing{}})
	_, err := b.Update(t.Context(), func(txn store.Txn) error { return txn.Put(key("a"), []byte(canary)) })
	if !errors.Is(err, fault.Unavailable) {
		t.Errorf("Put: %v", err)
	}
	if _, err := get(t, inner, key("a")); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a row was written: %v", err)
	}
	if err := b.Rotate(t.Context()); !errors.Is(err, fault.Unavailable) {
		t.Errorf("Rotate: %v", err)
	}
	if err := barrier.Create(nil, root, barrier.Config{Rand: io.LimitReader(rand.Reader, 40)}); err == nil {
		t.Error("Create with little randomness passed")
	}
}

func TestWrongRootKeyOrClusterDoesNotOpen(t *testing.T) {
	_, inner, root, _ := fixture(t)
	if _, err := barrier.Open(t.Context(), inner, newKey(t), barrier.Config{ClusterID: "cluster-a"}); !errors.Is(err, barrier.ErrUnreadable) {
		t.Errorf("another root key: %v", err)
	}
	if _, err := barrier.Open(t.Context(), inner, root, barrier.Config{ClusterID: "cluster-b"}); !errors.Is(err, barrier.ErrUnreadable) {
		t.Errorf("another cluster: %v", err)
	}
	if _, err := barrier.Open(t.Context(), mem.New(), root, barrier.Config{}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no keyring: %v", err)
	}
}

func TestClosedBarrierIsSealed(t *testing.T) {
	b, inner, root, _ := fixture(t)
	put(t, b, key("a"), []byte("x"))
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := get(t, b, key("a")); !errors.Is(err, fault.Sealed) {
		t.Errorf("Get: %v", err)
	}
	if _, err := b.Update(t.Context(), func(store.Txn) error { return nil }); !errors.Is(err, fault.Sealed) {
		t.Errorf("Update: %v", err)
	}
	if err := b.Rotate(t.Context()); !errors.Is(err, fault.Sealed) {
		t.Errorf("Rotate: %v", err)
	}
	if _, err := get(t, open(t, inner, root, barrier.Config{ClusterID: "cluster-a"}), key("a")); err != nil {
		t.Errorf("opened again: %v", err)
	}
}

func TestWatchersSeePlaintext(t *testing.T) {
	b, inner, _, _ := fixture(t)
	var seen []store.Commit
	stop := b.Watch(func(c store.Commit) { seen = append(seen, c) })
	put(t, b, key("a"), []byte("one"))
	put(t, b, key("a"), []byte{})
	if _, err := b.Update(t.Context(), func(txn store.Txn) error { return txn.Delete(key("a")) }); err != nil {
		t.Fatal(err)
	}
	if err := b.Rotate(t.Context()); err != nil { // a seal row: not shown
		t.Fatal(err)
	}
	put(t, inner, key("a"), []byte("forged"))
	stop()
	put(t, b, key("a"), []byte("unseen"))

	var got []string
	for _, c := range seen {
		switch {
		case c.Reset:
			got = append(got, "reset")
		case c.Changes[0].Value == nil:
			got = append(got, "removed")
		default:
			got = append(got, fmt.Sprintf("%q", c.Changes[0].Value))
		}
	}
	if d := cmp.Diff([]string{`"one"`, `""`, "removed", "reset"}, got); d != "" {
		t.Errorf("seen (-want +got):\n%s", d)
	}
}

// TestModuleMode runs this package's tests again with the FIPS 140-3 module in
// its strict mode, in which a nonce of one's own is refused.
func TestModuleMode(t *testing.T) {
	if strings.Contains(os.Getenv("GODEBUG"), "fips140") || testing.Short() {
		t.Skip("already in it")
	}
	cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.run=TestValues|TestNothing|TestPlaceIsBound|TestRot")
	cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
