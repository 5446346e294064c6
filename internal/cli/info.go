package cli

import (
	"context"
	"flag"
	"fmt"
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
				version := c.Version
				if version == "" {
					version = "Coffer (unversioned build)"
				}
				if c.tabular() {
					fmt.Fprintln(c.Out, version)
					return nil
				}
				return c.value(map[string]string{"version": version}, nil)
			}
		},
	}
}
