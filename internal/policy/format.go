package policy

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/hashicorp/hcl/hcl/printer"

	"github.com/cofferhq/coffer/internal/fault"
)

// Format returns a policy text in the standard layout, or the error that
// [Parse] has for it. JSON stays JSON.
func Format(text string) (formatted string, err error) {
	if _, _, err := Parse("", text); err != nil {
		return "", err
	}
	if isJSON(text) {
		var b bytes.Buffer
		if err := json.Indent(&b, []byte(strings.TrimPrefix(text, "\ufeff")), "", "  "); err != nil {
			return "", fault.New(fault.Invalid, "policy is not valid JSON")
		}
		return strings.TrimSpace(b.String()) + "\n", nil
	}
	defer func() {
		if r := recover(); r != nil {
			formatted, err = "", fault.New(fault.Invalid, "policy cannot be formatted")
		}
	}()
	out, err := printer.Format([]byte(text))
	if err != nil {
		return "", fault.New(fault.Invalid, "policy cannot be formatted")
	}
	// A layout that reads differently would be worse than none.
	if !sameDocument(text, string(out)) {
		return "", fault.New(fault.Invalid, "policy cannot be formatted without changing its meaning")
	}
	return strings.TrimSpace(string(out)) + "\n", nil
}

func sameDocument(a, b string) bool {
	x, problemX := parseDocument(a)
	y, problemY := parseDocument(b)
	return problemX == nil && problemY == nil && sameValue(x, y)
}

// sameValue compares without lines.
func sameValue(a, b value) bool {
	if a.kind != b.kind || a.text != b.text || len(a.list) != len(b.list) || len(a.fields) != len(b.fields) {
		return false
	}
	for i := range a.list {
		if !sameValue(a.list[i], b.list[i]) {
			return false
		}
	}
	for i := range a.fields {
		if a.fields[i].key != b.fields[i].key || !sameValue(a.fields[i].value, b.fields[i].value) {
			return false
		}
	}
	return true
}
