package pki_test

import (
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine/pki"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store"
)

// certificates is how many the test has in store; one in ten is revoked.
// COFFER_CERTIFICATES=1000000 is the size that is promised.
func certificates(t *testing.T) int {
	text := os.Getenv("COFFER_CERTIFICATES")
	if text == "" {
		return 20_000
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestManyCertificates: with a full store on disk a revocation takes less than
// 20 ms and an OCSP answer less than 5 ms, over HTTP. The median counts: the
// machine has other things to do.
func TestManyCertificates(t *testing.T) {
	s := servertest.New(t, servertest.Options{Dir: t.TempDir()})
	do := func(method, path string, body any) servertest.Answer {
		t.Helper()
		a := s.Do(method, path, servertest.RootToken, body)
		if a.Status >= 300 {
			t.Fatalf("%s: %s", path, a)
		}
		return a
	}
	do(http.MethodPost, "sys/mounts/pki", object{"type": "pki", "config": object{"max_lease_ttl": "8760h"}})
	do(http.MethodPost, "pki/root/generate/internal", object{"common_name": "Root", "key_type": "ec", "ttl": "8000h"})
	do(http.MethodPost, "pki/roles/web", object{"allow_any_name": true, "key_type": "ec"})
	root := parse(t, do(http.MethodGet, "pki/cert/ca", nil).Data()["certificate"].(string))
	first := parse(t, do(http.MethodPost, "pki/issue/web", object{"common_name": "first.example.org"}).Data()["certificate"].(string))
	m, _, _ := s.Gate().Mounts.Resolve(store.RootNamespace, "pki/")
	instance, err := m.Instance()
	if err != nil {
		t.Fatal(err)
	}
	n := certificates(t)
	if err := pki.Fill(t.Context(), instance.(*pki.Engine), first, n); err != nil {
		t.Fatal(err)
	}
	var clk clock.System
	took := func(fn func()) time.Duration {
		began := clk.Now()
		fn()
		return clk.Now().Sub(began)
	}
	t.Logf("the first list of %d took %v", n/10, took(func() { do(http.MethodGet, "pki/crl", nil) }))
	var revoke, answer, list []time.Duration
	for i := range 50 {
		cert := parse(t, do(http.MethodPost, "pki/issue/web", object{"common_name": "a" + itoa(int64(i)) + ".example.org"}).Data()["certificate"].(string))
		req, err := ocsp.CreateRequest(cert, root, nil)
		if err != nil {
			t.Fatal(err)
		}
		revoke = append(revoke, took(func() {
			do(http.MethodPost, "pki/revoke", object{"serial_number": serialOf(cert.SerialNumber)})
		}))
		var got servertest.Answer
		answer = append(answer, took(func() { got = do(http.MethodPost, "pki/ocsp", string(req)) }))
		if r, err := ocsp.ParseResponseForCert(got.Body, cert, root); err != nil || r.Status != ocsp.Revoked {
			t.Fatalf("the answer is %v, %v", r, err)
		}
		list = append(list, took(func() { do(http.MethodGet, "pki/crl", nil) }))
	}
	t.Logf("with %d certificates, %d of them revoked: revocation %v, OCSP %v, list after a revocation %v", n, n/10, median(revoke), median(answer), median(list))
	if d := median(revoke); d > 20*time.Millisecond {
		t.Errorf("a revocation takes %v", d)
	}
	if d := median(answer); d > 5*time.Millisecond {
		t.Errorf("an OCSP answer takes %v", d)
	}
	search := took(func() {
		if got := do(http.MethodGet, "pki/certs/search?name=.example.org&limit=10", nil).Data()["certificates"].([]any); len(got) != 10 {
			t.Errorf("found %d", len(got))
		}
	})
	t.Logf("a search took %v", search)
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}
