package expiry_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

func TestItemsAreHandledWhenTheyFallDueAndNotBefore(t *testing.T) {
	within(t, func(w *world) {
		w.put(item(1, "c", 3*time.Minute), item(1, "a", time.Minute), item(2, "b", 2*time.Minute), item(1, "old", -time.Hour))
		w.running(func() {
			if diff := cmp.Diff([]string{"old"}, w.ids()); diff != "" {
				t.Errorf("at the start:\n%s", diff)
			}
			for i, want := range []string{"a", "b", "c"} {
				w.pass(time.Minute - 1)
				if ids := w.ids(); len(ids) > 0 {
					t.Errorf("too early: %v", ids)
				}
				w.pass(1)
				if diff := cmp.Diff([]string{want}, w.ids()); diff != "" {
					t.Errorf("after %d minutes:\n%s", i+1, diff)
				}
			}
			if queues, busy := w.Queued(); queues != 0 || busy != 0 {
				t.Errorf("%d queues, %d busy, want none", queues, busy)
			}
		})
		if n := w.rows(store.KindDue); n != 0 {
			t.Errorf("%d items are left", n)
		}
		if done, failures := w.Counts(); done != 4 || failures != 0 {
			t.Errorf("%d done, %d failed, want 4 and 0", done, failures)
		}
	})
}

func TestItemsPutWhileRunningAreHandled(t *testing.T) {
	within(t, func(w *world) {
		w.running(func() {
			w.put(item(1, "late", time.Hour))
			synctest.Wait()
			w.put(item(1, "soon", time.Second), item(7, "past", -time.Second))
			synctest.Wait()
			if diff := cmp.Diff([]string{"past"}, w.ids()); diff != "" {
				t.Errorf("at once:\n%s", diff)
			}
			w.pass(time.Second)
			if diff := cmp.Diff([]string{"soon"}, w.ids()); diff != "" {
				t.Errorf("after a second:\n%s", diff)
			}
			w.update(func(tx store.Txn) error { return expiry.Move(tx, item(1, "late", time.Hour), start.Add(2*time.Hour)) })
			w.pass(time.Hour)
			if ids := w.ids(); len(ids) > 0 {
				t.Errorf("handled at the time it was moved from: %v", ids)
			}
			w.pass(time.Hour)
			if diff := cmp.Diff([]string{"late"}, w.ids()); diff != "" {
				t.Errorf("at the time it was moved to:\n%s", diff)
			}
		})
	})
}

func TestAFailedItemIsTriedForEverWithGrowingDelays(t *testing.T) {
	within(t, func(w *world) {
		w.put(item(1, "x", 0))
		w.answer = func(expiry.Item) error { return fault.New(fault.Upstream, "the database is down") }
		var at []time.Duration
		w.running(func() {
			for range 1600 {
				w.pass(time.Second)
				for _, c := range w.calls() {
					at = append(at, c.at)
				}
			}
			stuck, err := expiry.ListStuck(t.Context(), w.db, 10)
			if err != nil || len(stuck) != 1 {
				t.Fatalf("stuck items: %v, %v", stuck, err)
			}
			if got := stuck[0]; got.ID != "x" || got.Attempts != len(at) || got.Error != "the database is down" {
				t.Errorf("stuck item %q after %d attempts with error %q; want x, %d", got.ID, got.Attempts, got.Error, len(at))
			}
			w.mu.Lock()
			w.answer = nil
			w.mu.Unlock()
			w.pass(expiry.MaxDelay)
		})
		var delays []time.Duration
		for i, a := range at[1:] {
			delays = append(delays, a-at[i])
		}
		s := time.Second
		want := []time.Duration{2 * s, 4 * s, 8 * s, 16 * s, 32 * s, 64 * s, 128 * s, 256 * s, 300 * s, 300 * s, 300 * s}
		if len(delays) < len(want) {
			t.Fatalf("%d attempts after the first, want %d", len(delays), len(want))
		}
		if diff := cmp.Diff(want, delays[:len(want)]); diff != "" {
			t.Errorf("delays:\n%s", diff)
		}
		if n := w.rows(store.KindDue); n != 0 {
			t.Errorf("%d items are left once the database is back", n)
		}
	})
}

