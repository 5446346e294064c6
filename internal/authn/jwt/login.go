package jwt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// grant is what a token's renewal needs to know of its login.
type grant struct {
	Role string `json:"role"`
}

var errNotConfigured = fault.New(fault.Invalid, "the method is not configured yet: write its config")

// setup reads what a login takes: what is trusted, and the role. An empty name
// stands for the default role.
func (m *method) setup(ctx context.Context, name string) (*trust, role, string, error) {
	t, err := m.trust(ctx)
	if errors.Is(err, store.ErrNotFound) {
		err = errNotConfigured
	}
	if err != nil {
		return nil, role{}, "", err
	}
	if strings.TrimSpace(name) == "" {
		name = t.config.DefaultRole
	}
	if name == "" {
		return nil, role{}, "", fault.New(fault.Invalid, "missing role")
	}
	folded, ok := authn.FoldName(name)
	if !ok {
		return nil, role{}, "", errNoRole
	}
	r, err := m.role(ctx, folded)
	if errors.Is(err, store.ErrNotFound) {
		err = errNoRole
	}
	return t, r, folded, err
}

var errNoRole = fault.New(fault.Invalid, "the role could not be found")

func (m *method) login(ctx context.Context, c *route.Call, in loginRequest) (authn.Identity, error) {
	t, r, name, err := m.setup(ctx, in.Role)
	switch {
	case err != nil:
		return authn.Identity{}, err
	case r.Type == roleOIDC:
		return authn.Identity{}, fault.New(fault.Invalid, "role with oidc role_type is not allowed: log in through the provider")
	case in.JWT == "":
		return authn.Identity{}, fault.New(fault.Invalid, "missing token: give it as jwt")
	case !authn.InCIDRs(c.Remote, r.Token.BoundCIDRs):
		return authn.Identity{}, fault.New(fault.Denied, "permission denied")
	}
	payload, err := t.signed(ctx, strings.TrimSpace(in.JWT.Reveal()))
	if err != nil {
		return authn.Identity{}, err
	}
	cl, err := parseClaims(payload)
	if err != nil {
		return authn.Identity{}, refused(err.Error())
	}
	if err := t.issued(ctx, cl); err != nil {
		return authn.Identity{}, err
	}
	for _, check := range []func() error{
		func() error { return r.current(cl, m.clock.Now()) },
		func() error { return r.audience(cl) },
	} {
		if err := check(); err != nil {
			return authn.Identity{}, err
		}
	}
	return r.identity(name, cl)
}

// identity holds verified claims against the role and says who they are about.
func (r *role) identity(name string, cl claims) (authn.Identity, error) {
	if err := r.check(cl); err != nil {
		return authn.Identity{}, err
	}
	user, err := r.user(cl)
	if err != nil {
		return authn.Identity{}, err
	}
	groups, err := r.groups(cl)
	if err != nil {
		return authn.Identity{}, err
	}
	metadata, err := r.metadata(cl)
	if err != nil {
		return authn.Identity{}, err
	}
	metadata["role"] = name
	payload, err := json.Marshal(grant{name})
	if err != nil {
		return authn.Identity{}, fmt.Errorf("encoding a login: %w", err)
	}
	return authn.Identity{
		DisplayName: user, Alias: user, AliasMetadata: metadata, Metadata: metadata, Groups: groups, Token: r.Token, Payload: payload,
	}, nil
}

// check holds claims against what the role is bound to.
func (r *role) check(cl claims) error {
	if r.BoundSubject != "" {
		if sub, ok := cl.text("sub"); !ok || sub != r.BoundSubject {
			return refused("sub claim does not match bound subject")
		}
	}
	for name, want := range r.BoundClaims {
		if err := r.bound(cl, name, want); err != nil {
			return err
		}
	}
	return nil
}

