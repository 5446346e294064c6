package cli

import (
	"context"
	"flag"
	"fmt"
)

func leaseCommand() *command {
	return &command{name: "lease", short: "Look up, renew and revoke leases", subs: []*command{
		{
			name: "lookup", args: "ID", min: 1, max: 1, groups: connects | formats | selects,
			short:  "Show the properties of a lease",
			define: func(*flag.FlagSet) action { return runLeaseLookup },
		},
		{
			name: "renew", args: "ID", min: 1, max: 1, groups: connects | formats | selects,
			short: "Extend a lease",
			define: func(fs *flag.FlagSet) action {
				var increment duration
				fs.Var(&increment, "increment", "ask for this `time` to live; the server may grant less")
				fs.Var(&increment, "i", "short for -increment=`time`")
				return func(ctx context.Context, c *call) error { return c.leaseRenew(ctx, increment) }
			},
		},
		{
			name: "revoke", args: "ID | PREFIX", min: 1, max: 1, groups: connects | formats,
			short: "Revoke a lease, or all leases below a prefix",
			define: func(fs *flag.FlagSet) action {
				var r leaseRevocation
				fs.BoolVar(&r.force, "force", false, "forget the leases even if the credentials cannot be revoked; needs -prefix")
				fs.BoolVar(&r.force, "f", false, "short for -force")
				fs.BoolVar(&r.prefix, "prefix", false, "the argument is a prefix")
				fs.BoolVar(&r.sync, "sync", false, "wait until the credentials are gone")
				return func(ctx context.Context, c *call) error { return c.leaseRevoke(ctx, r) }
			},
		},
	}}
}

func runLeaseLookup(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	s, err := cl.LookupLease(ctx, cleanPath(c.args[0]))
	if err != nil {
		return failed("looking up lease "+c.args[0], err)
	}
	return c.secret(s)
}

func (c *call) leaseRenew(ctx context.Context, increment duration) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	s, err := cl.RenewLease(ctx, cleanPath(c.args[0]), increment.Duration)
	if err != nil {
		return failed("renewing lease "+c.args[0], err)
	}
	return c.secret(s)
}

// leaseRevocation is the flags of lease revoke.
type leaseRevocation struct{ force, prefix, sync bool }

func (c *call) leaseRevoke(ctx context.Context, r leaseRevocation) error {
	if r.force && !r.prefix {
		return usageError("-force needs -prefix")
	}
	id := cleanPath(c.args[0])
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	switch {
	case r.force:
		fmt.Fprintln(c.Err, "WARNING! Leases are forgotten even where revoking fails: credentials may stay valid outside.")
		if err := cl.RevokeForce(ctx, id); err != nil {
			return failed("force revoking leases below "+id, err)
		}
		c.success("Force revoked any leases with prefix: %s", id)
	case r.prefix:
		if err := cl.RevokePrefix(ctx, id, r.sync); err != nil {
			return failed("revoking leases below "+id, err)
		}
		c.revoked(r.sync, "Revoked any leases with prefix: %s", id)
	default:
		if err := cl.RevokeLease(ctx, id, r.sync); err != nil {
			return failed("revoking lease "+id, err)
		}
		c.revoked(r.sync, "Revoked lease: %s", id)
	}
	return nil
}

// revoked reports a revocation, which without sync has only been queued.
func (c *call) revoked(sync bool, format string, args ...any) {
	switch {
	case sync:
		c.success(format, args...)
	case c.tabular():
		fmt.Fprintln(c.Out, "All revocation operations queued successfully!")
	}
}
