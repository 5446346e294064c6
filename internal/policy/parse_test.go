package policy_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/policy"
)

func TestParseErrors(t *testing.T) {
	tests := []struct {
		name string
		text string
		want string // part of the message
	}{
		{"no HCL at all", "not hcl at all {", "line 1"},
		{"an unclosed block", "path \"a\" {\n  capabilities = [\"read\"]\n", "line 3"},
		{"a last item without its value", "path \"a\" { capabilities = [\"read\"] }\npath \"a/b\" = # deny\n", "value is missing"},
		{"a last key without its value", "path \"a\" { capabilities = [\"read\"] }\npath =", "line 2: a value is missing"},
		{"a last key alone", "path \"a\" { capabilities = [\"read\"] }\npath \"b\"", "line 2"},
		{"text after the last block", "path \"a\" { capabilities = [\"read\"] }\n}", "line 2"},
		{"bytes that are not UTF-8", "path \"a\xff\" {}", "line 1"},
		{"an unknown top-level key", "\npaths \"a\" {}", `line 2: unknown key "paths"`},
		{"an unknown key of a path", "path \"a\" {\n  capability = [\"read\"]\n}", `line 2: unknown key "capability" for path "a"`},
		{"an unknown capability", "path \"a\" {\n\n  capabilities = [\"fly\"]\n}", `line 3: unknown capability "fly"`},
		{"a capability in capitals", `path "a" { capabilities = ["Read"] }`, `unknown capability "Read"`},
		{"capabilities of the wrong type", `path "a" { capabilities = 5 }`, "capabilities must be a list of strings"},
		{"capabilities with a number", `path "a" { capabilities = ["read", 5] }`, "capabilities must be a list of strings"},
		{"an unknown legacy policy", `path "a" { policy = "all" }`, `policy must be "read"`},
		{"a path without a label", `path { capabilities = ["read"] }`, "path must be a block with a label"},
		{"a path that is a string", `path = "a"`, "path must be a block with a label"},
		{"a path with three labels", `path "a" "b" "c" {}`, "a block takes a name and one label"},
		{"a path with two labels", `path "a" "b" {}`, `unknown key "b" for path "a"`},
		{"an empty path", `path "" { capabilities = ["read"] }`, "a path is empty"},
		{"only a slash", `path "/" { capabilities = ["read"] }`, "a path is empty"},
		{"plus star", `path "a/+*" { capabilities = ["read"] }`, `"+*" has no meaning`},
		{"a plus within a segment", `path "a/b+" { capabilities = ["read"] }`, `"+" must be a whole segment`},
		{"a plus before a word", `path "a/+b/c" { capabilities = ["read"] }`, `"+" must be a whole segment`},
		{"a star in the middle", `path "a/*/b" { capabilities = ["read"] }`, `"*" is a wildcard only as the last character`},
		{"two stars", `path "a/**" { capabilities = ["read"] }`, `"*" is a wildcard only as the last character`},
		{"a dot segment", `path "a/../b" { capabilities = ["read"] }`, "can never be part"},
		{"a control character", `path "a\tb" { capabilities = ["read"] }`, "control character"},
		{"a NUL byte", "path \"a\" {}\n\x00", "line 2: a NUL byte"},
		{"the same key twice", "path \"a\" {\n capabilities = [\"read\"]\n capabilities = [\"update\"]\n}", "capabilities"},
		{"the same key twice in two spellings", "path \"a\" {\n capabilities = [\"read\"]\n \"capabilities\" = [\"update\"]\n}", "given twice"},
		{"bounds the wrong way round", `path "a" { capabilities = ["read"] min_wrapping_ttl = "2m" max_wrapping_ttl = "1m" }`, "max_wrapping_ttl is less"},
		{"a bound that is no duration", `path "a" { min_wrapping_ttl = "soon" }`, "min_wrapping_ttl must be a duration"},
		{"a negative bound", `path "a" { max_wrapping_ttl = "-5s" }`, "out of range"},
		{"a huge bound", `path "a" { max_wrapping_ttl = 99999999999999 }`, "out of range"},
		{"a fraction of a second", `path "a" { max_wrapping_ttl = "1500ms" }`, "whole seconds"},
		{"a number out of range", `path "a" { max_wrapping_ttl = 99999999999999999999999999 }`, "must be a duration"},
		{"a limit that is no number", `path "a" { pagination_limit = "many" }`, "pagination_limit must be a whole number"},
		{"a negative limit", `path "a" { pagination_limit = -1 }`, "pagination_limit must be a whole number"},
		{"an expiration that is no time", `path "a" { expiration = "tomorrow" }`, "expiration must be a time"},
		{"parameters as a list", `path "a" { allowed_parameters = ["x"] }`, "allowed_parameters must be a block"},
		{"parameters in two spellings", `path "a" { allowed_parameters = { "x" = [], "X" = [] } }`, "twice"},
		{"an object as a value", `path "a" { denied_parameters = { "x" = [{ "y" = 1 }] } }`, "must be a list of strings, numbers"},
		{"required parameters of the wrong type", `path "a" { required_parameters = { "x" = [] } }`, "required_parameters must be a list of strings"},
		{"a template without its end", `path "a/{{identity.entity.id" { capabilities = ["read"] }`, "{{ without }}"},
		{"a template without its start", `path "a/identity.entity.id}}" { capabilities = ["read"] }`, "}} without {{"},
		{"an unknown template value", `path "a/{{identity.secret}}" { capabilities = ["read"] }`, `no template value "identity.secret"`},
		{"an empty template value", `path "a/{{ }}" { capabilities = ["read"] }`, "no template value"},
		{"JSON that ends early", `{"path": {"a": {"capabilities": ["read"]}`, "ends too early"},
		{"JSON with text after it", `{"path": {}} x`, "text after the closing brace"},
		{"JSON with an unknown key", "{\n\"path\": {\n\"a\": {\n\"caps\": []}}}", `line 4: unknown key "caps"`},
		{"JSON with the same key twice", `{"path": {"a": {"capabilities": ["deny"], "capabilities": ["read"]}}}`, "given twice"},
		{"JSON null capabilities", `{"path": {"a": {"capabilities": null}}}`, "capabilities must be a list of strings"},
		{"JSON nested lists of paths", `{"path": [[{"a": {}}]]}`, "path must be a block"},
		{"deep HCL", strings.Repeat("a {", 500), "nested deeper"},
		{"deep lists", "a = " + strings.Repeat("[", 100000), "nested deeper"},
		{"deep JSON", strings.Repeat(`{"a":`, 500), "nested deeper"},
		{"too long", strings.Repeat("#", policy.MaxTextSize+1), "larger than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, _, err := policy.Parse("p", tt.text)
			if err == nil || p != nil {
				t.Fatalf("Parse = %v, %v; want an error", p, err)
			}
			if !errors.Is(err, fault.Invalid) {
				t.Errorf("error is not of kind invalid: %v", err)
			}
			if msg := fault.Message(err); !strings.Contains(msg, tt.want) {
				t.Errorf("message %q does not hold %q", msg, tt.want)
			}
			if len(fault.Message(err)) > 8000 {
				t.Errorf("message of %d bytes", len(fault.Message(err)))
			}
		})
	}
}

