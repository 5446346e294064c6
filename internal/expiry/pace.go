package expiry

import (
	"context"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// pace keeps revocation from taking the machine: at most a number of items per
// second over all queues, and rests while requests are being answered.
type pace struct {
	rate  int
	busy  func() bool
	clock clock.Clock

	mu   sync.Mutex
	free time.Time // guarded by mu: when the items handed out so far are within the rate
}

// rest waits after a batch of n items that began at a time, as long as it should.
func (p *pace) rest(ctx context.Context, began time.Time, n int) {
	now := p.clock.Now()
	wait := p.excess(now, n)
	if p.busy != nil && p.busy() {
		wait = max(wait, min(now.Sub(began), longestRest))
	}
	if wait <= 0 {
		return
	}
	select {
	case <-p.clock.After(wait):
	case <-ctx.Done():
	}
}

// longestRest bounds the rest after a batch that took long, as when a database
// did not answer: that has cost requests nothing.
const longestRest = 100 * time.Millisecond

// excess accounts for n items and returns how long it is until they are within
// the rate.
func (p *pace) excess(now time.Time, n int) time.Duration {
	if p.rate <= 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(n) * time.Second / time.Duration(p.rate))
	return p.free.Sub(now)
}
