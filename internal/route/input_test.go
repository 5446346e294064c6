package route_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// custom reads itself.
type custom struct{ Text string }

func (c *custom) UnmarshalJSON(raw []byte) error {
	if raw[0] != '[' {
		return errors.New("must be a list")
	}
	c.Text = string(raw)
	return nil
}

type named string

type shared struct {
	Common string `json:"common"`
}

type nested struct {
	A int    `json:"a"`
	B string `json:"b"`
}

// everything has a field of every type that a binder knows.
type everything struct {
	shared
	Name     string                  `path:"name"`
	Text     string                  `json:"text" alias:"old_text,older_text"`
	Kind     named                   `json:"kind"`
	Secret   wire.Secret             `json:"secret" sensitive:"true"`
	Flag     bool                    `json:"flag" default:"true"`
	Number   int                     `json:"number" default:"7"`
	Small    int8                    `json:"small"`
	Count    uint16                  `json:"count"`
	Ratio    float64                 `json:"ratio"`
	List     []string                `json:"list" default:"a,b"`
	Pairs    map[string]string       `json:"pairs"`
	TTL      wire.Duration           `json:"ttl" default:"1h"`
	Any      wire.JSON               `json:"any"`
	Custom   custom                  `json:"custom"`
	Nested   nested                  `json:"nested"`
	Nests    []nested                `json:"nests"`
	ByName   map[string]int          `json:"by_name"`
	Asked    string                  `query:"asked"`
	OptText  wire.Opt[string]        `json:"opt_text"`
	OptList  wire.Opt[[]string]      `json:"opt_list"`
	OptTTL   wire.Opt[wire.Duration] `json:"opt_ttl"`
	OptAny   wire.Opt[wire.JSON]     `json:"opt_any"`
	OptCount wire.Opt[int]           `json:"opt_count" default:"5"`
	unseen   string                  //nolint:unused // fields that are not exported are left alone
}

// defaults are everything that an empty request gives.
func defaults() everything {
	return everything{Name: "n", Flag: true, Number: 7, List: []string{"a", "b"}, TTL: wire.Duration(time.Hour), OptCount: wire.Some(5)}
}

// bound calls an endpoint and returns its input.
func bound(t testing.TB, v route.Verb, body, query string) (in everything, warnings []string, err error) {
	t.Helper()
	handler := func(_ receiver, _ context.Context, _ *route.Call, got everything) (*route.Reply, error) {
		in = got
		return &route.Reply{}, nil
	}
	tab := table(t, route.Full(v, "things/{name}", handler))
	var m route.Match
	e, _ := tab.Find(v, "things/n", &m)
	c := &route.Call{Verb: v}
	c.SetMatch(&m, e)
	if c.Body, err = wire.ParseObject([]byte(body), wire.DefaultLimits); err != nil {
		t.Fatal(err)
	}
	if c.Query, err = url.ParseQuery(query); err != nil {
		t.Fatal(err)
	}
	_, err = e.Handle(context.Background(), receiver{}, c)
	return in, c.Warnings(), err
}

