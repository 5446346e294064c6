package clients_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

func TestCertificateAuthority(t *testing.T) {
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.sys("Mount", "ca", in{"type": "pki", "config": in{"max_lease_ttl": "8760h"}}).ok()
		root := c.logical("Write", "ca/root/generate/internal", in{"common_name": "Tour Root", "key_type": "ec", "ttl": "8000h", "issuer_name": "tour"}).text("data|certificate")
		c.logical("List", "ca/issuers").ok()
		c.logical("Read", "ca/issuer/tour").has(in{"data|issuer_name": "tour", "data|usage": "crl-signing,issuing-certificates,ocsp-signing,read-only", "data|manual_chain": nil})
		c.logical("Write", "ca/config/issuers", in{"default": "nobody"}).fails(http.StatusBadRequest, "unable to find PKI issuer")
		c.logical("Write", "ca/config/urls", in{"crl_distribution_points": []string{s.Addr + "/v1/ca/crl"}}).ok()
		c.logical("Write", "ca/roles/web", in{"allowed_domains": []string{"example.org"}, "allow_subdomains": true, "key_type": "ec", "ttl": "24h", "max_ttl": 259200, "generate_lease": true}).ok()
		c.logical("Read", "ca/roles/web").has(in{"data|ttl": 86400, "data|max_ttl": 259200, "data|allowed_domains": []string{"example.org"}, "data|key_bits": 256})
		c.logical("Write", "ca/issue/web", in{"common_name": "evil.org"}).fails(http.StatusBadRequest, "not allowed by this role")

		// What a policy lets in is all there is.
		s.Policy("web", `path "ca/issue/web" { capabilities = ["update"] }`)
		holder := c.as(s.Token("web"))
		issued := holder.logical("Write", "ca/issue/web", in{"common_name": "a.example.org", "ttl": "1h"}).has(in{"lease_duration": seconds{3590, 3601}, "renewable": false, "data|private_key_type": "ec"})
		holder.logical("Write", "ca/sign-verbatim", in{"csr": "x"}).fails(http.StatusForbidden, "permission denied")
		holder.logical("Read", "ca/issuer/tour").fails(http.StatusForbidden, "permission denied")
		if !verifies(t, issued.text("data|certificate"), root, "a.example.org") {
			t.Error("the certificate does not verify")
		}

		serial := issued.text("data|serial_number")
		c.sys("Revoke", issued.text("lease_id")).ok()
		eventually(t, "the lease's end is on the list", func() bool { return listed(t, s, serial) })
		again := c.logical("Write", "ca/issue/web", in{"common_name": "b.example.org"}).text("data|serial_number")
		c.logical("Write", "ca/revoke", in{"serial_number": again}).has(in{"data|state": "revoked"})
		if !listed(t, s, again) {
			t.Error("a revoked certificate is not on the list")
		}
		c.logical("List", "ca/certs/revoked").ok()
		c.logical("Delete", "ca/roles/web").ok()
		c.logical("Write", "ca/issue/web", in{"common_name": "a.example.org"}).fails(http.StatusBadRequest, "unknown role")
	})
}

func verifies(t *testing.T, cert, root, name string) bool {
	t.Helper()
	block, _ := pem.Decode([]byte(cert))
	if block == nil {
		t.Fatalf("no certificate: %.80s", cert)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(root))
	_, err = leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name})
	return err == nil
}

// listed reports whether the mount's public revocation list has a serial number.
func listed(t *testing.T, s *servertest.Server, serial string) bool {
	t.Helper()
	list, err := x509.ParseRevocationList(s.Do(http.MethodGet, "ca/crl", "", nil).Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.RevokedCertificateEntries {
		if e.SerialNumber.Text(16) == strings.TrimLeft(strings.ReplaceAll(serial, ":", ""), "0") {
			return true
		}
	}
	return false
}

// TestCertManager makes the requests of cert-manager's Vault issuer, as they go
// over the wire: it looks whether the server is unsealed, logs in with an
// AppRole, and has certificate requests signed.
func TestCertManager(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	must := func(method, path, token string, body any) servertest.Answer {
		t.Helper()
		a := s.Do(method, path, token, body, "X-Vault-Request", "true")
		if a.Status >= 300 {
			t.Fatalf("%s: %s", path, a)
		}
		return a
	}
	root := servertest.RootToken
	must(http.MethodPost, "sys/mounts/pki_int", root, in{"type": "pki", "config": in{"max_lease_ttl": "8760h"}})
	ca, _ := must(http.MethodPost, "pki_int/root/generate/internal", root, in{"common_name": "Issuer", "key_type": "rsa", "ttl": "8000h"}).Data()["certificate"].(string)
	must(http.MethodPost, "pki_int/roles/cluster", root, in{"allowed_domains": "svc.cluster.local", "allow_subdomains": true, "key_type": "any", "max_ttl": "2160h", "allowed_uri_sans": "spiffe://cluster.local/*", "require_cn": false})
	must(http.MethodPost, "sys/auth/approle", root, in{"type": "approle"})
	s.Policy("cert-manager", `path "pki_int/sign/cluster" { capabilities = ["create", "update"] }`)
	must(http.MethodPost, "auth/approle/role/cm", root, in{"token_policies": "cert-manager"})
	role, _ := must(http.MethodGet, "auth/approle/role/cm/role-id", root, nil).Data()["role_id"].(string)
	secret, _ := must(http.MethodPost, "auth/approle/role/cm/secret-id", root, in{}).Data()["secret_id"].(string)

	if h := must(http.MethodGet, "sys/health", "", nil).JSON(); h["initialized"] != true || h["sealed"] != false {
		t.Fatalf("the server is %v", h)
	}
	auth, _ := must(http.MethodPost, "auth/approle/login", "", map[string]string{"role_id": role, "secret_id": secret}).JSON()["auth"].(map[string]any)
	token, _ := auth["client_token"].(string)

	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"web.default.svc.cluster.local", "web.svc.cluster.local"}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: names[0]}, DNSNames: names}, key)
	if err != nil {
		t.Fatal(err)
	}
	signed := must(http.MethodPost, "pki_int/sign/cluster", token, map[string]string{
		"common_name": names[0], "alt_names": strings.Join(names, ","), "ip_sans": "", "uri_sans": "", "ttl": (90 * 24 * time.Hour).String(),
		"csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), "exclude_cn_from_sans": "true",
	}).Data()
	cert, _ := signed["certificate"].(string)
	if signed["issuing_ca"] != ca || len(signed["ca_chain"].([]any)) != 1 {
		t.Errorf("the answer is %v", signed)
	}
	for _, name := range names {
		if !verifies(t, cert, ca, name) {
			t.Errorf("the certificate is not good for %s", name)
		}
	}
	if a := s.Do(http.MethodPost, "pki_int/sign/cluster", token, in{"csr": "x", "common_name": "x"}); a.Status != http.StatusBadRequest {
		t.Errorf("a broken request: %s", a)
	}
	if a := s.Do(http.MethodPost, "pki_int/issue/cluster", token, in{"common_name": names[0]}); a.Status != http.StatusForbidden {
		t.Errorf("beyond its policy: %s", a)
	}
}
