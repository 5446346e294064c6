package httpd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/httpd"
	"github.com/cofferhq/coffer/internal/replica"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// alone is a store whose node leads, or does not.
type alone struct{ leads bool }

func (a alone) Leader() replica.Leader                         { return replica.Leader{ID: "a", Term: 1, Self: a.leads} }
func (a alone) Changed() <-chan struct{}                       { return nil }
func (a alone) Applied() store.Index                           { return 7 }
func (a alone) WaitApplied(context.Context, store.Index) error { return nil }
func (a alone) LastContact() time.Duration                     { return 0 }
func (a alone) Confirm(ctx context.Context) (store.Index, error) {
	if !a.leads {
		return 0, fault.New(fault.Standby, "")
	}
	return 7, nil
}

func forwarded(t *testing.T, leads bool) *httpd.Forwarded {
	t.Helper()
	l := newNode(t).listener(nil)
	l.Peers = httpd.NewPeers(nil)
	c := alone{leads}
	l.Peers.Replica = replica.New(replica.Config{Consensus: c, Clock: clock.System{}})
	return &httpd.Forwarded{Listener: l, Confirm: c.Confirm}
}

// TestForwardedRequestTakesOneHop refuses what has come through more than one
// node, or through none, before anything is looked at.
func TestForwardedRequestTakesOneHop(t *testing.T) {
	f := forwarded(t, true)
	for _, hops := range []string{"", "0", "2", "1,1", "x"} {
		w := ask(f, http.MethodPost, "secret/x", `{}`, "Coffer-Hops", hops)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%q hops: %d %s", hops, w.Code, w.Body)
		}
	}
}

// TestNodeThatCannotAnswerSaysSo tells the other node that it may ask again.
func TestNodeThatCannotAnswerSaysSo(t *testing.T) {
	for _, leads := range []bool{false, true} { // the one that leads is sealed
		w := ask(forwarded(t, leads), http.MethodPost, "secret/x", `{}`, "Coffer-Hops", "1")
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Coffer-Not-Executed") == "" {
			t.Errorf("leads %t: %d, %v", leads, w.Code, w.Header())
		}
	}
}

func TestOnlyALeaderTellsTheIndex(t *testing.T) {
	for leads, want := range map[bool]int{true: http.StatusOK, false: http.StatusServiceUnavailable} {
		w := httptest.NewRecorder()
		forwarded(t, leads).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/index", nil))
		if w.Code != want || leads && w.Body.String() != "7" {
			t.Errorf("leads %t: %d %s", leads, w.Code, w.Body)
		}
	}
}

// TestClientArrivesWithItsRequest compares what a node knows of a client with
// what the leader gets to know.
func TestClientArrivesWithItsRequest(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(4711)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	l := newNode(t).listener(nil)
	limits := wire.DefaultLimits
	limits.Depth = 9
	for name, sent := range map[string]*gate.Request{
		"plain":       {ID: "id", Remote: netip.MustParseAddr("203.0.113.7"), RemotePort: 4711, Limits: wire.DefaultLimits},
		"unix socket": {ID: "id", Limits: limits, Open: true},
		"TLS": {ID: "id", Remote: netip.MustParseAddr("2001:db8::1"), RemotePort: 1, Limits: wire.DefaultLimits, TLS: &tls.ConnectionState{
			Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, ServerName: "vault.example.com", PeerCertificates: []*x509.Certificate{cert, cert},
		}},
		"TLS without a certificate": {ID: "id", Limits: wire.DefaultLimits, TLS: &tls.ConnectionState{Version: tls.VersionTLS12}},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "/v1/secret/x", nil)
			// What a client claims must not count.
			r.Header.Set("X-Forwarded-For", "198.51.100.1")
			got, err := httpd.Travel(l, sent, r)
			if err != nil {
				t.Fatal(err)
			}
			if got.ID != sent.ID || got.Remote != sent.Remote || got.RemotePort != sent.RemotePort || got.Open != sent.Open || got.Limits != sent.Limits {
				t.Errorf("got %+v, want %+v", got, sent)
			}
			if (got.TLS == nil) != (sent.TLS == nil) {
				t.Fatalf("TLS is %v, want %v", got.TLS, sent.TLS)
			}
			if sent.TLS == nil {
				return
			}
			if got.TLS.Version != sent.TLS.Version || got.TLS.ServerName != sent.TLS.ServerName || len(got.TLS.PeerCertificates) != len(sent.TLS.PeerCertificates) {
				t.Errorf("TLS is %+v, want %+v", got.TLS, sent.TLS)
			}
			for i, c := range got.TLS.PeerCertificates {
				if !c.Equal(sent.TLS.PeerCertificates[i]) {
					t.Errorf("certificate %d is another one", i)
				}
			}
			for header := range r.Header {
				if header == "Coffer-Remote" || header == "Coffer-Hops" || header == "Coffer-Certificate" {
					t.Errorf("the audit log would show %s", header)
				}
			}
		})
	}
	for name, bad := range map[string]string{"Coffer-Remote": "x", "Coffer-Limits": "1 2", "Coffer-Tls": "a b c"} {
		r := httptest.NewRequest(http.MethodGet, "/v1/secret/x", nil)
		r.Header.Set(name, bad)
		if _, err := httpd.Travel(l, &gate.Request{ID: "id", Limits: wire.DefaultLimits}, r); fault.KindOf(err) != fault.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
