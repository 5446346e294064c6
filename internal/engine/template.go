package engine

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/fault"
)

// maxTemplateValue bounds one value of an identity in an expanded text.
const maxTemplateValue = 512

// Template is a text with holes such as {{identity.entity.name}}, which stand
// for values of the caller's identity.
type Template string

// Templated reports whether the text has holes.
func (t Template) Templated() bool { return strings.Contains(string(t), "{{") }

// Expand fills the holes. ok is false if values does not know one of them: the
// text then speaks of an identity that the caller does not have. A value that
// would be more than a plain word where it stands (a wildcard, a separator, a
// space, a control character, nothing at all), or a hole that is not closed, is
// [fault.Invalid]; globs lets "*" pass.
func (t Template) Expand(values func(name string) (string, bool), globs bool) (text string, ok bool, err error) {
	var b strings.Builder
	for rest := string(t); ; {
		literal, after, found := strings.Cut(rest, "{{")
		b.WriteString(literal)
		if !found {
			return b.String(), true, nil
		}
		hole, after, found := strings.Cut(after, "}}")
		if !found {
			return "", false, fault.New(fault.Invalid, "a template has {{ without }} after it")
		}
		v, known := values(strings.TrimSpace(hole))
		if !known {
			return "", false, nil
		}
		if !plain(v, globs) {
			// The value is the caller's data: it stays out of the text.
			return "", false, fault.Newf(fault.Invalid, "the value of %s cannot be part of a name", strings.TrimSpace(hole))
		}
		b.WriteString(v)
		rest = after
	}
}

func plain(v string, globs bool) bool {
	if v == "" || len(v) > maxTemplateValue || !utf8.ValidString(v) {
		return false
	}
	return !strings.ContainsFunc(v, func(r rune) bool {
		if r == '*' {
			return !globs
		}
		return strings.ContainsRune(`/\+?,;%#{}[]"'`, r) || unicode.IsSpace(r) || !unicode.IsPrint(r)
	})
}
