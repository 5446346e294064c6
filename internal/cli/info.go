package cli

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/url"

	"github.com/cofferhq/coffer/api"
)

func printCommand() *command {
	return &command{name: "print", short: "Print what this command line would use", subs: []*command{{
		name: "token", groups: connects,
		short:  "Print the token of the environment or the token helper",
		define: func(*flag.FlagSet) action { return runPrintToken },
	}}}
}

func runPrintToken(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.Out, cl.Token())
	return nil
}

func versionCommand() *command {
	return &command{
		name: "version", groups: formats,
		short: "Print the version of this program",
		define: func(*flag.FlagSet) action {
			return func(_ context.Context, c *call) error {
				if c.tabular() {
					fmt.Fprintf(c.Out, "Coffer v%s\n", c.Version)
					return nil
				}
				return c.value(map[string]string{"version": c.Version}, nil)
			}
		},
	}
}

func versionHistoryCommand() *command {
	return &command{
		name: "version-history", groups: connects | formats,
		short:  "List the versions that the server has run",
		define: func(*flag.FlagSet) action { return runVersionHistory },
	}
}

func runVersionHistory(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	s, err := cl.Secret(ctx, &api.Request{Method: "LIST", Path: "sys/version-history"})
	if err != nil {
		return failed("listing versions", err)
	}
	c.warn(s.Warnings)
	keys, err := s.Keys()
	if err != nil {
		return failed("listing versions", err)
	}
	type run struct {
		Installed string `json:"timestamp_installed"`
		BuildDate string `json:"build_date"`
	}
	info, err := api.Field[map[string]run](s, "key_info")
	if err != nil {
		return failed("listing versions", err)
	}
	t := newTable("Version", "Installation Time", "Build Date")
	for _, k := range keys {
		t.row(k, info[k].Installed, info[k].BuildDate)
	}
	return c.tableValue(s, t)
}

func monitorCommand() *command {
	return &command{
		name: "monitor", groups: connects,
		short: "Follow the server's log until interrupted",
		define: func(fs *flag.FlagSet) action {
			level := fs.String("log-level", "info", "show messages of this `level` and above: trace, debug, info, warn or error")
			format := fs.String("log-format", "standard", "`format` of the messages: standard or json")
			return func(ctx context.Context, c *call) error { return c.monitor(ctx, *level, *format) }
		},
	}
}

func (c *call) monitor(ctx context.Context, level, format string) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	res, err := cl.Do(ctx, &api.Request{
		Method: http.MethodGet, Path: "sys/monitor", Stream: true,
		Query: url.Values{"log_level": {level}, "log_format": {format}},
	})
	if err != nil {
		return failed("following the log", err)
	}
	defer res.Body.Close()
	lines := bufio.NewReader(res.Body)
	for {
		line, err := lines.ReadString('\n')
		if _, werr := fmt.Fprint(c.Out, line); werr != nil {
			return werr
		}
		switch {
		case ctx.Err() != nil:
			return nil // interrupted, which is how this command ends
		case err != nil:
			return failed("following the log", errors.New("the server ended the stream"))
		}
	}
}
