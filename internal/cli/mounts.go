package cli

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/cofferhq/coffer/api"
)

// mountKind is what differs between the commands for secrets engines and those
// for auth methods.
type mountKind struct {
	noun  string // in messages
	table func(*api.Client) api.MountTable
	auth  bool
}

func secretsCommand() *command {
	k := mountKind{noun: "secrets engine", table: (*api.Client).Mounts}
	return &command{name: "secrets", short: "Enable, list and configure secrets engines", subs: k.commands()}
}

func authCommand() *command {
	k := mountKind{noun: "auth method", table: (*api.Client).Auths, auth: true}
	return &command{
		name: "auth", short: "Enable, list and configure auth methods",
		long: "To log in, use the login command.",
		subs: append(k.commands(), authHelpCommand()),
	}
}

func (k mountKind) commands() []*command {
	return []*command{
		{
			name: "enable", args: "TYPE", min: 1, max: 1, groups: connects | formats,
			short:  "Enable a " + k.noun,
			define: k.defineEnable,
		},
		{
			name: "disable", args: "PATH", min: 1, max: 1, groups: connects | formats,
			short:  "Disable a " + k.noun + ", delete its data and revoke what it issued",
			define: func(*flag.FlagSet) action { return k.runDisable },
		},
		{
			name: "list", groups: connects | formats,
			short: "List the enabled " + k.noun + "s",
			define: func(fs *flag.FlagSet) action {
				detailed := fs.Bool("detailed", false, "show all properties")
				return func(ctx context.Context, c *call) error { return k.runList(ctx, c, *detailed || c.opts.detailed) }
			},
		},
		{
			name: "tune", args: "PATH", min: 1, max: 1, groups: connects | formats,
			short:  "Change the configuration of a " + k.noun,
			define: k.defineTune,
		},
		{
			name: "move", args: "SOURCE DESTINATION", min: 2, max: 2, groups: connects | formats,
			short:  "Move a " + k.noun + " to another path; what it issued is revoked",
			define: func(*flag.FlagSet) action { return k.runMove },
		},
	}
}

// tuningFlags are the flags that enable and tune share.
type tuningFlags struct {
	defaultTTL, maxTTL                                               duration
	auditRequest, auditResponse, requestHeaders, answerHeaders, keys commaList
	visibility, tokenType, pluginVersion, description                string
	forceNoCache                                                     bool
	options                                                          pairs
}

func (f *tuningFlags) define(fs *flag.FlagSet, auth bool) {
	fs.StringVar(&f.description, "description", "", "`text` for people")
	fs.Var(&f.defaultTTL, "default-lease-ttl", "`time` to live of leases that ask for none")
	fs.Var(&f.maxTTL, "max-lease-ttl", "longest `time` to live of leases")
	fs.Var(&f.auditRequest, "audit-non-hmac-request-keys", "write the request field `name` to the audit log as it is; may be repeated")
	fs.Var(&f.auditResponse, "audit-non-hmac-response-keys", "write the response field `name` to the audit log as it is; may be repeated")
	fs.StringVar(&f.visibility, "listing-visibility", "", "`who` sees the mount in user interfaces: unauth or hidden")
	fs.Var(&f.requestHeaders, "passthrough-request-headers", "hand the request header `name` to the backend; may be repeated")
	fs.Var(&f.answerHeaders, "allowed-response-headers", "let the backend set the response header `name`; may be repeated")
	fs.Var(&f.keys, "allowed-managed-keys", "")
	fs.StringVar(&f.pluginVersion, "plugin-version", "", "semantic `version` of the plugin to run")
	fs.Var(&f.options, "options", "set the mount option `key=value`; may be repeated")
	if auth {
		fs.StringVar(&f.tokenType, "token-type", "", "`type` of the tokens: default-service, default-batch, service or batch")
	} else {
		fs.BoolVar(&f.forceNoCache, "force-no-cache", false, "read the storage anew for every request")
	}
}

