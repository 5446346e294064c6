package oidc

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// algorithms are those that keys may have, as discovery lists them.
func algorithms() []string {
	return []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// defaultName is the name of the key and of the provider that are there without
// having been made.
const defaultName = "default"

// anyone in a list of client ids stands for all.
const anyone = "*"

// namedKey is the row of a key. Pairs are made with the first signature.
type namedKey struct {
	Algorithm    string        `json:"algorithm"`
	Rotation     time.Duration `json:"rotation"`
	Verification time.Duration `json:"verification"`
	Clients      []string      `json:"clients,omitempty"`
	Current      *pair         `json:"current,omitempty"`
	Next         *pair         `json:"next,omitempty"`
	RotateAt     time.Time     `json:"rotate_at,omitzero"`
}

// pair is a private key.
type pair struct {
	ID      string `json:"id"`
	Private []byte `json:"private"` // PKCS #8
}

// retired is the row of a public key that signs no more.
type retired struct {
	Key     jose.JSONWebKey `json:"key"`
	Expires time.Time       `json:"expires"`
}

func defaultKey() namedKey {
	return namedKey{Algorithm: "RS256", Rotation: 24 * time.Hour, Verification: 24 * time.Hour, Clients: []string{anyone}}
}

// namedKey reads a key; the default one is there without a row.
func (v rows) namedKey(name string) (namedKey, bool, error) {
	k, ok, err := get[namedKey](v, rowKey, name)
	if err == nil && !ok && name == defaultName {
		return defaultKey(), true, nil
	}
	return k, ok, err
}

func (k namedKey) allows(client string) bool {
	return slices.Contains(k.Clients, anyone) || slices.Contains(k.Clients, client)
}

// newPair makes a key pair.
func newPair(random io.Reader, algorithm string) (*pair, error) {
	var key crypto.Signer
	var err error
	switch algorithm {
	case "RS256", "RS384", "RS512":
		key, err = rsa.GenerateKey(random, 2048)
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), random)
	case "ES384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), random)
	case "ES512":
		key, err = ecdsa.GenerateKey(elliptic.P521(), random)
	case "EdDSA":
		_, key, err = ed25519.GenerateKey(random)
	default:
		return nil, fmt.Errorf("unknown algorithm %q", algorithm)
	}
	if err != nil {
		return nil, fmt.Errorf("making a %s key: %w", algorithm, err)
	}
	id, err := wire.NewUUID(random)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return &pair{ID: id, Private: der}, err
}

func (p *pair) signer() (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(p.Private)
	if err != nil {
		return nil, fmt.Errorf("reading a signing key: %w", err)
	}
	s, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a stored key of type %T cannot sign", key)
	}
	return s, nil
}

// public returns the half that is published.
func (p *pair) public(algorithm string) (jose.JSONWebKey, error) {
	s, err := p.signer()
	if err != nil {
		return jose.JSONWebKey{}, err
	}
	return jose.JSONWebKey{Key: s.Public(), KeyID: p.ID, Algorithm: algorithm, Use: "sig"}, nil
}

// rotate retires the pair that signs. fresh are pairs made for the purpose: as
// many as are missing are used.
func (e edit) rotate(name string, k *namedKey, verification time.Duration, now time.Time, fresh ...*pair) error {
	if k.Current != nil {
		public, err := k.Current.public(k.Algorithm)
		if err != nil {
			return err
		}
		if err := e.put(retired{Key: public, Expires: now.Add(verification)}, rowRetired, name, k.Current.ID); err != nil {
			return err
		}
	}
	if k.Current = k.Next; k.Current == nil {
		k.Current, fresh = fresh[0], fresh[1:]
	}
	k.Next = fresh[0]
	k.RotateAt = now.Add(k.Rotation)
	if err := e.forgetExpired(name, now); err != nil {
		return err
	}
	return e.put(k, rowKey, name)
}

func (e edit) forgetExpired(name string, now time.Time) error {
	for row, err := range e.r.Scan(store.Under(e.key(rowRetired, name))) {
		if err != nil {
			return err
		}
		var r retired
		if err := json.Unmarshal(row.Value, &r); err != nil {
			return err
		}
		if r.Expires.After(now) {
			continue
		}
		if err := e.tx.Delete(row.Key); err != nil {
			return err
		}
	}
	return nil
}

// signingKey returns the pair of a named key that signs now, rotating it first
// if its time has come.
func (p *Provider) signingKey(ctx context.Context, c *route.Call, name string) (k namedKey, err error) {
	ok := false
	if err = p.view(ctx, c, func(v rows) error { k, ok, err = v.namedKey(name); return err }); err != nil {
		return k, err
	}
	if !ok {
		return k, fault.Newf(fault.Invalid, "key %q does not exist", name)
	}
	if k.Current != nil && k.RotateAt.After(c.Now) {
		return k, nil
	}
	// Made outside the transaction, which may run more than once.
	first, err := newPair(p.Rand, k.Algorithm)
	if err != nil {
		return k, err
	}
	second, err := newPair(p.Rand, k.Algorithm)
	if err != nil {
		return k, err
	}
	algorithm := k.Algorithm
	err = p.change(ctx, c, func(e edit) error {
		if k, ok, err = e.namedKey(name); err != nil {
			return err
		}
		switch {
		case !ok || k.Algorithm != algorithm:
			return fault.Newf(fault.Conflict, "key %q was changed meanwhile; try again", name)
		case k.Current != nil && k.RotateAt.After(c.Now): // another request was first
			return nil
		}
		return e.rotate(name, &k, k.Verification, c.Now, first, second)
	})
	return k, err
}

