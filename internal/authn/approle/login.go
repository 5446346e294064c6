package approle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// errBad is the one answer to a role id or secret id that is not right, with a
// text that clients know.
var errBad = fault.New(fault.Unauthenticated, "invalid role or secret ID")

// grant is what a token's renewal needs to know of its login.
type grant struct {
	Role string `json:"role"`
	UID  string `json:"uid"`
}

// trim drops space around a secret, which files and shells leave there.
func trim(s wire.Secret) wire.Secret { return wire.Secret(strings.TrimSpace(s.Reveal())) }

// LoginAlias is the role id of a login, "" for what cannot be one.
func (m *method) LoginAlias(c *route.Call) string {
	raw, ok := c.Body.Lookup("role_id")
	if !ok {
		return ""
	}
	text, err := wire.ParseString(raw)
	if err != nil {
		return ""
	}
	id, _ := canonicalRoleID(text)
	return id
}

func (m *method) login(ctx context.Context, c *route.Call, in loginRequest) (authn.Identity, error) {
	if strings.TrimSpace(in.RoleID) == "" {
		return authn.Identity{}, missing("role_id")
	}
	id, ok := canonicalRoleID(in.RoleID)
	secret := trim(in.SecretID)
	if !ok || len(secret) > maxSecretID {
		return authn.Identity{}, errBad
	}
	r, s, err := m.verify(ctx, id, secret, c.Now)
	if err != nil {
		return authn.Identity{}, err
	}
	if err := checkAddress(c, &r, &s.secretID); err != nil {
		return authn.Identity{}, err
	}
	return m.identity(&r, s, c.Now)
}

// verify finds the role and the secret id of a login. The secret id is zero if
// the role demands none.
func (m *method) verify(ctx context.Context, id string, secret wire.Secret, now time.Time) (r role, s found, err error) {
	err = m.storage.View(ctx, func(rd store.Reader) error {
		if r, err = m.getRoleByID(rd, id); err != nil || !r.BindSecretID {
			return err
		}
		s.hash = r.hash(secret)
		s.secretID, err = m.getSecretID(rd, r.UID, s.hash, now)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = errBad
	}
	return r, s, err
}

// checkAddress holds the caller's address against the blocks of the role, the
// secret id and the token. Only who has shown the right secret id is told, and
// that is no failure of the credentials.
func checkAddress(c *route.Call, r *role, s *secretID) error {
	if !authn.InCIDRs(c.Remote, s.CIDRs) || !authn.InCIDRs(c.Remote, r.BoundCIDRs) {
		return fault.New(fault.Invalid, "the source address is outside the address blocks that the role and the secret id are bound to")
	}
	if !authn.InCIDRs(c.Remote, r.Token.BoundCIDRs) || !authn.InCIDRs(c.Remote, s.TokenCIDRs) {
		return fault.New(fault.Denied, "permission denied")
	}
	return nil
}

func (m *method) identity(r *role, s found, now time.Time) (authn.Identity, error) {
	payload, err := json.Marshal(grant{r.Name, r.UID})
	if err != nil {
		return authn.Identity{}, fmt.Errorf("encoding a login: %w", err)
	}
	metadata := make(map[string]string, len(s.Metadata)+1)
	maps.Copy(metadata, s.Metadata)
	metadata["role_name"] = r.Name
	id := authn.Identity{Alias: r.ID, AliasMetadata: metadata, Metadata: metadata, Token: r.Token, Payload: payload}
	if len(s.TokenCIDRs) > 0 {
		id.Token.BoundCIDRs = s.TokenCIDRs
	}
	if s.NumUses > 0 {
		uid, hash := r.UID, s.hash
		id.Commit = func(tx store.Txn) error { return m.use(tx, uid, hash, now) }
	}
	return id, nil
}

// use takes one use off a secret id, and removes it with the last.
func (m *method) use(tx store.Txn, uid, hash string, now time.Time) error {
	s, err := m.getSecretID(tx, uid, hash, now)
	if errors.Is(err, store.ErrNotFound) {
		return errBad // others were faster
	}
	if err != nil {
		return err
	}
	switch s.NumUses {
	case 0: // destroyed meanwhile, and made anew without a count
		return nil
	case 1:
		return m.removeSecretID(tx, uid, hash, &s)
	}
	s.NumUses--
	s.Updated = now
	return m.putSecretID(tx, uid, hash, &s)
}

// Renew allows a renewal as long as the role exists, within its present
// settings. A role that was deleted and made anew is another one.
func (m *method) Renew(ctx context.Context, _ *route.Call, payload []byte) (authn.TokenParams, error) {
	var g grant
	if err := json.Unmarshal(payload, &g); err != nil {
		return authn.TokenParams{}, errors.New("decoding a login: malformed")
	}
	var r role
	err := m.storage.View(ctx, func(rd store.Reader) (err error) {
		r, err = m.getRole(rd, g.Role)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && r.UID != g.UID {
		return authn.TokenParams{}, fault.New(fault.Denied, "the role no longer exists: the token cannot be renewed")
	}
	return r.Token, err
}
