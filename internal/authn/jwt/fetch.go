package jwt

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// How long something fetched counts as new, how long it is used when it cannot
// be fetched again, and how soon after a fetch another one may follow.
const (
	freshFor  = 10 * time.Minute
	usableFor = time.Hour
	retryIn   = 10 * time.Second
)

// fetched keeps a document of the issuer. One request at a time fetches it; the
// others wait for the outcome.
type fetched[T any] struct {
	fetch func(context.Context) (T, error)
	clock clock.Clock
	turn  chan struct{} // holds one token: whoever has it may fetch
	last  atomic.Pointer[outcome[T]]
}

// outcome is what came of the last fetches.
type outcome[T any] struct {
	value T
	at    time.Time // of the last success, zero if there was none
	tried time.Time
	err   error // of the last try
}

func newFetched[T any](c clock.Clock, fetch func(context.Context) (T, error)) *fetched[T] {
	return &fetched[T]{fetch: fetch, clock: c, turn: make(chan struct{}, 1)}
}

// get returns the document. One that lacks what the caller wants is fetched
// again, unless that was done just now.
func (f *fetched[T]) get(ctx context.Context, lacks func(T) bool) (T, error) {
	if o := f.last.Load(); o != nil && !f.wanting(o, lacks) {
		return o.value, nil
	}
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
	defer func() { <-f.turn }()
	o := f.last.Load()
	if o == nil || f.wanting(o, lacks) && !f.clock.Now().Before(o.tried.Add(retryIn)) {
		o = f.renew(ctx, o)
	}
	if !o.at.IsZero() && f.clock.Now().Before(o.at.Add(usableFor)) {
		return o.value, nil
	}
	var zero T
	return zero, o.err
}

func (f *fetched[T]) wanting(o *outcome[T], lacks func(T) bool) bool {
	return o.at.IsZero() || !f.clock.Now().Before(o.at.Add(freshFor)) || lacks(o.value)
}

// renew fetches the document, for all who wait: that the one who asked goes away
// does not end it. The client has a limit of time.
func (f *fetched[T]) renew(ctx context.Context, before *outcome[T]) *outcome[T] {
	now := f.clock.Now()
	value, err := f.fetch(context.WithoutCancel(ctx))
	o := &outcome[T]{value: value, at: now, tried: now, err: err}
	if err != nil {
		o.at = time.Time{}
		if before != nil {
			o.value, o.at = before.value, before.at
		}
	}
	f.last.Store(o)
	return o
}

// failing reports whether the last try failed.
func (f *fetched[T]) failing() bool {
	o := f.last.Load()
	return o != nil && o.err != nil
}
