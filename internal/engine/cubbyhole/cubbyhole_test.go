package cubbyhole_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/cubbyhole"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/google/go-cmp/cmp"
)

func mount(t *testing.T) *enginetest.Mount {
	t.Helper()
	return enginetest.New(t, cubbyhole.Type.Routes, cubbyhole.Type.New)
}

func wantData(t *testing.T, r enginetest.Result, want string) {
	t.Helper()
	if diff := cmp.Diff(want, string(r.Data)); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}

func TestEntriesAreWrittenReadListedAndDeleted(t *testing.T) {
	m := mount(t)
	if r := m.Write("x", `{"v":"1","n":2}`); !r.NoContent {
		t.Error("a write has content")
	}
	m.Write("d/y", `{"v":"2"}`)
	m.Write("d", `{"v":"beside its folder"}`)
	wantData(t, m.Read("x"), `{"v":"1","n":2}`)
	wantData(t, m.List(""), `{"keys":["d","d/","x"]}`)
	wantData(t, m.List("d"), `{"keys":["y"]}`)
	wantData(t, m.List("d/"), `{"keys":["y"]}`)
	m.Write("x", `{"v":"3"}`)
	wantData(t, m.Read("x"), `{"v":"3"}`)
	m.Delete("x")
	m.Delete("x")
	m.Delete("d/")
	m.Fails(fault.NotFound, route.VerbRead, "x", nil)
	wantData(t, m.Read("d/y"), `{"v":"2"}`)
}

func TestBadRequestsAreRefused(t *testing.T) {
	m := mount(t)
	m.Write("kept", `{"v":"1"}`)
	for _, tc := range []struct {
		name string
		verb route.Verb
		path string
		body any
		want fault.Kind
	}{
		{"an empty body", route.VerbWrite, "e", `{}`, fault.Invalid},
		{"no body", route.VerbWrite, "e", nil, fault.Invalid},
		{"an array", route.VerbWrite, "e", `[1]`, fault.Invalid},
		{"a write at a folder", route.VerbWrite, "e/", `{"v":"1"}`, fault.Invalid},
		{"a write at the root", route.VerbWrite, "", `{"v":"1"}`, fault.Invalid},
		{"a read of the root", route.VerbRead, "", nil, fault.Invalid},
		{"a delete of the root", route.VerbDelete, "", nil, fault.Invalid},
		{"a read of a folder", route.VerbRead, "kept/", nil, fault.NotFound},
		{"a path too long to write", route.VerbWrite, strings.Repeat("a/", 2000) + "a", `{"v":"1"}`, fault.Invalid},
		{"a path too long to read", route.VerbRead, strings.Repeat("a", 5000), nil, fault.Invalid},
		{"an empty listing", route.VerbList, "none", nil, fault.NotFound},
		{"a patch", route.VerbPatch, "kept", `{"v":"2"}`, fault.Unsupported},
	} {
		t.Run(tc.name, func(t *testing.T) { m.Fails(tc.want, tc.verb, tc.path, tc.body) })
	}
	wantData(t, m.List(""), `{"keys":["kept"]}`)
}

func TestTokensDoNotSeeEachOther(t *testing.T) {
	m := mount(t)
	ids := []string{"a", "ab", "a\x00b", "b"}
	for _, id := range ids {
		m.Caller.CubbyholeID = id
		m.Fails(fault.NotFound, route.VerbRead, "x", nil)
		m.Fails(fault.NotFound, route.VerbList, "", nil)
		m.Write("x", map[string]string{"of": id})
	}
	m.Caller.CubbyholeID = "ab"
	wantData(t, m.Read("x"), `{"of":"ab"}`)
}

func TestBatchTokensHaveNone(t *testing.T) {
	m := mount(t)
	m.Caller.CubbyholeID = ""
	for verb := route.VerbRead; verb <= route.VerbDelete; verb++ {
		if verb == route.VerbScan {
			continue
		}
		err := m.Fails(fault.Invalid, verb, "x", `{"v":"1"}`)
		if !strings.Contains(fault.Message(err), "batch token") {
			t.Errorf("%s: message %q does not say why", verb, fault.Message(err))
		}
	}
}

func TestWipeRemovesOneCubbyholeWhole(t *testing.T) {
	m := mount(t)
	for _, id := range []string{"gone", "gone2", "stays"} {
		m.Caller.CubbyholeID = id
		for _, path := range []string{"x", "d/y", "d/e/z"} {
			m.Write(path, `{"v":"1"}`)
		}
	}
	for _, id := range []string{"gone", "", "never was"} {
		_, err := m.Store.Update(t.Context(), func(tx store.Txn) error { return cubbyhole.Wipe(tx, m.Storage, id) })
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := rowsWith(t, m, "gone\x00\x01"); n != 0 {
		t.Errorf("%d rows were left behind", n)
	}
	for _, id := range []string{"gone2", "stays"} {
		m.Caller.CubbyholeID = id
		wantData(t, m.List(""), `{"keys":["d/","x"]}`)
	}
}

func TestACubbyholeIsBounded(t *testing.T) {
	m := mount(t)
	for i := range 4096 {
		m.Write(fmt.Sprint("n", i), `{"v":"1"}`)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "one more", `{"v":"1"}`)
	m.Write("n7", `{"v":"an update is no entry more"}`)
	m.Delete("n7")
	m.Delete("n7")
	m.Write("one more", `{"v":"1"}`)
	m.Fails(fault.Invalid, route.VerbWrite, "and another", `{"v":"1"}`)
	if _, err := m.Store.Update(t.Context(), func(tx store.Txn) error { return cubbyhole.Wipe(tx, m.Storage, "tester") }); err != nil {
		t.Fatal(err)
	}
	if n := rowsWith(t, m, ""); n != 0 {
		t.Errorf("%d rows were left behind", n)
	}
}

// rowsWith counts the mount's rows whose key contains text.
func rowsWith(t *testing.T, m *enginetest.Mount, text string) int {
	t.Helper()
	n := 0
	err := m.Store.View(t.Context(), func(r store.Reader) error {
		for row, err := range r.Scan(store.Range{}) {
			if err != nil {
				return err
			}
			if strings.Contains(string(row.Key), text) {
				n++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
