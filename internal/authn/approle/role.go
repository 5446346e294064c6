package approle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// role is a row.
type role struct {
	Name string `json:"name"`
	// ID is what applications log in with; UID never changes and is not shown.
	ID  string `json:"id"`
	UID string `json:"uid"`
	// Key is the key of the hashes of the role's secret ids.
	Key             []byte            `json:"key"`
	BindSecretID    bool              `json:"bind_secret_id,omitempty"`
	LocalSecretIDs  bool              `json:"local_secret_ids,omitempty"`
	BoundCIDRs      []string          `json:"bound_cidrs,omitempty"`
	SecretIDNumUses int               `json:"secret_id_num_uses,omitempty"`
	SecretIDTTL     time.Duration     `json:"secret_id_ttl,omitempty"`
	Token           authn.TokenParams `json:"token"`
	// ByPolicies and ByPeriod say that these settings were last given by their
	// older names.
	ByPolicies bool `json:"by_policies,omitempty"`
	ByPeriod   bool `json:"by_period,omitempty"`
}

func (m *method) roleKey(id string) store.Key   { return m.storage.Key(kindRole, id) }
func (m *method) nameKey(name string) store.Key { return m.storage.Key(kindName, name) }

// newRole makes a role with an id, and without settings.
func (m *method) newRole(name string) (role, error) {
	r := role{Name: name, BindSecretID: true, Key: make([]byte, 32)}
	if _, err := io.ReadFull(m.rand, r.Key); err != nil {
		return r, fmt.Errorf("reading randomness: %w", err)
	}
	var err error
	if r.UID, err = newUUID(m.rand); err != nil {
		return r, err
	}
	r.ID, err = newUUID(m.rand)
	return r, err
}

// getRole reads a role by its name; the error is [store.ErrNotFound] if there
// is none.
func (m *method) getRole(r store.Reader, name string) (role, error) {
	id, err := r.Get(m.nameKey(name))
	if err != nil {
		return role{}, err
	}
	return m.getRoleByID(r, string(id))
}

func (m *method) getRoleByID(r store.Reader, id string) (role, error) {
	return store.GetJSON[role](r, m.roleKey(id))
}

// check refuses a role that anybody could log in with.
func (r *role) check() error {
	switch {
	case r.SecretIDNumUses < 0:
		return fault.New(fault.Invalid, "secret_id_num_uses cannot be negative")
	case !r.BindSecretID && len(r.BoundCIDRs) == 0 && len(r.Token.BoundCIDRs) == 0:
		return fault.New(fault.Invalid, "at least one constraint should be enabled on the role: bind_secret_id, secret_id_bound_cidrs or token_bound_cidrs")
	}
	return nil
}

// putRole writes a role. oldID is the id that it had so far, "" for a new one.
func (m *method) putRole(tx store.Txn, r *role, oldID string) error {
	if err := r.check(); err != nil {
		return err
	}
	if r.ID != oldID {
		switch taken, err := store.Exists(tx, m.roleKey(r.ID)); {
		case err != nil:
			return err
		case taken:
			return fault.New(fault.Invalid, "the role_id is in use by another role")
		}
		if err := tx.Put(m.nameKey(r.Name), []byte(r.ID)); err != nil {
			return err
		}
		if oldID != "" {
			if err := tx.Delete(m.roleKey(oldID)); err != nil {
				return err
			}
		}
	}
	return store.PutJSON(tx, m.roleKey(r.ID), r)
}

func (m *method) listRoles(ctx context.Context, _ *route.Call, _ listRequest) (keys route.Keys, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		keys.Keys, err = store.Children(r, m.storage.Key(kindName), "", 0)
		return err
	})
	return keys, err
}

// view reads the role that a request is about.
func (m *method) view(ctx context.Context, name string) (found role, err error) {
	if err := checkName(name); err != nil {
		return found, err
	}
	err = m.storage.View(ctx, func(r store.Reader) error {
		found, err = m.getRole(r, name)
		return err
	})
	return found, err
}

func (m *method) readRole(ctx context.Context, _ *route.Call, in roleName) (roleAnswer, error) {
	r, err := m.view(ctx, in.Role)
	if err != nil {
		return roleAnswer{}, err
	}
	a := roleAnswer{
		TokenAnswer: authn.Answer(r.Token), BindSecretID: r.BindSecretID, LocalSecretIDs: r.LocalSecretIDs,
		SecretIDBoundCIDRs: r.BoundCIDRs, SecretIDNumUses: r.SecretIDNumUses, SecretIDTTL: wire.Duration(r.SecretIDTTL),
	}
	a.OldPolicies, a.OldPeriod = r.olderPolicies(), r.olderPeriod()
	return a, nil
}

