package gate

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/identity"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/quota"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
	"github.com/cofferhq/coffer/internal/wire"
)

// exchange is one request on its way through the gate.
type exchange struct {
	g   *Gate
	req *Request

	space    *namespace.Space // that of the request; nil in the root
	mounted  *mount.Mounted
	endpoint *route.Endpoint
	known    bool // the path has endpoints for other verbs
	match    route.Match
	call     route.Call
	entry    *token.Entry        // nil for a public endpoint
	person   *identity.Principal // nil for a token without an entity
	rights   policy.Rights
	external []external
	reach    namespace.Reach // of a token that acts in a namespace below its own
	decision policy.Decision
	lastUse  bool
	standby  bool         // this node follows another
	seen     store.Index  // how far this node's copy was when the request came; of a standby
	quota    *quota.Check // nil if no rate limit binds the request

	records *records // nil until something is to be recorded
}

var (
	errDenied    = fault.New(fault.Denied, "permission denied")
	errSealed    = fault.New(fault.Sealed, "Vault is sealed")
	errSudo      = errDenied
	errOperation = fault.New(fault.Unsupported, "unsupported operation")
	errHead      = fault.New(fault.Unsupported, "")
	errPath      = fault.New(fault.NotFound, "unsupported path")
)

// Serve answers a request.
func (g *Gate) Serve(ctx context.Context, req *Request) Answer {
	if !g.enter() {
		return Answer{Err: errSealed}
	}
	defer g.running.Done()
	x := &exchange{g: g, req: req}
	if req.Standby {
		if err := x.follow(); err != nil {
			return Answer{Err: err}
		}
	}
	reply, err := x.run(ctx)
	x.giveBack()
	x.leave()
	if x.lastUse {
		// The last use of a token ends it, whatever came of the request.
		if rerr := g.Tokens.Revoke(context.WithoutCancel(ctx), x.entry.Handle); rerr != nil {
			g.Log.Error("revoking a token after its last use", "request", req.ID, "error", rerr)
		}
	}
	a := Answer{Err: err, Reply: reply, Endpoint: x.endpoint, Warnings: x.call.Warnings(), MountType: x.call.Mount.Type, Headers: x.quota.Headers()}
	if x.endpoint != nil {
		a.Flat = x.endpoint.Flat
	}
	if g.Replica != nil {
		x.conclude(&a)
	}
	if reply != nil && reply.Wrap != nil {
		a.Warnings = nil // they are in what is wrapped, for whoever unwraps it
	}
	return a
}

func (x *exchange) run(ctx context.Context) (*route.Reply, error) {
	err := x.find(ctx)
	if x.standby && err != nil {
		err = x.refind(ctx, err)
	}
	if x.g.Replica != nil && err == nil && x.elsewhere() {
		if x.standby || !x.g.Replica.Begin() {
			return nil, ErrElsewhere
		}
		defer x.g.Replica.End()
	}
	x.begin()
	if err != nil {
		return nil, x.refuse(ctx, err)
	}
	if x.req.Head && (x.endpoint == nil || !x.endpoint.Head) {
		return nil, errHead
	}
	if err := x.throttle(); err != nil {
		return nil, x.turnAway(ctx, err)
	}
	err = x.admit(ctx)
	if x.standby {
		if err = x.readmit(ctx, err); err == ErrElsewhere { //nolint:errorlint // nobody wraps it
			return nil, err
		}
	}
	if err != nil {
		return nil, x.turnAway(ctx, err)
	}
	if x.req.Help {
		return x.document(ctx)
	}
	if x.endpoint == nil {
		return nil, x.refuse(ctx, x.missing())
	}
	pending, err := x.auditRequest(ctx)
	if err != nil {
		return nil, err
	}
	reply, err := x.handle(ctx)
	if x.standby {
		reply, err = x.rehandle(ctx, reply, err)
	}
	if err == nil {
		reply, err = x.wrap(ctx, reply)
	}
	if aerr := x.auditResponse(ctx, pending, reply, err); aerr != nil {
		return nil, aerr
	}
	return reply, err
}

// find matches the path to a mount and an endpoint.
func (x *exchange) find(ctx context.Context) error {
	var m *mount.Mounted
	var rest string
	var ok bool
	if x.req.Within == "" && x.req.Namespace.ID <= store.RootNamespace {
		x.req.Namespace = namespace.Root
		m, rest, ok = x.g.Mounts.Resolve(store.RootNamespace, x.req.Path)
	}
	if m == nil {
		var err error
		if m, rest, ok, err = x.descend(ctx); err != nil {
			return err
		}
	}
	if !ok {
		return nil
	}
	x.mounted = m
	x.call.Path = rest
	if table := m.Routes(); table != nil {
		x.endpoint, x.known = table.Find(x.req.Verb, rest, &x.match)
	}
	return nil
}

