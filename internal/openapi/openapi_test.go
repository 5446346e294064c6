package openapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/catalog"
	"github.com/cofferhq/coffer/internal/diag"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/openapi"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/settings"
	"github.com/cofferhq/coffer/internal/tools"
	"github.com/cofferhq/coffer/internal/wire"
)

var update = flag.Bool("update", false, "write the golden files")

// shelf is an engine that has a bit of everything.
type shelf struct{}

type bookRequest struct {
	Name string `path:"name" doc:"Name of the book."`
}

type writeBookRequest struct {
	bookRequest
	Title  string            `json:"title" doc:"Title."`
	Pages  int               `json:"pages" default:"100" doc:"Number of pages."`
	Price  float64           `json:"price" doc:"Price."`
	Lent   wire.Opt[bool]    `json:"lent" default:"true" doc:"Whether it is lent."`
	Period wire.Duration     `json:"period" default:"1h" doc:"How long it is lent."`
	Tags   []string          `json:"tags" default:"a,b" doc:"Tags."`
	Notes  map[string]string `json:"notes" doc:"Notes."`
	Extra  wire.JSON         `json:"extra" doc:"Anything."`
	PIN    wire.Secret       `json:"pin" sensitive:"true" doc:"The lender's secret."`
	Old    string            `json:"old" deprecated:"true" doc:"Not used any more."`
	Dry    bool              `query:"dry" doc:"Whether to write nothing."`
}

type readBookRequest struct {
	bookRequest
	Edition int `json:"edition" doc:"Edition; the newest if not given."`
}

type place struct {
	Shelf int     `json:"shelf"`
	Above *place  `json:"above"`
	Width float64 `json:"width"`
}

type book struct {
	place
	Title   string            `json:"title"`
	Written time.Time         `json:"written"`
	Period  wire.Duration     `json:"period"`
	Lender  *string           `json:"lender,omitempty"`
	Notes   map[string]string `json:"notes"`
	Raw     json.RawMessage   `json:"raw"`
	Cover   []byte            `json:"cover"`
	Hidden  string            `json:"-"`
	Bare    bool
}

type nothing struct{}

func (shelf) read(context.Context, *route.Call, readBookRequest) (*book, error) { return nil, nil }

func (shelf) write(context.Context, *route.Call, writeBookRequest) (route.None, error) {
	return route.None{}, nil
}

func (shelf) exists(context.Context, *route.Call, writeBookRequest) (bool, error) { return false, nil }

func (shelf) remove(context.Context, *route.Call, bookRequest) (route.None, error) {
	return route.None{}, nil
}

func (shelf) list(context.Context, *route.Call, nothing) (route.Keys, error) {
	return route.Keys{}, nil
}

func (shelf) listBelow(context.Context, *route.Call, struct {
	Title string `path:"title"`
}) (route.Keys, error) {
	return route.Keys{}, nil
}

func (shelf) raw(context.Context, *route.Call, nothing) (route.Bytes, error) {
	return route.Bytes{}, nil
}

