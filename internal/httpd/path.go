package httpd

import (
	"encoding/asn1"
	"encoding/base64"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/fault"
)

// maxPath is the longest path that is looked at, in bytes.
const maxPath = 8 << 10

// canonical returns the decoded path of a request below /v1/. Every name has
// one spelling: a path with empty, "." or ".." segments, control characters,
// backslashes, text that would be such a segment if it were decoded once more,
// or bytes that are no UTF-8, is refused with [fault.Invalid].
func canonical(u *url.URL) (string, error) {
	path := strings.TrimPrefix(u.Path, "/v1/")
	if len(path) > maxPath {
		return "", fault.Newf(fault.Invalid, "the path is longer than %d bytes", maxPath)
	}
	if !utf8.ValidString(path) {
		return "", fault.New(fault.Invalid, "the path is not valid UTF-8")
	}
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c < 0x20 || c == 0x7f:
			return "", fault.New(fault.Invalid, "the path contains a control character")
		case c == '\\':
			return "", fault.New(fault.Invalid, "the path contains a backslash")
		case c == '%' && encodedDotOrSlash(path[i:]):
			return "", fault.New(fault.Invalid, "the path is encoded twice")
		}
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r >= 0x80 && r < 0xa0 || r == '\u2028' || r == '\u2029' || r == '\ufeff' }) {
		return "", fault.New(fault.Invalid, "the path contains a control character")
	}
	path = joinOCSP(path)
	rest := path
	for first := true; ; first = false {
		seg, tail, more := strings.Cut(rest, "/")
		if seg == "." || seg == ".." {
			return "", fault.New(fault.Invalid, "the path contains a relative segment")
		}
		if seg == "" && (more || first && path != "") {
			return "", fault.New(fault.Invalid, "the path contains an empty segment")
		}
		if !more {
			return path, nil
		}
		rest = tail
	}
}

// joinOCSP gives an OCSP request in a path its one spelling. Such a request is
// base64 (RFC 6960, appendix A.1), in which slashes can follow each other, and
// clients do not agree on whether to encode them. Only a path that would be
// refused is touched, and only if its end is one whole DER structure: it becomes
// a single segment of base64url.
func joinOCSP(path string) string {
	head, text, ok := strings.Cut(path, "/ocsp/")
	if !ok || !strings.HasPrefix(text, "M") || !strings.Contains(text, "//") {
		return path
	}
	der, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimRight(text, "="))
	if err != nil {
		return path
	}
	var whole asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &whole); err != nil || len(rest) > 0 || whole.Tag != asn1.TagSequence {
		return path
	}
	return head + "/ocsp/" + base64.RawURLEncoding.EncodeToString(der)
}

// encodedDotOrSlash reports whether s begins with the percent-encoding of '.',
// '/', '\', '%' or a control character.
func encodedDotOrSlash(s string) bool {
	if len(s) < 3 {
		return false
	}
	hi, lo := s[1]|0x20, s[2]|0x20
	switch s[1] {
	case '0', '1':
		return isHex(lo)
	case '2':
		return lo == 'e' || lo == 'f' || s[2] == '5'
	}
	return hi == '5' && lo == 'c'
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' }
