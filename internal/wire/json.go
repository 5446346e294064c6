package wire

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/fault"
)

// Limits bound what a JSON document may cost to handle. They are checked while
// scanning, before anything is allocated for the content.
type Limits struct {
	Depth    int // nesting of arrays and objects
	Keys     int // members of one object
	Elements int // elements of one array
	Values   int // values in the whole document
	String   int // bytes of one string
}

// DefaultLimits are those of a listener that sets none.
var DefaultLimits = Limits{Depth: 300, Keys: 10_000, Elements: 10_000, Values: 500_000, String: 1 << 20}

// Member is one member of a JSON object: its decoded name and its value's
// bytes as they came.
type Member struct {
	Name  string
	Value []byte
}

// Object is a JSON object whose members have been split and whose values are
// known to be well-formed. The zero Object is an absent body.
type Object struct {
	// Raw is the object as it came, without what stood around it.
	Raw []byte
	// Members in the order they came. Names are unique.
	Members []Member
}

// Present reports whether there was a body.
func (o Object) Present() bool { return o.Raw != nil }

// Lookup returns the value of the member called name.
func (o Object) Lookup(name string) ([]byte, bool) {
	for i := range o.Members {
		if o.Members[i].Name == name {
			return o.Members[i].Value, true
		}
	}
	return nil, false
}

// ParseObject checks that body begins with one JSON object within the limits
// and splits its members. An empty or blank body is the zero Object, and so is
// null, which clients send for no input. Further
// objects after the first are ignored, as Vault's decoder does; any other text
// is not. Every other document is refused with [fault.Invalid] or [fault.TooLarge]; the message tells where,
// not what.
func ParseObject(body []byte, l Limits) (Object, error) {
	s := scanner{b: body, l: l}
	s.space()
	if s.i == len(s.b) || string(bytes.TrimRight(s.b[s.i:], " \t\r\n")) == "null" {
		return Object{}, nil
	}
	if s.b[s.i] != '{' {
		return Object{}, fault.New(fault.Invalid, "the request body must be a JSON object")
	}
	start := s.i
	members := make([]Member, 0, 4)
	if err := s.object(1, &members); err != nil {
		return Object{}, err
	}
	o := Object{Raw: body[start:s.i:s.i], Members: members}
	for s.space(); s.i < len(s.b); s.space() {
		if s.b[s.i] != '{' {
			return Object{}, s.bad("text after the object")
		}
		if err := s.object(1, nil); err != nil {
			return Object{}, err
		}
	}
	return o, nil
}

// Valid checks that value is exactly one well-formed JSON value within the
// limits.
func Valid(value []byte, l Limits) error {
	s := scanner{b: value, l: l}
	s.space()
	if err := s.value(0); err != nil {
		return err
	}
	s.space()
	if s.i != len(s.b) {
		return s.bad("text after the value")
	}
	return nil
}

// scanner checks JSON text (RFC 8259) from left to right.
type scanner struct {
	b      []byte
	i      int
	values int
	l      Limits
}

func (s *scanner) bad(what string) error {
	return fault.Newf(fault.Invalid, "failed to parse JSON input: %s at byte %d", what, s.i)
}

func (s *scanner) large(what string, limit int) error {
	return fault.Newf(fault.TooLarge, "JSON input refused: more than %d %s", limit, what)
}

