package database

import (
	"net/url"
	"regexp"
	"strings"
)

const redacted = "*****"

// keywordPassword finds the password of a key=value connection string, quoted
// or not.
var keywordPassword = regexp.MustCompile(`(?i)((?:^|[\s;&?])(?:ssl)?password\s*=\s*)('(?:[^'\\]|\\.)*'?|[^\s;&]*)`)

// redactURL returns a connection URL or key=value string with its passwords
// replaced. Placeholders stay. A string whose shape is not understood, but which
// could hold a password, is replaced as a whole.
func redactURL(s string) string {
	out := keywordPassword.ReplaceAllStringFunc(s, func(found string) string {
		m := keywordPassword.FindStringSubmatch(found)
		if m[2] == "" || isPlaceholder(strings.Trim(m[2], "'")) {
			return found
		}
		return m[1] + redacted
	})
	scheme, rest, ok := strings.Cut(out, "://")
	if !ok {
		return out
	}
	// The userinfo ends at the last @ before the path, but a password with an
	// unescaped / or ? would hide it: the last @ of all is taken, which can only
	// redact more than needed.
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		if u, err := url.Parse(out); err == nil && u.User == nil {
			return out
		}
		return out
	}
	user, password, ok := strings.Cut(rest[:at], ":")
	if !ok || password == "" || isPlaceholder(password) {
		return out
	}
	return scheme + "://" + user + ":" + redacted + rest[at:]
}

func isPlaceholder(s string) bool { return s == "{{password}}" }
