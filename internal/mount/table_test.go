package mount_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

func TestAPathBelongsToOneMount(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"a/", "b/c/", "b/d/e/", "auth/a/", "auth/b/c/"} {
		if path[0] == 'a' && len(path) > 2 {
			w.enable(path, "users")
		} else {
			w.enable(path, "db")
		}
	}
	tests := []struct{ path, mount, rest string }{
		{"a/", "a/", ""},
		{"a", "a/", ""},
		{"a/x", "a/", "x"},
		{"a/x/y/", "a/", "x/y/"},
		{"aa/x", "", ""},
		{"b/", "", ""},
		{"b", "", ""},
		{"b/c", "b/c/", ""},
		{"b/c/x", "b/c/", "x"},
		{"b/cc/x", "", ""},
		{"b/d", "", ""},
		{"b/d/e", "b/d/e/", ""},
		{"b/d/e/f/g", "b/d/e/", "f/g"},
		{"auth/a/login", "auth/a/", "login"},
		{"auth/b/c/login", "auth/b/c/", "login"},
		{"auth/token/create", "auth/token/", "create"},
		{"auth", "", ""},
		{"sys/mounts", "sys/", "mounts"},
		{"cubbyhole/x", "cubbyhole/", "x"},
		{"", "", ""},
		{"/", "", ""},
		{"/a/x", "", ""},
	}
	for _, tt := range tests {
		m, rest, ok := w.Resolve(store.RootNamespace, tt.path)
		got := ""
		if ok {
			got = m.Entry().Path
		}
		if got != tt.mount || rest != tt.rest {
			t.Errorf("%q is at %q, below it %q; want %q and %q", tt.path, got, rest, tt.mount, tt.rest)
		}
	}
	if _, _, ok := w.Resolve(2, "a/x"); ok {
		t.Error("a mount of one namespace is found in another")
	}
}

func TestWhatCannotBeMounted(t *testing.T) {
	w := newWorld(t)
	w.enable("a/b/", "db")
	w.enable("auth/u/", "users")
	tests := []struct {
		name, path, mountType string
		options               map[string]string
	}{
		{name: "at a mount", path: "a/b/", mountType: "db"},
		{name: "above a mount", path: "a/", mountType: "db"},
		{name: "below a mount", path: "a/b/c/", mountType: "db"},
		{name: "far below a mount", path: "a/b/c/d/e/", mountType: "db"},
		{name: "at a method", path: "auth/u/", mountType: "users"},
		{name: "below a method", path: "auth/u/v/", mountType: "users"},
		{name: "at sys", path: "sys/", mountType: "db"},
		{name: "below sys", path: "sys/x/", mountType: "db"},
		{name: "below identity", path: "identity/x/", mountType: "db"},
		{name: "below cubbyhole", path: "cubbyhole/x/", mountType: "db"},
		{name: "at auth/token", path: "auth/token/", mountType: "users"},
		{name: "below auth/token", path: "auth/token/x/", mountType: "users"},
		{name: "an unknown type", path: "x/", mountType: "nothing"},
		{name: "no type", path: "x/"},
		{name: "an engine as a method", path: "auth/x/", mountType: "db"},
		{name: "a method as an engine", path: "x/", mountType: "users"},
		{name: "the type of a singleton", path: "x/", mountType: "cubbyhole"},
		{name: "a type of the server's own", path: "x/", mountType: "system"},
		{name: "no path", path: "/", mountType: "db"},
		{name: "no method's path", path: "auth/", mountType: "users"},
		{name: "an empty segment", path: "x//y/", mountType: "db"},
		{name: "a dot", path: "x/./y/", mountType: "db"},
		{name: "two dots", path: "x/../y/", mountType: "db"},
		{name: "a wildcard", path: "x*/", mountType: "db"},
		{name: "a plus", path: "x/+/", mountType: "db"},
		{name: "a space", path: "x y/", mountType: "db"},
		{name: "a control character", path: "x\x01/", mountType: "db"},
		{name: "text that is not UTF-8", path: "x\xff/", mountType: "db"},
		{name: "an unknown version", path: "x/", mountType: "kv", options: map[string]string{"version": "3"}},
	}
	before := w.kind(store.KindMount)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := w.Enable(t.Context(), mount.Entry{NS: store.RootNamespace, Path: tt.path, Type: tt.mountType, Options: tt.options})
			if !errors.Is(err, fault.Invalid) {
				t.Errorf("error %v, want invalid", err)
			}
		})
	}
	if after := w.kind(store.KindMount); after != before {
		t.Errorf("%d mounts became %d", before, after)
	}
	w.enable("a/c/", "db")
	w.enable("auth/sys/", "users")
}

