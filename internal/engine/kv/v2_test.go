package kv_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/engine/kv"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
	"github.com/google/go-cmp/cmp"
)

func newV2(t *testing.T) *enginetest.Mount {
	t.Helper()
	return enginetest.New(t, kv.V2.Routes, kv.V2.New)
}

// details is what the API shows of a version, created when the clock started.
func details(n int, custom, deletion string, destroyed bool) string {
	return fmt.Sprintf(`{"created_time":"2026-01-02T03:04:05Z","custom_metadata":%s,"deletion_time":%q,"destroyed":%t,"version":%d}`, custom, deletion, destroyed, n)
}

func TestVersionsAreWrittenAndRead(t *testing.T) {
	m := newV2(t)
	wantData(t, m.Write("data/app", `{"data":{"a":"1"}}`), details(1, "null", "", false))
	m.Write("data/app", `{"data":{"a":"2","b":{"c":[1]}}}`)
	m.Write("data/app", `{"data":{}}`)
	for _, tc := range []struct{ query, data, version string }{
		{"", `{}`, details(3, "null", "", false)},
		{"?version=0", `{}`, details(3, "null", "", false)},
		{"?version=1", `{"a":"1"}`, details(1, "null", "", false)},
		{"?version=2", `{"a":"2","b":{"c":[1]}}`, details(2, "null", "", false)},
	} {
		wantData(t, m.Read("data/app"+tc.query), `{"data":`+tc.data+`,"metadata":`+tc.version+`}`)
	}
	wantBareNotFound(t, m, "data/app?version=9")
	wantBareNotFound(t, m, "data/none")
	wantBareNotFound(t, m, "data/")
	wantBareNotFound(t, m, "data/app/")
	m.Fails(fault.Invalid, route.VerbRead, "data/app?version=abc", nil)
	m.Fails(fault.Invalid, route.VerbRead, "data/app?version=-1", nil)
	if w := m.Write("data/app", `{"data":{},"extra":"x"}`).Warnings; len(w) != 1 || strings.Contains(w[0], `"x"`) {
		t.Errorf("an unknown member gave warnings %q", w)
	}
	wantData(t, m.Write("data/null", `{"data":null}`), details(1, "null", "", false))
	wantData(t, m.Read("data/null"), `{"data":null,"metadata":`+details(1, "null", "", false)+`}`)
	wantData(t, m.Read("subkeys/null"), `{"metadata":`+details(1, "null", "", false)+`,"subkeys":null}`)
}

func TestCheckAndSet(t *testing.T) {
	const mismatch, required = "check-and-set parameter did not match the current version", "check-and-set parameter required for this call"
	m := newV2(t)
	for _, tc := range []struct {
		name, path, options string
		want                string // a refusal, or the version that is written
	}{
		{"zero creates", "c", `{"cas":0}`, "1"},
		{"zero does not replace", "c", `{"cas":0}`, mismatch},
		{"the current version is replaced", "c", `{"cas":1}`, "2"},
		{"a later one is not", "c", `{"cas":5}`, mismatch},
		{"a negative one is not", "c", `{"cas":-1}`, mismatch},
		{"a version as text", "c", `{"cas":"2"}`, "3"},
		{"no version", "c", `{"cas":"x"}`, `field "options": its member cas must be a whole number`},
		{"options that are none", "c", `"bad"`, `field "options": must be a JSON object`},
		{"one for an absent secret", "d", `{"cas":1}`, mismatch},
		{"null is not given", "c", `{"cas":null}`, "4"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantWrite(t, m, tc.path, tc.options, tc.want)
		})
	}
	m.Write("metadata/c", `{"cas_required":true}`)
	wantWrite(t, m, "c", `{}`, required)
	wantWrite(t, m, "c", `{"cas":null}`, required)
	wantWrite(t, m, "other", `{}`, "1")
	m.Write("config", `{"cas_required":"true"}`)
	wantWrite(t, m, "other", `{}`, required)
	wantWrite(t, m, "other", `{"cas":1}`, "2")
	wantMessage(t, m.Fails(fault.Invalid, route.VerbPatch, "data/other", `{"data":{"v":"2"}}`), required)
	m.Delete("data/other")
	wantWrite(t, m, "other", `{"cas":0}`, mismatch)
	m.Write("metadata/empty", `{"max_versions":3}`)
	wantWrite(t, m, "empty", `{"cas":0}`, "1")
}

