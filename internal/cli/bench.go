package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/bench"
	"github.com/cofferhq/coffer/internal/clock"
)

func benchCommand() *command {
	var list strings.Builder
	for _, w := range bench.Workloads() {
		fmt.Fprintf(&list, "  %-16s %s\n", w.Name, w.Summary)
	}
	return &command{
		name: "bench", args: "[WORKLOAD...]", min: 0, max: -1, groups: connects,
		short: "Load a server and measure what it does",
		long: "Makes mounts, keys, roles and a token of its own, sends requests from many clients at once, and removes what it has made.\n" +
			"It needs a token that may do all that, such as a root token, and a server on this machine. Without workloads it runs all that\n" +
			"the server can serve:\n\n" + list.String() + "\n  {name} bench -pid=$(pgrep -x coffer) kv2-read kv2-write",
		define: func(fs *flag.FlagSet) action {
			o := bench.Options{Clock: clock.System{}}
			fs.IntVar(&o.Clients, "clients", 32, "how `many` requests are under way at once")
			fs.DurationVar(&o.Duration, "duration", 5*time.Second, "`length` of a round")
			fs.Int64Var(&o.Count, "count", 0, "`number` of requests in a round, instead of its length")
			fs.IntVar(&o.Rounds, "rounds", 3, "`number` of rounds, of which the median counts")
			fs.DurationVar(&o.Warmup, "warmup", time.Second, "`length` of the round that does not count")
			fs.IntVar(&o.Keys, "keys", 1000, "`number` of keys of the KV workloads")
			fs.IntVar(&o.PID, "pid", 0, "server's `process`, for its CPU time and memory")
			fs.StringVar(&o.Postgres, "postgres", "", "`URL` of a PostgreSQL, for database-creds")
			fs.BoolVar(&o.Remote, "allow-remote", false, "load a server that is not on this machine")
			fs.BoolVar(&o.Keep, "keep", false, "leave on the server what the load has made")
			format := fs.String("format", "table", "table, json, or go for benchstat")
			return func(ctx context.Context, c *call) error { return c.bench(ctx, o, *format) }
		},
	}
}

func (c *call) bench(ctx context.Context, o bench.Options, format string) error {
	write := map[string]func(io.Writer, []bench.Result) error{"table": bench.WriteText, "json": bench.WriteJSON, "go": bench.WriteGo}[format]
	if write == nil {
		return usageError("-format must be table, json or go")
	}
	chosen, err := chooseWorkloads(c.args)
	if err != nil {
		return err
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	var results []bench.Result
	wrong := false
	for _, w := range chosen {
		r, err := bench.Run(ctx, cl, w, o)
		if err != nil {
			return errors.Join(failed("running "+w.Name, err), write(c.Out, results))
		}
		if r.Skipped != "" && len(c.args) > 0 {
			return failed("running "+w.Name, errors.New(r.Skipped))
		}
		wrong = wrong || r.Errors > 0
		results = append(results, r)
	}
	if err := write(c.Out, results); err != nil {
		return err
	}
	if wrong {
		return &exitError{code: exitServer, msg: "Some requests failed: these figures say nothing about the server's speed."}
	}
	return nil
}

func chooseWorkloads(names []string) ([]bench.Workload, error) {
	all := bench.Workloads()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []bench.Workload
next:
	for _, name := range names {
		for _, w := range all {
			if w.Name == name {
				chosen = append(chosen, w)
				continue next
			}
		}
		return nil, usageError(fmt.Sprintf("There is no workload %q", name))
	}
	return chosen, nil
}
