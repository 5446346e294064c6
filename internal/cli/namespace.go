package cli

import (
	"context"
	"flag"
	"net/http"

	"github.com/cofferhq/coffer/api"
)

func namespaceCommand() *command {
	return &command{name: "namespace", short: "Work with namespaces", subs: []*command{
		{
			name: "list", groups: connects | formats | selects,
			short: "List the namespaces directly below the current one",
			define: func(*flag.FlagSet) action {
				return func(ctx context.Context, c *call) error {
					return c.listPath(ctx, "sys/namespaces", (*api.Client).List)
				}
			},
		},
		{
			name: "scan", groups: connects | formats | selects,
			short: "List all namespaces below the current one",
			define: func(*flag.FlagSet) action {
				return func(ctx context.Context, c *call) error {
					return c.listPath(ctx, "sys/namespaces", (*api.Client).Scan)
				}
			},
		},
		{
			name: "lookup", args: "PATH", min: 1, max: 1, groups: connects | formats | selects,
			short:  "Show the properties of a namespace",
			define: func(*flag.FlagSet) action { return runNamespaceLookup },
		},
		{
			name: "create", args: "PATH", min: 1, max: 1, groups: connects | formats | selects,
			short:  "Create a namespace",
			define: func(fs *flag.FlagSet) action { return defineNamespaceWrite(fs, "creating", (*api.Client).Write) },
		},
		{
			name: "patch", args: "PATH", min: 1, max: 1, groups: connects | formats | selects,
			short: "Change the custom metadata of a namespace",
			define: func(fs *flag.FlagSet) action {
				var remove list
				fs.Var(&remove, "remove-custom-metadata", "remove the custom metadata `key`; may be repeated")
				return defineNamespaceWrite(fs, "patching", func(cl *api.Client, ctx context.Context, path string, data any) (*api.Secret, error) {
					return cl.Patch(ctx, path, withoutKeys(data.(map[string]any), remove))
				})
			},
		},
		{
			name: "delete", args: "PATH", min: 1, max: 1, groups: connects | formats,
			short:  "Delete a namespace with everything in it",
			define: func(*flag.FlagSet) action { return runNamespaceDelete },
		},
		{
			name: "lock", args: "[PATH]", max: 1, groups: connects | formats | selects,
			short:  "Close the API of a namespace and those below it, and show the key that opens it again",
			long:   "Without PATH the current namespace is locked.",
			define: func(*flag.FlagSet) action { return runNamespaceLock },
		},
		{
			name: "unlock", args: "[PATH]", max: 1, groups: connects,
			short:  "Open the API of a namespace that is locked",
			long:   "Without PATH the current namespace is unlocked. -unlock-key=KEY is what locking has shown; a root token needs none.",
			define: func(*flag.FlagSet) action { return runNamespaceUnlock },
		},
	}}
}

// lockPath is where a namespace, or the current one, is locked or unlocked.
func (c *call) lockPath(verb string) string {
	path := "sys/namespaces/api-lock/" + verb
	if at := c.arg(0); at != "" {
		path += "/" + cleanPath(at)
	}
	return path
}

func runNamespaceLock(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	s, err := cl.Write(ctx, c.lockPath("lock"), nil)
	if err != nil {
		return failed("locking the namespace", err)
	}
	return c.secret(s)
}

func runNamespaceUnlock(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	data := map[string]any{}
	if key := c.opts.unlockKey; key != "" {
		data["unlock_key"] = key
	}
	s, err := cl.Write(ctx, c.lockPath("unlock"), data)
	if err != nil {
		return failed("unlocking the namespace", err)
	}
	return c.written(s, "Namespace unlocked")
}

func runNamespaceLookup(ctx context.Context, c *call) error {
	path := cleanPath(c.args[0])
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	s, err := cl.Read(ctx, "sys/namespaces/"+path, nil)
	if s, err = c.found(s, err, "No namespace named: "+path); err != nil {
		return failed("looking up namespace "+path, err)
	}
	return c.secret(s)
}

func defineNamespaceWrite(fs *flag.FlagSet, doing string, write writer) action {
	var custom pairs
	fs.Var(&custom, "custom-metadata", "set the custom metadata `key=value`; may be repeated")
	return func(ctx context.Context, c *call) error {
		path := cleanPath(c.args[0])
		data := map[string]any{}
		if len(custom) > 0 {
			data["custom_metadata"] = custom.asMap()
		}
		cl, err := c.client(ctx)
		if err != nil {
			return err
		}
		s, err := write(cl, ctx, "sys/namespaces/"+path, data)
		if err != nil {
			return failed(doing+" namespace "+path, err)
		}
		return c.written(s, "Namespace written: %s/", path)
	}
}

func runNamespaceDelete(ctx context.Context, c *call) error {
	path := cleanPath(c.args[0])
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	s, err := cl.Delete(ctx, "sys/namespaces/"+path, nil)
	if err != nil {
		return failed("deleting namespace "+path, err)
	}
	return c.written(s, "Namespace deleted (if it existed): %s/", path)
}

func pluginCommand() *command {
	return &command{name: "plugin", short: "Show the plugins that the server knows", subs: []*command{
		{
			name: "list", args: "[TYPE]", max: 1, groups: connects | formats,
			short:  "List the plugins, of all types or of auth, database or secret",
			define: func(*flag.FlagSet) action { return runPluginList },
		},
		{
			name: "info", args: "TYPE NAME", min: 2, max: 2, groups: connects | formats | selects,
			short: "Show a plugin",
			define: func(fs *flag.FlagSet) action {
				version := fs.String("version", "", "semantic `version` of the plugin")
				return func(ctx context.Context, c *call) error { return c.pluginInfo(ctx, *version) }
			},
		},
	}}
}

// pluginDetail is a row of the plugin catalogue.
type pluginDetail struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Version string `json:"version"`
	Builtin bool   `json:"builtin"`
}

func runPluginList(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	s, err := cl.Secret(ctx, &api.Request{Method: http.MethodGet, Path: "sys/plugins/catalog"})
	if err != nil {
		return failed("listing plugins", err)
	}
	details, err := api.Field[[]pluginDetail](s, "detailed")
	if err != nil {
		return failed("listing plugins", err)
	}
	t := newTable("Name", "Type", "Version")
	shown := []pluginDetail{}
	for _, p := range details {
		if want := c.arg(0); want == "" || want == p.Type {
			t.row(p.Name, p.Type, p.Version)
			shown = append(shown, p)
		}
	}
	return c.tableValue(shown, t)
}

func (c *call) pluginInfo(ctx context.Context, version string) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	query := map[string][]string{}
	if version != "" {
		query["version"] = []string{version}
	}
	name := c.args[0] + "/" + c.args[1]
	s, err := cl.Read(ctx, "sys/plugins/catalog/"+name, query)
	if s, err = c.found(s, err, "No plugin "+name); err != nil {
		return failed("reading plugin "+name, err)
	}
	return c.secret(s)
}
