package abuse_test

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
)

// indexFaults compares tokens and leases with every row that stands for them,
// in both directions, and tells what has no counterpart or no end.
func (w *world) indexFaults() []string {
	w.t.Helper()
	x := indexes{rows: w.rows(), due: map[string]bool{}}
	for k, v := range x.rows {
		if k.Mount() == store.System {
			x.collect(k, v)
		}
	}
	for k := range x.rows {
		if k.Mount() == store.System {
			x.check(k)
		}
	}
	return x.faults
}

// indexes are the rows of a store, decoded.
type indexes struct {
	rows   map[store.Key]string
	due    map[string]bool // class, id and time of items
	faults []string
}

func (x *indexes) fault(format string, args ...any) {
	x.faults = append(x.faults, fmt.Sprintf(format, args...))
}

func (x *indexes) collect(k store.Key, _ string) {
	if k.Kind() != store.KindDue {
		return
	}
	if parts, err := k.Parts(); err == nil && len(parts) == 3 {
		x.due[parts[2]] = true
	}
}

func (x *indexes) has(kind store.Kind, parts ...string) bool {
	_, ok := x.rows[store.NewKey(store.RootNamespace, store.System, kind, parts...)]
	return ok
}

func (x *indexes) check(k store.Key) {
	parts, err := k.Parts()
	if err != nil {
		x.fault("a key that does not decode: %q", string(k))
		return
	}
	switch k.Kind() {
	case store.KindToken:
		x.token(parts[0], x.rows[k])
	case store.KindAccessor:
		if !x.has(store.KindToken, x.rows[k]) {
			x.fault("accessor %s of no token", parts[0])
		}
	case store.KindTokenParent:
		if !x.has(store.KindToken, parts[0]) || !x.has(store.KindToken, parts[1]) {
			x.fault("link from %x to %x without both tokens", parts[0], parts[1])
		}
	case store.KindLease:
		x.lease(strings.Join(parts, "/"), x.rows[k])
	case store.KindLeaseOwner:
		if !x.has(store.KindToken, parts[0]) || !x.has(store.KindLease, strings.Split(parts[1][8:], "/")...) {
			x.fault("owner row %x of %s without both", parts[0], parts[1][8:])
		}
	case store.KindDue:
		x.item(parts[2])
	case store.KindWrap:
		if parts[0] == "answer" && !x.has(store.KindToken, parts[1]) {
			x.fault("wrapped answer of no token")
		}
	}
}

func (x *indexes) token(handle, value string) {
	var e token.Entry
	if err := json.Unmarshal([]byte(value), &e); err != nil {
		x.fault("token %x does not decode", handle)
		return
	}
	if !x.has(store.KindAccessor, e.Accessor) {
		x.fault("token %x without its accessor", handle)
	}
	if len(e.Parent) > 0 && !x.has(store.KindTokenParent, string(e.Parent), handle) {
		x.fault("token %x without the link of its parent", handle)
	}
	switch {
	case e.Expires.IsZero() && !e.Root():
		x.fault("token %x without an end", handle)
	case !e.Expires.IsZero() && !x.due["t"+handle]:
		x.fault("token %x is not in the expiry index", handle)
	}
}

func (x *indexes) lease(id, value string) {
	var e lease.Entry
	if err := json.Unmarshal([]byte(value), &e); err != nil {
		x.fault("lease %s does not decode", id)
		return
	}
	if len(e.Token) > 0 {
		if !x.has(store.KindToken, string(e.Token)) {
			x.fault("lease row %s of no token", id)
		}
		return
	}
	if e.Expires.IsZero() || !x.due["l"+store.Uint64Part(uint64(store.RootNamespace))+id] {
		x.fault("lease %s is not in the expiry index", id)
	}
	if len(e.Owner) > 0 && !x.has(store.KindLeaseOwner, string(e.Owner), store.Uint64Part(uint64(store.RootNamespace))+id) {
		x.fault("lease %s without the row of its owner", id)
	}
}

func (x *indexes) item(id string) {
	switch id[0] {
	case 't':
		if !x.has(store.KindToken, id[1:]) {
			x.fault("item of no token")
		}
	case 'l':
		if !x.has(store.KindLease, strings.Split(id[9:], "/")...) {
			x.fault("item of no lease %s", id[9:])
		}
	}
}
