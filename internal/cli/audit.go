package cli

import (
	"context"
	"flag"
	"fmt"
	"io"

	"github.com/cofferhq/coffer/api"
)

func (a *App) auditCommand() *command {
	return &command{name: "audit", short: "Enable, list and disable audit devices", subs: []*command{
		{
			name: "enable", args: "TYPE [K=V...]", min: 1, max: -1, groups: connects | formats,
			short: "Enable an audit device",
			long:  "  {name} audit enable file file_path=/var/log/coffer/audit.log",
			define: func(fs *flag.FlagSet) action {
				var d api.AuditDevice
				path := fs.String("path", "", "`path` of the device; the type by default")
				fs.StringVar(&d.Description, "description", "", "`text` for people")
				fs.BoolVar(&d.Local, "local", false, "keep the device to this cluster")
				return func(ctx context.Context, c *call) error { return c.auditEnable(ctx, *path, d) }
			},
		},
		{
			name: "disable", args: "PATH", min: 1, max: 1, groups: connects | formats,
			short:  "Disable an audit device",
			define: func(*flag.FlagSet) action { return runAuditDisable },
		},
		{
			name: "list", groups: connects | formats,
			short: "List the audit devices",
			define: func(fs *flag.FlagSet) action {
				detailed := fs.Bool("detailed", false, "show all properties")
				return func(ctx context.Context, c *call) error { return c.auditList(ctx, *detailed || c.opts.detailed) }
			},
		},
		{
			name: "hash", args: "PATH INPUT", min: 2, max: 2, groups: connects | formats,
			short:  "Show how a device writes a value, to search the log for it; - reads standard input",
			define: func(*flag.FlagSet) action { return runAuditHash },
		},
		a.hookCommand("verify", "Prove that the files of an audit log are whole", a.VerifyAudit),
	}}
}

func (c *call) auditEnable(ctx context.Context, path string, d api.AuditDevice) error {
	d.Type = c.args[0]
	if path = cleanPath(path); path == "" {
		path = d.Type
	}
	options, err := c.fields(ctx, c.args[1:])
	if err != nil {
		return err
	}
	d.Options = make(map[string]string, len(options))
	for k, v := range options {
		d.Options[k] = cell(v)
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	if err := cl.EnableAudit(ctx, path, d); err != nil {
		return failed("enabling the audit device at "+path+"/", err)
	}
	c.success("Enabled the %s audit device at: %s/", d.Type, path)
	return nil
}

func runAuditDisable(ctx context.Context, c *call) error {
	path := cleanPath(c.args[0]) + "/"
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	if err := cl.DisableAudit(ctx, path); err != nil {
		return failed("disabling the audit device at "+path, err)
	}
	c.success("Disabled audit device (if it was enabled) at: %s", path)
	return nil
}

func (c *call) auditList(ctx context.Context, detailed bool) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	devices, err := cl.AuditDevices(ctx)
	if err != nil {
		return failed("listing audit devices", err)
	}
	if len(devices) == 0 {
		none := &exitError{exitServer, "No audit devices are enabled."}
		return c.emptyList(none)
	}
	header := []string{"Path", "Type", "Description"}
	if detailed {
		header = append(header, "Replication", "Options")
	}
	t := newTable(header...)
	for _, path := range sortedKeys(devices) {
		d := devices[path]
		row := []string{path, d.Type, d.Description}
		if detailed {
			replication := "replicated"
			if d.Local {
				replication = "local"
			}
			var options pairs
			for _, k := range sortedKeys(d.Options) {
				options = append(options, pair{k, d.Options[k]})
			}
			row = append(row, replication, options.text())
		}
		t.row(row...)
	}
	return c.tableValue(devices, t)
}

func runAuditHash(ctx context.Context, c *call) error {
	input, err := c.resolve(ctx, c.args[1])
	if err != nil {
		return err
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	hash, err := cl.AuditHash(ctx, cleanPath(c.args[0]), input)
	if err != nil {
		return failed("hashing", err)
	}
	return c.value(map[string]string{"hash": hash}, func(w io.Writer) { fmt.Fprintln(w, hash) })
}
