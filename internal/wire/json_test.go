package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// canary is a secret that must not come back in any error.
const canary = "hunter2-canary"

func TestParseObjectSplitsMembers(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       [][2]string // nil is an absent body
	}{
		{"nothing", "", nil},
		{"blank", " \t\r\n", nil},
		{"null", " null\n", nil},
		{"empty", "{}", [][2]string{}},
		{"empty with space", " { } ", [][2]string{}},
		{"one", `{"a":1}`, [][2]string{{"a", "1"}}},
		{"order is kept", `{"b":[1, {"x":2}],"a":"t"}`, [][2]string{{"b", `[1, {"x":2}]`}, {"a", `"t"`}}},
		{"name with escapes", `{"a\u0062\n":true}`, [][2]string{{"ab\n", "true"}}},
		{"empty name", `{"":null}`, [][2]string{{"", "null"}}},
		{"same name in another object", `{"a":{"a":1}}`, [][2]string{{"a", `{"a":1}`}}},
		{"names differ by case", `{"a":1,"A":2}`, [][2]string{{"a", "1"}, {"A", "2"}}},
		{"objects after the first", "{\"a\":1}\n{\"b\":2} ", [][2]string{{"a", "1"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, err := wire.ParseObject([]byte(tt.body), wire.DefaultLimits)
			if err != nil {
				t.Fatal(err)
			}
			if o.Present() != (tt.want != nil) {
				t.Fatalf("present is %t", o.Present())
			}
			var got [][2]string
			if o.Present() {
				got = [][2]string{}
			}
			for _, m := range o.Members {
				got = append(got, [2]string{m.Name, string(m.Value)})
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseObjectRefuses(t *testing.T) {
	small := wire.Limits{Depth: 3, Keys: 3, Elements: 4, Values: 6, String: 20}
	for _, tt := range []struct {
		name, body string
		kind       fault.Kind
	}{
		{"an array", `["` + canary + `"]`, fault.Invalid},
		{"a string", `"` + canary + `"`, fault.Invalid},
		{"a number", `7`, fault.Invalid},
		{"no end", `{"a":"` + canary, fault.Invalid},
		{"no value", `{"a":}`, fault.Invalid},
		{"no colon", `{"a" 1}`, fault.Invalid},
		{"no comma", `{"a":1 "b":2}`, fault.Invalid},
		{"comma before the end", `{"a":1,}`, fault.Invalid},
		{"comma before the end of an array", `{"a":[1,]}`, fault.Invalid},
		{"bare name", `{` + canary + `:1}`, fault.Invalid},
		{"single quotes", `{'a':1}`, fault.Invalid},
		{"text behind", `{"a":1} ` + canary, fault.Invalid},
		{"null behind", `{"a":1} null`, fault.Invalid},
		{"a broken object behind", `{"a":1}{"b"`, fault.Invalid},
		{"duplicate", `{"a":"` + canary + `","a":2}`, fault.Invalid},
		{"duplicate by escape", `{"a":1,"\u0061":2}`, fault.Invalid},
		{"duplicate inside", `{"a":[{"b":1,"b":2}]}`, fault.Invalid},
		{"leading zero", `{"a":01}`, fault.Invalid},
		{"plus sign", `{"a":+1}`, fault.Invalid},
		{"no fraction", `{"a":1.}`, fault.Invalid},
		{"no exponent", `{"a":1e}`, fault.Invalid},
		{"a lone minus", `{"a":-}`, fault.Invalid},
		{"NaN", `{"a":NaN}`, fault.Invalid},
		{"misspelt word", `{"a":tru}`, fault.Invalid},
		{"control character", "{\"a\":\"" + canary + "\n\"}", fault.Invalid},
		{"bad escape", `{"a":"\x"}`, fault.Invalid},
		{"bad unicode escape", `{"a":"\u00zz"}`, fault.Invalid},
		{"short unicode escape", `{"a":"\u00`, fault.Invalid},
		{"no UTF-8", "{\"a\":\"" + canary + "\xff\"}", fault.Invalid},
		{"byte order mark", "\ufeff{}", fault.Invalid},
		{"too deep", `{"a":[[[1]]]}`, fault.TooLarge},
		{"too many members", `{"a":1,"b":2,"c":3,"d":4}`, fault.TooLarge},
		{"too many elements", `{"a":[1,2,3,4,5]}`, fault.TooLarge},
		{"too many values", `{"a":[1,2,3],"b":[1,2,3]}`, fault.TooLarge},
		{"too many values behind", `{"a":[1,2,3]}{"b":[1,2,3]}`, fault.TooLarge},
		{"too long a string", `{"a":"` + strings.Repeat(canary, 2) + `"}`, fault.TooLarge},
		{"too long a name", `{"` + strings.Repeat(canary, 2) + `":1}`, fault.TooLarge},
		{"too long a number", `{"a":` + strings.Repeat("9", 65) + `}`, fault.TooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.ParseObject([]byte(tt.body), small)
			if !errors.Is(err, tt.kind) {
				t.Fatalf("got %v, want an error of kind %v", err, tt.kind)
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("the error shows the value: %v", err)
			}
		})
	}
}

func TestParseObjectTakesWhatTheLimitsAllow(t *testing.T) {
	small := wire.Limits{Depth: 3, Keys: 3, Elements: 4, Values: 6, String: 5}
	for _, body := range []string{`{"a":[[1]]}`, `{"a":1,"b":2,"c":3}`, `{"a":[1,2,3,4],"b":1}`, `{"a":"12345"}`, `{"12345":[]}`} {
		if _, err := wire.ParseObject([]byte(body), small); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

func TestManyNamesAreComparedToo(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"n0":0`)
	for i := range 100 {
		b.WriteString(`,"m` + strings.Repeat("x", i) + `":1`)
	}
	if _, err := wire.ParseObject([]byte(b.String()+"}"), wire.DefaultLimits); err != nil {
		t.Fatal(err)
	}
	for _, again := range []string{"n0", "m", "mxxxxxx", "m" + strings.Repeat("x", 99)} {
		if _, err := wire.ParseObject([]byte(b.String()+`,"`+again+`":1}`), wire.DefaultLimits); !errors.Is(err, fault.Invalid) {
			t.Errorf("a second %q: %v", again, err)
		}
	}
}

func TestValid(t *testing.T) {
	for _, good := range []string{`1`, ` "a" `, `[]`, `{"a":[true,false,null,-0.5e+3]}`} {
		if err := wire.Valid([]byte(good), wire.DefaultLimits); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{``, ` `, `1 2`, `{} {}`, `[1`, `nul`} {
		if err := wire.Valid([]byte(bad), wire.DefaultLimits); err == nil {
			t.Errorf("%s: accepted", bad)
		}
	}
}

func TestQuotedTextIsRead(t *testing.T) {
	for _, s := range []string{"", "plain", `"\`, "\x00\x1f\n\r\t\b\f", "ümlaut \u2028 😀", "\x7f"} {
		raw := wire.AppendQuoted(nil, s)
		var back string
		if err := json.Unmarshal(raw, &back); err != nil || back != s {
			t.Errorf("%q is quoted as %s", s, raw)
		}
		if got := wire.Unquote(raw); got != s {
			t.Errorf("%q comes back as %q", s, got)
		}
	}
	if got := string(wire.AppendQuoted(nil, "a\xffb\xc3")); got != "\"a\ufffdb\ufffd\"" {
		t.Errorf("bytes that are no UTF-8 are written as %q", got)
	}
	for raw, want := range map[string]string{`"\ud83d\ude00"`: "😀", `"\ud83d"`: "\ufffd", `"\ud83dx\ude00"`: "\ufffdx\ufffd", `"\ud83d\u0041"`: "\ufffdA", `"\/\b\f"`: "/\b\f"} {
		if got := wire.Unquote([]byte(raw)); got != want {
			t.Errorf("%s reads as %q, want %q", raw, got, want)
		}
	}
}

func TestAppendMembers(t *testing.T) {
	b := append(wire.AppendStringMember([]byte(`{"first":1`), "s", `a"b`), []byte{}...)
	b = wire.AppendIntMember(b, "i", -7)
	b = wire.AppendBoolMember(b, "b", true)
	b = wire.AppendStrings(wire.AppendName(b, "list"), []string{"x", "y\n"})
	b = wire.AppendStrings(wire.AppendName(b, "none"), nil)
	if got, want := string(b)+"}", `{"first":1,"s":"a\"b","i":-7,"b":true,"list":["x","y\n"],"none":[]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzParseObject(f *testing.F) {
	for _, seed := range []string{
		``, `null`, `{}`, `{"a":1}`, `{"a":{"b":[1,"x",null,true,-1.5e9]},"c":"\u00e9\n"}`, `{"a":1}{"b":2}`, `{"a":1,"a":2}`, `{"a":[[[[1]]]]}`,
		`{"\ud83d\ude00":"\ud83d"}`, `[1]`, `{"a":01}`, `{"a":"` + strings.Repeat("x", 70) + `"}`, "{\"a\":\"\xff\"}",
	} {
		f.Add([]byte(seed))
	}
	limits := wire.Limits{Depth: 8, Keys: 16, Elements: 16, Values: 64, String: 64}
	f.Fuzz(func(t *testing.T, body []byte) {
		o, err := wire.ParseObject(body, limits)
		if err != nil {
			expected := errors.Is(err, fault.TooLarge) || strings.Contains(err.Error(), "duplicate") || !utf8.Valid(body)
			if isObject := bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")); isObject && !expected && json.Valid(body) {
				t.Fatalf("%q is refused: %v", body, err)
			}
			return
		}
		if !o.Present() {
			if text := string(bytes.Trim(body, " \t\r\n")); text != "" && text != "null" {
				t.Fatalf("%q is taken for no body", body)
			}
			return
		}
		if !json.Valid(o.Raw) {
			t.Fatalf("%q is accepted and is no JSON", o.Raw)
		}
		var want map[string]any
		if err := json.Unmarshal(o.Raw, &want); err != nil {
			t.Fatal(err)
		}
		got := make(map[string]any, len(o.Members))
		for _, m := range o.Members {
			var v any
			if err := json.Unmarshal(m.Value, &v); err != nil {
				t.Fatalf("member %q of %q is no JSON: %v", m.Name, body, err)
			}
			if _, again := got[m.Name]; again {
				t.Fatalf("%q has two members %q", body, m.Name)
			}
			got[m.Name] = v
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q is read differently: %s", body, diff)
		}
	})
}

func FuzzQuoted(f *testing.F) {
	for _, seed := range []string{"", "a", "\"\\\x00\n", "é😀\u2028", "\xff\xc3\x28"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		raw := wire.AppendQuoted(nil, s)
		if again := wire.AppendQuoted(nil, []byte(s)); !bytes.Equal(raw, again) {
			t.Fatalf("bytes are quoted as %s, text as %s", again, raw)
		}
		if err := wire.Valid(raw, wire.Limits{String: 1 << 30, Values: 1}); err != nil {
			t.Fatalf("%q is quoted as %s: %v", s, raw, err)
		}
		want := strings.ToValidUTF8(s, "\ufffd")
		if n := utf8.RuneCountInString(s); n != utf8.RuneCountInString(want) { // runs of bad bytes become one each
			var b strings.Builder
			for _, r := range s {
				b.WriteRune(r)
			}
			want = b.String()
		}
		if got := wire.Unquote(raw); got != want {
			t.Fatalf("%q comes back as %q", s, got)
		}
	})
}
