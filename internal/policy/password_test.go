package policy_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	mathrand "math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/policy"
)

func TestGeneratePassword(t *testing.T) {
	tests := []struct {
		name string
		text string
		want string // a regular expression, all of which must match
	}{
		{"one set", "length = 12\nrule \"charset\" {\n  charset = \"abcdefghij\"\n  min-chars = 1\n}\n", `^[a-j]{12}$`},
		{"JSON", `{"length": 8, "rule": [{"charset": {"charset": "abc"}}, {"charset": {"charset": "01", "min-chars": 2}}]}`, `^[abc01]*[01][abc01]*[01][abc01]*$`},
		{"JSON object", `{"length": 8, "rule": {"charset": {"charset": "abc"}}}`, `^[abc]{8}$`},
		{"JSON list of one kind", `{"length": 8, "rule": {"charset": [{"charset": "a"}, {"charset": "b", "min-chars": 1}]}}`, `^a*b[ab]*$`},
		{"beyond ASCII", "length = 6\nrule \"charset\" { charset = \"äöü€\" }", `^[äöü€]{6}$`},
		{"one character", "length = 4\nrule \"charset\" { charset = \"aaa\" min-chars = 4 }", `^aaaa$`},
		{"overlapping sets", "length = 10\nrule \"charset\" { charset = \"abc\" min-chars = 3 }\nrule \"charset\" { charset = \"cde\" min-chars = 3 }", `^[a-e]{10}$`},
		{"the default", policy.DefaultPasswordText, `^[a-zA-Z0-9-]{20}$`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := policy.ParsePassword(tt.text)
			if err != nil {
				t.Fatal(err)
			}
			for range 50 {
				got, err := p.Generate(rand.Reader)
				if err != nil {
					t.Fatal(err)
				}
				if !regexp.MustCompile(tt.want).MatchString(got) || utf8.RuneCountInString(got) != p.Length() {
					t.Errorf("a password does not match %s (length %d)", tt.want, p.Length())
				}
			}
		})
	}
}

func TestDefaultPasswordHasEveryClass(t *testing.T) {
	p := policy.DefaultPassword()
	for range 200 {
		got, err := p.Generate(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for _, class := range []string{"abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789", "-"} {
			if !strings.ContainsAny(got, class) {
				t.Errorf("a password has none of %q", class)
			}
		}
	}
}

func TestPasswordPolicyErrors(t *testing.T) {
	charset := "\nrule \"charset\" { charset = \"abc\" }"
	tests := []struct {
		name string
		text string
		want string
	}{
		{"nothing", "", "length is missing"},
		{"too short, and no rule", "length = 1", "length must be between 4 and 100"},
		{"too long", "length = 101" + charset, "length must be between 4 and 100"},
		{"no length", charset, "length is missing"},
		{"a length that is no number", `length = "long"` + charset, "length must be between"},
		{"a length twice", `{"length": 5, "length": 6, "rule": {"charset": {"charset": "abc"}}}`, "given twice"},
		{"no rule", "length = 20", "no charset rule"},
		{"an unknown rule", "length = 20\nrule \"words\" {}", `line 2: unknown rule "words"`},
		{"an unknown key", "length = 20\nsize = 3" + charset, `line 2: unknown key "size"`},
		{"an unknown key of a rule", "length = 20\nrule \"charset\" {\n charset = \"abc\"\n max-chars = 3\n}", `line 4: unknown key "max-chars"`},
		{"a rule without a charset", "length = 20\nrule \"charset\" { min-chars = 1 }", "has no charset"},
		{"an empty charset", "length = 20\nrule \"charset\" { charset = \"\" }", "charset must be a string"},
		{"a charset that is not printable", "length = 20\nrule \"charset\" { charset = \"a\\tb\" }", "not printable"},
		{"a negative minimum", "length = 20\nrule \"charset\" { charset = \"abc\" min-chars = -1 }", "min-chars must be between"},
		{"an impossible sum", "length = 10\nrule \"charset\" { charset = \"abc\" min-chars = 6 }\nrule \"charset\" { charset = \"123\" min-chars = 5 }", "need 11 characters and length is 10"},
		{"hardly possible", "length = 20\nrule \"charset\" { charset = \"abcdefghijklmnopqrstuvwxyz\" }\nrule \"charset\" { charset = \"1\" min-chars = 10 }", "rule 2 asks for 10 characters"},
		{"too many characters", "length = 20\nrule \"charset\" { charset = \"" + manyRunes(300) + "\" }", "300 different characters"},
		{"a rule that is a string", "length = 20\nrule = \"charset\"", "a rule must be a block"},
		{"not HCL", "length = ", "line 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, err := policy.ParsePassword(tt.text)
			if p != nil || !errors.Is(err, fault.Invalid) || !strings.Contains(fault.Message(err), tt.want) {
				t.Errorf("ParsePassword = %v, %v; want an error with %q", p, err, tt.want)
			}
		})
	}
}

func manyRunes(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteRune(rune(0x4e00 + i))
	}
	return b.String()
}

func TestGenerateIsBounded(t *testing.T) {
	p, err := policy.ParsePassword("length = 4\nrule \"charset\" { charset = \"ab\" min-chars = 2 }\nrule \"charset\" { charset = \"cd\" min-chars = 2 }")
	if err != nil {
		t.Fatal(err)
	}
	// A source that is stuck never meets the second rule.
	if got, err := p.Generate(zeros{}); err == nil || !errors.Is(err, fault.Invalid) {
		t.Errorf("Generate = %q, %v; want an error", got, err)
	}
	if got, err := p.Generate(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) || got != "" {
		t.Errorf("Generate = %q, %v; want the source's error", got, err)
	}
	if got, err := p.Generate(bytes.NewReader([]byte{1, 2})); err == nil {
		t.Errorf("Generate = %q from a source that ended", got)
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// Each character must be as likely as any other.
func TestGenerateIsUnbiased(t *testing.T) {
	const n, length, rounds = 100, 100, 2000
	p, err := policy.ParsePassword(fmt.Sprintf("length = %d\nrule \"charset\" { charset = %q }", length, manyRunes(n)))
	if err != nil {
		t.Fatal(err)
	}
	source := mathrand.NewChaCha8([32]byte{1})
	counts := map[rune]int{}
	for range rounds {
		got, err := p.Generate(source)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range got {
			counts[c]++
		}
	}
	expected := float64(length*rounds) / n
	chi2 := 0.0
	for _, c := range counts {
		chi2 += math.Pow(float64(c)-expected, 2) / expected
	}
	// 99 degrees of freedom: 148.2 is exceeded once in a thousand.
	if len(counts) != n || chi2 > 148.2 {
		t.Errorf("%d characters, chi-squared %.1f", len(counts), chi2)
	}
}

func FuzzParsePassword(f *testing.F) {
	f.Add(policy.DefaultPasswordText)
	f.Add(`{"length": 8, "rule": [{"charset": {"charset": "abc", "min-chars": 2}}]}`)
	f.Add("length = 4\nrule \"charset\" { charset = \"äb\" min-chars = 4 }")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := policy.ParsePassword(text)
		if err != nil {
			if fault.Message(err) == "" {
				t.Fatalf("error without a text for the client: %v", err)
			}
			return
		}
		if got, err := p.Generate(rand.Reader); err == nil && utf8.RuneCountInString(got) != p.Length() {
			t.Fatalf("a password of %d characters, want %d", utf8.RuneCountInString(got), p.Length())
		}
	})
}
