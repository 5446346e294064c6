package jwt_test

import (
	"crypto/tls"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// of mounts the method with a key server's set.
func of(t *testing.T, server *keyServer) *enginetest.Mount {
	t.Helper()
	m := mount(t)
	m.Write("config", object{"jwks_url": server.URL + "/keys"})
	m.Write("role/dev", object{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "coffer"})
	return m
}

func TestKeysFollowTheIssuer(t *testing.T) {
	one, two := newECDSA(t, "1"), newECDSA(t, "2")
	server := newKeyServer(t, one.jwk())
	m := of(t, server)
	sign := func(s signer) string { return s.sign(t, claimsAt(m.Clock.Now(), nil)) }
	want := func(what string, s signer, ok bool) {
		t.Helper()
		if r := login(m, sign(s)); (r.Err == nil) != ok {
			t.Errorf("%s: %v", what, r.Err)
		}
	}
	want("first key", one, true)
	want("unknown key", two, false)
	server.serve(two.jwk())
	want("new key, just after a fetch", two, false)
	m.Clock.Advance(11 * time.Second)
	want("new key", two, true)
	want("old key", one, false)
	server.serve(one.jwk())
	want("key that the issuer has withdrawn, within ten minutes", two, true)
	m.Clock.Advance(10 * time.Minute)
	want("key that the issuer has withdrawn", two, false)
	server.down.Store(true)
	m.Clock.Advance(11 * time.Minute)
	want("issuer down", one, true)
	m.Clock.Advance(time.Hour)
	r := login(m, sign(one))
	if fault.KindOf(r.Err) != fault.Upstream {
		t.Errorf("issuer down for an hour: %v", r.Err)
	}
	if status := m.Read("config").Map(t)["status"]; status != "invalid" {
		t.Errorf("status %v", status)
	}
	server.down.Store(false)
	m.Clock.Advance(11 * time.Second)
	want("issuer back", one, true)
	if status := m.Read("config").Map(t)["status"]; status != "valid" {
		t.Errorf("status %v", status)
	}
}

func TestForgedKeyIDsDoNotFloodTheIssuer(t *testing.T) {
	good, evil := newECDSA(t, "1"), newECDSA(t, "x")
	server := newKeyServer(t, good.jwk())
	m := of(t, server)
	before := server.fetches.Load()
	var wg sync.WaitGroup
	token := evil.sign(t, claimsAt(m.Clock.Now(), nil))
	for range 50 {
		wg.Go(func() {
			if r := login(m, token); r.Err == nil {
				t.Error("a forged token was accepted")
			}
		})
	}
	wg.Wait()
	if n := server.fetches.Load() - before; n > 1 {
		t.Errorf("50 forged tokens made %d fetches", n)
	}
}

func TestUnusableKeysAreLeftOut(t *testing.T) {
	good := newRSA(t, "1")
	secret := []byte("a secret of at least thirty-two bytes")
	enc := good.jwk()
	enc.Use, enc.KeyID = "enc", "2"
	server := newKeyServer(t, jose.JSONWebKey{Key: secret, KeyID: "s"}, enc, good.jwk())
	m := of(t, server)
	now := m.Clock.Now()
	if r := login(m, good.sign(t, claimsAt(now, nil))); r.Err != nil {
		t.Error(r.Err)
	}
	good.kid = "2"
	for name, s := range map[string]signer{"shared secret": {key: secret, alg: jose.HS256, kid: "s"}, "encryption key": good} {
		if r := login(m, s.sign(t, claimsAt(now, nil))); r.Err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDiscovery(t *testing.T) {
	s := newECDSA(t, "1")
	server := newKeyServer(t, s.jwk())
	m := mount(t)
	m.Write("config", object{"oidc_discovery_url": server.URL})
	m.Write("role/dev", object{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "coffer"})
	for name, tt := range map[string]struct {
		iss any
		ok  bool
	}{"itself": {server.URL, true}, "another": {"https://issuer.example", false}, "none": {nil, false}} {
		if r := login(m, s.sign(t, claimsAt(m.Clock.Now(), object{"iss": tt.iss}))); (r.Err == nil) != tt.ok {
			t.Errorf("%s: %v", name, r.Err)
		}
	}
	other := httptest.NewServer(http.RedirectHandler(server.URL+"/.well-known/openid-configuration", http.StatusFound))
	t.Cleanup(other.Close)
	m.Fails(fault.Invalid, route.VerbWrite, "config", object{"oidc_discovery_url": other.URL}) // it speaks for another issuer
}

func TestSeveralKeySets(t *testing.T) {
	a, b := newECDSA(t, "a"), newECDSA(t, "b")
	one, two := newKeyServer(t, a.jwk()), newKeyServer(t, b.jwk())
	m := mount(t)
	m.Write("config", object{"jwks_pairs": []object{{"jwks_url": one.URL + "/keys"}, {"jwks_url": two.URL + "/keys"}}})
	m.Write("role/dev", object{"role_type": "jwt", "user_claim": "sub", "bound_audiences": "coffer"})
	for _, s := range []signer{a, b} {
		if r := login(m, s.sign(t, claimsAt(m.Clock.Now(), nil))); r.Err != nil {
			t.Error(r.Err)
		}
	}
	one.down.Store(true)
	m.Clock.Advance(2 * time.Hour)
	if r := login(m, b.sign(t, claimsAt(m.Clock.Now(), nil))); r.Err != nil {
		t.Errorf("with the other set away: %v", r.Err)
	}
}

func TestTheIssuersCertificateIsVerified(t *testing.T) {
	s := newECDSA(t, "1")
	keys := newKeyServer(t, s.jwk())
	server := httptest.NewUnstartedServer(keys.Config.Handler)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	ca := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	m := mount(t)
	m.Fails(fault.Invalid, route.VerbWrite, "config", object{"jwks_url": server.URL + "/keys"})
	m.Fails(fault.Invalid, route.VerbWrite, "config", object{"jwks_url": server.URL + "/keys", "jwks_ca_pem": "junk"})
	m.Fails(fault.Invalid, route.VerbWrite, "config", object{"jwks_url": server.URL + "/keys", "jwks_ca_pem": ca, "override_allowed_server_names": "other.example"})
	m.Write("config", object{"jwks_url": server.URL + "/keys", "jwks_ca_pem": ca})
	m.Write("config", object{"jwks_url": server.URL + "/keys", "jwks_ca_pem": ca, "override_allowed_server_names": "x.example,example.com"})
}

// A configuration that another node has written counts with the next request.
func TestAnInstanceFollowsTheStoredConfiguration(t *testing.T) {
	a, b := newECDSA(t, ""), newECDSA(t, "")
	m := trusting(t, a, nil)
	now := m.Clock.Now()
	if r := login(m, a.sign(t, claimsAt(now, nil))); r.Err != nil {
		t.Fatal(r.Err)
	}
	m.Write("config", object{"jwt_validation_pubkeys": b.pem(t)})
	if r := login(m, a.sign(t, claimsAt(now, nil))); r.Err == nil {
		t.Error("a key that is not trusted any more was accepted")
	}
	if r := login(m, b.sign(t, claimsAt(now, nil))); r.Err != nil {
		t.Error(r.Err)
	}
}
