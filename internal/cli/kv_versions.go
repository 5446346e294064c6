package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"strconv"

	"github.com/cofferhq/coffer/api"
)

func kvPatchCommand() *command {
	return &command{
		name: "patch", args: "PATH [K=V...]", min: 1, max: -1, groups: connects | formats | selects,
		short: "Change some fields of a secret in a versioned store",
		long:  "The server merges the fields into the newest version. Where it or the policy does not allow that,\n-method=rw reads the secret and writes it back with check-and-set.",
		define: func(fs *flag.FlagSet) action {
			var p kvPatch
			fs.StringVar(&p.mount, "mount", "", mountFlag)
			fs.IntVar(&p.cas, "cas", -1, "write only if this is the newest version `number`")
			fs.StringVar(&p.method, "method", "", "`how` to change it: patch, or rw to read and write")
			fs.Var(&p.remove, "remove-data", "remove the field `name`; may be repeated")
			return func(ctx context.Context, c *call) error { return c.kvPatch(ctx, p) }
		},
	}
}

// kvPatch is the flags of kv patch.
type kvPatch struct {
	mount, method string
	cas           int
	remove        commaList
}

func (c *call) kvPatch(ctx context.Context, f kvPatch) error {
	if len(c.args) == 1 && len(f.remove) == 0 {
		return usageError("Must supply data")
	}
	data, err := c.fields(ctx, c.args[1:])
	if err != nil {
		return err
	}
	p, cl, err := c.resolveKV(ctx, f.mount, c.args[0])
	if err != nil {
		return err
	}
	if err := p.needVersions("patch"); err != nil {
		return err
	}
	path := p.api("data")
	var s *api.Secret
	switch f.method {
	case "", "patch":
		s, err = patchInPlace(ctx, cl, path, data, f)
		if f.method == "" && isUnsupported(err) {
			s, err = c.readAndWrite(ctx, cl, path, data, f)
		}
	case "rw":
		s, err = c.readAndWrite(ctx, cl, path, data, f)
	default:
		return usageError(fmt.Sprintf("Unknown -method %q: use patch or rw", f.method))
	}
	if errors.Is(err, api.ErrNotFound) {
		return &exitError{exitServer, fmt.Sprintf("No value found at %s: use \"%s kv put\" to write it first", path, c.name)}
	}
	if err != nil {
		return failed("patching "+path, err)
	}
	return c.versionWritten(s, path)
}

func patchInPlace(ctx context.Context, cl *api.Client, path string, data map[string]any, f kvPatch) (*api.Secret, error) {
	change := maps.Clone(data)
	for _, k := range f.remove {
		change[k] = nil
	}
	return cl.Patch(ctx, path, kvBody(change, f.cas))
}

func (c *call) readAndWrite(ctx context.Context, cl *api.Client, path string, data map[string]any, f kvPatch) (*api.Secret, error) {
	old, version, err := readVersion(ctx, cl, path, 0)
	if err != nil {
		return nil, err
	}
	if old == nil {
		return nil, &exitError{exitServer, fmt.Sprintf("The newest version of %s is deleted; undelete it or write a new one", path)}
	}
	if f.cas >= 0 {
		version = f.cas
	}
	maps.Copy(old, data)
	for _, k := range f.remove {
		delete(old, k)
	}
	return cl.Write(ctx, path, kvBody(old, version))
}

// readVersion returns the data, nil when it is deleted, and the number of a
// version; number 0 stands for the newest.
func readVersion(ctx context.Context, cl *api.Client, path string, number int) (map[string]any, int, error) {
	var query map[string][]string
	if number > 0 {
		query = map[string][]string{"version": {strconv.Itoa(number)}}
	}
	s, err := cl.Read(ctx, path, query)
	var refusal *api.Error
	if errors.As(err, &refusal) && refusal.Secret != nil && !empty(refusal.Secret) {
		s, err = refusal.Secret, nil
	}
	if err != nil {
		return nil, 0, err
	}
	answer, err := s.Map()
	if err != nil {
		return nil, 0, err
	}
	metadata, err := api.Field[api.KVVersion](s, "metadata")
	if err != nil {
		return nil, 0, err
	}
	data, _ := answer["data"].(map[string]any)
	return data, metadata.Version, nil
}

