package database

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// intent is the row of a user who is being made and has no lease yet.
type intent struct {
	Connection string
	Username   string
	Revocation Statements `json:",omitempty"`
}

// grant is a lease's payload: whom to remove and how, should the role be gone
// by then.
type grant struct {
	Role       string
	Connection string
	Username   string
	Revocation Statements `json:",omitempty"`
}

const (
	// orphanAge is after what time a user without a lease is dropped.
	orphanAge = 10 * time.Minute
	// expiryGrace makes up for the time between choosing a user's expiry and
	// registering the lease.
	expiryGrace = 5 * time.Second
)

func unknownRole(name string) string { return "unknown role: " + name }

func (e *Engine) issue(ctx context.Context, c *route.Call, in nameRequest) (credentialsResponse, engine.Lease, error) {
	var out credentialsResponse
	r, conn, err := e.roleForUse(ctx, in.Name)
	if err != nil {
		return out, engine.Lease{}, err
	}
	u, err := e.newUser(ctx, c, in.Name, r, conn)
	if err != nil {
		return out, engine.Lease{}, err
	}
	id, err := e.random(20)
	if err != nil {
		return out, engine.Lease{}, err
	}
	plan := intent{Connection: r.Connection, Username: u.Name, Revocation: r.Revocation}
	if err := e.begin(ctx, id, plan); err != nil {
		return out, engine.Lease{}, fmt.Errorf("storing intent: %w", err)
	}
	err = e.use(ctx, r.Connection, conn, foreground, func(ctx context.Context, db Connection) error { return db.Create(ctx, u, r.Creation) })
	if err != nil {
		e.abandon(ctx, id, plan, conn, r.Rollback, err)
		return out, engine.Lease{}, err
	}
	payload, err := json.Marshal(grant{Role: in.Name, Connection: r.Connection, Username: u.Name, Revocation: r.Revocation})
	if err != nil {
		return out, engine.Lease{}, err
	}
	return credentialsResponse{Username: u.Name, Password: u.Password.Reveal()}, engine.Lease{
		TTL: r.DefaultTTL.D(), MaxTTL: r.MaxTTL.D(), Renewable: true, Payload: payload,
		Commit: func(tx store.Txn) error { return e.settle(tx, id) },
	}, nil
}

// roleForUse reads a role and its connection and checks that one may use the
// other.
func (e *Engine) roleForUse(ctx context.Context, name string) (r role, c connection, err error) {
	err = e.view(ctx, func(tx store.Reader) error {
		if r, err = load[role](e, tx, kindRole, name, unknownRole(name)); err != nil {
			return err
		}
		c, err = load[connection](e, tx, kindConnection, r.Connection, noConnection(r.Connection))
		return err
	})
	switch {
	case err != nil:
		return r, c, err
	case len(r.Creation) == 0:
		return r, c, fault.New(fault.Invalid, "the role has no creation_statements")
	}
	return r, c, e.mustAllow(c, name)
}

func (e *Engine) newUser(ctx context.Context, c *route.Call, name string, r role, conn connection) (User, error) {
	d, ok := e.driver(conn.Plugin)
	if !ok {
		return User{}, fault.New(fault.Invalid, "plugin not found: the connection's plugin_name is not known to this server")
	}
	names, err := newNamer(conn.Details, d.MaxUsername)
	if err != nil {
		return User{}, err
	}
	now := e.host.Clock.Now()
	username, err := names.name(e.host.Rand, now, subject{DisplayName: c.Caller.DisplayName, RoleName: name})
	if err != nil {
		return User{}, err
	}
	password, err := e.newPassword(ctx, r.CredentialConfig, conn)
	if err != nil {
		return User{}, err
	}
	return User{Name: username, Password: wire.Secret(password), Expiration: expiration(now, r, c)}, nil
}

// newPassword makes a password by the role's policy, else the connection's,
// else the default.
func (e *Engine) newPassword(ctx context.Context, config map[string]string, conn connection) (string, error) {
	policy := config["password_policy"]
	if policy == "" {
		policy = conn.PasswordPolicy
	}
	return e.host.Passwords(ctx, policy)
}

// expiration is when the lease will end, as far as that is known before it is
// registered, and a little later.
func expiration(now time.Time, r role, c *route.Call) time.Time {
	ttl, limit := r.DefaultTTL.D(), c.Mount.MaxTTL
	if ttl == 0 {
		ttl = c.Mount.DefaultTTL
	}
	if m := r.MaxTTL.D(); m > 0 && (limit == 0 || m < limit) {
		limit = m
	}
	if limit > 0 {
		ttl = min(ttl, limit)
	}
	end := now.Add(ttl)
	if c.Caller.Batch && !c.Caller.ExpiresAt.IsZero() && c.Caller.ExpiresAt.Before(end) {
		end = c.Caller.ExpiresAt
	}
	return end.Add(expiryGrace)
}

// begin stores an intent and sets its timer.
func (e *Engine) begin(ctx context.Context, id string, plan intent) error {
	return e.update(ctx, func(tx store.Txn) error {
		if err := store.PutJSON(tx, e.key(kindIntent, id), plan); err != nil {
			return err
		}
		return e.host.Timers.Schedule(tx, timerIntent+id, e.host.Clock.Now().Add(orphanAge))
	})
}

