package jwt_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cofferhq/coffer/internal/authn/jwt"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
)

type object = map[string]any

func mount(t testing.TB) *enginetest.Mount {
	t.Helper()
	return enginetest.New(t, jwt.Type.Routes, jwt.Type.New)
}

// signer makes tokens as an issuer does.
type signer struct {
	key  any
	alg  jose.SignatureAlgorithm
	kid  string
	head map[jose.HeaderKey]any
}

func newECDSA(t testing.TB, kid string) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key: key, alg: jose.ES256, kid: kid}
}

func newRSA(t testing.TB, kid string) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer{key: key, alg: jose.RS256, kid: kid}
}

func (s signer) public() crypto.PublicKey { return s.key.(crypto.Signer).Public() }

func (s signer) jwk() jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.public(), KeyID: s.kid, Algorithm: string(s.alg), Use: "sig"}
}

func (s signer) pem(t testing.TB) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(s.public())
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// sign signs claims, or a text as it is.
func (s signer) sign(t testing.TB, claims any) string {
	t.Helper()
	payload, isText := claims.(string)
	if !isText {
		b, err := json.Marshal(claims)
		if err != nil {
			t.Fatal(err)
		}
		payload = string(b)
	}
	o := &jose.SignerOptions{ExtraHeaders: s.head}
	if s.kid != "" {
		o = o.WithHeader("kid", s.kid)
	}
	signing, err := jose.NewSigner(jose.SigningKey{Algorithm: s.alg, Key: s.key}, o)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signing.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// claimsAt are those of a good token, with changes; a change to nil leaves the
// claim out.
func claimsAt(now time.Time, changes object) object {
	c := object{
		"iss": "https://issuer.example", "sub": "alice", "aud": "coffer", "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
		"email": "alice@example.org", "groups": []string{"dev", "ops"}, "team": object{"name": "blue", "level": 3, "a/b": "slash", "list": []any{"x", "y"}}, "admin": true,
	}
	for name, v := range changes {
		if v == nil {
			delete(c, name)
			continue
		}
		c[name] = v
	}
	return c
}

// keyServer serves a key set and a discovery document, and counts.
type keyServer struct {
	*httptest.Server
	keys    atomic.Pointer[[]jose.JSONWebKey]
	down    atomic.Bool
	fetches atomic.Int64
}

func newKeyServer(t testing.TB, keys ...jose.JSONWebKey) *keyServer {
	t.Helper()
	s := &keyServer{}
	s.serve(keys...)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		s.fetches.Add(1)
		if s.down.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: *s.keys.Load()})
	})
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(object{"issuer": s.URL, "jwks_uri": s.URL + "/keys", "authorization_endpoint": s.URL + "/auth", "token_endpoint": s.URL + "/token"})
	})
	s.Server = httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

func (s *keyServer) serve(keys ...jose.JSONWebKey) { s.keys.Store(&keys) }
