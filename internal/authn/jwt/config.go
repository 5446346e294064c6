package jwt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// config is a row.
type config struct {
	DiscoveryURL   string      `json:"discovery_url,omitempty"`
	DiscoveryCAPEM string      `json:"discovery_ca_pem,omitempty"`
	ClientID       string      `json:"client_id,omitempty"`
	ClientSecret   string      `json:"client_secret,omitempty"`
	ResponseMode   string      `json:"response_mode,omitempty"`
	ResponseTypes  []string    `json:"response_types,omitempty"`
	JWKSURL        string      `json:"jwks_url,omitempty"`
	JWKSCAPEM      string      `json:"jwks_ca_pem,omitempty"`
	JWKSPairs      []keySetURL `json:"jwks_pairs,omitempty"`
	PublicKeys     []string    `json:"public_keys,omitempty"`
	BoundIssuer    string      `json:"bound_issuer,omitempty"`
	Algorithms     []string    `json:"algorithms,omitempty"`
	DefaultRole    string      `json:"default_role,omitempty"`
	NSInState      bool        `json:"ns_in_state,omitempty"`
	ServerNames    []string    `json:"server_names,omitempty"`
}

func (m *method) configKey() store.Key { return m.storage.Key(kindConfig) }

func (m *method) readConfig(ctx context.Context, _ *route.Call, _ configQuery) (configAnswer, error) {
	t, err := m.trust(ctx)
	if err != nil {
		return configAnswer{}, err
	}
	c := &t.config
	a := configAnswer{
		BoundIssuer: c.BoundIssuer, DefaultRole: c.DefaultRole, JWKSCAPEM: c.JWKSCAPEM, JWKSURL: c.JWKSURL, JWKSPairs: c.JWKSPairs,
		Algorithms: orEmpty(c.Algorithms), PublicKeys: orEmpty(c.PublicKeys), NSInState: c.NSInState, ClientID: c.ClientID,
		DiscoveryCAPEM: c.DiscoveryCAPEM, DiscoveryURL: c.DiscoveryURL, ResponseMode: c.ResponseMode, ResponseTypes: orEmpty(c.ResponseTypes),
		ServerNames: orEmpty(c.ServerNames), Provider: map[string]wire.JSON{}, Status: "valid",
	}
	if t.keys.failing() {
		a.Status = "invalid"
	}
	return a, nil
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (m *method) writeConfig(ctx context.Context, _ *route.Call, in configRequest) (route.None, error) {
	c, err := in.config()
	if err != nil {
		return route.None{}, err
	}
	t, err := m.newTrust(c, nil)
	if err != nil {
		return route.None{}, err
	}
	defer t.close()
	if !in.SkipValidation {
		if err := t.probe(ctx); err != nil {
			return route.None{}, err
		}
	}
	key := make([]byte, stateKeySize)
	if _, err := io.ReadFull(m.rand, key); err != nil {
		return route.None{}, fmt.Errorf("reading randomness: %w", err)
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error {
		before, err := store.GetJSON[config](tx, m.configKey())
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		c.NSInState = in.NSInState.Or(err != nil || before.NSInState)
		// A new key ends the logins that have begun with the settings so far.
		if err := tx.Put(m.storage.Key(kindStateKey), key); err != nil {
			return err
		}
		return store.PutJSON(tx, m.configKey(), &c)
	})
}

// config checks the settings of a request as far as that needs nobody else.
func (in *configRequest) config() (config, error) {
	c := config{
		DiscoveryURL: in.DiscoveryURL, DiscoveryCAPEM: in.DiscoveryCAPEM, ClientID: in.ClientID, ClientSecret: in.ClientSecret.Reveal(),
		ResponseMode: in.ResponseMode, ResponseTypes: in.ResponseTypes, JWKSURL: in.JWKSURL, JWKSCAPEM: in.JWKSCAPEM, JWKSPairs: in.JWKSPairs,
		BoundIssuer: in.BoundIssuer, Algorithms: in.Algorithms, ServerNames: in.ServerNames,
	}
	for _, pem := range in.PublicKeys {
		c.PublicKeys = append(c.PublicKeys, strings.TrimSpace(pem))
	}
	if in.DefaultRole != "" {
		name, ok := authn.FoldName(in.DefaultRole)
		if !ok {
			return c, fault.New(fault.Invalid, "default_role cannot be the name of a role")
		}
		c.DefaultRole = name
	}
	for _, u := range append(c.keySetURLs(), c.DiscoveryURL) {
		if err := checkURL(u); err != nil {
			return c, err
		}
	}
	return c, in.checkFlow(&c)
}

func (c *config) keySetURLs() []string {
	urls := []string{c.JWKSURL}
	for _, p := range c.JWKSPairs {
		urls = append(urls, p.URL)
	}
	return urls
}

func checkURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil {
		return fault.New(fault.Invalid, `oidc_discovery_url and jwks_url are URLs such as "https://issuer.example"`)
	}
	return nil
}