// published returns the public keys of a named key.
func (v rows) published(name string, now time.Time) ([]jose.JSONWebKey, error) {
	k, ok, err := v.namedKey(name)
	if err != nil || !ok {
		return nil, err
	}
	var keys []jose.JSONWebKey
	for _, p := range []*pair{k.Current, k.Next} {
		if p == nil {
			continue
		}
		public, err := p.public(k.Algorithm)
		if err != nil {
			return nil, err
		}
		keys = append(keys, public)
	}
	for row, err := range v.r.Scan(store.Under(v.key(rowRetired, name))) {
		if err != nil {
			return nil, err
		}
		var r retired
		if err := json.Unmarshal(row.Value, &r); err != nil {
			return nil, err
		}
		if r.Expires.After(now) {
			keys = append(keys, r.Key)
		}
	}
	return keys, nil
}

// allPublished returns the public keys of every named key.
func (v rows) allPublished(now time.Time) ([]jose.JSONWebKey, error) {
	names, err := v.names(rowKey, defaultName)
	if err != nil {
		return nil, err
	}
	keys := []jose.JSONWebKey{}
	for _, name := range names {
		some, err := v.published(name, now)
		if err != nil {
			return nil, err
		}
		keys = append(keys, some...)
	}
	return keys, nil
}

// sign makes a compact JWS of claims.
func (k namedKey) sign(claims []byte, typ jose.ContentType) (string, error) {
	key, err := k.Current.signer()
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(k.Algorithm), Key: jose.JSONWebKey{Key: key, KeyID: k.Current.ID},
	}, (&jose.SignerOptions{}).WithType(typ))
	if err != nil {
		return "", fmt.Errorf("preparing a signature: %w", err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		return "", fmt.Errorf("signing: %w", err)
	}
	return signed.CompactSerialize()
}

// verify returns the claims of a token that one of keys has signed and that is
// of type typ, or an error whose text is for whoever sent it.
func verify(token string, keys []jose.JSONWebKey, typ string) ([]byte, error) {
	var known []jose.SignatureAlgorithm
	for _, a := range algorithms() {
		known = append(known, jose.SignatureAlgorithm(a))
	}
	parsed, err := jose.ParseSignedCompact(token, known)
	if err != nil || len(parsed.Signatures) != 1 {
		return nil, fault.New(fault.Invalid, "it is no signed token")
	}
	header := parsed.Signatures[0].Header
	if got, _ := header.ExtraHeaders[jose.HeaderType].(string); got != typ {
		return nil, fault.New(fault.Invalid, "it is a token for another purpose")
	}
	for _, key := range keys {
		if key.KeyID == header.KeyID && key.Algorithm == header.Algorithm {
			if claims, err := parsed.Verify(key); err == nil {
				return claims, nil
			}
		}
	}
	return nil, fault.New(fault.Invalid, "it is not signed by a key that is published here")
}

// The endpoints of keys.

type keyRequest struct {
	nameRequest
	Rotation     wire.Opt[wire.Duration] `json:"rotation_period" doc:"How often the key rotates; 24h if not given."`
	Verification wire.Opt[wire.Duration] `json:"verification_ttl" doc:"How long a public key is published after it has signed last; 24h if not given."`
	Clients      wire.Opt[[]string]      `json:"allowed_client_ids" doc:"Ids of roles and clients that may use the key; * is all."`
	Algorithm    wire.Opt[string]        `json:"algorithm" doc:"RS256, RS384, RS512, ES256, ES384, ES512 or EdDSA; RS256 if not given."`
}

type keyAnswer struct {
	Algorithm    string   `json:"algorithm"`
	Clients      []string `json:"allowed_client_ids"`
	Rotation     int64    `json:"rotation_period"`
	Verification int64    `json:"verification_ttl"`
}

