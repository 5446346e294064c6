package totp

import (
	"context"
	"errors"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Type is the mount type "totp".
var Type = engine.Type{
	Name:   "totp",
	Routes: routes(),
	New:    func(h engine.Host) (any, error) { return &Engine{h}, nil },
	Doc:    "Makes and checks one-time codes by time.",
}

func routes() []route.Endpoint {
	return []route.Endpoint{
		route.List("keys", (*Engine).listKeys, route.Doc{Summary: "List the keys."}),
		route.Read("keys/{name}", (*Engine).readKey, route.Doc{Summary: "Read a key's settings, without its secret."}),
		route.Write("keys/{name}", (*Engine).writeKey, route.Doc{Summary: "Make a key, or import one, in place of an earlier one."}),
		route.Delete("keys/{name}", (*Engine).deleteKey, route.Doc{Summary: "Delete a key."}),
		route.Read("code/{name}", (*Engine).readCode, route.Doc{Summary: "Read the present code of a key."}),
		route.Write("code/{name}", (*Engine).checkCode, route.Doc{Summary: "Check a code.", Description: "A code is accepted once."}),
	}
}

// The kinds of the engine's rows.
const (
	kindKey  store.Kind = 1
	kindUsed store.Kind = 2
)

// Engine is a mounted instance.
type Engine struct{ host engine.Host }

func (e *Engine) key(kind store.Kind, name string) store.Key { return e.host.Storage.Key(kind, name) }

// row reads a key's row, absent with missing.
func (e *Engine) row(r store.Reader, name string, missing error) (keyRow, error) {
	row, err := store.GetJSON[keyRow](r, e.key(kindKey, name))
	if errors.Is(err, store.ErrNotFound) {
		return row, missing
	}
	return row, err
}

func (e *Engine) read(ctx context.Context, name string, missing error) (row keyRow, err error) {
	err = e.host.Storage.View(ctx, func(r store.Reader) error {
		row, err = e.row(r, name, missing)
		return err
	})
	return row, err
}

var (
	errAbsent = fault.New(fault.NotFound, "")
	errNoKey  = fault.New(fault.Invalid, "no key has this name")
)
