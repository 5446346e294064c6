package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"sort"
	"strconv"

	"github.com/cofferhq/coffer/api"
)

func kvMetadataCommand() *command {
	return &command{name: "metadata", short: "Work with the metadata of versioned secrets", subs: []*command{
		{
			name: "get", args: "PATH", min: 1, max: 1, groups: connects | formats | selects,
			short: "Show the metadata and the versions of a secret",
			define: func(fs *flag.FlagSet) action {
				mount := fs.String("mount", "", mountFlag)
				return func(ctx context.Context, c *call) error { return c.kvMetadataGet(ctx, *mount) }
			},
		},
		{
			name: "put", args: "PATH", min: 1, max: 1, groups: connects | formats,
			short:  "Set the metadata of a secret",
			define: func(fs *flag.FlagSet) action { return defineMetadata(fs, (*api.Client).Write) },
		},
		{
			name: "patch", args: "PATH", min: 1, max: 1, groups: connects | formats,
			short: "Change some of the metadata of a secret",
			define: func(fs *flag.FlagSet) action {
				var remove list
				fs.Var(&remove, "remove-custom-metadata", "remove the custom metadata `key`; may be repeated")
				run := defineMetadata(fs, func(cl *api.Client, ctx context.Context, path string, data any) (*api.Secret, error) {
					return cl.Patch(ctx, path, withoutKeys(data.(map[string]any), remove))
				})
				return run
			},
		},
		{
			name: "delete", args: "PATH", min: 1, max: 1, groups: connects | formats | selects,
			short: "Delete a secret with all its versions",
			define: func(fs *flag.FlagSet) action {
				mount := fs.String("mount", "", mountFlag)
				return func(ctx context.Context, c *call) error { return c.kvMetadataDelete(ctx, *mount) }
			},
		},
	}}
}

// withoutKeys marks keys of the custom metadata for removal.
func withoutKeys(data map[string]any, keys []string) map[string]any {
	if len(keys) == 0 {
		return data
	}
	custom := map[string]any{}
	if set, ok := data["custom_metadata"].(map[string]string); ok {
		for k, v := range set {
			custom[k] = v
		}
	}
	for _, k := range keys {
		custom[k] = nil
	}
	data["custom_metadata"] = custom
	return data
}

// defineMetadata declares the flags of kv metadata put and patch. Only those
// that are given are sent.
func defineMetadata(fs *flag.FlagSet, write writer) action {
	mount := fs.String("mount", "", mountFlag)
	var casRequired boolPointer
	var after duration
	var custom pairs
	fs.Var(&casRequired, "cas-required", "accept writes with check-and-set only")
	maxVersions := fs.Int("max-versions", -1, "keep this `number` of versions; 0 for the store's default")
	fs.Var(&after, "delete-version-after", "delete each version after this `time`")
	fs.Var(&custom, "custom-metadata", "set the custom metadata `key=value`; may be repeated")
	return func(ctx context.Context, c *call) error {
		data := map[string]any{}
		if casRequired.value != nil {
			data["cas_required"] = *casRequired.value
		}
		if *maxVersions >= 0 {
			data["max_versions"] = *maxVersions
		}
		if after.text != "" {
			data["delete_version_after"] = after.ttl()
		}
		if len(custom) > 0 {
			data["custom_metadata"] = custom.asMap()
		}
		p, cl, err := c.resolveKV(ctx, *mount, c.args[0])
		if err != nil {
			return err
		}
		if err := p.needVersions("metadata"); err != nil {
			return err
		}
		path := p.api("metadata")
		s, err := write(cl, ctx, path, data)
		if err != nil {
			return failed("writing metadata to "+path, err)
		}
		return c.written(s, "Data written to: %s", path)
	}
}

func (c *call) kvMetadataGet(ctx context.Context, mount string) error {
	p, cl, err := c.resolveKV(ctx, mount, c.args[0])
	if err != nil {
		return err
	}
	if err := p.needVersions("metadata"); err != nil {
		return err
	}
	path := p.api("metadata")
	s, err := cl.Read(ctx, path, nil)
	if s, err = c.found(s, err, "No value found at "+path); err != nil {
		return failed("reading "+path, err)
	}
	if c.opts.field != "" || !c.tabular() || s.WrapInfo != nil {
		return c.secret(s)
	}
	data, err := s.Map()
	if err != nil {
		return err
	}
	versions, _ := data["versions"].(map[string]any)
	delete(data, "versions")
	c.warn(s.Warnings)
	heading(c.Out, "Metadata Path", len(path))
	fmt.Fprintf(c.Out, "%s\n\n", path)
	section(c.Out, "Metadata", fieldTable(data))
	for _, number := range versionNumbers(versions) {
		fields, ok := versions[number].(map[string]any)
		if !ok {
			continue
		}
		fmt.Fprintln(c.Out)
		section(c.Out, "Version "+number, fieldTable(fields))
	}
	return nil
}

func versionNumbers(versions map[string]any) []string {
	numbers := sortedKeys(versions)
	sort.SliceStable(numbers, func(i, j int) bool {
		a, errA := strconv.Atoi(numbers[i])
		b, errB := strconv.Atoi(numbers[j])
		return errA == nil && errB == nil && a < b
	})
	return numbers
}

func (c *call) kvMetadataDelete(ctx context.Context, mount string) error {
	p, cl, err := c.resolveKV(ctx, mount, c.args[0])
	if err != nil {
		return err
	}
	if err := p.needVersions("metadata"); err != nil {
		return err
	}
	path := p.api("metadata")
	s, err := cl.Delete(ctx, path, nil)
	if errors.Is(err, api.ErrNotFound) {
		err, s = nil, &api.Secret{}
	}
	if err != nil {
		return failed("deleting "+path, err)
	}
	return c.written(s, "Data deleted (if it existed) at: %s", path)
}