func TestParseReportsSeveralMistakes(t *testing.T) {
	_, _, err := policy.Parse("p", "path \"a\" {\n  capabilities = [\"fly\"]\n}\npath \"b+\" {\n  colour = 1\n}\n")
	msg := fault.Message(err)
	for _, want := range []string{"line 2", "line 4", "line 5"} {
		if !strings.Contains(msg, want) {
			t.Errorf("message %q does not hold %q", msg, want)
		}
	}
}

// Shapes of the same policy that must mean the same.
func TestSpellings(t *testing.T) {
	want := map[string][]string{"a/b": {"read"}, "a/c/d": {"create", "list"}, "x": {"deny"}}
	texts := map[string]string{
		"HCL blocks":        "path \"a/b\" { capabilities = [\"read\"] }\npath \"a/c/*\" {\n capabilities = [\"create\", \"list\",]\n}",
		"HCL object":        "path = { \"a/b\" = { capabilities = [\"read\"] }, \"a/c/*\" = { capabilities = [\"create\", \"list\"] } }",
		"a leading slash":   "path \"/a/b\" { capabilities = [\"read\"] }\npath \"/a/c/*\" { capabilities = [\"create\", \"list\"] }",
		"with a name":       "name = \"x\"\npath \"a/b\" { capabilities = [\"read\"] }\npath \"a/c/*\" { capabilities = [\"create\", \"list\"] }",
		"with line endings": "path \"a/b\" {\r\n capabilities = [\"read\"]\r\n}\r\npath \"a/c/*\" {\r\n capabilities = [\"create\", \"list\"]\r\n}\r\n",
		"JSON":              `{"path": {"a/b": {"capabilities": ["read"]}, "a/c/*": {"capabilities": ["create", "list"]}}}`,
		"JSON list":         ` {"path": [{"a/b": {"capabilities": ["read"]}}, {"a/c/*": {"capabilities": ["create", "list"]}}]}`,
		"one string":        "path \"a/b\" { capabilities = \"read\" }\npath \"a/c/*\" { capabilities = [\"create\", \"list\"] }",
		"in two blocks":     "path \"a/b\" { capabilities = [\"read\"] }\npath \"a/c/*\" { capabilities = [\"create\"] }\npath \"a/c/*\" { capabilities = [\"list\"] }",
		"with comments":     "# one\npath \"a/b\" { // two\n capabilities = [\"read\"] /* three { */\n}\npath \"a/c/*\" { capabilities = [\"create\", \"list\"] }",
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			acl := compile(t, text)
			for path, caps := range want {
				if diff := cmp.Diff(caps, acl.Capabilities(path)); diff != "" {
					t.Errorf("Capabilities(%q): %s", path, diff)
				}
			}
		})
	}
}

