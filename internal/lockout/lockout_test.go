package lockout_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/lockout"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
)

// house is a lockout store over storage that outlives it.
type house struct {
	*lockout.Store
	disk   *mem.Store
	clock  *clock.Fake
	limits lockout.Limits
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{disk: mem.New(), clock: clock.NewFake(time.Time{}), limits: lockout.DefaultLimits}
	t.Cleanup(func() { _ = h.disk.Close() })
	h.restart()
	return h
}

func (h *house) restart() {
	h.Store = lockout.New(lockout.Config{Store: h.disk, Clock: h.clock, Rand: rand.Reader, Limits: func(store.NamespaceID, string, string) lockout.Limits { return h.limits }})
}

var people = route.Mount{Namespace: store.RootNamespace, Type: "userpass", Accessor: "auth_userpass_1"}

// try makes one login and reports whether it was admitted.
func (h *house) try(t *testing.T, m route.Mount, alias string, good bool) bool {
	t.Helper()
	try, err := h.Begin(t.Context(), m, alias)
	if err != nil {
		if fault.KindOf(err) != fault.Denied || fault.Message(err) != "permission denied" {
			t.Fatalf("a locked login got %v", err)
		}
		return false
	}
	defer try.Done()
	if good {
		err = try.Succeeded(t.Context())
	} else {
		err = try.Failed(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}

// fail makes n wrong logins and returns how many were admitted.
func (h *house) fail(t *testing.T, alias string, n int) (admitted int) {
	t.Helper()
	for range n {
		if h.try(t, people, alias, false) {
			admitted++
		}
	}
	return admitted
}

func TestFailuresLockAnAlias(t *testing.T) {
	for name, c := range map[string]struct {
		limits lockout.Limits
		run    func(*testing.T, *house)
		open   bool // a good login is admitted afterwards
	}{
		"no failures":     {run: func(*testing.T, *house) {}, open: true},
		"one too few":     {run: func(t *testing.T, h *house) { h.fail(t, "bob", 4) }, open: true},
		"as many as lock": {run: func(t *testing.T, h *house) { h.fail(t, "bob", 5) }},
		"of somebody else": {open: true, run: func(t *testing.T, h *house) {
			h.fail(t, "alice", 9)
		}},
		"at another mount": {open: true, run: func(t *testing.T, h *house) {
			other := people
			other.Accessor = "auth_userpass_2"
			for range 9 {
				h.try(t, other, "bob", false)
			}
		}},
		"in another namespace": {open: true, run: func(t *testing.T, h *house) {
			other := people
			other.Namespace = 2
			for range 9 {
				h.try(t, other, "bob", false)
			}
		}},
		"a login between": {open: true, run: func(t *testing.T, h *house) {
			h.fail(t, "bob", 4)
			h.try(t, people, "bob", true)
			h.fail(t, "bob", 4)
		}},
		"before a restart": {run: func(t *testing.T, h *house) {
			h.fail(t, "bob", 3)
			h.restart()
			h.fail(t, "bob", 2)
			h.restart()
		}},
		"just before the lock ends": {run: func(t *testing.T, h *house) {
			h.fail(t, "bob", 5)
			h.clock.Advance(15*time.Minute - 1)
		}},
		"when the lock ends": {open: true, run: func(t *testing.T, h *house) {
			h.fail(t, "bob", 5)
			h.clock.Advance(15 * time.Minute)
		}},
		"the count begins anew after a lock": {open: true, run: func(t *testing.T, h *house) {
			h.fail(t, "bob", 5)
			h.clock.Advance(15 * time.Minute)
			h.fail(t, "bob", 4)
		}},
		"the count is forgotten in time": {open: true, run: func(t *testing.T, h *house) {
			h.fail(t, "bob", 4)
			h.clock.Advance(15 * time.Minute)
			h.fail(t, "bob", 4)
		}},
		"tries while locked prolong nothing": {open: true, run: func(t *testing.T, h *house) {
			h.fail(t, "bob", 5)
			h.clock.Advance(14 * time.Minute)
			h.fail(t, "bob", 50)
			h.clock.Advance(time.Minute)
		}},
		"turned off":              {limits: lockout.Limits{Threshold: 5, Disable: true}, open: true, run: func(t *testing.T, h *house) { h.fail(t, "bob", 50) }},
		"a mount's own threshold": {limits: lockout.Limits{Threshold: 2}, run: func(t *testing.T, h *house) { h.fail(t, "bob", 2) }},
		"no name":                 {open: true, run: func(t *testing.T, h *house) { h.fail(t, "", 50) }},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			if c.limits != (lockout.Limits{}) {
				h.limits = c.limits
			}
			c.run(t, h)
			if got := h.try(t, people, "bob", true); got != c.open {
				t.Errorf("a good login is admitted: %v, want %v", got, c.open)
			}
		})
	}
}

func TestLoginsSentAtOnceGetNoMoreTries(t *testing.T) {
	h := newHouse(t)
	var admitted atomic.Int32
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if h.try(t, people, "bob", false) {
				admitted.Add(1)
			}
		})
	}
	all.Wait()
	if n := admitted.Load(); n != 5 {
		t.Errorf("%d wrong logins were judged, want 5", n)
	}
}

