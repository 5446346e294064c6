package policy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// jsonReader builds values from JSON tokens. The HCL library reads JSON too,
// but drops booleans in lists and confuses objects with blocks.
type jsonReader struct {
	dec   *json.Decoder
	text  string
	at    int // offset up to which lines were counted
	line  int
	nodes int
}

func parseJSON(text string) (value, *Problem) {
	text = strings.TrimPrefix(text, "\ufeff")
	r := &jsonReader{dec: json.NewDecoder(strings.NewReader(text)), text: text, line: 1}
	r.dec.UseNumber()
	v, err := r.value(0)
	if err == nil {
		if _, more := r.dec.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("text after the closing brace")
		}
	}
	if err != nil {
		return value{}, &Problem{Line: r.currentLine(), Text: jsonText(err)}
	}
	return v, nil
}

// jsonText words a decoder's error without quoting the input.
func jsonText(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the JSON text ends too early"
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return "JSON: " + syntax.Error()
	}
	return err.Error()
}

func (r *jsonReader) currentLine() int {
	end := min(int(r.dec.InputOffset()), len(r.text))
	r.line += strings.Count(r.text[r.at:end], "\n")
	r.at = end
	return r.line
}

func (r *jsonReader) value(depth int) (value, error) {
	if depth > maxDepth {
		return value{}, errTooDeep
	}
	if r.nodes++; r.nodes > maxNodes {
		return value{}, errTooMany
	}
	tok, err := r.dec.Token()
	if err != nil {
		return value{}, err
	}
	v := value{line: r.currentLine()}
	switch t := tok.(type) {
	case nil:
		v.kind = kindNull
	case string:
		v.kind, v.text = kindString, t
	case json.Number:
		v.kind, v.text = kindNumber, t.String()
	case bool:
		v.kind, v.text = kindBool, fmt.Sprint(t)
	case json.Delim:
		if t == '[' {
			return r.list(v, depth)
		}
		return r.object(v, depth)
	}
	return v, nil
}

func (r *jsonReader) list(v value, depth int) (value, error) {
	v.kind = kindList
	for r.dec.More() {
		item, err := r.value(depth + 1)
		if err != nil {
			return value{}, err
		}
		v.list = append(v.list, item)
	}
	_, err := r.dec.Token()
	return v, err
}

func (r *jsonReader) object(v value, depth int) (value, error) {
	v.kind = kindObject
	for r.dec.More() {
		key, err := r.dec.Token()
		if err != nil {
			return value{}, err
		}
		f := field{line: r.currentLine()}
		f.key, _ = key.(string)
		if f.value, err = r.value(depth + 1); err != nil {
			return value{}, err
		}
		v.fields = append(v.fields, f)
	}
	_, err := r.dec.Token()
	return v, err
}
