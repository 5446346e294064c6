package audit_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/audit"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
)

func mustVerify(t *testing.T, h *house, log string) audit.Report {
	t.Helper()
	r, err := audit.Verify(strings.NewReader(log), h.Pub())
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	return r
}

func TestNothingIsRecordedBeforeLoading(t *testing.T) {
	h, _ := newFakeHouse(t, nil)
	h.stop()
	if err := h.log(t, "late"); !errors.Is(err, fault.Unavailable) {
		t.Errorf("after the end: %v", err)
	}
}

func TestWithoutDevicesEverythingPasses(t *testing.T) {
	h, _ := newFakeHouse(t, nil)
	if err := h.log(t, "1"); err != nil {
		t.Error(err)
	}
}

func TestHungDeviceIsBlockedAndOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil, "good", "hung")
		if err := h.log(t, "0"); err != nil {
			t.Fatal(err)
		}
		release := f["hung"].block()
		began := clock.System{}.Now()
		if err := h.log(t, "1"); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took > 200*time.Millisecond {
			t.Errorf("the first request waited %v for the hung device", took)
		}
		for i := 2; i < 50; i++ {
			began = clock.System{}.Now()
			if err := h.log(t, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took != 0 {
				t.Fatalf("request %d waited %v", i, took)
			}
		}
		<-time.After(3 * time.Second)
		blocked := h.Stats().Devices[1]
		if !blocked.Blocked || !blocked.Lagging {
			t.Errorf("not found to be blocked: %+v", blocked)
		}
		release()
		synctest.Wait()
		if err := h.log(t, "50"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := h.Stats().Devices[1]; got.Blocked || got.Lagging {
			t.Errorf("has not recovered: %+v", got)
		}
		h.stop()
		var want []string
		for i := range 51 {
			want = append(want, fmt.Sprint(i))
		}
		for name, s := range f {
			if d := cmp.Diff(want, s.ids(t)); d != "" {
				t.Errorf("%s: %s", name, d)
			}
			mustVerify(t, h, s.text())
		}
	})
}

func TestOnlyDeviceHungFailsAfterItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil, "only")
		release := f["only"].block()
		began := clock.System{}.Now()
		if err := h.log(t, "1"); !errors.Is(err, fault.Unavailable) {
			t.Fatalf("got %v", err)
		}
		if took := time.Since(began); took < 2*time.Second || took > 2200*time.Millisecond {
			t.Errorf("failed after %v", took)
		}
		began = clock.System{}.Now()
		if err := h.log(t, "2"); !errors.Is(err, fault.Unavailable) || time.Since(began) != 0 {
			t.Errorf("a blocked device must fail at once: %v after %v", err, time.Since(began))
		}
		release()
		synctest.Wait()
		if err := h.log(t, "3"); err != nil {
			t.Fatalf("has not recovered: %v", err)
		}
		h.stop()
		if d := cmp.Diff([]string{"1", "2", "3"}, f["only"].ids(t)); d != "" {
			t.Error(d)
		}
		mustVerify(t, h, f["only"].text())
	})
}

func TestDeadlineIsADevicesOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil)
		f["only"] = &fakeSink{}
		h.enable(t, "only", map[string]string{"type": "fake", "deadline": "10s"})
		release := f["only"].block()
		defer release()
		began := clock.System{}.Now()
		if err := h.log(t, "1"); err == nil || time.Since(began) < 10*time.Second || time.Since(began) > 11*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestSlowDeviceLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil, "good", "slow")
		release := f["slow"].block()
		var want []string
		for i := range 30 {
			if i == 10 { // slower than lag, quicker than the deadline
				<-time.After(500 * time.Millisecond)
				release()
			}
			want = append(want, fmt.Sprint(i))
			if err := h.log(t, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		h.stop()
		if d := cmp.Diff(want, f["slow"].ids(t)); d != "" {
			t.Error(d)
		}
		if n := h.Stats().RequestFailures; n != 0 {
			t.Errorf("%d failures", n)
		}
	})
}

func TestQueueOfABlockedDeviceIsBoundedAndItsLossConfessed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, func(c *audit.Config) { c.Backlog = 4096 }, "good", "hung")
		release := f["hung"].block()
		for i := range 200 {
			if err := h.log(t, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		dropped := h.Stats().Devices[1].Dropped
		if dropped < 100 {
			t.Errorf("%d dropped", dropped)
		}
		release()
		synctest.Wait()
		h.stop()
		if got := len(f["good"].ids(t)); got != 200 {
			t.Errorf("the healthy device has %d", got)
		}
		if got := len(f["hung"].ids(t)); got != 200-int(dropped) {
			t.Errorf("the hung device has %d, %d were dropped", got, dropped)
		}
		if want := fmt.Sprintf(`"dropped":%d`, dropped); !strings.Contains(f["hung"].text(), want) {
			t.Errorf("no checkpoint says %s:\n%s", want, f["hung"].text())
		}
		mustVerify(t, h, f["hung"].text())
	})
}

