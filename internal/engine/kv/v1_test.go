package kv_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/engine/kv"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

func newV1(t *testing.T) *enginetest.Mount {
	t.Helper()
	return enginetest.New(t, kv.V1.Routes, kv.V1.New)
}

func TestVersionsAreChosenByOption(t *testing.T) {
	if kv.Type.Versions[""] != kv.V1 || kv.Type.Versions["1"] != kv.V1 || kv.Type.Versions["2"] != kv.V2 {
		t.Error("the option version does not choose the variant")
	}
}

func TestPlainSecretsAreKeptAsTheyCame(t *testing.T) {
	m := newV1(t)
	for _, tc := range []struct{ name, path, body string }{
		{"values of every type", "app/db", `{"user":"u","n":5,"nested":{"a":[1,2,{"b":null}]},"f":1.50,"t":true}`},
		{"numbers beyond float64", "big", `{"n":12345678901234567890,"e":1e3}`},
		{"a path with a space", "with space", `{"v":"1"}`},
		{"text that is not ASCII", "clé/✓", `{"clé":"värde ✓","escaped":"\u00e9\"\\"}`},
		{"a folder's name", "app", `{"v":"beside app/db"}`},
		{"a long path", strings.Repeat("p", 1000), `{"v":"1"}`},
		{"a deep path", strings.Repeat("d/", 100) + "x", `{"v":"1"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if r := m.Write(tc.path, tc.body); !r.NoContent {
				t.Error("a write has content")
			}
			wantData(t, m.Read(tc.path), tc.body)
		})
	}
	m.Write("big", `{"v":"replaced"}`)
	wantData(t, m.Read("big"), `{"v":"replaced"}`)
	m.Delete("app")
	m.Delete("app")
	m.Delete("big/")
	m.Fails(fault.NotFound, route.VerbRead, "app", nil)
	wantData(t, m.List("app/"), `{"keys":["db"]}`)
}

func TestPlainLeaseHint(t *testing.T) {
	m := newV1(t)
	m.Settings.DefaultTTL = 2 * time.Hour
	for _, tc := range []struct {
		name, body string
		want       time.Duration
	}{
		{"nothing said", `{"v":"1"}`, 2 * time.Hour},
		{"ttl as text", `{"ttl":"30m"}`, 30 * time.Minute},
		{"ttl as a number", `{"ttl":90}`, 90 * time.Second},
		{"lease as text", `{"lease":"15m"}`, 15 * time.Minute},
		{"ttl before lease", `{"lease":"15m","ttl":"1m"}`, time.Minute},
		{"no duration", `{"ttl":"bogus"}`, 2 * time.Hour},
		{"no text", `{"ttl":{"a":1}}`, 2 * time.Hour},
		{"negative", `{"ttl":"-5m"}`, 2 * time.Hour},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m.Write("s", tc.body)
			if got := m.Read("s").Lease; got.Duration != tc.want || got.Renewable || got.ID != "" {
				t.Errorf("got lease %+v, want duration %v", *got, tc.want)
			}
		})
	}
}

func TestBadPlainRequestsChangeNothing(t *testing.T) {
	m := newV1(t)
	m.Write("kept", `{"v":"1"}`)
	before := digest(t, m)
	for _, tc := range []struct {
		name, path string
		body       any
		want       string
	}{
		{"an empty object", "s", `{}`, "missing data fields"},
		{"no body", "s", nil, "missing data fields"},
		{"a folder's path", "s/", `{"v":"1"}`, "cannot write to a path ending in '/'"},
		{"no path", "", `{"v":"1"}`, "the path of the secret is missing"},
		{"a path beyond the limit", strings.Repeat("a/", 5000) + "x", `{"v":"1"}`, "the path of a secret has at most 8192 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantMessage(t, m.Fails(fault.Invalid, route.VerbWrite, tc.path, tc.body), tc.want)
		})
	}
	m.Fails(fault.Invalid, route.VerbWrite, "s", `[1,2]`)
	m.Fails(fault.NotFound, route.VerbRead, "", nil)
	m.Fails(fault.NotFound, route.VerbRead, "kept/", nil)
	m.Fails(fault.Invalid, route.VerbRead, strings.Repeat("x", 1<<20), nil)
	m.Fails(fault.Invalid, route.VerbDelete, "", nil)
	m.Fails(fault.Unsupported, route.VerbPatch, "kept", `{"v":"2"}`)
	if digest(t, m) != before {
		t.Error("a refused request changed the store")
	}
}

func TestTheLongestPathFitsAKey(t *testing.T) {
	path := strings.Repeat("a/", 4095) + "ab"
	v1, v2 := newV1(t), newV2(t)
	v1.Write(path, `{"v":"1"}`)
	v1.Read(path)
	v2.Write("data/"+path, `{"data":{"v":"1"}}`)
	v2.Read("data/" + path)
	v2.Scan("metadata")
}

func TestPlainCreateIsToldFromUpdate(t *testing.T) {
	m := newV1(t)
	wantExists(t, m, "s", `{"v":"1"}`, false)
	m.Write("s", `{"v":"1"}`)
	wantExists(t, m, "s", `{"v":"1"}`, true)
	wantExists(t, m, "s/", `{"v":"1"}`, false)
}
