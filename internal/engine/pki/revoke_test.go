package pki_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// crl reads and checks a mount's revocation list.
func crl(t *testing.T, m *enginetest.Mount, path string) *x509.RevocationList {
	t.Helper()
	list, err := x509.ParseRevocationList(m.Read(path).Raw.Body)
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := list.CheckSignatureFrom(parse(t, text(t, m.Read("cert/ca"), "certificate"))); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return list
}

func serials(l *x509.RevocationList) string {
	var list []string
	for _, e := range l.RevokedCertificateEntries {
		list = append(list, e.SerialNumber.Text(16))
	}
	return strings.Join(list, " ")
}

func hexSerial(s string) string {
	n, _ := new(big.Int).SetString(strings.ReplaceAll(s, ":", ""), 16)
	return n.Text(16)
}

func issueWeb(t *testing.T, m *enginetest.Mount, name string) (serial, cert, key string) {
	t.Helper()
	r := m.Write("issue/web", object{"common_name": name})
	return text(t, r, "serial_number"), text(t, r, "certificate"), text(t, r, "private_key")
}

func TestOpenSSLChecksRevocation(t *testing.T) {
	for _, kind := range []object{{"key_type": "ec"}, {"key_type": "rsa"}, {"key_type": "rsa", "use_pss": true}, {"key_type": "ed25519"}} {
		t.Run(kind["key_type"].(string), func(t *testing.T) {
			m := newMount(t)
			m.Settings.MaxTTL *= 20
			kind["common_name"], kind["ttl"] = "Test Root", "8000h"
			root := text(t, m.Write("root/generate/internal", kind), "certificate")
			m.Write("roles/web", object{"allowed_domains": "example.org", "allow_subdomains": true, "key_type": "ec", "ttl": "24h"})
			good, goodPEM, _ := issueWeb(t, m, "good.example.org")
			bad, badPEM, _ := issueWeb(t, m, "bad.example.org")
			m.Clock.Advance(time.Minute)
			m.Write("revoke", object{"serial_number": bad})
			list := string(m.Read("crl/pem").Raw.Body)
			path := files(t, map[string]string{"root": root, "good": goodPEM, "bad": badPEM, "crl": list})
			at := itoa(m.Clock.Now().Unix() + 60)
			if out, err := openssl(t, "crl", "-in", path("crl"), "-CAfile", path("root"), "-noout", "-verify"); err != nil || !strings.Contains(out, "verify OK") {
				t.Errorf("openssl crl: %v %s", err, out)
			}
			if out, err := openssl(t, "verify", "-attime", at, "-crl_check", "-CRLfile", path("crl"), "-CAfile", path("root"), path("good")); err != nil {
				t.Errorf("the good certificate: %s", out)
			}
			if out, err := openssl(t, "verify", "-attime", at, "-crl_check", "-CRLfile", path("crl"), "-CAfile", path("root"), path("bad")); err == nil || !strings.Contains(out, "certificate revoked") {
				t.Errorf("the revoked certificate: %s", out)
			}
			askOpenSSL(t, m, path, good, bad)
		})
	}
}

// askOpenSSL lets openssl's OCSP client ask about both certificates by POST.
func askOpenSSL(t *testing.T, m *enginetest.Mount, path func(string) string, good, bad string) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body bytes.Buffer
		_, _ = body.ReadFrom(r.Body)
		a := m.Call(route.VerbWrite, "ocsp", body.String())
		if a.Err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", a.Raw.ContentType)
		w.WriteHeader(max(a.Raw.Status, 200))
		_, _ = w.Write(a.Raw.Body)
	}))
	defer srv.Close()
	for file, want := range map[string]string{"good": ": good", "bad": ": revoked"} {
		out, err := openssl(t, "ocsp", "-issuer", path("root"), "-cert", path(file), "-url", srv.URL, "-CAfile", path("root"), "-attime", itoa(m.Clock.Now().Unix()+1), "-no_nonce", "-validity_period", "1000000000")
		if err != nil || !strings.Contains(out, "Response verify OK") || !strings.Contains(out, want) {
			t.Errorf("openssl ocsp of the %s one: %v\n%s", file, err, out)
		}
	}
}

