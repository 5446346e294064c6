package oidc

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// scope is the row of a scope: claims that a client may ask for.
type scope struct {
	Template    string `json:"template,omitempty"`
	Description string `json:"description,omitempty"`
}

// assignment is the row of an assignment: who may sign in to a client.
type assignment struct {
	Entities []string `json:"entities,omitempty"`
	Groups   []string `json:"groups,omitempty"`
}

// client is the row of an application.
type client struct {
	ID          string        `json:"id"`
	Secret      string        `json:"secret,omitempty"` // sealed with the row
	Key         string        `json:"key"`
	Redirects   []string      `json:"redirects,omitempty"`
	Assignments []string      `json:"assignments,omitempty"`
	Public      bool          `json:"public,omitempty"`
	Code        bool          `json:"code,omitempty"`
	Credentials bool          `json:"credentials,omitempty"`
	IDTTL       time.Duration `json:"id_ttl"`
	AccessTTL   time.Duration `json:"access_ttl"`
}

// provider is the row of a provider.
type provider struct {
	Issuer  string   `json:"issuer,omitempty"` // beginning of the issuer; "" is the cluster's
	Clients []string `json:"clients,omitempty"`
	Scopes  []string `json:"scopes,omitempty"`
}

func (p provider) allows(client string) bool {
	return slices.Contains(p.Clients, anyone) || slices.Contains(p.Clients, client)
}

const (
	// openID is the scope that every request of OpenID Connect has.
	openID = "openid"
	// allowAll is the assignment that everybody has.
	allowAll = "allow_all"
)

// Types of clients, RFC 6749 section 2.1.
const (
	confidential = "confidential"
	public       = "public"
)

// clients returns all clients of the namespace by name.
func (v rows) clients() (map[string]client, error) {
	all := map[string]client{}
	for row, err := range v.r.Scan(store.Under(v.key(rowClient))) {
		var c client
		if err == nil {
			err = json.Unmarshal(row.Value, &c)
		}
		if err != nil {
			return nil, err
		}
		all[row.Key.Last()] = c
	}
	return all, nil
}

// clientByID finds a client by the id that it knows itself by.
func (v rows) clientByID(id string) (client, bool, error) {
	name, ok, err := get[string](v, rowClientID, id)
	if err != nil || !ok {
		return client{}, false, err
	}
	return get[client](v, rowClient, name)
}

// admits reports whether an entity may sign in to a client.
func (v rows) admits(c client, who Person) (bool, error) {
	for _, name := range c.Assignments {
		if name == allowAll {
			return true, nil
		}
		a, _, err := get[assignment](v, rowAssignment, name)
		if err != nil {
			return false, err
		}
		if slices.Contains(a.Entities, who.ID()) || slices.ContainsFunc(a.Groups, who.InGroup) {
			return true, nil
		}
	}
	return false, nil
}

// Scopes.

type scopeRequest struct {
	nameRequest
	Template    wire.Opt[string] `json:"template" doc:"The claims: a JSON object with names in braces, as it is or in base64."`
	Description wire.Opt[string] `json:"description" doc:"What the scope is for."`
}

type scopeAnswer struct {
	Description string `json:"description"`
	Template    string `json:"template"`
}

func (p *Provider) writeScope(ctx context.Context, c *route.Call, in scopeRequest) (route.None, error) {
	if err := checkName(in.Name); err != nil {
		return route.None{}, err
	}
	if in.Name == openID {
		return route.None{}, errReserved
	}
	return route.None{}, p.change(ctx, c, func(e edit) error {
		s, _, err := get[scope](e.rows, rowScope, in.Name)
		if err != nil {
			return err
		}
		in.Description.Into(&s.Description)
		if in.Template.Set {
			if s.Template, err = parseTemplate(in.Template.Value); err != nil {
				return err
			}
		}
		return e.put(s, rowScope, in.Name)
	})
}

func (p *Provider) readScope(ctx context.Context, c *route.Call, in nameRequest) (scopeAnswer, error) {
	s, err := find[scope](ctx, p, c, rowScope, in.Name)
	return scopeAnswer(scopeAnswer{s.Description, s.Template}), err
}

func (p *Provider) listScopes(ctx context.Context, c *route.Call, _ noInput) (keys route.Keys, err error) {
	err = p.view(ctx, c, func(v rows) error { keys.Keys, err = v.names(rowScope); return err })
	return keys, err
}

