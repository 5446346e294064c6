package policy

import (
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
)

// Limits on a policy text, checked before any third-party parser sees it.
const (
	// MaxTextSize is the largest policy text accepted, in bytes.
	MaxTextSize = 1 << 20

	maxDepth    = 8      // a rule's parameter list needs four
	maxNodes    = 200000 // values and keys in one text
	maxProblems = 10     // reported at once
)

// kind says what a value holds.
type kind uint8

const (
	kindNull kind = iota
	kindString
	kindNumber
	kindBool
	kindList
	kindObject
)

func (k kind) String() string {
	return [...]string{"null", "a string", "a number", "a boolean", "a list", "a block"}[k]
}

// value is one value of a policy text with its line, whichever syntax it was
// written in. A block with labels is an object of objects, as JSON writes it:
// `path "a" {}` reads as `path { a {} }`.
type value struct {
	kind   kind
	line   int
	text   string // of a string, number or boolean
	list   []value
	fields []field // of an object, in the order written
}

type field struct {
	key   string
	line  int
	value value
}

// Problem is one mistake in a policy text.
type Problem struct {
	// Line counts from one; zero means that the whole text is meant.
	Line int
	// Text is a sentence without its full stop.
	Text string
}

// String formats the problem with its line.
func (p Problem) String() string {
	if p.Line == 0 {
		return p.Text
	}
	return fmt.Sprintf("line %d: %s", p.Line, p.Text)
}

// problems collects the mistakes of one text.
type problems []Problem

func (ps *problems) addf(line int, format string, args ...any) {
	if len(*ps) < maxProblems {
		*ps = append(*ps, Problem{Line: line, Text: fmt.Sprintf(format, args...)})
	}
}

// err returns the mistakes as one error that is safe for clients, or nil.
func (ps problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.String()
	}
	return fault.New(fault.Invalid, "policy is not valid: "+strings.Join(texts, "; "))
}

// parseDocument reads text as JSON when its first significant byte opens an
// object, and as HCL otherwise.
func parseDocument(text string) (value, *Problem) {
	if len(text) > MaxTextSize {
		return value{}, &Problem{Text: fmt.Sprintf("the text is larger than %d bytes", MaxTextSize)}
	}
	if i := strings.IndexByte(text, 0); i >= 0 {
		return value{}, &Problem{Line: 1 + strings.Count(text[:i], "\n"), Text: "a NUL byte"}
	}
	if isJSON(text) {
		return parseJSON(text)
	}
	return parseHCL(text)
}

// DecodeText returns the policy text that a client sent, which may be in
// base64. No policy is valid both ways: base64 has no spaces and no quotes.
func DecodeText(sent string) string {
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(sent))
	if err != nil || sent == "" {
		return sent
	}
	return string(decoded)
}

func isJSON(text string) bool {
	return strings.HasPrefix(strings.TrimLeft(text, " \t\r\n\ufeff"), "{")
}
