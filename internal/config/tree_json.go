package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// jsonReader builds nodes from JSON tokens. The standard library's decoder is
// used rather than HCL's own JSON parser, which drops booleans inside lists
// and accepts text after the end, and which gives no place for an error.
type jsonReader struct {
	name string
	src  []byte
	dec  *json.Decoder

	// The last position asked for, so that lines are counted once.
	offset, line, lineStart int
}

func parseJSON(name string, src []byte) (node, error) {
	r := jsonReader{name: name, src: src, dec: json.NewDecoder(bytes.NewReader(src))}
	r.dec.UseNumber()
	root, err := r.value(0)
	if err != nil {
		return node{}, err
	}
	if _, err := r.dec.Token(); !errors.Is(err, io.EOF) {
		return node{}, &Error{Pos: r.next(), Msg: "syntax error: there is text after the closing brace"}
	}
	return root, nil
}

// next returns the position of the token that is read next. It only moves
// forward.
func (r *jsonReader) next() Pos {
	offset := int(r.dec.InputOffset())
	for offset < len(r.src) && bytes.IndexByte([]byte(" \t\r\n,:"), r.src[offset]) >= 0 {
		offset++
	}
	for ; r.offset < offset; r.offset++ {
		if r.src[r.offset] == '\n' {
			r.line, r.lineStart = r.line+1, r.offset+1
		}
	}
	return Pos{File: r.name, Line: r.line + 1, Column: offset - r.lineStart + 1}
}

func (r *jsonReader) token() (json.Token, Pos, error) {
	at := r.next()
	t, err := r.dec.Token()
	if err == nil {
		return t, at, nil
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return nil, at, &Error{Pos: at, Msg: "syntax error: " + syntax.Error()}
	}
	return nil, at, &Error{Pos: at, Msg: "syntax error: the file ends in the middle of a value"}
}

func (r *jsonReader) value(depth int) (node, error) {
	t, at, err := r.token()
	if err != nil {
		return node{}, err
	}
	if depth > maxDepth {
		return node{}, &Error{Pos: at, Msg: fmt.Sprintf("values are nested more than %d deep", maxDepth)}
	}
	n := node{pos: at}
	switch t := t.(type) {
	case string:
		n.kind, n.text = kindString, t
	case json.Number:
		n.kind, n.text = kindNumber, t.String()
	case bool:
		n.kind, n.text = kindBool, fmt.Sprint(t)
	case json.Delim:
		if t == '[' {
			return r.list(n, depth)
		}
		return r.object(n, depth)
	}
	return n, nil
}

func (r *jsonReader) list(n node, depth int) (node, error) {
	n.kind = kindList
	for r.dec.More() {
		element, err := r.value(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.list = append(n.list, element)
	}
	_, _, err := r.token()
	return n, err
}

func (r *jsonReader) object(n node, depth int) (node, error) {
	n.kind = kindObject
	for r.dec.More() {
		t, at, err := r.token()
		if err != nil {
			return node{}, err
		}
		key, ok := t.(string)
		if !ok {
			return node{}, &Error{Pos: at, Msg: "syntax error: expected a key in double quotes"}
		}
		value, err := r.value(depth + 1)
		if err != nil {
			return node{}, err
		}
		n.fields = append(n.fields, field{key: key, pos: at, value: value})
	}
	_, _, err := r.token()
	return n, err
}
