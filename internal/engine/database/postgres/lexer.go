package postgres

import (
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
)

type tokenKind uint8

const (
	tokenText        tokenKind = iota // anything else
	tokenIdentifier                   // "..."
	tokenUnicode                      // U&"..."
	tokenLiteral                      // '...'
	tokenEscaped                      // E'...' and U&'...'
	tokenDollar                       // $tag$...$tag$
	tokenComment                      // -- ... or /* ... */
	tokenPlaceholder                  // {{name}} and its like, outside all of these
)

// token is a piece of statements; the pieces together are the whole.
type token struct {
	kind tokenKind
	text string
}

var placeholders = []string{"{{name}}", "{{username}}", "{{password}}", "{{expiration}}"}

// lex splits statements by PostgreSQL's lexical rules (its manual, section
// 4.1), as far as they concern where a quotation begins and ends.
func lex(s string) ([]token, error) {
	var tokens []token
	start := 0 // of the text not yet in a token
	flush := func(end int) {
		if end > start {
			tokens = append(tokens, token{tokenText, s[start:end]})
		}
	}
	for i := 0; i < len(s); {
		kind, end := quotation(s, i)
		if end < 0 {
			return nil, fault.New(fault.Invalid, "statements hold a quotation or comment that does not end")
		}
		if end == 0 {
			i++
			continue
		}
		flush(i)
		tokens = append(tokens, token{kind, s[i:end]})
		start, i = end, end
	}
	flush(len(s))
	return tokens, nil
}

// quotation finds what begins at i and where it ends: 0 if nothing does, -1 if
// it does not end.
func quotation(s string, i int) (tokenKind, int) {
	rest := s[i:]
	switch {
	case rest[0] == '"' && unicodePrefix(s, i):
		return tokenUnicode, end(i, closing(rest, '"', false))
	case rest[0] == '"':
		return tokenIdentifier, end(i, closing(rest, '"', false))
	case rest[0] == '\'':
		if escaped(s, i) {
			return tokenEscaped, end(i, closing(rest, '\'', true))
		}
		if unicodePrefix(s, i) {
			return tokenEscaped, end(i, closing(rest, '\'', false))
		}
		return tokenLiteral, end(i, closing(rest, '\'', false))
	case strings.HasPrefix(rest, "--"):
		if n := strings.IndexAny(rest, "\r\n"); n >= 0 {
			return tokenComment, i + n
		}
		return tokenComment, len(s)
	case strings.HasPrefix(rest, "/*"):
		return tokenComment, end(i, blockComment(rest))
	case rest[0] == '$' && (i == 0 || !wordByte(s[i-1])):
		if tag := dollarTag(rest); tag != "" {
			if n := strings.Index(rest[len(tag):], tag); n >= 0 {
				return tokenDollar, i + len(tag) + n + len(tag)
			}
			return tokenDollar, -1
		}
	case rest[0] == '{':
		for _, p := range placeholders {
			if strings.HasPrefix(rest, p) {
				return tokenPlaceholder, i + len(p)
			}
		}
	}
	return tokenText, 0
}

func end(i, length int) int {
	if length < 0 {
		return -1
	}
	return i + length
}

// closing returns the length of a quotation; a doubled quote does not end it,
// nor does one behind a backslash where that escapes.
func closing(s string, quote byte, backslash bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case backslash && s[i] == '\\':
			i++
		case s[i] != quote:
		case i+1 < len(s) && s[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return -1
}

// escaped reports whether the quote at i begins E'...'.
func escaped(s string, i int) bool {
	return i > 0 && (s[i-1] == 'e' || s[i-1] == 'E') && (i == 1 || !wordByte(s[i-2]))
}

// unicodePrefix reports whether the quote at i begins U&'...' or U&"...".
func unicodePrefix(s string, i int) bool {
	return i > 1 && s[i-1] == '&' && (s[i-2] == 'u' || s[i-2] == 'U') && (i == 2 || !wordByte(s[i-3]))
}

// blockComment returns the length of a comment; they nest.
func blockComment(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}

// dollarTag returns the opening $tag$ of a dollar quotation, "" if there is
// none. A tag is a word that does not begin with a digit.
func dollarTag(s string) string {
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '$':
			return s[:i+1]
		case !wordByte(c) || i == 1 && c >= '0' && c <= '9':
			return ""
		}
	}
	return ""
}

// wordByte reports whether c can be part of an unquoted identifier.
func wordByte(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// firstWords returns the first word of every statement.
func firstWords(tokens []token) []string {
	var words []string
	fresh := true
	for _, t := range tokens {
		switch t.kind {
		case tokenComment:
			continue
		case tokenText:
		default:
			fresh = false
			continue
		}
		for n, piece := range strings.Split(t.text, ";") {
			fresh = fresh || n > 0
			if fields := strings.Fields(piece); fresh && len(fields) > 0 {
				words = append(words, fields[0])
				fresh = false
			}
		}
	}
	return words
}
