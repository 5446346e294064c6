package database

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
)

// pools keeps one open [Connection] per name, opened for one version of its
// settings. Its lock is never held over I/O.
type pools struct {
	clock  clock.Clock
	mu     sync.Mutex
	open   map[string]*pooled // guarded by mu
	closed bool               // guarded by mu
}

type pooled struct {
	version string
	conn    Connection
	// users counts the calls in progress; gone says that the last of them
	// closes the connection. Both are guarded by the pools' lock.
	users int
	gone  bool
	// failures in a row to reach the database, and when background work may
	// try again. Guarded by the pools' lock.
	failures int
	retryAt  time.Time
}

// maxPause is the longest time that background work leaves a dead database
// alone.
const maxPause = 30 * time.Second

// acquire returns the open connection for that version of the settings, opened
// if need be, and counts one more user. Release it.
func (p *pools) acquire(name, version string, open func() (Connection, error)) (*pooled, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, fault.New(fault.Unavailable, "the database engine is shutting down")
	}
	have := p.open[name]
	if have != nil && have.version == version {
		have.users++
		p.mu.Unlock()
		return have, nil
	}
	conn, err := open()
	if err != nil {
		p.mu.Unlock()
		return nil, err
	}
	if p.open == nil {
		p.open = map[string]*pooled{}
	}
	fresh := &pooled{version: version, conn: conn, users: 1}
	p.open[name] = fresh
	idle := have != nil && have.retireLocked()
	p.mu.Unlock()
	if idle {
		have.conn.Close()
	}
	return fresh, nil
}

// retireLocked lets the last user close the connection; it reports whether
// there is none, so that the caller does.
func (c *pooled) retireLocked() bool {
	c.gone = true
	return c.users == 0
}

// release ends a use.
func (p *pools) release(c *pooled) {
	p.mu.Lock()
	c.users--
	last := c.gone && c.users == 0
	p.mu.Unlock()
	if last {
		c.conn.Close()
	}
}

// note remembers whether the database could be reached.
func (p *pools) note(c *pooled, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !errors.Is(err, ErrUnreachable) {
		c.failures = 0
		return
	}
	now := p.clock.Now()
	if c.failures > 0 && now.Before(c.retryAt) {
		// It was under way, or a client's, when another had failed: a burst of
		// failures is one reason to wait, not many.
		return
	}
	c.retryAt = now.Add(min(time.Second<<min(c.failures, 10), maxPause))
	c.failures++
}

// paused reports whether background work should leave the database alone.
func (p *pools) paused(c *pooled) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return c.failures > 0 && p.clock.Now().Before(c.retryAt)
}

// drop closes the connections for which match holds.
func (p *pools) drop(match func(name string) bool) {
	p.mu.Lock()
	var idle []*pooled
	for name, c := range p.open {
		if match(name) {
			delete(p.open, name)
			if c.retireLocked() {
				idle = append(idle, c)
			}
		}
	}
	p.mu.Unlock()
	for _, c := range idle {
		c.conn.Close()
	}
}

// close closes everything, for good.
func (p *pools) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.drop(func(string) bool { return true })
}

// urgency tells a client's request, which always tries, from work that can
// wait while a database is known to be away.
type urgency bool

const (
	foreground urgency = false
	background urgency = true
)

// use calls fn with an open connection. The call is bounded by
// [operationLimit] and does not end with the client's: a statement that was
// sent should run to its end rather than leave its outcome unknown. If the
// database refuses the connection's credentials, they may have been changed
// since they were read: a change that is unfinished is finished, and the call
// made again while no other can begin.
func (e *Engine) use(ctx context.Context, name string, c connection, u urgency, fn func(context.Context, Connection) error) error {
	err := e.useOnce(ctx, name, c, u, fn)
	if !errors.Is(err, ErrCredentials) {
		return err
	}
	unlock, lerr := e.changing.lock(ctx, timerRoot+name)
	if lerr != nil {
		return err
	}
	defer unlock()
	now, rerr := e.settleRootLocked(ctx, name)
	if rerr != nil || now.Version == c.Version && c.PendingPassword == "" {
		return err
	}
	return e.useOnce(ctx, name, now, u, fn)
}

func (e *Engine) useOnce(ctx context.Context, name string, c connection, u urgency, fn func(context.Context, Connection) error) error {
	p, err := e.pools.acquire(name, c.Version, func() (Connection, error) { return e.open(c) })
	if err != nil {
		return err
	}
	defer e.pools.release(p)
	if u == background && e.pools.paused(p) {
		return fault.Wrap(fault.Upstream, ErrUnreachable, "the database could not be reached a moment ago")
	}
	// WithoutCancel: see above.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), operationLimit)
	defer cancel()
	err = fn(ctx, p.conn)
	e.pools.note(p, err)
	return err
}

// open makes a connection from stored settings, without I/O.
func (e *Engine) open(c connection) (Connection, error) {
	d, ok := e.driver(c.Plugin)
	if !ok {
		return nil, fault.New(fault.Invalid, "plugin not found: the connection's plugin_name is not known to this server")
	}
	return d.Open(c.Details)
}

// locks are mutexes by name that can be waited for with a context.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // guarded by mu; closed on release
}

// lock waits for the name and returns the function that lets it go.
func (l *locks) lock(ctx context.Context, name string) (func(), error) {
	for {
		l.mu.Lock()
		busy := l.held[name]
		if busy == nil {
			if l.held == nil {
				l.held = map[string]chan struct{}{}
			}
			done := make(chan struct{})
			l.held[name] = done
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				delete(l.held, name)
				close(done)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-busy:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}
