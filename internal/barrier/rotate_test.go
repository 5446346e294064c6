package barrier_test

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
)

func status(t *testing.T, b *barrier.Barrier) barrier.KeyStatus {
	t.Helper()
	s, err := b.KeyStatus()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var keyringKey = store.NewKey(store.RootNamespace, store.System, store.KindKeyring)

func TestRotatedKeysStayReadable(t *testing.T) {
	b, inner, root, fake := fixture(t)
	start := fake.Now()
	put(t, b, key("1"), []byte("one"))
	put(t, b, key("1"), []byte("uno"))
	if d := cmp.Diff(barrier.KeyStatus{Term: 1, InstallTime: start, Encryptions: 2}, status(t, b)); d != "" {
		t.Errorf("before (-want +got):\n%s", d)
	}
	fake.Advance(time.Hour)
	if err := b.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(barrier.KeyStatus{Term: 2, InstallTime: start.Add(time.Hour)}, status(t, b)); d != "" {
		t.Errorf("after (-want +got):\n%s", d)
	}
	put(t, b, key("2"), []byte("two"))
	sealed, _ := get(t, inner, key("2"))
	if sealed[4] != 2 {
		t.Errorf("sealed under term %d", sealed[4])
	}
	again := open(t, inner, root, barrier.Config{ClusterID: "cluster-a"})
	for k, want := range map[string]string{"1": "uno", "2": "two"} {
		if got, err := get(t, again, key(k)); err != nil || string(got) != want {
			t.Errorf("key %s: %q, %v", k, got, err)
		}
	}
}

func TestRotationIsSeenByAnotherBarrier(t *testing.T) {
	leader, inner, root, _ := fixture(t)
	follower := open(t, inner, root, barrier.Config{ClusterID: "cluster-a"})
	var watched []byte
	defer follower.Watch(func(c store.Commit) { watched = c.Changes[len(c.Changes)-1].Value })()
	if err := leader.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, leader, key("a"), []byte("new term"))
	if got, err := get(t, follower, key("a")); err != nil || string(got) != "new term" || string(watched) != "new term" {
		t.Errorf("Get %q (%v), watched %q", got, err, watched)
	}
	if status(t, follower).Term != 2 {
		t.Errorf("follower is at term %d", status(t, follower).Term)
	}
}

func TestRootKeyChangeIsHandedOver(t *testing.T) {
	leader, inner, root, _ := fixture(t)
	follower := open(t, inner, root, barrier.Config{ClusterID: "cluster-a"})
	put(t, leader, key("a"), []byte("x"))
	before, _ := get(t, inner, keyringKey)

	next := newKey(t)
	if err := leader.RotateRoot(t.Context(), next, func(raw, sealed store.Txn) error {
		return errors.Join(
			raw.Put(store.NewKey(store.RootNamespace, store.System, store.KindSealConfig), []byte("raw")),
			sealed.Put(key("with"), []byte("sealed")))
	}); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*barrier.Barrier{"leader": leader, "follower": follower} {
		if err := b.VerifyRoot(next); err != nil {
			t.Errorf("%s has not the new root key: %v", name, err)
		}
		if b.VerifyRoot(root) == nil {
			t.Errorf("%s still has the old root key", name)
		}
		if got, err := get(t, b, key("with")); err != nil || string(got) != "sealed" {
			t.Errorf("%s: the row of the same transaction: %q, %v", name, got, err)
		}
	}
	if err := follower.Rotate(t.Context()); err != nil { // the new leader carries on
		t.Fatal(err)
	}
	if status(t, leader).Term != 2 {
		t.Errorf("old leader at term %d", status(t, leader).Term)
	}
	if _, err := barrier.Open(t.Context(), inner, root, barrier.Config{ClusterID: "cluster-a"}); !errors.Is(err, barrier.ErrUnreadable) {
		t.Errorf("the old root key: %v", err)
	}
	open(t, inner, next, barrier.Config{ClusterID: "cluster-a"})

	// An attacker who puts the old keyring back is not followed.
	put(t, inner, keyringKey, before)
	put(t, leader, key("b"), []byte("y"))
	if sealed, _ := get(t, inner, key("b")); sealed[4] != 2 {
		t.Errorf("fell back to term %d", sealed[4])
	}
}

