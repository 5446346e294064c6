package jwt_test

import (
	"testing"

	"github.com/cofferhq/coffer/internal/authn/jwt"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/route"
)

// FuzzClaims reads payloads as a login does after the signature was verified,
// with a role that looks at everything.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"sub":"a","aud":"b","exp":1}`, `{"sub":["a"],"aud":["b",1],"iat":1e300}`, `{"a":{"b":[{"c":null}]}}`, `{"sub":"\u0000","sub":"x"}`,
		`[`, `{"a~1b":{"":1}}`, `{"exp":"x","nbf":-0.5}`, `{"groups":[[]]}`,
	} {
		f.Add(seed, "/a/b/0/c")
	}
	f.Fuzz(func(t *testing.T, payload, pointer string) {
		jwt.Judge([]byte(payload), pointer)
	})
}

func FuzzKeySet(f *testing.F) {
	for _, seed := range []string{`{"keys":[]}`, `{"keys":[{"kty":"oct","k":"AAAA"}]}`, `{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}`, `{"keys":null}`, `[]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if n, err := jwt.KeySet(body); err == nil && n == 0 {
			t.Error("a key set without keys was accepted")
		}
	})
}

func FuzzDiscovery(f *testing.F) {
	for _, seed := range []string{`{"issuer":"https://a","jwks_uri":"https://a/keys"}`, `{}`, `{"issuer":1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if issuer, err := jwt.Discovery(body, "https://a"); err == nil && issuer != "https://a" {
			t.Errorf("the issuer %q was accepted", issuer)
		}
	})
}

func FuzzLogin(f *testing.F) {
	s := newECDSA(f, "")
	for _, seed := range []string{"..", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "eyJhbGciOiJFUzI1NiJ9.e30.AAAA"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		m := enginetest.New(t, jwt.Type.Routes, jwt.Type.New)
		m.Write("config", object{"jwt_validation_pubkeys": s.pem(t)})
		m.Write("role/dev", object{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "coffer"})
		if r := m.Call(route.VerbWrite, "login", object{"role": "dev", "jwt": token}); r.Err == nil {
			t.Errorf("a token that nobody signed was accepted: %q", token)
		}
	})
}