func TestBind(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       func(*everything)
	}{
		{"nothing", ``, func(*everything) {}},
		{"nulls of optional fields", `{"opt_text":null,"opt_list":null,"opt_ttl":null}`, func(*everything) {}},
		{"an embedded field", `{"common":"x"}`, func(e *everything) { e.Common = "x" }},
		{"strings", `{"text":5,"kind":"k","secret":true}`, func(e *everything) { e.Text, e.Kind, e.Secret = "5", "k", "1" }},
		{"an alias", `{"older_text":"x"}`, func(e *everything) { e.Text = "x" }},
		{"the name before its alias", `{"old_text":"old","text":"new"}`, func(e *everything) { e.Text = "new" }},
		{"zeros instead of defaults", `{"flag":false,"number":0,"list":[],"ttl":0,"opt_count":0}`, func(e *everything) {
			e.Flag, e.Number, e.List, e.TTL, e.OptCount = false, 0, []string{}, 0, wire.Some(0)
		}},
		{"numbers as text", `{"number":"-3","small":"127","count":"65535","ratio":"0.5"}`, func(e *everything) { e.Number, e.Small, e.Count, e.Ratio = -3, 127, 65535, 0.5 }},
		{"lists and maps", `{"list":"x, y","pairs":["a=b"]}`, func(e *everything) { e.List, e.Pairs = []string{"x", "y"}, map[string]string{"a": "b"} }},
		{"raw values", `{"any":{"x": 1},"custom":[1 ,2]}`, func(e *everything) { e.Any, e.Custom = wire.JSON(`{"x": 1}`), custom{"[1 ,2]"} }},
		{"structured values", `{"nested":{"a":1,"b":"x"},"nests":[{"a":2}],"by_name":{"k":3}}`, func(e *everything) {
			e.Nested, e.Nests, e.ByName = nested{1, "x"}, []nested{{A: 2}}, map[string]int{"k": 3}
		}},
		{"structured values in strings", `{"nested":"{\"a\":1}","nests":"[{\"a\":2}]"}`, func(e *everything) { e.Nested, e.Nests = nested{A: 1}, []nested{{A: 2}} }},
		{"optional fields", `{"opt_text":"","opt_list":"a","opt_ttl":"90","opt_any":[1]}`, func(e *everything) {
			e.OptText, e.OptList, e.OptTTL, e.OptAny = wire.Some(""), wire.Some([]string{"a"}), wire.Some(wire.Duration(90*time.Second)), wire.Some(wire.JSON("[1]"))
		}},
		{"a name of the path in the body", `{"name":"other"}`, func(*everything) {}},
		{"a name of the query in the body", `{"asked":"x"}`, func(*everything) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := defaults()
			tt.want(&want)
			got, warnings, err := bound(t, route.VerbWrite, tt.body, "")
			if err != nil || warnings != nil {
				t.Fatalf("%v, warnings %q", err, warnings)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(everything{}), cmp.Comparer(func(a, b wire.Secret) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBindRefuses(t *testing.T) {
	for field, body := range map[string]string{
		"text": `["canary"]`, "flag": `"canary"`, "number": `"canary"`, "small": `128`, "count": `-1`, "ratio": `"canary"`, "list": `{"canary":1}`, "pairs": `"canary"`,
		"ttl": `"canary"`, "custom": `"canary"`, "nested": `["canary"]`, "nests": `{"canary":1}`, "by_name": `{"canary":"canary"}`, "opt_list": `{"canary":1}`, "opt_count": `"canary"`,
	} {
		_, _, err := bound(t, route.VerbWrite, `{"`+field+`":`+body+`}`, "")
		if !errors.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), `"`+field+`"`) {
			t.Errorf("%s: %v", field, err)
		}
		if err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error shows the value: %v", field, err)
		}
	}
	for _, body := range []string{`{"nested":{"a":"canary"}}`, `{"nests":[{"b":{"canary":1}}]}`, `{"nested":"{\"a\":\"canary\"}"}`, `{"nested":"{canary"}`, `{"nests":"canary"}`} {
		if _, _, err := bound(t, route.VerbWrite, body, ""); !errors.Is(err, fault.Invalid) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestQuery(t *testing.T) {
	for _, tt := range []struct {
		name  string
		verb  route.Verb
		query string
		want  func(*everything)
	}{
		{"a read takes fields from it", route.VerbRead, "text=x&number=3&list=c,d&ttl=5m&asked=y", func(e *everything) {
			e.Text, e.Number, e.List, e.TTL, e.Asked = "x", 3, []string{"c", "d"}, wire.Duration(5*time.Minute), "y"
		}},
		{"a repeated parameter is a list", route.VerbRead, "list=c,d&list=e", func(e *everything) { e.List = []string{"c,d", "e"} }},
		{"so does a deletion", route.VerbDelete, "text=x", func(e *everything) { e.Text = "x" }},
		{"and a listing", route.VerbList, "text=x", func(e *everything) { e.Text = "x" }},
		{"a write takes what is meant for it", route.VerbWrite, "text=x&asked=y", func(e *everything) { e.Asked = "y" }},
		{"and so does a patch", route.VerbPatch, "text=x&asked=y", func(e *everything) { e.Asked = "y" }},
		{"the path is not in it", route.VerbRead, "name=x", func(*everything) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := defaults()
			tt.want(&want)
			got, warnings, err := bound(t, tt.verb, "", tt.query)
			if err != nil || warnings != nil {
				t.Fatalf("%v, warnings %q", err, warnings)
			}
			if diff := cmp.Diff(want, got, cmp.AllowUnexported(everything{})); diff != "" {
				t.Error(diff)
			}
		})
	}
	if _, _, err := bound(t, route.VerbRead, "", "text=a&text=b"); !errors.Is(err, fault.Invalid) {
		t.Errorf("a text that is given twice: %v", err)
	}
}

func TestUnrecognizedParametersAreToldOf(t *testing.T) {
	for _, tt := range []struct {
		verb        route.Verb
		body, query string
		want        []string
	}{
		{route.VerbWrite, `{"text":"x","zz":1,"aa":2,"old_text":"x"}`, "yy=1", []string{"Endpoint ignored these unrecognized parameters: [aa zz]"}},
		{route.VerbRead, ``, "yy=1&list=x&help=0&limit=1&after=2&scan=no&format=json", []string{"Endpoint ignored these unrecognized parameters: [yy]"}},
		{route.VerbWrite, `{"text":"x","name":"x"}`, "", nil},
	} {
		_, got, err := bound(t, tt.verb, tt.body, tt.query)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s %s: %s", tt.verb, tt.body, diff)
		}
	}
}

func TestWholeBody(t *testing.T) {
	type input struct {
		Name string      `path:"name"`
		Body wire.Object `body:"*"`
		Text string      `json:"text"`
	}
	tab := table(t, route.Write("x/{name}", func(_ receiver, _ context.Context, c *route.Call, in input) (string, error) {
		return fmt.Sprint(in.Name, in.Text, string(in.Body.Raw)), nil
	}))
	var m route.Match
	e, _ := tab.Find(route.VerbWrite, "x/n", &m)
	c := &route.Call{Verb: route.VerbWrite}
	c.SetMatch(&m, e)
	c.Body, _ = wire.ParseObject([]byte(`{"text":"t","other":1}`), wire.DefaultLimits)
	reply, err := e.Handle(context.Background(), receiver{}, c)
	if err != nil || string(reply.Data) != `"nt{\"text\":\"t\",\"other\":1}"` || c.Warnings() != nil {
		t.Errorf("got %s, %v, warnings %q", reply.Data, err, c.Warnings())
	}
}

func TestWrongDeclarationsPanic(t *testing.T) {
	for name, declare := range map[string]func(){
		"no struct": func() { declared[string]("x") },
		"no tag":    func() { declared[struct{ A string }]("x") },
		"unknown type": func() {
			declared[struct {
				A chan int `json:"a"`
			}]("x")
		},
		"a function": func() {
			declared[struct {
				A func() `json:"a"`
			}]("x")
		},
		"an optional one": func() {
			declared[struct {
				A wire.Opt[chan int] `json:"a"`
			}]("x")
		},
		"an array": func() {
			declared[struct {
				A [2]int `json:"a"`
			}]("x")
		},
		"no such parameter": func() {
			declared[struct {
				A string `path:"b"`
			}]("x/{a}")
		},
		"two of a name": func() {
			declared[struct {
				A string `query:"a"`
				B string `query:"a"`
			}]("x")
		},
		"an alias of another's name": func() {
			declared[struct {
				A string `json:"a"`
				B string `json:"b" alias:"a"`
			}]("x")
		},
		"options of encoding/json": func() {
			declared[struct {
				A string `json:"a,omitempty"`
			}]("x")
		},
		"a default of another type": func() {
			declared[struct {
				A int `json:"a" default:"x"`
			}]("x")
		},
		"a whole body of another type": func() {
			declared[struct {
				A string `body:"*"`
			}]("x")
		},
		"too many parameters":        func() { endpoint(route.VerbRead, "{a}/{b}/{c}/{d}/{e}") },
		"two parameters of a name":   func() { endpoint(route.VerbRead, "{a}/{a}") },
		"a parameter without a name": func() { endpoint(route.VerbRead, "x/{}") },
		"existence of another input": func() {
			route.Write("x", handle, route.Exists(func(receiver, context.Context, *route.Call, everything) (bool, error) { return false, nil }))
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("accepted")
				}
			}()
			declare()
		})
	}
}

