package namespace

import (
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Entry is a namespace's record. An Entry that was handed out is shared: it must
// not be changed.
type Entry struct {
	ID     store.NamespaceID `json:"id"`
	Parent store.NamespaceID `json:"parent"`
	Name   string            `json:"name"`
	// Path is the names from the root down, each with a slash after it.
	Path   string            `json:"path"`
	UUID   string            `json:"uuid"`
	Custom map[string]string `json:"custom_metadata,omitempty"`
	// Lock is the hash of the key that unlocks the namespace; empty for one that
	// is not locked.
	Lock    []byte    `json:"lock,omitempty"`
	Created time.Time `json:"created"`
	// Tainted marks a namespace that is being deleted: no request enters it.
	Tainted bool `json:"tainted,omitempty"`
}

// Root is the namespace that is always there.
var Root = route.Namespace{ID: store.RootNamespace, Path: "", UUID: "root"}

func (e *Entry) route() route.Namespace {
	return route.Namespace{ID: e.ID, Path: e.Path, UUID: e.UUID}
}

// The first parts of the keys of [store.KindNamespace].
const (
	byID     = "id"
	children = "child"
	ending   = "ending"
)

func rowKey(parts ...string) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindNamespace, parts...)
}

func number(id store.NamespaceID) string { return store.Uint64Part(uint64(id)) }

func idKey(id store.NamespaceID) store.Key { return rowKey(byID, number(id)) }

func childrenKey(parent store.NamespaceID) store.Key { return rowKey(children, number(parent)) }

func childKey(parent store.NamespaceID, name string) store.Key {
	return childrenKey(parent).Append(name)
}

func endingKey(id store.NamespaceID) store.Key { return rowKey(ending, number(id)) }

// sequenceKey is where the numbers are counted.
func sequenceKey() store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindSequence, "namespace")
}

// get reads a namespace's record; [store.ErrNotFound] if there is none.
func get(r store.Reader, id store.NamespaceID) (*Entry, error) {
	e, err := store.GetJSON[Entry](r, idKey(id))
	if err != nil {
		return nil, err
	}
	return &e, nil
}

// child returns the number of the namespace with a name directly below another;
// [store.ErrNotFound] if there is none.
func child(r store.Reader, parent store.NamespaceID, name string) (store.NamespaceID, error) {
	b, err := r.Get(childKey(parent, name))
	if err != nil {
		return 0, err
	}
	id, ok := store.ParseUint64Part(string(b))
	if !ok {
		return 0, errMalformed
	}
	return store.NamespaceID(id), nil
}

var errMalformed = fault.New(fault.Internal, "a namespace's row is malformed")

// Taken reports whether a namespace with a name is directly below another, so
// that no mount is made in its place.
func Taken(r store.Reader, parent store.NamespaceID, name string) (bool, error) {
	return store.Exists(r, childKey(parent, name))
}

// Latest returns the number of the namespace made last. Read in a transaction,
// it tells the namespaces that are there from those to come.
func Latest(r store.Reader) (store.NamespaceID, error) {
	n, err := store.GetJSON[uint64](r, sequenceKey())
	if fault.KindOf(err) == fault.NotFound && err != nil {
		return store.RootNamespace, nil
	}
	return store.NamespaceID(n), err
}

// Each calls fn with the number of every namespace until it returns false.
func Each(r store.Reader, fn func(store.NamespaceID) bool) error {
	if !fn(store.RootNamespace) {
		return nil
	}
	for row, err := range r.Scan(store.Under(rowKey(byID))) {
		if err != nil {
			return err
		}
		if id, ok := store.ParseUint64Part(row.Key.Last()); ok && !fn(store.NamespaceID(id)) {
			return nil
		}
	}
	return nil
}

const (
	maxName = 128
	// maxDepth bounds how deep namespaces lie in each other.
	maxDepth = 32
)

// reserved are the names that mean something else as the first segment of a
// path.
var reserved = []string{"root", "sys", "audit", "auth", "cubbyhole", "identity"}

// checkName refuses what no namespace can be called. A name is never repaired:
// one that would mean the namespace of the request itself must not get through
// as another spelling.
func checkName(name string) error {
	switch {
	case name == "":
		return fault.New(fault.Invalid, "the name of the namespace is missing")
	case len(name) > maxName:
		return fault.Newf(fault.Invalid, "the name of a namespace has at most %d bytes", maxName)
	case strings.Contains(name, "/"):
		return fault.New(fault.Invalid, "the name of a namespace has no slash: address the namespace above it, in the header X-Vault-Namespace or before the path")
	case name == "." || name == "..":
		return fault.New(fault.Invalid, "a namespace cannot have a relative name")
	}
	for _, r := range reserved {
		if strings.EqualFold(name, r) {
			return fault.Newf(fault.Invalid, "%q is a reserved path and cannot be used as a namespace", r)
		}
	}
	for i := range len(name) {
		if !nameByte(name[i]) {
			return fault.New(fault.Invalid, "the name of a namespace has letters, digits and - _ . ~ @ only")
		}
	}
	return nil
}

func nameByte(c byte) bool {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		return true
	}
	return strings.IndexByte("-_.~@", c) >= 0
}
