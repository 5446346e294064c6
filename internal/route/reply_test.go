package route_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// called runs an endpoint with an empty call.
func called(e route.Endpoint, query string) (*route.Reply, error) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return nil, err
	}
	return e.Handle(context.Background(), receiver{}, &route.Call{Verb: e.Verb, Query: q})
}

func TestPages(t *testing.T) {
	list := route.List("x", func(receiver, context.Context, *route.Call, noInput) (route.Keys, error) {
		return route.Keys{Keys: []string{"a", "b/", "c", "d"}, Info: map[string]any{"a": 1, "c": 3, "d": 4}}, nil
	})
	for query, want := range map[string]string{
		"":                 `{"keys":["a","b/","c","d"],"key_info":{"a":1,"c":3,"d":4}}`,
		"limit=2":          `{"keys":["a","b/"],"key_info":{"a":1}}`,
		"limit=0":          `{"keys":["a","b/","c","d"],"key_info":{"a":1,"c":3,"d":4}}`,
		"limit=-1":         `{"keys":["a","b/","c","d"],"key_info":{"a":1,"c":3,"d":4}}`,
		"limit=100":        `{"keys":["a","b/","c","d"],"key_info":{"a":1,"c":3,"d":4}}`,
		"after=a":          `{"keys":["b/","c","d"],"key_info":{"c":3,"d":4}}`,
		"after=b/&limit=1": `{"keys":["c"],"key_info":{"c":3}}`,
		"after=bb":         `{"keys":["c","d"],"key_info":{"c":3,"d":4}}`,
		"after=d":          "",
		"after=z":          "",
	} {
		reply, err := called(list, query)
		if want == "" {
			if !errors.Is(err, fault.NotFound) || fault.Message(err) != "" {
				t.Errorf("%q: got %v", query, err)
			}
			continue
		}
		if err != nil || string(reply.Data) != want {
			t.Errorf("%q: got %s, %v, want %s", query, reply.Data, err, want)
		}
	}
	for _, query := range []string{"limit=x", "limit=1.5", "limit=99999999999999999999"} {
		if _, err := called(list, query); !errors.Is(err, fault.Invalid) {
			t.Errorf("%q: got %v", query, err)
		}
	}
}

func TestAnEmptyListIsNotFound(t *testing.T) {
	for _, e := range []route.Endpoint{endpoint(route.VerbList, "x"), endpoint(route.VerbScan, "x")} {
		if _, err := called(e, ""); !errors.Is(err, fault.NotFound) {
			t.Errorf("%s: got %v", e.Verb, err)
		}
	}
}

type appended struct{}

func (appended) AppendJSON(dst []byte) []byte { return append(dst, `{"by":"hand"}`...) }

type handled struct {
	ID string `json:"id"`
}

func (handled) WrappedAccessor() string { return "accessor" }

func TestOutputs(t *testing.T) {
	type out struct {
		A int `json:"a"`
	}
	for _, tt := range []struct {
		name string
		out  any
		want route.Reply
	}{
		{"nothing", route.None{}, route.Reply{NoContent: true}},
		{"a nil pointer", (*out)(nil), route.Reply{NoContent: true}},
		{"nil", nil, route.Reply{NoContent: true}},
		{"a struct", out{1}, route.Reply{Data: []byte(`{"a":1}`)}},
		{"a pointer", &out{1}, route.Reply{Data: []byte(`{"a":1}`)}},
		{"raw JSON", wire.JSON(`{"a": 1}`), route.Reply{Data: []byte(`{"a": 1}`)}},
		{"one that writes itself", appended{}, route.Reply{Data: []byte(`{"by":"hand"}`)}},
		{"one with an accessor", handled{"x"}, route.Reply{Data: []byte(`{"id":"x"}`), Accessor: "accessor"}},
		{"a secret", wire.Secret("canary"), route.Reply{Data: []byte(`"[redacted]"`)}},
	} {
		got, err := route.Data(tt.out)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if diff := cmp.Diff(tt.want, *got); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
	if _, err := route.Data(func() {}); err == nil {
		t.Error("a function was encoded")
	}
}

func TestExists(t *testing.T) {
	type input struct {
		Name string `path:"name"`
		TTL  int    `json:"ttl"`
	}
	tab := table(t, route.Write("x/{name}", func(receiver, context.Context, *route.Call, input) (route.None, error) { return route.None{}, nil },
		route.Exists(func(_ receiver, _ context.Context, _ *route.Call, in input) (bool, error) {
			return in.Name == "there", nil
		})))
	for name, want := range map[string]bool{"there": true, "new": false} {
		var m route.Match
		e, _ := tab.Find(route.VerbWrite, "x/"+name, &m)
		c := &route.Call{Verb: route.VerbWrite}
		c.SetMatch(&m, e)
		if got, err := e.Exists(context.Background(), receiver{}, c); err != nil || got != want || !e.HasExists() {
			t.Errorf("%s: %t, %v", name, got, err)
		}
		c.Body, _ = wire.ParseObject([]byte(`{"ttl":"canary"}`), wire.DefaultLimits)
		if _, err := e.Exists(context.Background(), receiver{}, c); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s with a bad body: %v", name, err)
		}
	}
}

func TestRawAndBound(t *testing.T) {
	raw := route.Raw(route.VerbRead, "x", func(r *receiver, _ context.Context, _ *route.Call, _ noInput) (route.Bytes, error) {
		if r == nil {
			return route.Bytes{}, fault.New(fault.Internal, "")
		}
		return route.Bytes{ContentType: "text/plain", Body: []byte("raw")}, nil
	})
	bound := route.Bind(&receiver{}, []route.Endpoint{raw})
	reply, err := bound[0].Handle(context.Background(), "not the receiver", &route.Call{})
	if err != nil || string(reply.Raw.Body) != "raw" {
		t.Errorf("got %v, %v", reply, err)
	}
}

func TestOptions(t *testing.T) {
	for _, tt := range []struct {
		e    route.Endpoint
		want [7]bool // public, sealed, sudo, effect, flat, root only, hidden
	}{
		{endpoint(route.VerbRead, "x"), [7]bool{}},
		{endpoint(route.VerbWrite, "x"), [7]bool{3: true}},
		{endpoint(route.VerbPatch, "x"), [7]bool{3: true}},
		{endpoint(route.VerbDelete, "x"), [7]bool{3: true}},
		{endpoint(route.VerbList, "x"), [7]bool{}},
		{endpoint(route.VerbWrite, "x", route.Pure(), route.Public()), [7]bool{0: true}},
		{endpoint(route.VerbRead, "x", route.Effect(), route.Sudo(), route.Flat()), [7]bool{2: true, 3: true, 4: true}},
		{endpoint(route.VerbRead, "x", route.WhileSealed(), route.RootOnly(), route.Hidden()), [7]bool{0: true, 1: true, 5: true, 6: true}},
	} {
		if got := [7]bool{tt.e.Public, tt.e.Sealed, tt.e.Sudo, tt.e.Effect, tt.e.Flat, tt.e.RootOnly, tt.e.Hidden}; got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.e.Verb, got, tt.want)
		}
	}
}

func TestKeysWithoutFactsHaveNoKeyInfo(t *testing.T) {
	if b, err := json.Marshal(route.Keys{Keys: []string{"a"}}); err != nil || string(b) != `{"keys":["a"]}` {
		t.Errorf("got %s, %v", b, err)
	}
}
