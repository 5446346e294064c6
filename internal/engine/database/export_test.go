package database

import (
	"crypto/rand"
	"time"

	"github.com/cofferhq/coffer/internal/wire"
)

// RedactURL exposes redactURL.
func RedactURL(s string) string { return redactURL(s) }

// NextRotation parses a schedule and asks it for the next time.
func NextRotation(schedule string, after time.Time) (time.Time, error) {
	s, err := parseSchedule(schedule)
	if err != nil {
		return time.Time{}, err
	}
	return s.Next(after), nil
}

// Username makes a name by a template.
func Username(template, displayName, roleName string, max int, now time.Time) (string, error) {
	n, err := newNamer(Details{"username_template": wire.AppendQuoted(nil, template)}, max)
	if err != nil {
		return "", err
	}
	return n.name(rand.Reader, now, subject{DisplayName: displayName, RoleName: roleName})
}