func TestOneHangingQueueHoldsUpNoOther(t *testing.T) {
	within(t, func(w *world) {
		release := make(chan struct{})
		w.answer = func(it expiry.Item) error {
			if it.Queue == 1 {
				<-release
			}
			return nil
		}
		for q := range store.MountID(20) {
			w.put(item(q+1, fmt.Sprintf("%02d", q+1), 0))
		}
		w.running(func() {
			if n := len(w.ids()); n != 20 {
				t.Errorf("%d items were begun, want 20", n)
			}
			if n := w.rows(store.KindDue); n != 1 {
				t.Errorf("%d items are left, want only the one that hangs", n)
			}
			w.put(item(2, "more", 0))
			synctest.Wait()
			if diff := cmp.Diff([]string{"more"}, w.ids()); diff != "" {
				t.Errorf("item put meanwhile:\n%s", diff)
			}
			close(release)
			synctest.Wait()
			if n := w.rows(store.KindDue); n != 0 {
				t.Errorf("%d items are left", n)
			}
		})
	})
}

func TestManyItemsAreAllHandledOnce(t *testing.T) {
	within(t, func(w *world) {
		const n = 10_000
		var items []expiry.Item
		for i := range n {
			items = append(items, item(store.MountID(i%7+1), fmt.Sprintf("%05d", i), time.Duration(i)*time.Millisecond))
		}
		w.put(items...)
		w.running(func() { w.pass(time.Minute) })
		ids := w.ids()
		if len(ids) != n {
			t.Fatalf("%d calls, want %d", len(ids), n)
		}
		for i, id := range ids {
			if id != fmt.Sprintf("%05d", i) {
				t.Fatalf("call %d was for %s", i, id)
			}
		}
		if left := w.rows(store.KindDue); left != 0 {
			t.Errorf("%d items are left", left)
		}
	})
}

func TestAnotherSchedulerGoesOnWhereOneStopped(t *testing.T) {
	within(t, func(w *world) {
		w.put(item(1, "x", time.Minute), item(2, "y", time.Hour))
		w.answer = func(expiry.Item) error { return errors.New("not yet") }
		w.running(func() { w.pass(time.Minute) })
		w.answer = nil
		w.calls()
		w.fresh(map[expiry.Class]expiry.Handler{expiry.Lease: handler{w}})
		w.running(func() {
			w.pass(2 * time.Second)
			if diff := cmp.Diff([]string{"x"}, w.ids()); diff != "" {
				t.Errorf("after the restart:\n%s", diff)
			}
			w.pass(time.Hour)
			if diff := cmp.Diff([]string{"y"}, w.ids()); diff != "" {
				t.Errorf("an hour later:\n%s", diff)
			}
		})
	})
}

// TestStorageThatTakesNoWritesIsNotHammered fails an item while its delay
// cannot be stored either.
func TestStorageThatTakesNoWritesIsNotHammered(t *testing.T) {
	within(t, func(w *world) {
		w.put(item(1, "x", 0))
		w.db.refuse.Store(true)
		w.running(func() {
			for range 20 {
				w.pass(time.Second)
			}
			if n := w.db.attempts.Load(); n > 30 {
				t.Errorf("%d writes were tried in 20 seconds", n)
			}
			w.db.refuse.Store(false)
			w.pass(time.Minute)
		})
		if n := w.rows(store.KindDue); n != 0 {
			t.Errorf("%d items are left once storage takes writes", n)
		}
	})
}

// careless succeeds and leaves the item where it is.
type careless struct{ calls int }

func (c *careless) Expire(context.Context, expiry.Item) error { c.calls++; return nil }

func TestAnItemThatIsNotRemovedIsNotHammered(t *testing.T) {
	within(t, func(w *world) {
		h := &careless{}
		w.fresh(map[expiry.Class]expiry.Handler{expiry.Lease: h})
		w.put(item(1, "x", 0))
		w.running(func() {
			for range 10 {
				w.pass(time.Second)
			}
		})
		if h.calls < 2 || h.calls > 12 {
			t.Errorf("%d calls in 10 seconds", h.calls)
		}
	})
}

// movers notes where its items are moved to.
type movers struct {
	handler
	moved []time.Duration
	err   error
}

func (m *movers) Moved(_ store.Txn, it expiry.Item, to time.Time) error {
	m.moved = append(m.moved, to.Sub(it.At))
	return m.err
}

func TestAHandlerIsToldWhereItsItemGoes(t *testing.T) {
	within(t, func(w *world) {
		m := &movers{handler: handler{w}}
		w.answer = func(expiry.Item) error { return errors.New("not yet") }
		w.fresh(map[expiry.Class]expiry.Handler{expiry.Lease: m})
		w.put(item(1, "x", 0))
		w.running(func() { w.pass(2 * time.Second) })
		if diff := cmp.Diff([]time.Duration{2 * time.Second, 4 * time.Second}, m.moved); diff != "" {
			t.Errorf("moved by (-want +got):\n%s", diff)
		}
	})
}

