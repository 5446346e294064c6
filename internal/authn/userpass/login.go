package userpass

import (
	"context"
	"errors"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Clients know these texts.
const (
	badCredentials = "invalid username or password"
	wrongAddress   = "permission denied"
)

// LoginAlias is the canonical name of the user who tries to log in, "" for a
// name that no user can have.
func (m *method) LoginAlias(c *route.Call) string {
	name, err := CanonicalName(c.Param("username"))
	if err != nil {
		return ""
	}
	return name
}

func (m *method) login(ctx context.Context, c *route.Call, in loginRequest) (authn.Identity, error) {
	if in.Password == "" {
		return authn.Identity{}, fault.New(fault.Invalid, "missing password")
	}
	name, err := CanonicalName(in.Name)
	if err != nil {
		return authn.Identity{}, fault.New(fault.Unauthenticated, badCredentials)
	}
	u, cost, err := m.lookUp(ctx, name)
	if err != nil {
		return authn.Identity{}, err
	}
	ok, err := m.passwords.matches(ctx, u.Hash, cost, in.Password)
	switch {
	case err != nil:
		return authn.Identity{}, err
	case !ok:
		return authn.Identity{}, fault.New(fault.Unauthenticated, badCredentials)
	case !authn.InCIDRs(c.Remote, u.Token.BoundCIDRs):
		// Told only to who knows the password: another answer before that would
		// tell which users exist.
		return authn.Identity{}, fault.New(fault.Denied, wrongAddress)
	}
	return authn.Identity{
		DisplayName: name,
		Alias:       name,
		Metadata:    map[string]string{"username": name},
		Token:       u.Token,
		Payload:     []byte(name),
	}, nil
}

// lookUp reads what judging a login takes. The user is zero if there is none.
func (m *method) lookUp(ctx context.Context, name string) (u user, cost int, err error) {
	err = m.storage.View(ctx, func(r store.Reader) error {
		if cost, err = m.highestCost(r); err != nil {
			return err
		}
		u, err = m.getUser(r, name)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	return u, cost, err
}

// Renew allows a renewal as long as the user exists, within the user's present
// settings.
func (m *method) Renew(ctx context.Context, _ *route.Call, payload []byte) (authn.TokenParams, error) {
	u, _, err := m.lookUp(ctx, string(payload))
	switch {
	case err != nil:
		return authn.TokenParams{}, err
	case u.Hash == "":
		return authn.TokenParams{}, fault.New(fault.Denied, "the user no longer exists: the token cannot be renewed")
	}
	return u.Token, nil
}
