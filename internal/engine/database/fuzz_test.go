package database_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/engine/database"
	"github.com/cofferhq/coffer/internal/fault"
)

func FuzzUsernameTemplate(f *testing.F) {
	for _, t := range []string{"", "{{.DisplayName}}-{{.RoleName}}-{{random 20}}", `{{printf "%s" (.RoleName | truncate 3)}}`, "{{if .RoleName}}a{{end}}", `{{range 3}}{{end}}`, "{{", `{{timestamp "2006"}}`, "é{{uuid}}"} {
		f.Add(t, "userpass-bob", "app")
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, template, display, role string) {
		name, err := database.Username(template, display, role, 63, now)
		switch {
		case err != nil:
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("error %v", err)
			}
		case name == "" || len(name) > 63 || !utf8.ValidString(name) || strings.ContainsRune(name, 0):
			t.Errorf("name %q", name)
		}
	})
}

func FuzzSchedule(f *testing.F) {
	for _, s := range []string{"0 6 * * SAT", "*/5 1-3,7 L * ?", "TZ=0 0 0 0 0", "0 0 30 2 *", "@daily", "1-0 * * * *", "0-59/0 * * * *"} {
		f.Add(s)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		next, err := database.NextRotation(s, now)
		switch {
		case err != nil:
			if fault.KindOf(err) != fault.Invalid {
				t.Errorf("error %v", err)
			}
		case !next.IsZero() && !next.After(now):
			t.Errorf("the next time is %v", next)
		}
	})
}

func FuzzRedactURL(f *testing.F) {
	for _, p := range []string{"secret", "p@ss:/?#", "%", " ", "a@b", "'", `\`, "{{password}}x"} {
		f.Add("user", p, "h:5432/x?sslmode=disable")
	}
	f.Fuzz(func(t *testing.T, user, password, rest string) {
		const canary = "c4n4ry"
		password += canary
		for _, s := range []string{
			"postgresql://" + user + ":" + password + "@h",
			(&url.URL{Scheme: "postgresql", User: url.UserPassword(user, password), Host: "h", Path: rest}).String(),
			"postgresql://h/x?password=" + url.QueryEscape(password),
		} {
			if strings.ContainsAny(user, "/?#") {
				continue // then there is no user in the URL
			}
			if got := database.RedactURL(s); strings.Contains(got, canary) {
				t.Errorf("%q is read as %q", s, got)
			}
		}
		database.RedactURL(rest)
	})
}

func FuzzStatements(f *testing.F) {
	for _, s := range []string{`""`, `"a; b"`, `["a","b"]`, `"[\"a\"]"`, `"U0VMRUNUIDEsIDI7"`, "{}", "1", "null"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		var got database.Statements
		if err := json.Unmarshal([]byte(s), &got); err != nil || !utf8.ValidString(s) {
			return // broken encoding is refused before it gets here
		}
		b, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var again database.Statements
		if err := json.Unmarshal(b, &again); err != nil || strings.Join(again, "\x00") != strings.Join(got, "\x00") {
			t.Errorf("%s becomes %q, then %q", s, got, again)
		}
	})
}
