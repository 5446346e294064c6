package cert_test

import (
	"crypto/x509"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/cofferhq/coffer/internal/authn/cert"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

func revoked(t *testing.T, what string, err error) {
	t.Helper()
	if !errors.Is(err, fault.Unauthenticated) || !strings.Contains(fault.Message(err), "revoked") {
		t.Errorf("%s: got %v", what, err)
	}
}

func TestRevocationLists(t *testing.T) {
	w := newWorld(t, nil)
	between := authority(t, "between", w.ca)
	below := issue(t, between, nil, client("below"))
	other := authority(t, "CA", nil)
	due := start().AddDate(0, 1, 0)

	w.Write("crls/other", object{"crl": other.revocationList(t, 1, due, w.web)})
	if r := w.login(w.web); r.Err != nil {
		t.Errorf("a list of another authority of the same name: %v", r.Err)
	}
	w.Write("crls/ca", object{"crl": w.ca.revocationList(t, 1, due, between)})
	if r := w.login(w.web); r.Err != nil {
		t.Errorf("a list of others: %v", r.Err)
	}
	revoked(t, "the authority between", w.login(below, between).Err)
	w.Write("crls/ca", object{"crl": w.ca.revocationList(t, 2, due, w.web)})
	revoked(t, "the certificate", w.login(w.web).Err)
	if r := w.login(below, between); r.Err != nil {
		t.Errorf("a list that has been replaced: %v", r.Err)
	}
	// The first login of an instance knows the lists (E3).
	before := w.Instance
	w.Instance = anew(t, w)
	revoked(t, "the first login after a start", w.login(w.web).Err)
	w.Clock.Advance(60 * 24 * time.Hour)
	revoked(t, "a list that is overdue", w.login(w.web).Err)
	w.Instance = before
	w.Delete("crls/ca")
	if r := w.login(w.web); r.Err != nil {
		t.Errorf("a list that has been deleted: %v", r.Err)
	}
}

// anew makes another instance over the same storage, as a start does.
func anew(t *testing.T, w *world) any {
	t.Helper()
	instance, err := cert.Type.New(engine.Host{Storage: w.Storage, Clock: w.Clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = instance.(engine.Closer).Close() })
	return instance
}

func TestAListThatTheIssuerHasNotSigned(t *testing.T) {
	w := newWorld(t, nil)
	impostor := *w.ca
	impostor.key = newKey(t)
	forged := *w.ca.Certificate
	forged.PublicKey = impostor.key.Public()
	impostor.Certificate = &forged
	w.Write("crls/forged", object{"crl": impostor.revocationList(t, 1, start())})
	if r := w.login(w.web); r.Err == nil || !strings.Contains(fault.Message(r.Err), "has not signed it") {
		t.Errorf("got %v", r.Err)
	}
}

func TestListsFromAURLAreFetchedAgain(t *testing.T) {
	w := newWorld(t, nil)
	var body atomic.Pointer[string]
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		if text := body.Load(); text != nil {
			_, _ = rw.Write([]byte(*text))
			return
		}
		rw.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(server.Close)
	serve := func(text string) { body.Store(&text) }
	now := w.Clock.Now()
	serve(w.ca.revocationList(t, 1, now.Add(time.Hour)))
	w.Write("crls/ca", object{"url": server.URL})
	if r := w.login(w.web); r.Err != nil {
		t.Fatal(r.Err)
	}
	if cdp, _ := w.Read("crls/ca").Map(t)["cdp"].(map[string]any); cdp["url"] != server.URL {
		t.Errorf("got %v", cdp)
	}
	serve(w.ca.revocationList(t, 2, now.Add(30*time.Hour), w.web))
	w.Advance(59 * time.Minute)
	if r := w.login(w.web); r.Err != nil {
		t.Errorf("before the update is due: %v", r.Err)
	}
	w.Advance(time.Minute)
	revoked(t, "when the update is due", w.login(w.web).Err)
	body.Store(nil)
	w.Advance(48 * time.Hour)
	revoked(t, "when the list cannot be fetched", w.login(w.web).Err)
	w.Delete("crls/ca")
	if len(w.Timers()) != 0 {
		t.Errorf("timers are left: %v", w.Timers())
	}
}

// TestOCSP is E4.
func TestOCSP(t *testing.T) {
	w := newWorld(t, nil)
	now := w.Clock.Now()
	delegate := x509.Certificate{Subject: w.ca.Subject, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}}
	appointed := issue(t, w.ca, nil, delegate)
	stranger := authority(t, "CA", nil)
	strangers := issue(t, stranger, nil, delegate)
	unappointed := issue(t, w.ca, nil, client("x"))
	good := ocsp.Response{Status: ocsp.Good, SerialNumber: w.web.SerialNumber, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)}
	with := func(change func(*ocsp.Response)) ocsp.Response {
		r := good
		change(&r)
		return r
	}
	for name, tt := range map[string]struct {
		issuer, signer *holder
		answer         ocsp.Response
		role           object
		ok             bool
	}{
		"good":                              {w.ca, w.ca, good, nil, true},
		"revoked":                           {w.ca, w.ca, with(func(r *ocsp.Response) { r.Status = ocsp.Revoked; r.RevokedAt = start() }), nil, false},
		"revoked, failing open":             {w.ca, w.ca, with(func(r *ocsp.Response) { r.Status = ocsp.Revoked; r.RevokedAt = start() }), object{"ocsp_fail_open": true}, false},
		"unknown":                           {w.ca, w.ca, with(func(r *ocsp.Response) { r.Status = ocsp.Unknown }), nil, false},
		"unknown, failing open":             {w.ca, w.ca, with(func(r *ocsp.Response) { r.Status = ocsp.Unknown }), object{"ocsp_fail_open": true}, true},
		"signed by one appointed":           {w.ca, appointed, good, nil, true},
		"signed by one not appointed":       {w.ca, unappointed, good, nil, false},
		"signed by another authority":       {w.ca, stranger, good, nil, false},
		"signed by another's appointed":     {w.ca, strangers, good, nil, false},
		"signed by another that is trusted": {w.ca, stranger, good, object{"ocsp_ca_certificates": stranger.pem()}, true},
		"about another's certificate":       {stranger, stranger, good, object{"ocsp_ca_certificates": stranger.pem()}, false},
		"another serial":                    {w.ca, w.ca, with(func(r *ocsp.Response) { r.SerialNumber = big.NewInt(1) }), nil, false},
		"out of date":                       {w.ca, w.ca, with(func(r *ocsp.Response) { r.NextUpdate = now.Add(-6 * time.Minute) }), nil, false},
		"of the future":                     {w.ca, w.ca, with(func(r *ocsp.Response) { r.ThisUpdate = now.Add(6 * time.Minute) }), nil, false},
		"without end":                       {w.ca, w.ca, with(func(r *ocsp.Response) { r.NextUpdate = time.Time{} }), nil, true},
		"without end, two hours old":        {w.ca, w.ca, with(func(r *ocsp.Response) { r.NextUpdate = time.Time{}; r.ThisUpdate = now.Add(-2 * time.Hour) }), nil, false},
		"older than the role wants":         {w.ca, w.ca, with(func(r *ocsp.Response) { r.ThisUpdate = now.Add(-30 * time.Minute) }), object{"ocsp_this_update_max_age": "10m"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := newResponder(t)
			r.says(t, tt.issuer, tt.signer, tt.answer)
			role := object{"ocsp_enabled": true, "ocsp_servers_override": r.URL}
			for k, v := range tt.role {
				role[k] = v
			}
			w.role(role)
			if res := w.login(w.web); (res.Err == nil) != tt.ok {
				t.Errorf("got %v", res.Err)
			}
			if r.asked.Load() == 0 {
				t.Error("the responder was not asked")
			}
		})
	}
}