func (p *Provider) deleteScope(ctx context.Context, c *route.Call, in nameRequest) (route.None, error) {
	return route.None{}, p.change(ctx, c, func(e edit) error {
		for row, err := range e.r.Scan(store.Under(e.key(rowProvider))) {
			var pr provider
			if err == nil {
				err = json.Unmarshal(row.Value, &pr)
			}
			if err != nil {
				return err
			}
			if slices.Contains(pr.Scopes, in.Name) {
				return fault.Newf(fault.Invalid, "scope %q is supported by provider %q: take it out there first", in.Name, row.Key.Last())
			}
		}
		return e.delete(rowScope, in.Name)
	})
}

// Assignments.

type assignmentRequest struct {
	nameRequest
	Entities wire.Opt[[]string] `json:"entity_ids" doc:"Entities that may sign in."`
	Groups   wire.Opt[[]string] `json:"group_ids" doc:"Groups whose members may sign in."`
}

type assignmentAnswer struct {
	Entities []string `json:"entity_ids"`
	Groups   []string `json:"group_ids"`
}

func (p *Provider) writeAssignment(ctx context.Context, c *route.Call, in assignmentRequest) (route.None, error) {
	if err := checkName(in.Name); err != nil {
		return route.None{}, err
	}
	if in.Name == allowAll {
		return route.None{}, errReserved
	}
	return route.None{}, p.change(ctx, c, func(e edit) error {
		a, _, err := get[assignment](e.rows, rowAssignment, in.Name)
		if err != nil {
			return err
		}
		in.Entities.Into(&a.Entities)
		in.Groups.Into(&a.Groups)
		return e.put(a, rowAssignment, in.Name)
	})
}

func (p *Provider) readAssignment(ctx context.Context, c *route.Call, in nameRequest) (assignmentAnswer, error) {
	if in.Name == allowAll {
		return assignmentAnswer{[]string{anyone}, []string{anyone}}, nil
	}
	a, err := find[assignment](ctx, p, c, rowAssignment, in.Name)
	return assignmentAnswer{orEmpty(a.Entities), orEmpty(a.Groups)}, err
}

func (p *Provider) listAssignments(ctx context.Context, c *route.Call, _ noInput) (keys route.Keys, err error) {
	err = p.view(ctx, c, func(v rows) error { keys.Keys, err = v.names(rowAssignment, allowAll); return err })
	return keys, err
}

func (p *Provider) deleteAssignment(ctx context.Context, c *route.Call, in nameRequest) (route.None, error) {
	if in.Name == allowAll {
		return route.None{}, errReserved
	}
	return route.None{}, p.change(ctx, c, func(e edit) error {
		all, err := e.clients()
		if err != nil {
			return err
		}
		for name, cl := range all {
			if slices.Contains(cl.Assignments, in.Name) {
				return fault.Newf(fault.Invalid, "assignment %q is of client %q: take it out there first", in.Name, name)
			}
		}
		return e.delete(rowAssignment, in.Name)
	})
}

// Clients.

type clientRequest struct {
	nameRequest
	Key         wire.Opt[string]        `json:"key" doc:"Named key that signs; cannot be changed. The default one if not given."`
	Redirects   wire.Opt[[]string]      `json:"redirect_uris" doc:"Where the client takes codes. A loopback address may have any port."`
	Assignments wire.Opt[[]string]      `json:"assignments" doc:"Who may sign in; allow_all is everybody."`
	Type        wire.Opt[string]        `json:"client_type" doc:"confidential or public; cannot be changed."`
	IDTTL       wire.Opt[wire.Duration] `json:"id_token_ttl" doc:"How long an identity token is good for; 24h if not given, and at most the key's verification_ttl."`
	AccessTTL   wire.Opt[wire.Duration] `json:"access_token_ttl" doc:"How long an access token is good for; 24h if not given."`
	Code        wire.Opt[bool]          `json:"authorization_code" doc:"Whether people sign in with it; true if not given."`
	Credentials wire.Opt[bool]          `json:"client_credentials" doc:"Whether it gets access tokens for itself."`
}

type clientAnswer struct {
	AccessTTL   int64    `json:"access_token_ttl"`
	Assignments []string `json:"assignments"`
	Code        bool     `json:"authorization_code"`
	Credentials bool     `json:"client_credentials"`
	ID          string   `json:"client_id"`
	Secret      string   `json:"client_secret,omitempty"`
	Type        string   `json:"client_type"`
	IDTTL       int64    `json:"id_token_ttl"`
	Key         string   `json:"key"`
	Redirects   []string `json:"redirect_uris"`
}

