// Package openapi describes the API as an OpenAPI 3.0 document, computed from
// the tables of endpoints that requests are matched with. It is what
// sys/internal/specs/openapi answers.
//
// Paths, parameters and answers are those of the endpoints' declarations. As in
// Vault's own document the schema of an answer is that of its `data`, a listing
// is a GET with the query parameter `list`, and POST stands for PUT too. What
// OpenAPI has no word for is said with Vault's extensions: x-vault-unauthenticated,
// x-vault-sudo, x-vault-createSupported, x-vault-displayAttrs.
//
// A rest parameter ("{path...}") may hold slashes, which OpenAPI cannot say; it
// is a plain parameter in the document.
package openapi

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/cofferhq/coffer/internal/route"
)

// MountInfo is a mount whose endpoints the document describes.
type MountInfo struct {
	// Path ends with a slash: "secret/", "auth/approle/".
	Path string
	// Type is the mount's: "kv", "approle", "system".
	Type  string
	Table *route.Table
}

// Options refine a document.
type Options struct {
	// Version is that of the API.
	Version string
	// GenericPaths replaces the paths of mounts that can be moved by
	// parameters, and describes each type of mount once.
	GenericPaths bool
}

// Config is what a [Specs] needs.
type Config struct {
	// Version is that of the API.
	Version string
	// Mounts returns the mounts that the caller may know of. The call has no
	// caller if it came without a token.
	Mounts func(ctx context.Context, c *route.Call) ([]MountInfo, error)
}

// Specs is the noun behind sys/internal/specs.
type Specs struct {
	Config
	mu   sync.Mutex
	docs map[string]described // by what they describe; guarded by mu
}

// described is a document with the mounts that it describes: they keep their
// tables, whose addresses are part of the key, from being replaced by others
// at the same address.
type described struct {
	doc    []byte
	mounts []MountInfo
}

// maxDocs bounds the documents that are kept: callers with different mounts
// get different ones.
const maxDocs = 8

// New returns the noun.
func New(c Config) *Specs { return &Specs{Config: c, docs: map[string]described{}} }

// Routes are the endpoints of sys/internal/specs. Their receiver is a *[Specs].
var Routes = []route.Endpoint{
	route.Raw(route.VerbRead, "internal/specs/openapi", (*Specs).read, route.Public(),
		route.Doc{Summary: "Describe the API, as far as the caller may know it, in an OpenAPI document."}),
	route.Raw(route.VerbWrite, "internal/specs/openapi", (*Specs).write, route.Public(), route.Pure(),
		route.Doc{Summary: "Describe the API, as far as the caller may know it, in an OpenAPI document."}),
}

type readRequest struct {
	Generic bool `query:"generic_mount_paths" doc:"Whether mounts that can be moved get parameters for paths."`
}

type writeRequest struct {
	Generic bool   `query:"generic_mount_paths" doc:"Whether mounts that can be moved get parameters for paths."`
	Context string `json:"context" doc:"Accepted and ignored." deprecated:"true"`
}

func (s *Specs) read(ctx context.Context, c *route.Call, in readRequest) (route.Bytes, error) {
	return s.answer(ctx, c, in.Generic)
}

func (s *Specs) write(ctx context.Context, c *route.Call, in writeRequest) (route.Bytes, error) {
	return s.answer(ctx, c, in.Generic)
}

func (s *Specs) answer(ctx context.Context, c *route.Call, generic bool) (route.Bytes, error) {
	mounts, err := s.Mounts(ctx, c)
	if err != nil {
		return route.Bytes{}, err
	}
	return route.Bytes{ContentType: "application/json", Body: s.document(mounts, generic)}, nil
}

// document returns a document, made at most once while it is asked for: the
// endpoint needs no token, and making one costs a thousand times a request.
func (s *Specs) document(mounts []MountInfo, generic bool) []byte {
	key := keyOf(mounts, generic)
	s.mu.Lock()
	defer s.mu.Unlock()
	d, ok := s.docs[key]
	if !ok {
		if len(s.docs) >= maxDocs {
			clear(s.docs)
		}
		d = described{Build(Options{Version: s.Version, GenericPaths: generic}, mounts), mounts}
		s.docs[key] = d
	}
	return d.doc
}

// keyOf names what a document describes. Tables are immutable, so their
// addresses stand for their content.
func keyOf(mounts []MountInfo, generic bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%t", generic)
	for _, m := range mounts {
		fmt.Fprintf(&b, "\x00%s\x00%s\x00%p", m.Path, m.Type, m.Table)
	}
	return b.String()
}

// Build returns the document that describes the endpoints of mounts. It is the
// same for the same mounts in any order.
func Build(o Options, mounts []MountInfo) []byte {
	d := document{
		OpenAPI: "3.0.2",
		Info:    info{Title: "Coffer API", Description: "HTTP API of Coffer, compatible with that of HashiCorp Vault. All API routes are prefixed with `/v1/`", Version: o.Version, License: license{Name: "Apache-2.0"}},
		Paths:   map[string]*pathItem{},
	}
	d.Components.SecuritySchemes = map[string]securityScheme{tokenScheme: {Type: "apiKey", In: "header", Name: "X-Vault-Token"}}
	b := builder{doc: &d, shapes: map[string]*shape{}, ids: map[string]bool{}, types: map[string]bool{}, generic: o.GenericPaths}
	for _, m := range slices.SortedFunc(slices.Values(mounts), func(x, y MountInfo) int { return cmp.Compare(x.Path, y.Path) }) {
		b.mount(m)
	}
	for _, path := range slices.Sorted(maps.Keys(b.shapes)) {
		b.shapes[path].finish(&b)
	}
	text, err := json.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("openapi: encoding strings and maps: %v", err))
	}
	return append(text, '\n')
}
