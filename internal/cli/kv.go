package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/cofferhq/coffer/api"
)

func kvCommand() *command {
	return &command{name: "kv", short: "Work with key/value secrets, versioned or not", subs: []*command{
		kvGetCommand(),
		kvPutCommand(),
		kvPatchCommand(),
		kvListCommand(),
		kvDeleteCommand(),
		kvVersionsCommand("undelete", "Bring deleted versions of a secret back"),
		kvVersionsCommand("destroy", "Erase the data of versions of a secret for good"),
		kvRollbackCommand(),
		kvMetadataCommand(),
		kvEnableVersioningCommand(),
	}}
}

// kvPath is a place in a KV store.
type kvPath struct {
	mount     string // ends in a slash
	rest      string
	versioned bool
}

// api returns the path of the HTTP API; kind (data, metadata, ...) matters in
// a versioned store only.
func (p kvPath) api(kind string) string {
	if p.versioned {
		return p.mount + kind + "/" + p.rest
	}
	return p.mount + p.rest
}

const mountFlag = "`path` of the store, when the argument is relative to it"

// resolveKV finds the mount of path and whether it is versioned, by asking the
// server even when the command's own request is only to be printed.
func (c *call) resolveKV(ctx context.Context, mount, path string) (kvPath, *api.Client, error) {
	cl, err := c.client(ctx)
	if err != nil {
		return kvPath{}, nil, err
	}
	full := cleanPath(path)
	if mount != "" {
		full = strings.TrimSuffix(cleanPath(mount)+"/"+full, "/")
	}
	info, err := c.mountOf(ctx, cl, full)
	switch {
	case errors.Is(err, api.ErrNotFound):
		// A server without this endpoint has unversioned stores only.
		return unversioned(mount, full), cl, nil
	case err != nil:
		return kvPath{}, nil, failed("finding the mount of "+full, err)
	}
	rest, below := strings.CutPrefix(full+"/", info.Path)
	if !below {
		return kvPath{}, nil, failed("finding the mount of "+full, fmt.Errorf("the server says that it is %q", info.Path))
	}
	return kvPath{info.Path, strings.TrimSuffix(rest, "/"), info.Options["version"] == "2"}, cl, nil
}

func unversioned(mount, full string) kvPath {
	if mount = cleanPath(mount); mount == "" {
		mount, _, _ = strings.Cut(full, "/")
	}
	return kvPath{mount: mount + "/", rest: strings.TrimPrefix(strings.TrimPrefix(full, mount), "/")}
}

func (c *call) mountOf(ctx context.Context, cl *api.Client, path string) (*api.MountInfo, error) {
	if c.opts.outputCurl || c.opts.outputPolicy {
		real, err := c.connect(ctx, false)
		if err != nil {
			return nil, err
		}
		cl = real
	}
	return cl.MountOf(ctx, path)
}

func kvGetCommand() *command {
	return &command{
		name: "get", args: "PATH", min: 1, max: 1, groups: connects | formats | selects,
		short: "Read a secret",
		long:  "  {name} kv get secret/app\n  {name} kv get -mount=secret -field=password app\n  {name} kv get -version=3 secret/app",
		define: func(fs *flag.FlagSet) action {
			mount := fs.String("mount", "", mountFlag)
			version := fs.Int("version", 0, "read this version `number` instead of the newest")
			return func(ctx context.Context, c *call) error { return c.kvGet(ctx, *mount, *version) }
		},
	}
}

func (c *call) kvGet(ctx context.Context, mount string, version int) error {
	p, cl, err := c.resolveKV(ctx, mount, c.args[0])
	if err != nil {
		return err
	}
	path := p.api("data")
	query := map[string][]string{}
	if p.versioned && version > 0 {
		query["version"] = []string{fmt.Sprint(version)}
	}
	s, err := cl.Read(ctx, path, query)
	if s, err = c.found(s, err, "No value found at "+path); err != nil {
		return failed("reading "+path, err)
	}
	if s.WrapInfo != nil || c.opts.field == "" && !c.tabular() {
		return c.secret(s)
	}
	data, err := s.Map()
	if err != nil {
		return err
	}
	if !p.versioned {
		if c.opts.field == "" {
			c.warn(s.Warnings)
			section(c.Out, "Data", secretTable(&api.Secret{}, data))
			return nil
		}
		return c.secret(s)
	}
	inner, _ := data["data"].(map[string]any)
	if c.opts.field != "" {
		return c.kvField(s, data, inner, path)
	}
	c.warn(s.Warnings)
	c.secretPath(path)
	if metadata, ok := data["metadata"].(map[string]any); ok {
		section(c.Out, "Metadata", fieldTable(metadata))
	}
	if inner != nil {
		fmt.Fprintln(c.Out)
		section(c.Out, "Data", fieldTable(inner))
	}
	return nil
}

