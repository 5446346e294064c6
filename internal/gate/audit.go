package gate

import (
	"context"
	"runtime"
	"slices"

	"github.com/cofferhq/coffer/internal/audit"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/mount"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/token"
)

// records are what an exchange's audit records are made of.
type records struct {
	request  audit.Request
	auth     audit.Auth
	results  audit.PolicyResults
	granting [2]audit.GrantingPolicy
	response audit.Response
	headers  [4]audit.Header
	common   audit.Common
}

// takeRecords returns records without content. They are more than a kilobyte, so
// they are used again.
func (g *Gate) takeRecords() *records {
	if r, ok := g.records.Get().(*records); ok {
		return r
	}
	return new(records)
}

// giveBack ends the use of the exchange's records, which hold its token.
func (x *exchange) giveBack() {
	if r := x.records; r != nil {
		r.common.Reset()
		*r = records{common: r.common}
		x.records = nil
		x.g.records.Put(r)
	}
}

// describe fills the request's part of the audit records.
func (x *exchange) describe() {
	if x.records == nil {
		x.records = x.g.takeRecords()
	}
	x.records.common.Reset()
	r, c := &x.records.request, &x.call
	*r = audit.Request{
		ID: x.req.ID, Operation: operation(x.req.Verb, c.Create).String(), Path: x.req.Path, ClientToken: x.req.Token,
		Namespace: audit.Namespace{ID: x.req.Namespace.UUID, Path: x.req.Namespace.Path}, RemoteAddr: addr(x.req.Remote), RemotePort: x.req.RemotePort,
		WrapTTL: x.req.WrapTTL, Headers: x.g.Audit.SelectHeaders(x.records.headers[:0], x.req.Headers), Data: c.Body.Raw,
	}
	if x.mounted != nil {
		r.Mount = x.auditMount()
		r.NonHMACKeys, _ = x.mounted.NonHMACKeys()
	}
	if x.req.TLS != nil && len(x.req.TLS.PeerCertificates) > 0 {
		r.ClientCertificateSerialNumber = x.req.TLS.PeerCertificates[0].SerialNumber.String()
	}
	if x.entry != nil {
		r.ClientTokenAccessor = x.entry.Accessor
		x.records.auth = authOf(x.entry, x.req.Token)
		if x.person != nil {
			x.records.auth.Policies, x.records.auth.IdentityPolicies = x.call.Caller.Policies, x.person.Policies()
			for _, e := range x.external {
				x.records.auth.ExternalNamespacePolicies = append(x.records.auth.ExternalNamespacePolicies, audit.NamespacePolicies{NamespaceID: e.ns.UUID, Policies: e.policies})
			}
		}
		x.judge()
	}
}

func (x *exchange) auditMount() audit.Mount {
	class := "secret"
	if x.call.Mount.Auth {
		class = "auth"
	}
	return audit.Mount{Point: x.call.Mount.Path, Type: x.call.Mount.Type, Accessor: x.call.Mount.Accessor, RunningVersion: mount.RunningVersion, Class: class}
}

func authOf(e *token.Entry, text string) audit.Auth {
	return audit.Auth{
		Token: text, Accessor: e.Accessor, DisplayName: e.DisplayName, Policies: e.Policies, TokenPolicies: e.Policies,
		NoDefaultPolicy: e.NoDefaultPolicy, Metadata: pairs(e.Meta), NumUses: e.NumUses, RemainingUses: e.NumUses, EntityID: e.EntityID,
		TokenType: e.Type, TokenTTL: e.TTL, TokenIssueTime: e.Created,
	}
}

func pairs(m map[string]string) []audit.Pair {
	if len(m) == 0 {
		return nil
	}
	list := make([]audit.Pair, 0, len(m))
	for k, v := range m {
		list = append(list, audit.Pair{Key: k, Value: v})
	}
	slices.SortFunc(list, func(a, b audit.Pair) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	})
	return list
}

// judge tells in the record which policies have decided.
func (x *exchange) judge() {
	x.records.auth.PolicyResults = &x.records.results
	x.records.results = audit.PolicyResults{Allowed: x.decision.Allowed, GrantingPolicies: x.records.granting[:0]}
	if !x.decision.Allowed {
		return
	}
	names := x.decision.Policies
	if len(names) == 0 && x.entry.Root() {
		names = rootPolicy
	}
	ns := x.reach.Home
	if ns.ID == 0 {
		ns = x.req.Namespace
	}
	for _, e := range x.external {
		if e.ns.ID == x.decision.Of {
			ns = e.ns
		}
	}
	for _, name := range names {
		x.records.results.GrantingPolicies = append(x.records.results.GrantingPolicies, audit.GrantingPolicy{Name: name, NamespaceID: ns.UUID, NamespacePath: ns.Path, Type: "acl"})
	}
}

