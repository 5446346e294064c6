package namespace_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/store"
)

func TestAt(t *testing.T) {
	f := newFixture(t)
	a := f.create(store.RootNamespace, "a")
	b := f.create(a, "b")
	for _, tt := range []struct {
		path string
		want store.NamespaceID
	}{
		{"", store.RootNamespace},
		{"/", store.RootNamespace},
		{"root", store.RootNamespace},
		{"root/", store.RootNamespace},
		{"/root/", store.RootNamespace},
		{"a", a},
		{"a/", a},
		{"/a/", a},
		{"a/b", b},
		{"a/b/", b},
		{"b", 0},
		{"A", 0},
		{"a//b", 0},
		{"a/./b", 0},
		{"a/../a", 0},
		{"../a", 0},
		{"root/a", 0},
		{"Root", 0},
		{"a/root", 0},
		{"root root", 0},
		{"root%2f", 0},
		{"a b", 0},
		{"a\x00", 0},
		{".", 0},
	} {
		for name, s := range map[string]*namespace.Store{"at first": f.another(), "again": f.Store} {
			sp, err := s.At(t.Context(), tt.path)
			switch {
			case tt.want == 0:
				if !errors.Is(err, fault.NotFound) {
					t.Errorf("%q %s: got %v, %v, want that there is none", tt.path, name, sp, err)
				}
			case err != nil || sp.ID != tt.want:
				t.Errorf("%q %s: got %v, %v, want %d", tt.path, name, sp, err, tt.want)
			}
		}
	}
}

func TestNames(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"a", "A", "team-1", "x_y.z~1@w", "api-lock", "0"} {
		f.create(store.RootNamespace, name)
	}
	for _, name := range []string{
		"", "root", "Root", "ROOT", "sys", "SYS", "auth", "audit", "identity", "cubbyhole", ".", "..", "a/b", "a b", " a", "a ", "ä", "a\x00", "a\n", "a*", "a+", "{{a}}", "a,b", `a\b`, "a%2fb",
		string(make([]byte, 200)),
	} {
		if _, err := f.Create(t.Context(), store.RootNamespace, name, nil); !errors.Is(err, fault.Invalid) {
			t.Errorf("creating %q: %v", name, err)
		}
		if err := f.Delete(t.Context(), store.RootNamespace, name); !errors.Is(err, fault.Invalid) {
			t.Errorf("deleting %q: %v", name, err)
		}
	}
}

func TestReach(t *testing.T) {
	f := newFixture(t)
	a := f.create(store.RootNamespace, "a")
	b := f.create(a, "b")
	ab := f.create(store.RootNamespace, "ab")
	for _, tt := range []struct {
		from, to store.NamespaceID
		prefix   string
		ok       bool
	}{
		{store.RootNamespace, store.RootNamespace, "", true},
		{store.RootNamespace, b, "a/b/", true},
		{a, a, "", true},
		{a, b, "b/", true},
		{a, ab, "", false},
		{a, store.RootNamespace, "", false},
		{b, a, "", false},
		{ab, a, "", false},
	} {
		r, ok, err := f.Reach(t.Context(), tt.from, tt.to)
		if err != nil || r.Home.ID != tt.from || ok != tt.ok || ok && (r.Prefix != tt.prefix || len(r.IDs) != strings.Count(tt.prefix, "/")) {
			t.Errorf("from %d to %d: %+v, %v, %v; want %q, %v", tt.from, tt.to, r, ok, err, tt.prefix, tt.ok)
		}
		if ok && len(r.IDs) > 0 && r.IDs[len(r.IDs)-1] != tt.to {
			t.Errorf("from %d to %d: the way is %v", tt.from, tt.to, r.IDs)
		}
	}
	if _, _, err := f.Reach(t.Context(), 99, a); !errors.Is(err, namespace.ErrMissing) {
		t.Errorf("from one that is gone: %v", err)
	}
}

func TestANamespaceMadeAgainIsAnother(t *testing.T) {
	f := newFixture(t)
	first := f.create(store.RootNamespace, "a")
	f.delete("a")
	second := f.create(store.RootNamespace, "a")
	if first == second {
		t.Errorf("both have the number %d", first)
	}
	if sp, err := f.At(t.Context(), "a"); err != nil || sp.ID != second {
		t.Errorf("got %v, %v", sp, err)
	}
}
