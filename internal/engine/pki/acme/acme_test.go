package acme_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cofferhq/coffer/internal/engine/pki/acme"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a request that carries its key.
func sign(t testing.TB, key any, alg jose.SignatureAlgorithm, header map[jose.HeaderKey]any, payload string) []byte {
	t.Helper()
	opts := &jose.SignerOptions{ExtraHeaders: header}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	o, err := s.Sign([]byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	return []byte(o.FullSerialize())
}

func jwk(key *ecdsa.PrivateKey) map[string]any {
	b, _ := jose.JSONWebKey{Key: key.Public()}.MarshalJSON()
	var m map[string]any
	_ = json.Unmarshal(b, &m)
	return m
}

func TestRequestsAreParsedStrictly(t *testing.T) {
	key := newKey(t)
	const url = "https://ca.example/acme/new-account"
	good := sign(t, key, jose.ES256, map[jose.HeaderKey]any{"url": url, "nonce": "n", "jwk": jwk(key)}, `{}`)
	r, err := acme.Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	if payload, err := r.Verify(r.JWK); err != nil || string(payload) != "{}" || r.URL != url || r.Nonce != "n" {
		t.Errorf("got %q, %v, %+v", payload, err, r)
	}
	other := newKey(t)
	if _, err := r.Verify(&jose.JSONWebKey{Key: other.Public()}); err == nil {
		t.Error("another key verifies the request")
	}
	var members map[string]any
	_ = json.Unmarshal(good, &members)
	with := func(name string, value any) []byte {
		m := map[string]any{name: value}
		for k, v := range members {
			m[k] = v
		}
		b, _ := json.Marshal(m)
		return b
	}
	for name, body := range map[string][]byte{
		"nothing":               nil,
		"no signature":          []byte(`{"protected":"x"}`),
		"an unprotected header": with("header", map[string]string{"kid": "x"}),
		"two signatures":        with("signatures", []any{}),
		"no URL":                sign(t, key, jose.ES256, map[jose.HeaderKey]any{"nonce": "n", "jwk": jwk(key)}, `{}`),
		"key and account":       sign(t, key, jose.ES256, map[jose.HeaderKey]any{"url": url, "jwk": jwk(key), "kid": "https://ca.example/acme/account/1"}, `{}`),
		"neither":               sign(t, key, jose.ES256, map[jose.HeaderKey]any{"url": url}, `{}`),
		"an HMAC":               sign(t, []byte("0123456789abcdef0123456789abcdef"), jose.HS256, map[jose.HeaderKey]any{"url": url, "kid": "x"}, `{}`),
	} {
		var problem *acme.Problem
		if _, err := acme.Parse(body); !errors.As(err, &problem) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoncesAreUsedOnce(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	n, other := acme.NewNonces(rand.Reader), acme.NewNonces(rand.Reader)
	fresh := func(of *acme.Nonces) string {
		t.Helper()
		s, err := of.New(now)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a := fresh(n)
	if !n.Use(a, now.Add(time.Minute)) || n.Use(a, now.Add(time.Minute)) {
		t.Error("a nonce is not good exactly once")
	}
	for what, nonce := range map[string]string{"another's": fresh(other), "nothing": "", "changed": "B" + fresh(n)[1:], "junk": "used-up"} {
		if n.Use(nonce, now) {
			t.Errorf("%s was taken", what)
		}
	}
	if n.Use(fresh(n), now.Add(time.Hour)) {
		t.Error("an old one was taken")
	}
	if acme.NewNonces(rand.Reader).Use(a, now) {
		t.Error("a source that has made none takes one")
	}
}

func TestProblemsHaveStatuses(t *testing.T) {
	for kind, want := range map[acme.ErrorType]int{acme.BadNonce: 400, acme.Unauthorized: 403, acme.OrderNotReady: 403, acme.ServerInternal: 500} {
		if p := acme.Errorf(kind, "x"); p.Status != want || string(p.JSON()) != `{"type":"urn:ietf:params:acme:error:`+string(kind)+`","detail":"x"}` {
			t.Errorf("%s: %d %s", kind, p.Status, p.JSON())
		}
	}
}

// TestF5_OnlyPublicAddressesAreReached is the table of what challenges reach by
// default.
func TestF5_OnlyPublicAddressesAreReached(t *testing.T) {
	for text, want := range map[string]bool{
		"93.184.216.34": true, "2606:2800:220:1::1": true,
		"127.0.0.1": false, "::1": false, "::ffff:127.0.0.1": false, "10.0.0.1": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false,
		"0.0.0.0": false, "::": false, "224.0.0.1": false, "255.255.255.255": false, "fe80::1": false, "fc00::1": false, "ff02::1": false, "64:ff9b::a00:1": false,
		"2002:a00:1::": false, "::10.0.0.1": false, "::ffff:10.0.0.1": false, "192.0.2.1": false, "198.18.0.1": false,
	} {
		v := acme.Validator{}
		if got := v.MayReach(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is reached: %t", text, got)
		}
		v.Permitted, v.Excluded = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, []netip.Prefix{netip.MustParsePrefix("93.184.216.0/24")}
		ip := netip.MustParseAddr(text)
		if got := v.MayReach(ip); got != (want && text != "93.184.216.34" || netip.MustParsePrefix("10.0.0.0/8").Contains(ip.Unmap())) {
			t.Errorf("%s is reached with 10/8 permitted and 93.184.216/24 excluded: %t", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	key := newKey(f)
	f.Add(sign(f, key, jose.ES256, map[jose.HeaderKey]any{"url": "u", "nonce": "n", "jwk": jwk(key)}, `{}`))
	f.Add(sign(f, key, jose.ES256, map[jose.HeaderKey]any{"url": "u", "kid": "k"}, ``))
	f.Add([]byte(`{"protected":"e30","payload":"","signature":""}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := acme.Parse(body)
		if err != nil {
			var problem *acme.Problem
			if !errors.As(err, &problem) {
				t.Errorf("the error is no problem: %v", err)
			}
			return
		}
		if (r.JWK == nil) == (r.KeyID == "") || r.URL == "" {
			t.Errorf("the request is %+v", r)
		}
		if r.JWK != nil {
			_, _ = r.Verify(r.JWK)
		}
	})
}
