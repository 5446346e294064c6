// Package cubbyhole is the secrets engine that gives every token a store of its
// own: nobody else can read it, not even root, and it ends with the token.
//
// # Rows
//
// The first part of every key is the id of the caller's cubbyhole, which the
// caller cannot choose; the path below it is split after each slash, so that
// listing seeks from child to child.
//
//	1 entry  cubbyhole id, path pieces...  the JSON object
//	2 count  cubbyhole id                  number of entries, 8 bytes big-endian
//
// The count bounds a cubbyhole, so that [Wipe] can remove it in the transaction
// that removes the token.
package cubbyhole

import (
	"context"
	"encoding/binary"
	"errors"
	"strings"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

const (
	kindEntry store.Kind = 1
	kindCount store.Kind = 2
)

// Limits of one cubbyhole: entries, and bytes of a path. Together they keep the
// keys that [Wipe] deletes within one transaction.
const (
	maxEntries = 4096
	maxPath    = 2 << 10
)

var (
	errAbsent    = fault.New(fault.NotFound, "")
	errNoPath    = fault.New(fault.Invalid, "the path within the cubbyhole is missing")
	errTrailing  = fault.New(fault.Invalid, "cannot write to a path ending in '/'")
	errTooLong   = fault.Newf(fault.Invalid, "a path within a cubbyhole has at most %d bytes", maxPath)
	errNoData    = fault.New(fault.Invalid, "missing data fields")
	errFull      = fault.Newf(fault.Invalid, "a cubbyhole holds at most %d entries; delete some first", maxEntries)
	errBatch     = fault.New(fault.Invalid, "a batch token has no cubbyhole: cubbyhole operations are only supported by service tokens")
	errElsewhere = fault.New(fault.Invalid, "a token's cubbyhole is in the token's own namespace")
	errCount     = errors.New("decoding the count of a cubbyhole: malformed")
)

// Type is the mount type "cubbyhole".
var Type = engine.Type{
	Name:      "cubbyhole",
	Routes:    routes(),
	New:       func(h engine.Host) (any, error) { return &cubbyholes{h.Storage}, nil },
	Singleton: true,
	Doc:       "Gives every token a private store that ends with the token.",
}

func routes() []route.Endpoint {
	return []route.Endpoint{
		route.Read("{path...}", (*cubbyholes).read, route.Doc{Summary: "Read an entry of the token's own cubbyhole."}),
		route.Write("{path...}", (*cubbyholes).write, route.Exists((*cubbyholes).exists),
			route.Doc{Summary: "Store a JSON object in the token's own cubbyhole."}),
		route.Delete("{path...}", (*cubbyholes).delete, route.Doc{Summary: "Delete an entry of the token's own cubbyhole."}),
		route.List("{path...}", (*cubbyholes).list, route.Doc{Summary: "List the entries and folders of the token's own cubbyhole."}),
		route.Full(route.VerbRead, "", (*cubbyholes).root, route.Hidden()),
		route.Full(route.VerbWrite, "", (*cubbyholes).root, route.Hidden(), route.Pure()),
		route.Full(route.VerbDelete, "", (*cubbyholes).root, route.Hidden(), route.Pure()),
	}
}

type pathRequest struct {
	Path string `path:"path" doc:"Path of the entry or folder."`
}

type writeRequest struct {
	Path string      `path:"path" doc:"Path of the entry."`
	Body wire.Object `body:"*"`
}

type rootRequest struct {
	Body wire.Object `body:"*"`
}

// cubbyholes is the instance: all cubbyholes of a namespace.
type cubbyholes struct{ storage engine.Storage }

// entryKey is the key of the row at path, or, for a path that ends with a slash
// or is empty, the key under which the rows of that folder lie.
func entryKey(s engine.Storage, id, path string) store.Key {
	pieces := append(make([]string, 0, 8), id)
	for path != "" {
		i := strings.IndexByte(path, '/') + 1
		if i == 0 {
			i = len(path)
		}
		pieces = append(pieces, path[:i])
		path = path[i:]
	}
	return s.Key(kindEntry, pieces...)
}

// check refuses callers without a cubbyhole and paths that no entry can have.
func check(c *route.Call, path string) error {
	switch {
	case c.Caller.CubbyholeID == "":
		return errBatch
	case c.Caller.Prefix != "":
		return errElsewhere
	case len(path) > maxPath:
		return errTooLong
	}
	return nil
}

func isFolder(path string) bool { return strings.HasSuffix(path, "/") }

func (e *cubbyholes) read(ctx context.Context, c *route.Call, in pathRequest) (data wire.JSON, err error) {
	if err := check(c, in.Path); err != nil {
		return nil, err
	}
	if isFolder(in.Path) {
		return nil, errAbsent
	}
	err = e.storage.View(ctx, func(r store.Reader) error {
		row, err := r.Get(entryKey(e.storage, c.Caller.CubbyholeID, in.Path))
		data = append(data[:0], row...)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, errAbsent
	}
	return data, err
}

func (e *cubbyholes) exists(ctx context.Context, c *route.Call, in writeRequest) (exists bool, err error) {
	if check(c, in.Path) != nil || isFolder(in.Path) {
		return false, nil // the write itself says what is wrong
	}
	err = e.storage.View(ctx, func(r store.Reader) error {
		exists, err = store.Exists(r, entryKey(e.storage, c.Caller.CubbyholeID, in.Path))
		return err
	})
	return exists, err
}

func (e *cubbyholes) write(ctx context.Context, c *route.Call, in writeRequest) (route.None, error) {
	err := check(c, in.Path)
	switch {
	case err != nil:
		return route.None{}, err
	case isFolder(in.Path):
		return route.None{}, errTrailing
	case len(in.Body.Members) == 0:
		return route.None{}, errNoData
	}
	id := c.Caller.CubbyholeID
	return route.None{}, e.storage.Update(ctx, func(tx store.Txn) error {
		key := entryKey(e.storage, id, in.Path)
		exists, err := store.Exists(tx, key)
		if err != nil {
			return err
		}
		if !exists {
			if err := count(tx, e.storage, id, +1); err != nil {
				return err
			}
		}
		return tx.Put(key, append([]byte(nil), in.Body.Raw...))
	})
}

func (e *cubbyholes) delete(ctx context.Context, c *route.Call, in pathRequest) (route.None, error) {
	if err := check(c, in.Path); err != nil {
		return route.None{}, err
	}
	if isFolder(in.Path) {
		return route.None{}, nil // there is no entry at a folder's path
	}
	id := c.Caller.CubbyholeID
	return route.None{}, e.storage.Update(ctx, func(tx store.Txn) error {
		key := entryKey(e.storage, id, in.Path)
		exists, err := store.Exists(tx, key)
		if err != nil || !exists {
			return err
		}
		if err := count(tx, e.storage, id, -1); err != nil {
			return err
		}
		return tx.Delete(key)
	})
}

// count adjusts the number of entries of a cubbyhole and refuses one too many.
func count(tx store.Txn, s engine.Storage, id string, by int64) error {
	key := s.Key(kindCount, id)
	n := int64(0)
	row, err := tx.Get(key)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return err
	case len(row) != 8:
		return errCount
	default:
		n = int64(binary.BigEndian.Uint64(row))
	}
	switch n += by; {
	case n > maxEntries:
		return errFull
	case n <= 0:
		return tx.Delete(key)
	}
	return tx.Put(key, binary.BigEndian.AppendUint64(nil, uint64(n)))
}

func (e *cubbyholes) list(ctx context.Context, c *route.Call, in pathRequest) (keys route.Keys, err error) {
	if err := check(c, in.Path); err != nil {
		return keys, err
	}
	folder := in.Path
	if folder != "" && !isFolder(folder) {
		folder += "/"
	}
	err = e.storage.View(ctx, func(r store.Reader) error {
		keys.Keys, err = store.Children(r, entryKey(e.storage, c.Caller.CubbyholeID, folder), "", 0)
		return err
	})
	return keys, err
}

// root answers for the cubbyhole's own path, where no entry can be.
func (e *cubbyholes) root(context.Context, *route.Call, rootRequest) (*route.Reply, error) {
	return nil, errNoPath
}

// Wipe removes the cubbyhole called id within the transaction that removes its
// token. storage is that of the cubbyhole mount in the token's namespace. It
// deletes at most 4096 entries; an empty id, that of a batch token, has none.
func Wipe(tx store.Txn, storage engine.Storage, id string) error {
	if id == "" {
		return nil
	}
	tx = storage.Confine(tx)
	var keys []store.Key
	for row, err := range tx.Scan(store.Under(storage.Key(kindEntry, id))) {
		if err != nil {
			return err
		}
		keys = append(keys, row.Key)
	}
	if len(keys) == 0 {
		return nil
	}
	for _, key := range append(keys, storage.Key(kindCount, id)) {
		if err := tx.Delete(key); err != nil {
			return err
		}
	}
	return nil
}