func TestOCSP(t *testing.T) {
	m := newCA(t)
	root := parse(t, text(t, m.Read("cert/ca"), "certificate"))
	serial, pemText, _ := issueWeb(t, m, "a.example.org")
	cert := parse(t, pemText)
	ask := func(h crypto.Hash, get bool) *ocsp.Response {
		t.Helper()
		req, err := ocsp.CreateRequest(cert, root, &ocsp.RequestOptions{Hash: h})
		if err != nil {
			t.Fatal(err)
		}
		var a enginetest.Result
		if get {
			a = m.Read("ocsp/" + strings.NewReplacer("?", "%3F").Replace(base64.StdEncoding.EncodeToString(req)))
		} else {
			a = m.Write("ocsp", string(req))
		}
		res, err := ocsp.ParseResponseForCert(a.Raw.Body, cert, root)
		if err != nil {
			t.Fatalf("%v: %v", h, err)
		}
		return res
	}
	for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		for _, get := range []bool{false, true} {
			if got := ask(h, get); got.Status != ocsp.Good || !got.NextUpdate.Equal(got.ThisUpdate.Add(12*time.Hour)) {
				t.Errorf("%v: status %d, until %v", h, got.Status, got.NextUpdate)
			}
		}
	}
	m.Write("revoke", object{"serial_number": serial})
	if got := ask(crypto.SHA1, false); got.Status != ocsp.Revoked || !got.RevokedAt.Equal(m.Clock.Now().Truncate(time.Second)) {
		t.Errorf("after the revocation: %d at %v", got.Status, got.RevokedAt)
	}
	other := newCA(t)
	req, err := ocsp.CreateRequest(cert, root, nil)
	if err != nil {
		t.Fatal(err)
	}
	if a := other.Write("ocsp", string(req)); a.Raw.Status != 401 || !bytes.Equal(a.Raw.Body, ocsp.UnauthorizedErrorResponse) {
		t.Errorf("another issuer's certificate: %d", a.Raw.Status)
	}
	if a := m.Write("ocsp", strings.Repeat("x", 5000)); a.Raw.Status != 400 {
		t.Errorf("a large request: %d", a.Raw.Status)
	}
	m.Write("config/crl", object{"ocsp_disable": true})
	if a := m.Write("ocsp", string(req)); a.Raw.Status != 401 {
		t.Errorf("while it is off: %d", a.Raw.Status)
	}
}

func TestListsAreOrderedByTheirNumbers(t *testing.T) {
	m := newCA(t)
	last := crl(t, m, "crl")
	newer := func(what string) *x509.RevocationList {
		t.Helper()
		l := crl(t, m, "crl")
		if l.Number.Cmp(last.Number) <= 0 || !l.NextUpdate.After(m.Clock.Now()) {
			t.Errorf("%s: list %d follows %d and ends %v", what, l.Number, last.Number, l.NextUpdate)
		}
		last = l
		return l
	}
	m.Clock.Advance(time.Minute)
	if l := crl(t, m, "crl"); l.Number.Cmp(last.Number) != 0 {
		t.Error("a list was made although nothing has changed")
	}
	a, _, _ := issueWeb(t, m, "a.example.org")
	b, _, _ := issueWeb(t, m, "b.example.org")
	m.Write("revoke", object{"serial_number": a})
	if l := newer("after a revocation"); serials(l) != hexSerial(a) {
		t.Errorf("the list has %s", serials(l))
	}
	m.Clock.Advance(time.Second)
	m.Write("revoke", object{"serial_number": strings.ReplaceAll(b, ":", "-")})
	if l := newer("after another"); serials(l) != hexSerial(a)+" "+hexSerial(b) {
		t.Errorf("the list has %s", serials(l))
	}
	m.Clock.Advance(50 * time.Hour)
	newer("near its end")
	m.Clock.Advance(time.Second)
	m.Read("crl/rotate")
	newer("after a rotation")
	m.Clock.Advance(time.Second)
	m.Write("config/crl", object{"disable": true})
	if l := newer("when disabled"); serials(l) != "" {
		t.Errorf("a disabled list has %s", serials(l))
	}
}

