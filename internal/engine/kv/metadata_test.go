package kv_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/google/go-cmp/cmp"
)

func TestMetadataIsWrittenPatchedAndDeleted(t *testing.T) {
	const deletion = "2026-01-02T04:34:05Z"
	m := newV2(t)
	want := func(metadataVersion, current, maxVersions int, custom, versions string) {
		t.Helper()
		wantData(t, m.Read("metadata/m"), fmt.Sprintf(`{"cas_required":false,"created_time":"2026-01-02T03:04:05Z","current_metadata_version":%d,"current_version":%d,"custom_metadata":%s,`+
			`"delete_version_after":"1h30m0s","max_versions":%d,"metadata_cas_required":false,"oldest_version":0,"updated_time":"2026-01-02T03:04:05Z","versions":{%s}}`,
			metadataVersion, current, custom, maxVersions, versions))
	}
	const one = `"1":{"created_time":"2026-01-02T03:04:05Z","deletion_time":"` + deletion + `","destroyed":false}`

	m.Write("metadata/m", `{"max_versions":3,"delete_version_after":"1h30m","custom_metadata":{"owner":"team","tier":"gold"}}`)
	want(1, 0, 3, `{"owner":"team","tier":"gold"}`, "")
	wantBareNotFound(t, m, "data/m")
	wantData(t, m.Write("data/m", `{"data":{"v":"1"}}`), details(1, `{"owner":"team","tier":"gold"}`, deletion, false))
	wantData(t, m.Read("data/m"), `{"data":{"v":"1"},"metadata":`+details(1, `{"owner":"team","tier":"gold"}`, deletion, false)+`}`)
	want(1, 1, 3, `{"owner":"team","tier":"gold"}`, one)
	m.Write("metadata/m", `{"custom_metadata":{"owner":"other"}}`)
	want(2, 1, 3, `{"owner":"other"}`, one)
	m.Patch("metadata/m", `{"custom_metadata":{"tier":"silver","owner":null},"max_versions":7}`)
	want(3, 1, 7, `{"tier":"silver"}`, one)
	m.Patch("metadata/m", `{"custom_metadata":null,"max_versions":null}`)
	want(4, 1, 0, `null`, one)
	m.Write("metadata/m", `{"custom_metadata":{"a":"b"}}`)
	m.Write("metadata/m", `{"custom_metadata":{}}`)
	want(6, 1, 0, `null`, one)
	m.Delete("metadata/m")
	m.Delete("metadata/m")
	wantBareNotFound(t, m, "metadata/m")
	wantBareNotFound(t, m, "data/m")
	if n := rows(t, m); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestAPatchOfAbsentMetadataIsABareNotFound(t *testing.T) {
	m := newV2(t)
	if r := m.Patch("metadata/none", `{"max_versions":1}`); r.Raw == nil || r.Raw.Status != 404 || len(r.Raw.Body) != 0 {
		t.Errorf("got %+v", r.Reply)
	}
	if n := rows(t, m); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}

func TestEveryNullOfAPatchTakesTheSettingAway(t *testing.T) {
	m := newV2(t)
	m.Write("metadata/m", `{"max_versions":3,"cas_required":true,"metadata_cas_required":true,"delete_version_after":"1h","custom_metadata":{"a":"b"}}`)
	m.Patch("metadata/m", `{"metadata_cas":1,"max_versions":null,"cas_required":null,"metadata_cas_required":null,"delete_version_after":null,"custom_metadata":{"a":null,"absent":null}}`)
	got := m.Read("metadata/m").Map(t)
	for _, name := range []string{"created_time", "updated_time", "current_version", "current_metadata_version", "oldest_version", "versions"} {
		delete(got, name)
	}
	want := map[string]any{"max_versions": 0.0, "cas_required": false, "metadata_cas_required": false, "delete_version_after": "0s", "custom_metadata": nil}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestCustomMetadataIsBounded(t *testing.T) {
	many := func(n, name, value int) string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprintf("%0*d", name, i)] = strings.Repeat("v", value)
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, tc := range []struct {
		name, custom string
		ok           bool
	}{
		{"the most members", many(64, 2, 1), true},
		{"one member more", many(65, 2, 1), false},
		{"the longest name and value", many(1, 128, 512), true},
		{"a name too long", many(1, 129, 1), false},
		{"a value too long", many(1, 1, 513), false},
		{"an empty name", `{"":"v"}`, false},
		{"an empty value", `{"a":""}`, true},
		{"a number", `{"a":5}`, true},
		{"an object", `{"a":{"canary":1}}`, false},
		{"an array", `{"a":["canary"]}`, false},
		{"a control character", `{"a":"canary\u0007"}`, false},
		{"a lone surrogate", `{"a":"canary\ud800"}`, false},
		{"a list", `["canary"]`, false},
		{"text", `"canary"`, false},
	} {
		for _, verb := range []route.Verb{route.VerbWrite, route.VerbPatch} {
			t.Run(verb.String()+" "+tc.name, func(t *testing.T) {
				m := newV2(t)
				m.Write("metadata/m", `{}`)
				before := digest(t, m)
				r := m.Call(verb, "metadata/m", `{"custom_metadata":`+tc.custom+`}`)
				if tc.ok {
					if r.Err != nil {
						t.Fatal(r.Err)
					}
					m.Read("metadata/m").Map(t)
					return
				}
				if fault.KindOf(r.Err) != fault.Invalid || strings.Contains(r.Err.Error(), "canary") {
					t.Errorf("got error %v", r.Err)
				}
				if digest(t, m) != before {
					t.Error("the refused request changed the store")
				}
			})
		}
	}
}

func TestBadSettingsAreRefused(t *testing.T) {
	m := newV2(t)
	for _, body := range []string{`{"delete_version_after":"canary"}`, `{"max_versions":"canary"}`, `{"max_versions":-1}`, `{"cas_required":"canary"}`,
		`{"metadata_cas_required":["canary"]}`, `{"metadata_cas":"canary"}`} {
		err := m.Fails(fault.Invalid, route.VerbWrite, "metadata/m", body)
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error repeats the value: %v", body, err)
		}
	}
	m.Fails(fault.Invalid, route.VerbWrite, "metadata/", `{}`)
	m.Fails(fault.Invalid, route.VerbWrite, "metadata/m/", `{}`)
	if n := rows(t, m); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}

