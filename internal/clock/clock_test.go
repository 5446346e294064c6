package clock_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// came returns the time on a channel, or the zero time if there is none.
func came(ch <-chan time.Time) time.Time {
	select {
	case at := <-ch:
		return at
	default:
		return time.Time{}
	}
}

func TestFakeStandsStillUntilItIsMoved(t *testing.T) {
	f := clock.NewFake(time.Time{})
	start := f.Now()
	if start.IsZero() || start.Location() != time.UTC || !f.Now().Equal(start) {
		t.Fatalf("the clock stands at %v, then %v", start, f.Now())
	}
	soon, late, now, past := f.After(time.Second), f.After(time.Hour), f.After(0), f.After(-time.Second)
	for name, ch := range map[string]<-chan time.Time{"zero": now, "negative": past} {
		if got := came(ch); !got.Equal(start) {
			t.Errorf("after a %s time came %v", name, got)
		}
	}
	f.Advance(-time.Minute)
	f.Advance(time.Minute)
	if got := came(soon); !got.IsZero() {
		t.Errorf("a waiter woke at %v", got)
	}
	f.Advance(time.Second)
	if got := came(soon); !got.Equal(start.Add(time.Second)) {
		t.Errorf("a waiter woke at %v", got)
	}
	f.Advance(2 * time.Hour)
	if got := came(late); !got.Equal(start.Add(2*time.Hour + time.Second)) {
		t.Errorf("a waiter woke at %v", got)
	}
}

func TestFakeKeepsUTC(t *testing.T) {
	at := time.Date(2030, 1, 1, 0, 0, 0, 0, time.FixedZone("", 3600))
	if got := clock.NewFake(at).Now(); got.Location() != time.UTC || !got.Equal(at) {
		t.Errorf("the clock stands at %v", got)
	}
}

func TestSystem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c clock.Clock = clock.System{}
		start := c.Now()
		if start.Location() != time.UTC {
			t.Errorf("the time is in %v", start.Location())
		}
		<-c.After(time.Minute)
		if got := c.Now().Sub(start); got != time.Minute {
			t.Errorf("waited %v", got)
		}
	})
}
