package raft

import (
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// stopwatch tells how long the work under way has taken so far. One goroutine
// works, any number look. It goes by elapsed time, so that a wall clock that
// jumps makes no disk look slow.
type stopwatch struct {
	clock clock.Clock
	epoch time.Time
	began atomic.Int64 // nanoseconds since epoch, plus one; zero when idle
}

func newStopwatch(c clock.Clock) *stopwatch { return &stopwatch{clock: c, epoch: c.Now()} }

func (w *stopwatch) begin() { w.began.Store(int64(w.clock.Now().Sub(w.epoch)) + 1) }

// end returns how long it took.
func (w *stopwatch) end() time.Duration {
	took := w.running()
	w.began.Store(0)
	return took
}

func (w *stopwatch) running() time.Duration {
	began := w.began.Load()
	if began == 0 {
		return 0
	}
	return w.clock.Now().Sub(w.epoch) - time.Duration(began-1)
}