func TestOfManyMountsInEachOthersWayOneIsMade(t *testing.T) {
	w := newWorld(t)
	paths := []string{"x/", "x/y/", "x/y/z/", "x/"}
	var wg sync.WaitGroup
	errs := make([]error, 40)
	for i := range errs {
		wg.Go(func() {
			_, errs[i] = w.Enable(t.Context(), mount.Entry{NS: store.RootNamespace, Path: paths[i%len(paths)], Type: "db"})
		})
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		switch {
		case err == nil:
			made++
		case !errors.Is(err, fault.Invalid):
			t.Errorf("error %v, want invalid", err)
		}
	}
	if made != 1 {
		t.Errorf("%d mounts were made, want 1", made)
	}
}

func TestNamesOfMountsAreTheirOwn(t *testing.T) {
	w := newWorld(t)
	ids, accessors, uuids := map[store.MountID]bool{}, map[string]bool{}, map[string]bool{}
	note := func(m *mount.Mounted) {
		e := m.Entry()
		if ids[e.ID] || accessors[e.Accessor] || uuids[e.UUID] || e.ID == store.System {
			t.Errorf("mount %s has a name that was used before: %d %s %s", e.Path, e.ID, e.Accessor, e.UUID)
		}
		ids[e.ID], accessors[e.Accessor], uuids[e.UUID] = true, true, true
	}
	for i := range 20 {
		note(w.enable(fmt.Sprintf("m%d/", i%3), "db"))
		if err := w.disable(fmt.Sprintf("m%d/", i%3)); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range w.All(store.RootNamespace) {
		note(m)
		if by, err := w.ByAccessor(store.RootNamespace, m.Entry().Accessor); err != nil || by != m {
			t.Errorf("accessor of %s finds %v, %v", m.Entry().Path, by, err)
		}
	}
}

// TestATableFollowsWhatAnotherDoes runs two tables over one store.
func TestATableFollowsWhatAnotherDoes(t *testing.T) {
	w := newWorld(t)
	other := w.another()
	w.enable("a/", "db")
	if other.At(store.RootNamespace, "a/") == nil {
		t.Fatal("the other table does not see the mount")
	}
	i := make(chan *instance, 1)
	got, err := other.At(store.RootNamespace, "a/").Instance()
	if err != nil {
		t.Fatal(err)
	}
	i <- got.(*instance)
	w.answer(route.VerbWrite, "mounts/a/tune", `{"default_lease_ttl": "1h"}`)
	if ttl := other.At(store.RootNamespace, "a/").Mount().DefaultTTL; ttl != time.Hour {
		t.Errorf("the other table says %v after a tuning, want 1h", ttl)
	}
	if err := w.move("a/", "b/"); err != nil {
		t.Fatal(err)
	}
	if other.At(store.RootNamespace, "a/") != nil || other.At(store.RootNamespace, "b/") == nil {
		t.Error("the other table has not followed the move")
	}
	if err := w.disable("b/"); err != nil {
		t.Fatal(err)
	}
	if other.At(store.RootNamespace, "b/") != nil {
		t.Error("the other table has still the disabled mount")
	}
	other.Close()
	if n := (<-i).closings(); n != 1 {
		t.Errorf("the other table's instance was closed %d times, want once", n)
	}
	paths := func(t *mount.Table) (list []string) {
		for _, m := range t.All(store.RootNamespace) {
			list = append(list, m.Entry().Path)
		}
		slices.Sort(list)
		return list
	}
	if diff := cmp.Diff(paths(w.Table), paths(w.another())); diff != "" {
		t.Errorf("a table opened now differs:\n%s", diff)
	}
}

func (i *instance) closings() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.closed
}

// mounts fills a world with many mounts.
func mounts(t testing.TB, n int) *world {
	w := newWorld(t)
	w.update(func(tx store.Txn) error {
		for i := range n {
			e := mount.Entry{ID: store.MountID(1000 + i), NS: store.RootNamespace, Path: fmt.Sprintf("team/%d/secret/", i), Type: "db", Accessor: fmt.Sprint(i)}
			key := store.NewKey(store.RootNamespace, store.System, store.KindMount, "team", fmt.Sprint(i), "secret")
			if err := store.PutJSON(tx, key, e); err != nil {
				return err
			}
		}
		return nil
	})
	return w
}

func BenchmarkResolveAmongFiveThousand(b *testing.B) {
	w := mounts(b, 5000)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := w.Resolve(store.RootNamespace, "team/4321/secret/data/app/config"); !ok {
			b.Fatal("not found")
		}
	}
}

func BenchmarkLoadFiveThousand(b *testing.B) {
	w := mounts(b, 5000)
	b.ReportAllocs()
	for b.Loop() {
		table, err := mount.New(b.Context(), w.config())
		if err != nil {
			b.Fatal(err)
		}
		table.Close()
	}
}
