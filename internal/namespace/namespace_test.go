package namespace_test

import (
	"errors"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/namespace"
)

func TestFromHeader(t *testing.T) {
	for _, root := range []string{"", "/", "root", "root/", "/root/", " root "} {
		if ns, err := namespace.FromHeader(root); err != nil || ns != namespace.Root {
			t.Errorf("%q: %v, %v", root, ns, err)
		}
	}
	for _, other := range []string{"ns1", "root/ns1", "Root", "../root", "root%2f", ".", "root root"} {
		if ns, err := namespace.FromHeader(other); !errors.Is(err, fault.NotFound) || ns.ID != 0 {
			t.Errorf("%q: %v, %v", other, ns, err)
		}
	}
}