func (p *Provider) writeClient(ctx context.Context, c *route.Call, in clientRequest) (route.None, error) {
	if err := checkName(in.Name); err != nil {
		return route.None{}, err
	}
	id, err := p.newClientID()
	if err != nil {
		return route.None{}, err
	}
	secret := "hvo_secret_" + rand.Text() + rand.Text()
	return route.None{}, p.change(ctx, c, func(e edit) error {
		cl, there, err := get[client](e.rows, rowClient, in.Name)
		if err != nil {
			return err
		}
		if !there {
			cl = client{ID: id, Key: defaultName, IDTTL: 24 * time.Hour, AccessTTL: 24 * time.Hour, Code: true}
		}
		if err := in.into(&cl, there, secret); err != nil {
			return err
		}
		if err := e.checkClient(cl); err != nil {
			return err
		}
		if err := e.put(in.Name, rowClientID, cl.ID); err != nil {
			return err
		}
		return e.put(cl, rowClient, in.Name)
	})
}

// into takes over what the request gives.
func (in clientRequest) into(cl *client, there bool, secret string) error {
	kind := in.Type.Or(confidential)
	switch {
	case kind != confidential && kind != public:
		return fault.New(fault.Invalid, "'client_type' must be confidential or public")
	case there && in.Type.Set && cl.Public != (kind == public):
		return fault.New(fault.Invalid, "'client_type' cannot be changed: make another client")
	case there && in.Key.Set && in.Key.Value != cl.Key:
		return fault.New(fault.Invalid, "'key' cannot be changed: make another client")
	}
	if !there {
		cl.Public = kind == public
		if !cl.Public {
			cl.Secret = secret
		}
	}
	in.Key.Into(&cl.Key)
	in.Redirects.Into(&cl.Redirects)
	in.Assignments.Into(&cl.Assignments)
	in.Code.Into(&cl.Code)
	in.Credentials.Into(&cl.Credentials)
	cl.IDTTL, cl.AccessTTL = in.IDTTL.Or(wire.Duration(cl.IDTTL)).D(), in.AccessTTL.Or(wire.Duration(cl.AccessTTL)).D()
	return nil
}

func (e edit) checkClient(cl client) error {
	k, ok, err := e.namedKey(cl.Key)
	switch {
	case err != nil:
		return err
	case !ok:
		return fault.Newf(fault.Invalid, "key %q does not exist", cl.Key)
	case cl.IDTTL < time.Second || cl.IDTTL > k.Verification:
		return fault.New(fault.Invalid, "'id_token_ttl' must be more than zero, and at most the key's verification_ttl")
	case cl.AccessTTL < time.Second || cl.AccessTTL > k.Verification:
		return fault.New(fault.Invalid, "'access_token_ttl' must be more than zero, and at most the key's verification_ttl")
	case cl.Public && cl.Credentials:
		return fault.New(fault.Invalid, "'client_credentials' are for confidential clients: a public one has no secret to prove itself with")
	}
	for _, name := range cl.Assignments {
		_, there, err := get[assignment](e.rows, rowAssignment, name)
		if err != nil {
			return err
		}
		if !there && name != allowAll {
			return fault.Newf(fault.Invalid, "assignment %q does not exist", name)
		}
	}
	for _, r := range cl.Redirects {
		if u, err := url.Parse(r); err != nil || u.Scheme == "" || u.Fragment != "" || strings.ContainsAny(r, "*\\") {
			return fault.New(fault.Invalid, "'redirect_uris' must be whole URLs without a fragment and without wildcards")
		}
	}
	return nil
}

func (p *Provider) readClient(ctx context.Context, c *route.Call, in nameRequest) (clientAnswer, error) {
	cl, err := find[client](ctx, p, c, rowClient, in.Name)
	return cl.answer(), err
}

func (cl client) answer() clientAnswer {
	kind := confidential
	if cl.Public {
		kind = public
	}
	return clientAnswer{
		AccessTTL: int64(cl.AccessTTL / time.Second), Assignments: orEmpty(cl.Assignments), Code: cl.Code, Credentials: cl.Credentials, ID: cl.ID, Secret: cl.Secret,
		Type: kind, IDTTL: int64(cl.IDTTL / time.Second), Key: cl.Key, Redirects: orEmpty(cl.Redirects),
	}
}

func (p *Provider) listClients(ctx context.Context, c *route.Call, _ noInput) (keys route.Keys, err error) {
	err = p.view(ctx, c, func(v rows) error {
		all, err := v.clients()
		keys.Info = map[string]any{}
		for name, cl := range all {
			keys.Keys = append(keys.Keys, name)
			shown := cl.answer()
			shown.Secret = ""
			keys.Info[name] = shown
		}
		slices.Sort(keys.Keys)
		return err
	})
	return keys, err
}

