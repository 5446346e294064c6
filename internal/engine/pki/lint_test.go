package pki_test

import (
	"encoding/pem"
	"testing"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"
)

// TestIssuedCertificatesAreCleanUnderZLint lints roots, intermediates and leaves
// of every kind of key, with the lints of RFC 5280 and the CA/Browser Forum. The
// forum warns of common names and wants policies: these are the role's to set.
func TestIssuedCertificatesAreCleanUnderZLint(t *testing.T) {
	rfc5280, err := lint.GlobalRegistry().Filter(lint.FilterOptions{IncludeSources: lint.SourceList{lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.Community}})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{"ec", "rsa", "ed25519"} {
		registry := lint.GlobalRegistry()
		if kind == "ed25519" {
			registry = rfc5280 // the forum does not know the algorithm
		}
		ca := newMount(t)
		ca.Settings.MaxTTL *= 20
		subject := object{"common_name": "Example Root", "organization": "Example", "country": "DE", "key_type": kind, "ttl": "8000h"}
		urls := object{"issuing_certificates": "http://ca.example.org/ca", "crl_distribution_points": "http://ca.example.org/crl", "ocsp_servers": "http://ca.example.org/ocsp"}
		ca.Write("config/urls", urls)
		certs := map[string]string{"root": text(t, ca.Write("root/generate/internal", subject), "certificate")}
		m := newMount(t)
		m.Settings.MaxTTL *= 20
		m.Write("config/urls", urls)
		subject["common_name"] = "Example Intermediate"
		csr := text(t, m.Write("intermediate/generate/internal", subject), "csr")
		subject["csr"], subject["ttl"], subject["max_path_length"], subject["ext_key_usage"] = csr, "4000h", 0, "ServerAuth,ClientAuth"
		subject["policy_identifiers"] = "2.23.140.1.2.1"
		certs["intermediate"] = text(t, ca.Write("root/sign-intermediate", subject), "certificate")
		m.Write("intermediate/set-signed", object{"certificate": certs["intermediate"]})
		m.Write("roles/tls", object{"allowed_domains": "example.org", "allow_subdomains": true, "key_type": kind, "ttl": "2000h", "policy_identifiers": "2.23.140.1.2.1", "key_usage": "DigitalSignature", "require_cn": false})
		certs["leaf"] = text(t, m.Write("issue/tls", object{"alt_names": "www.example.org,api.example.org"}), "certificate")
		m.Write("roles/client", object{"allow_any_name": true, "key_type": kind, "ttl": "20h", "server_flag": false, "key_usage": "DigitalSignature"})
		certs["client"] = text(t, m.Write("issue/client", object{"common_name": "ann@example.org"}), "certificate")
		for name, text := range certs {
			block, _ := pem.Decode([]byte(text))
			cert, err := zx509.ParseCertificate(block.Bytes)
			if err != nil {
				t.Fatal(err)
			}
			for lintName, result := range zlint.LintCertificateEx(cert, registry).Results {
				if result.Status > lint.Notice {
					t.Errorf("%s %s: %s: %s %s", kind, name, lintName, result.Status, result.Details)
				}
			}
		}
	}
}