func TestDeltaLists(t *testing.T) {
	m := newCA(t)
	m.Write("config/crl", object{"auto_rebuild": true, "enable_delta": true, "delta_rebuild_interval": "10m", "expiry": "48h"})
	a, _, _ := issueWeb(t, m, "a.example.org")
	b, _, _ := issueWeb(t, m, "b.example.org")
	m.Clock.Advance(time.Minute)
	m.Write("revoke", object{"serial_number": a})
	m.Read("crl/rotate")
	complete := crl(t, m, "crl")
	m.Clock.Advance(time.Minute)
	m.Write("revoke", object{"serial_number": b})
	if l := crl(t, m, "crl"); l.Number.Cmp(complete.Number) != 0 || serials(l) != hexSerial(a) {
		t.Errorf("the complete list was made anew: %s", serials(l))
	}
	if l := crl(t, m, "crl/delta"); serials(l) != "" {
		t.Errorf("the delta list came early: %s", serials(l))
	}
	m.Clock.Advance(10 * time.Minute)
	delta := crl(t, m, "crl/delta")
	if serials(delta) != hexSerial(b) || delta.Number.Cmp(complete.Number) <= 0 {
		t.Errorf("the delta list %d has %s", delta.Number, serials(delta))
	}
	base := ""
	for _, ext := range delta.Extensions {
		if ext.Id.String() == "2.5.29.27" && ext.Critical {
			base = new(big.Int).SetBytes(ext.Value[2:]).String()
		}
	}
	if base != complete.Number.String() {
		t.Errorf("the delta list's base is %s, not %d", base, complete.Number)
	}
	m.Clock.Advance(48 * time.Hour)
	if l := crl(t, m, "crl"); serials(l) != hexSerial(a)+" "+hexSerial(b) {
		t.Errorf("the next complete list has %s", serials(l))
	}
}

func TestRevocationIsRefused(t *testing.T) {
	m := newCA(t)
	_, mine, key := issueWeb(t, m, "a.example.org")
	other, foreign, otherKey := issueWeb(t, newCA(t), "b.example.org")
	root := text(t, m.Read("cert/ca"), "certificate")
	for what, q := range map[string]object{
		"nothing":                 {},
		"an unknown serial":       {"serial_number": other},
		"no serial":               {"serial_number": "zz"},
		"both":                    {"serial_number": other, "certificate": mine},
		"another CA's":            {"certificate": foreign},
		"the root":                {"certificate": root},
		"no certificate":          {"certificate": "junk"},
		"a broken certificate":    {"certificate": "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----"},
		"a key in place of a one": {"certificate": key},
	} {
		m.Fails(fault.Invalid, route.VerbWrite, "revoke", q)
		_ = what
	}
	m.Fails(fault.Invalid, route.VerbWrite, "revoke-with-key", object{"certificate": mine, "private_key": otherKey})
	if l := crl(t, m, "crl"); serials(l) != "" {
		t.Errorf("the list has %s", serials(l))
	}
	m.Write("revoke-with-key", object{"certificate": mine, "private_key": key})
	if l := crl(t, m, "crl"); serials(l) != parse(t, mine).SerialNumber.Text(16) {
		t.Errorf("the list has %s", serials(l))
	}
}

func TestUnstoredCertificateIsRevokedByItself(t *testing.T) {
	m := newCA(t)
	m.Write("roles/fleeting", object{"allow_any_name": true, "key_type": "ec", "no_store": true})
	r := m.Write("issue/fleeting", object{"common_name": "x.example.org"})
	serial := text(t, r, "serial_number")
	if a := m.Call(route.VerbRead, "cert/"+serial, nil); fault.KindOf(a.Err) != fault.NotFound {
		t.Fatalf("the certificate was stored: %v", a.Err)
	}
	m.Write("revoke", object{"certificate": text(t, r, "certificate")})
	if got := m.Read("cert/" + serial).Map(t); got["revocation_time"].(float64) == 0 {
		t.Errorf("the certificate is %v", got)
	}
	if l := crl(t, m, "crl"); serials(l) != hexSerial(serial) {
		t.Errorf("the list has %s", serials(l))
	}
}

func TestLeaseRevokesItsCertificate(t *testing.T) {
	m := newCA(t)
	m.Write("roles/leased", object{"allow_any_name": true, "key_type": "ec", "generate_lease": true, "ttl": "2h"})
	r := m.Write("issue/leased", object{"common_name": "x.example.org"})
	if r.Issued == nil || r.Issued.TTL != 2*time.Hour || r.Issued.Renewable {
		t.Fatalf("the lease is %+v", r.Issued)
	}
	revoker := m.Instance.(interface {
		Revoke(ctx context.Context, payload []byte) error
	})
	for range 2 {
		if err := revoker.Revoke(t.Context(), r.Issued.Payload); err != nil {
			t.Fatal(err)
		}
	}
	if l := crl(t, m, "crl"); serials(l) != hexSerial(text(t, r, "serial_number")) {
		t.Errorf("the list has %s", serials(l))
	}
	if a := m.Write("issue/web", object{"common_name": "y.example.org"}); a.Issued != nil {
		t.Error("a role without leases gave one")
	}
}