func TestFailedRootKeyChangeChangesNothing(t *testing.T) {
	b, inner, root, _ := fixture(t)
	boom := errors.New("boom")
	if err := b.RotateRoot(t.Context(), newKey(t), func(_, _ store.Txn) error { return boom }); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if err := b.VerifyRoot(root); err != nil {
		t.Error(err)
	}
	open(t, inner, root, barrier.Config{ClusterID: "cluster-a"})
}

func TestForeignKeyringSealsTheBarrier(t *testing.T) {
	foreign := mem.New()
	create(t, foreign, barrier.Config{ClusterID: "cluster-a"})
	row, err := get(t, foreign, keyringKey)
	if err != nil {
		t.Fatal(err)
	}
	cases := map[string]func(store.Txn) error{
		"replaced": func(txn store.Txn) error { return txn.Put(keyringKey, row) },
		"cut":      func(txn store.Txn) error { return txn.Put(keyringKey, row[:20]) },
		"empty":    func(txn store.Txn) error { return txn.Put(keyringKey, []byte{}) },
		"removed":  func(txn store.Txn) error { return txn.Delete(keyringKey) },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			inner := mem.New()
			lost := 0
			cfg := barrier.Config{ClusterID: "cluster-a", Lost: func(error) { lost++ }}
			b := open(t, inner, create(t, inner, cfg), cfg)
			if _, err := inner.Update(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			if _, err := get(t, b, key("a")); !errors.Is(err, fault.Sealed) || lost != 1 {
				t.Errorf("Get: %v, lost called %d times", err, lost)
			}
		})
	}
}

func TestEncryptionCountSurvives(t *testing.T) {
	b, inner, root, _ := fixture(t)
	for range 10 {
		put(t, b, key("a"), []byte("x"))
	}
	if err := b.Persist(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, b, key("a"), []byte("x"))
	if got := status(t, b).Encryptions; got != 11 {
		t.Errorf("%d encryptions, want 11", got)
	}
	if got := status(t, open(t, inner, root, barrier.Config{ClusterID: "cluster-a"})).Encryptions; got != 10 {
		t.Errorf("%d stored, want 10", got)
	}
}

func TestRotationByItself(t *testing.T) {
	cases := []struct {
		name       string
		config     barrier.RotationConfig
		age        time.Duration
		operations uint64
		want       bool
	}{
		{"nothing due", barrier.DefaultRotation(), 10 * 365 * 24 * time.Hour, 1000, false},
		{"operations", barrier.RotationConfig{Enabled: true, MaxOperations: 1_000_000}, 0, 1_000_000, true},
		{"one operation short", barrier.RotationConfig{Enabled: true, MaxOperations: 1_000_000}, 0, 999_999, false},
		{"age", barrier.RotationConfig{Enabled: true, MaxOperations: 1_000_000, Interval: 24 * time.Hour}, 24 * time.Hour, 0, true},
		{"too young", barrier.RotationConfig{Enabled: true, MaxOperations: 1_000_000, Interval: 24 * time.Hour}, 24*time.Hour - 1, 0, false},
		{"the clock went back", barrier.RotationConfig{Enabled: true, MaxOperations: 1_000_000, Interval: 24 * time.Hour}, -time.Hour, 0, false},
		{"switched off", barrier.RotationConfig{MaxOperations: 1_000_000, Interval: 24 * time.Hour}, 48 * time.Hour, 2_000_000, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b, inner, root, fake := fixture(t)
			if err := b.ConfigureRotation(t.Context(), c.config); err != nil {
				t.Fatal(err)
			}
			fake.Advance(c.age)
			b.CountEncryptions(c.operations)
			rotated, err := b.CheckRotation(t.Context())
			if err != nil || rotated != c.want {
				t.Errorf("rotated %v (%v), want %v", rotated, err, c.want)
			}
			stored := status(t, open(t, inner, root, barrier.Config{ClusterID: "cluster-a", Clock: clock.System{}}))
			if !c.want && c.operations > 100_000 && stored.Encryptions != c.operations {
				t.Errorf("count not written down: %+v", stored)
			}
		})
	}
}

