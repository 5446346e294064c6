package wire_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/wire"
)

func elements(t testing.TB, array string) []string {
	t.Helper()
	var got []string
	if err := wire.EachElement([]byte(array), func(el []byte) error {
		got = append(got, string(el))
		return nil
	}); err != nil {
		t.Fatalf("%s: %v", array, err)
	}
	return got
}

func TestWalksFindEveryValue(t *testing.T) {
	for array, want := range map[string][]string{
		`[]`:                           nil,
		` [ ] `:                        nil,
		`[1,"a",null, true ]`:          {`1`, `"a"`, `null`, `true`},
		`[{"a":"]"},[1,[2]],"\\\"]"]`:  {`{"a":"]"}`, `[1,[2]]`, `"\\\"]"`},
		`[{},{"a":{"b":[]}} , "\\" ]`:  {`{}`, `{"a":{"b":[]}}`, `"\\"`},
		"[\n{\"a\" : 1 ,\t\"b\":2}\n]": {"{\"a\" : 1 ,\t\"b\":2}"},
	} {
		if diff := cmp.Diff(want, elements(t, array)); diff != "" {
			t.Errorf("%s: %s", array, diff)
		}
	}
	var members []string
	err := wire.EachMember([]byte(` {"a":1, "b\"c" : [ "}" ] ,"":{}}`), func(name, value []byte) error {
		members = append(members, string(name)+"="+string(value))
		return nil
	})
	if diff := cmp.Diff([]string{`a=1`, `b\"c=[ "}" ]`, `={}`}, members); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	for _, bad := range []string{``, `"bad"`, `{}`, `[1`, `[1 2]`, `1`, `[,]`, `["a]`} {
		if err := wire.EachElement([]byte(bad), func([]byte) error { return nil }); err == nil {
			t.Errorf("%q is walked as an array", bad)
		}
	}
}

func TestTextIsTheContentOfAString(t *testing.T) {
	for raw, want := range map[string]string{`"ab"`: "ab", `"a\/b"`: "a/b", `""`: "", `"\u0041"`: "A"} {
		if got := string(wire.Text([]byte(raw))); got != want {
			t.Errorf("%s: got %q, want %q", raw, got, want)
		}
	}
}

// FuzzWalk holds the walks to what the standard library makes of a document, and
// to staying within their bytes on anything else.
func FuzzWalk(f *testing.F) {
	for _, seed := range []string{`[1,"a",{"b":[null]}]`, `{"a":"\\\"","b":[{}]}`, `["`, `[[[`, `{"a"`, `[1 2]`, `[]]`, `[}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		var els, values [][]byte
		eerr := wire.EachElement(doc, func(el []byte) error { els = append(els, el); return nil })
		merr := wire.EachMember(doc, func(_, v []byte) error { values = append(values, v); return nil })
		if !json.Valid(doc) {
			return
		}
		var array []json.RawMessage
		if err := json.Unmarshal(doc, &array); err == nil && array != nil {
			if eerr != nil || len(els) != len(array) {
				t.Fatalf("%v, %d elements, want %d", eerr, len(els), len(array))
			}
			for i := range els {
				if !bytes.Equal(els[i], array[i]) {
					t.Fatalf("element %d is %s, want %s", i, els[i], array[i])
				}
			}
		}
		if bytes.HasPrefix(bytes.TrimSpace(doc), []byte("{")) {
			if merr != nil {
				t.Fatal(merr)
			}
			for _, v := range values {
				if !json.Valid(v) {
					t.Fatalf("member value %s", v)
				}
			}
		}
	})
}
