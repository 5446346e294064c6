package ssh

import (
	"context"
	"errors"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// The kinds of the engine's rows.
const (
	kindIssuer  store.Kind = 1
	kindName    store.Kind = 2
	kindDefault store.Kind = 3
	kindRole    store.Kind = 4
	kindOTP     store.Kind = 5
	kindZero    store.Kind = 6
)

// Engine is a mounted instance.
type Engine struct {
	host    engine.Host
	signers signers
	stop    func()
}

var (
	_ engine.Revoker = (*Engine)(nil)
	_ engine.Closer  = (*Engine)(nil)
)

func newEngine(h engine.Host) *Engine {
	e := &Engine{host: h}
	e.stop = h.Storage.Watch(e.signers.follow)
	return e
}

// Close lets the issuers' keys go.
func (e *Engine) Close() error {
	e.stop()
	e.signers.follow(nil)
	return nil
}

func (e *Engine) view(ctx context.Context, fn func(store.Reader) error) error {
	return e.host.Storage.View(ctx, fn)
}

func (e *Engine) update(ctx context.Context, fn func(store.Txn) error) error {
	return e.host.Storage.Update(ctx, fn)
}

func (e *Engine) key(kind store.Kind, parts ...string) store.Key {
	return e.host.Storage.Key(kind, parts...)
}

// errAbsent is the answer for what is not there, errName for what cannot be.
var (
	errAbsent = fault.New(fault.NotFound, "")
)

// nothing is the input of endpoints without parameters.
type nothing struct{}

func (e *Engine) tidyDynamicKeys(context.Context, *route.Call, nothing) (route.None, error) {
	return route.None{}, nil
}

func isAbsent(err error) bool { return errors.Is(err, store.ErrNotFound) }