func (s *scanner) space() {
	for s.i < len(s.b) {
		switch s.b[s.i] {
		case ' ', '\t', '\n', '\r':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) value(depth int) error {
	if s.values++; s.values > s.l.Values {
		return s.large("values", s.l.Values)
	}
	if s.i >= len(s.b) {
		return s.bad("unexpected end")
	}
	switch c := s.b[s.i]; {
	case c == '{':
		return s.object(depth+1, nil)
	case c == '[':
		return s.array(depth + 1)
	case c == '"':
		_, err := s.str()
		return err
	case c == 't':
		return s.word("true")
	case c == 'f':
		return s.word("false")
	case c == 'n':
		return s.word("null")
	case c == '-' || c >= '0' && c <= '9':
		return s.number()
	}
	return s.bad("unexpected character")
}

// object scans an object; top, if not nil, receives its members.
func (s *scanner) object(depth int, top *[]Member) error {
	if depth > s.l.Depth {
		return s.large("levels of nesting", s.l.Depth)
	}
	s.i++
	var names nameSet
	for n := 0; ; n++ {
		s.space()
		if s.i >= len(s.b) {
			return s.bad("unexpected end of object")
		}
		if s.b[s.i] == '}' && n == 0 {
			s.i++
			return nil
		}
		if n >= s.l.Keys {
			return s.large("members of one object", s.l.Keys)
		}
		if s.b[s.i] != '"' {
			return s.bad("expected a member name")
		}
		raw, err := s.str()
		if err != nil {
			return err
		}
		name := Unquote(raw)
		if !names.add(name) {
			return s.bad("duplicate member name")
		}
		s.space()
		if s.i >= len(s.b) || s.b[s.i] != ':' {
			return s.bad("expected a colon")
		}
		s.i++
		s.space()
		start := s.i
		if err := s.value(depth); err != nil {
			return err
		}
		if top != nil {
			*top = append(*top, Member{Name: name, Value: s.b[start:s.i:s.i]})
		}
		s.space()
		if s.i >= len(s.b) {
			return s.bad("unexpected end of object")
		}
		switch s.b[s.i] {
		case ',':
			s.i++
		case '}':
			s.i++
			return nil
		default:
			return s.bad("expected a comma or the end of the object")
		}
	}
}

func (s *scanner) array(depth int) error {
	if depth > s.l.Depth {
		return s.large("levels of nesting", s.l.Depth)
	}
	s.i++
	s.space()
	if s.i < len(s.b) && s.b[s.i] == ']' {
		s.i++
		return nil
	}
	for n := 0; ; n++ {
		if n >= s.l.Elements {
			return s.large("elements of one array", s.l.Elements)
		}
		s.space()
		if err := s.value(depth); err != nil {
			return err
		}
		s.space()
		if s.i >= len(s.b) {
			return s.bad("unexpected end of array")
		}
		switch s.b[s.i] {
		case ',':
			s.i++
		case ']':
			s.i++
			return nil
		default:
			return s.bad("expected a comma or the end of the array")
		}
	}
}

// str scans a string and returns it with its quotes.
func (s *scanner) str() ([]byte, error) {
	start := s.i
	s.i++
	for s.i < len(s.b) {
		c := s.b[s.i]
		switch {
		case c == '"':
			s.i++
			if s.i-start-2 > s.l.String {
				return nil, s.large("bytes in one string", s.l.String)
			}
			return s.b[start:s.i], nil
		case c == '\\':
			if err := s.escape(); err != nil {
				return nil, err
			}
		case c < 0x20:
			return nil, s.bad("control character in a string")
		case c < utf8.RuneSelf:
			s.i++
		default:
			r, n := utf8.DecodeRune(s.b[s.i:])
			if r == utf8.RuneError && n == 1 {
				return nil, s.bad("invalid UTF-8")
			}
			s.i += n
		}
	}
	return nil, s.bad("unexpected end of string")
}

func (s *scanner) escape() error {
	if s.i+1 >= len(s.b) {
		return s.bad("unexpected end of string")
	}
	switch s.b[s.i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.i += 2
		return nil
	case 'u':
		if s.i+6 > len(s.b) {
			return s.bad("unexpected end of string")
		}
		for _, c := range s.b[s.i+2 : s.i+6] {
			if !isHex(c) {
				return s.bad("bad \\u escape")
			}
		}
		s.i += 6
		return nil
	}
	return s.bad("bad escape")
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (s *scanner) word(w string) error {
	if len(s.b)-s.i < len(w) || string(s.b[s.i:s.i+len(w)]) != w {
		return s.bad("unexpected character")
	}
	s.i += len(w)
	return nil
}

// maxNumber bounds a number's text; longer ones are only ever an attack.
const maxNumber = 64

func (s *scanner) number() error {
	start := s.i
	if s.b[s.i] == '-' {
		s.i++
	}
	switch {
	case s.i < len(s.b) && s.b[s.i] == '0':
		s.i++
	case s.digits() == 0:
		return s.bad("bad number")
	}
	if s.i < len(s.b) && s.b[s.i] == '.' {
		s.i++
		if s.digits() == 0 {
			return s.bad("bad number")
		}
	}
	if s.i < len(s.b) && (s.b[s.i] == 'e' || s.b[s.i] == 'E') {
		s.i++
		if s.i < len(s.b) && (s.b[s.i] == '+' || s.b[s.i] == '-') {
			s.i++
		}
		if s.digits() == 0 {
			return s.bad("bad number")
		}
	}
	if s.i-start > maxNumber {
		return s.large("characters in a number", maxNumber)
	}
	return nil
}

func (s *scanner) digits() int {
	n := 0
	for s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9' {
		s.i++
		n++
	}
	return n
}

// nameSet finds duplicates: a short list first, a map once it grows.
type nameSet struct {
	few  [8]string
	n    int
	many map[string]struct{}
}

func (s *nameSet) add(name string) bool {
	if s.many != nil {
		if _, dup := s.many[name]; dup {
			return false
		}
		s.many[name] = struct{}{}
		return true
	}
	for _, have := range s.few[:s.n] {
		if have == name {
			return false
		}
	}
	if s.n < len(s.few) {
		s.few[s.n] = name
		s.n++
		return true
	}
	s.many = make(map[string]struct{}, 32)
	for _, have := range s.few {
		s.many[have] = struct{}{}
	}
	s.many[name] = struct{}{}
	return true
}

// Unquote decodes a JSON string that [ParseObject] or [Valid] has accepted,
// quotes included. Lone surrogates become U+FFFD.
func Unquote(raw []byte) string {
	if len(raw) < 2 {
		return ""
	}
	raw = raw[1 : len(raw)-1]
	plain := true
	for _, c := range raw {
		if c == '\\' {
			plain = false
			break
		}
	}
	if plain {
		return string(raw)
	}
	return string(AppendUnquoted(make([]byte, 0, len(raw)), raw))
}

// AppendUnquoted appends to dst the decoded content of a valid JSON string
// given without its quotes.
func AppendUnquoted(dst, raw []byte) []byte {
	for i := 0; i < len(raw); {
		c := raw[i]
		if c != '\\' {
			dst = append(dst, c)
			i++
			continue
		}
		switch raw[i+1] {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(raw[i+2:])
			i += 6
			if r >= 0xd800 && r < 0xdc00 && i+6 <= len(raw) && raw[i] == '\\' && raw[i+1] == 'u' {
				if low := hex4(raw[i+2:]); low >= 0xdc00 && low < 0xe000 {
					r = (r-0xd800)<<10 + (low - 0xdc00) + 0x10000
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
			continue
		default:
			dst = append(dst, raw[i+1])
		}
		i += 2
	}
	return dst
}

func hex4(b []byte) rune {
	var r rune
	for _, c := range b[:4] {
		r <<= 4
		switch {
		case c <= '9':
			r |= rune(c - '0')
		case c >= 'a':
			r |= rune(c - 'a' + 10)
		default:
			r |= rune(c - 'A' + 10)
		}
	}
	return r
}

// AppendQuoted appends s as a JSON string. Invalid UTF-8 becomes U+FFFD.
func AppendQuoted[T string | []byte](dst []byte, s T) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := decodeRune(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = append(dst, "\ufffd"...)
			i++
			start = i
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

func decodeRune[T string | []byte](s T) (rune, int) {
	var b [utf8.UTFMax]byte
	n := copy(b[:], s)
	return utf8.DecodeRune(b[:n])
}

// typeName names the JSON type of a well-formed value, for error texts.
func typeName(raw []byte) string {
	if len(raw) == 0 {
		return "nothing"
	}
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "an array"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

func wrong(want string, raw []byte) error {
	return fmt.Errorf("must be %s, not %s", want, typeName(raw))
}

// AppendStrings appends a list of strings as a JSON array; nil is empty.
func AppendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendQuoted(dst, s)
	}
	return append(dst, ']')
}

// AppendName appends a comma, a member's name, which needs no escape, and a
// colon.
func AppendName(dst []byte, name string) []byte {
	dst = append(dst, ',', '"')
	dst = append(dst, name...)
	return append(dst, '"', ':')
}

// AppendStringMember appends a member after others.
func AppendStringMember(dst []byte, name, value string) []byte {
	return AppendQuoted(AppendName(dst, name), value)
}

// AppendIntMember appends a member after others.
func AppendIntMember(dst []byte, name string, value int64) []byte {
	return strconv.AppendInt(AppendName(dst, name), value, 10)
}

// AppendBoolMember appends a member after others.
func AppendBoolMember(dst []byte, name string, value bool) []byte {
	return strconv.AppendBool(AppendName(dst, name), value)
}
