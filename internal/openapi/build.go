package openapi

import (
	"slices"
	"strconv"
	"strings"

	"github.com/cofferhq/coffer/internal/route"
)

// builder collects the endpoints of all mounts by path.
type builder struct {
	doc     *document
	shapes  map[string]*shape // by path, its parameters without names
	ids     map[string]bool   // operation ids in use
	types   map[string]bool   // types of mounts that have got generic paths
	generic bool
}

// shape is a path with its endpoints. Two patterns that differ in the names of
// parameters only are one path to OpenAPI; the first one's names are taken.
type shape struct {
	path      string
	mount     MountInfo
	mountName string // of the parameter that stands for the mount's path, if any
	params    []string
	eps       map[route.Verb]*route.Endpoint
}

// fixed are the types of mounts that are always at their place.
var fixed = []string{"system", "identity", "cubbyhole", "token"}

func (b *builder) mount(m MountInfo) {
	if m.Table == nil {
		return
	}
	path, name := "/"+m.Path, ""
	if b.generic && !slices.Contains(fixed, m.Type) {
		kind := m.Type
		if strings.HasPrefix(m.Path, "auth/") {
			kind = "auth/" + kind
		}
		if b.types[kind] {
			return
		}
		b.types[kind] = true
		name = identifier(m.Type) + "_mount_path"
		path = "/{" + name + "}/"
		if strings.HasPrefix(m.Path, "auth/") {
			path = "/auth" + path
		}
	}
	all := m.Table.Endpoints()
	for i := range all {
		if e := &all[i]; !e.Hidden {
			b.endpoint(m, path, name, e)
		}
	}
}

func (b *builder) endpoint(m MountInfo, prefix, mountName string, e *route.Endpoint) {
	pattern := strings.ReplaceAll(e.Pattern, "...}", "}")
	path, segs := prefix+pattern, strings.Split(pattern, "/")
	for i, seg := range segs {
		if strings.HasPrefix(seg, "{") {
			segs[i] = "{}"
		}
	}
	key := prefix + strings.Join(segs, "/")
	s := b.shapes[key]
	if s == nil {
		s = &shape{path: path, mount: m, mountName: mountName, params: e.Params(), eps: map[route.Verb]*route.Endpoint{}}
		b.shapes[key] = s
	}
	if s.eps[e.Verb] == nil {
		s.eps[e.Verb] = e
	}
}

// finish puts the path into the document.
func (s *shape) finish(b *builder) {
	item := &pathItem{Unauthenticated: true, Sudo: true, Parameters: s.pathParameters()}
	for _, e := range s.eps {
		item.Unauthenticated = item.Unauthenticated && e.Public
		item.Sudo = item.Sudo && e.Sudo
		item.CreateSupported = item.CreateSupported || e.HasExists()
	}
	item.Get = s.get(b)
	item.Post = s.operation(b, route.VerbWrite)
	item.Delete = s.operation(b, route.VerbDelete)
	item.Patch = s.operation(b, route.VerbPatch)
	b.doc.Paths[s.path] = item
}

// get joins what a GET does: it reads, or it lists if a parameter says so.
func (s *shape) get(b *builder) *operation {
	read, list, scan := s.eps[route.VerbRead], s.eps[route.VerbList], s.eps[route.VerbScan]
	var op *operation
	for _, verb := range []route.Verb{route.VerbRead, route.VerbList, route.VerbScan} {
		if op = s.operation(b, verb); op != nil {
			break
		}
	}
	if op == nil {
		return nil
	}
	if list != nil {
		op.Parameters = append(op.Parameters, flag("list", "Must be set to list the names here.", read == nil && scan == nil))
	}
	if scan != nil {
		op.Parameters = append(op.Parameters, flag("scan", "Must be set to list all names below, of every level.", read == nil && list == nil))
	}
	if list != nil || scan != nil {
		op.Parameters = append(op.Parameters,
			parameter{Name: "after", In: "query", Description: "Name after which the listing begins.", Schema: &schema{Type: "string"}},
			parameter{Name: "limit", In: "query", Description: "Most names to list.", Schema: &schema{Type: "integer"}})
	}
	return op
}

func flag(name, doc string, required bool) parameter {
	return parameter{Name: name, In: "query", Description: doc, Required: required, Schema: &schema{Type: "string", Enum: []string{"true"}}}
}

func (s *shape) pathParameters() []parameter {
	var list []parameter
	if s.mountName != "" {
		path := strings.Trim(strings.TrimPrefix(s.mount.Path, "auth/"), "/")
		list = append(list, parameter{Name: s.mountName, In: "path", Description: "Path of the mount.", Required: true, Schema: &schema{Type: "string", Default: path}})
	}
	for i, name := range s.params {
		list = append(list, parameter{Name: name, In: "path", Description: s.pathDoc(i), Required: true, Schema: &schema{Type: "string"}})
	}
	return list
}

// pathDoc finds what an endpoint says of the path's parameter number i.
func (s *shape) pathDoc(i int) string {
	for verb := route.VerbRead; verb <= route.VerbPatch; verb++ {
		e := s.eps[verb]
		if e == nil {
			continue
		}
		for _, p := range e.Input() {
			if p.In == "path" && p.Name == e.Params()[i] && p.Doc != "" {
				return p.Doc
			}
		}
	}
	return ""
}

func (s *shape) operation(b *builder, verb route.Verb) *operation {
	e := s.eps[verb]
	if e == nil {
		return nil
	}
	op := &operation{
		Summary: e.Doc.Summary, Description: e.Doc.Description, OperationID: b.id(s.path, verb), Tags: []string{tag(s.mount.Path)}, MountType: s.mount.Type,
		Unauthenticated: e.Public, Sudo: e.Sudo, Security: []map[string][]string{{tokenScheme: {}}}, Responses: responses(e),
	}
	if e.Public {
		op.Security = []map[string][]string{}
	}
	body := &schema{Type: "object"}
	for _, p := range e.Input() {
		switch {
		case p.In == "path":
		case p.In == "body" && (verb == route.VerbWrite || verb == route.VerbPatch):
			if body.Properties == nil {
				body.Properties = map[string]*schema{}
			}
			body.Properties[p.Name] = property(p)
		default: // what others take from the body, they take from the query too
			op.Parameters = append(op.Parameters, parameter{Name: p.Name, In: "query", Description: p.Doc, Deprecated: p.Deprecated, Schema: typed(p)})
		}
	}
	if verb == route.VerbWrite || verb == route.VerbPatch {
		op.RequestBody = &requestBody{content(body)}
	}
	return op
}

// id makes an operation id out of the path, unique in the document.
func (b *builder) id(path string, verb route.Verb) string {
	base := identifier(verb.String() + path)
	id := base
	for n := 2; b.ids[id]; n++ {
		id = base + "_" + strconv.Itoa(n)
	}
	b.ids[id] = true
	return id
}

// identifier keeps letters and digits, and joins them with underscores.
func identifier(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}), "_")
}

// tag groups operations as Vault's document does.
func tag(mount string) string {
	first, _, _ := strings.Cut(mount, "/")
	switch first {
	case "sys":
		return "system"
	case "auth", "identity":
		return first
	}
	return "secrets"
}