func TestDecodeText(t *testing.T) {
	const text = `path "a/*" { capabilities = ["read"] }`
	for _, sent := range []string{text, "cGF0aCAiYS8qIiB7IGNhcGFiaWxpdGllcyA9IFsicmVhZCJdIH0=", "cGF0aCAiYS8qIiB7IGNhcGFiaWxpdGllcyA9IFsicmVhZCJdIH0=\n"} {
		if got := policy.DecodeText(sent); got != text {
			t.Errorf("DecodeText(%q) = %q", sent, got)
		}
	}
	if got := policy.DecodeText(""); got != "" {
		t.Errorf("DecodeText of nothing = %q", got)
	}
}

func TestParseKeepsEverything(t *testing.T) {
	p, _, err := policy.Parse("p", `
path "a" {
  capabilities     = ["read"]
  min_wrapping_ttl = "1m"
  max_wrapping_ttl = 3600
  pagination_limit = 5
  comment          = "why"
  expiration       = "2031-02-03T04:05:06Z"
  mfa_methods      = ["duo"]
  control_group    = { factor "x" { } }
}`)
	if err != nil {
		t.Fatal(err)
	}
	r := p.Rules()[0]
	if r.Line != 2 || r.MinWrappingTTL != time.Minute || r.MaxWrappingTTL != time.Hour || r.PaginationLimit != 5 ||
		r.Comment != "why" || !r.Expires.Equal(time.Date(2031, 2, 3, 4, 5, 6, 0, time.UTC)) ||
		!cmp.Equal(r.MFAMethods, []string{"duo"}) || !r.ControlGroup {
		t.Errorf("rule = %+v", r)
	}
	acl, err := policy.Compile([]*policy.Policy{p}, noon)
	if err != nil {
		t.Fatal(err)
	}
	if d := acl.Check(policy.Read, "a", nil, time.Minute); !d.Allowed || !d.NeedsApproval || !cmp.Equal(d.MFAMethods, []string{"duo"}) {
		t.Errorf("Check = %+v", d)
	}
}

func TestWarnings(t *testing.T) {
	tests := []struct {
		name     string
		text     string
		severity policy.Severity
		want     string
	}{
		{"nothing at all", "# empty\n", policy.Suspicious, "grants nothing"},
		{"everything", rules("*", "read"), policy.Suspicious, "every path"},
		{"a deny of everything", rules("*", "deny"), policy.Note, "lowest priority"},
		{"a whole mount to write", rules("secret/*", "update"), policy.Suspicious, "whole mount"},
		{"a whole mount to read", rules("secret/*", "read"), policy.Note, "whole mount"},
		{"all of sys", rules("sys/*", "read"), policy.Suspicious, "system area"},
		{"sudo on a pattern", rules("sys/audit/*", "sudo"), policy.Suspicious, "sudo on a pattern"},
		{"a trailing slash", rules("secret/data/", "read"), policy.Suspicious, "ends in a slash"},
		{"a leading slash", rules("/secret/data/a", "read"), policy.Suspicious, "leading slash"},
		{"an empty segment", rules("secret//a", "read"), policy.Suspicious, "empty segment"},
		{"no capabilities", `path "a/b" {}`, policy.Suspicious, "grants nothing"},
		{"deny among others", `path "a/b" { capabilities = ["read", "deny"] }`, policy.Note, "takes the other capabilities"},
		{"the same path twice", rules("a/b", "read", "a/b", "list"), policy.Note, "line 1 already"},
		{"a literal star", `path "a/b" { capabilities = ["read"] allowed_parameters = { "x" = ["*"] } }`, policy.Suspicious, "taken literally"},
		{"a glob over policies", `path "a/b" { capabilities = ["read"] allowed_parameters = { "token_policies" = ["dev-*"] } }`, policy.Suspicious, "after a comma"},
		{"parameter rules on KV version 2", `path "secret/data/x" { capabilities = ["create"] required_parameters = ["x"] }`, policy.Note, "KV version 2"},
		{"a control group", `path "a/b" { capabilities = ["read"] control_group = {} }`, policy.Suspicious, "not enforced"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, warnings, err := policy.Parse("p", tt.text)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range warnings {
				if w.Severity == tt.severity && strings.Contains(w.String(), tt.want) {
					return
				}
			}
			t.Errorf("warnings %v have no %v with %q", warnings, tt.severity, tt.want)
		})
	}
}

