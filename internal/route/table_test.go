package route_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/route"
)

type receiver struct{}

type noInput struct{}

func handle(receiver, context.Context, *route.Call, noInput) (route.None, error) {
	return route.None{}, nil
}

func handleKeys(receiver, context.Context, *route.Call, noInput) (route.Keys, error) {
	return route.Keys{}, nil
}

// endpoint declares an endpoint of any verb.
func endpoint(v route.Verb, pattern string, opts ...route.Option) route.Endpoint {
	switch v {
	case route.VerbList:
		return route.List(pattern, handleKeys, opts...)
	case route.VerbScan:
		return route.Scan(pattern, handleKeys, opts...)
	case route.VerbWrite:
		return route.Write(pattern, handle, opts...)
	case route.VerbDelete:
		return route.Delete(pattern, handle, opts...)
	case route.VerbPatch:
		return route.Patch(pattern, handle, opts...)
	}
	return route.Read(pattern, handle, opts...)
}

func table(t testing.TB, eps ...route.Endpoint) *route.Table {
	t.Helper()
	tab, err := route.NewTable(eps)
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// params reads what a match captured.
func params(e *route.Endpoint, m *route.Match) string {
	var c route.Call
	c.SetMatch(m, e)
	var list []string
	for _, name := range e.Params() {
		list = append(list, name+"="+c.Param(name))
	}
	return strings.Join(list, " ")
}

func TestFind(t *testing.T) {
	tab := table(t,
		endpoint(route.VerbRead, ""), endpoint(route.VerbList, ""),
		endpoint(route.VerbRead, "roles/{name}"), endpoint(route.VerbWrite, "roles/{name}"), endpoint(route.VerbList, "roles"),
		endpoint(route.VerbRead, "roles/default"), endpoint(route.VerbRead, "roles/{name}/id"), endpoint(route.VerbDelete, "roles/{role}/{part}"),
		endpoint(route.VerbRead, "mounts/{path...}"), endpoint(route.VerbRead, "mounts/{path...}/tune"), endpoint(route.VerbRead, "mounts/{path...}/deep/tune"),
		endpoint(route.VerbRead, "mounts/special"),
		endpoint(route.VerbList, "metadata/{path...}"), endpoint(route.VerbScan, "metadata/{path...}"), endpoint(route.VerbRead, "metadata/{path...}"),
		endpoint(route.VerbWrite, "open", route.Public()), endpoint(route.VerbRead, "open/{x}/y"),
		endpoint(route.VerbRead, "a/{x}/c"), endpoint(route.VerbRead, "a/b/d"), endpoint(route.VerbRead, "a/{r...}"),
	)
	for _, tt := range []struct {
		verb             route.Verb
		path             string
		pattern, capture string // no pattern is not found
		known, public    bool
	}{
		{route.VerbRead, "", "", "", true, false},
		{route.VerbList, "", "", "", true, false},
		{route.VerbRead, "roles/x", "roles/{name}", "name=x", true, false},
		{route.VerbRead, "roles/default", "roles/default", "", true, false},
		{route.VerbWrite, "roles/default", "roles/{name}", "name=default", true, false},
		{route.VerbRead, "roles/default/id", "roles/{name}/id", "name=default", true, false},
		{route.VerbDelete, "roles/default/id", "roles/{role}/{part}", "role=default part=id", true, false},
		{route.VerbRead, "roles/x/", "-", "", false, false},
		{route.VerbRead, "roles/", "-", "", true, false},
		{route.VerbRead, "roles", "-", "", true, false},
		{route.VerbList, "roles", "roles", "", true, false},
		{route.VerbList, "roles/", "roles", "", true, false},
		{route.VerbList, "roles/x", "-", "", false, false},
		{route.VerbPatch, "roles/x", "-", "", true, false},
		{route.VerbRead, "Roles/x", "-", "", false, false},
		{route.VerbRead, "mounts/a", "mounts/{path...}", "path=a", true, false},
		{route.VerbRead, "mounts/a/", "mounts/{path...}", "path=a/", true, false},
		{route.VerbRead, "mounts/a/b", "mounts/{path...}", "path=a/b", true, false},
		{route.VerbRead, "mounts/a/b/tune", "mounts/{path...}/tune", "path=a/b", true, false},
		{route.VerbRead, "mounts/a/deep/tune", "mounts/{path...}/deep/tune", "path=a", true, false},
		{route.VerbRead, "mounts/deep/tune", "mounts/{path...}/tune", "path=deep", true, false},
		{route.VerbRead, "mounts/tune", "mounts/{path...}", "path=tune", true, false},
		{route.VerbRead, "mounts/a/tune/", "mounts/{path...}", "path=a/tune/", true, false},
		{route.VerbRead, "mounts/special", "mounts/special", "", true, false},
		{route.VerbRead, "mounts/special/tune", "mounts/{path...}/tune", "path=special", true, false},
		{route.VerbRead, "mounts", "-", "", false, false},
		{route.VerbList, "metadata", "metadata/{path...}", "path=", true, false},
		{route.VerbList, "metadata/", "metadata/{path...}", "path=", true, false},
		{route.VerbScan, "metadata/a/b/", "metadata/{path...}", "path=a/b", true, false},
		{route.VerbDelete, "metadata/a", "-", "", true, false},
		{route.VerbRead, "metadata", "-", "", true, false},
		{route.VerbRead, "open", "-", "", true, true},
		{route.VerbRead, "open/1/y", "open/{x}/y", "x=1", true, false},
		{route.VerbRead, "a/b/c", "a/{x}/c", "x=b", true, false},
		{route.VerbRead, "a/b/e", "a/{r...}", "r=b/e", true, false},
		{route.VerbRead, "nothing", "-", "", false, false},
	} {
		t.Run(fmt.Sprintf("%s %s", tt.verb, tt.path), func(t *testing.T) {
			var m route.Match
			e, known := tab.Find(tt.verb, tt.path, &m)
			if e == nil {
				if tt.pattern != "-" || known != tt.known || m.Public != tt.public {
					t.Errorf("not found, known %t, public %t; want %q, %t, %t", known, m.Public, tt.pattern, tt.known, tt.public)
				}
				return
			}
			if e.Pattern != tt.pattern || e.Verb != tt.verb || !known {
				t.Fatalf("found %s %q, want %q", e.Verb, e.Pattern, tt.pattern)
			}
			if got := params(e, &m); got != tt.capture {
				t.Errorf("captured %q, want %q", got, tt.capture)
			}
		})
	}
}

func TestARestOfNothingIsForListingsOnly(t *testing.T) {
	tab := table(t, endpoint(route.VerbRead, "mounts/{path...}"), endpoint(route.VerbWrite, "mounts/{path...}"), endpoint(route.VerbList, "mounts/{path...}"))
	for v, want := range map[route.Verb]bool{route.VerbRead: false, route.VerbWrite: false, route.VerbList: true} {
		for _, path := range []string{"mounts", "mounts/"} {
			var m route.Match
			if e, _ := tab.Find(v, path, &m); (e != nil) != want {
				t.Errorf("%s %q: found is %t", v, path, e != nil)
			}
		}
	}
}

func TestNewTableRefuses(t *testing.T) {
	for name, eps := range map[string][]route.Endpoint{
		"the same twice":             {endpoint(route.VerbRead, "a/{x}"), endpoint(route.VerbRead, "a/{y}")},
		"the same rest twice":        {endpoint(route.VerbRead, "a/{x...}"), endpoint(route.VerbRead, "a/{y...}")},
		"a parameter behind a rest":  {endpoint(route.VerbRead, "a/{x...}/{y}")},
		"the same suffix twice":      {endpoint(route.VerbRead, "a/{x...}/z"), endpoint(route.VerbRead, "a/{y...}/z")},
		"the same root twice":        {endpoint(route.VerbRead, ""), endpoint(route.VerbRead, "")},
		"a slash at the end":         {endpoint(route.VerbRead, "a/")},
		"a slash at the beginning":   {endpoint(route.VerbRead, "/a")},
		"an empty segment":           {endpoint(route.VerbRead, "a//b")},
		"an empty segment in a rest": {endpoint(route.VerbRead, "{x...}/b//c")},
	} {
		if _, err := route.NewTable(eps); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := route.NewTable([]route.Endpoint{endpoint(route.VerbRead, "a/{x}")}, []route.Endpoint{endpoint(route.VerbWrite, "a/{y}")}); err != nil {
		t.Errorf("another verb: %v", err)
	}
}

// patterns are what the fuzzed paths are matched against.
var patterns = []string{
	"", "a", "a/b", "a/{x}", "{x}", "{x}/b", "{x}/{y}", "a/{x}/c", "{x}/b/c", "a/{r...}", "a/{r...}/t", "a/{r...}/b/t", "b/{x}/{r...}", "{x}/{r...}/t", "c/{x}/{y}/{z}", "c/{x}/{y}/{r...}",
}

// fits matches a path against one pattern the slow and obvious way.
func fits(pattern, path string, listing bool) (values []string, ok bool) {
	if listing {
		path = strings.TrimSuffix(path, "/")
	}
	var pat, segs []string
	if pattern != "" {
		pat = strings.Split(pattern, "/")
	}
	if path != "" {
		segs = strings.Split(path, "/")
	}
	for i, p := range pat {
		if strings.HasSuffix(p, "...}") {
			suffix := pat[i+1:]
			rest := segs[min(i, len(segs)):]
			value, whole := "", strings.Join(rest, "/")
			switch {
			case len(segs) < i:
				return nil, false
			case len(suffix) == 0:
				value = whole
			default:
				if value, ok = strings.CutSuffix(whole, "/"+strings.Join(suffix, "/")); !ok || value == "" {
					return nil, false
				}
			}
			if value == "" && (!listing || len(suffix) > 0) {
				return nil, false
			}
			return append(values, value), true
		}
		if i >= len(segs) {
			return nil, false
		}
		switch {
		case strings.HasPrefix(p, "{"):
			if segs[i] == "" {
				return nil, false
			}
			values = append(values, segs[i])
		case p != segs[i]:
			return nil, false
		}
	}
	return values, len(segs) == len(pat)
}

// rank orders patterns: a literal before a parameter before a rest, segment by
// segment, and of two rests the one with the longer suffix.
func rank(pattern string) string {
	var b strings.Builder
	for _, p := range strings.Split(pattern, "/") {
		switch {
		case strings.HasSuffix(p, "...}"):
			_, suffix, _ := strings.Cut(pattern, "...}")
			fmt.Fprintf(&b, "3%03d", 999-len(suffix))
			return b.String()
		case strings.HasPrefix(p, "{"):
			b.WriteByte('2')
		default:
			b.WriteByte('1')
		}
	}
	return b.String()
}

func FuzzFind(f *testing.F) {
	var eps []route.Endpoint
	for _, p := range patterns {
		for _, v := range []route.Verb{route.VerbRead, route.VerbList} {
			eps = append(eps, endpoint(v, p))
		}
	}
	tab := table(f, eps...)
	ranked := slices.Clone(patterns)
	slices.SortStableFunc(ranked, func(a, b string) int { return strings.Compare(rank(a), rank(b)) })
	for _, seed := range []string{"", "/", "a", "a/", "a/b", "a/b/t", "a/x/b/t", "a//t", "//", "b/x/", "b/x/y/z", "x/y/t", "c/1/2/3", "c/1/2/3/4/", "a/t", "a/b/c"} {
		f.Add(seed, false)
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, path string, listing bool) {
		verb := route.VerbRead
		if listing {
			verb = route.VerbList
		}
		if strings.Contains(path, "//") || strings.HasPrefix(path, "/") {
			tab.Find(verb, path, new(route.Match)) // no request has such a path
			return
		}
		want, capture := "-", []string(nil)
		for _, p := range ranked {
			if values, ok := fits(p, path, listing); ok {
				want, capture = p, values
				break
			}
		}
		var m route.Match
		e, _ := tab.Find(verb, path, &m)
		if e == nil {
			if want != "-" {
				t.Fatalf("%s %q is not found, want %q", verb, path, want)
			}
			return
		}
		if e.Pattern != want {
			t.Fatalf("%s %q is %q, want %q", verb, path, e.Pattern, want)
		}
		var c route.Call
		c.SetMatch(&m, e)
		for i, name := range e.Params() {
			if got := c.Param(name); got != capture[i] {
				t.Fatalf("%s %q captured %s=%q, want %q", verb, path, name, got, capture[i])
			}
		}
	})
}

func BenchmarkFind(b *testing.B) {
	var eps []route.Endpoint
	for _, p := range []string{"config", "data/{path...}", "metadata/{path...}", "delete/{path...}", "undelete/{path...}", "destroy/{path...}", "subkeys/{path...}", "roles/{name}", "roles/{name}/id"} {
		eps = append(eps, endpoint(route.VerbRead, p), endpoint(route.VerbWrite, p))
	}
	tab := table(b, eps...)
	for _, path := range []string{"config", "data/some/secret/app", "roles/reader/id", "no/such/path"} {
		b.Run(strings.ReplaceAll(path, "/", "_"), func(b *testing.B) {
			b.ReportAllocs()
			var m route.Match
			for b.Loop() {
				tab.Find(route.VerbRead, path, &m)
			}
		})
	}
}
