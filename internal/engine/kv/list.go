package kv

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// listFolder lists the children of a folder in the rows of the given kinds.
func listFolder(ctx context.Context, s engine.Storage, c *route.Call, path string, kinds ...store.Kind) (route.Keys, error) {
	var keys route.Keys
	if len(path) > maxPath {
		return keys, errPathTooLong
	}
	after, limit := c.Query.Get("after"), 0
	if n, err := strconv.Atoi(c.Query.Get("limit")); err == nil { // the router refuses what is no number
		limit = n
	}
	err := s.View(ctx, func(r store.Reader) error {
		keys.Keys = nil
		for _, kind := range kinds {
			names, err := store.Children(r, folderKey(s, kind, path), after, limit)
			if err != nil {
				return err
			}
			if keys.Keys == nil {
				keys.Keys = names
				continue
			}
			keys.Keys = append(keys.Keys, names...)
			slices.Sort(keys.Keys)
			keys.Keys = slices.Compact(keys.Keys)
		}
		return nil
	})
	return keys, err
}

// scanFolder lists the secrets below a folder in the rows of the given kinds,
// relative to it: first the folder's own, then those of its folders.
func scanFolder(ctx context.Context, s engine.Storage, path string, kinds ...store.Kind) (route.Keys, error) {
	var keys route.Keys
	if len(path) > maxPath {
		return keys, errPathTooLong
	}
	err := s.View(ctx, func(r store.Reader) error {
		keys.Keys = nil
		for _, kind := range kinds {
			folder := folderKey(s, kind, path)
			above, err := folder.Parts()
			if err != nil {
				return err
			}
			for row, err := range r.Scan(store.Under(folder)) {
				if err != nil {
					return err
				}
				parts, err := row.Key.Parts()
				if err != nil {
					return err
				}
				keys.Keys = append(keys.Keys, strings.Join(parts[len(above):], ""))
			}
		}
		return nil
	})
	slices.SortFunc(keys.Keys, compareScanned)
	return keys, err
}

// compareScanned orders paths folder by folder, a folder's secrets before its
// folders.
func compareScanned(a, b string) int {
	for {
		i, j := strings.IndexByte(a, '/')+1, strings.IndexByte(b, '/')+1
		switch {
		case i == 0 && j == 0:
			return cmp.Compare(a, b)
		case i == 0:
			return -1
		case j == 0:
			return 1
		}
		if d := cmp.Compare(a[:i], b[:j]); d != 0 {
			return d
		}
		a, b = a[i:], b[j:]
	}
}

func (e *versioned) list(ctx context.Context, c *route.Call, in pathRequest) (route.Keys, error) {
	return listFolder(ctx, e.storage, c, in.Path, kindSecret, kindPlain)
}

func (e *versioned) scan(ctx context.Context, _ *route.Call, in pathRequest) (route.Keys, error) {
	return scanFolder(ctx, e.storage, in.Path, kindSecret, kindPlain)
}

func (e *versioned) listDetailed(ctx context.Context, c *route.Call, in pathRequest) (route.Keys, error) {
	keys, err := e.list(ctx, c, in)
	if err != nil {
		return keys, err
	}
	return e.withMetadata(ctx, in.Path, keys)
}

func (e *versioned) scanDetailed(ctx context.Context, c *route.Call, in pathRequest) (route.Keys, error) {
	keys, err := e.scan(ctx, c, in)
	if err != nil {
		return keys, err
	}
	return e.withMetadata(ctx, in.Path, keys)
}

// withMetadata adds the metadata of the secrets in a listing. One that has gone
// since is left without.
func (e *versioned) withMetadata(ctx context.Context, folder string, keys route.Keys) (route.Keys, error) {
	if folder != "" && !isFolder(folder) {
		folder += "/"
	}
	err := e.storage.View(ctx, func(r store.Reader) error {
		keys.Info = make(map[string]any, len(keys.Keys))
		for _, name := range keys.Keys {
			if isFolder(name) {
				continue
			}
			s, err := e.load(r, folder+name)
			if errors.Is(err, fault.NotFound) {
				continue
			}
			if err != nil {
				return err
			}
			keys.Info[name] = json.RawMessage((&metadata{secret: s.secret}).AppendJSON(nil))
		}
		return nil
	})
	return keys, err
}
