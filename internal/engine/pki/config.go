package pki

import (
	"context"
	"net/url"
	"strings"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/pki/profile"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// issuersConfig chooses the default issuer.
type issuersConfig struct {
	Default string `json:"default"`
	Follows bool   `json:"default_follows_latest_issuer"`
}

// keysConfig chooses the default key.
type keysConfig struct {
	Default string `json:"default"`
}

// clusterConfig says where clients reach the mount, for templates in URLs and
// for ACME.
type clusterConfig struct {
	Path    string `json:"path"`
	AIAPath string `json:"aia_path"`
}

// urls are the places that certificates name (RFC 5280, sections 4.2.1.13 and
// 4.2.2.1).
type urls struct {
	Issuing profile.Strings `json:"issuing_certificates"`
	CRL     profile.Strings `json:"crl_distribution_points"`
	Delta   profile.Strings `json:"delta_crl_distribution_points"`
	OCSP    profile.Strings `json:"ocsp_servers"`
	// Templates turns {{issuer_id}}, {{cluster_path}} and {{cluster_aia_path}}
	// in the URLs into what they stand for.
	Templates bool `json:"enable_templating"`
}

type urlsConfig = urls

func (u *urls) empty() bool {
	return len(u.Issuing)+len(u.CRL)+len(u.Delta)+len(u.OCSP) == 0
}

type urlsRequest struct {
	Issuing   wire.Opt[[]string] `json:"issuing_certificates" doc:"URLs of the issuer's certificate."`
	CRL       wire.Opt[[]string] `json:"crl_distribution_points" doc:"URLs of the certificate revocation list."`
	Delta     wire.Opt[[]string] `json:"delta_crl_distribution_points" doc:"URLs of the delta list, named within the complete one."`
	OCSP      wire.Opt[[]string] `json:"ocsp_servers" doc:"URLs of the OCSP responder."`
	Templates wire.Opt[bool]     `json:"enable_templating" alias:"enable_aia_url_templating" doc:"Let the URLs hold {{issuer_id}}, {{cluster_path}} and {{cluster_aia_path}}."`
}

// into changes what the request mentions, and checks the result.
func (q *urlsRequest) into(u *urls) error {
	for _, f := range []struct {
		from wire.Opt[[]string]
		to   *profile.Strings
	}{{q.Issuing, &u.Issuing}, {q.CRL, &u.CRL}, {q.Delta, &u.Delta}, {q.OCSP, &u.OCSP}} {
		if f.from.Set {
			*f.to = f.from.Value
		}
	}
	q.Templates.Into(&u.Templates)
	return u.check()
}

func (u *urls) check() error {
	for _, list := range []profile.Strings{u.Issuing, u.CRL, u.Delta, u.OCSP} {
		for _, text := range list {
			if u.Templates && engine.Template(text).Templated() {
				sample, ok, err := engine.Template(text).Expand(sampleURLs, false)
				if err != nil {
					return err
				}
				if !ok {
					return fault.Newf(fault.Invalid, "a URL may hold {{issuer_id}}, {{cluster_path}} and {{cluster_aia_path}}: %q", text)
				}
				if strings.HasPrefix(text, "{{cluster_") {
					continue
				}
				text = sample
			}
			if !isURL(text) {
				return fault.Newf(fault.Invalid, "invalid URL %q: it must begin with a scheme and a host", text)
			}
		}
	}
	return nil
}

func sampleURLs(name string) (string, bool) {
	switch name {
	case "issuer_id", "cluster_path", "cluster_aia_path":
		return "x", true
	}
	return "", false
}

func isURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https" || u.Scheme == "ldap" || u.Scheme == "ldaps") && (u.Host != "" || u.Scheme == "ldap")
}

// urlsOf returns what certificates of an issuer name: its own URLs, else the
// mount's, with their templates filled in.
func (a *authority) urlsOf(i *issuer) (urls, error) {
	u := a.urls
	if !i.URLs.empty() {
		u = i.URLs
	}
	if !u.Templates {
		return u, nil
	}
	fill := func(list profile.Strings) (out profile.Strings, err error) {
		for _, text := range list {
			for name, value := range map[string]string{"issuer_id": i.ID, "cluster_path": a.cluster.Path, "cluster_aia_path": a.cluster.AIAPath} {
				hole := strings.NewReplacer("{{"+name+"}}", value, "{{ "+name+" }}", value)
				if next := hole.Replace(text); next != text {
					if value == "" {
						return nil, fault.Newf(fault.Invalid, "a URL for certificates needs %s: set it at config/cluster", name)
					}
					text = next
				}
			}
			if !isURL(text) {
				return nil, fault.New(fault.Invalid, "a URL for certificates is invalid once its template is filled in; see config/urls and config/cluster")
			}
			out = append(out, text)
		}
		return out, nil
	}
	var err error
	for _, list := range []*profile.Strings{&u.Issuing, &u.CRL, &u.Delta, &u.OCSP} {
		if *list, err = fill(*list); err != nil {
			return u, err
		}
	}
	return u, nil
}

