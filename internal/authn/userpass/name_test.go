package userpass_test

import (
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/authn/userpass"
)

func TestCanonicalNames(t *testing.T) {
	for name, want := range map[string]string{
		"bob":                      "bob",
		"BoB":                      "bob",
		"_":                        "_",
		"a.b-c_d":                  "a.b-c_d",
		"Bob@Example.com":          "bob@example.com",
		strings.Repeat("x", 255):   strings.Repeat("x", 255),
		strings.Repeat("x", 256):   "",
		"":                         "",
		" bob":                     "",
		"bob ":                     "",
		"b\u00f6b":                 "",
		"bo\u0062\u0301":           "",
		"\u212aate":                "", // the Kelvin sign folds to k
		"\u017fam":                 "", // the long s folds to s
		"b\uff4fb":                 "",
		"bob\u200b":                "",
		"bob\x00":                  "",
		"..":                       "",
		"a/b":                      "",
		"a\\b":                     "",
		"a%2fb":                    "",
		"*":                        "",
		"a+b":                      "",
		"a,b":                      "",
		"{{identity.entity.name}}": "",
		"\xff":                     "",
	} {
		got, err := userpass.CanonicalName(name)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q (error %v), want %q", name, got, err, want)
		}
	}
}

func FuzzCanonicalName(f *testing.F) {
	for _, seed := range []string{"bob", "BOB", "a.b", ".a", "a.", "\u212a", "\u017f", "a@b", "", "a b", "\x00", strings.Repeat("x", 256)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		canonical, err := userpass.CanonicalName(name)
		if err != nil {
			return
		}
		if again, err := userpass.CanonicalName(canonical); again != canonical || err != nil {
			t.Errorf("the canonical name %q of %q is not canonical: %q, %v", canonical, name, again, err)
		}
		if len(canonical) != len(name) || !strings.EqualFold(canonical, name) {
			t.Errorf("%q became %q", name, canonical)
		}
		for i := range len(canonical) {
			if c := canonical[i]; c <= ' ' || c > '~' || strings.IndexByte(`/\%*+,{}"'`, c) >= 0 {
				t.Errorf("%q has %q", canonical, c)
			}
		}
	})
}