func table(t *testing.T, eps []route.Endpoint) *route.Table {
	t.Helper()
	table, err := route.NewTable(eps)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func shelves(t *testing.T) *route.Table {
	return table(t, []route.Endpoint{
		route.Read("books/{name}", shelf.read, route.Doc{Summary: "Read a book.", Description: "All of it."}),
		route.Write("books/{name}", shelf.write, route.Exists(shelf.exists), route.Doc{Summary: "Write a book."}),
		route.Patch("books/{name}", shelf.write, route.Doc{Summary: "Change a book."}),
		route.Delete("books/{name}", shelf.remove, route.Sudo(), route.Doc{Summary: "Burn a book."}),
		route.List("books", shelf.list, route.Doc{Summary: "List the books."}),
		route.List("books/{title}", shelf.listBelow, route.Doc{Summary: "List what is in a book."}),
		route.Scan("books", shelf.list, route.Doc{Summary: "List all books."}),
		route.Write("old/{name}", shelf.write, route.Hidden()),
		route.Delete("path/{name...}", shelf.remove, route.Sudo(), route.Doc{Summary: "Delete below a path."}),
		route.Raw(route.VerbRead, "catalogue.pdf", shelf.raw, route.Public(), route.Doc{Summary: "The catalogue."}),
	})
}

func TestBuildWritesTheGoldenDocument(t *testing.T) {
	mounts := []openapi.MountInfo{
		{Path: "library/", Type: "shelf", Table: shelves(t)},
		{Path: "auth/door/", Type: "door", Table: table(t, []route.Endpoint{route.Raw(route.VerbRead, "bell", shelf.raw, route.Public())})},
		{Path: "gone/", Type: "gone"},
	}
	got := openapi.Build(openapi.Options{Version: "1.2.3"}, mounts)
	slices.Reverse(mounts)
	if again := openapi.Build(openapi.Options{Version: "1.2.3"}, mounts); !bytes.Equal(got, again) {
		t.Error("the order of mounts changes the document")
	}
	var pretty bytes.Buffer
	if err := json.Indent(&pretty, got, "", "  "); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/shelf.golden.json"
	if *update {
		if err := os.WriteFile(golden, pretty.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), pretty.String()); diff != "" {
		t.Error("run with -update if this is meant (-want +got):\n" + diff)
	}
}

type operation struct {
	ID         string `json:"operationId"`
	Parameters []struct{ Name, In string }
	Responses  map[string]any
	Security   *[]any
}

type pathItem struct {
	Parameters               []struct{ Name, In string }
	Get, Post, Delete, Patch *operation
	Unauthenticated          bool `json:"x-vault-unauthenticated"`
	Sudo                     bool `json:"x-vault-sudo"`
}

func parse(t *testing.T, doc []byte) map[string]pathItem {
	t.Helper()
	var d struct{ Paths map[string]pathItem }
	if err := json.Unmarshal(doc, &d); err != nil {
		t.Fatal(err)
	}
	return d.Paths
}

func TestEveryDocumentIsConsistent(t *testing.T) {
	sys := table(t, slices.Concat(tools.Routes("tools/"), settings.Routes, diag.Routes, catalog.Routes, openapi.Routes))
	paths := parse(t, openapi.Build(openapi.Options{}, []openapi.MountInfo{{Path: "sys/", Type: "system", Table: sys}, {Path: "a-b/", Type: "shelf", Table: shelves(t)}, {Path: "a_b/", Type: "shelf", Table: shelves(t)}}))
	placeholder, ids := regexp.MustCompile(`\{(\w+)\}`), map[string]bool{}
	shapes := map[string]string{}
	for path, item := range paths {
		shape := placeholder.ReplaceAllString(path, "{}")
		if other := shapes[shape]; other != "" {
			t.Errorf("%s and %s are the same path to OpenAPI", path, other)
		}
		shapes[shape] = path
		var names, declared []string
		for _, m := range placeholder.FindAllStringSubmatch(path, -1) {
			names = append(names, m[1])
		}
		for _, p := range item.Parameters {
			declared = append(declared, p.Name)
		}
		if diff := cmp.Diff(names, declared); diff != "" {
			t.Errorf("%s: parameters (-path +declared):\n%s", path, diff)
		}
		ops := 0
		for _, op := range []*operation{item.Get, item.Post, item.Delete, item.Patch} {
			if op == nil {
				continue
			}
			ops++
			if ids[op.ID] || op.ID == "" {
				t.Errorf("%s: operation id %q is not unique", path, op.ID)
			}
			ids[op.ID] = true
			if len(op.Responses) == 0 || op.Security == nil {
				t.Errorf("%s: operation %s has no answer or security", path, op.ID)
			}
		}
		if ops == 0 {
			t.Errorf("%s has no operation", path)
		}
	}
	for path, want := range map[string][2]bool{
		"/sys/config/cors": {false, true}, "/sys/internal/specs/openapi": {true, false}, "/sys/tools/random/{urlbytes}": {false, false},
		"/sys/config/ui/headers": {false, false}, "/sys/pprof/{profile}": {false, true},
	} {
		item, ok := paths[path]
		if got := [2]bool{item.Unauthenticated, item.Sudo}; !ok || got != want {
			t.Errorf("%s: there is %t, unauthenticated and sudo are %v, want %v", path, ok, got, want)
		}
	}
}

func TestGenericPathsDescribeEachTypeOnce(t *testing.T) {
	door := table(t, []route.Endpoint{route.Raw(route.VerbRead, "bell", shelf.raw)})
	paths := parse(t, openapi.Build(openapi.Options{GenericPaths: true}, []openapi.MountInfo{
		{Path: "one/", Type: "shelf", Table: shelves(t)}, {Path: "two/three/", Type: "shelf", Table: shelves(t)},
		{Path: "bells/", Type: "door-bell", Table: door}, {Path: "auth/door/", Type: "shelf", Table: door}, {Path: "sys/", Type: "system", Table: door},
	}))
	var got []string
	for path := range paths {
		if !strings.Contains(path, "/books") {
			got = append(got, path)
		}
	}
	slices.Sort(got)
	want := []string{"/auth/{shelf_mount_path}/bell", "/sys/bell", "/{door_bell_mount_path}/bell", "/{shelf_mount_path}/catalogue.pdf", "/{shelf_mount_path}/path/{name}"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
}

func TestTheEndpointShowsWhatTheCallerMayKnow(t *testing.T) {
	all, calls := shelves(t), 0
	var fail error
	m := enginetest.New(t, openapi.Routes, func(engine.Host) (any, error) {
		return openapi.New(openapi.Config{Version: "1", Mounts: func(_ context.Context, c *route.Call) ([]openapi.MountInfo, error) {
			calls++
			if c.Caller.Token == "" {
				return nil, fail
			}
			return []openapi.MountInfo{{Path: c.Caller.DisplayName + "/", Type: "shelf", Table: all}}, fail
		}}), nil
	})
	for i := range 20 { // more callers than documents are kept for
		m.Caller = route.Caller{Token: "t", DisplayName: "mount-" + string(rune('a'+i))}
		for _, r := range []enginetest.Result{m.Read("internal/specs/openapi"), m.Write("internal/specs/openapi", `{"context":"x"}`), m.Read("internal/specs/openapi")} {
			if got := parse(t, r.Raw.Body); len(got) != 4 || got["/"+m.Caller.DisplayName+"/books"].Get == nil || r.Raw.ContentType != "application/json" {
				t.Errorf("%s: %d paths as %s", m.Caller.DisplayName, len(got), r.Raw.ContentType)
			}
		}
	}
	if got := parse(t, m.Write("internal/specs/openapi?generic_mount_paths=true", nil).Raw.Body); got["/{shelf_mount_path}/books"].Get == nil {
		t.Error("no generic path")
	}
	m.Caller = route.Caller{}
	if got := parse(t, m.Read("internal/specs/openapi").Raw.Body); len(got) != 0 {
		t.Errorf("without a token: %d paths", len(got))
	}
	fail = errors.New("closed")
	m.Fails(fault.Internal, route.VerbRead, "internal/specs/openapi", nil)
	if calls != 63 {
		t.Errorf("who may know what was asked %d times, want once for each request", calls)
	}
}
