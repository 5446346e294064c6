package policy

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
)

// ParamView shows the top-level parameters of a request. It is asked only
// when the deciding rule constrains parameters.
type ParamView interface {
	// Names returns the names as the client wrote them.
	Names() []string
	// Lookup returns the value of a name that Names returned, as
	// encoding/json decodes it into an any, with or without json.Number.
	Lookup(name string) (any, bool)
}

// parameterRules are a rule's constraints, by folded name. An empty list of
// values stands for any value.
type parameterRules struct {
	allowed  map[string][]value
	denied   map[string][]value
	required []string
}

// allNames is the name that stands for every parameter.
const allNames = "*"

func (p *parameterRules) empty() bool {
	return len(p.allowed) == 0 && len(p.denied) == 0 && len(p.required) == 0
}

// readParameters reads an object of lists by parameter name.
func readParameters(v value) (params map[string][]value, text string) {
	if v.kind != kindObject {
		return nil, "must be a block of parameter names with lists of values"
	}
	params = make(map[string][]value, len(v.fields))
	for _, f := range v.fields {
		name := foldName(f.key)
		if _, twice := params[name]; twice {
			return nil, "names " + strconv.Quote(clip(f.key)) + " twice"
		}
		values := []value{f.value}
		if f.value.kind == kindList {
			values = f.value.list
		}
		if slices.ContainsFunc(values, func(v value) bool { return !isParameterValue(v) }) {
			return nil, "for " + strconv.Quote(clip(f.key)) + " must be a list of strings, numbers, booleans or lists of them"
		}
		if foldsValues(name) {
			values = foldAll(values)
		}
		params[name] = values
	}
	return params, ""
}

func isParameterValue(v value) bool {
	if v.kind == kindList {
		return !slices.ContainsFunc(v.list, func(v value) bool { return !isScalar(v) })
	}
	return isScalar(v)
}

func isScalar(v value) bool {
	return v.kind == kindString || v.kind == kindNumber || v.kind == kindBool
}

// merge adds the constraints of another policy's rule for the same pattern:
// the union of the values of each list, where "any value" wins, and all that
// is required. A rule without constraints adds none and lifts none.
func (p *parameterRules) merge(o parameterRules) {
	p.allowed = mergeValues(p.allowed, o.allowed)
	p.denied = mergeValues(p.denied, o.denied)
	for _, name := range o.required {
		if !slices.Contains(p.required, name) {
			p.required = append(slices.Clip(p.required), name)
		}
	}
}

func mergeValues(a, b map[string][]value) map[string][]value {
	if len(a) == 0 {
		return b
	}
	out := make(map[string][]value, len(a)+len(b))
	for name, values := range a {
		out[name] = values
	}
	for name, values := range b {
		old, ok := out[name]
		if ok && (len(old) == 0 || len(values) == 0) {
			out[name] = nil
			continue
		}
		out[name] = append(slices.Clip(old), values...)
	}
	return out
}

// allow reports whether the request's parameters satisfy the constraints.
func (p *parameterRules) allow(view ParamView) bool {
	var names []string
	if view != nil {
		names = view.Names()
	}
	for _, want := range p.required {
		if !slices.ContainsFunc(names, func(name string) bool { return foldName(name) == want }) {
			return false
		}
	}
	if len(names) == 0 {
		return true
	}
	if _, all := p.denied[allNames]; all {
		return false
	}
	_, othersAllowed := p.allowed[allNames]
	for _, name := range names {
		folded := foldName(name)
		got, _ := view.Lookup(name)
		actual := fromAny(got)
		if foldsValues(folded) {
			actual = foldText(actual)
		}
		if values, ok := p.denied[folded]; ok && (len(values) == 0 || anyDenied(values, actual)) {
			return false
		}
		if len(p.allowed) == 0 {
			continue
		}
		values, listed := p.allowed[folded]
		if !listed && !othersAllowed {
			return false
		}
		if listed && len(values) > 0 && !allAllowed(values, actual) {
			return false
		}
	}
	return true
}

// foldName makes names comparable as the request decoder does: without regard
// to case, including the two letters outside ASCII that fold into it.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		switch r {
		case '\u017f': // long s
			return 's'
		case '\u212a': // Kelvin sign
			return 'k'
		}
		return r
	}, strings.ToLower(name))
}

// foldsValues reports whether the server itself ignores case in the values of
// the parameter, as it does for the names of policies.
func foldsValues(name string) bool { return strings.HasSuffix(name, "policies") }

