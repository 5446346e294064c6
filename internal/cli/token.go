package cli

import (
	"context"
	"flag"
	"fmt"
	"io"
	"strings"

	"github.com/cofferhq/coffer/api"
)

func tokenCommand() *command {
	return &command{name: "token", short: "Create, look up, renew and revoke tokens", subs: []*command{
		{
			name: "create", groups: connects | formats | selects,
			short:  "Create a token",
			define: defineTokenCreate,
		},
		{
			name: "lookup", args: "[TOKEN | ACCESSOR]", max: 1, groups: connects | formats | selects,
			short: "Show the properties of a token, your own by default",
			define: func(fs *flag.FlagSet) action {
				accessor := fs.Bool("accessor", false, "the argument is an accessor")
				return func(ctx context.Context, c *call) error { return c.tokenLookup(ctx, *accessor) }
			},
		},
		{
			name: "renew", args: "[TOKEN | ACCESSOR]", max: 1, groups: connects | formats | selects,
			short: "Extend the life of a token, your own by default",
			define: func(fs *flag.FlagSet) action {
				var increment duration
				accessor := fs.Bool("accessor", false, "the argument is an accessor")
				fs.Var(&increment, "increment", "ask for this `time` to live; the server may grant less")
				fs.Var(&increment, "i", "short for -increment=`time`")
				return func(ctx context.Context, c *call) error { return c.tokenRenew(ctx, *accessor, increment) }
			},
		},
		{
			name: "revoke", args: "[TOKEN | ACCESSOR | PATH]", max: 1, groups: connects | formats,
			short: "Revoke a token, its children and its leases",
			define: func(fs *flag.FlagSet) action {
				accessor := fs.Bool("accessor", false, "the argument is an accessor")
				self := fs.Bool("self", false, "revoke your own token")
				mode := fs.String("mode", "", "`how`: orphan spares the children, path revokes all tokens issued below the argument")
				return func(ctx context.Context, c *call) error { return c.tokenRevoke(ctx, *accessor, *self, *mode) }
			},
		},
		{
			name: "capabilities", args: "[TOKEN | ACCESSOR] PATH", min: 1, max: 2, groups: connects | formats,
			short: "Show what a token, your own by default, may do at a path",
			define: func(fs *flag.FlagSet) action {
				accessor := fs.Bool("accessor", false, "the first argument is an accessor")
				return func(ctx context.Context, c *call) error { return c.tokenCapabilities(ctx, *accessor) }
			},
		},
	}}
}

func defineTokenCreate(fs *flag.FlagSet) action {
	var (
		r                   api.TokenRequest
		ttl, maxTTL, period duration
		metadata            pairs
		policies            commaList
		renewable, orphan   bool
		role                string
	)
	fs.StringVar(&r.ID, "id", "", "`value` of the token; root tokens only may choose it")
	fs.StringVar(&r.DisplayName, "display-name", "", "`name` to show in logs")
	fs.Var(&ttl, "ttl", "initial `time` to live")
	fs.Var(&maxTTL, "explicit-max-ttl", "`time` after which the token ends whatever happens")
	fs.Var(&period, "period", "let every renewal last this `time`, for ever")
	fs.BoolVar(&renewable, "renewable", true, "let the token be renewed")
	fs.BoolVar(&orphan, "orphan", false, "create a token without a parent")
	fs.BoolVar(&r.NoDefaultPolicy, "no-default-policy", false, "leave the default policy out")
	fs.IntVar(&r.NumUses, "use-limit", 0, "let the token be used this `number` of times; 0 for no limit")
	fs.StringVar(&r.Type, "type", "", "`type` of the token: service or batch")
	fs.Var(&metadata, "metadata", "attach `key=value`; may be repeated")
	fs.Var(&policies, "policy", "attach the policy `name`; may be repeated")
	fs.StringVar(&role, "role", "", "create the token as the token role `name` prescribes")
	fs.StringVar(&r.EntityAlias, "entity-alias", "", "tie the token to the entity with the alias `name`; needs -role")
	return func(ctx context.Context, c *call) error {
		r.Policies, r.NoParent = policies, orphan
		if len(metadata) > 0 {
			r.Metadata = metadata.asMap()
		}
		r.TTL, r.ExplicitMaxTTL, r.Period = ttl.given(), maxTTL.given(), period.given()
		// A batch token never renews, and a server may refuse to hear otherwise.
		if r.Type != "batch" || c.isSet("renewable") {
			r.Renewable = &renewable
		}
		cl, err := c.client(ctx)
		if err != nil {
			return err
		}
		var s *api.Secret
		if role != "" {
			s, err = cl.Tokens().CreateWithRole(ctx, role, r)
		} else {
			s, err = cl.Tokens().Create(ctx, r)
		}
		if err != nil {
			return failed("creating token", err)
		}
		return c.secret(s)
	}
}

