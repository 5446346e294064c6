package cli

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/cofferhq/coffer/api"
)

func (a *App) operatorCommand() *command {
	return &command{name: "operator", short: "Initialise, unseal and look after a server", subs: []*command{
		operatorInitCommand(),
		operatorUnsealCommand(),
		{
			name: "seal", groups: connects,
			short:  "Seal the server: it answers nothing until it is unsealed",
			define: func(*flag.FlagSet) action { return runSeal },
		},
		operatorRekeyCommand(),
		{
			name: "rotate", groups: connects | formats,
			short:  "Install a new key for what is written from now on",
			define: func(*flag.FlagSet) action { return runRotate },
		},
		{
			name: "key-status", groups: connects | formats,
			short:  "Show the state of the key that encrypts the storage",
			define: func(*flag.FlagSet) action { return runKeyStatus },
		},
		operatorGenerateRootCommand(),
		{
			name: "step-down", groups: connects,
			short:  "Make the active node hand over to another",
			define: func(*flag.FlagSet) action { return runStepDown },
		},
		{
			name: "members", groups: connects | formats,
			short:  "List the nodes of the cluster",
			define: func(*flag.FlagSet) action { return runMembers },
		},
		operatorRaftCommand(),
		a.hookCommand("diagnose", "Check a server's configuration before it starts", a.Diagnose),
	}}
}

// hookCommand is a command that the program, not this package, carries out.
func (a *App) hookCommand(name, short string, hook Hook) *command {
	if hook == nil {
		hook = func(_ context.Context, _ []string, stdio Stdio) int {
			fmt.Fprintf(stdio.Err, "This build of %s has no %s command.\n", a.name, name)
			return exitLocal
		}
	}
	return &command{name: name, short: short, hook: hook}
}

func operatorUnsealCommand() *command {
	return &command{
		name: "unseal", args: "[KEY]", max: 1, groups: connects | formats,
		short: "Contribute a key share to unseal the server",
		long:  "Without KEY the share is asked for, which keeps it out of the shell's history.",
		define: func(fs *flag.FlagSet) action {
			var r api.UnsealRequest
			fs.BoolVar(&r.Reset, "reset", false, "forget the shares contributed so far")
			fs.BoolVar(&r.Migrate, "migrate", false, "contribute to the migration to another seal")
			return func(ctx context.Context, c *call) error { return c.unseal(ctx, r) }
		},
		tokenless: true,
	}
}

func (c *call) unseal(ctx context.Context, r api.UnsealRequest) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	if !r.Reset {
		if r.Key, err = c.keyShare(ctx, "Unseal Key"); err != nil {
			return err
		}
	}
	status, err := cl.Unseal(ctx, r)
	if err != nil {
		return failed("unsealing", err)
	}
	leader := &api.Leader{}
	if !status.Sealed {
		if l, err := cl.Leader(ctx); err == nil {
			leader = l
		}
	}
	c.warn(status.Warnings)
	out := statusOutput{SealStatus: status, Leader: leader}
	if c.tabular() {
		out.table().print(c.Out)
		return nil
	}
	return c.value(status, nil)
}

// keyShare returns the key share of the argument, or asks for it.
func (c *call) keyShare(ctx context.Context, prompt string) (string, error) {
	key, err := c.resolve(ctx, c.arg(0))
	if err != nil {
		return "", err
	}
	if len(c.args) == 0 {
		if key, err = c.ask(ctx, prompt); err != nil {
			return "", failed("asking for the key", err)
		}
	}
	if key = strings.TrimSpace(key); key == "" {
		return "", usageError("The key is empty")
	}
	return key, nil
}

func runSeal(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	if err := cl.Seal(ctx); err != nil {
		return failed("sealing", err)
	}
	c.success("The server is sealed.")
	return nil
}

func runStepDown(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	if err := cl.StepDown(ctx); err != nil {
		return failed("stepping down", err)
	}
	c.success("Stepped down: %s", cl.Address())
	return nil
}

func runRotate(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	if err := cl.Rotate(ctx); err != nil {
		return failed("rotating the key", err)
	}
	c.success("Rotated key\n")
	return c.printKeyStatus(ctx, cl)
}

func runKeyStatus(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	return c.printKeyStatus(ctx, cl)
}

func (c *call) printKeyStatus(ctx context.Context, cl *api.Client) error {
	status, err := cl.KeyStatus(ctx)
	if err != nil {
		return failed("reading the key status", err)
	}
	t := &table{}
	t.row("Key Term", fmt.Sprint(status.Term))
	t.row("Install Time", status.InstallTime.UTC().Format(time.RFC822))
	t.row("Encryption Count", fmt.Sprint(status.Encryptions))
	return c.tableValue(status, t)
}

func runMembers(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	nodes, err := cl.Nodes(ctx)
	if err != nil {
		return failed("listing the nodes", err)
	}
	t := newTable("Host Name", "API Address", "Cluster Address", "Active Node", "Version", "Last Echo")
	for _, n := range nodes {
		echo := ""
		if n.LastEcho != nil {
			echo = n.LastEcho.UTC().Format(time.RFC3339)
		}
		t.row(n.Hostname, n.APIAddress, n.ClusterAddress, cell(n.ActiveNode), n.Version, echo)
	}
	return c.tableValue(map[string]any{"nodes": nodes}, t)
}