func (r *role) olderPolicies() []string {
	if !r.ByPolicies {
		return nil
	}
	return r.Token.Policies
}

func (r *role) olderPeriod() *wire.Duration {
	if !r.ByPeriod {
		return nil
	}
	d := wire.Duration(r.Token.Period)
	return &d
}

func (m *method) roleExists(ctx context.Context, _ *route.Call, in roleRequest) (exists bool, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		exists, err = store.Exists(r, m.nameKey(in.Role))
		return err
	})
	return exists, err
}

func (m *method) writeRole(ctx context.Context, _ *route.Call, in roleRequest) (route.None, error) {
	if err := checkName(in.Role); err != nil {
		return route.None{}, err
	}
	fresh, err := m.newRole(in.Role)
	if err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error {
		r, err := m.getRole(tx, in.Role)
		oldID := r.ID
		switch {
		case errors.Is(err, store.ErrNotFound):
			r = fresh
			in.LocalSecretIDs.Into(&r.LocalSecretIDs)
		case err != nil:
			return err
		case in.LocalSecretIDs.Or(r.LocalSecretIDs) != r.LocalSecretIDs:
			return fault.New(fault.Invalid, "local_secret_ids can only be chosen when the role is created")
		}
		if err := in.apply(&r); err != nil {
			return err
		}
		return m.putRole(tx, &r, oldID)
	})
}

// apply lays the settings that were given over the role's.
func (in *roleRequest) apply(r *role) error {
	fields := in.TokenFields
	newer(&fields.Policies, in.OldPolicies, &r.ByPolicies)
	newer(&fields.Period, in.OldPeriod, &r.ByPeriod)
	if err := r.applyToken(fields); err != nil {
		return err
	}
	in.BindSecretID.Into(&r.BindSecretID)
	in.SecretIDNumUses.Into(&r.SecretIDNumUses)
	if in.SecretIDTTL.Set {
		r.SecretIDTTL = in.SecretIDTTL.Value.D()
	}
	if in.RoleID.Or("") != "" {
		if err := r.setID(in.RoleID.Value); err != nil {
			return err
		}
	}
	if in.SecretIDBoundCIDRs.Set {
		return r.setBoundCIDRs(in.SecretIDBoundCIDRs.Value)
	}
	return nil
}

func (r *role) applyToken(fields authn.TokenFields) error {
	return fields.Apply(&r.Token)
}

func (r *role) setBoundCIDRs(list []string) error {
	list, err := authn.CleanCIDRs(list)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		list = nil
	}
	r.BoundCIDRs = list
	return nil
}

func (r *role) setID(text string) error {
	id, ok := canonicalRoleID(text)
	if !ok {
		return fault.Newf(fault.Invalid, "a role_id has 1 to %d printable ASCII characters without spaces", maxRoleID)
	}
	r.ID = id
	return nil
}

// newer takes a setting from its older name if the newer was not given, and
// notes by which it came.
func newer[T any](field *wire.Opt[T], older wire.Opt[T], byOlder *bool) {
	if older.Set || field.Set {
		*byOlder = older.Set
	}
	if !field.Set {
		*field = older
	}
}

func (m *method) deleteRole(ctx context.Context, _ *route.Call, in roleName) (route.None, error) {
	if err := checkName(in.Role); err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error {
		r, err := m.getRole(tx, in.Role)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := tx.Delete(m.nameKey(r.Name)); err != nil {
			return err
		}
		if err := tx.Delete(m.roleKey(r.ID)); err != nil {
			return err
		}
		return m.drop(tx, r.UID)
	})
}

// change applies fn to a role that exists.
func (m *method) change(ctx context.Context, name string, fn func(*role) error) error {
	if err := checkName(name); err != nil {
		return err
	}
	return m.storage.Update(ctx, func(tx store.Txn) error {
		r, err := m.getRole(tx, name)
		if err != nil {
			return missingRole(err, name)
		}
		oldID := r.ID
		if err := fn(&r); err != nil {
			return err
		}
		return m.putRole(tx, &r, oldID)
	})
}

// missingRole words the absence of a role for requests that need one.
func missingRole(err error, name string) error {
	if errors.Is(err, store.ErrNotFound) {
		return fault.Newf(fault.NotFound, "role %q does not exist", name)
	}
	return err
}

func (m *method) readRoleID(ctx context.Context, _ *route.Call, in roleName) (roleIDAnswer, error) {
	r, err := m.view(ctx, in.Role)
	return roleIDAnswer{RoleID: r.ID}, err
}

func (m *method) writeRoleID(ctx context.Context, _ *route.Call, in roleIDRequest) (route.None, error) {
	return route.None{}, m.change(ctx, in.Role, func(r *role) error { return r.setID(in.RoleID) })
}
