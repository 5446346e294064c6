package audit

import (
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/wire"
)

// Limits on a record's data. Beyond them the data is hashed as a whole, so
// that a small body of many tiny strings cannot buy unbounded work and output.
const (
	maxDepth   = 256
	maxStrings = 1 << 16
)

// mode says what happens to string values.
type mode uint8

const (
	hashed  mode = iota // replaced by their HMAC
	plain               // written as they are
	counted             // nothing is written; only the elements are counted
)

// walker rewrites JSON text into the encoder's buffer: the structure, the
// keys, the numbers, booleans and nulls stay, insignificant white space goes,
// and string values are hashed. It validates as it goes; what it wrote for a
// text that turns out malformed is discarded by the caller.
type walker struct {
	enc     *encoder
	src     []byte
	keep    []string // keys whose string values are written in clear
	elide   bool     // top-level keys and key_info become counts
	raw     bool
	strings int
}

// appendData writes the JSON text raw with its string values hashed. Text that
// is not one JSON value, or is beyond the limits, is replaced by one hash.
func (e *encoder) appendData(raw []byte, keep []string, elide bool) {
	start := len(e.buf)
	w := walker{enc: e, src: raw, keep: keep, elide: elide, raw: e.opts.raw}
	m := hashed
	if w.raw {
		m = plain
	}
	i, ok := w.value(w.space(0), 0, m)
	if ok && w.space(i) == len(raw) {
		return
	}
	e.buf = append(e.buf[:start], '"')
	e.buf = e.hash.append(e.buf, raw)
	e.buf = append(e.buf, '"')
}

// value rewrites the value that begins at i and returns the index after it.
func (w *walker) value(i, depth int, m mode) (int, bool) {
	if i >= len(w.src) || depth > maxDepth {
		return i, false
	}
	switch c := w.src[i]; {
	case c == '"':
		return w.text(i, m)
	case c == '{':
		i, _, ok := w.object(i, depth, m)
		return i, ok
	case c == '[':
		i, _, ok := w.array(i, depth, m)
		return i, ok
	case c == '-' || c >= '0' && c <= '9':
		end, ok := scanNumber(w.src, i)
		w.copy(i, end, m)
		return end, ok
	}
	for _, lit := range [...]string{"null", "true", "false"} {
		if end := i + len(lit); end <= len(w.src) && string(w.src[i:end]) == lit {
			w.copy(i, end, m)
			return end, true
		}
	}
	return i, false
}

// object rewrites an object and returns the number of its members.
func (w *walker) object(i, depth int, m mode) (int, int, bool) {
	w.byte('{', m)
	i = w.space(i + 1)
	if i < len(w.src) && w.src[i] == '}' {
		w.byte('}', m)
		return i + 1, 0, true
	}
	for n := 1; ; n++ {
		key, next, ok := w.key(i, m)
		if !ok {
			return i, n, false
		}
		i = w.space(next)
		if i >= len(w.src) || w.src[i] != ':' {
			return i, n, false
		}
		w.byte(':', m)
		if i, ok = w.member(w.space(i+1), depth, key, m); !ok {
			return i, n, false
		}
		i = w.space(i)
		if i >= len(w.src) {
			return i, n, false
		}
		switch w.src[i] {
		case '}':
			w.byte('}', m)
			return i + 1, n, true
		case ',':
			w.byte(',', m)
			i = w.space(i + 1)
		default:
			return i, n, false
		}
	}
}

// key rewrites a member's name at i. The name it returns is unescaped and
// holds until the next string is read.
func (w *walker) key(i int, m mode) ([]byte, int, bool) {
	end, simple, ok := scanString(w.src, i)
	if !ok {
		return nil, i, false
	}
	if simple {
		w.copy(i, end, m)
		return w.src[i+1 : end-1], end, true
	}
	w.enc.tmp = wire.AppendUnquoted(w.enc.tmp[:0], w.src[i+1:end-1])
	if m != counted {
		w.enc.buf = wire.AppendQuoted(w.enc.buf, w.enc.tmp)
	}
	return w.enc.tmp, end, true
}

// member rewrites the value of the member called key.
func (w *walker) member(i, depth int, key []byte, m mode) (int, bool) {
	if m == hashed || m == plain {
		m = hashed
		if w.raw || listed(w.keep, key) {
			m = plain
		}
	}
	if w.elide && depth == 0 && i < len(w.src) {
		var n int
		var ok bool
		switch {
		case w.src[i] == '[' && string(key) == "keys":
			i, n, ok = w.array(i, depth+1, counted)
		case w.src[i] == '{' && string(key) == "key_info":
			i, n, ok = w.object(i, depth+1, counted)
		default:
			return w.value(i, depth+1, m)
		}
		w.enc.int(int64(n))
		return i, ok
	}
	return w.value(i, depth+1, m)
}

