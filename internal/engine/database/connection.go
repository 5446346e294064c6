package database

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// connection is the row of a configured connection.
type connection struct {
	// Version changes with every change of the row that matters to an open
	// connection.
	Version        string
	Plugin         string
	PluginVersion  string   `json:",omitempty"`
	AllowedRoles   []string `json:",omitempty"`
	Details        Details
	RootRotation   Statements `json:",omitempty"`
	PasswordPolicy string     `json:",omitempty"`
	// PendingPassword is set while the root password is being changed: the
	// database has it or the one in Details.
	PendingPassword string `json:",omitempty"`
}

// allows reports whether a role may use the connection. A star in a pattern
// stands for any characters.
func (c connection) allows(role string) bool {
	return slices.ContainsFunc(c.AllowedRoles, func(pattern string) bool { return wire.MatchGlob(pattern, role) })
}

func (e *Engine) mustAllow(c connection, role string) error {
	if c.allows(role) {
		return nil
	}
	return fault.Newf(fault.Invalid, "%q is not an allowed role of its connection", role)
}

func (e *Engine) listConnections(ctx context.Context, _ *route.Call, _ listRequest) (route.Keys, error) {
	return e.names(ctx, kindConnection)
}

func (e *Engine) connectionExists(ctx context.Context, _ *route.Call, in writeConnectionRequest) (bool, error) {
	return e.exists(ctx, kindConnection, in.Name)
}

// readRow reads one row in a view of its own.
func readRow[T any](ctx context.Context, e *Engine, kind store.Kind, name, missing string) (v T, err error) {
	err = e.view(ctx, func(r store.Reader) (err error) {
		v, err = load[T](e, r, kind, name, missing)
		return err
	})
	return v, err
}

func (e *Engine) readConnection(ctx context.Context, _ *route.Call, in nameRequest) (connectionResponse, error) {
	c, err := readRow[connection](ctx, e, kindConnection, in.Name, "")
	if err != nil {
		return connectionResponse{}, err
	}
	out := connectionResponse{AllowedRoles: c.AllowedRoles, Details: Details{}, PasswordPolicy: c.PasswordPolicy, Plugin: c.Plugin, PluginVersion: c.PluginVersion, RootRotation: c.RootRotation}
	if out.AllowedRoles == nil {
		out.AllowedRoles = []string{}
	}
	for name, raw := range c.Details {
		if name != "password" && name != "private_key" {
			out.Details[name] = raw
		}
	}
	url, err := c.Details.Text("connection_url")
	if err != nil {
		return connectionResponse{}, err
	}
	out.Details["connection_url"] = wire.AppendQuoted(nil, redactURL(url))
	return out, nil
}

func (e *Engine) writeConnection(ctx context.Context, c *route.Call, in writeConnectionRequest) (route.None, error) {
	unlock, err := e.changing.lock(ctx, timerRoot+in.Name)
	if err != nil {
		return route.None{}, err
	}
	defer unlock()
	row, err := readRow[connection](ctx, e, kindConnection, in.Name, "")
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return route.None{}, err
	}
	if row.PendingPassword != "" && !in.Password.Set {
		// If the database is away this fails, and verification says so.
		if settled, err := e.settleRootLocked(ctx, in.Name); err == nil {
			row = settled
		}
	}
	in.apply(&row, c.Body)
	if err := e.checkConnection(ctx, c, row, in.Verify); err != nil {
		return route.None{}, err
	}
	if row.Version, err = e.random(16); err != nil {
		return route.None{}, err
	}
	err = e.update(ctx, func(tx store.Txn) error { return store.PutJSON(tx, e.key(kindConnection, in.Name), row) })
	if err == nil {
		e.pools.drop(func(name string) bool { return name == in.Name })
	}
	return route.None{}, err
}

// apply changes the row by what the request mentions.
func (in *writeConnectionRequest) apply(row *connection, body wire.Object) {
	in.Plugin.Into(&row.Plugin)
	in.PluginVersion.Into(&row.PluginVersion)
	in.AllowedRoles.Into(&row.AllowedRoles)
	in.RootRotation.Into(&row.RootRotation)
	in.PasswordPolicy.Into(&row.PasswordPolicy)
	if in.Password.Set {
		row.PendingPassword = "" // the administrator knows better than an unfinished rotation
	}
	given := Details{}
	for name, raw := range row.Details {
		given[name] = raw
	}
	for _, name := range detailNames {
		if raw, ok := body.Lookup(name); ok {
			given[name] = raw
		}
	}
	row.Details = given
}

