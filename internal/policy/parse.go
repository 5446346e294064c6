package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Parse reads a policy text, HCL or JSON. Its error is of kind
// [fault.Invalid], safe for clients, and lists the mistakes with their lines.
// The warnings are about what is valid and probably not meant.
//
// The name is kept as it is given: see [CheckName].
func Parse(name, text string) (*Policy, []Warning, error) {
	doc, problem := parseDocument(text)
	if problem != nil {
		return nil, nil, problems{*problem}.err()
	}
	b := ruleBuilder{}
	b.document(doc)
	if err := b.problems.err(); err != nil {
		return nil, nil, err
	}
	p := &Policy{name: name, rules: b.rules}
	return p, append(b.warnings, inspect(p)...), nil
}

// ruleBuilder turns a document into rules.
type ruleBuilder struct {
	rules    []Rule
	problems problems
	warnings []Warning
}

func (b *ruleBuilder) document(doc value) {
	for _, f := range doc.fields {
		switch f.key {
		case "path":
			b.paths(f.value)
		case "name":
			// Very old policies carry their name; the store's counts.
			if f.value.kind != kindString {
				b.problems.addf(f.line, "name must be a string")
			}
		default:
			b.problems.addf(f.line, `unknown key %q; a policy holds "path" blocks`, f.key)
		}
	}
}

// paths reads `path "a" { ... }`, or in JSON an object of rules by path, or a
// list of such objects.
func (b *ruleBuilder) paths(v value) {
	switch v.kind {
	case kindList:
		for _, item := range v.list {
			if item.kind == kindList {
				b.problems.addf(item.line, "path must be a block with a label")
				continue
			}
			b.paths(item)
		}
	case kindObject:
		for _, f := range v.fields {
			if f.value.kind != kindObject {
				b.problems.addf(f.line, "path must be a block with a label, as in path \"secret/data/app\" { ... }")
				continue
			}
			b.rule(f)
		}
	default:
		b.problems.addf(v.line, "path must be a block with a label, as in path \"secret/data/app\" { ... }")
	}
}

func (b *ruleBuilder) rule(f field) {
	r := Rule{Path: f.key, Line: f.line}
	if trimmed, ok := strings.CutPrefix(r.Path, "/"); ok {
		r.Path = trimmed
		b.warn(Suspicious, &r, "the leading slash is ignored: paths start after /v1/")
	}
	b.path(&r)
	seen := make(map[string]bool, len(f.value.fields))
	for _, attr := range f.value.fields {
		if seen[attr.key] {
			b.problems.addf(attr.line, "%s is given twice for path %q", clip(attr.key), clip(r.Path))
			continue
		}
		seen[attr.key] = true
		b.attribute(&r, attr)
	}
	if r.Capabilities.Has(Deny) && r.Capabilities != Deny {
		b.warn(Note, &r, `"deny" takes the other capabilities of this path away`)
		r.Capabilities = Deny
	}
	if r.MaxWrappingTTL != 0 && r.MaxWrappingTTL < r.MinWrappingTTL {
		b.problems.addf(r.Line, "path %q: max_wrapping_ttl is less than min_wrapping_ttl", r.Path)
	}
	b.rules = append(b.rules, r)
}

func (b *ruleBuilder) warn(s Severity, r *Rule, text string) {
	b.warnings = append(b.warnings, Warning{Severity: s, Line: r.Line, Path: r.Path, Text: text})
}

// path checks the pattern with the holes of its template filled in, since a
// hole may hold no wildcard once it is rendered.
func (b *ruleBuilder) path(r *Rule) {
	var text string
	if r.template, text = parseTemplate(r.Path); text == "" {
		text = checkPattern(r.template.sample())
	}
	if text != "" {
		b.problems.addf(r.Line, "%s", text)
	}
}

