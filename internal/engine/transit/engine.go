package transit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// The kinds of the engine's rows.
const (
	kindKey      store.Kind = 1
	kindVersion  store.Kind = 2
	kindWrapping store.Kind = 3
	kindSettings store.Kind = 4
)

// timerRotate begins the names of the timers of automatic rotation.
const timerRotate = "rotate/"

// Engine is a mounted instance.
type Engine struct {
	host  engine.Host
	cache *cache
	stop  func()
}

var (
	_ engine.TimerHandler = (*Engine)(nil)
	_ engine.Closer       = (*Engine)(nil)
)

func newEngine(h engine.Host) *Engine {
	e := &Engine{host: h, cache: newCache()}
	e.stop = h.Storage.Watch(e.changed)
	return e
}

// changed follows the mount's rows; nil is "everything may have changed".
func (e *Engine) changed(changes []store.Change) {
	if changes == nil {
		e.cache.reset()
	}
	for i := range changes {
		switch k := changes[i].Key; k.Kind() {
		case kindKey:
			e.cache.drop(k.Last())
		case kindSettings:
			e.cache.dropSettings()
		}
	}
}

// Close lets the cached keys go.
func (e *Engine) Close() error {
	e.stop()
	e.cache.reset()
	return nil
}

// Fire is called when a timer is due.
func (e *Engine) Fire(ctx context.Context, name string) error {
	if key, ok := strings.CutPrefix(name, timerRotate); ok {
		return e.rotateDue(ctx, key)
	}
	return fmt.Errorf("firing timer: no timer is called %q", name)
}

func (e *Engine) view(ctx context.Context, fn func(store.Reader) error) error {
	return e.host.Storage.View(ctx, fn)
}

func (e *Engine) update(ctx context.Context, fn func(store.Txn) error) error {
	return e.host.Storage.Update(ctx, fn)
}

var (
	// errNoKey has the text that clients look for.
	errNoKey      = fault.New(fault.Invalid, "encryption key not found")
	errAbsent     = fault.New(fault.NotFound, "")
	errSoft       = fault.New(fault.Invalid, "the key is softly deleted; restore it with keys/<name>/soft-delete-restore first")
	errNoVersion  = fault.New(fault.Invalid, "the key has no such version, or it may no longer be used")
	errNotDerived = fault.New(fault.Invalid, "the key is derived: give the context, in base64")
)

type listRequest struct{}

func (e *Engine) listKeys(ctx context.Context, _ *route.Call, _ listRequest) (route.Keys, error) {
	var keys route.Keys
	err := e.view(ctx, func(r store.Reader) error {
		keys.Keys = nil
		for entry, err := range r.Scan(store.Under(e.host.Storage.Key(kindKey))) {
			if err != nil {
				return err
			}
			keys.Keys = append(keys.Keys, entry.Key.Last())
		}
		return nil
	})
	return keys, err
}

func isAbsent(err error) bool { return errors.Is(err, store.ErrNotFound) }
