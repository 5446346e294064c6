package ldap

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// group and user are rows.
type (
	group struct {
		Policies []string `json:"policies"`
	}
	user struct {
		Policies []string `json:"policies,omitempty"`
		Groups   []string `json:"groups,omitempty"`
	}
)

// mapped returns the token settings of a user with the policies of the user and
// the groups, and all groups: those of the directory, as it writes them, and the
// user's further ones.
func (m *method) mapped(ctx context.Context, cfg *config, g *grant) (authn.TokenParams, []string, error) {
	params := cfg.Token
	params.Policies = slices.Clone(cfg.Token.Policies)
	groups := slices.Clone(g.Groups)
	err := m.storage.View(ctx, func(r store.Reader) error {
		u, err := store.GetJSON[user](r, m.storage.Key(kindUser, g.Name))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		params.Policies = append(params.Policies, u.Policies...)
		groups = append(groups, u.Groups...)
		for _, name := range groups {
			stored, ok := clean(name, !cfg.CaseSensitive)
			if !ok {
				continue // no mapping can have that name
			}
			of, err := store.GetJSON[group](r, m.storage.Key(kindGroup, stored))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			params.Policies = append(params.Policies, of.Policies...)
		}
		return nil
	})
	slices.Sort(params.Policies)
	params.Policies = slices.Compact(params.Policies)
	slices.Sort(groups)
	return params, slices.Compact(groups), err
}

// named calls fn in a transaction if name is in the form in which it is stored.
func (m *method) named(ctx context.Context, what, name string, fn func(tx store.Txn) error) error {
	return m.storage.Update(ctx, func(tx store.Txn) error {
		if err := m.checkStored(tx, what, name); err != nil {
			return err
		}
		return fn(tx)
	})
}

// checkStored checks a name of a path. Names of users are always folded: they are
// those of aliases.
func (m *method) checkStored(r store.Reader, what, name string) error {
	cfg, err := m.config(r)
	if err != nil {
		return err
	}
	return checkName(what, name, cfg.CaseSensitive && what == "group")
}

func (m *method) list(ctx context.Context, kind store.Kind) (keys route.Keys, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		keys.Keys, err = store.Children(r, m.storage.Key(kind), "", 0)
		return err
	})
	return keys, err
}

func (m *method) listGroups(ctx context.Context, _ *route.Call, _ emptyRequest) (route.Keys, error) {
	return m.list(ctx, kindGroup)
}

func (m *method) listUsers(ctx context.Context, _ *route.Call, _ emptyRequest) (route.Keys, error) {
	return m.list(ctx, kindUser)
}

func (m *method) readGroup(ctx context.Context, _ *route.Call, in nameRequest) (a groupAnswer, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		if err := m.checkStored(r, "group", in.Name); err != nil {
			return err
		}
		g, err := store.GetJSON[group](r, m.storage.Key(kindGroup, in.Name))
		a.Policies = g.Policies
		return err
	})
	return a, err
}

func (m *method) writeGroup(ctx context.Context, _ *route.Call, in groupRequest) (route.None, error) {
	policies, err := authn.CleanPolicies(in.Policies)
	if err != nil {
		return route.None{}, err
	}
	return route.None{}, m.named(ctx, "group", in.Name, func(tx store.Txn) error {
		return store.PutJSON(tx, m.storage.Key(kindGroup, in.Name), group{policies})
	})
}

func (m *method) deleteGroup(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	return route.None{}, m.named(ctx, "group", in.Name, func(tx store.Txn) error { return tx.Delete(m.storage.Key(kindGroup, in.Name)) })
}

func (m *method) readUser(ctx context.Context, _ *route.Call, in nameRequest) (a userAnswer, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		if err := m.checkStored(r, "user", in.Name); err != nil {
			return err
		}
		u, err := store.GetJSON[user](r, m.storage.Key(kindUser, in.Name))
		a = userAnswer{Groups: strings.Join(u.Groups, ","), Policies: u.Policies}
		if a.Policies == nil {
			a.Policies = []string{}
		}
		return err
	})
	return a, err
}

func (m *method) writeUser(ctx context.Context, _ *route.Call, in userRequest) (route.None, error) {
	policies, err := authn.CleanPolicies(in.Policies.Value)
	if err != nil {
		return route.None{}, err
	}
	for _, g := range in.Groups.Value {
		if _, ok := clean(g, true); !ok {
			return route.None{}, fault.New(fault.Invalid, "groups has a name that no group can have")
		}
	}
	return route.None{}, m.named(ctx, "user", in.Name, func(tx store.Txn) error {
		u, err := store.GetJSON[user](tx, m.storage.Key(kindUser, in.Name))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if in.Policies.Set {
			u.Policies = policies
		}
		in.Groups.Into(&u.Groups)
		return store.PutJSON(tx, m.storage.Key(kindUser, in.Name), &u)
	})
}

func (m *method) deleteUser(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	return route.None{}, m.named(ctx, "user", in.Name, func(tx store.Txn) error { return tx.Delete(m.storage.Key(kindUser, in.Name)) })
}
