package settings

import (
	"context"
	"net/url"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// CORS is what pages of other origins may do (the Fetch standard's
// cross-origin resource sharing). The zero value is: nothing.
type CORS struct {
	Enabled bool `json:"enabled"`
	// Origins are those of the pages, or "*" alone for all.
	Origins []string `json:"origins,omitempty"`
	// Headers are the request headers that pages may set, standard ones first.
	Headers          []string `json:"headers,omitempty"`
	AllowCredentials bool     `json:"allow_credentials,omitempty"`
}

// standardHeaders are those that clients in a browser need; they are allowed
// whatever else is.
var standardHeaders = []string{
	"Content-Type", "Authorization", "X-Vault-Token", "X-Vault-MFA", "X-Vault-No-Request-Forwarding", "X-Vault-Wrap-Format",
	"X-Vault-Wrap-TTL", "X-Requested-With", "X-Vault-AWS-IAM-Server-ID", "X-Vault-Policy-Override",
}

type noInput struct{}

// corsAnswer shows the settings; switched off it is {"enabled": false}.
type corsAnswer struct {
	Enabled          bool     `json:"enabled"`
	AllowedOrigins   []string `json:"allowed_origins,omitempty"`
	AllowedHeaders   []string `json:"allowed_headers,omitempty"`
	AllowCredentials *bool    `json:"allow_credentials,omitempty"`
}

func (s *Store) readCORS(context.Context, *route.Call, noInput) (corsAnswer, error) {
	c := s.CORS()
	if !c.Enabled {
		return corsAnswer{}, nil
	}
	return corsAnswer{Enabled: true, AllowedOrigins: c.Origins, AllowedHeaders: c.Headers, AllowCredentials: &c.AllowCredentials}, nil
}

type corsRequest struct {
	Enable           wire.Opt[bool] `json:"enable" doc:"Whether requests are let in; true if not given."`
	AllowedOrigins   []string       `json:"allowed_origins" doc:"Origins of the pages, such as https://app.example.com, or * for all."`
	AllowedHeaders   []string       `json:"allowed_headers" doc:"Request headers that pages may set besides the usual ones."`
	AllowCredentials bool           `json:"allow_credentials" doc:"Whether requests may carry cookies. Not together with the origin *."`
}

func (s *Store) writeCORS(ctx context.Context, c *route.Call, in corsRequest) (route.None, error) {
	if !in.Enable.Or(true) {
		return s.deleteCORS(ctx, c, noInput{})
	}
	if err := in.check(); err != nil {
		return route.None{}, err
	}
	row := CORS{Enabled: true, Origins: in.AllowedOrigins, Headers: slices.Clone(standardHeaders), AllowCredentials: in.AllowCredentials}
	for _, name := range in.AllowedHeaders {
		if !slices.ContainsFunc(row.Headers, func(have string) bool { return strings.EqualFold(have, name) }) {
			row.Headers = append(row.Headers, name)
		}
	}
	_, err := s.Store.Update(ctx, func(tx store.Txn) error { return store.PutJSON(tx, configKey(corsName), row) })
	return route.None{}, err
}

func (s *Store) deleteCORS(ctx context.Context, _ *route.Call, _ noInput) (route.None, error) {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error { return tx.Delete(configKey(corsName)) })
	return route.None{}, err
}

func (in corsRequest) check() error {
	if len(in.AllowedOrigins) == 0 {
		return fault.New(fault.Invalid, `"allowed_origins" must name at least one origin, or * for all`)
	}
	for _, origin := range in.AllowedOrigins {
		switch {
		case origin != "*" && !isOrigin(origin):
			return fault.Newf(fault.Invalid, "%q is not an origin: write scheme, host and port only, in lower case, as in https://app.example.com", origin)
		case origin == "*" && len(in.AllowedOrigins) > 1:
			return fault.New(fault.Invalid, "the origin * stands for all and cannot have others beside it")
		case origin == "*" && in.AllowCredentials:
			return fault.New(fault.Invalid, "credentials cannot be allowed to all origins: name the origins")
		}
	}
	for _, name := range in.AllowedHeaders {
		if !isHeaderName(name) {
			return fault.Newf(fault.Invalid, "%q is not the name of a header", name)
		}
	}
	return nil
}

// isOrigin wants an origin as browsers write it (RFC 6454, section 6.2). The
// opaque origin "null" is none: it is that of every sandboxed page.
func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme != "" && u.Host != "" && u.User == nil && text == u.Scheme+"://"+strings.ToLower(u.Host) && !strings.Contains(u.Host, "*")
}

// isHeaderName wants a token of RFC 9110, section 5.6.2.
func isHeaderName(name string) bool {
	bad := func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
	}
	return name != "" && len(name) <= 256 && !strings.ContainsFunc(name, bad)
}