func TestFailedWritesFailClosedAndHeal(t *testing.T) {
	for name, taken := range map[string]int{"nothing was taken": 0, "part of a line was taken": 120, "a line but its end": -1, "more than a line": 700} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, f := newFakeHouse(t, nil, "only")
				s := f["only"]
				if err := h.log(t, "0"); err != nil {
					t.Fatal(err)
				}
				if taken < 0 {
					taken = lineLen(s) - 1
				}
				// Several records in one write, which fails in the middle.
				s.fail(1, taken)
				ps := []audit.Pending{h.Begin(record("1")), h.Begin(record("2")), h.Begin(record("3"))}
				for _, p := range ps {
					if err := p.Wait(t.Context()); !errors.Is(err, fault.Unavailable) {
						t.Fatalf("recorded by a failing device: %v", err)
					}
				}
				s.fail(3, 0)
				for i := range 3 {
					if err := h.log(t, fmt.Sprint(10+i)); !errors.Is(err, fault.Unavailable) {
						t.Fatalf("recorded by a failing device: %v", err)
					}
				}
				if err := h.log(t, "4"); err != nil {
					t.Fatalf("has not recovered: %v", err)
				}
				h.stop()
				got := s.ids(t)
				slices.Sort(got)
				if d := cmp.Diff([]string{"0", "1", "10", "11", "12", "2", "3", "4"}, slices.Compact(got)); d != "" {
					t.Errorf("%s\n%s", d, s.text())
				}
				r := mustVerify(t, h, s.text())
				if r.Unproven != 0 || !r.Complete || (taken > 0) != (r.Torn > 0) {
					t.Errorf("report %+v\n%s", r, s.text())
				}
			})
		})
	}
}

// lineLen is the length of a small record's line with its end.
func lineLen(s *fakeSink) int {
	lines := strings.Split(strings.TrimSuffix(s.text(), "\n"), "\n")
	return len(lines[len(lines)-1]) + 1
}

func TestOneFailingDeviceIsEnoughToBeSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil, "bad", "good")
		f["bad"].fail(1000, 0)
		for i := range 20 {
			if err := h.log(t, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		s := h.Stats()
		if s.Devices[0].Failures != 20 || s.Devices[1].Failures != 0 || s.Requests != 20 {
			t.Errorf("%+v", s)
		}
	})
}

func TestSyncFailureFailsTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil)
		f["d"] = &fakeSink{}
		h.enable(t, "d", map[string]string{"type": "fake", "fsync": "always"})
		if err := h.log(t, "1"); err != nil {
			t.Fatal(err)
		}
		f["d"].mu.Lock()
		f["d"].syncer = errNoSpace
		opens := f["d"].opens
		f["d"].mu.Unlock()
		if err := h.log(t, "2"); !errors.Is(err, fault.Unavailable) {
			t.Fatalf("got %v", err)
		}
		f["d"].mu.Lock()
		f["d"].syncer = nil
		f["d"].mu.Unlock()
		if err := h.log(t, "3"); err != nil {
			t.Fatal(err)
		}
		if f["d"].opens != opens+1 {
			t.Error("the target was not opened anew after a failed sync")
		}
		h.stop()
		mustVerify(t, h, f["d"].text())
	})
}

func TestFsyncIntervalSyncsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil, "d")
		if err := h.log(t, "1"); err != nil {
			t.Fatal(err)
		}
		if err := h.log(t, "2"); err != nil {
			t.Fatal(err)
		}
		<-time.After(3 * time.Second)
		synctest.Wait()
		f["d"].mu.Lock()
		syncs := f["d"].syncs
		f["d"].mu.Unlock()
		if syncs == 0 {
			t.Error("nothing was synced")
		}
	})
}

func TestSlowSyncDelaysNobodyUntilTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil, "d")
		stuck := make(chan struct{})
		f["d"].mu.Lock()
		f["d"].stuck = stuck
		f["d"].mu.Unlock()
		if err := h.log(t, "1"); err != nil {
			t.Fatal(err)
		}
		<-time.After(1500 * time.Millisecond) // a second later the sync has begun
		began := time.Now()
		if err := h.log(t, "2"); err != nil || time.Since(began) != 0 {
			t.Errorf("beside a sync: error %v after %v", err, time.Since(began))
		}
		<-time.After(3 * time.Second)
		if err := h.log(t, "3"); !errors.Is(err, fault.Unavailable) {
			t.Errorf("behind a sync that takes for ever: got %v", err)
		}
		f["d"].mu.Lock()
		f["d"].stuck = nil
		f["d"].mu.Unlock()
		close(stuck)
		synctest.Wait()
		if err := h.log(t, "4"); err != nil {
			t.Error(err)
		}
		h.stop()
		if diff := cmp.Diff([]string{"1", "2", "3", "4"}, f["d"].ids(t)); diff != "" {
			t.Errorf("entries (-want +got):\n%s", diff)
		}
		mustVerify(t, h, f["d"].text())
	})
}

func TestFailedSyncOpensTheTargetAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil, "d")
		if err := h.log(t, "1"); err != nil {
			t.Fatal(err)
		}
		f["d"].mu.Lock()
		f["d"].syncer = errNoSpace
		opens := f["d"].opens
		f["d"].mu.Unlock()
		<-time.After(1500 * time.Millisecond)
		synctest.Wait()
		f["d"].mu.Lock()
		f["d"].syncer = nil
		f["d"].mu.Unlock()
		if err := h.log(t, "2"); err != nil {
			t.Fatal(err)
		}
		f["d"].mu.Lock()
		if f["d"].opens != opens+1 {
			t.Errorf("opened %d times, want %d", f["d"].opens, opens+1)
		}
		f["d"].mu.Unlock()
		h.stop()
		mustVerify(t, h, f["d"].text())
	})
}

func TestCheckpointsComeByNumberAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, func(c *audit.Config) { c.CheckpointEntries = 10 }, "d")
		for i := range 25 {
			if err := h.log(t, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
		if r := mustVerify(t, h, f["d"].text()); r.Checkpoints != 3 || r.Unproven != 5 || r.Complete {
			t.Errorf("%+v", r)
		}
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if r := mustVerify(t, h, f["d"].text()); r.Checkpoints != 4 || r.Unproven != 0 {
			t.Errorf("%+v", r)
		}
	})
}

func TestPureReadIsOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil, "d")
		if err := h.log(t, "0"); err != nil {
			t.Fatal(err)
		}
		before := f["d"].writes
		p, q := h.Begin(record("1")), h.Begin(record("2"))
		if err := errors.Join(p.Wait(t.Context()), q.Wait(t.Context())); err != nil {
			t.Fatal(err)
		}
		if n := f["d"].writes - before; n != 1 {
			t.Errorf("%d writes", n)
		}
	})
}

func TestStartWritesWithoutWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil, "d")
		p := h.Begin(record("1"))
		p.Start()
		synctest.Wait()
		if d := cmp.Diff([]string{"1"}, f["d"].ids(t)); d != "" {
			t.Error(d)
		}
		if err := p.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		if err := p.Wait(t.Context()); err == nil {
			t.Error("the second Wait succeeded")
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil, "d")
		release := f["d"].block()
		defer release()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := h.Log(ctx, record("1")); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

func TestManyWritersShareWrites(t *testing.T) {
	h, f := newFakeHouse(t, nil, "a", "b")
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 200 {
				if err := h.log(t, fmt.Sprintf("%d-%d", i, j)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	h.stop()
	for name, s := range f {
		ids := s.ids(t)
		slices.Sort(ids)
		if len(slices.Compact(ids)) != 3200 {
			t.Errorf("%s: %d of 3200", name, len(ids))
		}
		if r := mustVerify(t, h, s.text()); r.Entries != 3200 || r.Unproven != 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestDisablingUnderLoadFailsNoRequest(t *testing.T) {
	h, f := newFakeHouse(t, nil, "a", "b")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		wg.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := h.log(t, fmt.Sprintf("%d-%d", i, j)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 20 {
		if err := h.log(t, "between"); err != nil {
			t.Error(err)
		}
		if err := h.Disable(t.Context(), "b"); err != nil {
			t.Error(err)
		}
		h.enable(t, "b", map[string]string{"type": "fake"})
	}
	for _, name := range []string{"a", "b"} {
		if err := h.Disable(t.Context(), name); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	h.stop()
	for _, s := range f {
		mustVerify(t, h, s.text())
	}
}

func TestReplacingAHungDeviceDoesNotHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil, "d")
		release := f["d"].block()
		if err := h.log(t, "1"); err == nil {
			t.Fatal("recorded by a hung device")
		}
		if err := h.Disable(t.Context(), "d"); err != nil {
			t.Fatal(err)
		}
		if err := h.log(t, "2"); err != nil {
			t.Fatalf("no device is enabled: %v", err)
		}
		h.enable(t, "d", map[string]string{"type": "fake"})
		if err := h.log(t, "3"); !errors.Is(err, fault.Unavailable) {
			t.Fatalf("the new device cannot have written yet: %v", err)
		}
		release()
		synctest.Wait()
		if err := h.log(t, "4"); err != nil {
			t.Fatal(err)
		}
		h.stop()
		if d := cmp.Diff([]string{"1", "3", "4"}, f["d"].ids(t)); d != "" {
			t.Error(d)
		}
		mustVerify(t, h, f["d"].text())
	})
}

func TestShutdownGivesAHungDeviceUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, f := newFakeHouse(t, nil, "good", "hung")
		release := f["hung"].block()
		if err := h.log(t, "1"); err != nil {
			t.Fatal(err)
		}
		p := h.Begin(record("2"))
		began := clock.System{}.Now()
		h.stop()
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("the end took %v", took)
		}
		if err := p.Wait(t.Context()); err != nil {
			t.Errorf("the healthy device had time: %v", err)
		}
		if d := cmp.Diff([]string{"1", "2"}, f["good"].ids(t)); d != "" {
			t.Error(d)
		}
		if r := mustVerify(t, h, f["good"].text()); !r.Complete {
			t.Errorf("%+v", r)
		}
		if err := h.log(t, "3"); !errors.Is(err, fault.Unavailable) {
			t.Errorf("after the end: %v", err)
		}
		release()
	})
}
