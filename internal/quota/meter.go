package quota

import (
	"context"
	"strings"
	"sync"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// meters count leases for the quotas in force.
type meters struct {
	forest      forest[meter]
	byNamespace map[store.NamespaceID][]*meter
}

func (ms *meters) add(r *rule, m *meter) {
	ms.forest.add(r.Owner, r.Place, m)
	ms.byNamespace[r.Place.NS] = append(ms.byNamespace[r.Place.NS], m)
}

// note takes a lease's change into the bounds.
func (ms *meters) note(ch *store.Change) {
	if ms == nil {
		return
	}
	for _, m := range ms.byNamespace[ch.Key.Namespace()] {
		if m.scope.Contains(ch.Key) {
			m.note(ch.Value != nil)
		}
	}
}

// meter counts the leases of a quota's scope. After a scan it knows a lower and
// an upper bound of their number: every row set since may be a new lease, or
// the renewal of an old one; every row removed is one lease less.
type meter struct {
	rule  rule
	scope store.Range
	// turn is held by whoever scans until its own lease is stored: near the
	// limit leases are granted one after the other.
	turn chan struct{}

	mu      sync.Mutex
	known   bool // guarded by mu: counted is of this state
	counted int  // guarded by mu: what the last scan found, at most one above the limit
	set     int  // guarded by mu: rows set since that scan began
	removed int  // guarded by mu: rows removed since that scan began
	pending int  // guarded by mu: leases that are being granted
}

func (s *Store) meterFor(key store.Key, r *rule) *meter {
	scope := s.scope(r)
	if m := s.counters[key]; m != nil && m.rule == *r && m.scope == scope {
		return m
	}
	return &meter{rule: *r, scope: scope, turn: make(chan struct{}, 1)}
}

// scope is where the leases of a quota lie.
func (s *Store) scope(r *rule) store.Range {
	path := ""
	if r.Place.Mount != 0 {
		if m, ok := s.Mount(r.Place.Mount); ok {
			path = strings.TrimSuffix(m.Path, "/")
		}
		if r.Place.Rest != "" {
			path += "/" + r.Place.Rest
		}
	}
	if !r.Place.Glob {
		return store.Under(s.Leases(r.Place.NS, path))
	}
	at := strings.LastIndexByte(path, '/')
	return store.UnderPart(s.Leases(r.Place.NS, path[:at]), path[at+1:])
}

func (m *meter) note(set bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if set {
		m.set++
	} else {
		m.removed++
	}
}

// answer is what the bounds say to one lease more.
type answer uint8

const (
	unsure answer = iota
	free          // there is room, and it is taken
	full
)

// try takes a place if the bounds leave no doubt. sure says that the caller has
// scanned, and that the upper bound counts.
func (m *meter) try(sure bool) answer {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.known && m.counted+m.set+m.pending < m.rule.MaxLeases:
		m.pending++
		return free
	case m.known && (sure || m.counted-m.removed >= m.rule.MaxLeases):
		return full
	}
	return unsure
}

// done gives the place back: the lease is counted now, or has not come to be.
func (m *meter) done() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending--
}

// scan counts anew. What is stored while it runs is in the upper bound, perhaps
// twice, and never missed; what is removed is out of the lower bound likewise.
func (m *meter) scan(ctx context.Context, s store.Store) error {
	m.mu.Lock()
	m.known, m.set, m.removed = false, 0, 0
	m.mu.Unlock()
	n, err := count(ctx, s, m.scope, m.rule.MaxLeases+1)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known, m.counted = true, n
	return nil
}

func count(ctx context.Context, s store.Store, scope store.Range, limit int) (n int, err error) {
	scope.Limit = limit
	err = s.View(ctx, func(r store.Reader) error {
		n = 0
		for _, err := range r.Scan(scope) {
			if err != nil {
				return err
			}
			n++
		}
		return nil
	})
	return n, err
}

// reserve takes a place for a lease, to be given back when it is stored.
func (m *meter) reserve(ctx context.Context, s store.Store) (release func(), ok bool, err error) {
	switch m.try(false) {
	case free:
		return m.done, true, nil
	case full:
		return nil, false, nil
	}
	select {
	case m.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, false, fault.Wrap(fault.Unavailable, ctx.Err(), "others were being granted the last leases of a quota for too long")
	}
	leave := func() { <-m.turn }
	if m.try(false) == free { // who was before has scanned
		leave()
		return m.done, true, nil
	}
	if err := m.scan(ctx, s); err != nil {
		leave()
		return nil, false, err
	}
	if m.try(true) != free {
		leave()
		return nil, false, nil
	}
	return func() { m.done(); leave() }, true, nil
}

// Reserve makes sure that the quotas leave room for one lease more of a
// request, before anything is granted. The room is the caller's until release
// is called, after the lease is stored or was not made.
func (s *Store) Reserve(ctx context.Context, c *route.Call) (release func(), err error) {
	ms := s.leases.Load()
	if ms == nil {
		return func() {}, nil
	}
	var found []*meter
	ms.forest.binding(targetOf(c), func(m *meter, _ *branch[meter]) {
		if m != nil {
			found = append(found, m)
		}
	})
	var held []func()
	release = func() {
		for _, fn := range held {
			fn()
		}
	}
	for _, m := range found {
		fn, ok, err := m.reserve(ctx, s.Store)
		if err == nil && !ok {
			err = fault.Newf(fault.RateLimited, "request path %q: lease count quota exceeded", c.Full)
		}
		if err != nil {
			release()
			return nil, err
		}
		held = append(held, fn)
	}
	return release, nil
}
