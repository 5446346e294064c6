package kv

import (
	"strings"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// The kinds of rows, see the package comment.
const (
	kindPlain   store.Kind = 1
	kindSecret  store.Kind = 2
	kindVersion store.Kind = 3
	kindConfig  store.Kind = 4
)

// maxPath bounds a secret's path in bytes. The worst case, a slash after every
// byte, still makes a key that every store takes.
const maxPath = 8 << 10

var (
	errNoSecret     = fault.New(fault.NotFound, "")
	errNoPath       = fault.New(fault.Invalid, "the path of the secret is missing")
	errTrailing     = fault.New(fault.Invalid, "cannot write to a path ending in '/'")
	errPathTooLong  = fault.Newf(fault.Invalid, "the path of a secret has at most %d bytes", maxPath)
	errNoDataFields = fault.New(fault.Invalid, "missing data fields")
	errNoData       = fault.New(fault.Invalid, "no data provided")
)

// checkRead says whether there can be a secret at path.
func checkRead(path string) error {
	switch {
	case len(path) > maxPath:
		return errPathTooLong
	case path == "" || path[len(path)-1] == '/':
		return errNoSecret
	}
	return nil
}

// checkWrite says whether a secret can be stored at path.
func checkWrite(path string) error {
	switch {
	case len(path) > maxPath:
		return errPathTooLong
	case path == "":
		return errNoPath
	case path[len(path)-1] == '/':
		return errTrailing
	}
	return nil
}

// pathKey is the key of the row of some kind for a secret's path.
func pathKey(s engine.Storage, kind store.Kind, path string) store.Key {
	var pieces [8]string
	return s.Key(kind, appendPieces(pieces[:0], path)...)
}

// folderKey is the key under which the rows of a folder's children lie. The
// path may end with a slash or not.
func folderKey(s engine.Storage, kind store.Kind, path string) store.Key {
	if path == "" {
		return s.Key(kind)
	}
	if path[len(path)-1] != '/' {
		path += "/"
	}
	return pathKey(s, kind, path)
}

// appendPieces splits a path after each slash.
func appendPieces(dst []string, path string) []string {
	for path != "" {
		i := strings.IndexByte(path, '/') + 1
		if i == 0 {
			return append(dst, path)
		}
		dst = append(dst, path[:i])
		path = path[i:]
	}
	return dst
}

// isFolder reports whether a name in a listing is that of a folder.
func isFolder(name string) bool { return strings.HasSuffix(name, "/") }