func TestGoodLoginsSentAtOnceAllGetIn(t *testing.T) {
	h := newHouse(t)
	h.fail(t, "bob", 4)
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if !h.try(t, people, "bob", true) {
				t.Error("a good login was refused")
			}
		})
	}
	all.Wait()
}

func TestATryBeyondThoseLeftWaitsForAVerdict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		h.fail(t, "bob", 4)
		first, err := h.Begin(t.Context(), people, "bob")
		if err != nil {
			t.Fatal(err)
		}
		verdicts := make(chan error, 2)
		begin := func(ctx context.Context) {
			try, err := h.Begin(ctx, people, "bob")
			try.Done()
			verdicts <- err
		}
		impatient, leave := context.WithCancel(t.Context())
		go begin(impatient)
		go begin(t.Context())
		synctest.Wait()
		if len(verdicts) != 0 {
			t.Fatal("two tries are under way where one is left")
		}
		leave()
		if err := <-verdicts; !errors.Is(err, fault.Unavailable) {
			t.Errorf("a login whose client has gone got %v", err)
		}
		first.Done()
		first.Done()
		if err := <-verdicts; err != nil {
			t.Errorf("the login that waited: %v", err)
		}
	})
}

func TestAFailureCountsAlthoughTheClientHasGone(t *testing.T) {
	h := newHouse(t)
	h.limits.Threshold = 1
	ctx, cancel := context.WithCancel(t.Context())
	try, err := h.Begin(ctx, people, "bob")
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := try.Failed(ctx); err != nil {
		t.Fatal(err)
	}
	try.Done()
	if h.try(t, people, "bob", true) {
		t.Error("hanging up before the answer avoids the count")
	}
}

func TestALoginWithoutFailuresWritesNothing(t *testing.T) {
	h := newHouse(t)
	h.fail(t, "alice", 1)
	commits := 0
	defer h.disk.Watch(func(store.Commit) { commits++ })()
	for range 10 {
		h.try(t, people, "bob", true)
	}
	if commits != 0 {
		t.Errorf("ten good logins made %d writes", commits)
	}
}

func TestAFloodOfNamesIsBoundedAndDrivesOutNobody(t *testing.T) {
	h := newHouse(t)
	h.fail(t, "bob", 5)
	for i := range 17_000 {
		h.try(t, people, fmt.Sprintf("invented-%d", i), false)
	}
	rows := 0
	err := h.disk.View(t.Context(), func(r store.Reader) error {
		for range r.Scan(store.Under(store.NewKey(store.RootNamespace, store.System, store.KindLockout))) {
			rows++
		}
		return nil
	})
	if err != nil || rows > 1025 {
		t.Errorf("%d rows (error %v), want at most 1025", rows, err)
	}
	if h.try(t, people, "bob", true) {
		t.Error("the flood has unlocked bob")
	}
	if _, err := h.disk.Update(t.Context(), func(tx store.Txn) error {
		return lockout.ForgetMount(tx, people.Namespace, people.Accessor)
	}); err != nil {
		t.Fatal(err)
	}
	if !h.try(t, people, "bob", true) {
		t.Error("bob is locked at a mount that is forgotten")
	}
}

func TestLockedUsersAreListedAndUnlocked(t *testing.T) {
	h := newHouse(t)
	apps := route.Mount{Namespace: store.RootNamespace, Type: "approle", Accessor: "auth_approle_1"}
	h.fail(t, "bob", 5)
	h.fail(t, "alice", 5)
	h.fail(t, "almost", 4)
	for range 5 {
		h.try(t, apps, "a/b", false)
	}
	m := enginetest.New(t, lockout.Routes, func(engine.Host) (any, error) { return h.Store, nil })
	atPeople := map[string]any{"mount_accessor": "auth_userpass_1", "counts": 2.0, "alias_identifiers": []any{"alice", "bob"}}
	atApps := map[string]any{"mount_accessor": "auth_approle_1", "counts": 1.0, "alias_identifiers": []any{"a/b"}}
	for path, mounts := range map[string][]any{
		"locked-users": {atPeople, atApps},
		"locked-users?mount_accessor=auth_approle_1": {atApps},
		"locked-users?mount_accessor=none":           nil,
	} {
		want := map[string]any{"by_namespace": []any{}, "total": 0.0}
		total := 0.0
		for _, at := range mounts {
			total += at.(map[string]any)["counts"].(float64)
		}
		if mounts != nil {
			want = map[string]any{"total": total, "by_namespace": []any{map[string]any{"namespace_id": "root", "namespace_path": "", "counts": total, "mount_accessors": mounts}}}
		}
		if diff := cmp.Diff(want, m.Read(path).Map(t)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
	m.Write("locked-users/auth_approle_1/unlock/a/b", nil)
	m.Write("locked-users/auth_userpass_1/unlock/bob", nil)
	m.Write("locked-users/auth_userpass_1/unlock/nobody", nil)
	m.Write("locked-users/none/unlock/alice", nil)
	if !h.try(t, apps, "a/b", true) || !h.try(t, people, "bob", true) {
		t.Error("an unlocked user is refused")
	}
	if h.try(t, people, "alice", true) {
		t.Error("alice was unlocked with the others")
	}
	h.clock.Advance(15 * time.Minute)
	if got := m.Read("locked-users").Map(t)["total"]; got != 0.0 {
		t.Errorf("%v users are listed whose locks are over", got)
	}
}
