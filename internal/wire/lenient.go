package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// IsNull reports whether raw is JSON's null.
func IsNull(raw []byte) bool { return len(raw) == 4 && raw[0] == 'n' }

// ParseString reads a string; a number or boolean is taken for its text, as
// Vault's weak decoding does (true is "1", false is "0").
func ParseString(raw []byte) (string, error) {
	switch {
	case len(raw) == 0 || IsNull(raw):
		return "", nil
	case raw[0] == '"':
		return Unquote(raw), nil
	case raw[0] == 't':
		return "1", nil
	case raw[0] == 'f':
		return "0", nil
	case raw[0] == '{' || raw[0] == '[':
		return "", wrong("a string", raw)
	}
	return string(raw), nil
}

// ParseBool reads a boolean, also as the strings that strconv.ParseBool takes
// or as a number (zero is false).
func ParseBool(raw []byte) (bool, error) {
	switch {
	case len(raw) == 0 || IsNull(raw):
		return false, nil
	case raw[0] == 't':
		return true, nil
	case raw[0] == 'f':
		return false, nil
	case raw[0] == '"':
		text := Unquote(raw)
		if text == "" {
			return false, nil
		}
		b, err := strconv.ParseBool(text)
		if err != nil {
			return false, errors.New(`must be true or false`)
		}
		return b, nil
	case raw[0] == '{' || raw[0] == '[':
		return false, wrong("true or false", raw)
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return false, errors.New("must be true or false")
	}
	return f != 0, nil
}

// ParseInt reads a whole number, also as a string.
func ParseInt(raw []byte) (int64, error) {
	text := string(raw)
	switch {
	case len(raw) == 0 || IsNull(raw):
		return 0, nil
	case raw[0] == '"':
		if text = strings.TrimSpace(Unquote(raw)); text == "" {
			return 0, nil
		}
	case raw[0] == 't' || raw[0] == 'f' || raw[0] == '{' || raw[0] == '[':
		return 0, wrong("a number", raw)
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, nil
	}
	f, err := parseDecimal(text)
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, errors.New("must be a whole number")
	}
	return int64(f), nil
}

// ParseFloat reads a number, also as a string.
func ParseFloat(raw []byte) (float64, error) {
	text := string(raw)
	switch {
	case len(raw) == 0 || IsNull(raw):
		return 0, nil
	case raw[0] == '"':
		text = strings.TrimSpace(Unquote(raw))
	case raw[0] == 't' || raw[0] == 'f' || raw[0] == '{' || raw[0] == '[':
		return 0, wrong("a number", raw)
	}
	f, err := parseDecimal(text)
	if err != nil {
		return 0, errors.New("must be a number")
	}
	return f, nil
}

