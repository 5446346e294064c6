package serve_test

import (
	"context"
	"runtime/debug"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/serve"
)

func TestGCPercent(t *testing.T) {
	const mb = 1 << 20
	for name, tc := range map[string]struct {
		live, allocated uint64
		want            int
	}{
		"idle":              {10 * mb, 0, 100},
		"hardly busy":       {10 * mb, 3 * mb, 100},
		"busy and small":    {16 * mb, 200 * mb, 400},
		"busy and tiny":     {1, 200 * mb, 6400},
		"as large as it is": {64 * mb, 200 * mb, 100},
		"busy and large":    {900 * mb, 200 * mb, 100},
	} {
		t.Run(name, func(t *testing.T) {
			if got := serve.GCPercent(tc.live, tc.allocated); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

var kept []byte

func TestPaceFollowsTheLoad(t *testing.T) {
	// What is in force is known by setting it, so it is put back at once.
	percent := func() int {
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		return now
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		go serve.PaceGC(ctx, clock.System{})
		synctest.Wait()
		for range 64 {
			kept = make([]byte, 1<<20)
		}
		<-time.After(1500 * time.Millisecond)
		if got := percent(); got <= 100 {
			t.Errorf("under load the heap may grow by %d %% only", got)
		}
		<-time.After(time.Second)
		if got := percent(); got != 100 {
			t.Errorf("of an idle server the heap may grow by %d %%", got)
		}
		stop()
	})
}
