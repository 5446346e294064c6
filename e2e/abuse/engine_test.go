package abuse_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// faulty is an engine and an auth method that misbehave as tests want.
type faulty struct {
	mu       sync.Mutex
	down     bool               // guarded by mu: revocations fail
	attempts int                // guarded by mu: revocations tried
	revoked  []string           // guarded by mu: payloads of revocations that succeeded
	panics   string             // guarded by mu: where the engine panics
	limits   engine.RenewLimits // what a role allows now; set before requests
}

func (f *faulty) set(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
}

func (f *faulty) panicIn(where string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.panics = where
}

func (f *faulty) tried() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.attempts
}

func (f *faulty) gone(payload string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.revoked, payload)
}

func (f *faulty) maybePanic(where string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.panics == where {
		panic("a defect with " + canary + " in its text")
	}
}

// Revoke undoes a grant, or fails while the engine is down.
func (f *faulty) Revoke(_ context.Context, payload []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.attempts++
	if f.down {
		return fault.Wrap(fault.Upstream, errors.New("connection refused"), "the database is not reachable")
	}
	f.revoked = append(f.revoked, string(payload))
	return nil
}

// Renew lets every lease be renewed.
func (f *faulty) Renew(context.Context, []byte, time.Time) (engine.RenewLimits, error) {
	f.maybePanic("renew")
	return f.limits, nil
}

type issueRequest struct {
	Name   string        `path:"name" doc:"What is granted."`
	TTL    wire.Duration `query:"ttl" doc:"Its lifetime."`
	MaxTTL wire.Duration `query:"max_ttl" doc:"The longest it can be renewed to."`
}

type issued struct {
	Name string `json:"name"`
}

func (f *faulty) issue(_ context.Context, _ *route.Call, in issueRequest) (issued, engine.Lease, error) {
	f.maybePanic("issue")
	return issued{in.Name}, engine.Lease{TTL: in.TTL.D(), MaxTTL: in.MaxTTL.D(), Renewable: true, Payload: []byte(in.Name)}, nil
}

type whereRequest struct {
	Where string `path:"where" doc:"The place."`
	Text  string `json:"text" doc:"Anything."`
}

func (f *faulty) read(context.Context, *route.Call, whereRequest) (issued, error) {
	f.maybePanic("read")
	return issued{"read"}, nil
}

func (f *faulty) write(context.Context, *route.Call, whereRequest) (route.None, error) {
	f.maybePanic("write")
	return route.None{}, nil
}

func (f *faulty) exists(context.Context, *route.Call, whereRequest) (bool, error) {
	f.maybePanic("exists")
	return true, nil
}

func (f *faulty) routes() []route.Endpoint {
	return route.Bind(f, []route.Endpoint{
		engine.Issue(route.VerbRead, "creds/{name...}", (*faulty).issue),
		route.Read("at/{where}", (*faulty).read),
		route.Write("at/{where}", (*faulty).write, route.Exists((*faulty).exists)),
		route.Delete("at/{where}", (*faulty).write),
		route.Patch("at/{where}", (*faulty).write),
	})
}

func (f *faulty) engine() engine.Type {
	return engine.Type{Name: "fault", Routes: f.routes(), New: func(engine.Host) (any, error) { return f, nil }, Doc: "Misbehaves."}
}

type loginRequest struct {
	Policies wire.Opt[[]string] `json:"policies" doc:"Policies of the token."`
	Period   wire.Duration      `json:"period" doc:"Period of the token."`
	Fail     bool               `json:"fail" doc:"Refuse."`
}

func (f *faulty) login(_ context.Context, _ *route.Call, in loginRequest) (authn.Identity, error) {
	f.maybePanic("login")
	id := authn.Identity{Alias: "someone", Token: authn.TokenParams{Policies: in.Policies.Value, Period: in.Period.D(), TTL: time.Hour}}
	if in.Fail {
		// The identity is there, and so is the error: what counts is the error.
		return id, fault.New(fault.Unauthenticated, "no")
	}
	return id, nil
}

func (f *faulty) method() authn.Type {
	return authn.Type{
		Name: "fault", Routes: route.Bind(f, []route.Endpoint{authn.Login("login", (*faulty).login)}),
		New: func(authn.Host) (any, error) { return struct{}{}, nil }, Doc: "Misbehaves.",
	}
}

// times counts the revocations of a payload that have succeeded.
func (f *faulty) times(payload string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.revoked {
		if p == payload {
			n++
		}
	}
	return n
}
