package policy

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/fault"
)

// Limits on password policies.
const (
	MinPasswordLength = 4
	MaxPasswordLength = 100

	maxCharset       = 256
	maxCharsetRules  = 64
	maxPasswordTries = 10_000
	// A rule that fewer candidates than this satisfy would make generation a
	// lottery; see [PasswordPolicy.Generate].
	minAcceptance = 0.002
)

// DefaultPasswordText is the policy for passwords where none is named.
const DefaultPasswordText = `length = 20
rule "charset" {
  charset   = "abcdefghijklmnopqrstuvwxyz"
  min-chars = 1
}
rule "charset" {
  charset   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
  min-chars = 1
}
rule "charset" {
  charset   = "0123456789"
  min-chars = 1
}
rule "charset" {
  charset   = "-"
  min-chars = 1
}
`

// PasswordPolicy says what generated passwords look like. It is immutable and
// safe for concurrent use.
type PasswordPolicy struct {
	length  int
	charset []rune // of all rules, each character once
	rules   []charsetRule
}

// charsetRule asks for at least min characters out of a set.
type charsetRule struct {
	set map[rune]bool
	min int
}

// ParsePassword reads a password policy, HCL or JSON: a length and at least
// one charset rule. A policy that no password satisfies, or hardly any, is
// refused. The error is of kind [fault.Invalid] and safe for clients.
func ParsePassword(text string) (*PasswordPolicy, error) {
	doc, problem := parseDocument(text)
	if problem != nil {
		return nil, passwordError(*problem)
	}
	p := &PasswordPolicy{}
	var ps problems
	for _, f := range doc.fields {
		switch f.key {
		case "length":
			p.readLength(f, &ps)
		case "rule":
			p.readRules(f.value, &ps)
		default:
			ps.addf(f.line, `unknown key %q; a password policy holds "length" and "rule" blocks`, clip(f.key))
		}
	}
	if len(ps) == 0 {
		p.validate(&ps)
	}
	if len(ps) > 0 {
		return nil, passwordError(ps...)
	}
	return p, nil
}

// DefaultPassword returns [DefaultPasswordText], parsed.
func DefaultPassword() *PasswordPolicy {
	p, err := ParsePassword(DefaultPasswordText)
	if err != nil {
		panic(fmt.Sprintf("built-in password policy: %v", err))
	}
	return p
}

func passwordError(ps ...Problem) error {
	texts := make([]string, len(ps))
	for i, p := range ps {
		texts[i] = p.String()
	}
	return fault.New(fault.Invalid, "password policy is not valid: "+strings.Join(texts, "; "))
}

func (p *PasswordPolicy) readLength(f field, ps *problems) {
	n, ok := wholeNumber(f.value)
	switch {
	case p.length != 0:
		ps.addf(f.line, "length is given twice")
	case !ok || n < MinPasswordLength || n > MaxPasswordLength:
		ps.addf(f.line, "length must be between %d and %d", MinPasswordLength, MaxPasswordLength)
	default:
		p.length = n
	}
}

// readRules reads `rule "charset" { ... }`, which in JSON is an object by the
// kind of rule, or a list of such objects.
func (p *PasswordPolicy) readRules(v value, ps *problems) {
	switch v.kind {
	case kindList:
		for _, item := range v.list {
			if item.kind != kindObject {
				ps.addf(item.line, `a rule must be a block, as in rule "charset" { ... }`)
				continue
			}
			p.readRules(item, ps)
		}
	case kindObject:
		for _, f := range v.fields {
			if f.key != "charset" {
				ps.addf(f.line, `unknown rule %q; there is "charset"`, clip(f.key))
				continue
			}
			bodies := []value{f.value}
			if f.value.kind == kindList {
				bodies = f.value.list
			}
			for _, body := range bodies {
				p.readCharset(body, ps)
			}
		}
	default:
		ps.addf(v.line, `a rule must be a block, as in rule "charset" { ... }`)
	}
}

func (p *PasswordPolicy) readCharset(v value, ps *problems) {
	if v.kind != kindObject {
		ps.addf(v.line, `a rule must be a block, as in rule "charset" { charset = "abc" }`)
		return
	}
	rule := charsetRule{set: map[rune]bool{}}
	seen := map[string]bool{}
	for _, f := range v.fields {
		if seen[f.key] {
			ps.addf(f.line, "%s is given twice", clip(f.key))
		}
		seen[f.key] = true
		switch f.key {
		case "charset":
			rule.readSet(f, ps)
		case "min-chars":
			n, ok := wholeNumber(f.value)
			if !ok || n < 0 || n > MaxPasswordLength {
				ps.addf(f.line, "min-chars must be between 0 and %d", MaxPasswordLength)
			}
			rule.min = n
		default:
			ps.addf(f.line, `unknown key %q; a charset rule holds "charset" and "min-chars"`, clip(f.key))
		}
	}
	if !seen["charset"] {
		ps.addf(v.line, "a charset rule has no charset")
	}
	if len(p.rules) == maxCharsetRules {
		ps.addf(v.line, "more than %d rules", maxCharsetRules)
		return
	}
	p.rules = append(p.rules, rule)
}