// begin fills the call with what is known before anybody is asked.
func (x *exchange) begin() {
	c, r := &x.call, x.req
	c.ID, c.Verb, c.Full, c.Namespace = r.ID, r.Verb, r.Path, r.Namespace
	c.ClientToken, c.Remote, c.RemotePort, c.TLS = wire.Secret(r.Token), r.Remote, r.RemotePort, r.TLS
	c.Now, c.WrapTTL, c.Query, c.Log = x.g.Clock.Now(), r.WrapTTL, r.Query, x.g.Log
	c.Head = r.Head
	c.Header = x.header
	if x.mounted != nil {
		c.Mount = *x.mounted.Mount()
	}
	if x.endpoint != nil {
		c.SetMatch(&x.match, x.endpoint)
		if x.endpoint.Credentials {
			if values := r.Headers("Authorization"); len(values) > 0 {
				c.Credentials = wire.Secret(values[0])
			}
		}
	}
}

func (x *exchange) header(name string) string {
	if !x.mounted.PassesHeader(name) {
		return ""
	}
	if values := x.req.Headers(name); len(values) > 0 {
		return values[0]
	}
	return ""
}

// admit authenticates and authorises. Nothing is parsed before the caller is
// known, so that a stranger's request is cheap to refuse.
func (x *exchange) admit(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = x.panicked(p)
		}
	}()
	if x.endpoint != nil && x.endpoint.RootOnly && x.req.Namespace.ID != store.RootNamespace {
		return errRootOnly
	}
	if x.endpoint != nil && (x.endpoint.Public || x.req.Open) && !x.req.Help {
		x.call.Open = x.req.Open
		if err := x.parse(); err != nil {
			return err
		}
		if err := x.recognise(ctx); err != nil {
			return err
		}
		return x.throttleLogin(ctx)
	}
	if x.endpoint == nil && x.match.Public && !x.req.Help {
		return nil // an unsupported operation of a path that everybody knows
	}
	if err := x.authenticate(ctx); err != nil {
		return err
	}
	if x.endpoint != nil && !x.req.Help {
		if x.req.Body != nil && !x.conceivable() {
			return errDenied
		}
		if err := x.parse(); err != nil {
			return err
		}
		if x.endpoint.HasExists() {
			if err := x.existence(ctx); err != nil {
				return err
			}
		}
	}
	return x.authorize()
}

func (x *exchange) authenticate(ctx context.Context) error {
	if x.req.Token == "" {
		return errDenied
	}
	e, err := x.g.Tokens.Authenticate(ctx, x.req.Token)
	entity := ""
	if err == nil {
		entity = e.EntityID
	}
	if lerr := x.quota.Entity(entity); lerr != nil {
		return lerr
	}
	if err != nil {
		return err
	}
	if e.NS != x.req.Namespace.ID {
		if err := x.cross(ctx, e); err != nil {
			return err
		}
	}
	if len(e.BoundCIDRs) > 0 && (!x.req.Remote.IsValid() || !authn.InCIDRs(x.req.Remote, e.BoundCIDRs)) {
		return errDenied
	}
	policies, who := e.Policies, (*policy.Identity)(nil)
	if e.EntityID != "" {
		if x.person, err = x.g.Identity.Admit(ctx, e.NS, e.EntityID); err != nil {
			return err
		}
		policies, who = x.person.With(policies), x.person.Identity()
	}
	acl, err := x.g.Policies.ACL(ctx, e.NS, policies, who)
	if err != nil {
		return err
	}
	x.rights = acl.In(policy.Below{Prefix: x.reach.Prefix, IDs: x.reach.IDs})
	if x.person != nil && len(x.person.External()) > 0 {
		if err := x.addGroups(ctx, who); err != nil {
			return err
		}
	}
	if x.standby && e.NumUses != 0 {
		return ErrElsewhere // using it up is a write
	}
	if e, x.lastUse, err = x.g.Tokens.Use(ctx, e); err != nil {
		return err
	}
	x.entry = e
	x.call.Caller = e.Caller()
	x.call.Caller.Policies = policies
	x.call.Caller.Prefix, x.call.Caller.Below = x.reach.Prefix, x.reach.IDs
	return nil
}

