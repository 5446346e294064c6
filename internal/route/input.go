package route

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

// Parameter describes one input of an endpoint.
type Parameter struct {
	Name    string
	Aliases []string
	// In is "path", "query" or "body".
	In string
	// Type is "string", "boolean", "integer", "number", "duration", "array",
	// "map", "object" or "any".
	Type       string
	Default    string
	Doc        string
	Sensitive  bool
	Deprecated bool
}

// input is the plan of an endpoint's input struct, made once.
type input struct {
	typ    reflect.Type
	fields []field
	body   []int // index of the field that takes the whole body
}

type field struct {
	Parameter
	index  []int
	decode func(reflect.Value, []byte) error
}

func inputOf(t reflect.Type, pattern string, params []string) *input {
	if t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("route %q: input %v is not a struct", pattern, t))
	}
	in := &input{typ: t}
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		in.add(pattern, params, f)
	}
	return in
}

func (in *input) add(pattern string, params []string, f reflect.StructField) {
	if f.Tag.Get("body") == "*" {
		if f.Type != reflect.TypeFor[wire.Object]() {
			panic(fmt.Sprintf("route %q: field %s: a whole body is a wire.Object", pattern, f.Name))
		}
		in.body = f.Index
		return
	}
	p := Parameter{Doc: f.Tag.Get("doc"), Default: f.Tag.Get("default"), Sensitive: f.Tag.Get("sensitive") == "true", Deprecated: f.Tag.Get("deprecated") == "true"}
	switch {
	case f.Tag.Get("path") != "":
		p.Name, p.In = f.Tag.Get("path"), "path"
		if !slices.Contains(params, p.Name) {
			panic(fmt.Sprintf("route %q: field %s: no {%s} in the pattern", pattern, f.Name, p.Name))
		}
	case f.Tag.Get("query") != "":
		p.Name, p.In = f.Tag.Get("query"), "query"
	case f.Tag.Get("json") != "":
		p.Name, p.In = f.Tag.Get("json"), "body"
	default:
		panic(fmt.Sprintf("route %q: field %s of %v has no path, query or json tag", pattern, f.Name, in.typ))
	}
	if a := f.Tag.Get("alias"); a != "" {
		p.Aliases = strings.Split(a, ",")
	}
	if strings.Contains(p.Name, ",") {
		panic(fmt.Sprintf("route %q: field %s: a name has no options", pattern, f.Name))
	}
	for _, have := range in.fields {
		if have.In != p.In {
			continue
		}
		for _, name := range append(p.Aliases, p.Name) {
			if have.Name == name || slices.Contains(have.Aliases, name) {
				panic(fmt.Sprintf("route %q: two fields are called %q", pattern, name))
			}
		}
	}
	decode, kind := decoderOf(pattern, f)
	p.Type = kind
	if p.Default != "" {
		if err := decode(reflect.New(f.Type).Elem(), quoted(p.Default)); err != nil {
			panic(fmt.Sprintf("route %q: field %s: default: %v", pattern, f.Name, err))
		}
	}
	in.fields = append(in.fields, field{Parameter: p, index: f.Index, decode: decode})
}

// Decode fills a struct with `json` tags from an object inside a request, by the
// same rules as a whole request. Unknown members are ignored.
func Decode(object []byte, dst any) error {
	o, err := wire.ParseObject(object, wire.DefaultLimits)
	if err != nil {
		return err
	}
	v := reflect.ValueOf(dst).Elem()
	in := inputOf(v.Type(), "", nil)
	return in.bind(&Call{Verb: VerbWrite, Body: o}, v, nil)
}

func quoted(s string) []byte { return wire.AppendQuoted(nil, s) }

func (in *input) parameters() []Parameter {
	list := make([]Parameter, len(in.fields))
	for i, f := range in.fields {
		list[i] = f.Parameter
	}
	return list
}

// bind fills dst from the call. Names of the body or query that no field takes
// are appended to unknown, unless it is nil.
func (in *input) bind(c *Call, dst reflect.Value, unknown *[]string) error {
	if in.body != nil {
		dst.FieldByIndex(in.body).Set(reflect.ValueOf(c.Body))
	}
	for i := range in.fields {
		f := &in.fields[i]
		raw, ok := f.find(c)
		if !ok {
			if f.Default == "" {
				continue
			}
			raw = quoted(f.Default)
		}
		if err := f.decode(dst.FieldByIndex(f.index), raw); err != nil {
			return fault.Newf(fault.Invalid, "field %q: %s", f.Name, err)
		}
	}
	if unknown != nil && in.body == nil {
		*unknown = in.unrecognized(c)
	}
	return nil
}

func (f *field) find(c *Call) ([]byte, bool) {
	if f.In == "path" {
		return quoted(c.Param(f.Name)), true
	}
	if raw, ok := f.findNamed(c, f.Name); ok {
		return raw, true
	}
	for _, alias := range f.Aliases {
		if raw, ok := f.findNamed(c, alias); ok {
			return raw, true
		}
	}
	return nil, false
}

