package kv_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/kv"
	"github.com/cofferhq/coffer/internal/wire"
)

// decodeAny is the independent view of a document that the fuzz targets compare
// with.
func decodeAny(t *testing.T, text []byte) any {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		t.Fatalf("%q is not JSON: %v", text, err)
	}
	return v
}

// mergeReference is the algorithm of RFC 7396, section 2.
func mergeReference(target, patch any) any {
	changes, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	object, ok := target.(map[string]any)
	if !ok {
		object = map[string]any{}
	}
	for name, value := range changes {
		if value == nil {
			delete(object, name)
		} else {
			object[name] = mergeReference(object[name], value)
		}
	}
	return object
}

func subkeysReference(v any, depth int) any {
	object, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	keys := map[string]any{}
	for name, value := range object {
		keys[name] = nil
		if inner, ok := value.(map[string]any); ok && len(inner) > 0 && depth != 1 {
			keys[name] = subkeysReference(value, max(depth-1, 0))
		}
	}
	return keys
}

// validObject reports whether the house would let text through as a secret.
func validObject(text []byte) bool {
	o, err := wire.ParseObject(text, wire.DefaultLimits)
	return err == nil && o.Present() && len(o.Raw) == len(text)
}

func FuzzMergePatch(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"a":"b"}`, `{"a":"c"}`}, {`{"a":"b"}`, `{"b":"c"}`}, {`{"a":"b"}`, `{"a":null}`}, {`{"a":["b"]}`, `{"a":"c"}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`}, {`{"a":[{"b":"c"}]}`, `{"a":[1]}`}, {`{"e":null}`, `{"a":1}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`}, {`{"a":1}`, `{"a":{"b":{"c":null,"d":2}}}`}, {`{ "a" : [ 1 , "]" ] }`, `{"\u0061" : "\"}"}`},
		{`{"a":1,"b":2,"c":3,"d":4,"e":5,"f":6,"g":7,"h":8,"i":9,"j":10,"k":11,"l":12,"m":13,"n":14,"o":15,"p":16,"q":17}`, `{"q":null,"a":null,"r":{}}`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, target, patch []byte) {
		if !validObject(target) || !validObject(patch) {
			t.Skip()
		}
		merged := kv.MergePatch(target, patch)
		if err := wire.Valid(merged, wire.DefaultLimits); err != nil {
			t.Fatalf("the merged text is refused: %v\n%s", err, merged)
		}
		want := mergeReference(decodeAny(t, target), decodeAny(t, patch))
		if got := decodeAny(t, merged); !reflect.DeepEqual(got, want) {
			t.Errorf("%s + %s\ngot  %v\nwant %v", target, patch, got, want)
		}
	})
}

func FuzzSubkeys(f *testing.F) {
	f.Add([]byte(`{"a":"1","b":{"c":{"d":"x"},"e":[1]},"n":null,"o":{}}`), 0)
	f.Add([]byte(`{"a":{"b":{"c":{}}}}`), 2)
	f.Add([]byte(`{"}":{"{\"":{"":[{"a":1}]}}}`), 1)
	f.Fuzz(func(t *testing.T, secret []byte, depth int) {
		if !validObject(secret) || depth < 0 {
			t.Skip()
		}
		want := subkeysReference(decodeAny(t, secret), depth)
		if got := decodeAny(t, kv.Subkeys(secret, depth)); !reflect.DeepEqual(got, want) {
			t.Errorf("%s, depth %d\ngot  %v\nwant %v", secret, depth, got, want)
		}
	})
}

func FuzzRecordRow(f *testing.F) {
	f.Add([]byte("\x01\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x04\x01a\x00\x00{}"))
	f.Add([]byte("\x01\x02\x00\x00\x00\x00\x00\x00\x00\x01\x80\x01\x00"))
	f.Add([]byte("\x01\x02\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00"))
	f.Fuzz(func(t *testing.T, row []byte) {
		once, err := kv.RecodeRecord(row)
		if err != nil {
			t.Skip()
		}
		wantStable(t, once, kv.RecodeRecord)
	})
}

func FuzzSecretRow(f *testing.F) {
	row := make([]byte, 2+4+6*8+4+17)
	row[0], row[29], row[57] = 1, 1, 1 // one version, the current one
	f.Add(bytes.Clone(row))
	f.Add(append(row, `{"owner":"team"}`...))
	f.Add(row[:58])
	f.Fuzz(func(t *testing.T, row []byte) {
		once, err := kv.RecodeSecret(row)
		if err != nil {
			t.Skip()
		}
		wantStable(t, once, kv.RecodeSecret)
	})
}

// wantStable wants a row that was written here to be read and written the same.
func wantStable(t *testing.T, row []byte, recode func([]byte) ([]byte, error)) {
	t.Helper()
	again, err := recode(row)
	if err != nil || !bytes.Equal(row, again) {
		t.Errorf("got %x and error %v, want %x", again, err, row)
	}
}
