package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/cofferhq/coffer/api"
)

// writer and lister are the shapes of the client's methods that several
// commands choose between.
type (
	writer func(cl *api.Client, ctx context.Context, path string, data any) (*api.Secret, error)
	lister func(cl *api.Client, ctx context.Context, path string) (*api.Secret, error)
)

func readCommand() *command {
	return &command{
		name: "read", args: "PATH [K=V...]", min: 1, max: -1, groups: connects | formats | selects,
		short:  "Read data and issue credentials",
		long:   "The K=V arguments become query parameters.\n\n  {name} read database/creds/app\n  {name} read -field=value cubbyhole/note",
		define: func(*flag.FlagSet) action { return runRead },
	}
}

func runRead(ctx context.Context, c *call) error {
	path := cleanPath(c.args[0])
	data, err := c.fields(ctx, c.args[1:])
	if err != nil {
		return err
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	query := queryOf(data)
	if c.opts.format == "raw" && c.opts.field == "" {
		return c.readRaw(ctx, cl, path, query)
	}
	s, err := cl.Read(ctx, path, query)
	if s, err = c.found(s, err, "No value found at "+path); err != nil {
		return failed("reading "+path, err)
	}
	return c.secret(s)
}

// readRaw copies the body of the answer as it came.
func (c *call) readRaw(ctx context.Context, cl *api.Client, path string, query url.Values) error {
	res, err := cl.Do(ctx, &api.Request{Method: http.MethodGet, Path: path, Query: query})
	if err != nil {
		return failed("reading "+path, err)
	}
	defer res.Body.Close()
	_, err = io.Copy(c.Out, res.Body)
	return err
}

// found turns the 404 of an empty place into the message missing. A 404 with
// data, as that of a deleted version, is an answer.
func (c *call) found(s *api.Secret, err error, missing string) (*api.Secret, error) {
	var refusal *api.Error
	if !errors.As(err, &refusal) || refusal.Status != http.StatusNotFound || len(refusal.Errors) > 0 {
		if err == nil && empty(s) {
			c.warn(s.Warnings)
			return nil, &exitError{exitServer, missing}
		}
		return s, err
	}
	if refusal.Secret != nil {
		if !empty(refusal.Secret) {
			return refusal.Secret, nil
		}
		c.warn(refusal.Secret.Warnings)
	}
	return nil, &exitError{exitServer, missing}
}

func queryOf(data map[string]any) url.Values {
	q := url.Values{}
	for k, v := range data {
		values, ok := v.([]any)
		if !ok {
			values = []any{v}
		}
		for _, v := range values {
			q.Add(k, cell(v))
		}
	}
	return q
}

// cleanPath drops the slashes and spaces around a path.
func cleanPath(path string) string { return strings.Trim(strings.TrimSpace(path), "/") }

func writeCommand() *command {
	return &command{
		name: "write", args: "PATH [K=V...]", min: 1, max: -1, groups: connects | formats | selects,
		short: "Write data, configuration and secrets",
		long:  "A value @FILE is read from a file and - from standard input; @FILE or - alone is a JSON object.\n\n  {name} write auth/approle/role/app token_ttl=20m\n  {name} write -force transit/keys/orders",
		define: func(fs *flag.FlagSet) action {
			force := fs.Bool("force", false, "write without data")
			fs.BoolVar(force, "f", false, "short for -force")
			return func(ctx context.Context, c *call) error {
				return c.runWrite(ctx, *force, (*api.Client).Write)
			}
		},
	}
}

func patchCommand() *command {
	return &command{
		name: "patch", args: "PATH [K=V...]", min: 1, max: -1, groups: connects | formats | selects,
		short: "Change some fields of data and leave the others",
		define: func(fs *flag.FlagSet) action {
			force := fs.Bool("force", false, "send the patch without data")
			fs.BoolVar(force, "f", false, "short for -force")
			return func(ctx context.Context, c *call) error {
				return c.runWrite(ctx, *force, (*api.Client).Patch)
			}
		},
	}
}

func (c *call) runWrite(ctx context.Context, force bool, write writer) error {
	path := cleanPath(c.args[0])
	if len(c.args) == 1 && !force {
		return usageError("Must supply data or use -force")
	}
	data, err := c.fields(ctx, c.args[1:])
	if err != nil {
		return err
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	s, err := write(cl, ctx, path, data)
	if err != nil {
		return failed("writing data to "+path, err)
	}
	return c.written(s, "Data written to: %s", path)
}

func listCommand() *command {
	return &command{
		name: "list", args: "PATH", min: 1, max: 1, groups: connects | formats | selects,
		short:  "List what is directly below a path",
		define: func(fs *flag.FlagSet) action { return runList((*api.Client).List) },
	}
}

func scanCommand() *command {
	return &command{
		name: "scan", args: "PATH", min: 1, max: 1, groups: connects | formats | selects,
		short:  "List what is at any depth below a path",
		define: func(fs *flag.FlagSet) action { return runList((*api.Client).Scan) },
	}
}

func runList(ask lister) action {
	return func(ctx context.Context, c *call) error {
		return c.listPath(ctx, cleanPath(c.args[0]), ask)
	}
}

func (c *call) listPath(ctx context.Context, path string, ask lister) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	s, err := ask(cl, ctx, path)
	if s, err = c.found(s, err, "No value found at "+path); err != nil {
		return c.emptyList(failed("listing "+path, err))
	}
	return c.keys(s, path)
}

// emptyList prints an empty object to programs that expect JSON where an empty
// place was listed, and returns err.
func (c *call) emptyList(err error) error {
	var nothing *exitError
	if errors.As(err, &nothing) && !c.tabular() {
		if err := c.value(struct{}{}, nil); err != nil {
			return err
		}
	}
	return err
}

func deleteCommand() *command {
	return &command{
		name: "delete", args: "PATH [K=V...]", min: 1, max: -1, groups: connects | formats | selects,
		short:  "Delete data, configuration and secrets",
		long:   "The K=V arguments become query parameters.",
		define: func(*flag.FlagSet) action { return runDelete },
	}
}

func runDelete(ctx context.Context, c *call) error {
	path := cleanPath(c.args[0])
	data, err := c.fields(ctx, c.args[1:])
	if err != nil {
		return err
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	s, err := cl.Delete(ctx, path, queryOf(data))
	if err != nil {
		return failed("deleting "+path, err)
	}
	return c.written(s, "Data deleted (if it existed) at: %s", path)
}

func unwrapCommand() *command {
	return &command{
		name: "unwrap", args: "[TOKEN]", min: 0, max: 1, groups: connects | formats | selects,
		short: "Open a wrapped answer with its single-use token",
		long:  "Without TOKEN the token of the environment or the token helper is the wrapping token; - reads it\nfrom standard input.",
		define: func(*flag.FlagSet) action {
			return func(ctx context.Context, c *call) error {
				token, err := c.resolve(ctx, c.arg(0))
				if err != nil {
					return err
				}
				cl, err := c.client(ctx)
				if err != nil {
					return err
				}
				s, err := cl.Unwrap(ctx, strings.TrimSpace(token))
				if err != nil {
					return failed("unwrapping", err)
				}
				if empty(s) {
					return &exitError{exitServer, "The wrapping token held an empty answer"}
				}
				return c.secret(s)
			}
		},
	}
}

func pathHelpCommand() *command {
	return &command{
		name: "path-help", args: "PATH", min: 1, max: 1, groups: connects | formats,
		short:  "Show what a path does and which parameters it takes",
		define: func(*flag.FlagSet) action { return runPathHelp },
	}
}

func runPathHelp(ctx context.Context, c *call) error {
	path := cleanPath(c.args[0])
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	var help map[string]any
	err = cl.JSON(ctx, api.Request{Method: http.MethodGet, Path: path, Query: url.Values{"help": {"1"}}}, nil, &help)
	if err != nil {
		return failed("reading the help of "+path, err)
	}
	return c.value(help, func(w io.Writer) {
		if text, ok := help["help"].(string); ok {
			fmt.Fprintln(w, strings.TrimRight(text, "\n"))
		}
	})
}
