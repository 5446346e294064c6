package lockout

import (
	"context"
	"sync"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Try is a login whose verdict is awaited. The methods of the nil Try, and of
// one that is not counted, do nothing. A Try is used by one goroutine.
type Try struct {
	s      *Store
	place  place
	kind   string // of the mount
	slot   *slot
	failed bool // there are failures on record
}

// slot holds the tries of one alias that are under way.
type slot struct {
	users int // guarded by Store.mu: who holds the slot or waits for it
	mu    sync.Mutex
	tries int           // guarded by mu
	ended chan struct{} // guarded by mu: closed and replaced when a try ends
}

// Begin admits a login of alias at the mount. It waits while as many tries are
// under way as the alias has left. An alias that is locked out is refused with
// [fault.Denied]. The caller must end the try with Done, whatever else it
// calls. An empty alias is not counted.
func (s *Store) Begin(ctx context.Context, m route.Mount, alias string) (*Try, error) {
	limits := s.limits(m.Namespace, m.Type, m.Accessor)
	if alias == "" || limits.off() {
		return &Try{}, nil
	}
	t := &Try{s: s, place: place{m.Namespace, m.Accessor, alias}, kind: m.Type}
	t.slot = s.hold(t.place)
	if err := t.enter(ctx, limits); err != nil {
		s.letGo(t.place, t.slot)
		return nil, err
	}
	return t, nil
}

func (s *Store) hold(p place) *slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	sl := s.slots[p]
	if sl == nil {
		sl = &slot{ended: make(chan struct{})}
		s.slots[p] = sl
	}
	sl.users++
	return sl
}

func (s *Store) letGo(p place, sl *slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sl.users--; sl.users == 0 {
		delete(s.slots, p)
	}
}

// enter takes a place in the slot.
func (t *Try) enter(ctx context.Context, limits Limits) error {
	for {
		ended, err := t.tryEnter(ctx, limits)
		if ended == nil || err != nil {
			return err
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return fault.Wrap(fault.Unavailable, ctx.Err(), "too many logins of one user at a time")
		}
	}
}

// tryEnter returns a channel to wait on if there is no room.
//
// A try that fails records the failure before it leaves the slot. So, under the
// slot's lock, failures on record and tries in the slot together count every
// try that was admitted.
func (t *Try) tryEnter(ctx context.Context, limits Limits) (ended <-chan struct{}, err error) {
	t.slot.mu.Lock()
	defer t.slot.mu.Unlock()
	failures, err := t.s.failures(ctx, t.place, limits)
	switch {
	case err != nil:
		return nil, err
	case failures >= limits.Threshold:
		return nil, errLocked
	case failures+t.slot.tries >= limits.Threshold:
		return t.slot.ended, nil
	}
	t.failed = failures > 0
	t.slot.tries++
	return nil, nil
}

func (t *Try) counted() bool { return t != nil && t.s != nil }

// Failed records that the credentials were wrong. If it cannot be recorded the
// login must fail with the error that is returned, and not with a verdict.
func (t *Try) Failed(ctx context.Context) error {
	if !t.counted() {
		return nil
	}
	// The client may be gone, having learnt nothing; the failure counts.
	ctx = context.WithoutCancel(ctx)
	_, err := t.s.Store.Update(ctx, func(tx store.Txn) error {
		return t.s.record(tx, t.place, t.kind)
	})
	return err
}

// Succeeded forgets the failures of the alias.
func (t *Try) Succeeded(ctx context.Context) error {
	if !t.counted() || !t.failed {
		return nil
	}
	_, err := t.s.Store.Update(ctx, func(tx store.Txn) error { return t.s.forget(tx, t.place) })
	return err
}

// Done ends the try; calling it again does nothing. It is to be called as soon
// as there is a verdict, since others may wait for it.
func (t *Try) Done() {
	if !t.counted() || t.slot == nil {
		return
	}
	sl := t.slot
	t.slot = nil
	sl.mu.Lock()
	sl.tries--
	close(sl.ended)
	sl.ended = make(chan struct{})
	sl.mu.Unlock()
	t.s.letGo(t.place, sl)
}
