package api

import (
	"net/http"
	"net/url"
)

// Names of the headers of the protocol.
const (
	headerToken     = "X-Vault-Token"
	headerNamespace = "X-Vault-Namespace"
	headerRequest   = "X-Vault-Request"
	headerWrapTTL   = "X-Vault-Wrap-TTL"
)

// Client talks to one server as one identity. It is immutable, cheap to copy
// with the With methods, and safe for concurrent use. Create it with [New].
type Client struct {
	cfg     Config
	base    *url.URL
	http    *http.Client
	limiter *limiter
}

// New returns a client for cfg. It opens no connection; files named in cfg are
// read now.
func New(cfg Config) (*Client, error) {
	transport, base, err := newTransport(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Address == "" {
		cfg.Address = DefaultAddress
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	cfg.Headers = cfg.Headers.Clone()
	return &Client{
		cfg:  cfg,
		base: base,
		http: &http.Client{
			Transport: transport,
			// Redirects are followed by Do, which keeps the method and refuses
			// to carry a token from https to http.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		limiter: newLimiter(cfg.RateLimit, cfg.Burst),
	}, nil
}

// Close closes the connections that are not in use, which all copies of the
// client share. The client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Address returns the server's address as it was configured.
func (c *Client) Address() string { return c.cfg.Address }

// Token returns the token that requests carry.
func (c *Client) Token() string { return c.cfg.Token }

// Namespace returns the namespace that requests carry.
func (c *Client) Namespace() string { return c.cfg.Namespace }

// WithToken returns a copy of the client that sends token.
func (c *Client) WithToken(token string) *Client {
	d := *c
	d.cfg.Token = token
	return &d
}

// WithNamespace returns a copy of the client that works in namespace.
func (c *Client) WithNamespace(namespace string) *Client {
	d := *c
	d.cfg.Namespace = namespace
	return &d
}

// WithWrapTTL returns a copy of the client whose answers the server wraps for
// ttl, a duration string or number of seconds; the empty string asks for none.
func (c *Client) WithWrapTTL(ttl string) *Client {
	d := *c
	d.cfg.WrapTTL = ttl
	return &d
}

// WithHeader returns a copy of the client that adds a header to every request.
func (c *Client) WithHeader(name, value string) *Client {
	d := *c
	if d.cfg.Headers = c.cfg.Headers.Clone(); d.cfg.Headers == nil {
		d.cfg.Headers = http.Header{}
	}
	d.cfg.Headers.Add(name, value)
	return &d
}