var rootPolicy = []string{"root"}

func (x *exchange) record(t audit.Type, err error) audit.Record {
	r := audit.Record{Time: x.g.Clock.Now(), Type: t, Request: &x.records.request, Common: &x.records.common}
	if x.entry != nil {
		r.Auth = &x.records.auth
	}
	if err != nil {
		r.Error = text(err)
	}
	return r
}

// text is what the audit log says of an error: what the client will see.
func text(err error) string {
	if msg := fault.Message(err); msg != "" {
		return msg
	}
	return fault.KindOf(err).String()
}

// auditRequest writes the request down: before anything that has an effect,
// beside a pure read. Wrapping an answer stores it, which is an effect; so does
// a call that makes what it addresses, whatever its endpoint declares.
func (x *exchange) auditRequest(ctx context.Context) (audit.Pending, error) {
	x.describe()
	r := x.record(audit.TypeRequest, nil)
	p := x.g.Audit.Begin(&r)
	if !x.effect() {
		return p, nil
	}
	return audit.Pending{}, p.Wait(ctx)
}

// effect reports whether the request changes something.
func (x *exchange) effect() bool {
	return x.endpoint.Effect || x.call.Create || x.req.WrapTTL > 0
}

// auditResponse writes the answer down, and waits for the request's record if
// that is still on its way.
func (x *exchange) auditResponse(ctx context.Context, pending audit.Pending, reply *route.Reply, err error) error {
	r := x.record(audit.TypeResponse, err)
	x.describeAnswer(reply)
	r.Response = &x.records.response
	p := x.g.Audit.Begin(&r)
	if pending == (audit.Pending{}) {
		// The request had an effect, and was recorded before it. One commit of
		// the store ends the waiting of many such requests at once: let them
		// record their answers too, so that one write has all. Reads come one
		// by one and would only be delayed.
		runtime.Gosched()
	}
	// The answer must not leave unrecorded because the client has hung up:
	// what was done was done.
	ctx = context.WithoutCancel(ctx)
	first := pending.Wait(ctx)
	if second := p.Wait(ctx); second != nil {
		return second
	}
	return first
}

// describeAnswer fills the answer's part of the audit records.
func (x *exchange) describeAnswer(reply *route.Reply) {
	res := &x.records.response
	*res = audit.Response{Mount: x.records.request.Mount, Warnings: x.call.Warnings()}
	if x.mounted != nil {
		_, res.NonHMACKeys = x.mounted.NonHMACKeys()
	}
	if reply == nil {
		return
	}
	res.Data = reply.Data
	if reply.Enveloped != nil {
		res.Data = reply.Enveloped
	}
	if reply.Lease != nil {
		res.LeaseID = reply.Lease.ID
	}
	if a := reply.Auth; a != nil {
		res.Auth = &audit.Auth{
			Token: a.ClientToken, Accessor: a.Accessor, DisplayName: a.DisplayName, Policies: a.Policies, TokenPolicies: a.TokenPolicies, IdentityPolicies: a.IdentityPolicies,
			Metadata: pairs(a.Metadata), NumUses: a.NumUses, EntityID: a.EntityID, TokenType: a.TokenType, TokenTTL: a.LeaseDuration, TokenIssueTime: x.call.Now,
		}
	}
	if w := reply.Wrap; w != nil {
		res.WrapInfo = &audit.WrapInfo{TTL: w.TTL, Token: w.Token, Accessor: w.Accessor, CreationTime: w.CreationTime, CreationPath: w.CreationPath, WrappedAccessor: w.WrappedAccessor}
	}
}

// refuse writes a refused request down, once, and returns the refusal, or the
// failure to write it. A stranger's body is not read, so it is not there.
func (x *exchange) refuse(ctx context.Context, err error) error {
	x.describe()
	r := x.record(audit.TypeRequest, err)
	if aerr := x.g.Audit.Log(context.WithoutCancel(ctx), &r); aerr != nil {
		return aerr
	}
	return err
}