func (p *Provider) deleteClient(ctx context.Context, c *route.Call, in nameRequest) (route.None, error) {
	return route.None{}, p.change(ctx, c, func(e edit) error {
		cl, ok, err := get[client](e.rows, rowClient, in.Name)
		if err != nil || !ok {
			return err
		}
		if err := e.delete(rowClientID, cl.ID); err != nil {
			return err
		}
		return e.delete(rowClient, in.Name)
	})
}

// Providers.

type providerRequest struct {
	nameRequest
	Issuer  wire.Opt[string]   `json:"issuer" doc:"URL of the cluster, without a path, that the issuer begins with; empty is api_addr."`
	Clients wire.Opt[[]string] `json:"allowed_client_ids" doc:"Ids of clients that may use the provider; * is all."`
	Scopes  wire.Opt[[]string] `json:"scopes_supported" doc:"Scopes that clients may ask for, besides openid."`
}

type providerAnswer struct {
	Clients []string `json:"allowed_client_ids"`
	Issuer  string   `json:"issuer"`
	Scopes  []string `json:"scopes_supported"`
}

func (p *Provider) writeProvider(ctx context.Context, c *route.Call, in providerRequest) (route.None, error) {
	if err := checkName(in.Name); err != nil {
		return route.None{}, err
	}
	if err := checkIssuer(in.Issuer.Value); err != nil {
		return route.None{}, err
	}
	return route.None{}, p.change(ctx, c, func(e edit) error {
		row, err := e.provider(in.Name)
		if err != nil && fault.KindOf(err) != fault.NotFound {
			return err
		}
		in.Issuer.Into(&row.Issuer)
		in.Clients.Into(&row.Clients)
		in.Scopes.Into(&row.Scopes)
		for _, name := range row.Scopes {
			_, there, err := get[scope](e.rows, rowScope, name)
			if err != nil {
				return err
			}
			if !there {
				return fault.Newf(fault.Invalid, "scope %q does not exist", name)
			}
		}
		return e.put(row, rowProvider, in.Name)
	})
}

func (p *Provider) readProvider(ctx context.Context, c *route.Call, in nameRequest) (a providerAnswer, err error) {
	err = p.view(ctx, c, func(v rows) error {
		row, err := v.provider(in.Name)
		if err != nil {
			return err
		}
		a = providerAnswer{Clients: orEmpty(row.Clients), Scopes: orEmpty(row.Scopes)}
		a.Issuer, err = p.issuerOf(v, c, in.Name, row)
		return err
	})
	return a, err
}

// issuerOf returns the issuer of a provider's tokens.
func (p *Provider) issuerOf(v rows, c *route.Call, name string, row provider) (string, error) {
	base := row.Issuer
	if base == "" {
		s, _, err := get[settings](v, rowConfig)
		if err != nil {
			return "", err
		}
		if base = s.Issuer; base == "" {
			base = p.Address()
		}
	}
	return p.below(base, c) + "/provider/" + name, nil
}

// serverOf returns the server's part of a provider's issuer.
func (p *Provider) serverOf(issuer string, c *route.Call, name string) string {
	return strings.TrimSuffix(issuer, p.below("", c)+"/provider/"+name)
}

type providerListRequest struct {
	Client string `query:"allowed_client_id" doc:"Only providers that this client may use."`
}

func (p *Provider) listProviders(ctx context.Context, c *route.Call, in providerListRequest) (keys route.Keys, err error) {
	err = p.view(ctx, c, func(v rows) error {
		names, err := v.names(rowProvider, defaultName)
		if err != nil {
			return err
		}
		keys.Info = map[string]any{}
		for _, name := range names {
			row, err := v.provider(name)
			if err != nil {
				return err
			}
			if in.Client != "" && !row.allows(in.Client) {
				continue
			}
			issuer, err := p.issuerOf(v, c, name, row)
			if err != nil {
				return err
			}
			keys.Keys = append(keys.Keys, name)
			keys.Info[name] = providerAnswer{orEmpty(row.Clients), issuer, orEmpty(row.Scopes)}
		}
		return nil
	})
	return keys, err
}

func (p *Provider) deleteProvider(ctx context.Context, c *route.Call, in nameRequest) (route.None, error) {
	if in.Name == defaultName {
		return route.None{}, errReserved
	}
	return route.None{}, p.change(ctx, c, func(e edit) error { return e.delete(rowProvider, in.Name) })
}
