package kubernetes

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/url"
	"strings"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// config is a row.
type config struct {
	Host          string   `json:"host"`
	CAPEM         string   `json:"ca_pem,omitempty"`
	Reviewer      string   `json:"reviewer,omitempty"`
	PublicKeys    []string `json:"public_keys,omitempty"`
	Issuer        string   `json:"issuer,omitempty"`
	IgnoreIssuer  bool     `json:"ignore_issuer,omitempty"`
	IgnorePod     bool     `json:"ignore_pod,omitempty"`
	AliasMetadata bool     `json:"alias_metadata,omitempty"`
}

func (m *method) configKey() store.Key { return m.storage.Key(kindConfig) }

func (m *method) readConfig(ctx context.Context, _ *route.Call, _ configQuery) (configAnswer, error) {
	var c config
	err := m.storage.View(ctx, func(r store.Reader) (err error) {
		c, err = store.GetJSON[config](r, m.configKey())
		return err
	})
	a := configAnswer{
		IgnoreIssuer: c.IgnoreIssuer, IgnorePod: c.IgnorePod, Issuer: c.Issuer, CAPEM: c.CAPEM, Host: c.Host, PublicKeys: c.PublicKeys,
		ReviewerSet: c.Reviewer != "", AliasMetadata: c.AliasMetadata,
	}
	if a.PublicKeys == nil {
		a.PublicKeys = []string{}
	}
	return a, err
}

func (m *method) writeConfig(ctx context.Context, _ *route.Call, in configRequest) (route.None, error) {
	c := config{
		Host: strings.TrimSuffix(in.Host, "/"), CAPEM: in.CAPEM, Reviewer: strings.TrimSpace(in.Reviewer.Reveal()), Issuer: in.Issuer,
		PublicKeys: in.PublicKeys, IgnoreIssuer: in.IgnoreIssuer.Or(true), IgnorePod: in.IgnorePod, AliasMetadata: in.AliasMetadata,
	}
	if err := c.check(); err != nil {
		return route.None{}, err
	}
	return route.None{}, m.storage.Update(ctx, func(tx store.Txn) error { return store.PutJSON(tx, m.configKey(), &c) })
}

func (c *config) check() error {
	u, err := url.Parse(c.Host)
	switch {
	case c.Host == "":
		return fault.New(fault.Invalid, "no host provided: give kubernetes_host")
	case err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil || u.RawQuery != "":
		return fault.New(fault.Invalid, `kubernetes_host is a URL such as "https://10.0.0.1:6443"`)
	case c.IgnorePod && c.CAPEM == "":
		return fault.New(fault.Invalid, "kubernetes_ca_cert must be given when disable_local_ca_jwt is true")
	case !tokenText(c.Reviewer):
		return fault.New(fault.Invalid, "token_reviewer_jwt has characters that no token has")
	}
	if _, err := authn.Roots("kubernetes_ca_cert", c.CAPEM); err != nil {
		return err
	}
	_, err = parseKeys(c.PublicKeys)
	return err
}

// tokenText reports whether text can stand in a header as a token.
func tokenText(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' })
}

// parseKeys reads public keys and certificates in PEM form.
func parseKeys(texts []string) ([]crypto.PublicKey, error) {
	keys := make([]crypto.PublicKey, 0, len(texts))
	for _, text := range texts {
		key := parseKey(text)
		if key == nil {
			return nil, fault.New(fault.Invalid, "pem_keys holds something that is neither a public key nor a certificate in PEM form")
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func parseKey(text string) crypto.PublicKey {
	block, _ := pem.Decode([]byte(strings.TrimSpace(text)))
	if block == nil {
		return nil
	}
	switch block.Type {
	case "CERTIFICATE":
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			return cert.PublicKey
		}
	case "RSA PUBLIC KEY":
		if key, err := x509.ParsePKCS1PublicKey(block.Bytes); err == nil {
			return key
		}
	case "PUBLIC KEY":
		if key, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			return key
		}
	}
	return nil
}

// connect returns the API server of the present configuration. The rows and
// files decide, not an event: nodes that did not write them follow with the next
// login, and so does whoever's certificates the kubelet has replaced.
func (m *method) connect(ctx context.Context) (*api, error) {
	var raw []byte
	err := m.storage.View(ctx, func(r store.Reader) (err error) {
		raw, err = r.Get(m.configKey())
		raw = bytes.Clone(raw)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, fault.New(fault.Invalid, "could not load backend configuration: write the method's config")
	}
	if err != nil {
		return nil, err
	}
	var c config
	if json.Unmarshal(raw, &c) != nil {
		return nil, errors.New("decoding the configuration: malformed")
	}
	if c.CAPEM == "" && !c.IgnorePod {
		c.CAPEM = m.pod.ca()
	}
	before := m.api.Load()
	if before != nil && bytes.Equal(before.raw, raw) && before.config.CAPEM == c.CAPEM {
		return before, nil
	}
	roots, err := authn.Roots("kubernetes_ca_cert", c.CAPEM)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeys(c.PublicKeys)
	if err != nil {
		return nil, err
	}
	a := &api{raw: raw, config: c, keys: keys, client: authn.NewOutbound(roots)}
	if m.api.CompareAndSwap(before, a) && before != nil {
		before.client.Close()
	}
	return a, nil
}