// checkFlow refuses settings of the browser flow that would not work.
func (in *configRequest) checkFlow(c *config) error {
	if (c.ClientID != "" || c.ClientSecret != "") && c.DiscoveryURL == "" {
		return fault.New(fault.Invalid, "oidc_client_id and oidc_client_secret need oidc_discovery_url")
	}
	switch c.ResponseMode {
	case "", "query", "form_post":
	default:
		return fault.New(fault.Invalid, "oidc_response_mode may be query or form_post")
	}
	for _, t := range c.ResponseTypes {
		if t != "code" {
			return fault.New(fault.Invalid, "oidc_response_types may name code only: tokens do not travel through browsers")
		}
	}
	if len(in.Provider) > 0 {
		return fault.New(fault.Invalid, "provider_config is not supported: groups come from groups_claim")
	}
	return nil
}

// trust is a configuration and what it was made into.
type trust struct {
	raw    []byte // of the row, nil for settings that are being tried
	config config
	keys   keySource
	// issuer is set for an issuer that describes itself.
	issuer  *discovery
	clients []*authn.Outbound
}

// trust returns what the present configuration was made into; the error is
// [store.ErrNotFound] without one. The row decides, not an event: nodes that
// did not write it follow with the next request.
func (m *method) trust(ctx context.Context) (*trust, error) {
	var raw []byte
	err := m.storage.View(ctx, func(r store.Reader) (err error) {
		raw, err = r.Get(m.configKey())
		raw = bytes.Clone(raw)
		return err
	})
	if err != nil {
		return nil, err
	}
	before := m.trusted.Load()
	if before != nil && bytes.Equal(before.raw, raw) {
		return before, nil
	}
	var c config
	if json.Unmarshal(raw, &c) != nil {
		return nil, errors.New("decoding the configuration: malformed")
	}
	t, err := m.newTrust(c, raw)
	if err != nil {
		return nil, err
	}
	if m.trusted.CompareAndSwap(before, t) && before != nil {
		before.close()
	}
	return t, nil
}

// newTrust makes the source of keys. It asks nobody yet.
func (m *method) newTrust(c config, raw []byte) (*trust, error) {
	t := &trust{raw: raw, config: c}
	if _, err := chosenAlgorithms(c.Algorithms); err != nil {
		return nil, err
	}
	var sources []keySource
	if c.DiscoveryURL != "" {
		client, err := t.client("oidc_discovery_ca_pem", c.DiscoveryCAPEM)
		if err != nil {
			return nil, err
		}
		t.issuer = newDiscovery(m.clock, client, c.DiscoveryURL)
		sources = append(sources, t.issuer)
	}
	if c.JWKSURL != "" {
		client, err := t.client("jwks_ca_pem", c.JWKSCAPEM)
		if err != nil {
			return nil, err
		}
		sources = append(sources, newRemoteKeys(m.clock, client, c.JWKSURL))
	}
	if len(c.JWKSPairs) > 0 {
		var many manyKeys
		for _, p := range c.JWKSPairs {
			client, err := t.client("jwks_ca_pem", p.CAPEM)
			if err != nil {
				return nil, err
			}
			many = append(many, newRemoteKeys(m.clock, client, p.URL))
		}
		sources = append(sources, many)
	}
	if len(c.PublicKeys) > 0 {
		keys, err := parsePublicKeys(c.PublicKeys)
		if err != nil {
			return nil, err
		}
		sources = append(sources, keys)
	}
	if len(sources) != 1 {
		return nil, fault.New(fault.Invalid, "give exactly one of oidc_discovery_url, jwks_url, jwks_pairs and jwt_validation_pubkeys")
	}
	t.keys = sources[0]
	return t, nil
}

func (t *trust) client(field, pem string) (*authn.Outbound, error) {
	roots, err := authn.Roots(field, pem)
	if err != nil {
		return nil, err
	}
	client := authn.NewOutbound(roots, t.config.ServerNames...)
	t.clients = append(t.clients, client)
	return client, nil
}

// probe asks for the keys, so that a mistake shows when it is made.
func (t *trust) probe(ctx context.Context) error {
	_, err := t.keys.candidates(ctx, "")
	if errors.Is(err, fault.Upstream) {
		return fault.Wrap(fault.Invalid, err, "the keys of the issuer cannot be fetched: "+fault.Message(err)+"; give skip_jwks_validation=true to store the settings all the same")
	}
	return err
}

func (t *trust) close() {
	for _, c := range t.clients {
		c.Close()
	}
}
