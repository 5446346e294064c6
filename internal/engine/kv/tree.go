package kv

import "github.com/cofferhq/coffer/internal/wire"

// tree is a JSON value of which only the objects have been taken apart, in one
// pass over the text. The text must be JSON: package wire has checked it when it
// was received.
type tree struct {
	raw     []byte
	object  bool
	members []member
}

type member struct {
	name  string
	quote []byte // the name as it was written
	value tree
}

// parseTree takes a JSON text apart.
func parseTree(text []byte) tree {
	p := parser{b: text}
	p.space()
	return p.value()
}

type parser struct {
	b []byte
	i int
}

func (p *parser) peek() byte {
	if p.i < len(p.b) {
		return p.b[p.i]
	}
	return 0
}

func (p *parser) space() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

func (p *parser) value() tree {
	start := p.i
	switch p.peek() {
	case '{':
		t := tree{object: true}
		p.object(&t)
		t.raw = p.b[start:p.i]
		return t
	case '[':
		p.array()
	case '"':
		p.text()
	default:
		p.word()
	}
	return tree{raw: p.b[start:p.i]}
}

func (p *parser) object(t *tree) {
	p.i++
	for p.space(); p.peek() == '"'; p.space() {
		quote := p.text()
		p.space()
		if p.peek() != ':' {
			return
		}
		p.i++
		p.space()
		t.members = append(t.members, member{wire.Unquote(quote), quote, p.value()})
		p.space()
		if p.peek() != ',' {
			break
		}
		p.i++
	}
	if p.peek() == '}' {
		p.i++
	}
}

// array skips an array: patches replace it as a whole.
func (p *parser) array() {
	for depth := 0; p.i < len(p.b); {
		switch p.b[p.i] {
		case '"':
			p.text()
			continue
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		}
		p.i++
		if depth == 0 {
			return
		}
	}
}

// text skips a string and returns it with its quotes.
func (p *parser) text() []byte {
	start := p.i
	for p.i++; p.i < len(p.b); p.i++ {
		switch p.b[p.i] {
		case '\\':
			p.i++
		case '"':
			p.i++
			return p.b[start:p.i]
		}
	}
	p.i = len(p.b)
	return nil
}

// word skips a number or one of true, false and null.
func (p *parser) word() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ',', ':', '}', ']', '{', '[', '"', ' ', '\t', '\n', '\r':
			return
		}
		p.i++
	}
}

func (t tree) isNull() bool { return wire.IsNull(t.raw) }

// fewMembers is up to how many members a search is faster than an index.
const fewMembers = 16

// index maps the names of an object's members to their places.
func (t tree) index() func(name string) (int, bool) {
	if len(t.members) <= fewMembers {
		return func(name string) (int, bool) {
			for i := range t.members {
				if t.members[i].name == name {
					return i, true
				}
			}
			return 0, false
		}
	}
	places := make(map[string]int, len(t.members))
	for i := range t.members {
		places[t.members[i].name] = i
	}
	return func(name string) (int, bool) {
		i, ok := places[name]
		return i, ok
	}
}

// appendPatched writes t changed by a merge patch (RFC 7396): members of the
// patch replace those of the same name, nulls remove them, objects are merged.
// Members keep their order, new ones follow.
func (t tree) appendPatched(dst []byte, patch tree) []byte {
	if !patch.object {
		return append(dst, patch.raw...)
	}
	dst = append(dst, '{')
	first := true
	name := func(m *member) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(append(dst, m.quote...), ':')
	}
	inPatch := patch.index()
	for i := range t.members {
		old := &t.members[i]
		p, ok := inPatch(old.name)
		if ok && patch.members[p].value.isNull() {
			continue
		}
		name(old)
		if ok {
			dst = old.value.appendPatched(dst, patch.members[p].value)
		} else {
			dst = append(dst, old.value.raw...)
		}
	}
	inTarget := t.index()
	for i := range patch.members {
		added := &patch.members[i]
		if _, ok := inTarget(added.name); ok || added.value.isNull() {
			continue
		}
		name(added)
		dst = tree{}.appendPatched(dst, added.value)
	}
	return append(dst, '}')
}

// appendSubkeys writes an object's names with null for every value but objects
// that have members themselves, down to depth levels; 0 is all.
func (t tree) appendSubkeys(dst []byte, depth int) []byte {
	if !t.object {
		return append(dst, "null"...)
	}
	dst = append(dst, '{')
	for i := range t.members {
		if i > 0 {
			dst = append(dst, ',')
		}
		m := &t.members[i]
		dst = append(append(dst, m.quote...), ':')
		if len(m.value.members) == 0 || depth == 1 {
			dst = append(dst, "null"...)
			continue
		}
		dst = m.value.appendSubkeys(dst, max(depth-1, 0))
	}
	return append(dst, '}')
}