func declared[In any](pattern string) {
	route.Read(pattern, func(receiver, context.Context, *route.Call, In) (route.None, error) { return route.None{}, nil })
}

func TestDecode(t *testing.T) {
	var dst struct {
		TTL  wire.Duration `json:"ttl" default:"1h"`
		List []string      `json:"list"`
	}
	if err := route.Decode([]byte(`{"list":"a,b","other":1}`), &dst); err != nil || dst.TTL.D() != time.Hour || len(dst.List) != 2 {
		t.Errorf("got %+v, %v", dst, err)
	}
	for _, bad := range []string{`[]`, `{"ttl":"canary"}`, `{"list":`} {
		if err := route.Decode([]byte(bad), &dst); !errors.Is(err, fault.Invalid) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestParametersAreDescribed(t *testing.T) {
	e := route.Write("things/{name}", func(receiver, context.Context, *route.Call, everything) (route.None, error) { return route.None{}, nil })
	got := map[string]route.Parameter{}
	for _, p := range e.Input() {
		got[p.Name] = p
	}
	for _, want := range []route.Parameter{
		{Name: "name", In: "path", Type: "string"},
		{Name: "common", In: "body", Type: "string"},
		{Name: "text", In: "body", Type: "string", Aliases: []string{"old_text", "older_text"}},
		{Name: "secret", In: "body", Type: "string", Sensitive: true},
		{Name: "flag", In: "body", Type: "boolean", Default: "true"},
		{Name: "count", In: "body", Type: "integer"},
		{Name: "ratio", In: "body", Type: "number"},
		{Name: "list", In: "body", Type: "array", Default: "a,b"},
		{Name: "pairs", In: "body", Type: "map"},
		{Name: "any", In: "body", Type: "any"},
		{Name: "nested", In: "body", Type: "object"},
		{Name: "asked", In: "query", Type: "string"},
		{Name: "opt_ttl", In: "body", Type: "duration"},
	} {
		if diff := cmp.Diff(want, got[want.Name]); diff != "" {
			t.Errorf("%s: %s", want.Name, diff)
		}
	}
}

func BenchmarkBind(b *testing.B) {
	type input struct {
		Name   string                  `path:"name"`
		TTL    wire.Duration           `json:"ttl"`
		Policy []string                `json:"policies"`
		Max    wire.Opt[wire.Duration] `json:"max_ttl"`
		Text   string                  `json:"text"`
	}
	tab := table(b, route.Write("roles/{name}", func(receiver, context.Context, *route.Call, input) (route.None, error) { return route.None{}, nil }))
	body, err := wire.ParseObject([]byte(`{"ttl":"1h","policies":["a","b"],"max_ttl":7200,"text":"some text"}`), wire.DefaultLimits)
	if err != nil {
		b.Fatal(err)
	}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		var m route.Match
		e, _ := tab.Find(route.VerbWrite, "roles/reader", &m)
		c := &route.Call{Verb: route.VerbWrite, Body: body}
		c.SetMatch(&m, e)
		if _, err := e.Handle(ctx, receiver{}, c); err != nil {
			b.Fatal(err)
		}
	}
}
