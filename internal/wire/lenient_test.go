package wire_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/wire"
)

// lenient is a table of what a reader of lenient values takes and refuses.
type lenient[T any] struct {
	parse func([]byte) (T, error)
	takes map[string]T
	not   []string
}

func (l lenient[T]) run(t *testing.T) {
	for raw, want := range l.takes {
		got, err := l.parse([]byte(raw))
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", raw, diff)
		}
	}
	for _, raw := range l.not {
		v, err := l.parse([]byte(raw))
		if err == nil {
			t.Errorf("%s: taken for %v", raw, v)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error shows the value: %v", raw, err)
		}
	}
}

func TestParseString(t *testing.T) {
	lenient[string]{
		parse: wire.ParseString,
		takes: map[string]string{``: "", `null`: "", `"a\n"`: "a\n", `true`: "1", `false`: "0", `5`: "5", `1e3`: "1e3", `-0.50`: "-0.50", `""`: ""},
		not:   []string{`["` + canary + `"]`, `{"a":"` + canary + `"}`},
	}.run(t)
}

func TestParseBool(t *testing.T) {
	lenient[bool]{
		parse: wire.ParseBool,
		takes: map[string]bool{
			``: false, `null`: false, `true`: true, `false`: false, `"true"`: true, `"TRUE"`: true, `"True"`: true, `"t"`: true, `"1"`: true, `"0"`: false, `"f"`: false,
			`""`: false, `1`: true, `0`: false, `2`: true, `0.0`: false, `-1`: true,
		},
		not: []string{`"yes"`, `"` + canary + `"`, `" true"`, `[true]`, `{}`, `1e999`},
	}.run(t)
}

func TestParseInt(t *testing.T) {
	lenient[int64]{
		parse: wire.ParseInt,
		takes: map[string]int64{
			``: 0, `null`: 0, `""`: 0, `" "`: 0, `5`: 5, `-5`: -5, `"5"`: 5, `" 5 "`: 5, `5.0`: 5, `"5.0"`: 5, `1e3`: 1000,
			`9223372036854775807`: math.MaxInt64, `"-9223372036854775808"`: math.MinInt64,
		},
		not: []string{
			`5.5`, `"5.5"`, `"` + canary + `"`, `"5 6"`, `true`, `[]`, `{}`, `9223372036854775808`, `1e30`, `"inf"`, `"NaN"`, `"0x10"`, `"0x1p4"`, `"1_000"`,
		},
	}.run(t)
}

func TestParseFloat(t *testing.T) {
	lenient[float64]{
		parse: wire.ParseFloat,
		takes: map[string]float64{``: 0, `null`: 0, `1.5`: 1.5, `"1.5"`: 1.5, `-2`: -2, `1e3`: 1000},
		not:   []string{`"` + canary + `"`, `""`, `"inf"`, `"-Infinity"`, `"nan"`, `1e999`, `true`, `[]`, `{}`, `"0x1p4"`},
	}.run(t)
}

func TestParseStrings(t *testing.T) {
	lenient[[]string]{
		parse: wire.ParseStrings,
		takes: map[string][]string{
			``: nil, `null`: nil, `""`: {}, `[]`: {}, `[ ]`: {}, `"a"`: {"a"}, `"a,b"`: {"a", "b"}, `" a , b,,"`: {"a", "b"}, `["a","b"]`: {"a", "b"},
			`["a,b", "c"]`: {"a,b", "c"}, `[1,true,"x"]`: {"1", "1", "x"}, `5`: {"5"}, `[""]`: {""}, `[null]`: {""},
		},
		not: []string{`{"a":"` + canary + `"}`, `[["` + canary + `"]]`, `[{}]`},
	}.run(t)
}

func TestParseMap(t *testing.T) {
	lenient[map[string]string]{
		parse: wire.ParseMap,
		takes: map[string]map[string]string{
			``: nil, `null`: nil, `{}`: {}, `{"a":"b","c":1,"d":true,"e":null}`: {"a": "b", "c": "1", "d": "1", "e": ""}, `["a=b","c = d=e"]`: {"a": "b", "c": "d=e"},
			`"a=b,c=d"`: {"a": "b", "c": "d"}, `"{\"a\":\"b\"}"`: {"a": "b"}, `""`: {}, `"a="`: {"a": ""},
		},
		not: []string{`"` + canary + `"`, `["` + canary + `"]`, `{"a":["` + canary + `"]}`, `5`, `"{\"a\":\"` + canary + `\""`, `"{\"a\":1}{\"b\":2}"`, `[[]]`},
	}.run(t)
}

func TestParseDuration(t *testing.T) {
	lenient[time.Duration]{
		parse: wire.ParseDuration,
		takes: map[string]time.Duration{
			``: 0, `null`: 0, `""`: 0, `" "`: 0, `0`: 0, `"0"`: 0, `"0s"`: 0, `3600`: time.Hour, `"3600"`: time.Hour, `"90"`: 90 * time.Second, `"1h"`: time.Hour,
			`"1h30m"`: 90 * time.Minute, `"7d"`: 7 * 24 * time.Hour, `"1d12h"`: 36 * time.Hour, `" 5m "`: 5 * time.Minute, `1.5`: 1500 * time.Millisecond,
			`"500ms"`: 500 * time.Millisecond, `1e3`: 1000 * time.Second, `"36500d"`: 36500 * 24 * time.Hour, `"0d"`: 0, `-0`: 0,
		},
		not: []string{
			`-1`, `"-1"`, `"-1h"`, `"-1d"`, `"1d-1h"`, `"` + canary + `"`, `"1w"`, `"1h 30m"`, `"d"`, `"1.5d"`, `"1d1d"`, `"h"`, `true`, `[]`, `{}`,
			`3153600001`, `1e300`, `1e999`, `"36501d"`, `"36500d1s"`, `"2562047h47m17s"`, `"36500d2562047h47m16s"`, `"99999999999999999999"`, `"4294967296d"`,
			`"inf"`, `"nan"`, `"0x10p0"`,
		},
	}.run(t)
}