func (p *Provider) writeKey(ctx context.Context, c *route.Call, in keyRequest) (route.None, error) {
	if err := checkName(in.Name); err != nil {
		return route.None{}, err
	}
	return route.None{}, p.change(ctx, c, func(e edit) error {
		k, ok, err := e.namedKey(in.Name)
		if err != nil {
			return err
		}
		if !ok {
			k = defaultKey()
			k.Clients = nil
		}
		before := k.Algorithm
		k.Algorithm = in.Algorithm.Or(k.Algorithm)
		k.Rotation, k.Verification = in.Rotation.Or(wire.Duration(k.Rotation)).D(), in.Verification.Or(wire.Duration(k.Verification)).D()
		k.Clients = in.Clients.Or(k.Clients)
		if err := k.check(); err != nil {
			return err
		}
		if k.Algorithm != before && k.Current != nil {
			if err := e.retireBoth(in.Name, &k, before, c.Now); err != nil {
				return err
			}
		}
		if k.Current != nil {
			k.RotateAt = earlier(k.RotateAt, c.Now.Add(k.Rotation))
		}
		return e.put(k, rowKey, in.Name)
	})
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (k namedKey) check() error {
	switch {
	case !slices.Contains(algorithms(), k.Algorithm):
		return fault.New(fault.Invalid, "'algorithm' must be RS256, RS384, RS512, ES256, ES384, ES512 or EdDSA")
	case k.Rotation < time.Minute:
		return fault.New(fault.Invalid, "'rotation_period' must be at least one minute")
	case k.Verification <= 0 || k.Verification > 10*k.Rotation:
		return fault.New(fault.Invalid, "'verification_ttl' must be more than zero, and at most ten times 'rotation_period'")
	}
	return nil
}

// retireBoth makes a key begin anew, with another algorithm.
func (e edit) retireBoth(name string, k *namedKey, algorithm string, now time.Time) error {
	for _, p := range []*pair{k.Current, k.Next} {
		public, err := p.public(algorithm)
		if err != nil {
			return err
		}
		if err := e.put(retired{Key: public, Expires: now.Add(k.Verification)}, rowRetired, name, p.ID); err != nil {
			return err
		}
	}
	k.Current, k.Next, k.RotateAt = nil, nil, time.Time{}
	return nil
}

func (p *Provider) readKey(ctx context.Context, c *route.Call, in nameRequest) (a keyAnswer, err error) {
	err = p.view(ctx, c, func(v rows) error {
		k, ok, err := v.namedKey(in.Name)
		if err == nil && !ok {
			err = store.ErrNotFound
		}
		a = keyAnswer{k.Algorithm, orEmpty(k.Clients), int64(k.Rotation / time.Second), int64(k.Verification / time.Second)}
		return err
	})
	return a, err
}

func orEmpty(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func (p *Provider) listKeys(ctx context.Context, c *route.Call, _ noInput) (keys route.Keys, err error) {
	err = p.view(ctx, c, func(v rows) error { keys.Keys, err = v.names(rowKey, defaultName); return err })
	return keys, err
}

func (p *Provider) deleteKey(ctx context.Context, c *route.Call, in nameRequest) (route.None, error) {
	if in.Name == defaultName {
		return route.None{}, fault.New(fault.Invalid, "the default key cannot be deleted")
	}
	return route.None{}, p.change(ctx, c, func(e edit) error {
		users, err := e.usersOf(in.Name)
		if err != nil {
			return err
		}
		if len(users) > 0 {
			return fault.Newf(fault.Invalid, "key %q is used by %q: give that another key first", in.Name, users[0])
		}
		for row, err := range e.r.Scan(store.Under(e.key(rowRetired, in.Name))) {
			if err != nil {
				return err
			}
			if err := e.tx.Delete(row.Key); err != nil {
				return err
			}
		}
		return e.delete(rowKey, in.Name)
	})
}

// usersOf returns the roles and clients that sign with a key.
func (v rows) usersOf(key string) (users []string, err error) {
	for row, err := range v.r.Scan(store.Under(v.key(rowRole))) {
		var r role
		if err == nil {
			err = json.Unmarshal(row.Value, &r)
		}
		if err != nil {
			return nil, err
		}
		if r.Key == key {
			users = append(users, row.Key.Last())
		}
	}
	for row, err := range v.r.Scan(store.Under(v.key(rowClient))) {
		var r client
		if err == nil {
			err = json.Unmarshal(row.Value, &r)
		}
		if err != nil {
			return nil, err
		}
		if r.Key == key {
			users = append(users, row.Key.Last())
		}
	}
	return users, nil
}

type rotateRequest struct {
	nameRequest
	Verification wire.Duration `json:"verification_ttl" doc:"How long the public key is still published; as the key says if not given."`
}

func (p *Provider) rotateKey(ctx context.Context, c *route.Call, in rotateRequest) (route.None, error) {
	k, err := p.signingKey(ctx, c, in.Name) // makes the first pairs, if there are none yet
	if err != nil {
		return route.None{}, err
	}
	fresh, err := newPair(p.Rand, k.Algorithm)
	if err != nil {
		return route.None{}, err
	}
	return route.None{}, p.change(ctx, c, func(e edit) error {
		k, ok, err := e.namedKey(in.Name)
		if err != nil {
			return err
		}
		if !ok || k.Current == nil {
			return fault.Newf(fault.Conflict, "key %q was changed meanwhile; try again", in.Name)
		}
		verification := cmp.Or(in.Verification.D(), k.Verification)
		if verification < 0 || verification > 10*k.Rotation {
			return fault.New(fault.Invalid, "'verification_ttl' must be more than zero, and at most ten times 'rotation_period'")
		}
		return e.rotate(in.Name, &k, verification, c.Now, fresh)
	})
}