// checkConnection refuses settings that cannot work, and warns of those that
// should not be used.
func (e *Engine) checkConnection(ctx context.Context, c *route.Call, row connection, verify bool) error {
	if row.Plugin == "" {
		return fault.New(fault.Invalid, "plugin_name is required")
	}
	d, ok := e.driver(row.Plugin)
	if !ok {
		return fault.Newf(fault.Invalid, "plugin not found: this server has no database plugin called %q", row.Plugin)
	}
	names, err := newNamer(row.Details, d.MaxUsername)
	if err != nil {
		return err
	}
	unique, err := names.unique(e.host.Rand, e.host.Clock.Now())
	if err != nil {
		return err
	}
	if !unique {
		c.Warn("username_template has nothing random in it (within the database's limit of length), so two leases can ask for the same user name and the second will be refused.")
	}
	if len(row.RootRotation) > 0 {
		if err := d.Check(row.RootRotation); err != nil {
			return err
		}
	}
	if row.PasswordPolicy != "" {
		if _, err := e.host.Passwords(ctx, row.PasswordPolicy); err != nil {
			return err
		}
	}
	conn, err := d.Open(row.Details)
	if err != nil {
		return err
	}
	defer conn.Close()
	if url, _ := row.Details.Text("connection_url"); redactURL(url) != url {
		c.Warn("connection_url holds a password. Give it as the field password and write {{username}} and {{password}} in the URL, so that the engine can rotate it.")
	}
	if !verify {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, operationLimit)
	defer cancel()
	if err := conn.Verify(ctx); err != nil {
		// The request is at fault, not this server: clients expect 400.
		return fault.Wrap(fault.Invalid, errors.Unwrap(err), "error verifying connection: "+fault.Message(err))
	}
	return nil
}

func (e *Engine) deleteConnection(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	unlock, err := e.changing.lock(ctx, timerRoot+in.Name)
	if err != nil {
		return route.None{}, err
	}
	defer unlock()
	err = e.update(ctx, func(tx store.Txn) error { return tx.Delete(e.key(kindConnection, in.Name)) })
	if err == nil {
		e.pools.drop(func(name string) bool { return name == in.Name })
	}
	return route.None{}, err
}

func (e *Engine) resetConnection(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	if _, err := readRow[connection](ctx, e, kindConnection, in.Name, noConnection(in.Name)); err != nil {
		return route.None{}, err
	}
	e.pools.drop(func(name string) bool { return name == in.Name })
	return route.None{}, nil
}

func (e *Engine) reloadPlugin(ctx context.Context, _ *route.Call, in pluginRequest) (reloadResponse, error) {
	out := reloadResponse{Connections: []string{}}
	d, ok := e.driver(in.Plugin)
	if !ok {
		return out, fault.Newf(fault.Invalid, "plugin not found: this server has no database plugin called %q", in.Plugin)
	}
	err := e.view(ctx, func(r store.Reader) error {
		out.Connections = out.Connections[:0]
		for entry, err := range r.Scan(store.Under(e.host.Storage.Key(kindConnection))) {
			if err != nil {
				return err
			}
			row, err := store.GetJSON[connection](r, entry.Key)
			if err != nil {
				return err
			}
			if slices.Contains(d.Names, row.Plugin) {
				out.Connections = append(out.Connections, entry.Key.Last())
			}
		}
		return nil
	})
	if err != nil {
		return out, err
	}
	out.Count = len(out.Connections)
	e.pools.drop(func(name string) bool { return slices.Contains(out.Connections, name) })
	return out, nil
}

const alphanumeric = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// random returns n random letters and digits.
func (e *Engine) random(n int) (string, error) { return randomText(e.host.Rand, n) }

func randomText(r io.Reader, n int) (string, error) {
	const fair = 256 / len(alphanumeric) * len(alphanumeric) // bytes from here on would favour some characters
	out := make([]byte, 0, n)
	buf := make([]byte, n+n/4+1)
	for len(out) < n {
		if _, err := io.ReadFull(r, buf); err != nil {
			return "", fmt.Errorf("reading randomness: %w", err)
		}
		for _, b := range buf {
			if int(b) < fair && len(out) < n {
				out = append(out, alphanumeric[int(b)%len(alphanumeric)])
			}
		}
	}
	return string(out), nil
}
