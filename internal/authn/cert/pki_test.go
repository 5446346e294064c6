package cert_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/cofferhq/coffer/internal/authn/cert"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
)

type object = map[string]any

func mount(t testing.TB) *enginetest.Mount {
	t.Helper()
	return enginetest.New(t, cert.Type.Routes, cert.Type.New)
}

// holder is a certificate with its key.
type holder struct {
	*x509.Certificate
	key crypto.Signer
}

func (h *holder) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Raw}))
}

// present is a connection with these certificates; the listener has seen to it
// that the client has the key.
func present(chain ...*holder) *tls.ConnectionState {
	s := &tls.ConnectionState{}
	for _, h := range chain {
		s.PeerCertificates = append(s.PeerCertificates, h.Certificate)
	}
	return s
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// start is when certificates begin to be valid, about when fake clocks begin.
func start() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// issue makes a certificate of a template; by is nil for one that is signed by
// its own key. A key is made unless there is one.
func issue(t testing.TB, by *holder, key crypto.Signer, template x509.Certificate) *holder {
	t.Helper()
	if key == nil {
		key = newKey(t)
	}
	if template.SerialNumber == nil {
		template.SerialNumber = big.NewInt(time.Now().UnixNano())
	}
	if template.NotAfter.IsZero() {
		template.NotBefore, template.NotAfter = start(), start().AddDate(1, 0, 0)
	}
	parent, signer := &template, key
	if by != nil {
		parent, signer = by.Certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &holder{c, key}
}

func authority(t testing.TB, name string, by *holder) *holder {
	t.Helper()
	return issue(t, by, nil, x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
	})
}

// client is a template of a client's certificate.
func client(name string) x509.Certificate {
	u, _ := url.Parse("spiffe://example/" + name)
	ext := func(oid asn1.ObjectIdentifier, text string) pkix.Extension {
		der, _ := asn1.Marshal(text)
		return pkix.Extension{Id: oid, Value: der}
	}
	return x509.Certificate{
		Subject:  pkix.Name{CommonName: name + ".example", OrganizationalUnit: []string{"ops", "dev"}},
		DNSNames: []string{name + ".dns.example"}, EmailAddresses: []string{name + "@example.org"}, URIs: []*url.URL{u},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{ext(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 1}, "blue"), ext(asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 99999, 2}, "x")},
	}
}

// revocationList is a list of an authority in PEM form.
func (h *holder) revocationList(t testing.TB, number int64, due time.Time, revoked ...*holder) string {
	t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: start(), NextUpdate: due}
	for _, r := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: r.SerialNumber, RevocationTime: start()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, h.Certificate, h.key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
}

// responder is an OCSP responder that gives one answer to everything.
type responder struct {
	*httptest.Server
	answer atomic.Pointer[[]byte]
	asked  atomic.Int64
}

func newResponder(t testing.TB) *responder {
	t.Helper()
	r := &responder{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asked.Add(1)
		_, _ = io.Copy(io.Discard, req.Body)
		answer := r.answer.Load()
		if answer == nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/ocsp-response")
		_, _ = w.Write(*answer)
	}))
	t.Cleanup(r.Close)
	return r
}

// says sets the answer: signed by signer, which comes along if it is not the
// issuer.
func (r *responder) says(t testing.TB, issuer, signer *holder, template ocsp.Response) {
	t.Helper()
	if signer != issuer {
		template.Certificate = signer.Certificate
	}
	der, err := ocsp.CreateResponse(issuer.Certificate, signer.Certificate, template, signer.key)
	if err != nil {
		t.Fatal(err)
	}
	r.answer.Store(&der)
}
