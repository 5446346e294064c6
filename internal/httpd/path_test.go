package httpd_test

import (
	"encoding/base64"
	"errors"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/httpd"
)

func TestCanonicalPaths(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"sys/health":              "sys/health",
		"secret/data/a%2Fb":       "secret/data/a/b", // one name, decoded once
		"secret%2Fdata":           "secret/data",
		"%73ecret/a":              "secret/a",
		"secret/metadata/":        "secret/metadata/",
		"secret/a%20b":            "secret/a b",
		"secret/a+b":              "secret/a+b",
		"secret/%C3%BCmlaut":      "secret/ümlaut",
		"secret/.hidden":          "secret/.hidden",
		"secret/...":              "secret/...",
		"secret/a..b":             "secret/a..b",
		"secret/..a":              "secret/..a",
		"secret/100%25":           "secret/100%",
		"secret/%25zz":            "secret/%zz",
		"secret/%2541":            "secret/%41",
		"secret/a;b=c":            "secret/a;b=c",
		"secret/a:b@c&d=e,f$!'()": "secret/a:b@c&d=e,f$!'()",
		"secret/a%3Fb":            "secret/a?b",
		"secret/a%23b":            "secret/a#b",
		"SECRET/A":                "SECRET/A",
	} {
		u, err := url.Parse("http://host/v1/" + text)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := httpd.Canonical(u); err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, err, want)
		}
	}
}

func TestPathsThatAreNotCanonicalAreRefused(t *testing.T) {
	for _, text := range []string{
		"/", "//", "/sys", "sys//health", "sys/health//", "sys%2F%2Fhealth", "%2Fsys", "sys/%2F", "sys%2F/health",
		".", "..", "./sys", "../sys", "sys/.", "sys/..", "sys/./health", "sys/../sys/health", "sys/%2e/health", "sys/%2E%2e/health", "sys/.%2e", "sys/%2e.", "..%2Fsys", "sys%2F..", "sys/../", "sys/%2e%2e%2f",
		"sys/%252e%252e/health", "sys/%252E", "sys/a%252fb", "sys/a%252Fb", "sys/a%255cb", "sys/a%255Cb", "sys/a%2500", "sys/a%250A", "sys/a%251f", "sys/%25252e", "sys/a%2525b",
		"sys\\health", "sys/%5c..%5chealth", "sys/%5C",
		"sys/%00", "sys/a%0ab", "sys/a%0d%0ab", "sys/%09", "sys/%1f", "sys/%7f", "sys/%1b%5B31m",
		"sys/%c2%80", "sys/%c2%85", "sys/%c2%9f", "sys/%e2%80%a8", "sys/%e2%80%a9", "sys/%ef%bb%bf",
		"sys/%ff", "sys/%c3", "sys/%c0%af", "sys/%c0%ae%c0%ae/health", "sys/%ed%a0%80", "sys/%f5%80%80%80",
		strings.Repeat("a", 8<<10+1),
	} {
		u, err := url.Parse("http://host/v1/" + text)
		if err != nil {
			continue // the HTTP library refuses it
		}
		if got, err := httpd.Canonical(u); !errors.Is(err, fault.Invalid) {
			t.Errorf("%.80q: got %.80q, %v", text, got, err)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, seed := range []string{"sys/health", "a/%2e%2e/b", "a//b", "a/%252e", "a\\b", "%ff", "a/..", "a/%2525", "ü/😀", "a/%00", "secret/a%2Fb/", "%25%32%65"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse("http://host/v1/" + text)
		if err != nil || !strings.HasPrefix(u.Path, "/v1/") {
			return
		}
		path, err := httpd.Canonical(u)
		if err != nil {
			return
		}
		if !utf8.ValidString(path) || strings.Contains(path, "//") || strings.HasPrefix(path, "/") || strings.ContainsAny(path, "\\\x00\n\r\x7f") {
			t.Fatalf("%q gives %q", text, path)
		}
		for _, seg := range strings.Split(path, "/") {
			if once, err := url.PathUnescape(seg); seg == "." || seg == ".." || err == nil && (once == "." || once == ".." || once != seg && strings.ContainsAny(once, "/\\\x00")) {
				t.Fatalf("%q gives %q", text, path)
			}
		}
		if again, err := httpd.Canonical(&url.URL{Path: "/v1/" + path}); err != nil || again != path {
			t.Fatalf("%q gives %q, which gives %q, %v", text, path, again, err)
		}
	})
}

// TestOCSPRequestsArePaths: base64 with slashes beside each other is one segment
// behind "ocsp", and nothing else is.
func TestOCSPRequestsArePaths(t *testing.T) {
	request := []byte{0x30, 0x05, 0x04, 0x03, 0xff, 0xff, 0xff} // "MAUEA////w" in base64
	standard, safe := base64.StdEncoding.EncodeToString(request), base64.RawURLEncoding.EncodeToString(request)
	if !strings.Contains(standard, "//") {
		t.Fatalf("%s has no slashes", standard)
	}
	for path, want := range map[string]string{
		"pki/ocsp/" + standard:                         "pki/ocsp/" + safe,
		"pki/ocsp/" + url.PathEscape(standard):         "pki/ocsp/" + safe,
		"pki/ocsp/" + strings.TrimRight(standard, "="): "pki/ocsp/" + safe,
		"pki/ocsp/" + safe:                             "pki/ocsp/" + safe,
		"secret/data/ocsp/My/secret":                   "secret/data/ocsp/My/secret",
		"secret/data/ocsp/My//secret":                  "",
		"pki/ocsp/" + standard + "//":                  "",
		"pki/ocsp//" + standard:                        "",
		"pki/" + standard:                              "",
		"pki/ocsp/" + standard + "/../x":               "",
	} {
		u, err := url.Parse("http://x/v1/" + path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := httpd.Canonical(u)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}
