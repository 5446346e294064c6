package namespace

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/cofferhq/coffer/internal/route"
)

// Space is a namespace in service.
type Space struct {
	route.Namespace
	parent *Space // nil for the root
	entry  atomic.Pointer[Entry]

	mu      sync.Mutex
	running int           // guarded by mu: requests inside
	idle    chan struct{} // guarded by mu: closed when none runs any more; nil while nobody waits
}

func newSpace(parent *Space, e *Entry) *Space {
	sp := &Space{Namespace: e.route(), parent: parent}
	sp.entry.Store(e)
	return sp
}

// Entry returns the namespace's record.
func (sp *Space) Entry() *Entry { return sp.entry.Load() }

func (sp *Space) set(e *Entry) {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.entry.Store(e)
}

// Enter counts a request in. It is [ErrMissing] if the namespace is being
// deleted. Who has entered calls Leave.
func (sp *Space) Enter() error {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.entry.Load().Tainted {
		return ErrMissing
	}
	sp.running++
	return nil
}

// Leave counts a request out.
func (sp *Space) Leave() {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if sp.running--; sp.running == 0 && sp.idle != nil {
		close(sp.idle)
		sp.idle = nil
	}
}

// drain waits until no request is inside. The namespace must be tainted.
func (sp *Space) drain(ctx context.Context) error {
	sp.mu.Lock()
	if sp.running == 0 {
		sp.mu.Unlock()
		return nil
	}
	if sp.idle == nil {
		sp.idle = make(chan struct{})
	}
	idle := sp.idle
	sp.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Locked returns the namespace whose lock closes this one, its own or that of
// one above; nil if none does.
func (sp *Space) Locked() *Space {
	for ; sp != nil; sp = sp.parent {
		if len(sp.entry.Load().Lock) > 0 {
			return sp
		}
	}
	return nil
}
