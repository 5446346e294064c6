package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/hcl"
	"github.com/hashicorp/hcl/hcl/printer"

	"github.com/cofferhq/coffer/api"
)

func policyCommand() *command {
	return &command{name: "policy", short: "Write, read and format policies", subs: []*command{
		{
			name: "write", args: "NAME FILE", min: 2, max: 2, groups: connects | formats,
			short:  "Write a policy from a file, or from - for standard input",
			define: func(*flag.FlagSet) action { return runPolicyWrite },
		},
		{
			name: "read", args: "NAME", min: 1, max: 1, groups: connects | formats | selects,
			short:  "Print a policy",
			define: func(*flag.FlagSet) action { return runPolicyRead },
		},
		{
			name: "list", groups: connects | formats,
			short:  "List the names of the policies",
			define: func(*flag.FlagSet) action { return runPolicyList },
		},
		{
			name: "delete", args: "NAME", min: 1, max: 1, groups: connects | formats,
			short:  "Delete a policy",
			define: func(*flag.FlagSet) action { return runPolicyDelete },
		},
		{
			name: "fmt", args: "FILE", min: 1, max: 1, groups: formats,
			short:  "Format a policy file in place, or - from standard input to standard output",
			define: func(*flag.FlagSet) action { return runPolicyFmt },
		},
	}}
}

func policyName(arg string) string { return strings.ToLower(strings.TrimSpace(arg)) }

func runPolicyWrite(ctx context.Context, c *call) error {
	name := policyName(c.args[0])
	if name == "" {
		return usageError("The policy needs a name")
	}
	rules, err := c.document(ctx, strings.TrimPrefix(c.args[1], "@"))
	if err != nil {
		return err
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	s, err := cl.PutPolicy(ctx, name, string(rules))
	if err != nil {
		return failed("uploading policy "+name, err)
	}
	return c.written(s, "Uploaded policy: %s", name)
}

func runPolicyRead(ctx context.Context, c *call) error {
	name := policyName(c.args[0])
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	rules, err := cl.Policy(ctx, name)
	if errors.Is(err, api.ErrNotFound) {
		return &exitError{exitServer, "No policy named: " + name}
	}
	if err != nil {
		return failed("reading policy "+name, err)
	}
	out := map[string]string{"policy": rules}
	if c.opts.field != "" {
		return c.structField(out)
	}
	return c.value(out, func(w io.Writer) { fmt.Fprintln(w, strings.TrimSpace(rules)) })
}

func runPolicyList(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	names, err := cl.Policies(ctx)
	if err != nil {
		return failed("listing policies", err)
	}
	return c.lines(names)
}

func runPolicyDelete(ctx context.Context, c *call) error {
	name := policyName(c.args[0])
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	if err := cl.DeletePolicy(ctx, name); err != nil {
		return failed("deleting policy "+name, err)
	}
	c.success("Deleted policy: %s", name)
	return nil
}

func runPolicyFmt(ctx context.Context, c *call) error {
	path := c.args[0]
	text, err := c.document(ctx, path)
	if err != nil {
		return err
	}
	formatted, err := formatPolicy(text)
	if err != nil {
		return failed("formatting "+path, err)
	}
	if path == "-" {
		_, err := c.Out.Write(formatted)
		return err
	}
	if err := replaceFile(path, formatted); err != nil {
		return failed("writing "+path, err)
	}
	c.success("Formatted policy: %s", path)
	return nil
}

func formatPolicy(text []byte) ([]byte, error) {
	// Printing accepts more than a policy may hold; decoding finds the rest.
	var parsed map[string]any
	if err := hcl.Unmarshal(text, &parsed); err != nil {
		return nil, err
	}
	return printer.Format(text)
}

// replaceFile writes a file in one step and keeps its permissions.
func replaceFile(path string, text []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(text)
	if err = errors.Join(err, tmp.Chmod(info.Mode().Perm()), tmp.Close()); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), path)
}
