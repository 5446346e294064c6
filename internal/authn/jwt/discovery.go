package jwt

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
)

// discovery is an issuer that describes itself (OpenID Connect Discovery 1.0).
type discovery struct {
	client   *authn.Outbound
	provider *fetched[*provider]
}

// provider is what the issuer says about itself.
type provider struct {
	oidc.ProviderConfig
	// AuthMethods are how clients may show who they are to the token endpoint.
	AuthMethods []string `json:"token_endpoint_auth_methods_supported"`
	keys        *remoteKeys
}

func newDiscovery(c clock.Clock, client *authn.Outbound, url string) *discovery {
	d := &discovery{client: client}
	d.provider = newFetched(c, func(ctx context.Context) (*provider, error) {
		body, err := client.Fetch(ctx, strings.TrimSuffix(url, "/")+"/.well-known/openid-configuration", "application/json")
		if err != nil {
			return nil, err
		}
		p, err := parseDiscovery(body, url)
		if err != nil {
			return nil, err
		}
		if o := d.provider.last.Load(); o != nil && o.value != nil && o.value.JWKSURL == p.JWKSURL {
			p.keys = o.value.keys // they have their own time
		} else {
			p.keys = newRemoteKeys(c, client, p.JWKSURL)
		}
		return p, nil
	})
	return d
}

// parseDiscovery reads a discovery document. The issuer in it must be the URL
// that it was asked for at, else any server could speak for any issuer.
func parseDiscovery(body []byte, url string) (*provider, error) {
	p := &provider{}
	if err := json.Unmarshal(body, p); err != nil {
		return nil, fault.New(fault.Upstream, "the issuer's discovery document is not well-formed")
	}
	if p.IssuerURL != url && p.IssuerURL != strings.TrimSuffix(url, "/") {
		return nil, fault.New(fault.Upstream, "the discovery document names another issuer than oidc_discovery_url")
	}
	if p.JWKSURL == "" {
		return nil, fault.New(fault.Upstream, "the issuer's discovery document has no jwks_uri")
	}
	return p, nil
}

// get returns what the issuer says about itself.
func (d *discovery) get(ctx context.Context) (*provider, error) {
	return d.provider.get(ctx, func(p *provider) bool { return p == nil })
}

func (d *discovery) candidates(ctx context.Context, kid string) ([]jose.JSONWebKey, error) {
	p, err := d.get(ctx)
	if err != nil {
		return nil, err
	}
	return p.keys.candidates(ctx, kid)
}

func (d *discovery) failing() bool {
	if d.provider.failing() {
		return true
	}
	o := d.provider.last.Load()
	return o != nil && o.value != nil && o.value.keys.failing()
}