// recognise lets a caller with a token have its rights at an endpoint that the
// listener opens to everybody: who has sudo may do more there than a stranger.
// A token that is no good makes its bearer a stranger.
func (x *exchange) recognise(ctx context.Context) error {
	if x.endpoint.Public || x.req.Token == "" {
		return nil
	}
	switch err := x.authenticate(ctx); {
	case err == nil:
		_ = x.authorize() // a stranger may call too: a refusal gives no rights
		return nil
	case fault.KindOf(err) == fault.Denied:
		return nil
	default:
		return err
	}
}

// conceivable reports whether some body could be allowed. If none could, the
// body is not worth reading.
func (x *exchange) conceivable() bool {
	ops := [...]policy.Op{operation(x.req.Verb, false), operation(x.req.Verb, true)}
	for _, op := range ops {
		d := x.rights.Check(op, x.req.Path, nil, x.req.WrapTTL)
		if d.Allowed || d.Reason == policy.ParametersRefused {
			return true
		}
	}
	return false
}

// parse reads the body within the limits.
func (x *exchange) parse() error {
	if x.endpoint.Streamed {
		x.call.Stream = strings.NewReader("")
		if x.req.Stream != nil {
			x.call.Stream = x.req.Stream()
		}
		return nil
	}
	if x.req.Body == nil {
		return nil
	}
	body, err := x.req.Body()
	if err != nil {
		return err
	}
	if x.endpoint.Opaque {
		x.call.Raw = body
		return nil
	}
	x.call.Body, err = wire.ParseObject(body, x.req.Limits)
	return err
}

func (x *exchange) existence(ctx context.Context) error {
	instance, err := x.mounted.Instance()
	if err != nil {
		return err
	}
	exists, err := x.endpoint.Exists(ctx, instance, &x.call)
	x.call.Create = !exists
	return err
}

func (x *exchange) authorize() error {
	op := operation(x.req.Verb, x.call.Create)
	x.decision = x.rights.Check(op, x.req.Path, (*params)(&x.call.Body), x.req.WrapTTL)
	if !x.decision.Allowed {
		return errDenied
	}
	x.call.Sudo = x.decision.Sudo
	if x.endpoint != nil && x.endpoint.Sudo && !x.decision.Sudo {
		return errSudo
	}
	if limit := x.decision.PaginationLimit; limit > 0 {
		return x.paginate(limit)
	}
	return nil
}

// missing words the absence of an endpoint for a caller who may know.
func (x *exchange) missing() error {
	switch {
	case x.mounted == nil:
		return fault.Newf(fault.NotFound, "no handler for route %q. route entry not found.", x.req.Path)
	case x.known:
		return errOperation
	case x.req.Namespace.ID != store.RootNamespace && x.call.Mount.Type == mount.SystemType:
		return errRootOnly // where clients that look for what namespaces lack expect it
	}
	return errPath
}

// handle runs the handler and registers what it grants. A panic is this
// request's failure alone.
func (x *exchange) handle(ctx context.Context) (reply *route.Reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			reply, err = nil, x.panicked(p)
		}
	}()
	if x.entry != nil && x.call.Full == responsePath && len(x.entry.Policies) == 1 && x.entry.Policies[0] == policy.ResponseWrappingName {
		return x.g.Wrapping.Response(ctx, &x.call)
	}
	instance, err := x.mounted.Instance()
	if err != nil {
		return nil, err
	}
	release, err := x.reserve(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	if x.endpoint.Login {
		return x.login(ctx, instance)
	}
	if reply, err = x.endpoint.Handle(ctx, instance, &x.call); err != nil {
		return nil, err
	}
	if reply.Warn != "" {
		x.call.Warn(reply.Warn)
	}
	if reply.Issued != nil {
		return x.grant(ctx, instance, reply)
	}
	return reply, nil
}

// panicked turns a panic into an error. Its text may hold a secret, so only its
// type and where it happened are logged.
func (x *exchange) panicked(p any) error {
	x.g.Log.Error("panic in a handler", "request", x.req.ID, "path", x.req.Path, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
	return fault.New(fault.Internal, "")
}

// responsePath is where older clients read what is wrapped.
const responsePath = "cubbyhole/response"

// params shows the body to policies that constrain parameters.
type params wire.Object

func (p *params) Names() []string {
	names := make([]string, len(p.Members))
	for i, m := range p.Members {
		names[i] = m.Name
	}
	return names
}

func (p *params) Lookup(name string) (any, bool) {
	raw, ok := (*wire.Object)(p).Lookup(name)
	if !ok {
		return nil, false
	}
	return wire.Any(raw), true
}

// confine narrows a transaction to the mount's rows.
func (x *exchange) confine(tx store.Txn) store.Txn { return x.mounted.Storage().Confine(tx) }

func trimmed(path string) string { return strings.TrimSuffix(path, "/") }