func TestDurationIsAnsweredInSeconds(t *testing.T) {
	var in struct {
		TTL wire.Duration `json:"ttl"`
	}
	if err := json.Unmarshal([]byte(`{"ttl":"1h"}`), &in); err != nil || in.TTL.D() != time.Hour {
		t.Fatalf("read %v, %v", in.TTL.D(), err)
	}
	if b, err := json.Marshal(in); err != nil || string(b) != `{"ttl":3600}` {
		t.Errorf("written as %s, %v", b, err)
	}
	if err := json.Unmarshal([]byte(`{"ttl":"soon"}`), &in); err == nil {
		t.Error("text that is no duration was read")
	}
}

func TestOpt(t *testing.T) {
	var none wire.Opt[int]
	n := 3
	none.Into(&n)
	if n != 3 || none.Or(4) != 4 {
		t.Errorf("an absent value counts: %d, %d", n, none.Or(4))
	}
	wire.Some(0).Into(&n)
	if n != 0 || wire.Some(0).Or(4) != 0 {
		t.Errorf("a given zero does not count: %d, %d", n, wire.Some(0).Or(4))
	}
}

func TestSecretIsNotShown(t *testing.T) {
	s := wire.Secret(canary)
	type holder struct{ Token wire.Secret }
	encoded, err := json.Marshal(holder{s})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", "token", s, "in", holder{s})
	slog.New(slog.NewJSONHandler(&log, nil)).Info("text", "token", s, "in", holder{s})
	shown := []string{string(encoded), log.String(), s.String(), s.GoString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s"} {
		shown = append(shown, fmt.Sprintf(verb, s), fmt.Sprintf(verb, holder{s}), fmt.Sprintf(verb, &holder{s}), fmt.Sprintf(verb, []wire.Secret{s}))
	}
	for _, text := range shown {
		if strings.Contains(text, canary) || strings.Contains(text, fmt.Sprintf("%x", canary)) || strings.Contains(text, fmt.Sprintf("%X", canary)) {
			t.Errorf("shown in %s", text)
		}
	}
	if s.Reveal() != canary {
		t.Errorf("revealed as %q", s.Reveal())
	}
}

func TestAny(t *testing.T) {
	want := map[string]any{"a": []any{json.Number("1"), "x", true, nil}}
	if diff := cmp.Diff(any(want), wire.Any([]byte(`{"a":[1,"x",true,null]}`))); diff != "" {
		t.Error(diff)
	}
}

func TestNewUUID(t *testing.T) {
	id, err := wire.NewUUID(strings.NewReader("0123456789abcdef"))
	if want := "30313233-3435-4637-b839-616263646566"; err != nil || id != want {
		t.Errorf("got %q, %v, want %q", id, err, want)
	}
	if _, err := wire.NewUUID(strings.NewReader("short")); err == nil {
		t.Error("a UUID from too little randomness")
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, seed := range []string{`"1h"`, `3600`, `"7d"`, `"1d12h"`, `"36500d2562047h47m16s"`, `-1`, `"0x1p4"`, `"inf"`, `1e300`, `"1µs"`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if wire.Valid(raw, wire.DefaultLimits) != nil || strings.ContainsAny(string(raw[:1]), " \t\r\n") {
			return // values reach the reader only when they are well-formed
		}
		d, err := wire.ParseDuration(raw)
		if err != nil {
			return
		}
		if d < 0 || d > 100*365*24*time.Hour {
			t.Fatalf("%s is taken for %v", raw, d)
		}
		if again, err := wire.ParseDurationText(d.String()); err != nil || again != d {
			t.Fatalf("%s is %v, which is read as %v, %v", raw, d, again, err)
		}
	})
}

func FuzzLenient(f *testing.F) {
	for _, seed := range []string{`null`, `"a,b"`, `["a",1]`, `{"a":"b"}`, `"{\"a\":1}"`, `"a=b"`, `1e3`, `true`, `[ ]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if wire.Valid(raw, wire.DefaultLimits) != nil || strings.ContainsAny(string(raw[:1]), " \t\r\n") {
			return
		}
		raw = []byte(strings.TrimRight(string(raw), " \t\r\n"))
		_, _ = wire.ParseString(raw)
		_, _ = wire.ParseBool(raw)
		_, _ = wire.ParseInt(raw)
		_, _ = wire.ParseFloat(raw)
		_, _ = wire.ParseMap(raw)
		list, err := wire.ParseStrings(raw)
		if err != nil {
			return
		}
		again, err := wire.ParseStrings(wire.AppendStrings(nil, list))
		if err != nil || len(list) != len(again) {
			t.Fatalf("%s is %q, which is read as %q, %v", raw, list, again, err)
		}
	})
}
