package openapi

import (
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// typed is the schema of a parameter's values.
func typed(p route.Parameter) *schema {
	s := &schema{Type: p.Type}
	switch p.Type {
	case "duration":
		s.Type, s.Format = "string", "duration"
	case "array":
		s.Items = &schema{Type: "string"}
	case "map":
		s.Type, s.Additional = "object", &schema{Type: "string"}
	case "any":
		s.Type = ""
	}
	if p.Default != "" {
		s.Default = value(p.Type, p.Default)
	}
	if p.Sensitive {
		s.DisplayAttrs = &displayAttrs{Sensitive: true}
	}
	return s
}

// property is the schema of a member of a body.
func property(p route.Parameter) *schema {
	s := typed(p)
	s.Description, s.Deprecated = p.Doc, p.Deprecated
	return s
}

// value gives a default the type of its parameter.
func value(kind, text string) any {
	switch kind {
	case "boolean":
		if b, err := strconv.ParseBool(text); err == nil {
			return b
		}
	case "integer":
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n
		}
	case "number":
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return f
		}
	case "array":
		return strings.Split(text, ",")
	}
	return text
}

// responses are an endpoint's answers if all is well.
func responses(e *route.Endpoint) map[string]response {
	switch {
	case e.Login:
		return map[string]response{"200": {Description: "A token, in `auth`."}}
	case e.Out == nil:
		return map[string]response{"200": {Description: "OK"}}
	case e.Out == reflect.TypeFor[route.None]():
		return map[string]response{"204": {Description: "empty body"}}
	}
	return map[string]response{"200": {Description: "OK", Content: content(answer(e.Out, nil))}}
}

// answer is the schema of a Go type as package json writes it. seen are the
// structs around it: a type within itself is any value.
func answer(t reflect.Type, seen []reflect.Type) *schema {
	if t.Kind() == reflect.Pointer {
		s := answer(t.Elem(), seen)
		s.Nullable = len(seen) > 0
		return s
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		return &schema{Type: "string", Format: "date-time"}
	case t == reflect.TypeFor[wire.Duration]():
		return &schema{Type: "integer", Description: "Seconds."}
	case t == reflect.TypeFor[route.Keys]():
		return &schema{Type: "object", Properties: map[string]*schema{
			"keys": {Type: "array", Items: &schema{Type: "string"}}, "key_info": {Type: "object", Additional: &schema{}},
		}}
	case implements[route.Appender](t):
		return &schema{Type: "object"}
	case implements[json.Marshaler](t):
		return &schema{}
	}
	switch t.Kind() {
	case reflect.String:
		return &schema{Type: "string"}
	case reflect.Bool:
		return &schema{Type: "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &schema{Type: "integer"}
	case reflect.Float32, reflect.Float64:
		return &schema{Type: "number"}
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return &schema{Type: "string", Format: "byte"}
		}
		return &schema{Type: "array", Items: answer(t.Elem(), seen)}
	case reflect.Map:
		return &schema{Type: "object", Additional: answer(t.Elem(), seen)}
	case reflect.Struct:
		return object(t, seen)
	}
	return &schema{}
}

func implements[I any](t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[I]()) || reflect.PointerTo(t).Implements(reflect.TypeFor[I]())
}

func object(t reflect.Type, seen []reflect.Type) *schema {
	for _, outer := range seen {
		if outer == t {
			return &schema{}
		}
	}
	seen = append(seen[:len(seen):len(seen)], t)
	s := &schema{Type: "object", Properties: map[string]*schema{}}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported() || name == "-" || f.Anonymous && name == "":
			continue // an embedded struct's fields are visible by themselves
		case name == "":
			name = f.Name
		}
		s.Properties[name] = answer(f.Type, seen)
	}
	return s
}
