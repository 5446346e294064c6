package audit

// Common keeps what the two records of an exchange have in common, who asked
// and what, as the first one was encoded: for the second one it is copied, which
// is half of its cost. Its memory is used again after [Common.Reset]. The zero
// Common is empty. It is not safe for concurrent use.
type Common struct{ parts []part }

// part is what one device has written.
type part struct {
	of   *formatter
	text []byte
}

// find returns what a device has written.
func (c *Common) find(f *formatter) ([]byte, bool) {
	for i := range c.parts {
		if c.parts[i].of == f {
			return c.parts[i].text, true
		}
	}
	return nil, false
}

// keep takes over what a device has written.
func (c *Common) keep(f *formatter, text []byte) {
	n := len(c.parts)
	if n < cap(c.parts) {
		c.parts = c.parts[:n+1]
	} else {
		c.parts = append(c.parts, part{})
	}
	p := &c.parts[n]
	p.of, p.text = f, append(p.text[:0], text...)
}

// Reset empties c. Nothing of a request is left behind: a raw device writes its
// secrets in clear.
func (c *Common) Reset() {
	for i := range c.parts {
		p := &c.parts[i]
		clear(p.text)
		if p.of = nil; cap(p.text) > maxPooledBuffer {
			p.text = nil
		}
	}
	c.parts = c.parts[:0]
}
