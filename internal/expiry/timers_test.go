package expiry_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/store"
)

// timed gives the world a handler of timers that notes them and does what fire
// says.
func (w *world) timed(fire func(name string) error) {
	w.fresh(map[expiry.Class]expiry.Handler{expiry.Timer: expiry.TimerHandler(w.db, func(_ context.Context, _ store.MountID, name string) error {
		w.mu.Lock()
		w.log = append(w.log, call{name, w.clock.Now().Sub(start)})
		w.mu.Unlock()
		if fire == nil {
			return nil
		}
		return fire(name)
	})})
}

func (w *world) set(name string, in time.Duration) {
	w.t.Helper()
	w.update(func(tx store.Txn) error { return expiry.SetTimer(tx, 4, name, start.Add(in)) })
}

func (w *world) cancel(name string) {
	w.t.Helper()
	w.update(func(tx store.Txn) error { return expiry.CancelTimer(tx, 4, name) })
}

// noTimer fails the test if rows of timers are left.
func (w *world) noTimer() {
	w.t.Helper()
	if rows, due := w.rows(store.KindTimer), w.rows(store.KindDue); rows != 0 || due != 0 {
		w.t.Errorf("%d timers and %d items are left", rows, due)
	}
}

func TestATimerFiresOnceAtTheTimeItWasLastSetTo(t *testing.T) {
	tests := []struct {
		name string
		do   func(w *world)
		want []call
	}{
		{"set", func(w *world) { w.set("a/b", time.Minute) }, []call{{"a/b", time.Minute}}},
		{"set to the past", func(w *world) { w.set("a", -time.Minute) }, []call{{"a", 0}}},
		{"later", func(w *world) { w.set("a", time.Minute); w.set("a", 2*time.Minute) }, []call{{"a", 2 * time.Minute}}},
		{"earlier", func(w *world) { w.set("a", 2*time.Minute); w.set("a", time.Minute) }, []call{{"a", time.Minute}}},
		{"to the same time", func(w *world) { w.set("a", time.Minute); w.set("a", time.Minute) }, []call{{"a", time.Minute}}},
		{"cancelled", func(w *world) { w.set("a", time.Minute); w.cancel("a") }, nil},
		{"cancelled and set", func(w *world) { w.set("a", time.Minute); w.cancel("a"); w.set("a", 3*time.Minute) }, []call{{"a", 3 * time.Minute}}},
		{"an absent one cancelled", func(w *world) { w.cancel("a") }, nil},
		{"two names", func(w *world) { w.set("a", time.Minute); w.set("b", 2*time.Minute) }, []call{{"a", time.Minute}, {"b", 2 * time.Minute}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			within(t, func(w *world) {
				w.timed(nil)
				w.running(func() {
					tt.do(w)
					synctest.Wait()
					for range 5 {
						w.pass(time.Minute)
					}
				})
				if diff := cmp.Diff(tt.want, w.calls(), cmp.AllowUnexported(call{})); diff != "" {
					t.Errorf("fired (-want +got):\n%s", diff)
				}
				w.noTimer()
			})
		})
	}
}

func TestATimerThatIsSetAnewWhileItFiresStays(t *testing.T) {
	within(t, func(w *world) {
		next := time.Minute
		w.timed(func(name string) error {
			if next += time.Minute; next <= 4*time.Minute {
				w.set(name, next)
			}
			return nil
		})
		w.set("rotate", time.Minute)
		w.running(func() {
			for range 10 {
				w.pass(time.Minute)
			}
		})
		want := []call{{"rotate", time.Minute}, {"rotate", 2 * time.Minute}, {"rotate", 3 * time.Minute}, {"rotate", 4 * time.Minute}}
		if diff := cmp.Diff(want, w.calls(), cmp.AllowUnexported(call{})); diff != "" {
			t.Errorf("fired (-want +got):\n%s", diff)
		}
		w.noTimer()
	})
}

// TestAPostponedTimerObeysItsNewSetting fails a timer, so that its item stands
// at another time than the timer's row says, and then sets or cancels it.
func TestAPostponedTimerObeysItsNewSetting(t *testing.T) {
	for name, change := range map[string]func(w *world){
		"set":       func(w *world) { w.set("a", time.Hour) },
		"cancelled": func(w *world) { w.cancel("a") },
	} {
		t.Run(name, func(t *testing.T) {
			within(t, func(w *world) {
				w.timed(func(string) error {
					if w.clock.Now().Before(start.Add(time.Minute)) {
						return errors.New("not yet")
					}
					return nil
				})
				w.set("a", 0)
				var fired []call
				w.running(func() {
					w.calls()
					change(w)
					for range 120 {
						w.pass(time.Minute)
						fired = append(fired, w.calls()...)
					}
				})
				var want []call
				if name == "set" {
					want = []call{{"a", time.Hour}}
				}
				if diff := cmp.Diff(want, fired, cmp.AllowUnexported(call{})); diff != "" {
					t.Errorf("fired after the change (-want +got):\n%s", diff)
				}
				w.noTimer()
			})
		})
	}
}

func TestATimerThatHangsIsGivenUp(t *testing.T) {
	within(t, func(w *world) {
		var cause error
		w.fresh(map[expiry.Class]expiry.Handler{expiry.Timer: expiry.TimerHandler(w.db, func(ctx context.Context, _ store.MountID, _ string) error {
			<-ctx.Done()
			cause = ctx.Err()
			return cause
		})})
		w.set("a", 0)
		w.running(func() {
			<-time.After(time.Hour) // of the bubble
		})
		if !errors.Is(cause, context.DeadlineExceeded) {
			t.Errorf("the call ended with %v, want its deadline", cause)
		}
	})
}

func TestTheTimersOfAMountAreDroppedInPages(t *testing.T) {
	within(t, func(w *world) {
		for i := range 25 {
			w.set(string(rune('a'+i)), time.Minute)
		}
		w.update(func(tx store.Txn) error { return expiry.SetTimer(tx, 5, "other mount", start.Add(time.Minute)) })
		pages := 0
		for more := true; more; pages++ {
			w.update(func(tx store.Txn) error {
				var err error
				more, err = expiry.DropTimers(tx, 4, 10)
				return err
			})
		}
		if pages != 3 {
			t.Errorf("%d pages, want 3", pages)
		}
		if rows, due := w.rows(store.KindTimer), w.rows(store.KindDue); rows != 1 || due != 1 {
			t.Errorf("%d timers and %d items are left, want those of the other mount", rows, due)
		}
	})
}
