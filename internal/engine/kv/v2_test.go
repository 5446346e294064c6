package kv_test

import (
	"errors"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/engine/kv"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

func newV2(t *testing.T) *enginetest.Mount {
	t.Helper()
	return enginetest.New(t, kv.V2.Routes, kv.V2.New)
}

func TestVersionsAreWrittenAndRead(t *testing.T) {
	m := newV2(t)
	const now = `"created_time":"2026-01-02T03:04:05Z"`
	wantData(t, m.Write("data/app", `{"data":{"a":"1"}}`), `{`+now+`,"custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}`)
	wantData(t, m.Read("data/app"), `{"data":{"a":"1"},"metadata":{`+now+`,"custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}}`)
	m.Write("data/app", `{"data":{"a":"2","b":{"c":[1]}}}`)
	wantData(t, m.Read("data/app?version=1"), `{"data":{"a":"1"},"metadata":{`+now+`,"custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}}`)
	wantData(t, m.Read("data/app?version=0"), `{"data":{"a":"2","b":{"c":[1]}},"metadata":{`+now+`,"custom_metadata":null,"deletion_time":"","destroyed":false,"version":2}}`)
	m.Fails(fault.NotFound, route.VerbRead, "data/app?version=9", nil)
	m.Fails(fault.NotFound, route.VerbRead, "data/none", nil)
	m.Fails(fault.Invalid, route.VerbRead, "data/app?version=abc", nil)
	m.Fails(fault.Invalid, route.VerbRead, "data/app?version=-1", nil)
	if m.Write("data/app", `{"data":{}}`); string(m.Read("data/app").Data) == "" {
		t.Error("an empty secret was not stored")
	}
}

func wantData(t *testing.T, r enginetest.Result, want string) {
	t.Helper()
	if got := string(r.Data); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func wantMessage(t *testing.T, err error, want string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Msg != want {
		t.Errorf("got error %v, want message %q", err, want)
	}
}
