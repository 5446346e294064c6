// Package namespace is the noun of tenants. Every key, handle and cache key
// carries a namespace's id; a handle of one namespace used in another is
// refused where it is looked up, not where it is shown.
//
// There is one namespace so far, the root.
package namespace

import (
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Root is the namespace that is always there.
var Root = route.Namespace{ID: store.RootNamespace, Path: "", UUID: "root"}

// FromHeader returns the namespace that a request's header names; none, a
// slash and "root" are the root.
func FromHeader(header string) (route.Namespace, error) {
	switch strings.Trim(strings.TrimSpace(header), "/") {
	case "", "root":
		return Root, nil
	}
	return route.Namespace{}, fault.New(fault.NotFound, "namespace not found")
}
