package database

import (
	"context"
	"errors"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// role is the row of a role that users are made for.
type role struct {
	Connection       string
	Creation         Statements        `json:",omitempty"`
	Revocation       Statements        `json:",omitempty"`
	Renewal          Statements        `json:",omitempty"`
	Rollback         Statements        `json:",omitempty"`
	DefaultTTL       wire.Duration     `json:",omitempty"`
	MaxTTL           wire.Duration     `json:",omitempty"`
	CredentialConfig map[string]string `json:",omitempty"`
}

// typePassword is the only type of credential there is so far.
const typePassword = "password"

func (e *Engine) listRoles(ctx context.Context, _ *route.Call, _ listRequest) (route.Keys, error) {
	return e.names(ctx, kindRole)
}

func (e *Engine) roleExists(ctx context.Context, _ *route.Call, in writeRoleRequest) (bool, error) {
	return e.exists(ctx, kindRole, in.Name)
}

func (e *Engine) readRole(ctx context.Context, _ *route.Call, in nameRequest) (roleResponse, error) {
	r, err := readRow[role](ctx, e, kindRole, in.Name, "")
	if err != nil {
		return roleResponse{}, err
	}
	return roleResponse{
		Creation: r.Creation, CredentialConfig: r.CredentialConfig, CredentialType: typePassword, Connection: r.Connection,
		DefaultTTL: r.DefaultTTL, MaxTTL: r.MaxTTL, Renewal: r.Renewal, Revocation: r.Revocation, Rollback: r.Rollback,
	}, nil
}

func (e *Engine) writeRole(ctx context.Context, _ *route.Call, in writeRoleRequest) (route.None, error) {
	if err := e.checkCredential(ctx, in.CredentialType, in.CredentialConfig); err != nil {
		return route.None{}, err
	}
	return route.None{}, e.update(ctx, func(tx store.Txn) error {
		r, err := store.GetJSON[role](tx, e.key(kindRole, in.Name))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		in.apply(&r)
		if r.Connection == "" {
			return fault.New(fault.Invalid, "db_name is required: the connection that users are made with")
		}
		if err := e.nameIsFree(tx, kindStaticRole, in.Name); err != nil {
			return err
		}
		if err := e.checkStatements(tx, r.Connection, r.Creation, r.Revocation, r.Renewal, r.Rollback); err != nil {
			return err
		}
		return store.PutJSON(tx, e.key(kindRole, in.Name), r)
	})
}

func (in *writeRoleRequest) apply(r *role) {
	in.Connection.Into(&r.Connection)
	in.Creation.Into(&r.Creation)
	in.Revocation.Into(&r.Revocation)
	in.Renewal.Into(&r.Renewal)
	in.Rollback.Into(&r.Rollback)
	in.DefaultTTL.Into(&r.DefaultTTL)
	in.MaxTTL.Into(&r.MaxTTL)
	in.CredentialConfig.Into(&r.CredentialConfig)
}

func (e *Engine) deleteRole(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	return route.None{}, e.update(ctx, func(tx store.Txn) error { return tx.Delete(e.key(kindRole, in.Name)) })
}

// checkCredential refuses types of credential, and settings of them, that do
// not exist.
func (e *Engine) checkCredential(ctx context.Context, kind wire.Opt[string], config wire.Opt[map[string]string]) error {
	if k := kind.Or(typePassword); k != typePassword && k != "" {
		return fault.Newf(fault.Invalid, "field %q: only %q is supported", "credential_type", typePassword)
	}
	for name, value := range config.Value {
		if name != "password_policy" {
			return fault.Newf(fault.Invalid, "field %q: %q is not a setting of passwords; only password_policy is", "credential_config", name)
		}
		if _, err := e.host.Passwords(ctx, value); err != nil {
			return err
		}
	}
	return nil
}

// nameIsFree refuses a name that a role of the other kind has: both share the
// connection's list of allowed roles.
func (e *Engine) nameIsFree(r store.Reader, other store.Kind, name string) error {
	taken, err := store.Exists(r, e.key(other, name))
	if err == nil && taken {
		err = fault.New(fault.Invalid, "roles and static roles must have different names")
	}
	return err
}

// checkStatements lets the connection's driver look at statements. A role may
// be written before its connection; then they are looked at when they are used.
func (e *Engine) checkStatements(r store.Reader, conn string, lists ...Statements) error {
	c, err := store.GetJSON[connection](r, e.key(kindConnection, conn))
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	d, ok := e.driver(c.Plugin)
	if !ok {
		return nil
	}
	for _, list := range lists {
		if err := d.Check(list); err != nil {
			return err
		}
	}
	return nil
}
