package ldap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// grant is what a token's renewal needs to know of its login.
type grant struct {
	Name string `json:"name"`
	// DN is the user's entry, as far as it is known.
	DN       string   `json:"dn,omitempty"`
	Groups   []string `json:"groups,omitempty"`
	Policies []string `json:"policies,omitempty"`
}

// errBad is the one answer to a name or a password that is not right.
var errBad = fault.New(fault.Unauthenticated, "ldap operation failed: failed to bind as user")

// nobody is a name that no user has: [CanonicalName] gives none with a tilde.
const nobody = "~nobody~"

// LoginAlias is the canonical name of the user who tries to log in, "" for a
// name that no user can have.
func (m *method) LoginAlias(c *route.Call) string {
	name, _ := CanonicalName(c.Param("username"))
	return name
}

func (m *method) login(ctx context.Context, c *route.Call, in loginRequest) (authn.Identity, error) {
	if strings.TrimSpace(in.Password.Reveal()) == "" {
		return authn.Identity{}, fault.New(fault.Invalid, "password cannot be of zero length when passwordless binds are being denied")
	}
	name, ok := CanonicalName(in.Name)
	if !ok {
		return authn.Identity{}, errBad
	}
	var cfg config
	err := m.storage.View(ctx, func(r store.Reader) (err error) {
		cfg, err = m.config(r)
		return err
	})
	if err != nil {
		return authn.Identity{}, err
	}
	who, err := m.authenticate(ctx, &cfg, name, in.Password.Reveal())
	if err != nil {
		return authn.Identity{}, err
	}
	if !authn.InCIDRs(c.Remote, cfg.Token.BoundCIDRs) {
		return authn.Identity{}, fault.New(fault.Denied, "permission denied")
	}
	if len(who.Groups) == 0 {
		c.Warn("no LDAP groups found for the user; only policies from locally-defined groups available")
	}
	return m.identity(ctx, &cfg, who)
}

// authenticate lets the directory judge a password, and reads the user's groups.
func (m *method) authenticate(ctx context.Context, cfg *config, name, password string) (grant, error) {
	d, err := connect(ctx, cfg)
	if err != nil {
		return grant{}, err
	}
	defer d.Close()
	e := entry{dn: cfg.made(name)}
	if cfg.searches() {
		if err := m.bindService(ctx, d); err != nil {
			return grant{}, err
		}
		if e, err = d.find(name); err != nil {
			return grant{}, err
		}
		if !cfg.UsernameAlias && !e.isCalled(name) {
			e.dn = ""
		}
	}
	found := e.dn != ""
	if !found {
		e.dn = cfg.made(nobody)
	}
	switch err := d.Bind(e.dn, password); {
	case refusedBind(err):
		return grant{}, errBad
	case err != nil:
		return grant{}, unreachable(err)
	case !found:
		return grant{}, errBad
	}
	g := grant{Name: name, DN: e.dn}
	if g.Groups, err = m.groupsAfterBind(ctx, d, &g); err != nil {
		return grant{}, err
	}
	return g, nil
}

// isCalled reports whether an entry bears a name, as far as it was read.
func (e entry) isCalled(name string) bool {
	return slices.ContainsFunc(e.names, func(v string) bool {
		canonical, ok := CanonicalName(v)
		return ok && canonical == name
	})
}

// bindService binds as the service account, and keeps a password that has turned
// out to be the one in force.
func (m *method) bindService(ctx context.Context, d *directory) error {
	changed, err := d.bindService()
	if err != nil || changed == "" {
		return err
	}
	return m.settle(ctx, changed)
}

// groupsAfterBind searches for the groups of a user who has just bound: as
// nobody, as the service account, or as the user.
func (m *method) groupsAfterBind(ctx context.Context, d *directory, g *grant) ([]string, error) {
	switch {
	case d.config.AnonymousGroup:
		if err := d.bindNobody(""); err != nil {
			return nil, err
		}
	case d.config.BindDN != "" && d.config.BindPassword != "":
		if err := m.bindService(ctx, d); err != nil {
			return nil, err
		}
	}
	if d.config.UPNDomain != "" && !d.config.searches() {
		// The user has bound by a principal's name; groups list entries.
		e, err := d.find(g.Name)
		if err != nil {
			return nil, err
		}
		if g.DN = e.dn; g.DN == "" {
			return nil, nil
		}
	}
	return d.groups(g.DN, g.Name)
}

func (m *method) identity(ctx context.Context, cfg *config, g grant) (authn.Identity, error) {
	params, groups, err := m.mapped(ctx, cfg, &g)
	if err != nil {
		return authn.Identity{}, err
	}
	g.Policies = params.Policies
	payload, err := json.Marshal(g)
	if err != nil {
		return authn.Identity{}, fmt.Errorf("encoding a login: %w", err)
	}
	return authn.Identity{
		DisplayName: g.Name, Alias: g.Name, AliasMetadata: map[string]string{"name": g.Name}, Metadata: map[string]string{"username": g.Name},
		Groups: groups, Token: params, Payload: payload, EmptyData: true,
	}, nil
}

// Renew allows a renewal as long as the user's policies are those of the login.
// In search mode the user must still be there.
func (m *method) Renew(ctx context.Context, _ *route.Call, payload []byte) (authn.TokenParams, error) {
	cfg, g, err := m.again(ctx, payload)
	if err != nil {
		return authn.TokenParams{}, err
	}
	before := g.Policies
	params, _, err := m.mapped(ctx, cfg, g)
	if err == nil && !slices.Equal(before, params.Policies) {
		err = fault.New(fault.Denied, "policies have changed, not renewing: log in again")
	}
	return params, err
}

// Groups returns the groups that the user is in now.
func (m *method) Groups(ctx context.Context, _ *route.Call, payload []byte) ([]string, error) {
	cfg, g, err := m.again(ctx, payload)
	if err != nil {
		return nil, err
	}
	_, groups, err := m.mapped(ctx, cfg, g)
	return groups, err
}

// again looks up a user who has logged in before. Without a search the groups are
// those of the login.
func (m *method) again(ctx context.Context, payload []byte) (*config, *grant, error) {
	var g grant
	if json.Unmarshal(payload, &g) != nil {
		return nil, nil, errors.New("decoding a login: malformed")
	}
	var cfg config
	err := m.storage.View(ctx, func(r store.Reader) (err error) {
		cfg, err = m.config(r)
		return err
	})
	if err != nil || !cfg.searches() {
		return &cfg, &g, err
	}
	d, err := connect(ctx, &cfg)
	if err != nil {
		return nil, nil, err
	}
	defer d.Close()
	if err := m.bindService(ctx, d); err != nil {
		return nil, nil, err
	}
	e, err := d.find(g.Name)
	if err != nil {
		return nil, nil, err
	}
	if e.dn == "" || !cfg.UsernameAlias && !e.isCalled(g.Name) {
		return nil, nil, fault.New(fault.Denied, "the directory does not know the user any more: the token cannot be renewed")
	}
	g.DN = e.dn
	if cfg.AnonymousGroup {
		if err := d.bindNobody(""); err != nil {
			return nil, nil, err
		}
	}
	g.Groups, err = d.groups(g.DN, g.Name)
	return &cfg, &g, err
}
