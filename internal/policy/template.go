package policy

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/fault"
)

// maxTemplateValue bounds one value put into a path.
const maxTemplateValue = 512

// template is a path in parts: even ones are literal text, odd ones name a
// value of the caller's identity, such as "identity.entity.id".
type template []string

// parseTemplate splits a path at its {{ }} holes. The text says what is wrong.
func parseTemplate(path string) (t template, text string) {
	for rest := path; ; {
		literal, after, found := strings.Cut(rest, "{{")
		if strings.Contains(literal, "}}") {
			return nil, fmt.Sprintf("path %q: }} without {{ before it", clip(path))
		}
		t = append(t, literal)
		if !found {
			return t, ""
		}
		hole, after, found := strings.Cut(after, "}}")
		if !found {
			return nil, fmt.Sprintf("path %q: {{ without }} after it", clip(path))
		}
		hole = strings.TrimSpace(hole)
		if !isSelector(hole) {
			return nil, fmt.Sprintf("path %q: there is no template value %q", clip(path), clip(hole))
		}
		t = append(t, hole)
		rest = after
	}
}

// isSelector reports whether name has the shape of a value that templates may
// speak of. Keys, accessors and group names are free text and may hold dots.
func isSelector(name string) bool {
	switch name {
	case "identity.entity.id", "identity.entity.name":
		return true
	}
	for _, prefix := range []string{"identity.entity.metadata.", "identity.entity.aliases.", "identity.groups.ids.", "identity.groups.names."} {
		if key, ok := strings.CutPrefix(name, prefix); ok {
			if prefix == "identity.entity.metadata." {
				return key != ""
			}
			// <accessor or group>.<attribute>
			i := strings.IndexByte(key, '.')
			return i > 0 && i < len(key)-1
		}
	}
	return false
}

func (t template) hasHoles() bool { return len(t) > 1 }

// sample fills the holes with a plain word, for checks on the literal parts.
func (t template) sample() string {
	var b strings.Builder
	for i, part := range t {
		if i%2 == 1 {
			part = "x"
		}
		b.WriteString(part)
	}
	return b.String()
}

// Render returns the policy with its templates filled in for one caller.
// values returns the value of a name such as "identity.entity.metadata.team",
// and false when the caller has none.
//
// A value that would change the shape of the path (a separator, a wildcard, a
// brace, a control character, a dot segment, nothing at all) fails the
// rendering. So does a missing value in a rule that denies. A rule that only
// grants is left out when its value is missing: it speaks of an identity that
// this caller does not have.
func (p *Policy) Render(values func(name string) (string, bool)) (*Policy, error) {
	if !p.Templated() {
		return p, nil
	}
	out := &Policy{name: p.name, seen: p.seen, rules: make([]Rule, 0, len(p.rules))}
	for _, r := range p.rules {
		if r.template.hasHoles() {
			path, missing, err := r.template.render(values)
			if err != nil {
				return nil, fmt.Errorf("rendering policy %q, line %d: %w", p.name, r.Line, err)
			}
			if missing != "" {
				if r.Denies() {
					return nil, fmt.Errorf("rendering policy %q, line %d: %w", p.name, r.Line,
						fault.Newf(fault.Denied, "the token has no %s, which a policy needs to deny a path", missing))
				}
				continue
			}
			r.Path, r.template = path, template{path}
		}
		out.rules = append(out.rules, r)
	}
	return out, nil
}

func (t template) render(values func(string) (string, bool)) (path, missing string, err error) {
	var b strings.Builder
	for i, part := range t {
		if i%2 == 1 {
			v, ok := values(part)
			if !ok {
				return "", part, nil
			}
			if !isSafeValue(v) {
				// The value is the caller's data: it stays out of the text.
				return "", "", fault.Newf(fault.Denied, "the value of %s cannot be part of a path", part)
			}
			part = v
		}
		b.WriteString(part)
	}
	// Two harmless parts may join to "..", or make the path too long.
	if text := checkPattern(b.String()); text != "" {
		return "", "", fault.New(fault.Denied, "a templated path is not valid for this token")
	}
	return b.String(), "", nil
}

// isSafeValue reports whether v stays inside its segment as plain text.
func isSafeValue(v string) bool {
	return v != "" && len(v) <= maxTemplateValue && utf8.ValidString(v) &&
		v != "." && v != ".." &&
		!strings.ContainsAny(v, "/\\+*,{}") && strings.IndexFunc(v, isControl) < 0
}
