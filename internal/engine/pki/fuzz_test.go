package pki_test

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"

	"golang.org/x/crypto/ocsp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// FuzzOCSP asks about whatever comes: there is always an answer.
func FuzzOCSP(f *testing.F) {
	m := newCA(f)
	root := parse(f, text(f, m.Read("cert/ca"), "certificate"))
	cert := parse(f, text(f, m.Write("issue/web", object{"common_name": "a.example.org"}), "certificate"))
	req, err := ocsp.CreateRequest(cert, root, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(req))
	f.Add("xx")
	f.Add(string(req[:len(req)-1]))
	f.Fuzz(func(t *testing.T, der string) {
		if der == "" {
			return
		}
		a := newCA(t).Call(route.VerbWrite, "ocsp", der)
		if a.Err != nil || a.Raw.Status == 500 {
			t.Errorf("got %v", a.Err)
		}
	})
}

// FuzzImport imports whatever comes: nothing but bad input fails, and no refusal
// repeats the input.
func FuzzImport(f *testing.F) {
	m := newMount(f)
	made := m.Write("root/generate/exported", object{"common_name": "R", "key_type": "ed25519", "ttl": "10h"})
	f.Add(text(f, made, "certificate"))
	f.Add(text(f, made, "private_key"))
	f.Add("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n")
	f.Fuzz(func(t *testing.T, bundle string) {
		r := newMount(t).Call(route.VerbWrite, "issuers/import/bundle", object{"pem_bundle": bundle})
		if r.Err != nil && fault.KindOf(r.Err) != fault.Invalid && fault.KindOf(r.Err) != fault.TooLarge {
			t.Errorf("got %v", r.Err)
		}
		if r.Err != nil && len(bundle) > 40 && strings.Contains(r.Err.Error(), bundle[:40]) {
			t.Errorf("the refusal repeats the input: %v", r.Err)
		}
	})
}

// FuzzSign signs whatever certificate request comes by a role, and checks what
// was signed.
func FuzzSign(f *testing.F) {
	role := object{"allowed_domains": "example.org", "allow_subdomains": true, "key_type": "any", "require_cn": false, "allow_wildcard_certificates": false}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"a.example.org"}}, newKey(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(der)
	f.Fuzz(func(t *testing.T, der []byte) {
		csr := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
		m := newCA(t)
		m.Write("roles/sign", role)
		r := m.Call(route.VerbWrite, "sign/sign", object{"csr": csr})
		if r.Err != nil {
			if fault.KindOf(r.Err) != fault.Invalid {
				t.Errorf("got %v", r.Err)
			}
			return
		}
		cert := parse(t, text(t, r, "certificate"))
		for _, name := range cert.DNSNames {
			if !strings.HasSuffix(name, ".example.org") {
				t.Errorf("signed %q", name)
			}
		}
		if cert.IsCA || len(cert.URIs)+len(cert.EmailAddresses) > 0 {
			t.Errorf("signed %+v", cert)
		}
	})
}

// FuzzCertPath asks for certificates by whatever text.
func FuzzCertPath(f *testing.F) {
	for _, s := range []string{"ca", "00:11", "0f-a1", "zz", strings.Repeat("a", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if name == "" || strings.ContainsAny(name, "/?%") {
			return
		}
		if r := newCA(t).Call(route.VerbRead, "cert/"+name, nil); r.Err != nil && fault.KindOf(r.Err) != fault.NotFound {
			t.Errorf("%q: %v", name, r.Err)
		}
	})
}
