package audit

import (
	"bytes"
	"maps"
)

// TestEncoder encodes single records, closing each line as the first of a
// chain.
type TestEncoder struct{ f *formatter }

// NewTestEncoder returns an encoder with a device's options, which must be
// valid.
func NewTestEncoder(salt []byte, opts map[string]string) *TestEncoder {
	o, err := parseOptions(opts)
	if err != nil {
		panic(err)
	}
	return &TestEncoder{newFormatter(o.format, salt)}
}

// Line encodes r. The line is valid until the next call.
func (t *TestEncoder) Line(r *Record) []byte {
	e := t.f.acquire()
	defer t.f.release(e)
	e.entry(r, newTestHeaders())
	var c chain
	e.buf = c.seal(e.buf, 0)
	return e.buf
}

// Remains returns the memory in which c keeps what devices have written.
func Remains(c *Common) []byte {
	var all []byte
	for _, p := range c.parts[:cap(c.parts)] {
		all = append(all, p.text[:cap(p.text)]...)
	}
	return all
}

var testHeaders = newHeaderSet(maps.All(map[string]bool{"x-hashed": true, "x-clear": false}))

func newTestHeaders() *headerSet { return testHeaders }

// Data rewrites JSON text as a record's data.
func (t *TestEncoder) Data(raw []byte, keep []string, elide bool) []byte {
	e := t.f.acquire()
	defer t.f.release(e)
	e.buf = e.buf[:0]
	e.appendData(raw, keep, elide)
	return bytes.Clone(e.buf)
}

// HashOf returns what a device with this salt writes for b.
func HashOf(salt, b []byte) string { return string(newHasher(salt).append(nil, b)) }
