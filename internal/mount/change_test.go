package mount_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/store"
)

var errDown = fault.New(fault.Upstream, "the database is down")

func TestDisablingRemovesEverything(t *testing.T) {
	w := newWorld(t)
	m := w.enable("a/", "db")
	other := w.enable("b/", "db")
	id := m.Entry().ID
	i := w.instance(m)
	w.fill(m, 1234, 1101)
	w.fill(other, 10, 3)
	if err := w.disable("a/"); err != nil {
		t.Fatal(err)
	}
	if n := w.rows(id); n != 0 {
		t.Errorf("%d rows of the mount are left", n)
	}
	if timers, due := w.kind(store.KindTimer), w.kind(store.KindDue); timers != 3 || due != 3 {
		t.Errorf("%d timers and %d items are left, want the three of the other mount", timers, due)
	}
	if n := w.rows(other.Entry().ID); n != 10 {
		t.Errorf("the other mount has %d rows, want 10", n)
	}
	if diff := cmp.Diff([]string{"a/"}, w.leases.prefixes); diff != "" {
		t.Errorf("prefixes revoked:\n%s", diff)
	}
	w.Close()
	if i.cleaned != 1 || i.closings() != 1 {
		t.Errorf("the instance was cleaned %d and closed %d times, want once each", i.cleaned, i.closings())
	}
	if _, err := m.Instance(); !errors.Is(err, fault.NotFound) {
		t.Errorf("an instance of a mount that is gone: %v, want not found", err)
	}
}

func TestTheServersOwnMountsStay(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"sys/", "identity/", "cubbyhole/", "auth/token/"} {
		if err := w.disable(path); !errors.Is(err, fault.Invalid) {
			t.Errorf("disabling %s: %v, want invalid", path, err)
		}
		to := "x/"
		if path == "auth/token/" {
			to = "auth/x/"
		}
		if err := w.move(path, to); !errors.Is(err, fault.Invalid) {
			t.Errorf("moving %s: %v, want invalid", path, err)
		}
	}
	if err := w.disable("nothing/"); err != nil {
		t.Errorf("disabling what is not there: %v", err)
	}
}

// TestAMountWhoseGrantsCannotBeUndoneServesNothingAndStays disables a mount
// while the system behind it is down, restarts, and lets the system come back.
func TestAMountWhoseGrantsCannotBeUndoneServesNothingAndStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		m := w.enable("a/", "db")
		w.fill(m, 3, 0)
		w.leases.err = errDown
		if err := w.disable("a/"); !errors.Is(err, fault.Upstream) {
			t.Fatalf("disabling: %v, want upstream", err)
		}
		serves := func(table *mount.Table) bool {
			_, _, ok := table.Resolve(store.RootNamespace, "a/x")
			return ok
		}
		restarted := w.another()
		if serves(w.Table) || serves(restarted) {
			t.Error("the mount serves requests")
		}
		if _, err := w.Enable(t.Context(), mount.Entry{NS: store.RootNamespace, Path: "a/", Type: "db"}); !errors.Is(err, fault.Invalid) {
			t.Errorf("enabling at its path: %v, want invalid", err)
		}
		if err := w.move("a/", "b/"); !errors.Is(err, fault.Invalid) {
			t.Errorf("moving it: %v, want invalid", err)
		}
		if n := w.rows(m.Entry().ID); n != 3 {
			t.Errorf("%d rows are left, want 3", n)
		}
		done := make(chan error, 1)
		go func() { done <- restarted.Resume(t.Context()) }()
		synctest.Wait()
		w.leases.mu.Lock()
		w.leases.err = nil
		w.leases.mu.Unlock()
		w.clock.Advance(time.Minute)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if n := w.rows(m.Entry().ID); n != 0 {
			t.Errorf("%d rows are left", n)
		}
		w.enable("a/", "db")
	})
}

func TestResumeEndsWithItsContext(t *testing.T) {
	w := newWorld(t)
	w.enable("a/", "db")
	w.leases.err = errDown
	if err := w.disable("a/"); !errors.Is(err, fault.Upstream) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Resume(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want canceled", err)
	}
}

// TestDisablingTwiceDoesNotTouchTheNextMountAtThePath lets a second call begin
// while the first is at work, and another mount take the path in between.
func TestDisablingTwiceDoesNotTouchTheNextMountAtThePath(t *testing.T) {
	w := newWorld(t)
	first := w.enable("a/", "db")
	w.fill(first, 3, 0)
	var next *mount.Mounted
	w.leases.during = func() {
		w.leases.during = nil
		if err := w.disable("a/"); err != nil {
			t.Fatal(err)
		}
		next = w.enable("a/", "db")
		w.fill(next, 5, 0)
	}
	if err := w.disable("a/"); err != nil {
		t.Fatal(err)
	}
	if m, _, ok := w.Resolve(store.RootNamespace, "a/x"); !ok || m != next {
		t.Error("the next mount at the path does not serve")
	}
	if n := w.rows(next.Entry().ID); n != 5 {
		t.Errorf("the next mount has %d rows, want 5", n)
	}
}