// TestF4_TidyKeepsWhatIsStillGood: whatever is tidied and whenever, the list is
// what is revoked and has not ended.
func TestF4_TidyKeepsWhatIsStillGood(t *testing.T) {
	m := newCA(t)
	m.Write("roles/web", object{"allowed_domains": "example.org", "allow_subdomains": true, "key_type": "ec", "max_ttl": "720h"})
	type cert struct {
		serial string
		ends   time.Time
	}
	var revoked []cert
	for i, ttl := range []string{"1h", "2h", "5h", "24h", "30h", "100h", "200h", "300h", "700h"} {
		r := m.Write("issue/web", object{"common_name": "a" + itoa(int64(i)) + ".example.org", "ttl": ttl})
		serial := text(t, r, "serial_number")
		if i%3 != 2 {
			m.Write("revoke", object{"serial_number": serial})
			revoked = append(revoked, cert{hexSerial(serial), parse(t, text(t, r, "certificate")).NotAfter})
		}
	}
	for range 60 {
		m.Clock.Advance(7 * time.Hour)
		before := crl(t, m, "crl")
		m.Write("tidy", object{"tidy_cert_store": true, "tidy_revoked_certs": true, "tidy_invalid_certs": true, "tidy_expired_issuers": true, "safety_buffer": "1s", "page_size": 2})
		m.Advance(0)
		if state := text(t, m.Read("tidy-status"), "state"); state != "Finished" {
			t.Fatalf("the tidy is %s", state)
		}
		list := crl(t, m, "crl")
		if list.Number.Cmp(before.Number) < 0 {
			t.Errorf("list %d follows %d", list.Number, before.Number)
		}
		have := serials(list)
		for _, c := range revoked {
			if good := m.Clock.Now().Before(c.ends); good != strings.Contains(have, c.serial) {
				t.Errorf("at %v: a certificate that ends %v is listed: %t", m.Clock.Now(), c.ends, !good)
			}
		}
	}
	if left := m.Call(route.VerbList, "certs", nil).Map(t)["keys"]; len(left.([]any)) > 3 {
		t.Errorf("certificates are left: %v", left)
	}
}

func TestAutoTidy(t *testing.T) {
	m := newCA(t)
	issueWeb(t, m, "a.example.org")
	m.Write("config/auto-tidy", object{"enabled": true, "interval_duration": "12h", "tidy_cert_store": true, "safety_buffer": "1h"})
	for range 4 {
		m.Advance(12 * time.Hour)
	}
	if keys := m.List("certs").Map(t)["keys"].([]any); len(keys) != 1 {
		t.Errorf("%d certificates are left, not the root alone", len(keys))
	}
	if got := m.Read("certs/search?name=a.example.org").Map(t)["certificates"].([]any); len(got) != 0 {
		t.Errorf("the index still has %v", got)
	}
	m.Write("config/auto-tidy", object{"enabled": false})
	if len(m.Timers()) != 0 {
		t.Errorf("timers are left: %v", m.Timers())
	}
}

func TestTidyCanBeCancelled(t *testing.T) {
	m := newCA(t)
	for i := range 5 {
		issueWeb(t, m, "a"+itoa(int64(i))+".example.org")
	}
	m.Clock.Advance(1000 * time.Hour)
	m.Write("tidy", object{"tidy_cert_store": true, "safety_buffer": "1s", "page_size": 2, "pause_duration": "1m"})
	m.Advance(0)
	if got := m.Write("tidy-cancel", nil).Map(t); got["state"] != "Cancelled" || got["cert_store_deleted_count"].(float64) != 2 {
		t.Errorf("the cancelled tidy is %v", got)
	}
	m.Advance(time.Hour)
	if got := m.List("certs").Map(t)["keys"].([]any); len(got) != 4 {
		t.Errorf("%d certificates are left", len(got))
	}
}

func TestCRLAsPEM(t *testing.T) {
	m := newCA(t)
	block, rest := pem.Decode(m.Read("issuer/r1/crl/pem").Raw.Body)
	if block == nil || block.Type != "X509 CRL" || len(bytes.TrimSpace(rest)) != 0 || !bytes.Equal(block.Bytes, m.Read("issuer/r1/crl/der").Raw.Body) {
		t.Errorf("the list as PEM is %v", block)
	}
}
