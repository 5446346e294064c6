package jwt

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
)

// algorithms are those that a token may be signed with. There is none with a
// shared secret among them, nor "none", so a public key cannot be taken for a
// secret.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512, jose.EdDSA,
	}
}

// chosenAlgorithms reads the setting that narrows them.
func chosenAlgorithms(names []string) ([]jose.SignatureAlgorithm, error) {
	all := algorithms()
	if len(names) == 0 {
		return all, nil
	}
	chosen := make([]jose.SignatureAlgorithm, len(names))
	for i, name := range names {
		chosen[i] = jose.SignatureAlgorithm(name)
		if !slices.Contains(all, chosen[i]) {
			return nil, fault.New(fault.Invalid, "jwt_supported_algs may name RS256, RS384, RS512, ES256, ES384, ES512, PS256, PS384, PS512 and EdDSA")
		}
	}
	return chosen, nil
}

// keySource knows the keys that tokens may be signed with.
type keySource interface {
	// candidates returns the keys of a key id; those of every id for a token
	// that names none. The error is [fault.Upstream] if they cannot be had.
	candidates(ctx context.Context, kid string) ([]jose.JSONWebKey, error)
	// failing reports whether the keys could not be fetched last time.
	failing() bool
}

// staticKeys are in the configuration. A key id means nothing to them.
type staticKeys []jose.JSONWebKey

func (s staticKeys) candidates(context.Context, string) ([]jose.JSONWebKey, error) { return s, nil }
func (s staticKeys) failing() bool                                                 { return false }

// parsePublicKeys reads public keys in PEM form.
func parsePublicKeys(texts []string) (staticKeys, error) {
	keys := make(staticKeys, 0, len(texts))
	for _, text := range texts {
		key, err := parsePublicKey(text)
		if err != nil {
			return nil, fault.New(fault.Invalid, "jwt_validation_pubkeys holds something that is not a public key of RSA (2048 bits and more), ECDSA or Ed25519 in PEM form")
		}
		keys = append(keys, jose.JSONWebKey{Key: key})
	}
	return keys, nil
}

var errKey = errors.New("not a public key")

func parsePublicKey(text string) (crypto.PublicKey, error) {
	block, _ := pem.Decode([]byte(strings.TrimSpace(text)))
	if block == nil {
		return nil, errKey
	}
	var key crypto.PublicKey
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	default:
		err = errKey
	}
	if err == nil && !usable(key) {
		err = errKey
	}
	return key, err
}

// minRSABits is the least size of an RSA key (RFC 7518, section 3.3).
const minRSABits = 2048

// usable reports whether a key can verify signatures of our algorithms. A key
// that both sides share cannot.
func usable(key any) bool {
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}

// remoteKeys are a key set at a URL.
type remoteKeys struct{ set *fetched[[]jose.JSONWebKey] }

func newRemoteKeys(c clock.Clock, client *authn.Outbound, url string) *remoteKeys {
	return &remoteKeys{newFetched(c, func(ctx context.Context) ([]jose.JSONWebKey, error) {
		body, err := client.Fetch(ctx, url, "application/jwk-set+json, application/json;q=0.9")
		if err != nil {
			return nil, err
		}
		return parseKeySet(body)
	})}
}

// maxKeys bounds a key set: a token without key id is tried with each key.
const maxKeys = 100

// parseKeySet reads a key set (RFC 7517, section 5), leaving out keys that
// signatures cannot be verified with.
func parseKeySet(body []byte) ([]jose.JSONWebKey, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return nil, fault.New(fault.Upstream, "the issuer's key set is not well-formed")
	}
	var keys []jose.JSONWebKey
	for _, raw := range document.Keys {
		var k jose.JSONWebKey
		// A key of a kind that is not known here is no reason to refuse the
		// others (RFC 7517, section 5).
		if k.UnmarshalJSON(raw) != nil || k.Use == "enc" || !usable(k.Key) {
			continue
		}
		if keys = append(keys, k); len(keys) > maxKeys {
			return nil, fault.Newf(fault.Upstream, "the issuer's key set has more than %d keys", maxKeys)
		}
	}
	if len(keys) == 0 {
		return nil, fault.New(fault.Upstream, "the issuer's key set has no key that signatures can be verified with")
	}
	return keys, nil
}

func (r *remoteKeys) candidates(ctx context.Context, kid string) ([]jose.JSONWebKey, error) {
	keys, err := r.set.get(ctx, func(have []jose.JSONWebKey) bool { return len(ofID(have, kid)) == 0 })
	return ofID(keys, kid), err
}

func (r *remoteKeys) failing() bool { return r.set.failing() }

func ofID(keys []jose.JSONWebKey, kid string) []jose.JSONWebKey {
	if kid == "" {
		return keys
	}
	var found []jose.JSONWebKey
	for _, k := range keys {
		if k.KeyID == kid {
			found = append(found, k)
		}
	}
	return found
}

// manyKeys are several key sets. One that cannot be had does not keep the keys
// of the others from counting.
type manyKeys []keySource

func (m manyKeys) candidates(ctx context.Context, kid string) ([]jose.JSONWebKey, error) {
	var all []jose.JSONWebKey
	var failed error
	for _, s := range m {
		keys, err := s.candidates(ctx, kid)
		if err != nil {
			failed = err
		}
		all = append(all, keys...)
	}
	if len(all) > 0 {
		failed = nil
	}
	return all, failed
}

func (m manyKeys) failing() bool { return slices.ContainsFunc(m, keySource.failing) }
