package userpass

import (
	"context"
	"errors"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// user is a row.
type user struct {
	Hash  string            `json:"hash"`
	Token authn.TokenParams `json:"token"`
	// Older says which settings were last given by their older names.
	Older olderNames `json:"older,omitzero"`
}

type olderNames struct {
	Policies   bool `json:"policies,omitempty"`
	TTL        bool `json:"ttl,omitempty"`
	MaxTTL     bool `json:"max_ttl,omitempty"`
	BoundCIDRs bool `json:"bound_cidrs,omitempty"`
}

func (m *method) userKey(name string) store.Key { return m.storage.Key(kindUser, name) }

// getUser reads a user; the error is [store.ErrNotFound] if there is none.
func (m *method) getUser(r store.Reader, name string) (user, error) {
	return store.GetJSON[user](r, m.userKey(name))
}

func (m *method) listUsers(ctx context.Context, _ *route.Call, _ listRequest) (keys route.Keys, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		keys.Keys, err = store.Children(r, m.storage.Key(kindUser), "", 0)
		return err
	})
	return keys, err
}

func (m *method) readUser(ctx context.Context, _ *route.Call, in nameRequest) (userAnswer, error) {
	if err := checkName(in.Name); err != nil {
		return userAnswer{}, err
	}
	var u user
	err := m.storage.View(ctx, func(r store.Reader) (err error) {
		u, err = m.getUser(r, in.Name)
		return err
	})
	if err != nil {
		return userAnswer{}, err
	}
	return u.answer(), nil
}

func (u *user) answer() userAnswer {
	a := userAnswer{TokenAnswer: authn.Answer(u.Token)}
	if u.Older.Policies {
		a.OldPolicies = u.Token.Policies
	}
	if u.Older.BoundCIDRs {
		a.OldBoundCIDRs = u.Token.BoundCIDRs
	}
	if u.Older.TTL {
		a.OldTTL = &a.TTL
	}
	if u.Older.MaxTTL {
		a.OldMaxTTL = &a.MaxTTL
	}
	return a
}

func (m *method) userExists(ctx context.Context, _ *route.Call, in userRequest) (exists bool, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		exists, err = store.Exists(r, m.userKey(in.Name))
		return err
	})
	return exists, err
}

func (m *method) writeUser(ctx context.Context, _ *route.Call, in userRequest) (route.None, error) {
	if err := checkName(in.Name); err != nil {
		return route.None{}, err
	}
	hash, err := m.passwords.hash(ctx, in.credentials)
	if err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error {
		u, err := m.getUser(tx, in.Name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if err := in.apply(&u); err != nil {
			return err
		}
		if hash != "" {
			u.Hash = hash
		}
		if u.Hash == "" {
			return fault.New(fault.Invalid, "missing password")
		}
		return m.putUser(tx, in.Name, &u)
	})
}

// apply lays the settings that were given over the user's. A setting given by
// both of its names has the value of the newer one.
func (in *userRequest) apply(u *user) error {
	fields := in.TokenFields
	newer(&fields.Policies, in.OldPolicies, &u.Older.Policies)
	newer(&fields.BoundCIDRs, in.OldBoundCIDRs, &u.Older.BoundCIDRs)
	newer(&fields.TTL, in.OldTTL, &u.Older.TTL)
	newer(&fields.MaxTTL, in.OldMaxTTL, &u.Older.MaxTTL)
	return fields.Apply(&u.Token)
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

// putUser writes the user's row and remembers the cost of the hash.
func (m *method) putUser(tx store.Txn, name string, u *user) error {
	highest, err := m.highestCost(tx)
	if err != nil {
		return err
	}
	if cost := costOf(u.Hash); cost > highest {
		if err := store.PutJSON(tx, m.storage.Key(kindCost), cost); err != nil {
			return err
		}
	}
	return store.PutJSON(tx, m.userKey(name), u)
}

// highestCost is the cost that every refused login is brought up to.
func (m *method) highestCost(r store.Reader) (int, error) {
	cost, err := store.GetJSON[int](r, m.storage.Key(kindCost))
	if errors.Is(err, store.ErrNotFound) {
		return newCost, nil
	}
	return cost, err
}

func (m *method) deleteUser(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	if err := checkName(in.Name); err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error { return tx.Delete(m.userKey(in.Name)) })
}

func (m *method) writePassword(ctx context.Context, _ *route.Call, in passwordRequest) (route.None, error) {
	hash, err := m.passwords.hash(ctx, in.credentials)
	switch {
	case err != nil:
		return route.None{}, err
	case hash == "":
		return route.None{}, fault.New(fault.Invalid, "missing password")
	}
	return route.None{}, m.change(ctx, in.Name, func(u *user) error {
		u.Hash = hash
		return nil
	})
}

func (m *method) writePolicies(ctx context.Context, _ *route.Call, in policiesRequest) (route.None, error) {
	if !in.Policies.Set && !in.OldPolicies.Set {
		return route.None{}, fault.New(fault.Invalid, "missing token_policies")
	}
	return route.None{}, m.change(ctx, in.Name, func(u *user) error {
		fields := authn.TokenFields{Policies: in.Policies}
		newer(&fields.Policies, in.OldPolicies, &u.Older.Policies)
		return fields.Apply(&u.Token)
	})
}

// change applies fn to a user who exists.
func (m *method) change(ctx context.Context, name string, fn func(*user) error) error {
	if err := checkName(name); err != nil {
		return err
	}
	return m.storage.Update(ctx, func(tx store.Txn) error {
		u, err := m.getUser(tx, name)
		if errors.Is(err, store.ErrNotFound) {
			return fault.New(fault.NotFound, "no such user")
		}
		if err != nil {
			return err
		}
		if err := fn(&u); err != nil {
			return err
		}
		return m.putUser(tx, name, &u)
	})
}