// array rewrites an array and returns the number of its elements.
func (w *walker) array(i, depth int, m mode) (int, int, bool) {
	w.byte('[', m)
	i = w.space(i + 1)
	if i < len(w.src) && w.src[i] == ']' {
		w.byte(']', m)
		return i + 1, 0, true
	}
	for n := 1; ; n++ {
		var ok bool
		if i, ok = w.value(i, depth+1, m); !ok {
			return i, n, false
		}
		i = w.space(i)
		if i >= len(w.src) {
			return i, n, false
		}
		switch w.src[i] {
		case ']':
			w.byte(']', m)
			return i + 1, n, true
		case ',':
			w.byte(',', m)
			i = w.space(i + 1)
		default:
			return i, n, false
		}
	}
}

// text rewrites the string value at i.
func (w *walker) text(i int, m mode) (int, bool) {
	end, simple, ok := scanString(w.src, i)
	if !ok {
		return i, false
	}
	if simple && m != hashed {
		w.copy(i, end, m)
		return end, true
	}
	if w.strings++; w.strings > maxStrings {
		return i, false
	}
	e := w.enc
	val := w.src[i+1 : end-1]
	if !simple {
		e.tmp = wire.AppendUnquoted(e.tmp[:0], val)
		val = e.tmp
	}
	switch m {
	case hashed:
		e.buf = append(e.buf, '"')
		e.buf = e.hash.append(e.buf, val)
		e.buf = append(e.buf, '"')
	case plain:
		e.buf = wire.AppendQuoted(e.buf, val)
	case counted:
	}
	return end, true
}

// listed is slices.Contains without making a string of key.
func listed(keys []string, key []byte) bool {
	for _, k := range keys {
		if k == string(key) {
			return true
		}
	}
	return false
}

func (w *walker) byte(c byte, m mode) {
	if m != counted {
		w.enc.buf = append(w.enc.buf, c)
	}
}

func (w *walker) copy(i, end int, m mode) {
	if m != counted {
		w.enc.buf = append(w.enc.buf, w.src[i:end]...)
	}
}

func (w *walker) space(i int) int {
	for i < len(w.src) {
		switch w.src[i] {
		case ' ', '\t', '\n', '\r':
			i++
		default:
			return i
		}
	}
	return i
}

// scanString finds the end of the string literal at i. It is simple if its
// bytes are its value: printable ASCII without escapes.
func scanString(src []byte, i int) (end int, simple, ok bool) {
	if i >= len(src) || src[i] != '"' {
		return i, false, false
	}
	simple = true
	for i++; i < len(src); i++ {
		switch c := src[i]; {
		case c == '"':
			return i + 1, simple, true
		case c == '\\':
			simple = false
			n := escapeLen(src, i)
			if n == 0 {
				return i, false, false
			}
			i += n - 1
		case c < 0x20:
			return i, false, false
		case c >= utf8.RuneSelf:
			simple = false
		}
	}
	return i, false, false
}

// escapeLen returns the length of the escape that begins at i, or 0 if it is
// none.
func escapeLen(src []byte, i int) int {
	if i+1 >= len(src) {
		return 0
	}
	switch src[i+1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
	default:
		return 0
	}
	if i+6 > len(src) {
		return 0
	}
	for _, c := range src[i+2 : i+6] {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
			return 0
		}
	}
	return 6
}

// scanNumber finds the end of the number at i by the grammar of RFC 8259,
// section 6.
func scanNumber(src []byte, i int) (int, bool) {
	if src[i] == '-' {
		i++
	}
	n := digits(src, i)
	if n == i || src[i] == '0' && n > i+1 {
		return i, false
	}
	if i = n; i < len(src) && src[i] == '.' {
		if n = digits(src, i+1); n == i+1 {
			return i, false
		}
		i = n
	}
	if i < len(src) && (src[i] == 'e' || src[i] == 'E') {
		i++
		if i < len(src) && (src[i] == '+' || src[i] == '-') {
			i++
		}
		if n = digits(src, i); n == i {
			return i, false
		}
		i = n
	}
	return i, true
}

func digits(src []byte, i int) int {
	for i < len(src) && src[i] >= '0' && src[i] <= '9' {
		i++
	}
	return i
}