func kvDeleteCommand() *command {
	return &command{
		name: "delete", args: "PATH", min: 1, max: 1, groups: connects | formats | selects,
		short: "Delete a secret, or versions of it",
		define: func(fs *flag.FlagSet) action {
			mount := fs.String("mount", "", mountFlag)
			var versions commaList
			fs.Var(&versions, "versions", "delete these version `numbers` instead of the newest")
			return func(ctx context.Context, c *call) error { return c.kvDelete(ctx, *mount, versions) }
		},
	}
}

func (c *call) kvDelete(ctx context.Context, mount string, versions []string) error {
	p, cl, err := c.resolveKV(ctx, mount, c.args[0])
	if err != nil {
		return err
	}
	if len(versions) > 0 {
		if err := p.needVersions("delete -versions"); err != nil {
			return err
		}
	}
	path := p.api("data")
	var s *api.Secret
	if len(versions) > 0 {
		s, err = cl.Write(ctx, p.api("delete"), map[string]any{"versions": versions})
	} else {
		s, err = cl.Delete(ctx, path, nil)
	}
	if err != nil {
		return failed("deleting "+path, err)
	}
	return c.written(s, "Data deleted (if it existed) at: %s", path)
}

// kvVersionsCommand is kv undelete or kv destroy.
func kvVersionsCommand(verb, short string) *command {
	return &command{
		name: verb, args: "PATH", min: 1, max: 1, groups: connects | formats | selects,
		short: short,
		define: func(fs *flag.FlagSet) action {
			mount := fs.String("mount", "", mountFlag)
			var versions commaList
			fs.Var(&versions, "versions", "version `numbers`, separated by commas")
			return func(ctx context.Context, c *call) error {
				if len(versions) == 0 {
					return usageError("No versions given: use -versions=1,2")
				}
				p, cl, err := c.resolveKV(ctx, *mount, c.args[0])
				if err != nil {
					return err
				}
				if err := p.needVersions(verb); err != nil {
					return err
				}
				path := p.api(verb)
				s, err := cl.Write(ctx, path, map[string]any{"versions": versions})
				if err != nil {
					return failed("writing data to "+path, err)
				}
				return c.written(s, "Data written to: %s", path)
			}
		},
	}
}

func kvRollbackCommand() *command {
	return &command{
		name: "rollback", args: "PATH", min: 1, max: 1, groups: connects | formats | selects,
		short: "Write the data of an old version as the newest",
		define: func(fs *flag.FlagSet) action {
			mount := fs.String("mount", "", mountFlag)
			version := fs.Int("version", 0, "version `number` to go back to")
			return func(ctx context.Context, c *call) error { return c.kvRollback(ctx, *mount, *version) }
		},
	}
}

func (c *call) kvRollback(ctx context.Context, mount string, version int) error {
	if version <= 0 {
		return usageError("No version given: use -version=N")
	}
	p, cl, err := c.resolveKV(ctx, mount, c.args[0])
	if err != nil {
		return err
	}
	if err := p.needVersions("rollback"); err != nil {
		return err
	}
	path := p.api("data")
	// The newest version's number makes the write fail if somebody else writes
	// in between.
	_, newest, err := readVersion(ctx, cl, path, 0)
	if errors.Is(err, api.ErrNotFound) {
		return &exitError{exitServer, "No value found at " + path}
	}
	if err != nil {
		return failed("reading "+path, err)
	}
	data, _, err := readVersion(ctx, cl, path, version)
	if errors.Is(err, api.ErrNotFound) || err == nil && data == nil {
		return &exitError{exitServer, fmt.Sprintf("Version %d of %s does not exist or is deleted", version, path)}
	}
	if err != nil {
		return failed("reading "+path, err)
	}
	s, err := cl.Write(ctx, path, kvBody(data, newest))
	if err != nil {
		return failed("writing data to "+path, err)
	}
	return c.versionWritten(s, path)
}