func (e *Engine) readURLs(ctx context.Context, _ *route.Call, _ struct{}) (urlsConfig, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return urlsConfig{}, err
	}
	return a.urls, nil
}

func (e *Engine) writeURLs(ctx context.Context, _ *route.Call, in urlsRequest) (urlsConfig, error) {
	var u urlsConfig
	err := e.update(ctx, func(tx store.Txn) error {
		u = urlsConfig{}
		if err := setting(e, tx, "urls", &u); err != nil {
			return err
		}
		if err := in.into(&u); err != nil {
			return err
		}
		return e.putSetting(tx, "urls", u)
	})
	return u, err
}

type clusterRequest struct {
	Path    wire.Opt[string] `json:"path" doc:"Where clients reach this mount: https://host:8200/v1/pki. ACME needs it."`
	AIAPath wire.Opt[string] `json:"aia_path" doc:"Where a plain HTTP server has certificates and lists, for {{cluster_aia_path}}."`
}

func (e *Engine) readCluster(ctx context.Context, _ *route.Call, _ struct{}) (clusterConfig, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return clusterConfig{}, err
	}
	return a.cluster, nil
}

func (e *Engine) writeCluster(ctx context.Context, _ *route.Call, in clusterRequest) (clusterConfig, error) {
	var c clusterConfig
	err := e.update(ctx, func(tx store.Txn) error {
		c = clusterConfig{}
		if err := setting(e, tx, "cluster", &c); err != nil {
			return err
		}
		for _, f := range []struct {
			name string
			from wire.Opt[string]
			to   *string
		}{{"path", in.Path, &c.Path}, {"aia_path", in.AIAPath, &c.AIAPath}} {
			if !f.from.Set {
				continue
			}
			*f.to = strings.TrimSuffix(strings.TrimSpace(f.from.Value), "/")
			if *f.to != "" && !isURL(*f.to) {
				return fault.Newf(fault.Invalid, "field %q: must be a URL such as https://host:8200/v1/pki", f.name)
			}
		}
		return e.putSetting(tx, "cluster", c)
	})
	return c, err
}

type issuersConfigRequest struct {
	Default string         `json:"default" doc:"Id or name of the issuer that is used when none is named."`
	Follows wire.Opt[bool] `json:"default_follows_latest_issuer" doc:"Make a newly generated or imported issuer the default."`
}

func (e *Engine) readIssuersConfig(ctx context.Context, _ *route.Call, _ struct{}) (issuersConfig, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return issuersConfig{}, err
	}
	return a.issuing, nil
}

func (e *Engine) writeIssuersConfig(ctx context.Context, _ *route.Call, in issuersConfigRequest) (issuersConfig, error) {
	var c issuersConfig
	err := e.update(ctx, func(tx store.Txn) error {
		a, err := e.load(tx)
		if err != nil {
			return err
		}
		c = a.issuing
		in.Follows.Into(&c.Follows)
		if in.Default == "" {
			return fault.New(fault.Invalid, `field "default" is required: the id or name of an issuer`)
		}
		i, err := a.issuer(in.Default)
		if err != nil {
			return err
		}
		c.Default = i.ID
		return e.putSetting(tx, "issuers", c)
	})
	return c, err
}

type replaceRequest struct {
	Default string `json:"default" default:"next" doc:"Id or name of the issuer that becomes the default."`
}

func (e *Engine) replaceRoot(ctx context.Context, c *route.Call, in replaceRequest) (issuersConfig, error) {
	return e.writeIssuersConfig(ctx, c, issuersConfigRequest{Default: in.Default})
}

type keysConfigRequest struct {
	Default string `json:"default" doc:"Id or name of the key that is used when none is named."`
}

func (e *Engine) readKeysConfig(ctx context.Context, _ *route.Call, _ struct{}) (keysConfig, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return keysConfig{}, err
	}
	return a.keysConf, nil
}

func (e *Engine) writeKeysConfig(ctx context.Context, _ *route.Call, in keysConfigRequest) (keysConfig, error) {
	var c keysConfig
	err := e.update(ctx, func(tx store.Txn) error {
		a, err := e.load(tx)
		if err != nil {
			return err
		}
		if in.Default == "" {
			return fault.New(fault.Invalid, `field "default" is required: the id or name of a key`)
		}
		k, err := a.key(in.Default)
		if err != nil {
			return err
		}
		c = keysConfig{Default: k.ID}
		return e.putSetting(tx, "keys", c)
	})
	return c, err
}

// warnURLs tells that certificates made now will not say where to find the
// issuer and its lists.
func (a *authority) warnURLs(c *route.Call) {
	if a.urls.empty() {
		c.Warn("This mount has no URLs for its certificates to name (config/urls): verifiers will not find the issuer's certificate, its revocation list or its OCSP responder.")
	}
}
