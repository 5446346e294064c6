package namespace_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/store"
)

// FuzzAt looks up what a header may name: it is a namespace by its one spelling,
// or there is none.
func FuzzAt(f *testing.F) {
	for _, path := range []string{"", "/", "root", "a", "a/", "/a/b/", "a//b", "a/../b", "./a", "a/root", "ROOT", "a\x00", "ä", "a b", strings.Repeat("a/", 40), strings.Repeat("x", 300)} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		fx := newFixture(t)
		fx.create(fx.create(store.RootNamespace, "a"), "b")
		sp, err := fx.At(t.Context(), path)
		bare := strings.Trim(path, "/")
		want := map[string]string{"": "", "root": "", "a": "a/", "a/b": "a/b/"}
		at, there := want[bare]
		switch {
		case !there && !errors.Is(err, namespace.ErrMissing):
			t.Errorf("%q: got %v, %v", path, sp, err)
		case there && (err != nil || sp.Path != at):
			t.Errorf("%q: got %v, %v, want %q", path, sp, err, at)
		}
	})
}
