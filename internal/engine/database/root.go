package database

import (
	"context"
	"errors"
	"fmt"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

func (e *Engine) rotateRoot(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	unlock, err := e.changing.lock(ctx, timerRoot+in.Name)
	if err != nil {
		return route.None{}, err
	}
	defer unlock()
	c, err := readRow[connection](ctx, e, kindConnection, in.Name, noConnection(in.Name))
	if err == nil && c.PendingPassword != "" {
		c, err = e.settleRootLocked(ctx, in.Name)
	}
	if err != nil {
		return route.None{}, err
	}
	username, err := rotatable(c)
	if err != nil {
		return route.None{}, err
	}
	if c, err = e.beginRoot(ctx, in.Name, c); err != nil {
		return route.None{}, err
	}
	u := User{Name: username, Password: wire.Secret(c.PendingPassword)}
	err = e.useOnce(ctx, in.Name, c, foreground, func(ctx context.Context, db Connection) error {
		return db.SetPassword(ctx, u, c.RootRotation)
	})
	switch {
	case err == nil:
		_, err = e.endRoot(context.WithoutCancel(ctx), in.Name, c.PendingPassword, true) // the database has it: it must be kept
	case !errors.Is(err, ErrUncertain):
		_, cerr := e.endRoot(context.WithoutCancel(ctx), in.Name, c.PendingPassword, false) // nothing has changed
		err = errors.Join(err, cerr)
	}
	return route.None{}, err
}

// rotatable returns the connection's own user, if the engine is in charge of
// the password.
func rotatable(c connection) (string, error) {
	username, err := c.Details.Text("username")
	if err != nil {
		return "", err
	}
	url, err := c.Details.Text("connection_url")
	if err != nil {
		return "", err
	}
	if password, err := c.Details.Text("password"); err != nil || username == "" || password == "" || redactURL(url) != url {
		return "", fault.New(fault.Invalid, "the root password can only be rotated if the connection has the fields username and password, with {{username}} and {{password}} in its connection_url")
	}
	return username, nil
}

// beginRoot stores the new password as pending before the database hears of it.
func (e *Engine) beginRoot(ctx context.Context, name string, c connection) (connection, error) {
	password, err := e.newPassword(ctx, nil, c)
	if err != nil {
		return c, err
	}
	c.PendingPassword = password
	return c, e.update(ctx, func(tx store.Txn) error {
		if err := store.PutJSON(tx, e.key(kindConnection, name), c); err != nil {
			return err
		}
		return e.host.Timers.Schedule(tx, timerRoot+name, e.host.Clock.Now().Add(resumeDelay))
	})
}

// endRoot closes the change that pending stands for: the password has been
// changed, or it has not.
func (e *Engine) endRoot(ctx context.Context, name, pending string, changed bool) (c connection, err error) {
	version, err := e.random(16)
	if err != nil {
		return c, err
	}
	err = e.update(ctx, func(tx store.Txn) error {
		if c, err = load[connection](e, tx, kindConnection, name, noConnection(name)); err != nil {
			return err
		}
		if c.PendingPassword != pending {
			return fault.New(fault.Conflict, "the connection was changed while its password was being rotated")
		}
		c.PendingPassword = ""
		if changed {
			c.Version, c.Details = version, c.Details.with("password", pending)
		}
		if err := store.PutJSON(tx, e.key(kindConnection, name), c); err != nil {
			return err
		}
		return e.host.Timers.Cancel(tx, timerRoot+name)
	})
	return c, err
}

// resumeRoot finishes a change that was interrupted.
func (e *Engine) resumeRoot(ctx context.Context, name string) error {
	_, err := e.settleRoot(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// settleRoot finds out which of two passwords the database has, and keeps that
// one.
func (e *Engine) settleRoot(ctx context.Context, name string) (connection, error) {
	unlock, err := e.changing.lock(ctx, timerRoot+name)
	if err != nil {
		return connection{}, err
	}
	defer unlock()
	return e.settleRootLocked(ctx, name)
}

func (e *Engine) settleRootLocked(ctx context.Context, name string) (connection, error) {
	c, err := readRow[connection](ctx, e, kindConnection, name, "")
	if err != nil || c.PendingPassword == "" {
		return c, err
	}
	fresh := c
	fresh.Details = c.Details.with("password", c.PendingPassword)
	for _, try := range []struct {
		row     connection
		changed bool
	}{{fresh, true}, {c, false}} {
		err := e.probe(ctx, try.row)
		if err == nil {
			return e.endRoot(ctx, name, c.PendingPassword, try.changed)
		}
		if !errors.Is(err, ErrCredentials) {
			return c, fmt.Errorf("finding out whether the root password was changed: %w", err)
		}
	}
	return c, fault.Newf(fault.Upstream, "the database accepts neither the old nor the new password of connection %q; set its password field", name)
}

// probe logs in once, outside the pools.
func (e *Engine) probe(ctx context.Context, c connection) error {
	conn, err := e.open(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, operationLimit)
	defer cancel()
	return conn.Verify(ctx)
}
