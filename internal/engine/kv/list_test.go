package kv_test

import (
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// TestListings runs over both versions, whose listings are the same.
func TestListings(t *testing.T) {
	paths := []string{"a", "b", "b/c", "b/d/e", "b/d/f", "b-x", "z", "z/last"}
	for _, version := range []struct {
		name        string
		mount       *enginetest.Mount
		write, list string
	}{{"v1", newV1(t), "", ""}, {"v2", newV2(t), "data/", "metadata/"}} {
		m := version.mount
		for _, p := range paths {
			m.Write(version.write+p, `{"data":{"v":"1"}}`)
		}
		for _, tc := range []struct {
			name string
			verb route.Verb
			path string
			want string
		}{
			{"the root", route.VerbList, "", "a b b-x b/ z z/"},
			{"a folder", route.VerbList, "b", "c d/"},
			{"a folder with its slash", route.VerbList, "b/", "c d/"},
			{"a folder in a folder", route.VerbList, "b/d", "e f"},
			{"no such folder", route.VerbList, "none", ""},
			{"a secret", route.VerbList, "a", ""},
			{"after a secret", route.VerbList, "?after=b", "b-x b/ z z/"},
			{"after a folder", route.VerbList, "?after=b/", "z z/"},
			{"after what is not there", route.VerbList, "?after=c", "z z/"},
			{"a limit", route.VerbList, "?limit=2", "a b"},
			{"no limit", route.VerbList, "?limit=0", "a b b-x b/ z z/"},
			{"after and a limit", route.VerbList, "?after=a&limit=2", "b b-x"},
			{"after the last", route.VerbList, "?after=zz", ""},
			{"everything", route.VerbScan, "", "a b b-x z b/c b/d/e b/d/f z/last"},
			{"everything in a folder", route.VerbScan, "b", "c d/e d/f"},
			{"everything in no folder", route.VerbScan, "none", ""},
		} {
			t.Run(version.name+" "+tc.name, func(t *testing.T) {
				r := m.Call(tc.verb, version.list+tc.path, nil)
				if tc.want == "" {
					if fault.KindOf(r.Err) != fault.NotFound || fault.Message(r.Err) != "" {
						t.Fatalf("got error %v, want a bare not found", r.Err)
					}
					return
				}
				if r.Err != nil {
					t.Fatal(r.Err)
				}
				if want := `{"keys":["` + strings.ReplaceAll(tc.want, " ", `","`) + `"]}`; string(r.Data) != want {
					t.Errorf("got %s, want %s", r.Data, want)
				}
			})
		}
		m.Fails(fault.Invalid, route.VerbList, version.list+"?limit=many", nil)
		m.Fails(fault.Invalid, route.VerbList, version.list+strings.Repeat("x/", 8000), nil)
		m.Fails(fault.Invalid, route.VerbScan, version.list+strings.Repeat("x/", 8000), nil)
	}
}

func TestDetailedListingsShowMetadata(t *testing.T) {
	m := newV2(t)
	m.Write("data/f/a", `{"data":{"v":"1"}}`)
	m.Write("metadata/f/b", `{"custom_metadata":{"owner":"team"}}`)
	m.Write("data/f/g/c", `{"data":{"v":"1"}}`)
	info := m.List("detailed-metadata/f").Map(t)["key_info"].(map[string]any)
	if len(info) != 2 || info["a"].(map[string]any)["current_version"] != 1.0 ||
		info["b"].(map[string]any)["custom_metadata"].(map[string]any)["owner"] != "team" {
		t.Errorf("got key_info %v", info)
	}
	info = m.Scan("detailed-metadata/").Map(t)["key_info"].(map[string]any)
	if len(info) != 3 || info["f/g/c"].(map[string]any)["current_version"] != 1.0 {
		t.Errorf("got key_info %v of a scan", info)
	}
}