// kvField prints a field of the secret's data; "data" and "metadata" are the
// two halves of the answer unless the secret has fields of those names.
func (c *call) kvField(s *api.Secret, data, inner map[string]any, path string) error {
	c.warn(s.Warnings)
	v, ok := inner[c.opts.field]
	if !ok && (c.opts.field == "data" || c.opts.field == "metadata") {
		v, ok = data[c.opts.field]
	}
	switch {
	case ok:
		return c.raw(v)
	case inner == nil:
		return &exitError{exitServer, "No data found at " + path}
	}
	return missingField(c.opts.field)
}

// secretPath prints the heading with the path that the API has for a secret.
func (c *call) secretPath(path string) {
	heading(c.Out, "Secret Path", len(path))
	fmt.Fprintf(c.Out, "%s\n\n", path)
}

func section(w io.Writer, title string, t *table) {
	heading(w, title, t.headerWidth())
	t.print(w)
}

func fieldTable(data map[string]any) *table {
	t := newTable("Key", "Value")
	for _, k := range sortedKeys(data) {
		t.add(k, data[k])
	}
	return t
}

func kvPutCommand() *command {
	return &command{
		name: "put", args: "PATH [K=V...]", min: 1, max: -1, groups: connects | formats | selects,
		short: "Write a secret, in a versioned store as a new version",
		long:  "A value @FILE is read from a file and - from standard input; @FILE or - alone is a JSON object.\n\n  {name} kv put secret/app user=app password=@password.txt\n  {name} kv put -mount=secret -cas=0 app @app.json",
		define: func(fs *flag.FlagSet) action {
			mount := fs.String("mount", "", mountFlag)
			cas := fs.Int("cas", -1, "write only if this is the newest version `number`; 0 if there is none")
			return func(ctx context.Context, c *call) error { return c.kvPut(ctx, *mount, *cas) }
		},
	}
}

func (c *call) kvPut(ctx context.Context, mount string, cas int) error {
	if len(c.args) == 1 {
		return usageError("Must supply data")
	}
	data, err := c.fields(ctx, c.args[1:])
	if err != nil {
		return err
	}
	p, cl, err := c.resolveKV(ctx, mount, c.args[0])
	if err != nil {
		return err
	}
	path := p.api("data")
	var body any = data
	if p.versioned {
		body = kvBody(data, cas)
	}
	s, err := cl.Write(ctx, path, body)
	if err != nil {
		return failed("writing data to "+path, err)
	}
	return c.versionWritten(s, path)
}

func kvBody(data map[string]any, cas int) map[string]any {
	options := map[string]any{}
	if cas >= 0 {
		options["cas"] = cas
	}
	return map[string]any{"data": data, "options": options}
}

// versionWritten prints the description of a new version.
func (c *call) versionWritten(s *api.Secret, path string) error {
	if empty(s) || !c.tabular() || c.opts.field != "" || s.WrapInfo != nil {
		return c.written(s, "Data written to: %s", path)
	}
	metadata, err := s.Map()
	if err != nil {
		return err
	}
	c.warn(s.Warnings)
	c.secretPath(path)
	section(c.Out, "Metadata", fieldTable(metadata))
	return nil
}

func kvListCommand() *command {
	return &command{
		name: "list", args: "PATH", min: 0, max: 1, groups: connects | formats | selects,
		short: "List the secrets below a path",
		define: func(fs *flag.FlagSet) action {
			mount := fs.String("mount", "", mountFlag)
			recursive := fs.Bool("recursive", false, "list at any depth; the policy needs the scan capability")
			return func(ctx context.Context, c *call) error {
				if *mount == "" && len(c.args) == 0 {
					return usageError("Not enough arguments (expected 1, got 0)")
				}
				p, _, err := c.resolveKV(ctx, *mount, c.arg(0))
				if err != nil {
					return err
				}
				ask := (*api.Client).List
				if *recursive {
					ask = (*api.Client).Scan
				}
				return c.listPath(ctx, strings.TrimSuffix(p.api("metadata"), "/"), ask)
			}
		},
	}
}

func kvEnableVersioningCommand() *command {
	return &command{
		name: "enable-versioning", args: "MOUNT", min: 1, max: 1, groups: connects | formats,
		short: "Turn an unversioned KV store into a versioned one",
		define: func(*flag.FlagSet) action {
			return func(ctx context.Context, c *call) error {
				mount := cleanPath(c.args[0]) + "/"
				cl, err := c.client(ctx)
				if err != nil {
					return err
				}
				s, err := cl.Mounts().Tune(ctx, mount, api.MountTuning{Options: map[string]string{"version": "2"}})
				if err != nil {
					return failed("tuning the secrets engine at "+mount, err)
				}
				return c.written(s, "Tuned the secrets engine at: %s", mount)
			}
		},
	}
}

// needVersions reports that a command makes sense in a versioned store only.
func (p kvPath) needVersions(verb string) error {
	if p.versioned {
		return nil
	}
	return &exitError{exitLocal, fmt.Sprintf("%s is not a versioned KV store, which kv %s needs; see kv enable-versioning", p.mount, verb)}
}

// isUnsupported reports whether the server does not know a method on a path.
func isUnsupported(err error) bool {
	var e *api.Error
	return errors.As(err, &e) && e.Status == http.StatusMethodNotAllowed
}