// TestAnItemWhoseHandlerCannotNoteItsMoveStays refuses the move: both or
// neither happens.
func TestAnItemWhoseHandlerCannotNoteItsMoveStays(t *testing.T) {
	within(t, func(w *world) {
		m := &movers{handler: handler{w}, err: errors.New("no")}
		w.answer = func(expiry.Item) error { return errors.New("not yet") }
		w.fresh(map[expiry.Class]expiry.Handler{expiry.Lease: m})
		w.put(item(1, "x", 0))
		w.running(func() {
			for range 10 {
				w.pass(time.Second)
			}
		})
		if n := len(w.calls()); n < 2 || n > 12 {
			t.Errorf("%d attempts in 10 seconds", n)
		}
		if stuck, err := expiry.ListStuck(t.Context(), w.db, 10); err != nil || len(stuck) != 0 {
			t.Errorf("%d items were moved, error %v", len(stuck), err)
		}
	})
}

func TestAPanicIsAFailureOfOneItem(t *testing.T) {
	within(t, func(w *world) {
		w.answer = func(it expiry.Item) error {
			if it.ID == "bad" {
				panic("engine defect")
			}
			return nil
		}
		w.put(item(1, "bad", 0), item(1, "good", 0), item(2, "other", 0))
		w.running(func() { w.pass(time.Second) })
		if n := w.rows(store.KindDue); n != 1 {
			t.Errorf("%d items are left, want the one whose engine panics", n)
		}
	})
}

func TestAnItemOfAnUnknownClassStays(t *testing.T) {
	within(t, func(w *world) {
		strange := item(1, "x", 0)
		strange.Class = 'z'
		w.put(strange, item(1, "y", 0))
		w.running(func() { w.pass(time.Second) })
		if diff := cmp.Diff([]string{"y"}, w.ids()); diff != "" {
			t.Errorf("handled:\n%s", diff)
		}
		if n := w.rows(store.KindDue); n != 1 {
			t.Errorf("%d items are left, want the strange one", n)
		}
	})
}

// TestAResetIsFollowed replaces the state behind the scheduler's back, as an
// installed snapshot does.
func TestAResetIsFollowed(t *testing.T) {
	within(t, func(w *world) {
		w.running(func() {
			w.db.deaf.Store(true)
			w.put(item(5, "from the snapshot", time.Second))
			w.db.deaf.Store(false)
			w.pass(time.Second)
			if ids := w.ids(); len(ids) > 0 {
				t.Fatalf("the scheduler knew of %v; this test shows nothing", ids)
			}
			w.db.reset()
			synctest.Wait()
			if diff := cmp.Diff([]string{"from the snapshot"}, w.ids()); diff != "" {
				t.Errorf("after the reset:\n%s", diff)
			}
		})
	})
}

// batches handles many items at once, unless one of them is bad.
type batches struct {
	handler
	sizes []int
}

func (b *batches) ExpireBatch(ctx context.Context, items []expiry.Item) error {
	b.sizes = append(b.sizes, len(items))
	_, err := b.w.db.Update(ctx, func(tx store.Txn) error {
		for _, it := range items {
			if it.ID == "bad" {
				return errors.New("one is bad")
			}
			if err := expiry.Remove(tx, it); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

func TestABatchThatFailsIsHandledOneByOne(t *testing.T) {
	within(t, func(w *world) {
		b := &batches{handler: handler{w}}
		w.answer = func(it expiry.Item) error {
			if it.ID == "bad" {
				return errors.New("bad")
			}
			return nil
		}
		w.fresh(map[expiry.Class]expiry.Handler{expiry.Lease: b})
		w.put(item(1, "a", 0), item(1, "bad", 0), item(1, "c", 0))
		w.running(func() {
			if diff := cmp.Diff([]string{"a", "bad", "c"}, w.ids()); diff != "" {
				t.Errorf("one by one:\n%s", diff)
			}
			w.put(item(1, "d", 0), item(1, "e", 0))
			synctest.Wait()
		})
		if diff := cmp.Diff([]int{3, 2}, b.sizes); diff != "" {
			t.Errorf("sizes of batches:\n%s", diff)
		}
		if ids := w.ids(); len(ids) > 0 {
			t.Errorf("handled singly although the batch succeeded: %v", ids)
		}
	})
}

// TestTheSchedulerWaitsAMinuteAtMost guards against a wall clock that is set,
// and a machine that was suspended: waits do not notice either.
func TestTheSchedulerWaitsAMinuteAtMost(t *testing.T) {
	within(t, func(w *world) {
		w.put(item(1, "x", 24*time.Hour))
		w.running(func() {})
		if longest := time.Duration(w.clock.longest.Load()); longest > time.Minute || longest <= 0 {
			t.Errorf("the scheduler waits for %v on the word of its clock", longest)
		}
	})
}
