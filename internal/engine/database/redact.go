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
	// Strictly the user information ends at the last @ before the path. A
	// password with characters that should have been escaped can move that, and
	// the URL may still parse, so unless the password is the placeholder
	// everything up to the last @ of all is hidden.
	if u, err := url.Parse(placeholders.Replace(out)); err == nil {
		if password, _ := u.User.Password(); password == standIn {
			return out
		}
	}
	at := strings.LastIndexByte(rest, '@')
	if at < 0 {
		return out
	}
	user, password, _ := strings.Cut(rest[:at], ":")
	if password == "" || isPlaceholder(password) {
		return out
	}
	return scheme + "://" + user + ":" + redacted + rest[at:]
}

const standIn = "coffer-stand-in-password"

var placeholders = strings.NewReplacer("{{username}}", "u", "{{name}}", "u", "{{password}}", standIn)

func isPlaceholder(s string) bool { return s == "{{password}}" }