func wantWrite(t *testing.T, m *enginetest.Mount, path, options, want string) {
	t.Helper()
	r := m.Call(route.VerbWrite, "data/"+path, `{"data":{"v":"1"},"options":`+options+`}`)
	if r.Err != nil {
		wantMessage(t, r.Err, want)
		return
	}
	if got := fmt.Sprint(r.Map(t)["version"]); got != want {
		t.Errorf("wrote version %s, want %s", got, want)
	}
}

func TestDeleteUndeleteDestroy(t *testing.T) {
	const deleted = "2026-01-02T03:04:05Z"
	m := newV2(t)
	for range 3 {
		m.Write("data/s", `{"data":{"v":"1"}}`)
	}
	live := func(n int) string { return `{"data":{"v":"1"},"metadata":` + details(n, "null", "", false) + `}` }
	dead := func(n int, deletion string, destroyed bool) string {
		return `{"data":null,"metadata":` + details(n, "null", deletion, destroyed) + `}`
	}
	for _, step := range []struct {
		verb       route.Verb
		path, body string
		v1, v2, v3 string
	}{
		{route.VerbDelete, "data/s", ``, live(1), live(2), dead(3, deleted, false)},
		{route.VerbWrite, "undelete/s", `{"versions":[3]}`, live(1), live(2), live(3)},
		{route.VerbWrite, "delete/s", `{"versions":[1,2]}`, dead(1, deleted, false), dead(2, deleted, false), live(3)},
		{route.VerbWrite, "undelete/s", `{"versions":["1"]}`, live(1), dead(2, deleted, false), live(3)},
		{route.VerbWrite, "destroy/s", `{"versions":[1,1]}`, dead(1, "", true), dead(2, deleted, false), live(3)},
		{route.VerbWrite, "undelete/s", `{"versions":[1]}`, dead(1, "", true), dead(2, deleted, false), live(3)},
		{route.VerbWrite, "delete/s", `{"versions":[1]}`, dead(1, "", true), dead(2, deleted, false), live(3)},
		{route.VerbWrite, "destroy/s", `{"versions":"2,77,0"}`, dead(1, "", true), dead(2, deleted, true), live(3)},
		{route.VerbWrite, "destroy/s", `{"versions":3}`, dead(1, "", true), dead(2, deleted, true), dead(3, "", true)},
	} {
		var body any
		if step.body != "" {
			body = step.body
		}
		if r := m.Call(step.verb, step.path, body); r.Err != nil || !r.NoContent {
			t.Fatalf("%s %s: error %v", step.path, step.body, r.Err)
		}
		for i, want := range []string{step.v1, step.v2, step.v3} {
			r := m.Read(fmt.Sprintf("data/s?version=%d", i+1))
			if string(r.Data) != want || r.Missing != strings.HasPrefix(want, `{"data":null`) {
				t.Errorf("after %s %s version %d is %s, want %s", step.path, step.body, i+1, r.Data, want)
			}
		}
	}
	for _, op := range []string{"delete", "undelete", "destroy"} {
		m.Write(op+"/none", `{"versions":[1]}`)
		wantMessage(t, m.Fails(fault.Invalid, route.VerbWrite, op+"/s", `{}`), "No version number provided")
		wantMessage(t, m.Fails(fault.Invalid, route.VerbWrite, op+"/s", `{"versions":["canary"]}`), `field "versions": must be a list of version numbers`)
		m.Fails(fault.Invalid, route.VerbWrite, op+"/s/", `{"versions":[1]}`)
		m.Fails(fault.Invalid, route.VerbWrite, op+"/", `{"versions":[1]}`)
	}
	m.Delete("data/none")
}