func TestRespondersThatDoNotAnswer(t *testing.T) {
	w := newWorld(t, nil)
	down, up := newResponder(t), newResponder(t)
	role := func(o object) {
		o["ocsp_enabled"] = true
		w.role(o)
	}
	role(object{"ocsp_servers_override": down.URL})
	if r := w.login(w.web); !errors.Is(r.Err, fault.Unauthenticated) {
		t.Errorf("failing closed: %v", r.Err)
	}
	role(object{"ocsp_servers_override": down.URL, "ocsp_fail_open": true})
	if r := w.login(w.web); r.Err != nil {
		t.Errorf("failing open: %v", r.Err)
	}
	role(object{})
	if r := w.login(w.web); !errors.Is(r.Err, fault.Unauthenticated) {
		t.Errorf("a certificate that names no responder: %v", r.Err)
	}
	now := w.Clock.Now()
	up.says(t, w.ca, w.ca, ocsp.Response{Status: ocsp.Good, SerialNumber: w.web.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(time.Hour)})
	role(object{"ocsp_servers_override": []string{down.URL, up.URL}})
	if r := w.login(w.web); r.Err != nil {
		t.Errorf("the second answers: %v", r.Err)
	}
	bad := newResponder(t)
	bad.says(t, w.ca, w.ca, ocsp.Response{Status: ocsp.Revoked, SerialNumber: w.web.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(time.Hour), RevokedAt: now})
	role(object{"ocsp_servers_override": []string{up.URL, bad.URL}})
	if r := w.login(w.web); r.Err != nil {
		t.Errorf("the first says good: %v", r.Err)
	}
	role(object{"ocsp_servers_override": []string{up.URL, bad.URL}, "ocsp_query_all_servers": true})
	revoked(t, "one of all says revoked", w.login(w.web).Err)
}