func TestMetadataCheckAndSet(t *testing.T) {
	const mismatch, required = "metadata check-and-set parameter does not match the current version", "metadata check-and-set parameter required for this call"
	m := newV2(t)
	m.Write("metadata/m", `{"metadata_cas":0}`)
	wantMessage(t, m.Fails(fault.Invalid, route.VerbWrite, "metadata/m", `{"metadata_cas":0}`), mismatch)
	wantMessage(t, m.Fails(fault.Invalid, route.VerbPatch, "metadata/m", `{"metadata_cas":2}`), mismatch)
	wantMessage(t, m.Fails(fault.Invalid, route.VerbWrite, "metadata/new", `{"metadata_cas":1}`), mismatch)
	m.Write("metadata/m", `{"metadata_cas":1,"metadata_cas_required":true}`)
	wantMessage(t, m.Fails(fault.Invalid, route.VerbWrite, "metadata/m", `{"max_versions":1}`), required)
	wantMessage(t, m.Fails(fault.Invalid, route.VerbPatch, "metadata/m", `{"max_versions":1}`), required)
	m.Patch("metadata/m", `{"metadata_cas":"2","max_versions":1}`)
	m.Write("data/m", `{"data":{}}`)
	if got := m.Read("metadata/m").Map(t)["current_metadata_version"]; got != 3.0 {
		t.Errorf("current_metadata_version is %v", got)
	}
	m.Write("config", `{"metadata_cas_required":true}`)
	wantMessage(t, m.Fails(fault.Invalid, route.VerbWrite, "metadata/other", `{}`), required)
	m.Write("metadata/other", `{"metadata_cas":0}`)
}

func TestAttributionSaysWhoCreatedEachVersion(t *testing.T) {
	m := newV2(t)
	m.Caller.DisplayName, m.Caller.EntityID, m.Caller.Accessor = `userpass-"ann"`, "e1", "acc1"
	m.Write("data/s", `{"data":{"v":"1"}}`)
	m.Clock.Advance(time.Second)
	m.Caller.DisplayName, m.Caller.EntityID, m.Caller.Accessor = "approle", "", "acc2"
	m.Patch("data/s", `{"data":{"v":"2"}}`)
	m.Write("data/s", `{"data":{"v":"3"}}`)
	m.Write("destroy/s", `{"versions":[1,3]}`)
	by := func(name, entity, accessor, op string) map[string]any {
		return map[string]any{"display_name": name, "entity_id": entity, "accessor": accessor, "operation": op}
	}
	want := map[string]any{"1": by(`userpass-"ann"`, "e1", "acc1", "create"), "2": by("approle", "", "acc2", "patch"), "3": by("approle", "", "acc2", "update")}
	got := map[string]any{}
	for n, v := range m.Read("metadata/s?attribution=true").Map(t)["versions"].(map[string]any) {
		got[n] = v.(map[string]any)["created_by"]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("created_by (-want +got):\n%s", diff)
	}
	if strings.Contains(string(m.Read("metadata/s").Data), "created_by") {
		t.Error("the creators are shown unasked")
	}
}