func (r *charsetRule) readSet(f field, ps *problems) {
	switch {
	case f.value.kind != kindString || f.value.text == "":
		ps.addf(f.line, "charset must be a string of characters")
		return
	case !utf8.ValidString(f.value.text):
		ps.addf(f.line, "charset is not UTF-8")
		return
	}
	for _, c := range f.value.text {
		if !unicode.IsPrint(c) {
			ps.addf(f.line, "charset holds a character that is not printable")
			return
		}
		r.set[c] = true
	}
}

// wholeNumber reads an integer, also from digits in a string.
func wholeNumber(v value) (int, bool) {
	if v.kind != kindNumber && v.kind != kindString {
		return 0, false
	}
	n, err := strconv.Atoi(v.text)
	return n, err == nil
}

// validate checks the rules together.
func (p *PasswordPolicy) validate(ps *problems) {
	if p.length == 0 {
		ps.addf(0, "length is missing")
		return
	}
	if len(p.rules) == 0 {
		ps.addf(0, "there is no charset rule, so no character to choose from")
		return
	}
	all, needed := map[rune]bool{}, 0
	for _, r := range p.rules {
		needed += r.min
		for c := range r.set {
			all[c] = true
		}
	}
	if needed > p.length {
		ps.addf(0, "the rules need %d characters and length is %d", needed, p.length)
	}
	if len(all) > maxCharset {
		ps.addf(0, "the rules have %d different characters together; %d is the most", len(all), maxCharset)
	}
	for i, r := range p.rules {
		if share := float64(len(r.set)) / float64(len(all)); atLeast(r.min, p.length, share) < minAcceptance {
			ps.addf(0, "rule %d asks for %d characters of a small set; too few random passwords of length %d have them", i+1, r.min, p.length)
		}
	}
	// A fixed order makes the same random bytes give the same password.
	for c := range all {
		p.charset = append(p.charset, c)
	}
	slices.Sort(p.charset)
}

// atLeast returns the probability that of n random characters, each in the
// rule's set with probability share, at least k are.
func atLeast(k, n int, share float64) float64 {
	if share >= 1 {
		return 1
	}
	sum := 0.0
	for i := k; i <= n; i++ {
		lnChoose, _ := math.Lgamma(float64(n + 1))
		a, _ := math.Lgamma(float64(i + 1))
		b, _ := math.Lgamma(float64(n - i + 1))
		sum += math.Exp(lnChoose - a - b + float64(i)*math.Log(share) + float64(n-i)*math.Log1p(-share))
	}
	return sum
}

// Length returns how many characters the passwords have.
func (p *PasswordPolicy) Length() int { return p.length }

// errNoPassword is what generation ends with when chance never met the rules.
var errNoPassword = errors.New("no candidate met the rules of the password policy")

// Generate returns a password in which every allowed password is equally
// likely: whole candidates are drawn and those that break a rule are thrown
// away. random must be a cryptographic source; an error of it is returned.
// Whoever stores a policy should generate once, since rules that are each
// fair may still exclude each other.
func (p *PasswordPolicy) Generate(random io.Reader) (string, error) {
	source := runeSource{random: random, charset: p.charset}
	candidate := make([]rune, p.length)
	for range maxPasswordTries {
		for i := range candidate {
			c, err := source.next()
			if err != nil {
				return "", fmt.Errorf("reading randomness: %w", err)
			}
			candidate[i] = c
		}
		if p.accepts(candidate) {
			return string(candidate), nil
		}
	}
	return "", fault.Wrap(fault.Invalid, errNoPassword, "the rules of the password policy are too hard to meet by chance")
}

func (p *PasswordPolicy) accepts(candidate []rune) bool {
	for _, r := range p.rules {
		n := 0
		for _, c := range candidate {
			if r.set[c] {
				n++
			}
		}
		if n < r.min {
			return false
		}
	}
	return true
}

// runeSource draws characters without bias from random bytes.
type runeSource struct {
	random  io.Reader
	charset []rune
	buf     [128]byte
	unread  []byte
}

func (s *runeSource) next() (rune, error) {
	n := len(s.charset)
	// Bytes above the largest multiple of n would favour the first characters.
	limit := 256 - 256%n
	for {
		if len(s.unread) == 0 {
			if _, err := io.ReadFull(s.random, s.buf[:]); err != nil {
				return 0, err
			}
			s.unread = s.buf[:]
		}
		b := int(s.unread[0])
		s.unread = s.unread[1:]
		if b < limit {
			return s.charset[b%n], nil
		}
	}
}
