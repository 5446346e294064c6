package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Severity says how loudly a warning speaks.
type Severity uint8

const (
	// Note is worth knowing and often meant; tools show it, the API does not.
	Note Severity = iota
	// Suspicious is probably a mistake; the API tells it on write.
	Suspicious
)

// String returns the severity's name.
func (s Severity) String() string {
	if s == Note {
		return "note"
	}
	return "warning"
}

// Warning is something valid in a policy that is probably not meant.
type Warning struct {
	Severity Severity
	// Line is where the rule starts; zero means the whole policy.
	Line int
	// Path is the rule's pattern, if it is about one.
	Path string
	// Text is a sentence without its full stop.
	Text string
}

// String formats the warning with its place.
func (w Warning) String() string {
	if w.Path == "" && w.Line == 0 {
		return w.Text
	}
	return fmt.Sprintf("line %d, path %q: %s", w.Line, w.Path, w.Text)
}

// inspect says what is suspicious about a parsed policy.
func inspect(p *Policy) []Warning {
	if len(p.rules) == 0 {
		return []Warning{{Severity: Suspicious, Text: "the policy has no path blocks and grants nothing"}}
	}
	var out []Warning
	first := make(map[string]int, len(p.rules))
	for i := range p.rules {
		r := &p.rules[i]
		add := func(s Severity, text string) {
			out = append(out, Warning{Severity: s, Line: r.Line, Path: r.Path, Text: text})
		}
		if line, twice := first[r.Path]; twice {
			add(Note, fmt.Sprintf("the path has a block on line %d already; the two are joined", line))
		} else {
			first[r.Path] = r.Line
		}
		inspectGrant(r, add)
		inspectPath(r, add)
		inspectParameters(r, add)
	}
	return out
}

// inspectGrant looks at how much the rule gives.
func inspectGrant(r *Rule, add func(Severity, string)) {
	switch {
	case r.Path == "*" && r.Capabilities.Has(Deny):
		add(Note, `"*" has the lowest priority, so every other rule still applies, and what has no rule is denied anyway`)
		return
	case r.Capabilities == 0:
		add(Suspicious, "the block grants nothing, and hides wider rules that would")
		return
	case r.Denies():
		return
	case r.Path == "*":
		add(Suspicious, "the rule grants on every path of the server, system paths included")
	case r.Path == "sys/*" || r.Path == "auth/*" || r.Path == "identity/*":
		add(Suspicious, "the rule covers a whole system area, enough to gain any other right")
	case isWholeMount(r.Path):
		severity := Note
		if r.Capabilities&canWrite != 0 {
			severity = Suspicious
		}
		add(severity, "the rule covers a whole mount; grant the paths that the application needs")
	}
	if r.Capabilities.Has(CanSudo) && isGlob(r.Path) {
		add(Suspicious, "sudo on a pattern reaches every protected path below it, those of later versions too")
	}
	if len(r.MFAMethods) > 0 {
		add(Suspicious, "mfa_methods is read and not enforced; use login MFA enforcement")
	}
	if r.ControlGroup {
		add(Suspicious, "control_group is read and not enforced")
	}
}

// isWholeMount reports whether the pattern is a mount's name and a wildcard.
func isWholeMount(pattern string) bool {
	mount, rest, found := strings.Cut(pattern, "/")
	return found && (rest == "*" || rest == "+/*") && !strings.HasPrefix(mount, "cubbyhole")
}

// inspectPath looks at patterns that match less than they seem to.
func inspectPath(r *Rule, add func(Severity, string)) {
	if strings.HasSuffix(r.Path, "/") && r.Capabilities&^(CanList|CanScan|Deny|CanSudo) != 0 {
		add(Suspicious, "a path that ends in a slash is only ever listed; the other capabilities have no effect")
	}
	if strings.Contains(r.Path, "//") {
		add(Suspicious, "a request's path never holds an empty segment, so the rule matches nothing")
	}
}

// inspectParameters looks at constraints that hold less than they seem to.
func inspectParameters(r *Rule, add func(Severity, string)) {
	if r.params.empty() {
		return
	}
	if segments := strings.Split(r.Path, "/"); len(segments) > 2 && segments[1] == "data" {
		add(Note, "a KV version 2 store sends its values inside one parameter, data, where parameter rules do not look")
	}
	for _, name := range slices.Sorted(maps.Keys(r.params.allowed)) {
		values := r.params.allowed[name]
		if name == allNames && len(values) > 0 {
			add(Suspicious, `the values given for the parameter "*" are ignored; it allows all parameters`)
		}
		for _, v := range values {
			if v.kind != kindString {
				continue
			}
			if v.text == "*" {
				add(Suspicious, fmt.Sprintf(`parameter %q: the value "*" is taken literally; an empty list allows any value`, name))
			} else if strings.HasSuffix(v.text, "*") && foldsValues(name) {
				add(Suspicious, fmt.Sprintf(`parameter %q: the value %q also allows further names after a comma`, name, clip(v.text)))
			}
		}
	}
}