func TestOrdinaryPoliciesHaveNoWarnings(t *testing.T) {
	for name, text := range map[string]string{
		"the default": policy.DefaultText,
		"an app":      rules("secret/data/app/*", "read", "secret/metadata/app/*", "list", "database/creds/app", "read", "secret/metadata/", "list"),
		"an admin":    rules("auth/token/create", "sudo", "cubbyhole/*", "update"),
	} {
		if _, warnings, err := policy.Parse(name, text); err != nil || len(warnings) > 0 {
			t.Errorf("%s: error %v, warnings %v", name, err, warnings)
		}
	}
}

func TestFormat(t *testing.T) {
	got, err := policy.Format("path   \"a\"{capabilities=[\"read\",\"list\"]\nmin_wrapping_ttl = 5}  # why\n")
	if err != nil {
		t.Fatal(err)
	}
	want := "path \"a\" {\n  capabilities     = [\"read\", \"list\"]\n  min_wrapping_ttl = 5\n} # why\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	again, err := policy.Format(got)
	if err != nil || again != got {
		t.Errorf("formatting twice changes the text: %q, error %v", again, err)
	}
	if got, err = policy.Format(`{"path":{"a":{"capabilities":["read"]}}}`); err != nil || !strings.Contains(got, "\n  \"path\"") {
		t.Errorf("JSON: %q, error %v", got, err)
	}
	if _, err = policy.Format(`path "a" { capabilities = ["fly"] }`); !errors.Is(err, fault.Invalid) {
		t.Errorf("a bad policy: error %v", err)
	}
}

// Parsing hostile text must stay near linear.
func TestParseTimeIsBounded(t *testing.T) {
	fill := func(s string) string { return strings.Repeat(s, policy.MaxTextSize/len(s)) }
	texts := map[string]string{
		"comments":       fill("#\n"),
		"line comments":  fill("a = 1 # x\n"),
		"blocks":         fill("path \"a\" {}\n"),
		"labels":         fill("a "),
		"strings":        fill("\"a\" "),
		"lists":          "a = [" + fill("1,"),
		"open strings":   fill("\""),
		"interpolation":  "a = \"" + fill("${"),
		"heredoc":        "a = <<E\n" + fill("x\n"),
		"heredocs":       fill("a=<<E\nE\n"),
		"dollar":         fill("$"),
		"block comments": fill("/**/"),
		"JSON lists":     `{"path":` + fill("[") + "",
		"JSON objects":   `{"path": [` + fill(`{},`),
		"newlines":       "{" + fill("\n"),
		"JSON keys":      "{" + fill(`"a":1,`),
		"equals":         fill("="),
		"minus":          fill("-"),
		"numbers":        "a = " + fill("9"),
		"backslashes":    "a = \"" + fill("\\"),
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_, _, _ = policy.Parse("p", text)
			}()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Error("parsing takes more than ten seconds")
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.hcl")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add(policy.DefaultText)
	f.Add(`{"path": {"a/+/*": {"capabilities": ["read"], "allowed_parameters": {"x": [1, true, ["y"]]}}}}`)
	f.Add("path \"a\" {\n allowed_parameters = { \"*\" = [] }\n min_wrapping_ttl = 1h\n}")
	f.Add("a = <<E\n${x}\nE\n")
	f.Add("path \"{{identity.entity.id}}/*\" { capabilities = [\"deny\"] }")
	f.Fuzz(func(t *testing.T, text string) {
		p, _, err := policy.Parse("p", text)
		if err != nil {
			if !errors.Is(err, fault.Invalid) || fault.Message(err) == "" {
				t.Fatalf("error without a text for the client: %v", err)
			}
			return
		}
		p, err = p.Render(func(string) (string, bool) { return "me", true })
		if err != nil {
			return
		}
		acl, err := policy.Compile([]*policy.Policy{p}, noon)
		if err != nil || acl.Root() {
			t.Fatalf("Compile: error %v, root %v", err, acl.Root())
		}
		for _, g := range acl.Grants() {
			acl.Check(policy.Read, g.Path, params{"x": "y"}, time.Second)
			acl.Check(policy.List, g.Path, nil, 0)
		}
		if out, err := policy.Format(text); err == nil {
			if _, _, err := policy.Parse("p", out); err != nil {
				t.Fatalf("the formatted text does not parse: %v", err)
			}
		}
	})
}
