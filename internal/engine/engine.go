// Package engine is the contract of secrets engines. An engine is a [Type]
// with a route table; an instance is made per mount, on its first use.
//
// Engines import this package, route, wire, fault, clock and their own
// libraries; never each other, the gate or httpd.
package engine

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Type is a kind of engine, listed in server/builtins.go.
type Type struct {
	// Name is the mount type: "kv", "database".
	Name string
	// Versions, if set, are the variants chosen by the mount option "version";
	// the one named "" is the default. Everything else is then taken from the
	// variant.
	Versions map[string]*Type
	// Routes are the endpoints; their receiver is what New returns.
	Routes []route.Endpoint
	// New makes the instance of a mount. It does no I/O.
	New func(Host) (any, error)
	// Singleton engines (cubbyhole) are mounted once by the server and cannot
	// be mounted, moved or disabled.
	Singleton bool
	// Doc describes the engine in one sentence.
	Doc string
}

// Host is what an instance gets from the house.
type Host struct {
	// Mount returns the mount as it is now (path and settings can change).
	Mount func() route.Mount
	// Storage is confined to the mount.
	Storage Storage
	Clock   clock.Clock
	// Rand is the source of randomness.
	Rand io.Reader
	Log  *slog.Logger
	// Timers schedules work at a later time, see [Timers].
	Timers Timers
	// Passwords generates a password by the named password policy; "" is the
	// default policy. An unknown name is [fault.Invalid].
	Passwords func(ctx context.Context, policy string) (string, error)
	// Identity returns what the names in templates stand for ("identity.entity.name")
	// for an entity. An unknown or disabled one is [fault.Denied].
	Identity func(ctx context.Context, entity string) (func(name string) (string, bool), error)
}

// Timers is a persistent alarm clock: one row per timer, no memory. A timer
// fires once on the node that leads, at or after its time, by a call of the
// instance's [TimerHandler]; it stays until the handler returns nil and is
// retried with growing delays until then.
type Timers interface {
	// Schedule sets the mount's timer called name, replacing an earlier one,
	// when tx commits.
	Schedule(tx store.Txn, name string, at time.Time) error
	// Cancel removes the timer called name; an absent one is no error.
	Cancel(tx store.Txn, name string) error
}

// TimerHandler is an instance that uses [Timers]. A handler that wants to fire
// again schedules the same name within an Update of its own; the row it was
// called for is removed only if it has not been rescheduled meanwhile.
type TimerHandler interface {
	Fire(ctx context.Context, name string) error
}

// Lease is what an engine grants, see [route.Lease].
type Lease = route.Lease

// Revoker is an instance that grants leases.
type Revoker interface {
	// Revoke undoes what payload stands for. It is called again until it
	// returns nil; something that is already gone is nil.
	Revoke(ctx context.Context, payload []byte) error
}

// Renewer is an instance whose leases can be renewed.
type Renewer interface {
	// Renew is called when a lease is renewed until the given time, before
	// that is recorded. It returns the limits now in force for it (zero for
	// the mount's), so that a changed role counts.
	Renew(ctx context.Context, payload []byte, until time.Time) (RenewLimits, error)
}

// RenewLimits are a role's present settings.
type RenewLimits struct{ TTL, MaxTTL time.Duration }

// Closer is an instance that holds something to let go: it is called when the
// mount goes, and when the server seals.
type Closer interface{ Close() error }

// Cleaner is an instance with something outside to undo when its mount is
// disabled, after its leases have been revoked.
type Cleaner interface {
	Clean(ctx context.Context) error
}

// Issue declares an endpoint that grants a lease. It has an effect whatever its
// verb.
func Issue[E, In, Out any](verb route.Verb, pattern string, h func(E, context.Context, *route.Call, In) (Out, Lease, error), opts ...route.Option) route.Endpoint {
	return MayIssue(verb, pattern, func(recv E, ctx context.Context, c *route.Call, in In) (Out, *Lease, error) {
		out, lease, err := h(recv, ctx, c, in)
		return out, &lease, err
	}, opts...)
}

// MayIssue declares an endpoint that grants a lease or, when the handler
// returns nil for it, none. It has an effect whatever its verb.
func MayIssue[E, In, Out any](verb route.Verb, pattern string, h func(E, context.Context, *route.Call, In) (Out, *Lease, error), opts ...route.Option) route.Endpoint {
	e := route.Full(verb, pattern, func(recv E, ctx context.Context, c *route.Call, in In) (*route.Reply, error) {
		out, lease, err := h(recv, ctx, c, in)
		if err != nil {
			return nil, err
		}
		reply, err := route.Data(out)
		if err != nil {
			return nil, err
		}
		reply.Issued = lease
		return reply, nil
	}, opts...)
	e.Effect, e.Issue = true, true
	return e
}
