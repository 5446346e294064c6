// Package catalog is the noun of the types that can be mounted: sys/plugins.
// All of them are built in. External plugins are not supported, so the
// catalogue cannot be written; reading it and reloading what is built in work
// as clients expect.
package catalog

import (
	"cmp"
	"context"
	"slices"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// The types of plugins.
const (
	Auth     = "auth"
	Database = "database"
	Secret   = "secret"
)

var types = []string{Auth, Database, Secret}

// Plugin is something built in.
type Plugin struct {
	// Type is [Auth], [Database] or [Secret].
	Type string
	// Name is what mounts call it.
	Name string
	// Version is its own, in the form of Semantic Versioning with a leading v.
	Version string
	// Deprecation is its status, "supported" if it is "".
	Deprecation string
}

// Mounts is what the catalogue needs of the mounts.
type Mounts interface {
	// ReloadType makes every mount of a type in the call's namespace begin
	// anew at its next request, and returns how many there are.
	ReloadType(ctx context.Context, c *route.Call, pluginType, name string) (int, error)
	// ReloadPaths does so for the mounts at some paths of the call's
	// namespace, or for none of them if one is not there: that is
	// [fault.NotFound].
	ReloadPaths(ctx context.Context, c *route.Call, paths []string) error
}

// Catalog is the noun.
type Catalog struct {
	plugins []Plugin // by type and name
	mounts  Mounts
}

// New returns a catalogue of plugins.
func New(plugins []Plugin, m Mounts) *Catalog {
	c := &Catalog{plugins: slices.Clone(plugins), mounts: m}
	for i := range c.plugins {
		c.plugins[i].Deprecation = cmp.Or(c.plugins[i].Deprecation, "supported")
	}
	slices.SortFunc(c.plugins, func(a, b Plugin) int { return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name)) })
	return c
}

// Routes are the endpoints of sys/plugins. Their receiver is a *[Catalog].
var Routes = []route.Endpoint{
	route.Read("plugins/catalog", (*Catalog).readAll, route.RootOnly(), route.Doc{Summary: "List all plugins."}),
	route.List("plugins/catalog/{type}", (*Catalog).list, route.Sudo(), route.RootOnly(), route.Doc{Summary: "List the plugins of a type."}),
	route.Read("plugins/catalog/{type}/{name}", (*Catalog).read, route.Sudo(), route.RootOnly(), route.Doc{Summary: "Show a plugin."}),
	route.Write("plugins/catalog/{type}/{name}", (*Catalog).register, route.Sudo(), route.Doc{
		Summary: "Refused: external plugins are not supported.",
	}),
	route.Delete("plugins/catalog/{type}/{name}", (*Catalog).remove, route.Sudo(), route.Doc{
		Summary: "Remove an external plugin, of which there are none.",
	}),
	route.Read("plugins/catalog/{type}", (*Catalog).readNamed, route.Sudo(), route.RootOnly(), route.Hidden()),
	// Instances are a node's own, so a follower reloads its own.
	route.Full(route.VerbWrite, "plugins/reload/backend", (*Catalog).reload, route.Pure(), route.Doc{
		Summary: "Make mounts begin anew, by their type or their paths.", Description: "They lose what they hold in memory, such as connections, and nothing that is stored.",
	}),
}

type noInput struct{}

// detail is a plugin in the listing of all.
type detail struct {
	Builtin     bool   `json:"builtin"`
	Deprecation string `json:"deprecation_status"`
	Name        string `json:"name"`
	Type        string `json:"type"`
	Version     string `json:"version"`
}

type listing struct {
	Auth     []string `json:"auth"`
	Database []string `json:"database"`
	Secret   []string `json:"secret"`
	Detailed []detail `json:"detailed"`
}

func (c *Catalog) readAll(context.Context, *route.Call, noInput) (listing, error) {
	all := listing{Auth: c.names(Auth), Database: c.names(Database), Secret: c.names(Secret), Detailed: make([]detail, len(c.plugins))}
	for i, p := range c.plugins {
		all.Detailed[i] = detail{Builtin: true, Deprecation: p.Deprecation, Name: p.Name, Type: p.Type, Version: p.Version}
	}
	return all, nil
}

func (c *Catalog) names(pluginType string) []string {
	names := []string{}
	for _, p := range c.plugins {
		if p.Type == pluginType {
			names = append(names, p.Name)
		}
	}
	return names
}

type typeRequest struct {
	Type string `path:"type" doc:"Type of plugin: auth, database or secret."`
}

// check refuses a type that there is not as if the path were not there.
func (in typeRequest) check() error {
	if !slices.Contains(types, in.Type) {
		return fault.New(fault.Unsupported, "unsupported operation")
	}
	return nil
}

func (c *Catalog) list(_ context.Context, _ *route.Call, in typeRequest) (route.Keys, error) {
	return route.Keys{Keys: c.names(in.Type)}, in.check()
}

type pluginRequest struct {
	typeRequest
	Name string `path:"name" doc:"Name of the plugin."`
}

type readRequest struct {
	pluginRequest
	Version string `query:"version" doc:"Version that is wanted; another one than the built-in is not there."`
}