// tuning returns what was given; isSet tells an empty value from none.
func (f *tuningFlags) tuning(isSet func(string) bool) api.MountTuning {
	t := api.MountTuning{
		ListingVisibility: f.visibility, TokenType: f.tokenType, PluginVersion: f.pluginVersion, ForceNoCache: f.forceNoCache,
	}
	if f.defaultTTL.text != "" {
		t.DefaultLeaseTTL = f.defaultTTL.ttl()
	}
	if f.maxTTL.text != "" {
		t.MaxLeaseTTL = f.maxTTL.ttl()
	}
	for _, l := range []struct {
		name string
		from commaList
		to   *[]string
	}{
		{"audit-non-hmac-request-keys", f.auditRequest, &t.AuditNonHMACRequestKeys},
		{"audit-non-hmac-response-keys", f.auditResponse, &t.AuditNonHMACResponseKeys},
		{"passthrough-request-headers", f.requestHeaders, &t.PassthroughRequestHeaders},
		{"allowed-response-headers", f.answerHeaders, &t.AllowedResponseHeaders},
		{"allowed-managed-keys", f.keys, &t.AllowedManagedKeys},
	} {
		if isSet(l.name) {
			*l.to = nonNil(l.from)
		}
	}
	return t
}

func (k mountKind) defineEnable(fs *flag.FlagSet) action {
	var t tuningFlags
	var r api.MountRequest
	t.define(fs, k.auth)
	path := fs.String("path", "", "mount `path`; the type by default")
	version := fs.Int("version", 0, "`number` of the KV version, for the kv type")
	pluginName := fs.String("plugin-name", "", "`name` of the plugin, for the type plugin")
	fs.BoolVar(&r.Local, "local", false, "keep the mount to this cluster")
	fs.BoolVar(&r.SealWrap, "seal-wrap", false, "wrap what is critical with the seal as well")
	fs.BoolVar(&r.ExternalEntropyAccess, "external-entropy-access", false, "")
	return func(ctx context.Context, c *call) error {
		r.Type = strings.TrimSpace(c.args[0])
		if r.Type == "plugin" {
			if *pluginName == "" {
				return usageError("The type plugin needs -plugin-name")
			}
			r.Type = *pluginName
		}
		at := cleanPath(*path)
		if at == "" {
			at = r.Type
		}
		r.Description, r.PluginVersion = t.description, t.pluginVersion
		r.Config = t.tuning(c.isSet)
		r.Config.PluginVersion = ""
		if len(t.options) > 0 {
			r.Options = t.options.asMap()
		}
		if *version > 0 {
			if r.Options == nil {
				r.Options = map[string]string{}
			}
			r.Options["version"] = fmt.Sprint(*version)
		}
		cl, err := c.client(ctx)
		if err != nil {
			return err
		}
		if err := k.table(cl).Enable(ctx, at, r); err != nil {
			return failed("enabling the "+k.noun+" at "+at+"/", err)
		}
		if k.auth {
			c.success("Enabled %s auth method at: %s/", r.Type, at)
		} else {
			c.success("Enabled the %s secrets engine at: %s/", r.Type, at)
		}
		return nil
	}
}

func (k mountKind) runDisable(ctx context.Context, c *call) error {
	path := cleanPath(c.args[0]) + "/"
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	if err := k.table(cl).Disable(ctx, path); err != nil {
		return failed("disabling the "+k.noun+" at "+path, err)
	}
	c.success("Disabled the %s (if it existed) at: %s", k.noun, path)
	return nil
}

func (k mountKind) runList(ctx context.Context, c *call, detailed bool) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	mounts, err := k.table(cl).List(ctx)
	if err != nil {
		return failed("listing the "+k.noun+"s", err)
	}
	return c.value(mounts, func(w io.Writer) {
		if detailed {
			detailedMounts(mounts).print(w)
			return
		}
		header := []string{"Path", "Type", "Accessor", "Description"}
		if k.auth {
			header = append(header, "Version")
		}
		t := newTable(header...)
		for _, path := range sortedKeys(mounts) {
			m := mounts[path]
			row := []string{path, m.Type, m.Accessor, m.Description}
			if k.auth {
				row = append(row, m.PluginVersion)
			}
			t.row(row...)
		}
		t.print(w)
	})
}

