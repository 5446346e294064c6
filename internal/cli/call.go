package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"github.com/cofferhq/coffer/api"
)

// call is one run of a command.
type call struct {
	*App
	cmd  *command
	path []string // names from the root to the command
	args []string
	opts options
	fs   *flag.FlagSet

	connected  *api.Client   // see client
	opened     []*api.Client // to close at the end
	stdinTaken bool          // guards against reading standard input twice
}

func (c *call) flagSet() (*flag.FlagSet, action) {
	fs := flag.NewFlagSet(strings.Join(c.path, " "), flag.ContinueOnError)
	act := c.cmd.define(fs)
	c.opts.define(fs, c.cmd.groups, c.Env)
	return fs, act
}

func (c *call) prepare(fs *flag.FlagSet) error {
	c.fs = fs
	if c.cmd.groups&formats != 0 {
		return c.opts.checkFormat()
	}
	return nil
}

// isSet reports whether the flag was given on the command line.
func (c *call) isSet(name string) bool {
	set := false
	c.fs.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

// arg returns the i-th argument, or "" when there are fewer.
func (c *call) arg(i int) string {
	if i < len(c.args) {
		return c.args[i]
	}
	return ""
}

func (c *call) checkArgs() error {
	switch n := len(c.args); {
	case n < c.cmd.min:
		return usageError(fmt.Sprintf("Not enough arguments (expected %d, got %d)", c.cmd.min, n))
	case c.cmd.max >= 0 && n > c.cmd.max:
		return usageError(fmt.Sprintf("Too many arguments (expected %d, got %d)", c.cmd.max, n))
	}
	return nil
}

// client returns the client for the flags and the environment, with the token
// that the environment or the token helper has.
func (c *call) client(ctx context.Context) (*api.Client, error) {
	if c.connected != nil {
		return c.connected, nil
	}
	cl, err := c.connect(ctx, true)
	if err == nil {
		c.connected = cl
	}
	return cl, err
}

// connect returns a new client with the stored token. When requests are only
// to be printed and mayRecord is set, it makes none.
func (c *call) connect(ctx context.Context, mayRecord bool) (*api.Client, error) {
	cfg, err := c.opts.config(c.Env, c.isSet)
	if err != nil {
		return nil, failed("reading the configuration", err)
	}
	if cfg.Token = strings.TrimSpace(cfg.Token); cfg.Token == "" && !c.cmd.tokenless {
		if cfg.Token, err = c.tokens().Get(ctx); err != nil {
			return nil, failed("reading the stored token", err)
		}
	}
	if mayRecord && (c.opts.outputCurl || c.opts.outputPolicy) {
		cfg.Middleware = recordRequests
	}
	cl, err := api.New(cfg)
	if err != nil {
		return nil, failed("setting up the connection", err)
	}
	c.opened = append(c.opened, cl)
	return cl, nil
}

// finish reports err, closes the connections and returns the exit code.
func (c *call) finish(err error) int {
	for _, cl := range c.opened {
		cl.Close()
	}
	var dry *recordedRequest
	if errors.As(err, &dry) {
		if c.opts.outputPolicy {
			fmt.Fprint(c.Out, dry.policy())
		} else {
			fmt.Fprintln(c.Out, dry.curl(c.name))
		}
		return exitOK
	}
	return c.report(err)
}
