package kv_test

import (
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/engine/kv"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// upgrade makes a version 2 mount of a version 1 mount's rows, a minute later.
func upgrade(t *testing.T, old *enginetest.Mount) *enginetest.Mount {
	t.Helper()
	m := enginetest.New(t, kv.V2.Routes, func(h engine.Host) (any, error) {
		h.Storage = old.Storage
		return kv.V2.New(h)
	})
	m.Store = old.Store
	m.Clock.Advance(time.Minute)
	return m
}

func TestPlainSecretsAreVersionOneAfterAnUpgrade(t *testing.T) {
	old := newV1(t)
	for _, path := range []string{"read", "written", "patched", "settings", "deleted", "destroyed", "gone", "f/deep"} {
		old.Write(path, `{"user":"x"}`)
	}
	const written, metadata = `2026-01-02T03:04:05Z`, `{"created_time":"2026-01-02T03:04:05Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":1}`
	m := upgrade(t, old)
	m.Write("data/new", `{"data":{"v":"1"}}`)

	wantData(t, m.Read("data/read"), `{"data":{"user":"x"},"metadata":`+metadata+`}`)
	wantData(t, m.Read("data/f/deep?version=1"), `{"data":{"user":"x"},"metadata":`+metadata+`}`)
	wantData(t, m.Read("subkeys/read"), `{"metadata":`+metadata+`,"subkeys":{"user":null}}`)
	m.Fails(fault.NotFound, route.VerbRead, "data/read?version=2", nil)
	wantMessage(t, m.Fails(fault.Invalid, route.VerbWrite, "data/read", `{"data":{},"options":{"cas":0}}`), "check-and-set parameter did not match the current version")
	wantExists(t, m, "data/read", `{"data":{}}`, true)

	if got := m.Write("data/written", `{"data":{"user":"y"},"options":{"cas":1}}`).Map(t)["version"]; got != 2.0 {
		t.Errorf("the first write gave version %v", got)
	}
	meta := m.Read("metadata/written").Map(t)
	if meta["oldest_version"] != 1.0 || meta["current_version"] != 2.0 || meta["created_time"] != written || meta["updated_time"] == written {
		t.Errorf("metadata after a write: %v", meta)
	}
	wantData(t, m.Read("data/written?version=1"), `{"data":{"user":"x"},"metadata":`+metadata+`}`)

	m.Patch("data/patched", `{"data":{"more":"1"}}`)
	if got := string(m.Read("data/patched").Data); got[:36] != `{"data":{"user":"x","more":"1"},"met` {
		t.Errorf("patched: %s", got)
	}
	m.Write("metadata/settings", `{"custom_metadata":{"a":"b"}}`)
	if got := m.Read("data/settings").Map(t)["data"].(map[string]any)["user"]; got != "x" {
		t.Errorf("after a change of settings the user is %v", got)
	}
	m.Delete("data/deleted")
	if !m.Read("data/deleted").Missing {
		t.Error("a deleted secret is readable")
	}
	m.Write("undelete/deleted", `{"versions":1}`)
	wantData(t, m.Read("data/deleted"), `{"data":{"user":"x"},"metadata":`+metadata+`}`)
	m.Write("destroy/destroyed", `{"versions":[1]}`)
	if !m.Read("data/destroyed").Missing {
		t.Error("a destroyed secret is readable")
	}
	m.Delete("metadata/gone")
	m.Fails(fault.NotFound, route.VerbRead, "data/gone", nil)

	wantData(t, m.List("metadata/"), `{"keys":["deleted","destroyed","f/","new","patched","read","settings","written"]}`)
	wantData(t, m.Scan("metadata/"), `{"keys":["deleted","destroyed","new","patched","read","settings","written","f/deep"]}`)
	wantData(t, m.List("metadata/?after=deleted&limit=3"), `{"keys":["destroyed","f/","new"]}`)
}

func TestTheUpgradedVersionCanBePruned(t *testing.T) {
	old := newV1(t)
	old.Write("s", `{"n":1}`)
	m := upgrade(t, old)
	m.Write("config", `{"max_versions":1}`)
	m.Write("data/s", `{"data":{"n":2}}`)
	m.Fails(fault.NotFound, route.VerbRead, "data/s?version=1", nil)
	m.Delete("metadata/s")
	m.Write("config", `{"max_versions":0}`)
	if n := rows(t, m); n != 1 { // the config
		t.Errorf("%d rows are left", n)
	}
}
