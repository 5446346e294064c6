package serve

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// A server with few secrets has a live heap of some megabytes, and Go would
// collect whenever as much again has been allocated: dozens of times a second
// under load, a tenth of the processor. While there is load the heap may
// therefore grow by headroom before it is collected; when there is none, the
// usual measure applies, so that an idle server is small.
const (
	headroom  = 64 << 20
	paceEvery = time.Second
	quiet     = 4 << 20 // bytes allocated per second below which a server is idle
	usual     = 100     // per cent
)

// gcPercent is the growth, in per cent of the live heap, at which to collect.
func gcPercent(live, allocated uint64) int {
	if allocated < quiet || live >= headroom {
		return usual
	}
	return int(headroom * 100 / max(live, 1<<20))
}

// paceGC keeps the garbage collector's pace until ctx ends. An operator who has
// set GOGC is left alone: then it must not be called.
func paceGC(ctx context.Context, c clock.Clock) {
	defer debug.SetGCPercent(debug.SetGCPercent(usual))
	const live, allocated = 0, 1
	samples := []metrics.Sample{live: {Name: "/gc/heap/live:bytes"}, allocated: {Name: "/gc/heap/allocs:bytes"}}
	var before uint64
	now := usual
	for {
		select {
		case <-c.After(paceEvery):
		case <-ctx.Done():
			return
		}
		metrics.Read(samples)
		total := samples[allocated].Value.Uint64()
		want := gcPercent(samples[live].Value.Uint64(), total-before)
		before = total
		// Each change stops the world for a moment: small ones are not worth it.
		if want != now && (want == usual || want > now+now/8 || want < now-now/8) {
			debug.SetGCPercent(want)
			now = want
		}
	}
}