// facts is a plugin as it is shown by itself. The fields of external plugins
// are there for clients that want them.
type facts struct {
	Args        []string `json:"args"`
	Builtin     bool     `json:"builtin"`
	Command     string   `json:"command"`
	Declarative bool     `json:"declarative"`
	Deprecation string   `json:"deprecation_status"`
	Name        string   `json:"name"`
	OCI         bool     `json:"oci"`
	SHA256      string   `json:"sha256"`
	Version     string   `json:"version"`
}

func (p Plugin) facts() *facts {
	return &facts{Builtin: true, Deprecation: p.Deprecation, Name: p.Name, Version: p.Version}
}

func (c *Catalog) find(pluginType, name string) *Plugin {
	for i := range c.plugins {
		if p := &c.plugins[i]; p.Name == name && (pluginType == "" || p.Type == pluginType) {
			return p
		}
	}
	return nil
}

var errNotFound = fault.New(fault.NotFound, "")

func (c *Catalog) read(_ context.Context, _ *route.Call, in readRequest) (*facts, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	p := c.find(in.Type, in.Name)
	if p == nil || in.Version != "" && in.Version != p.Version {
		return nil, errNotFound
	}
	return p.facts(), nil
}

// namedRequest is of an older form of the path, whose one segment is the name.
type namedRequest struct {
	Name string `path:"type" doc:"Name of the plugin."`
}

func (c *Catalog) readNamed(_ context.Context, _ *route.Call, in namedRequest) (*facts, error) {
	p := c.find("", in.Name)
	if p == nil {
		return nil, errNotFound
	}
	return p.facts(), nil
}

type registerRequest struct {
	pluginRequest
	Args    []string `json:"args" doc:"Not supported."`
	Command string   `json:"command" doc:"Not supported."`
	Env     []string `json:"env" sensitive:"true" doc:"Not supported."`
	OCI     bool     `json:"oci" doc:"Not supported."`
	SHA256  string   `json:"sha256" doc:"Not supported."`
	Version string   `json:"version" doc:"Not supported."`
}

// errTenant is what who administers a namespace gets: the catalog is the
// server's, and nobody's rights in a namespace reach it.
var errTenant = fault.New(fault.Denied, "permission denied: the plugin catalog is changed in the root namespace only")

func (c *Catalog) register(_ context.Context, call *route.Call, _ registerRequest) (route.None, error) {
	if call.Namespace.Path != "" {
		return route.None{}, errTenant
	}
	return route.None{}, fault.New(fault.Invalid, "external plugins are not supported: every engine and method is built in")
}

func (c *Catalog) remove(_ context.Context, call *route.Call, in pluginRequest) (route.None, error) {
	if call.Namespace.Path != "" {
		return route.None{}, errTenant
	}
	if err := in.check(); err != nil {
		return route.None{}, err
	}
	if c.find(in.Type, in.Name) != nil {
		return route.None{}, fault.New(fault.Invalid, "the plugin is built in and cannot be removed")
	}
	return route.None{}, nil
}

type reloadRequest struct {
	Plugin string   `json:"plugin" doc:"Name of the plugin whose mounts to reload."`
	Mounts []string `json:"mounts" doc:"Paths of the mounts to reload."`
	Scope  string   `json:"scope" doc:"global for all nodes; this node if not given."`
}

type reloadAnswer struct {
	ReloadID string `json:"reload_id"`
}

func (c *Catalog) reload(ctx context.Context, call *route.Call, in reloadRequest) (*route.Reply, error) {
	switch {
	case in.Plugin == "" && len(in.Mounts) == 0:
		return nil, fault.New(fault.Invalid, `name what to reload: "plugin" or "mounts"`)
	case in.Plugin != "" && len(in.Mounts) > 0:
		return nil, fault.New(fault.Invalid, `"plugin" and "mounts" exclude each other`)
	case in.Scope != "" && in.Scope != "global":
		return nil, fault.New(fault.Invalid, `"scope" must be "global" or not given`)
	}
	if err := c.reloadWhat(ctx, call, in); err != nil {
		return nil, err
	}
	reply, err := route.Data(reloadAnswer{call.ID})
	if err == nil {
		reply.Accepted = in.Scope == "global"
	}
	return reply, err
}

func (c *Catalog) reloadWhat(ctx context.Context, call *route.Call, in reloadRequest) error {
	if len(in.Mounts) > 0 {
		err := c.mounts.ReloadPaths(ctx, call, in.Mounts)
		if fault.KindOf(err) == fault.NotFound {
			return fault.Wrap(fault.Invalid, err, "one of the mounts is not there; none was reloaded")
		}
		return err
	}
	if c.find("", in.Plugin) == nil {
		return fault.New(fault.Invalid, "there is no plugin of that name")
	}
	total := 0
	for _, p := range c.plugins {
		if p.Name != in.Plugin {
			continue
		}
		n, err := c.mounts.ReloadType(ctx, call, p.Type, p.Name)
		if err != nil {
			return err
		}
		total += n
	}
	if total == 0 {
		call.Warn("no mount is of that plugin, so nothing was reloaded")
	}
	return nil
}
