package pki_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"golang.org/x/crypto/ocsp"

	"github.com/cofferhq/coffer/internal/engine/pki"
)

// BenchmarkIssue makes a P-256 key and its certificate; BenchmarkFloor is what
// of it is key generation and the signature, which crypto/x509 also verifies.
func BenchmarkIssue(b *testing.B) {
	m := newCA(b)
	m.Write("roles/unstored", object{"allowed_domains": "example.org", "allow_subdomains": true, "key_type": "ec", "ttl": "24h", "no_store": true})
	for _, role := range []string{"web", "unstored"} {
		b.Run(role, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				m.Write("issue/"+role, `{"common_name":"www.example.org"}`)
			}
		})
	}
}

func BenchmarkSign(b *testing.B) {
	m := newCA(b)
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"www.example.org"}}, newKey(b))
	if err != nil {
		b.Fatal(err)
	}
	body := object{"common_name": "www.example.org", "csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))}
	b.ReportAllocs()
	for b.Loop() {
		m.Write("sign/web", body)
	}
}

func BenchmarkFloor(b *testing.B) {
	m := newCA(b)
	cert := parse(b, text(b, m.Write("issue/web", object{"common_name": "www.example.org"}), "certificate"))
	ca := newKey(b)
	parent := *cert
	parent.PublicKey = &ca.PublicKey
	b.ReportAllocs()
	for b.Loop() {
		key := newKey(b)
		if _, err := x509.CreateCertificate(rand.Reader, cert, &parent, &key.PublicKey, ca); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOCSP(b *testing.B) {
	m := newCA(b)
	cert := parse(b, text(b, m.Write("issue/web", object{"common_name": "www.example.org"}), "certificate"))
	req, err := ocsp.CreateRequest(cert, parse(b, text(b, m.Read("cert/ca"), "certificate")), nil)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		m.Write("ocsp", string(req))
	}
}

// BenchmarkList signs a revocation list of 100,000 entries after each
// revocation.
func BenchmarkList(b *testing.B) {
	m := newCA(b)
	first := m.Write("issue/web", object{"common_name": "www.example.org"})
	if err := pki.Fill(b.Context(), m.Instance.(*pki.Engine), parse(b, text(b, first, "certificate")), 100_000); err != nil {
		b.Fatal(err)
	}
	m.Read("crl")
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		r := m.Write("issue/web", object{"common_name": "www.example.org"})
		m.Write("revoke", object{"serial_number": text(b, r, "serial_number")})
		b.StartTimer()
		m.Read("crl")
	}
}
