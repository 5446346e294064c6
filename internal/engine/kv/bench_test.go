package kv_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/kv"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

// direct calls an engine's routes the way the gate does, with nothing around
// it, so that what is measured is the engine.
type direct struct {
	b        *testing.B
	table    *route.Table
	instance any
}

func newDirect(b *testing.B, ty *engine.Type) *direct {
	b.Helper()
	inner := mem.New()
	b.Cleanup(func() { _ = inner.Close() })
	table, err := route.NewTable(ty.Routes)
	if err != nil {
		b.Fatal(err)
	}
	instance, err := ty.New(engine.Host{Storage: engine.NewStorage(store.RootNamespace, 7, inner)})
	if err != nil {
		b.Fatal(err)
	}
	return &direct{b, table, instance}
}

func (d *direct) call(ctx context.Context, verb route.Verb, path string, body wire.Object) {
	var m route.Match
	e, _ := d.table.Find(verb, path, &m)
	c := &route.Call{Verb: verb, Path: path, Body: body, Now: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC), Caller: route.Caller{DisplayName: "token"}}
	c.SetMatch(&m, e)
	if _, err := e.Handle(ctx, d.instance, c); err != nil {
		d.b.Fatal(err)
	}
}

func object(b *testing.B, text string) wire.Object {
	b.Helper()
	o, err := wire.ParseObject([]byte(text), wire.DefaultLimits)
	if err != nil {
		b.Fatal(err)
	}
	return o
}

const benchSecret = `{"username":"app","password":"correct horse battery staple","host":"db.example.com","port":5432}`

func BenchmarkReadV2(b *testing.B) {
	d := newDirect(b, kv.V2)
	for i := range 1000 {
		d.call(b.Context(), route.VerbWrite, fmt.Sprintf("data/team/app-%d", i), object(b, `{"data":`+benchSecret+`}`))
	}
	b.ReportAllocs()
	for b.Loop() {
		d.call(b.Context(), route.VerbRead, "data/team/app-500", wire.Object{})
	}
}

func BenchmarkWriteV2(b *testing.B) {
	d := newDirect(b, kv.V2)
	body := object(b, `{"data":`+benchSecret+`}`)
	b.ReportAllocs()
	for b.Loop() {
		d.call(b.Context(), route.VerbWrite, "data/team/app", body)
	}
}

func BenchmarkReadV1(b *testing.B) {
	d := newDirect(b, kv.V1)
	d.call(b.Context(), route.VerbWrite, "team/app", object(b, benchSecret))
	b.ReportAllocs()
	for b.Loop() {
		d.call(b.Context(), route.VerbRead, "team/app", wire.Object{})
	}
}

func BenchmarkList(b *testing.B) {
	d := newDirect(b, kv.V2)
	for i := range 100 {
		for j := range 10 {
			d.call(b.Context(), route.VerbWrite, fmt.Sprintf("data/team-%d/app-%d", i, j), object(b, `{"data":`+benchSecret+`}`))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		d.call(b.Context(), route.VerbList, "metadata/", wire.Object{})
	}
}
