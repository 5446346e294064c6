package replica

import (
	"context"
	"sync"

	"github.com/cofferhq/coffer/internal/store"
)

// question is one that many ask at once. Whoever comes while it is being asked
// waits for the next time it is: an answer must not be older than the question.
type question struct {
	ask func(ctx context.Context) (store.Index, error)

	mu     sync.Mutex
	asking bool   // guarded by mu: a goroutine asks
	next   *round // guarded by mu: those who wait for the next time; nil if nobody does
}

// round is one time that the question is asked.
type round struct {
	index store.Index
	err   error
	done  chan struct{} // closed once index and err are set
}

// answer returns what is answered to a question put after the call.
func (q *question) answer(ctx context.Context) (store.Index, error) {
	q.mu.Lock()
	if q.next == nil {
		q.next = &round{done: make(chan struct{})}
	}
	r := q.next
	if !q.asking {
		q.asking = true
		// Whoever happens to be first must not take the others along when it
		// goes away.
		go q.run(context.WithoutCancel(ctx))
	}
	q.mu.Unlock()
	select {
	case <-r.done:
		return r.index, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// run asks until nobody waits for an answer.
func (q *question) run(ctx context.Context) {
	for {
		q.mu.Lock()
		r := q.next
		q.next = nil
		q.asking = r != nil
		q.mu.Unlock()
		if r == nil {
			return
		}
		within, cancel := context.WithTimeout(ctx, LeaderWait)
		r.index, r.err = q.ask(within)
		cancel()
		close(r.done)
	}
}
