package engine_test

import (
	"testing"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
)

func TestTemplates(t *testing.T) {
	for _, tt := range []struct {
		name, text, value string
		globs             bool
		want              string
		missing, refused  bool
	}{
		{name: "without holes", text: "example.org", want: "example.org"},
		{name: "with a hole", text: "{{ v }}.example.org", value: "team-1", want: "team-1.example.org"},
		{name: "a dotted value", text: "{{v}}", value: "a.b", want: "a.b"},
		{name: "an unknown value", text: "{{none}}.example.org", missing: true},
		{name: "an open hole", text: "{{v", refused: true},
		{name: "a wildcard", text: "{{v}}", value: "*", refused: true},
		{name: "a wildcard that is let in", text: "{{v}}", value: "*.a", globs: true, want: "*.a"},
		{name: "a list", text: "{{v}}", value: "x,root", refused: true},
		{name: "a plus", text: "{{v}}", value: "+", refused: true},
		{name: "a path", text: "spiffe://{{v}}", value: "a/b", refused: true},
		{name: "an encoded path", text: "spiffe://{{v}}", value: "a%2fb", refused: true},
		{name: "a space", text: "{{v}}", value: "a b", refused: true},
		{name: "a line", text: "{{v}}", value: "a\nb", refused: true},
		{name: "nothing", text: "{{v}}.org", value: "", refused: true},
		{name: "a hole in a value", text: "{{v}}", value: "{{v}}", refused: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok, err := engine.Template(tt.text).Expand(func(name string) (string, bool) { return tt.value, name == "v" }, tt.globs)
			if refused := fault.KindOf(err) == fault.Invalid && err != nil; refused != tt.refused || got != tt.want || ok == (tt.missing || tt.refused) {
				t.Errorf("got %q, %t, %v", got, ok, err)
			}
		})
	}
}
