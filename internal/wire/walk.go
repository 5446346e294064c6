package wire

import (
	"bytes"
	"errors"
)

// ErrWalk is what walks over something that is not well-formed, or not of the
// kind that was expected, end with.
var ErrWalk = errors.New("must be well-formed JSON")

// EachElement calls fn for every element of an array that is part of a document
// [ParseObject] has accepted, in order, stopping at fn's first error. It checks
// no more than it needs to find its way, and copies nothing: it is for long
// batches. On anything but an array it returns an error.
func EachElement(array []byte, fn func(element []byte) error) error {
	w := walker{b: array}
	return w.container('[', ']', func() error {
		el, err := w.value()
		if err != nil {
			return err
		}
		return fn(el)
	})
}

// EachMember is [EachElement] for an object: it calls fn with every member's name
// and value. The name is given as it is written, without quotes and with its
// escapes, if it has any.
func EachMember(object []byte, fn func(name, value []byte) error) error {
	w := walker{b: object}
	return w.container('{', '}', func() error {
		name, err := w.value()
		if err != nil {
			return err
		}
		if len(name) < 2 || name[0] != '"' {
			return ErrWalk
		}
		if w.space(); w.next() != ':' {
			return ErrWalk
		}
		w.i++
		w.space()
		value, err := w.value()
		if err != nil {
			return err
		}
		return fn(name[1:len(name)-1], value)
	})
}

// Text returns the content of a JSON string of a document that was accepted:
// a part of raw if nothing in it is escaped, else a copy.
func Text(raw []byte) []byte {
	if len(raw) < 2 {
		return nil
	}
	raw = raw[1 : len(raw)-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	return AppendUnquoted(make([]byte, 0, len(raw)), raw)
}

// walker finds the ends of values, trusting that they are well-formed. On others
// it may find wrong ends, but stays within its bytes.
type walker struct {
	b []byte
	i int
}

func (w *walker) next() byte {
	if w.i < len(w.b) {
		return w.b[w.i]
	}
	return 0
}

func (w *walker) space() {
	for w.i < len(w.b) && (w.b[w.i] == ' ' || w.b[w.i] == '\n' || w.b[w.i] == '\r' || w.b[w.i] == '\t') {
		w.i++
	}
}

// container walks from one bracket to the other; item consumes one item.
func (w *walker) container(from, to byte, item func() error) error {
	if w.space(); w.next() != from {
		return ErrWalk
	}
	w.i++
	if w.space(); w.next() == to {
		return nil
	}
	for {
		w.space()
		if err := item(); err != nil {
			return err
		}
		w.space()
		switch w.next() {
		case ',':
			w.i++
		case to:
			return nil
		default:
			return ErrWalk
		}
	}
}

// value consumes one value and returns it.
func (w *walker) value() ([]byte, error) {
	start, depth := w.i, 0
	for w.i < len(w.b) {
		switch c := w.b[w.i]; c {
		case '"':
			if !w.str() {
				return nil, ErrWalk
			}
		case '[', '{':
			depth++
			w.i++
			continue
		case ']', '}':
			depth--
			w.i++
		case ',', ':', ' ', '\n', '\r', '\t':
			if depth == 0 {
				return nil, ErrWalk
			}
			w.i++
			continue
		default:
			w.word()
		}
		if depth <= 0 {
			break
		}
	}
	if depth != 0 || w.i == start {
		return nil, ErrWalk
	}
	return w.b[start:w.i], nil
}

// word consumes a number, true, false or null.
func (w *walker) word() {
	for w.i < len(w.b) {
		switch w.b[w.i] {
		case ',', ']', '}', ' ', '\n', '\r', '\t', ':', '"', '[', '{':
			return
		}
		w.i++
	}
}

// str consumes a string.
func (w *walker) str() bool {
	w.i++
	for {
		n := bytes.IndexByte(w.b[w.i:], '"')
		if n < 0 {
			return false
		}
		end := w.i + n
		escapes := 0
		for end-escapes > w.i && w.b[end-1-escapes] == '\\' {
			escapes++
		}
		w.i = end + 1
		if escapes%2 == 0 {
			return true
		}
	}
}
