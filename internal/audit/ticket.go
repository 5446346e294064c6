package audit

import (
	"context"
	"sync"

	"github.com/cofferhq/coffer/internal/fault"
)

// errNotRecorded is what a request fails with when no enabled device could
// record it.
var errNotRecorded = fault.New(fault.Unavailable, "no audit device could record the request")

// ticket collects what the devices report about one record. It is done when
// one device has recorded and none is being waited for, or when every device
// has reported.
type ticket struct {
	done chan struct{} // receives once when done; never closed

	mu          sync.Mutex
	gen         uint64 // counts uses, so that a stale Pending is noticed
	outstanding int    // devices that have not reported
	waited      int    // of these, the ones that are not lagging
	recorded    int
	finished    bool
	collected   bool // the caller no longer looks
}

var errStalePending = fault.New(fault.Internal, "audit record was waited for twice")

// add announces a device before it can report.
func (t *ticket) add(waited bool) {
	t.mu.Lock()
	t.outstanding++
	if waited {
		t.waited++
	}
	t.mu.Unlock()
}

// lag stops waiting for a device that has not reported.
func (t *ticket) lag() {
	t.mu.Lock()
	t.waited--
	t.settle()
	t.mu.Unlock()
}

// report is called exactly once per device. It returns true when nobody holds
// the ticket any more.
func (t *ticket) report(recorded, waited bool) (free bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outstanding--
	if waited {
		t.waited--
	}
	if recorded {
		t.recorded++
	}
	t.settle()
	return t.outstanding == 0 && t.collected
}

// settle is called with mu held.
func (t *ticket) settle() {
	if t.finished || t.outstanding > 0 && (t.recorded == 0 || t.waited > 0) {
		return
	}
	t.finished = true
	t.done <- struct{}{}
}

// Pending is a record on its way to the devices. The zero Pending is recorded.
type Pending struct {
	b    *Broker
	view *view
	t    *ticket
	gen  uint64
	kind Type
}

// Start makes the devices write what is pending now rather than at the next
// Wait, without waiting.
func (p Pending) Start() {
	if p.t != nil {
		p.b.kick(p.view)
	}
}

// Wait returns nil once at least one device holds the record, and every other
// device either holds it too or has been found slow. It returns an error of
// kind [fault.Unavailable] when no device could take it, and ctx's error when
// ctx ends first, in which case the record may or may not get written. It must
// be called at most once.
func (p Pending) Wait(ctx context.Context) error {
	if p.t == nil {
		return nil
	}
	t := p.t
	t.mu.Lock()
	if t.gen != p.gen || t.collected {
		t.mu.Unlock()
		return errStalePending
	}
	finished := t.finished
	t.mu.Unlock()
	if !finished {
		p.b.kick(p.view)
	}
	select {
	case <-t.done:
	case <-ctx.Done():
		// The ticket is left to the garbage collector: a device may yet
		// finish it, and a reuse would find its signal.
		p.b.stats.count(p.kind, false)
		return context.Cause(ctx)
	}
	t.mu.Lock()
	ok := t.recorded > 0
	t.collected = true
	free := t.outstanding == 0
	t.mu.Unlock()
	if free {
		p.b.recycle(t)
	}
	p.b.stats.count(p.kind, ok)
	if !ok {
		return errNotRecorded
	}
	return nil
}

// acquireTicket returns a fresh ticket that the caller itself holds open until
// it has announced it to all devices.
func (b *Broker) acquireTicket() *ticket {
	t, ok := b.tickets.Get().(*ticket)
	if !ok {
		return &ticket{done: make(chan struct{}, 1), gen: 1, outstanding: 1}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gen++
	t.outstanding, t.waited, t.recorded = 1, 0, 0
	t.finished, t.collected = false, false
	return t
}

func (b *Broker) recycle(t *ticket) { b.tickets.Put(t) }