func foldText(v value) value {
	if v.kind == kindList {
		v.list = foldAll(v.list)
	} else if v.kind == kindString {
		v.text = strings.ToLower(strings.TrimSpace(v.text))
	}
	return v
}

func foldAll(values []value) []value {
	out := make([]value, len(values))
	for i, v := range values {
		out[i] = foldText(v)
	}
	return out
}

// kindOther is a request's value that no policy text can write: it matches
// nothing that is allowed and everything that is denied.
const kindOther kind = 0xff

// fromAny converts a decoded JSON value.
func fromAny(v any) value {
	switch v := v.(type) {
	case nil:
		return value{kind: kindNull}
	case string:
		return value{kind: kindString, text: v}
	case bool:
		return value{kind: kindBool, text: strconv.FormatBool(v)}
	case json.Number:
		return value{kind: kindNumber, text: v.String()}
	case float64:
		return value{kind: kindNumber, text: strconv.FormatFloat(v, 'g', -1, 64)}
	case int:
		return value{kind: kindNumber, text: strconv.Itoa(v)}
	case int64:
		return value{kind: kindNumber, text: strconv.FormatInt(v, 10)}
	case []any:
		out := value{kind: kindList, list: make([]value, len(v))}
		for i, item := range v {
			out.list[i] = fromAny(item)
		}
		return out
	case []string:
		out := value{kind: kindList, list: make([]value, len(v))}
		for i, item := range v {
			out.list[i] = value{kind: kindString, text: item}
		}
		return out
	case map[string]any:
		return value{kind: kindObject}
	}
	return value{kind: kindOther}
}

// allAllowed reports whether the value, or every element of a list, is one of
// those allowed.
func allAllowed(values []value, v value) bool {
	if slices.ContainsFunc(values, func(want value) bool { return equalValue(want, v) }) {
		return true
	}
	return v.kind == kindList && !slices.ContainsFunc(v.list, func(item value) bool {
		return !slices.ContainsFunc(values, func(want value) bool { return equalValue(want, item) })
	})
}

// anyDenied reports whether the value is one of those denied, or contains one:
// as an element of a list, or between the commas that many endpoints split at.
func anyDenied(values []value, v value) bool {
	if v.kind == kindOther {
		return true
	}
	for _, want := range values {
		if equalValue(want, v) || (want.kind == kindString && want.text == "*") {
			return true
		}
	}
	if v.kind == kindList {
		return slices.ContainsFunc(v.list, func(item value) bool { return anyDenied(values, item) })
	}
	if v.kind == kindString && strings.Contains(v.text, ",") {
		for part := range strings.SplitSeq(v.text, ",") {
			if anyDenied(values, value{kind: kindString, text: strings.TrimSpace(part)}) {
				return true
			}
		}
	}
	return false
}

// equalValue compares a policy's value, which may be a glob, with a request's.
// Scalars compare across types: 24 and "24" are the same, as they are to the
// endpoints.
func equalValue(want, got value) bool {
	if want.kind == kindList || got.kind == kindList {
		return want.kind == got.kind && slices.EqualFunc(want.list, got.list, equalValue)
	}
	if !isScalar(got) {
		return false
	}
	if want.kind == kindString && matchGlob(want.text, got.text) {
		return true
	}
	if want.kind == kindString && got.kind == kindString {
		return false
	}
	return want.text == got.text || equalNumbers(want.text, got.text)
}

// matchGlob compares with a "*" at either end or both. A lone "*" is literal,
// as clients of Vault know it; the empty list is how to allow any value.
func matchGlob(pattern, text string) bool {
	if len(pattern) < 2 {
		return pattern == text
	}
	suffix, front := strings.CutPrefix(pattern, "*")
	prefix, back := strings.CutSuffix(pattern, "*")
	switch {
	case front && back:
		return strings.Contains(text, strings.TrimSuffix(suffix, "*"))
	case front:
		return strings.HasSuffix(text, suffix)
	case back:
		return strings.HasPrefix(text, prefix)
	}
	return pattern == text
}

func equalNumbers(a, b string) bool {
	x, errX := strconv.ParseInt(a, 10, 64)
	y, errY := strconv.ParseInt(b, 10, 64)
	if errX == nil && errY == nil {
		return x == y
	}
	f, errF := strconv.ParseFloat(a, 64)
	g, errG := strconv.ParseFloat(b, 64)
	return errF == nil && errG == nil && f == g
}