func TestDestroyedDataIsGoneFromTheStore(t *testing.T) {
	m := newV2(t)
	m.Write("data/s", `{"data":{"v":"canary"}}`)
	m.Write("destroy/s", `{"versions":[1]}`)
	if stored(t, m, "canary") {
		t.Error("a destroyed version's data is in the store")
	}
	m.Write("data/t", `{"data":{"v":"canary"}}`)
	m.Write("data/t", `{"data":{"v":"canary"}}`)
	m.Delete("metadata/t")
	m.Delete("metadata/s")
	m.Delete("metadata/s")
	if n := rows(t, m); n != 0 {
		t.Errorf("%d rows are left of deleted secrets", n)
	}
}

func TestMaxVersionsPrunesTheOldest(t *testing.T) {
	for _, tc := range []struct {
		name, config, metadata string
		keep                   int
	}{
		{"by default", `{}`, `{}`, 10},
		{"as the mount says", `{"max_versions":2}`, `{}`, 2},
		{"as the secret says", `{"max_versions":2}`, `{"max_versions":3}`, 3},
		{"one", `{}`, `{"max_versions":"1"}`, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newV2(t)
			m.Write("config", tc.config)
			m.Write("metadata/s", tc.metadata)
			const last = 13
			for i := range last {
				m.Write("data/s", fmt.Sprintf(`{"data":{"n":%d}}`, i+1))
			}
			meta := m.Read("metadata/s").Map(t)
			if got := len(meta["versions"].(map[string]any)); got != tc.keep || meta["oldest_version"] != float64(last-tc.keep+1) {
				t.Errorf("%d versions are kept, want %d; oldest_version %v", got, tc.keep, meta["oldest_version"])
			}
			wantBareNotFound(t, m, fmt.Sprintf("data/s?version=%d", last-tc.keep))
			for n := last - tc.keep + 1; n <= last; n++ {
				if got := m.Read(fmt.Sprintf("data/s?version=%d", n)).Map(t)["data"].(map[string]any)["n"]; got != float64(n) {
					t.Errorf("version %d holds %v", n, got)
				}
			}
			m.Delete("metadata/s")
			m.Write("metadata/s", `{}`)
			if n := rows(t, m); n != 2 { // the config and the secret
				t.Errorf("%d rows are left", n)
			}
		})
	}
}

