package httpd

import (
	"context"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// deadline is the context of a request: that of its connection, with an end.
// Unlike [context.WithDeadline] it starts a timer only when somebody waits for
// the end, which reads never do; a timer per request costs more than a token's
// check.
type deadline struct {
	context.Context // the connection's
	clock           clock.Clock
	at              time.Time

	mu    sync.Mutex
	timed context.Context    // guarded by mu; nil until somebody waits
	end   context.CancelFunc // guarded by mu; nil until somebody waits
	over  bool               // guarded by mu: the request has been answered
}

// start makes d the context of a request that may take as long as given.
func (d *deadline) start(parent context.Context, clk clock.Clock, now time.Time, limit time.Duration) {
	d.Context, d.clock, d.at = parent, clk, now.Add(limit)
	if at, ok := parent.Deadline(); ok && at.Before(d.at) {
		d.at = at
	}
}

// finish ends the context: the request has been answered.
func (d *deadline) finish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.over = true
	if d.end != nil {
		d.end()
	}
}

// waiting returns a context with a timer.
func (d *deadline) waiting() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timed == nil {
		d.timed, d.end = context.WithTimeout(d.Context, d.at.Sub(d.clock.Now()))
		if d.over {
			d.end()
		}
	}
	return d.timed
}

// Deadline implements [context.Context].
func (d *deadline) Deadline() (time.Time, bool) { return d.at, true }

// Done implements [context.Context].
func (d *deadline) Done() <-chan struct{} { return d.waiting().Done() }

// Err implements [context.Context].
func (d *deadline) Err() error {
	d.mu.Lock()
	timed, over := d.timed, d.over
	d.mu.Unlock()
	if timed != nil {
		return timed.Err() // agrees with Done
	}
	if err := d.Context.Err(); err != nil {
		return err
	}
	switch {
	case over:
		return context.Canceled
	case !d.clock.Now().Before(d.at):
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements [context.Context]. Contexts derived from this one find the
// timer's this way and are ended by it without a goroutine.
func (d *deadline) Value(key any) any {
	d.mu.Lock()
	timed := d.timed
	d.mu.Unlock()
	if timed != nil {
		return timed.Value(key)
	}
	return d.Context.Value(key)
}