// bound checks one bound claim: one of the claim's values must be one of the
// wanted.
func (r *role) bound(cl claims, name string, want wire.JSON) error {
	raw, ok := cl.at(name)
	if !ok {
		return refused(fmt.Sprintf("claim %q is missing", name))
	}
	held, err := scalars(raw)
	if err != nil {
		return refused(fmt.Sprintf("claim %q %v", name, err))
	}
	wanted, err := scalars(want)
	if err != nil {
		return fmt.Errorf("reading the bound claim %q: %w", name, err)
	}
	for _, w := range wanted {
		for _, h := range held {
			if h == w || r.BoundClaimsType == compareGlob && h.kind == kindString && w.kind == kindString && wire.MatchGlob(w.text, h.text) {
				return nil
			}
		}
	}
	return refused(fmt.Sprintf("claim %q does not match associated bound claim values", name))
}

// maxUser bounds the name of a user, in bytes.
const maxUser = 512

// user is the name of who logs in, which becomes the alias. It is compared by
// its bytes from here on, so what cannot be seen is refused.
func (r *role) user(cl claims) (string, error) {
	raw, ok := cl.Lookup(r.UserClaim)
	if r.UserClaimPointer {
		raw, ok = cl.at(r.UserClaim)
	}
	if !ok || wire.IsNull(raw) {
		return "", refused(fmt.Sprintf("claim %q not found in token", r.UserClaim))
	}
	v, err := scalarOf(raw)
	if err != nil || v.kind != kindString || !printable(v.text) || len(v.text) > maxUser {
		return "", refused(fmt.Sprintf("claim %q cannot be the name of a user", r.UserClaim))
	}
	return v.text, nil
}

// printable reports whether text has something to show, and nothing that hides.
func printable(text string) bool {
	return text != "" && utf8.ValidString(text) && strings.TrimSpace(text) == text &&
		!strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })
}

func (r *role) groups(cl claims) ([]string, error) {
	if r.GroupsClaim == "" {
		return nil, nil
	}
	groups, present, err := cl.strings(r.GroupsClaim)
	switch {
	case err != nil:
		return nil, refused(fmt.Sprintf("claim %q %v", r.GroupsClaim, err))
	case !present:
		return nil, refused(fmt.Sprintf("claim %q not found in token", r.GroupsClaim))
	}
	return groups, nil
}

// metadata takes over the mapped claims that the token has.
func (r *role) metadata(cl claims) (map[string]string, error) {
	m := make(map[string]string, len(r.ClaimMappings)+1)
	for claim, name := range r.ClaimMappings {
		raw, ok := cl.at(claim)
		if !ok {
			continue
		}
		v, err := scalarOf(raw)
		if err != nil {
			return nil, refused(fmt.Sprintf("claim %q cannot become metadata: it is neither a string, a number nor a boolean", claim))
		}
		m[name] = v.text
	}
	return m, nil
}

// authenticated checks how long ago the user showed the provider who they are.
func (r *role) authenticated(cl claims, now time.Time) error {
	if r.MaxAge == 0 {
		return nil
	}
	at, present, err := cl.time("auth_time")
	if err != nil || !present || now.After(at.Add(r.MaxAge).Add(r.ClockSkewLeeway.or(usualClockSkew))) {
		return refused("the last authentication (auth_time) is longer ago than max_age")
	}
	return nil
}

// explain logs the names of a refused login's claims, never their values.
func (r *role) explain(log *slog.Logger, name string, cl claims) {
	if !r.VerboseLogging {
		return
	}
	names := make([]string, len(cl.Members))
	for i, m := range cl.Members {
		names[i] = m.Name
	}
	log.Info("refused a login through the provider", "role", name, "claims", names)
}

// Renew allows a renewal as long as the role exists, within its present
// settings.
func (m *method) Renew(ctx context.Context, _ *route.Call, payload []byte) (authn.TokenParams, error) {
	var g grant
	if json.Unmarshal(payload, &g) != nil {
		return authn.TokenParams{}, errors.New("decoding a login: malformed")
	}
	r, err := m.role(ctx, g.Role)
	if errors.Is(err, store.ErrNotFound) {
		return authn.TokenParams{}, fault.New(fault.Denied, "the role no longer exists: the token cannot be renewed")
	}
	return r.Token, err
}