func detailedMounts(mounts map[string]api.Mount) *table {
	t := newTable("Path", "Plugin", "Accessor", "Default TTL", "Max TTL", "Token Type", "Force No Cache", "Replication", "Seal Wrap",
		"External Entropy Access", "Options", "Description", "UUID", "Version", "Running Version", "Running SHA256", "Deprecation Status")
	ttl := func(n int) string {
		if n == 0 {
			return "system"
		}
		return fmt.Sprint(n)
	}
	for _, path := range sortedKeys(mounts) {
		m := mounts[path]
		replication := "replicated"
		if m.Local {
			replication = "local"
		}
		t.row(path, m.Type, m.Accessor, ttl(m.Config.DefaultLeaseTTL), ttl(m.Config.MaxLeaseTTL), m.Config.TokenType,
			cell(m.Config.ForceNoCache), replication, cell(m.SealWrap), cell(m.ExternalEntropyAccess), cell(m.Options),
			m.Description, m.UUID, m.PluginVersion, m.RunningPluginVersion, m.RunningSHA256, m.DeprecationStatus)
	}
	return t
}

func (k mountKind) defineTune(fs *flag.FlagSet) action {
	var t tuningFlags
	var lockout api.UserLockoutTuning
	var lockoutDuration, counterReset duration
	var disable boolPointer
	t.define(fs, k.auth)
	version := fs.Int("version", 0, "`number` of the KV version, for the kv type")
	if k.auth {
		fs.StringVar(&lockout.Threshold, "user-lockout-threshold", "", "lock a user out after this `number` of failed logins")
		fs.Var(&lockoutDuration, "user-lockout-duration", "lock a user out for this `time`")
		fs.Var(&counterReset, "user-lockout-counter-reset-duration", "forget failed logins after this `time`")
		fs.Var(&disable, "user-lockout-disable", "never lock users out")
	}
	return func(ctx context.Context, c *call) error {
		path := cleanPath(c.args[0]) + "/"
		tuning := t.tuning(c.isSet)
		if c.isSet("description") {
			tuning.Description = &t.description
		}
		if len(t.options) > 0 {
			tuning.Options = t.options.asMap()
		}
		if *version > 0 {
			if tuning.Options == nil {
				tuning.Options = map[string]string{}
			}
			tuning.Options["version"] = fmt.Sprint(*version)
		}
		lockout.Duration, lockout.CounterReset, lockout.Disable = lockoutDuration.text, counterReset.text, disable.value
		if lockout != (api.UserLockoutTuning{}) {
			tuning.UserLockout = &lockout
		}
		cl, err := c.client(ctx)
		if err != nil {
			return err
		}
		s, err := k.table(cl).Tune(ctx, path, tuning)
		if err != nil {
			return failed("tuning the "+k.noun+" at "+path, err)
		}
		return c.written(s, "Tuned the %s at: %s", k.noun, path)
	}
}

// moveInterval is how often the progress of a move is asked for.
const moveInterval = 500 * time.Millisecond

func (k mountKind) runMove(ctx context.Context, c *call) error {
	from, to := cleanPath(c.args[0])+"/", cleanPath(c.args[1])+"/"
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	op := fmt.Sprintf("moving the %s from %s to %s", k.noun, from, to)
	id, err := k.table(cl).Move(ctx, from, to)
	if err != nil {
		return failed(op, err)
	}
	if c.tabular() {
		fmt.Fprintf(c.Out, "Started moving %s %s to %s, with migration ID %s\n", k.noun, from, to, id)
	}
	ticker := time.NewTicker(moveInterval)
	defer ticker.Stop()
	for {
		status, err := k.table(cl).MoveStatus(ctx, id)
		if err != nil {
			return failed("asking for the status of migration "+id, err)
		}
		switch status.Info.Status {
		case "success":
			c.success("Finished moving %s %s to %s, with migration ID %s", k.noun, from, to, id)
			return nil
		case "failure":
			return &exitError{exitServer, fmt.Sprintf("Error %s: the server reports a failure; its log has the cause", op)}
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return failed(op, ctx.Err())
		}
	}
}

func authHelpCommand() *command {
	return &command{
		name: "help", args: "PATH", min: 1, max: 1, groups: connects | formats,
		short: "Show the help of the auth method at a path",
		define: func(*flag.FlagSet) action {
			return func(ctx context.Context, c *call) error {
				c.args[0] = "auth/" + strings.TrimPrefix(cleanPath(c.args[0]), "auth/")
				return runPathHelp(ctx, c)
			}
		},
	}
}