func TestDeleteVersionAfter(t *testing.T) {
	for _, tc := range []struct{ name, config, metadata, want string }{
		{"never", `{}`, `{}`, ""},
		{"as the mount says", `{"delete_version_after":"3h"}`, `{}`, "2026-01-02T06:04:05Z"},
		{"as the secret says", `{}`, `{"delete_version_after":"1h30m"}`, "2026-01-02T04:34:05Z"},
		{"the secret's is shorter", `{"delete_version_after":"3h"}`, `{"delete_version_after":3600}`, "2026-01-02T04:04:05Z"},
		{"the mount's is shorter", `{"delete_version_after":"1h"}`, `{"delete_version_after":"3h"}`, "2026-01-02T04:04:05Z"},
		{"the mount switches it off", `{"delete_version_after":"-1s"}`, `{"delete_version_after":"3h"}`, ""},
		{"the secret switches it off", `{"delete_version_after":"3h"}`, `{"delete_version_after":"-1s"}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := newV2(t)
			m.Write("config", tc.config)
			m.Write("metadata/s", tc.metadata)
			wantData(t, m.Write("data/s", `{"data":{"v":"1"}}`), details(1, "null", tc.want, false))
			if tc.want == "" {
				return
			}
			at, err := time.Parse(time.RFC3339, tc.want)
			if err != nil {
				t.Fatal(err)
			}
			m.Clock.Advance(at.Sub(m.Clock.Now()) - 1)
			if m.Read("data/s").Missing {
				t.Error("the version is deleted before its time")
			}
			m.Clock.Advance(1)
			if !m.Read("data/s").Missing || !m.Read("subkeys/s").Missing {
				t.Error("the version is readable after its time")
			}
			m.Write("undelete/s", `{"versions":[1]}`)
			wantData(t, m.Read("data/s"), `{"data":{"v":"1"},"metadata":`+details(1, "null", "", false)+`}`)
		})
	}
}

func TestConfig(t *testing.T) {
	m := newV2(t)
	wantData(t, m.Read("config"), `{"cas_required":false,"delete_version_after":"0s","max_versions":0,"metadata_cas_required":false}`)
	m.Write("config", `{"max_versions":"5","delete_version_after":"1h30m","metadata_cas_required":1}`)
	m.Write("config", `{"cas_required":true}`)
	wantData(t, m.Read("config"), `{"cas_required":true,"delete_version_after":"1h30m0s","max_versions":5,"metadata_cas_required":true}`)
	m.Write("config", `{"delete_version_after":"-1s"}`)
	if got := m.Read("config").Map(t)["delete_version_after"]; got != "-1s" {
		t.Errorf("delete_version_after is %v", got)
	}
	before := digest(t, m)
	for _, body := range []string{`{"max_versions":"canary"}`, `{"max_versions":-1}`, `{"delete_version_after":"canary"}`, `{"delete_version_after":"--1s"}`,
		`{"delete_version_after":true}`, `{"cas_required":"canary"}`, `{"max_versions":5000000000}`} {
		if err := m.Fails(fault.Invalid, route.VerbWrite, "config", body); strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error repeats the value: %v", body, err)
		}
	}
	if digest(t, m) != before {
		t.Error("a refused request changed the config")
	}
}

func TestPatch(t *testing.T) {
	m := newV2(t)
	if r := m.Patch("data/p", `{"data":{"a":"1"}}`); r.Raw == nil || r.Raw.Status != 404 || len(r.Raw.Body) != 0 {
		t.Errorf("patching an absent secret gave %+v", r.Reply)
	}
	m.Write("data/p", `{"data":{"a":"1","b":{"c":"2","d":"3"},"l":[1,2]}}`)
	wantData(t, m.Patch("data/p", `{"data":{"b":{"c":null,"e":"5"},"l":[9]}}`), details(2, "null", "", false))
	wantData(t, m.Read("data/p"), `{"data":{"a":"1","b":{"d":"3","e":"5"},"l":[9]},"metadata":`+details(2, "null", "", false)+`}`)
	wantData(t, m.Patch("data/p", `{"data":{"z":"1"},"options":{"cas":2}}`), details(3, "null", "", false))
	wantMessage(t, m.Fails(fault.Invalid, route.VerbPatch, "data/p", `{"data":{"z":"2"},"options":{"cas":2}}`), "check-and-set parameter did not match the current version")
	for _, body := range []string{`{}`, `{"data":null}`} {
		wantMessage(t, m.Fails(fault.Invalid, route.VerbPatch, "data/p", body), "no data provided")
	}
	m.Fails(fault.Invalid, route.VerbPatch, "data/p", `{"data":[1]}`)
	m.Fails(fault.Invalid, route.VerbPatch, "data/p/", `{"data":{}}`)
	m.Delete("data/p")
	r := m.Patch("data/p", `{"data":{"q":"1"}}`)
	wantData(t, r, details(3, "null", "2026-01-02T03:04:05Z", false))
	if !r.Missing {
		t.Error("a deleted version was patched")
	}
	m.Write("metadata/only", `{}`)
	if r := m.Patch("data/only", `{"data":{"a":"1"}}`); r.Raw == nil || r.Raw.Status != 404 {
		t.Errorf("patching a secret without versions gave %+v", r.Reply)
	}
}

func TestSubkeys(t *testing.T) {
	m := newV2(t)
	m.Write("data/s", `{"data":{"a":"1","b":{"c":{"d":"x"},"e":[1]},"n":null,"o":{}}}`)
	for _, tc := range []struct{ query, want string }{
		{"", `{"a":null,"b":{"c":{"d":null},"e":null},"n":null,"o":null}`},
		{"?depth=0", `{"a":null,"b":{"c":{"d":null},"e":null},"n":null,"o":null}`},
		{"?depth=1", `{"a":null,"b":null,"n":null,"o":null}`},
		{"?depth=2&version=1", `{"a":null,"b":{"c":null,"e":null},"n":null,"o":null}`},
	} {
		wantData(t, m.Read("subkeys/s"+tc.query), `{"metadata":`+details(1, "null", "", false)+`,"subkeys":`+tc.want+`}`)
	}
	wantBareNotFound(t, m, "subkeys/s?version=4")
	wantBareNotFound(t, m, "subkeys/none")
	m.Fails(fault.Invalid, route.VerbRead, "subkeys/s?depth=-1", nil)
	m.Delete("data/s")
	r := m.Read("subkeys/s")
	wantData(t, r, `{"metadata":`+details(1, "null", "2026-01-02T03:04:05Z", false)+`,"subkeys":null}`)
	if !r.Missing {
		t.Error("a deleted version's subkeys are there")
	}
}

func TestWrongShapesChangeNothing(t *testing.T) {
	m := newV2(t)
	m.Write("data/kept", `{"data":{"v":"1"}}`)
	before := digest(t, m)
	long := strings.Repeat("x/", 8000) + "x"
	for _, tc := range []struct {
		name string
		verb route.Verb
		path string
		body any
		kind fault.Kind
		want string // a part of the message
	}{
		{"data beside data", route.VerbWrite, "data/x", `{"v":"canary"}`, fault.Invalid, "no data provided"},
		{"no data", route.VerbWrite, "data/x", `{}`, fault.Invalid, "no data provided"},
		{"no body", route.VerbWrite, "data/x", nil, fault.Invalid, "no data provided"},
		{"text for data", route.VerbWrite, "data/x", `{"data":"canary"}`, fault.Invalid, "must be a JSON object"},
		{"an array for data", route.VerbWrite, "data/x", `{"data":["canary"]}`, fault.Invalid, "must be a JSON object"},
		{"no JSON", route.VerbWrite, "data/x", `{canary`, fault.Invalid, "JSON"},
		{"text for options", route.VerbWrite, "data/x", `{"data":{},"options":"canary"}`, fault.Invalid, "options"},
		{"text for cas", route.VerbWrite, "data/x", `{"data":{},"options":{"cas":"canary"}}`, fault.Invalid, "whole number"},
		{"no path", route.VerbWrite, "data/", `{"data":{}}`, fault.Invalid, "path"},
		{"a folder", route.VerbWrite, "data/x/", `{"data":{}}`, fault.Invalid, "cannot write to a path ending in '/'"},
		{"a path that is too long", route.VerbWrite, "data/" + long, `{"data":{}}`, fault.Invalid, "8192 bytes"},
		{"a path that is too long to patch", route.VerbPatch, "data/" + long, `{"data":{}}`, fault.Invalid, "8192 bytes"},
		{"a path that is too long to read", route.VerbRead, "data/" + long, nil, fault.Invalid, "8192 bytes"},
		{"a path that is too long for metadata", route.VerbWrite, "metadata/" + long, `{}`, fault.Invalid, "8192 bytes"},
		{"a path that is too long to destroy", route.VerbWrite, "destroy/" + long, `{"versions":[1]}`, fault.Invalid, "8192 bytes"},
		{"deleting the config", route.VerbDelete, "config", nil, fault.Unsupported, "unsupported operation"},
		{"listing data", route.VerbList, "data/", nil, fault.Unsupported, "unsupported operation"},
		{"reading undelete", route.VerbRead, "undelete/kept", nil, fault.Unsupported, "unsupported operation"},
		{"patching destroy", route.VerbPatch, "destroy/kept", `{}`, fault.Unsupported, "unsupported operation"},
		{"writing subkeys", route.VerbWrite, "subkeys/kept", `{}`, fault.Unsupported, "unsupported operation"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := m.Fails(tc.kind, tc.verb, tc.path, tc.body)
			if msg := fault.Message(err); !strings.Contains(msg, tc.want) || strings.Contains(err.Error(), "canary") {
				t.Errorf("got message %q and error %v", msg, err)
			}
		})
	}
	if digest(t, m) != before {
		t.Error("a refused request changed the store")
	}
}

func TestPathsOfVersionOneGetAHint(t *testing.T) {
	m := newV2(t)
	for _, tc := range []struct {
		verb route.Verb
		path string
		body any
	}{
		{route.VerbRead, "app", nil}, {route.VerbRead, "", nil}, {route.VerbRead, "data", nil}, {route.VerbRead, "app/", nil}, {route.VerbRead, "metadata", nil},
		{route.VerbWrite, "app", `{"a":"1"}`}, {route.VerbWrite, "data", `{"data":{}}`}, {route.VerbWrite, "", `{"a":"1"}`},
		{route.VerbDelete, "data", nil}, {route.VerbDelete, "a/b", nil}, {route.VerbList, "", nil}, {route.VerbList, "app", nil}, {route.VerbPatch, "app", `{"a":"1"}`},
	} {
		r := m.Call(tc.verb, tc.path, tc.body)
		if r.Err != nil || !r.Missing || r.Data != nil || len(r.Warnings) != 1 || !strings.HasPrefix(r.Warnings[0], "Invalid path for a versioned K/V secrets engine") {
			t.Errorf("%s %q: %+v, warnings %q, error %v", tc.verb, tc.path, r.Reply, r.Warnings, r.Err)
		}
	}
}

func TestCreateIsToldFromUpdate(t *testing.T) {
	m := newV2(t)
	wantExists(t, m, "data/s", `{"data":{}}`, false)
	wantExists(t, m, "metadata/s", `{}`, false)
	m.Write("metadata/s", `{}`)
	wantExists(t, m, "data/s", `{"data":{}}`, true)
	wantExists(t, m, "metadata/s", `{}`, true)
	m.Write("data/s", `{"data":{}}`)
	m.Delete("data/s")
	wantExists(t, m, "data/s", `{"data":{}}`, true)
	wantExists(t, m, "data/s/", `{"data":{}}`, false)
}

func wantExists(t *testing.T, m *enginetest.Mount, path, body string, want bool) {
	t.Helper()
	ty := kv.V1
	if strings.Contains(path, "data/") {
		ty = kv.V2
	}
	table, err := route.NewTable(ty.Routes)
	if err != nil {
		t.Fatal(err)
	}
	var match route.Match
	e, _ := table.Find(route.VerbWrite, path, &match)
	c := &route.Call{Verb: route.VerbWrite, Path: path}
	if c.Body, err = wire.ParseObject([]byte(body), wire.DefaultLimits); err != nil {
		t.Fatal(err)
	}
	c.SetMatch(&match, e)
	if got, err := e.Exists(t.Context(), m.Instance, c); err != nil || got != want {
		t.Errorf("%s exists: %t, error %v; want %t", path, got, err, want)
	}
}

func wantData(t *testing.T, r enginetest.Result, want string) {
	t.Helper()
	if diff := cmp.Diff(want, string(r.Data)); diff != "" {
		t.Errorf("data (-want +got):\n%s", diff)
	}
}

func wantMessage(t *testing.T, err error, want string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Msg != want {
		t.Errorf("got error %v, want message %q", err, want)
	}
}

// wantBareNotFound wants a 404 with an empty list of errors.
func wantBareNotFound(t *testing.T, m *enginetest.Mount, path string) {
	t.Helper()
	if err := m.Fails(fault.NotFound, route.VerbRead, path, nil); fault.Message(err) != "" {
		t.Errorf("%s: got message %q, want none", path, fault.Message(err))
	}
}

// eachRow visits everything in the store.
func eachRow(t *testing.T, m *enginetest.Mount, visit func(store.Entry)) {
	t.Helper()
	err := m.Store.View(t.Context(), func(r store.Reader) error {
		for row, err := range r.Scan(store.Range{}) {
			if err != nil {
				return err
			}
			visit(row)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func rows(t *testing.T, m *enginetest.Mount) (n int) {
	t.Helper()
	eachRow(t, m, func(store.Entry) { n++ })
	return n
}

func digest(t *testing.T, m *enginetest.Mount) [32]byte {
	t.Helper()
	h := sha256.New()
	eachRow(t, m, func(row store.Entry) { fmt.Fprintf(h, "%q %q\n", row.Key, row.Value) })
	return [32]byte(h.Sum(nil))
}

func stored(t *testing.T, m *enginetest.Mount, text string) (found bool) {
	t.Helper()
	eachRow(t, m, func(row store.Entry) {
		found = found || strings.Contains(string(row.Key), text) || strings.Contains(string(row.Value), text)
	})
	return found
}