func TestAnswersAreKeptWhileTheyAreInForce(t *testing.T) {
	w := newWorld(t, nil)
	r := newResponder(t)
	say := func(status int) {
		now := w.Clock.Now()
		r.says(t, w.ca, w.ca, ocsp.Response{Status: status, SerialNumber: w.web.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(time.Hour), RevokedAt: now})
	}
	say(ocsp.Good)
	w.role(object{"ocsp_enabled": true, "ocsp_servers_override": r.URL})
	for range 3 {
		if res := w.login(w.web); res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	if n := r.asked.Load(); n != 1 {
		t.Errorf("the responder was asked %d times", n)
	}
	w.Clock.Advance(time.Hour)
	say(ocsp.Revoked)
	revoked(t, "when the answer is out of force", w.login(w.web).Err)
	sibling := issue(t, w.ca, nil, client("web"))
	if res := w.login(sibling); res.Err == nil {
		t.Error("an answer about another certificate was counted")
	}
}

func FuzzOCSP(f *testing.F) {
	ca := authority(f, "CA", nil)
	leaf := issue(f, ca, nil, client("web"))
	template := ocsp.Response{Status: ocsp.Good, SerialNumber: leaf.SerialNumber, ThisUpdate: start(), NextUpdate: start().AddDate(1, 0, 0)}
	der, err := ocsp.CreateResponse(ca.Certificate, ca.Certificate, template, ca.key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Add([]byte{0x30, 0})
	stranger := authority(f, "CA", nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		if cert.Good(body, leaf.Certificate, stranger.Certificate, start().Add(time.Hour)) {
			t.Error("an answer that the issuer has not signed was counted")
		}
		_ = cert.Good(body, leaf.Certificate, ca.Certificate, start().Add(time.Hour))
	})
}

func FuzzExtension(f *testing.F) {
	for _, seed := range []string{"1.2.3:x", "hex:1.2.3:00", "hex::", ":", "1.2.3:*:*"} {
		f.Add(seed)
	}
	leaf := issue(f, nil, nil, client("web"))
	f.Fuzz(func(_ *testing.T, text string) { _, _ = cert.HasExtension(text, leaf.Certificate) })
}

func FuzzList(f *testing.F) {
	ca := authority(f, "CA", nil)
	f.Add(ca.revocationList(f, 1, start()))
	f.Add("-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		w := mount(t)
		if r := w.Call(route.VerbWrite, "crls/x", object{"crl": text}); r.Err == nil {
			w.Read("crls/x")
		}
	})
}

func BenchmarkLogin(b *testing.B) {
	w := newWorld(b, object{"allowed_common_names": "*.example"})
	w.Write("crls/ca", object{"crl": w.ca.revocationList(b, 1, start())})
	w.TLS = present(w.web)
	b.ReportAllocs()
	for b.Loop() {
		w.Write("login", object{})
	}
}
