package database

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// The kinds of the engine's rows.
const (
	kindConnection store.Kind = 1
	kindRole       store.Kind = 2
	kindStaticRole store.Kind = 3
	kindIntent     store.Kind = 4
)

// The prefixes of the engine's timers.
const (
	timerIntent = "intent/"
	timerRotate = "rotate/"
	timerRoot   = "root/"
)

// operationLimit bounds one call to a database. It is part of the protocol:
// whatever is retried or undone by a timer waits longer than this, so that the
// first attempt has surely ended.
const operationLimit = time.Minute

// resumeDelay is after how long a timer looks at a change that was begun.
const resumeDelay = 2 * operationLimit

// Engine is a mounted instance.
type Engine struct {
	host    engine.Host
	drivers []Driver
	pools   pools
	// changing is held, by name of timer, while a password is being changed.
	changing locks
}

var (
	_ engine.Revoker      = (*Engine)(nil)
	_ engine.Renewer      = (*Engine)(nil)
	_ engine.TimerHandler = (*Engine)(nil)
	_ engine.Cleaner      = (*Engine)(nil)
	_ engine.Closer       = (*Engine)(nil)
)

func newEngine(h engine.Host, drivers []Driver) *Engine {
	return &Engine{host: h, drivers: drivers, pools: pools{clock: h.Clock}}
}

// Close closes all database connections.
func (e *Engine) Close() error {
	e.pools.close()
	return nil
}

// Fire is called when a timer is due.
func (e *Engine) Fire(ctx context.Context, name string) error {
	if id, ok := strings.CutPrefix(name, timerIntent); ok {
		return e.dropOrphan(ctx, id)
	}
	if role, ok := strings.CutPrefix(name, timerRotate); ok {
		return e.rotateDue(ctx, role)
	}
	if conn, ok := strings.CutPrefix(name, timerRoot); ok {
		return e.resumeRoot(ctx, conn)
	}
	return fmt.Errorf("firing timer: no timer is called %q", name)
}

func (e *Engine) driver(plugin string) (Driver, bool) {
	for _, d := range e.drivers {
		if slices.Contains(d.Names, plugin) {
			return d, true
		}
	}
	return Driver{}, false
}

func (e *Engine) key(kind store.Kind, name string) store.Key { return e.host.Storage.Key(kind, name) }

func (e *Engine) view(ctx context.Context, fn func(store.Reader) error) error {
	return e.host.Storage.View(ctx, fn)
}

func (e *Engine) update(ctx context.Context, fn func(store.Txn) error) error {
	return e.host.Storage.Update(ctx, fn)
}

func (e *Engine) names(ctx context.Context, kind store.Kind) (route.Keys, error) {
	var keys route.Keys
	err := e.view(ctx, func(r store.Reader) error {
		keys.Keys = nil
		for entry, err := range r.Scan(store.Under(e.host.Storage.Key(kind))) {
			if err != nil {
				return err
			}
			keys.Keys = append(keys.Keys, entry.Key.Last())
		}
		return nil
	})
	return keys, err
}

func (e *Engine) exists(ctx context.Context, kind store.Kind, name string) (bool, error) {
	var found bool
	err := e.view(ctx, func(r store.Reader) (err error) {
		found, err = store.Exists(r, e.key(kind, name))
		return err
	})
	return found, err
}

// load reads the row of a connection or role. If there is none the error says
// so in the given words.
func load[T any](e *Engine, r store.Reader, kind store.Kind, name, missing string) (T, error) {
	v, err := store.GetJSON[T](r, e.key(kind, name))
	if errors.Is(err, store.ErrNotFound) && missing != "" {
		err = fault.New(fault.Invalid, missing)
	}
	return v, err
}

func noConnection(name string) string {
	return fmt.Sprintf("no connection is called %q; create it at config/%s", name, name)
}