// settle removes an intent, in the transaction that registers the lease. An
// intent that has been removed already means that the user has been dropped as
// an orphan: there must be no lease then.
func (e *Engine) settle(tx store.Txn, id string) error {
	if _, err := tx.Get(e.key(kindIntent, id)); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return fault.New(fault.Unavailable, "making the user took too long; it has been dropped")
		}
		return err
	}
	return e.clear(tx, id)
}

func (e *Engine) clear(tx store.Txn, id string) error {
	if err := tx.Delete(e.key(kindIntent, id)); err != nil {
		return err
	}
	return e.host.Timers.Cancel(tx, timerIntent+id)
}

// abandon cleans up after creation has failed. What it cannot do now, the
// intent's timer does.
func (e *Engine) abandon(ctx context.Context, id string, plan intent, conn connection, rollback Statements, cause error) {
	ctx = context.WithoutCancel(ctx) // the client may be gone; the user must be too
	var err error
	switch {
	case errors.Is(cause, ErrUncertain):
		// The first attempt may still be running in the database, so that the
		// drop comes too early: the intent stays for a second one.
		err = e.use(ctx, plan.Connection, conn, background, func(ctx context.Context, db Connection) error {
			return db.Drop(ctx, plan.Username, plan.Revocation)
		})
		e.logLeft(err, "dropping a user whose creation has an unknown outcome", plan)
		return
	case len(rollback) > 0 && !errors.Is(cause, ErrUnreachable) && fault.KindOf(cause) == fault.Upstream:
		err = e.use(ctx, plan.Connection, conn, background, func(ctx context.Context, db Connection) error {
			return db.Drop(ctx, plan.Username, rollback)
		})
	}
	if err == nil {
		err = e.update(ctx, func(tx store.Txn) error { return e.clear(tx, id) })
	}
	e.logLeft(err, "cleaning up after a failed creation", plan)
}

func (e *Engine) logLeft(err error, what string, plan intent) {
	if err != nil {
		e.host.Log.Warn(what+"; it will be tried again", slog.String("connection", plan.Connection), slog.String("username", plan.Username), slog.Any("error", err))
	}
}

// dropOrphan removes a user whose lease was never registered.
func (e *Engine) dropOrphan(ctx context.Context, id string) error {
	var plan intent
	var conn connection
	err := e.view(ctx, func(r store.Reader) (err error) {
		if plan, err = store.GetJSON[intent](r, e.key(kindIntent, id)); err != nil {
			return err
		}
		conn, err = load[connection](e, r, kindConnection, plan.Connection, noConnection(plan.Connection))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	err = e.use(ctx, plan.Connection, conn, background, func(ctx context.Context, db Connection) error {
		return db.Drop(ctx, plan.Username, plan.Revocation)
	})
	if err != nil {
		return fmt.Errorf("dropping the user of an unfinished request: %w", err)
	}
	return e.update(ctx, func(tx store.Txn) error { return e.clear(tx, id) })
}

// Clean drops the users of unfinished requests when the mount is disabled.
func (e *Engine) Clean(ctx context.Context) error {
	ids, err := e.names(ctx, kindIntent)
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids.Keys {
		errs = append(errs, e.dropOrphan(ctx, id))
	}
	return errors.Join(errs...)
}

// Revoke drops a lease's user.
func (e *Engine) Revoke(ctx context.Context, payload []byte) error {
	g, r, conn, err := e.granted(ctx, payload)
	if err != nil && !errors.Is(err, errNoRole) {
		return err
	}
	statements := g.Revocation
	if err == nil && r.Connection == g.Connection {
		statements = r.Revocation // mended statements count for old leases too
	}
	return e.use(ctx, g.Connection, conn, background, func(ctx context.Context, db Connection) error {
		return db.Drop(ctx, g.Username, statements)
	})
}

// Renew moves the expiry of a lease's user.
func (e *Engine) Renew(ctx context.Context, payload []byte, until time.Time) (engine.RenewLimits, error) {
	g, r, conn, err := e.granted(ctx, payload)
	if err != nil {
		return engine.RenewLimits{}, err
	}
	u := User{Name: g.Username, Expiration: until.Add(expiryGrace)}
	err = e.use(ctx, g.Connection, conn, foreground, func(ctx context.Context, db Connection) error {
		return db.Extend(ctx, u, r.Renewal)
	})
	return engine.RenewLimits{TTL: r.DefaultTTL.D(), MaxTTL: r.MaxTTL.D()}, err
}

var errNoRole = fault.New(fault.Invalid, "the role of this lease no longer exists")

// granted reads what a lease stands for. With [errNoRole] the rest is still
// valid.
func (e *Engine) granted(ctx context.Context, payload []byte) (g grant, r role, c connection, err error) {
	if json.Unmarshal(payload, &g) != nil {
		return g, r, c, errors.New("decoding lease payload: malformed")
	}
	err = e.view(ctx, func(tx store.Reader) error {
		if c, err = load[connection](e, tx, kindConnection, g.Connection, noConnection(g.Connection)); err != nil {
			return err
		}
		r, err = store.GetJSON[role](tx, e.key(kindRole, g.Role))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = errNoRole
	}
	return g, r, c, err
}