func TestRotationSettings(t *testing.T) {
	b, inner, root, _ := fixture(t)
	bad := []barrier.RotationConfig{
		{MaxOperations: 10},
		{MaxOperations: 0},
		{MaxOperations: math.MaxUint64},
		{MaxOperations: barrier.MaxRotationOperations + 1},
		{MaxOperations: barrier.MinRotationOperations, Interval: time.Hour},
		{MaxOperations: barrier.MinRotationOperations, Interval: -48 * time.Hour},
	}
	for _, c := range bad {
		if err := b.ConfigureRotation(t.Context(), c); !errors.Is(err, fault.Invalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	want := barrier.RotationConfig{Enabled: false, MaxOperations: 3_000_000_000, Interval: 48 * time.Hour}
	if err := b.ConfigureRotation(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	got, err := open(t, inner, root, barrier.Config{ClusterID: "cluster-a"}).RotationConfig()
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("error %v, settings (-want +got):\n%s", err, d)
	}
}

// TestSnapshotAheadOfTheFeed reads a value under a term that the barrier was
// not told of yet.
func TestSnapshotAheadOfTheFeed(t *testing.T) {
	leader, inner, root, _ := fixture(t)
	follower := open(t, deaf{inner}, root, barrier.Config{ClusterID: "cluster-a"})
	if err := leader.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	put(t, leader, key("a"), []byte("new term"))
	if got, err := get(t, follower, key("a")); err != nil || string(got) != "new term" {
		t.Errorf("%q, %v", got, err)
	}
}

// deaf is a store whose change feed is silent.
type deaf struct{ store.Store }

func (deaf) Watch(store.Watcher) func() { return func() {} }

// TestOlderSnapshotIsFollowed installs a snapshot from before a change of the
// root key under a running barrier: its data keys open the handover.
func TestOlderSnapshotIsFollowed(t *testing.T) {
	inner := &resettable{Store: mem.New()}
	cfg := barrier.Config{ClusterID: "cluster-a"}
	root := create(t, inner, cfg)
	b := open(t, inner, root, cfg)
	put(t, b, key("a"), []byte("x"))
	old, err := get(t, inner, keyringKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.RotateRoot(t.Context(), newKey(t), nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Rotate(t.Context()); err != nil {
		t.Fatal(err)
	}
	resets := 0
	defer b.Watch(func(c store.Commit) {
		if c.Reset {
			resets++
		}
	})()
	inner.silent = true
	put(t, inner, keyringKey, old)
	inner.silent = false
	inner.watcher(store.Commit{Reset: true})
	if err := b.VerifyRoot(root); err != nil || resets != 1 {
		t.Errorf("root key: %v; %d resets", err, resets)
	}
	if got := status(t, b).Term; got != 1 {
		t.Errorf("term %d", got)
	}
	if got, err := get(t, b, key("a")); err != nil || string(got) != "x" {
		t.Errorf("%q, %v", got, err)
	}
}

// resettable is a store that can hide commits and stand for one that had a
// snapshot installed.
type resettable struct {
	store.Store
	watcher store.Watcher
	silent  bool
}

func (r *resettable) Watch(w store.Watcher) func() {
	r.watcher = w
	return r.Store.Watch(func(c store.Commit) {
		if !r.silent {
			w(c)
		}
	})
}