// parseDecimal reads a decimal number as JSON knows it: none of the hexadecimal,
// underscored and infinite numbers that strconv would take.
func parseDecimal(text string) (float64, error) {
	if strings.ContainsFunc(text, func(r rune) bool { return (r < '0' || r > '9') && !strings.ContainsRune("+-.eE", r) }) {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(text, 64)
}

// ParseStrings reads a list of strings: an array, or a comma-separated string.
// Surrounding space and empty items of a comma-separated string are dropped.
func ParseStrings(raw []byte) ([]string, error) {
	switch {
	case len(raw) == 0 || IsNull(raw):
		return nil, nil
	case raw[0] == '{':
		return nil, wrong("a list of strings", raw)
	case raw[0] != '[':
		text, err := ParseString(raw)
		if err != nil {
			return nil, err
		}
		return SplitList(text), nil
	}
	list := []string{}
	err := eachElement(raw, func(el []byte) error {
		text, err := ParseString(el)
		if err != nil {
			return errors.New("must be a list of strings")
		}
		list = append(list, text)
		return nil
	})
	return list, err
}

// SplitList splits a comma-separated list, dropping space around the items and
// empty items.
func SplitList(text string) []string {
	list := []string{}
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// ParseMap reads a map of strings: an object, or a list (or comma-separated
// string) of "key=value".
func ParseMap(raw []byte) (map[string]string, error) {
	if len(raw) == 0 || IsNull(raw) {
		return nil, nil
	}
	if raw[0] != '{' {
		text := ""
		if raw[0] == '"' {
			text = strings.TrimSpace(Unquote(raw))
		}
		if strings.HasPrefix(text, "{") { // an object inside a string
			if Valid([]byte(text), DefaultLimits) != nil {
				return nil, errors.New("must be an object of strings")
			}
			return ParseMap([]byte(text))
		}
		list, err := ParseStrings(raw)
		if err != nil {
			return nil, errors.New("must be an object of strings")
		}
		m := make(map[string]string, len(list))
		for _, item := range list {
			k, v, ok := strings.Cut(item, "=")
			if !ok {
				return nil, errors.New(`must be an object of strings or a list of "key=value"`)
			}
			m[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
		return m, nil
	}
	o, err := ParseObject(raw, DefaultLimits)
	if err != nil {
		return nil, errors.New("must be an object of strings")
	}
	m := make(map[string]string, len(o.Members))
	for _, f := range o.Members {
		v, err := ParseString(f.Value)
		if err != nil {
			return nil, errors.New("must be an object whose values are strings")
		}
		m[f.Name] = v
	}
	return m, nil
}

// eachElement calls fn for every element of a well-formed array.
func eachElement(raw []byte, fn func([]byte) error) error {
	s := scanner{b: raw, l: Limits{Depth: math.MaxInt, Keys: math.MaxInt, Elements: math.MaxInt, Values: math.MaxInt, String: math.MaxInt}}
	s.i = 1
	s.space()
	if s.i < len(raw) && raw[s.i] == ']' {
		return nil
	}
	for {
		s.space()
		start := s.i
		if err := s.value(0); err != nil {
			return errors.New("must be well-formed JSON")
		}
		if err := fn(raw[start:s.i]); err != nil {
			return err
		}
		s.space()
		if s.i >= len(raw) || raw[s.i] != ',' {
			return nil
		}
		s.i++
	}
}

// Duration is a length of time that clients may write as a number of seconds
// or as text such as "90s", "1h30m" or "7d". It is answered in whole seconds.
type Duration time.Duration

// D returns the duration as the standard library's type.
func (d Duration) D() time.Duration { return time.Duration(d) }

// MarshalJSON writes whole seconds.
func (d Duration) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, int64(time.Duration(d)/time.Second), 10), nil
}

// UnmarshalJSON reads the lenient forms.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	v, err := ParseDuration(raw)
	*d = Duration(v)
	return err
}

var errDuration = errors.New(`must be a duration: a number of seconds, or text such as "90s", "1h" or "7d"`)

// ParseDuration reads a duration that is not negative.
func ParseDuration(raw []byte) (time.Duration, error) {
	switch {
	case len(raw) == 0 || IsNull(raw):
		return 0, nil
	case raw[0] == '"':
		return ParseDurationText(Unquote(raw))
	case raw[0] == 't' || raw[0] == 'f' || raw[0] == '{' || raw[0] == '[':
		return 0, errDuration
	}
	return ParseDurationText(string(raw))
}

// maxSeconds keeps a duration, and a date that it is added to, representable.
const maxSeconds = 100 * 365 * 24 * 3600

// ParseDurationText is [ParseDuration] for bare text. The empty text is zero.
func ParseDurationText(text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0, nil
	}
	if f, err := parseDecimal(text); err == nil {
		if f < 0 {
			return 0, errors.New("must not be negative")
		}
		if f > maxSeconds {
			return 0, errors.New("must be at most 100 years")
		}
		return time.Duration(f * float64(time.Second)), nil
	}
	days := time.Duration(0)
	if head, tail, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(head, 10, 32)
		if err != nil {
			return 0, errDuration
		}
		if n > maxSeconds/86400 {
			return 0, errors.New("must be at most 100 years")
		}
		days, text = time.Duration(n)*24*time.Hour, tail
		if text == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(text)
	switch {
	case err != nil:
		return 0, errDuration
	case d < 0:
		return 0, errors.New("must not be negative")
	case d > maxSeconds*time.Second-days: // the sum could overflow
		return 0, errors.New("must be at most 100 years")
	}
	return d + days, nil
}

// Opt is a field that knows whether it was given, so that an update can leave
// alone what the request does not mention. Null counts as not given.
type Opt[T any] struct {
	Value T
	Set   bool
}

// Optional marks Opt for the binder of package route.
func (Opt[T]) Optional() {}

// Some returns a given value.
func Some[T any](v T) Opt[T] { return Opt[T]{Value: v, Set: true} }

// Or returns the value if it was given, else def.
func (o Opt[T]) Or(def T) T {
	if o.Set {
		return o.Value
	}
	return def
}

// Into assigns the value to dst if it was given.
func (o Opt[T]) Into(dst *T) {
	if o.Set {
		*dst = o.Value
	}
}

// Secret is text that must not be shown: every way of printing it gives a
// fixed word. Reveal is the only way to the text.
type Secret string

const redacted = "[redacted]"

// Reveal returns the text.
func (s Secret) Reveal() string { return string(s) }

// String hides the text.
func (s Secret) String() string { return redacted }

// GoString hides the text from %#v.
func (s Secret) GoString() string { return redacted }

// Format hides the text from every fmt verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue hides the text from structured logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON hides the text.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// JSON is a value kept as the client sent it.
type JSON = json.RawMessage

// Any decodes a well-formed value as encoding/json does, with numbers kept as
// json.Number. It is for policies' parameter rules, which compare values of any
// type.
func Any(raw []byte) any {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return nil
	}
	return v
}
