package kubernetes

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// What names the alias of a login.
const (
	aliasUID  = "serviceaccount_uid"
	aliasName = "serviceaccount_name"
)

// role is a row.
type role struct {
	Names       []string          `json:"names"`
	Namespaces  []string          `json:"namespaces,omitempty"`
	Selector    string            `json:"selector,omitempty"`
	Audience    string            `json:"audience,omitempty"`
	AliasSource string            `json:"alias_source"`
	Token       authn.TokenParams `json:"token"`
	Older       authn.OlderNames  `json:"older"`
}

func (m *method) roleKey(name string) store.Key { return m.storage.Key(kindRole, name) }

// role reads a role; the error is [store.ErrNotFound] if there is none.
func (m *method) role(ctx context.Context, name string) (r role, err error) {
	err = m.storage.View(ctx, func(rd store.Reader) error {
		r, err = store.GetJSON[role](rd, m.roleKey(name))
		return err
	})
	return r, err
}

func (m *method) listRoles(ctx context.Context, _ *route.Call, _ listRequest) (keys route.Keys, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		keys.Keys, err = store.Children(r, m.storage.Key(kindRole), "", 0)
		return err
	})
	return keys, err
}

func (m *method) readRole(ctx context.Context, _ *route.Call, in nameRequest) (roleAnswer, error) {
	if err := authn.CheckName("role", in.Name); err != nil {
		return roleAnswer{}, err
	}
	r, err := m.role(ctx, in.Name)
	if err != nil {
		return roleAnswer{}, err
	}
	return roleAnswer{
		TokenAnswer: authn.Answer(r.Token), OlderAnswer: r.Older.Answer(r.Token), AliasSource: r.AliasSource, Audience: r.Audience,
		Names: orEmpty(r.Names), Selector: r.Selector, Namespaces: orEmpty(r.Namespaces),
	}, nil
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (m *method) roleExists(ctx context.Context, _ *route.Call, in roleRequest) (exists bool, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		exists, err = store.Exists(r, m.roleKey(in.Name))
		return err
	})
	return exists, err
}

func (m *method) writeRole(ctx context.Context, _ *route.Call, in roleRequest) (route.None, error) {
	if err := authn.CheckName("role", in.Name); err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error {
		r, err := store.GetJSON[role](tx, m.roleKey(in.Name))
		if errors.Is(err, store.ErrNotFound) {
			r, err = role{AliasSource: aliasUID}, nil
		}
		if err != nil {
			return err
		}
		if err := in.apply(&r); err != nil {
			return err
		}
		return store.PutJSON(tx, m.roleKey(in.Name), &r)
	})
}

func (m *method) deleteRole(ctx context.Context, _ *route.Call, in nameRequest) (route.None, error) {
	if err := authn.CheckName("role", in.Name); err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error { return tx.Delete(m.roleKey(in.Name)) })
}

// apply lays the settings that were given over the role's and checks the whole.
func (in *roleRequest) apply(r *role) error {
	fields := in.OlderFields.Merge(in.TokenFields, &r.Older)
	if err := fields.Apply(&r.Token); err != nil {
		return err
	}
	in.Names.Into(&r.Names)
	in.Namespaces.Into(&r.Namespaces)
	in.Selector.Into(&r.Selector)
	in.Audience.Into(&r.Audience)
	in.AliasSource.Into(&r.AliasSource)
	return r.validate()
}

func (r *role) validate() error {
	blank := func(s string) bool { return strings.TrimSpace(s) == "" }
	switch {
	case len(r.Names) == 0 || slices.ContainsFunc(r.Names, blank):
		return fault.New(fault.Invalid, "\"bound_service_account_names\" can not be empty")
	case len(r.Namespaces) == 0 && r.Selector == "" || slices.ContainsFunc(r.Namespaces, blank):
		return fault.New(fault.Invalid, "\"bound_service_account_namespaces\" can not be empty if \"bound_service_account_namespace_selector\" is not set")
	case slices.Contains(r.Names, "*") && slices.Contains(r.Namespaces, "*"):
		return fault.New(fault.Invalid, `bound_service_account_names and bound_service_account_namespaces can not both be "*": every pod of the cluster could log in`)
	case r.AliasSource != aliasUID && r.AliasSource != aliasName:
		return fault.New(fault.Invalid, "alias_name_source may be serviceaccount_uid or serviceaccount_name")
	}
	if r.Selector != "" {
		_, err := parseSelector(r.Selector)
		return err
	}
	return nil
}

// named reports whether the role names the service account.
func (r *role) named(name string) bool { return matches(r.Names, name) }

// inNamespace reports whether the role names the namespace.
func (r *role) inNamespace(namespace string) bool { return matches(r.Namespaces, namespace) }

func matches(patterns []string, name string) bool {
	return name != "" && slices.ContainsFunc(patterns, func(p string) bool { return wire.MatchGlob(p, name) })
}
