package policy

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"
)

const maxPatternSize = 4096

// checkPattern returns what is wrong with a rule's path, or "". The path has
// lost its leading slash already. Holes of a template count as ordinary text.
func checkPattern(pattern string) string {
	switch {
	case pattern == "":
		return "a path is empty"
	case len(pattern) > maxPatternSize:
		return fmt.Sprintf("a path is longer than %d bytes", maxPatternSize)
	case !utf8.ValidString(pattern):
		return "a path is not UTF-8"
	case strings.IndexFunc(pattern, isControl) >= 0:
		return fmt.Sprintf("path %q holds a control character", pattern)
	case strings.Contains(pattern, "+*"):
		return fmt.Sprintf(`path %q: "+*" has no meaning; "+" stands for one whole segment and "*" for any rest`, pattern)
	case strings.Contains(strings.TrimSuffix(pattern, "*"), "*"):
		return fmt.Sprintf(`path %q: "*" is a wildcard only as the last character; use "+" for one segment`, pattern)
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(pattern, "*"), "/") {
		if segment != "+" && strings.Contains(segment, "+") {
			return fmt.Sprintf(`path %q: "+" must be a whole segment, as in "a/+/b"`, pattern)
		}
		if segment == "." || segment == ".." {
			return fmt.Sprintf("path %q: %q can never be part of a request's path", pattern, segment)
		}
	}
	return ""
}

func isControl(r rune) bool { return r < 0x20 || (r >= 0x7f && r < 0xa0) }

// isGlob reports whether the pattern has a wildcard.
func isGlob(pattern string) bool {
	return strings.HasSuffix(pattern, "*") || strings.Contains(pattern, "+")
}

// comparePriority orders two patterns that both have wildcards; the greater
// decides when both match a path.
func comparePriority(a, b string) int {
	return cmp.Or(
		cmp.Compare(strings.IndexAny(a, "+*"), strings.IndexAny(b, "+*")),
		compareBool(strings.HasSuffix(b, "*"), strings.HasSuffix(a, "*")),
		cmp.Compare(strings.Count(b, "+"), strings.Count(a, "+")),
		cmp.Compare(len(a), len(b)),
		cmp.Compare(a, b),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}