func (f *field) findNamed(c *Call, name string) ([]byte, bool) {
	if f.In == "body" {
		if raw, ok := c.Body.Lookup(name); ok {
			return raw, true
		}
		if c.Verb == VerbWrite || c.Verb == VerbPatch {
			return nil, false
		}
	}
	values, ok := c.Query[name]
	switch {
	case !ok:
		return nil, false
	case len(values) == 1:
		return quoted(values[0]), true
	}
	raw := []byte{'['}
	for i, v := range values {
		if i > 0 {
			raw = append(raw, ',')
		}
		raw = wire.AppendQuoted(raw, v)
	}
	return append(raw, ']'), true
}

// pseudo are query parameters with a meaning of their own.
var pseudo = []string{"list", "scan", "help", "after", "limit", "format"}

func (in *input) unrecognized(c *Call) []string {
	var names []string
	for i := range c.Body.Members {
		if name := c.Body.Members[i].Name; !in.knows(name) {
			names = append(names, name)
		}
	}
	if c.Verb != VerbWrite && c.Verb != VerbPatch {
		for name := range c.Query {
			if !in.knows(name) && !slices.Contains(pseudo, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

func (in *input) knows(name string) bool {
	for i := range in.fields {
		if in.fields[i].Name == name || slices.Contains(in.fields[i].Aliases, name) {
			return true
		}
	}
	return false
}

type optional interface{ Optional() }

// decoderOf chooses how a field of this type is read, and names its type.
func decoderOf(pattern string, f reflect.StructField) (func(reflect.Value, []byte) error, string) {
	decode, kind := decoderFor(f.Type)
	if decode == nil {
		panic(fmt.Sprintf("route %q: field %s: no decoder for %v", pattern, f.Name, f.Type))
	}
	return decode, kind
}

func decoderFor(t reflect.Type) (func(reflect.Value, []byte) error, string) {
	switch {
	case t == reflect.TypeFor[wire.Duration]():
		return func(dst reflect.Value, raw []byte) error {
			d, err := wire.ParseDuration(raw)
			dst.SetInt(int64(d))
			return err
		}, "duration"
	case t == reflect.TypeFor[wire.JSON]():
		return func(dst reflect.Value, raw []byte) error {
			dst.SetBytes(raw)
			return nil
		}, "any"
	case t.Implements(reflect.TypeFor[optional]()):
		inner, kind := decoderFor(t.Field(0).Type)
		if inner == nil {
			return nil, ""
		}
		return func(dst reflect.Value, raw []byte) error {
			if wire.IsNull(raw) {
				return nil
			}
			dst.Field(1).SetBool(true)
			return inner(dst.Field(0), raw)
		}, kind
	case reflect.PointerTo(t).Implements(reflect.TypeFor[json.Unmarshaler]()):
		return func(dst reflect.Value, raw []byte) error {
			return dst.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(raw)
		}, "any"
	}
	switch t.Kind() {
	case reflect.String:
		return func(dst reflect.Value, raw []byte) error {
			s, err := wire.ParseString(raw)
			dst.SetString(s)
			return err
		}, "string"
	case reflect.Bool:
		return func(dst reflect.Value, raw []byte) error {
			b, err := wire.ParseBool(raw)
			dst.SetBool(b)
			return err
		}, "boolean"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return decodeInt, "integer"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return decodeUint, "integer"
	case reflect.Float64:
		return func(dst reflect.Value, raw []byte) error {
			n, err := wire.ParseFloat(raw)
			dst.SetFloat(n)
			return err
		}, "number"
	case reflect.Slice:
		if t.Elem().Kind() == reflect.String {
			return func(dst reflect.Value, raw []byte) error {
				list, err := wire.ParseStrings(raw)
				if err == nil && list != nil {
					dst.Set(reflect.ValueOf(list).Convert(t))
				}
				return err
			}, "array"
		}
		return decodeJSON, "array"
	case reflect.Map:
		if t == reflect.TypeFor[map[string]string]() {
			return func(dst reflect.Value, raw []byte) error {
				m, err := wire.ParseMap(raw)
				dst.Set(reflect.ValueOf(m))
				return err
			}, "map"
		}
		return decodeJSON, "object"
	case reflect.Struct:
		return decodeJSON, "object"
	}
	return nil, ""
}

func decodeInt(dst reflect.Value, raw []byte) error {
	n, err := wire.ParseInt(raw)
	if err == nil && dst.OverflowInt(n) {
		err = errors.New("is out of range")
	}
	if err != nil {
		return err
	}
	dst.SetInt(n)
	return nil
}

func decodeUint(dst reflect.Value, raw []byte) error {
	n, err := wire.ParseInt(raw)
	if err == nil && (n < 0 || dst.OverflowUint(uint64(n))) {
		err = errors.New("is out of range")
	}
	if err != nil {
		return err
	}
	dst.SetUint(uint64(n))
	return nil
}

// decodeJSON reads a structured value. The decoder's own error text may repeat
// the value, so it is not passed on.
func decodeJSON(dst reflect.Value, raw []byte) error {
	if wire.IsNull(raw) {
		return nil
	}
	if raw[0] == '"' { // structured data inside a string, as form-like clients send
		if text := wire.Unquote(raw); strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
			raw = []byte(text)
		}
	}
	err := json.Unmarshal(raw, dst.Addr().Interface())
	var typ *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &typ) && typ.Field != "":
		return fmt.Errorf("its member %s must be a JSON value of type %s", strconv.Quote(typ.Field), typ.Type)
	}
	return fmt.Errorf("must be a JSON %s", strings.ReplaceAll(dst.Kind().String(), "struct", "object"))
}