func (b *ruleBuilder) attribute(r *Rule, f field) {
	var text string
	switch f.key {
	case "capabilities":
		b.capabilities(r, f)
	case "policy":
		c, ok := legacyCapabilities(f.value.text)
		if !ok || f.value.kind != kindString {
			text = `must be "read", "write", "sudo" or "deny"`
		}
		r.Capabilities |= c
	case "allowed_parameters":
		r.params.allowed, text = readParameters(f.value)
	case "denied_parameters":
		r.params.denied, text = readParameters(f.value)
	case "required_parameters":
		r.params.required, text = readStrings(f.value)
		for i, name := range r.params.required {
			r.params.required[i] = foldName(name)
		}
	case "min_wrapping_ttl":
		r.MinWrappingTTL, text = readTTL(f.value)
	case "max_wrapping_ttl":
		r.MaxWrappingTTL, text = readTTL(f.value)
	case "pagination_limit":
		r.PaginationLimit, text = readLimit(f.value)
	case "expiration":
		r.Expires, text = readTime(f.value)
	case "comment":
		r.Comment = f.value.text
		if f.value.kind != kindString {
			text = "must be a string"
		}
	case "mfa_methods":
		r.MFAMethods, text = readStrings(f.value)
	case "control_group":
		r.ControlGroup = true
		if f.value.kind != kindObject {
			text = "must be a block"
		}
	case "subscribe_event_types":
		_, text = readStrings(f.value)
	default:
		b.problems.addf(f.line, "unknown key %q for path %q", clip(f.key), clip(r.Path))
	}
	if text != "" {
		b.problems.addf(f.line, "%s %s", f.key, text)
	}
}

func (b *ruleBuilder) capabilities(r *Rule, f field) {
	names, text := readStrings(f.value)
	if text != "" {
		b.problems.addf(f.line, "capabilities %s", text)
		return
	}
	for _, name := range names {
		c, ok := capabilityNamed(name)
		if !ok {
			b.problems.addf(f.line, "unknown capability %q for path %q; there are %s", clip(name), clip(r.Path),
				strings.Join(capabilityNames[:], ", "))
			continue
		}
		r.Capabilities |= c
	}
}

// clip bounds what an error repeats of the text.
func clip(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// readStrings reads a list of strings, or one string alone.
func readStrings(v value) (list []string, text string) {
	if v.kind == kindString {
		return []string{v.text}, ""
	}
	if v.kind != kindList {
		return nil, "must be a list of strings"
	}
	for _, item := range v.list {
		if item.kind != kindString {
			return nil, "must be a list of strings"
		}
		list = append(list, item.text)
	}
	return list, ""
}

// readTTL reads seconds, as a number or in digits, or a duration such as "1h".
func readTTL(v value) (ttl time.Duration, text string) {
	const wrong = `must be a duration such as "90s", or a number of seconds`
	if v.kind != kindNumber && v.kind != kindString {
		return 0, wrong
	}
	const maxSeconds = int64(100 * 365 * 24 * 3600)
	if seconds, err := strconv.ParseInt(v.text, 10, 64); err == nil {
		if seconds < 0 || seconds > maxSeconds {
			return 0, "is out of range"
		}
		return time.Duration(seconds) * time.Second, ""
	}
	if days, ok := strings.CutSuffix(v.text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, wrong
		}
		return time.Duration(n) * 24 * time.Hour, ""
	}
	ttl, err := time.ParseDuration(v.text)
	if err != nil {
		return 0, wrong
	}
	if ttl < 0 {
		return 0, "is out of range"
	}
	if ttl%time.Second != 0 {
		return 0, "must be whole seconds"
	}
	return ttl, ""
}

func readLimit(v value) (limit int, text string) {
	limit, err := strconv.Atoi(v.text)
	if (v.kind != kindNumber && v.kind != kindString) || err != nil || limit < 0 {
		return 0, "must be a whole number, zero or more"
	}
	return limit, ""
}

func readTime(v value) (at time.Time, text string) {
	if v.kind == kindNumber {
		seconds, err := strconv.ParseInt(v.text, 10, 64)
		if err != nil || seconds <= 0 {
			return time.Time{}, "must be a time"
		}
		return time.Unix(seconds, 0).UTC(), ""
	}
	at, err := time.Parse(time.RFC3339, v.text)
	if v.kind != kindString || err != nil {
		return time.Time{}, fmt.Sprintf("must be a time such as %q", "2030-01-31T00:00:00Z")
	}
	return at.UTC(), ""
}