func TestAMovedMountKeepsItsDataAndItsInstance(t *testing.T) {
	w := newWorld(t)
	for _, to := range []string{"z/", "a/b/c/", "a/", "m/", "m/"} {
		from := "m/"
		w.leases.prefixes = nil
		var m *mount.Mounted
		if m = w.At(store.RootNamespace, from); m == nil {
			m = w.enable(from, "db")
			w.fill(m, 7, 2)
		}
		entry, i := *m.Entry(), w.instance(m)
		if err := w.move(from, to); err != nil {
			t.Fatalf("moving to %s: %v", to, err)
		}
		moved := w.at(to)
		if moved != m || w.instance(moved) != i || i.closings() != 0 {
			t.Errorf("%s: the mount was made anew", to)
		}
		entry.Path = to
		if diff := cmp.Diff(&entry, moved.Entry()); diff != "" {
			t.Errorf("record after the move (-want +got):\n%s", diff)
		}
		if got := i.host.Mount().Path; got != to {
			t.Errorf("the instance believes to be at %s, not %s", got, to)
		}
		if n := w.rows(entry.ID); n != 7 {
			t.Errorf("%d rows, want 7", n)
		}
		if diff := cmp.Diff([]string{from, from}, w.leases.prefixes); diff != "" {
			t.Errorf("prefixes revoked:\n%s", diff)
		}
		if err := w.Fire(t.Context(), entry.ID, "rotate"); err != nil || len(i.fired) == 0 {
			t.Errorf("timer of the moved mount: %v, fired %v", err, i.fired)
		}
		if to != "m/" {
			if _, _, ok := w.Resolve(store.RootNamespace, "m/x"); ok {
				t.Error("the old path serves")
			}
			if err := w.disable(to); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestAMovedMountIsNeverMissing watches for the moment between its old row and
// its new one.
func TestAMovedMountIsNeverMissing(t *testing.T) {
	w := newWorld(t)
	id := w.enable("a/", "db").Entry().ID
	ctx, cancel := context.WithCancel(t.Context())
	missing := make(chan int, 1)
	go func() {
		n := 0
		for ctx.Err() == nil {
			if _, err := w.ByID(t.Context(), id); err != nil {
				n++
			}
		}
		missing <- n
	}()
	for range 500 {
		if err := errors.Join(w.move("a/", "b/"), w.move("b/", "a/")); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if n := <-missing; n > 0 {
		t.Errorf("the mount was missing %d times", n)
	}
}

func TestWhatCannotBeMoved(t *testing.T) {
	w := newWorld(t)
	w.enable("a/", "db")
	w.enable("b/c/", "db")
	w.enable("auth/u/", "users")
	tests := []struct{ name, from, to string }{
		{"what is not there", "nothing/", "x/"},
		{"to another mount", "a/", "b/c/"},
		{"above another mount", "a/", "b/"},
		{"below another mount", "a/", "b/c/d/"},
		{"to the methods", "a/", "auth/a/"},
		{"to the engines", "auth/u/", "u/"},
		{"below sys", "a/", "sys/a/"},
		{"to a path that no request can have", "a/", "x/../y/"},
		{"to nowhere", "a/", "/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := w.move(tt.from, tt.to); !errors.Is(err, fault.Invalid) {
				t.Errorf("error %v, want invalid", err)
			}
		})
	}
	for _, path := range []string{"a/x", "b/c/x", "auth/u/x"} {
		if _, _, ok := w.Resolve(store.RootNamespace, path); !ok {
			t.Errorf("%s serves no more", path)
		}
	}
	w.leases.err = errDown
	if err := w.move("a/", "x/"); !errors.Is(err, fault.Upstream) {
		t.Errorf("moving while leases cannot be revoked: %v, want upstream", err)
	}
	w.at("a/")
}

func TestServingExcludesMountsThatAreGoing(t *testing.T) {
	w := newWorld(t)
	m := *w.enable("a/", "db").Mount()
	serving := func() (err error) {
		w.update(func(tx store.Txn) error { err = mount.Serving(tx, m); return nil })
		return err
	}
	if err := serving(); err != nil {
		t.Errorf("a mount in service: %v", err)
	}
	w.leases.err = errDown
	_ = w.disable("a/")
	if err := serving(); !errors.Is(err, fault.NotFound) {
		t.Errorf("a mount that is being disabled: %v, want not found", err)
	}
	w.leases.err = nil
	_ = w.disable("a/")
	if err := serving(); !errors.Is(err, fault.NotFound) {
		t.Errorf("a mount that is gone: %v, want not found", err)
	}
	w.enable("a/", "db")
	if err := serving(); !errors.Is(err, fault.NotFound) {
		t.Errorf("another mount at its path: %v, want not found", err)
	}
}

// TestAnInstanceThatIsSlowToCloseHoldsUpNoCommit closes an instance that needs
// storage for it.
func TestAnInstanceThatIsSlowToCloseHoldsUpNoCommit(t *testing.T) {
	w := newWorld(t)
	i := w.instance(w.enable("a/", "db"))
	i.closing = func() {
		w.update(func(tx store.Txn) error { return tx.Put("its last words", nil) })
	}
	if err := w.disable("a/"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if i.closings() != 1 {
		t.Error("the instance was not closed")
	}
}

// TestWhatTheFeedSaysWhileATableIsReadIsNewer commits changes in the middle of
// the reading of all mounts.
func TestWhatTheFeedSaysWhileATableIsReadIsNewer(t *testing.T) {
	w := newWorld(t)
	w.enable("a/", "db")
	w.enable("b/", "db")
	w.enable("c/", "db")
	c := w.config()
	c.Store = &slow{Store: w.db, after: func() {
		if err := errors.Join(w.move("a/", "z/"), w.disable("b/")); err != nil {
			t.Error(err)
		}
		w.enable("d/", "db")
	}}
	late, err := mount.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	for path, want := range map[string]bool{"a/": false, "b/": false, "c/": true, "d/": true, "z/": true} {
		if got := late.At(store.RootNamespace, path) != nil; got != want {
			t.Errorf("mount at %s: %v, want %v", path, got, want)
		}
	}
}

// slow is a store in which things happen after a snapshot was read.
type slow struct {
	store.Store
	after func()
}

func (s *slow) View(ctx context.Context, fn func(store.Reader) error) error {
	err := s.Store.View(ctx, fn)
	s.after()
	return err
}
