package oidc

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// maxAge is how long an answer of discovery may be kept, as a header. Keys are
// published for a whole rotation before they sign, and rotation takes at least a
// minute: that of the keys says so.
const (
	discoveryAge = "max-age=3600"
	keysAge      = "max-age=30"
)

func published(v any, age string) (route.Bytes, error) {
	body, err := json.Marshal(v)
	return route.Bytes{ContentType: "application/json", Body: body, Header: map[string]string{"Cache-Control": age}}, err
}

type tokenDiscovery struct {
	Issuer        string   `json:"issuer"`
	Keys          string   `json:"jwks_uri"`
	ResponseTypes []string `json:"response_types_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
}

// discover tells verifiers of identity tokens where the keys are.
func (p *Provider) discover(ctx context.Context, c *route.Call, _ noInput) (b route.Bytes, err error) {
	var issuer string
	if err = p.view(ctx, c, func(v rows) error { issuer, err = p.issuer(v, c); return err }); err != nil {
		return b, err
	}
	return published(tokenDiscovery{
		Issuer: issuer, Keys: issuer + "/.well-known/keys", ResponseTypes: []string{"id_token"}, SubjectTypes: []string{"public"}, Algorithms: algorithms(),
	}, discoveryAge)
}

// keys publishes the public keys of every named key.
func (p *Provider) keys(ctx context.Context, c *route.Call, _ noInput) (b route.Bytes, err error) {
	var set jose.JSONWebKeySet
	if err = p.view(ctx, c, func(v rows) error { set.Keys, err = v.allPublished(c.Now); return err }); err != nil {
		return b, err
	}
	return published(set, keysAge)
}

type providerDiscovery struct {
	Issuer        string   `json:"issuer"`
	Keys          string   `json:"jwks_uri"`
	Authorize     string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	UserInfo      string   `json:"userinfo_endpoint"`
	RequestParam  bool     `json:"request_parameter_supported"`
	RequestURI    bool     `json:"request_uri_parameter_supported"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported"`
	ResponseTypes []string `json:"response_types_supported"`
	Scopes        []string `json:"scopes_supported"`
	Claims        []string `json:"claims_supported"`
	SubjectTypes  []string `json:"subject_types_supported"`
	GrantTypes    []string `json:"grant_types_supported"`
	AuthMethods   []string `json:"token_endpoint_auth_methods_supported"`
}

func (p *Provider) discoverProvider(ctx context.Context, c *route.Call, in nameRequest) (b route.Bytes, err error) {
	var row provider
	var issuer string
	grants := []string{grantCode}
	err = p.view(ctx, c, func(v rows) error {
		if row, err = v.provider(in.Name); err != nil {
			return err
		}
		if issuer, err = p.issuerOf(v, c, in.Name, row); err != nil {
			return err
		}
		all, err := v.clients()
		for _, cl := range all {
			if cl.Credentials && row.allows(cl.ID) && !slices.Contains(grants, grantCredentials) {
				grants = append(grants, grantCredentials)
			}
		}
		return err
	})
	if err != nil {
		return b, err
	}
	base := p.serverOf(issuer, c, in.Name)
	return published(providerDiscovery{
		Issuer: issuer, Keys: issuer + "/.well-known/keys", Token: issuer + "/token", UserInfo: issuer + "/userinfo",
		Authorize:  base + "/ui/vault/" + c.Namespace.Path + "identity/oidc/provider/" + in.Name + "/authorize",
		Algorithms: algorithms(), ResponseTypes: []string{"code"}, Scopes: append(slices.Clone(row.Scopes), openID), Claims: []string{},
		SubjectTypes: []string{"public"}, GrantTypes: grants, AuthMethods: []string{"none", "client_secret_basic", "client_secret_post"},
	}, discoveryAge)
}

// providerKeys publishes the keys of the clients that a provider serves.
func (p *Provider) providerKeys(ctx context.Context, c *route.Call, in nameRequest) (b route.Bytes, err error) {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	err = p.view(ctx, c, func(v rows) error {
		row, err := v.provider(in.Name)
		if err != nil {
			return err
		}
		set.Keys, err = v.keysOf(row, c)
		return err
	})
	if err != nil {
		return b, err
	}
	return published(set, keysAge)
}

// keysOf returns the public keys that tokens of a provider are signed with.
func (v rows) keysOf(row provider, c *route.Call) ([]jose.JSONWebKey, error) {
	all, err := v.clients()
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, cl := range all {
		if row.allows(cl.ID) {
			names[cl.Key] = true
		}
	}
	keys := []jose.JSONWebKey{}
	for name := range names {
		some, err := v.published(name, c.Now)
		if err != nil {
			return nil, err
		}
		keys = append(keys, some...)
	}
	slices.SortFunc(keys, func(a, b jose.JSONWebKey) int { return strings.Compare(a.KeyID, b.KeyID) })
	return keys, nil
}

// provider reads a provider; the default one is there without a row.
func (v rows) provider(name string) (provider, error) {
	row, ok, err := get[provider](v, rowProvider, name)
	switch {
	case err != nil:
		return row, err
	case !ok && name == defaultName:
		return provider{Clients: []string{anyone}}, nil
	case !ok:
		return row, store.ErrNotFound
	}
	return row, nil
}

var errReserved = fault.New(fault.Invalid, "this one is built in and cannot be changed or deleted")