// given is ttl, or nothing for a flag that was not given.
func (d *duration) given() string {
	if d.text == "" {
		return ""
	}
	return d.ttl()
}

// tokenArg returns the argument, with - read from standard input.
func (c *call) tokenArg(ctx context.Context) (string, error) {
	text, err := c.resolve(ctx, c.arg(0))
	return strings.TrimSpace(text), err
}

func (c *call) tokenLookup(ctx context.Context, accessor bool) error {
	arg, err := c.tokenArg(ctx)
	if err != nil {
		return err
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	var s *api.Secret
	switch {
	case accessor && arg == "":
		return usageError("-accessor needs an accessor")
	case accessor:
		s, err = cl.Tokens().LookupAccessor(ctx, arg)
	case arg == "":
		s, err = cl.Tokens().LookupSelf(ctx)
	default:
		s, err = cl.Tokens().Lookup(ctx, arg)
	}
	if err != nil {
		return failed("looking up token", err)
	}
	return c.secret(s)
}

func (c *call) tokenRenew(ctx context.Context, accessor bool, increment duration) error {
	arg, err := c.tokenArg(ctx)
	if err != nil {
		return err
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	var s *api.Secret
	switch {
	case accessor && arg == "":
		return usageError("-accessor needs an accessor")
	case accessor:
		s, err = cl.Tokens().RenewAccessor(ctx, arg, increment.Duration)
	case arg == "":
		s, err = cl.Tokens().RenewSelf(ctx, increment.Duration)
	default:
		s, err = cl.Tokens().Renew(ctx, arg, increment.Duration)
	}
	if err != nil {
		return failed("renewing token", err)
	}
	return c.secret(s)
}

func (c *call) tokenRevoke(ctx context.Context, accessor, self bool, mode string) error {
	arg, err := c.tokenArg(ctx)
	if err != nil {
		return err
	}
	switch {
	case self && (arg != "" || accessor || mode != ""):
		return usageError("-self goes with no argument and no other flag")
	case !self && arg == "":
		return usageError("Not enough arguments (expected a token, or -self)")
	case accessor && mode != "":
		return usageError("-accessor and -mode exclude each other")
	}
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	switch {
	case self:
		err = cl.Tokens().RevokeSelf(ctx)
	case accessor:
		err = cl.Tokens().RevokeAccessor(ctx, arg)
	case mode == "orphan":
		err = cl.Tokens().RevokeOrphan(ctx, arg)
	case mode == "path":
		err = cl.RevokePrefix(ctx, arg, true)
	case mode == "":
		err = cl.Tokens().Revoke(ctx, arg)
	default:
		return usageError(fmt.Sprintf("Unknown -mode %q: use orphan or path", mode))
	}
	if err != nil {
		return failed("revoking token", err)
	}
	c.success("Revoked token (if it existed)")
	return nil
}

func (c *call) tokenCapabilities(ctx context.Context, accessor bool) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	path := c.args[len(c.args)-1]
	var found map[string][]string
	switch {
	case accessor && len(c.args) == 1:
		return usageError("-accessor needs an accessor and a path")
	case accessor:
		found, err = cl.CapabilitiesOfAccessor(ctx, c.args[0], path)
	case len(c.args) == 1:
		found, err = cl.Capabilities(ctx, path)
	default:
		found, err = cl.CapabilitiesOf(ctx, c.args[0], path)
	}
	if err != nil {
		return failed("asking for the capabilities at "+path, err)
	}
	capabilities := found[path]
	return c.value(capabilities, func(w io.Writer) { fmt.Fprintln(w, strings.Join(capabilities, ", ")) })
}
