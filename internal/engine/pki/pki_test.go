package pki_test

import (
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/engine/pki"
	"github.com/cofferhq/coffer/internal/engine/pki/acme"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

type object = map[string]any

// newMount is an empty mount of the engine.
func newMount(t testing.TB) *enginetest.Mount {
	t.Helper()
	kind := pki.Type(acme.Internet())
	return enginetest.New(t, kind.Routes, kind.New)
}

// newCA is a mount with a root on an EC key, called "r1", and a role "web" for
// names below example.org.
func newCA(t testing.TB) *enginetest.Mount {
	t.Helper()
	m := newMount(t)
	m.Settings.MaxTTL *= 20
	m.Write("root/generate/internal", object{"common_name": "Test Root", "issuer_name": "r1", "key_type": "ec", "ttl": "8000h"})
	m.Write("roles/web", object{"allowed_domains": "example.org", "allow_subdomains": true, "key_type": "ec", "ttl": "24h", "max_ttl": "72h"})
	return m
}

// text is a string member of an answer's data.
func text(t testing.TB, r enginetest.Result, name string) string {
	t.Helper()
	s, ok := r.Map(t)[name].(string)
	if !ok {
		t.Fatalf("the answer has no text %q: %s", name, r.Data)
	}
	return s
}

// parse reads a PEM certificate.
func parse(t testing.TB, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no PEM: %.60s", text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// files writes texts to files of a folder and returns a function that gives
// their paths.
func files(t *testing.T, texts map[string]string) func(name string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return func(name string) string { return filepath.Join(dir, name) }
}

// openssl runs the tool and returns what it prints.
func openssl(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", args...).CombinedOutput()
	return string(out), err
}

func TestOpenSSLVerifiesChains(t *testing.T) {
	for _, kind := range []object{
		{"key_type": "ec", "key_bits": 256}, {"key_type": "ec", "key_bits": 384}, {"key_type": "ec", "key_bits": 521},
		{"key_type": "ed25519"}, {"key_type": "rsa"}, {"key_type": "rsa", "use_pss": true, "signature_bits": 384},
	} {
		t.Run(strings.Trim(strings.ReplaceAll(kind["key_type"].(string), " ", ""), "{}"), func(t *testing.T) {
			m := newMount(t)
			m.Settings.MaxTTL *= 20
			kind["common_name"], kind["ttl"] = "Test Root", "8000h"
			root := text(t, m.Write("root/generate/internal", kind), "certificate")
			inter := newMount(t)
			csr := text(t, inter.Write("intermediate/generate/internal", object{"common_name": "Test Intermediate", "key_type": kind["key_type"]}), "csr")
			signed := m.Write("root/sign-intermediate", object{"csr": csr, "common_name": "Test Intermediate", "ttl": "4000h", "max_path_length": 0, "use_pss": kind["use_pss"], "signature_bits": kind["signature_bits"]})
			inter.Write("intermediate/set-signed", object{"certificate": text(t, signed, "certificate")})
			inter.Write("roles/web", object{"allowed_domains": "example.org", "allow_subdomains": true, "key_type": kind["key_type"], "use_pss": kind["use_pss"]})
			leaf := inter.Write("issue/web", object{"common_name": "www.example.org", "ip_sans": "10.1.2.3", "ttl": "10h"})
			path := files(t, map[string]string{"root": root, "chain": text(t, leaf, "issuing_ca"), "leaf": text(t, leaf, "certificate"), "key": text(t, leaf, "private_key")})
			at := m.Clock.Now().Unix() + 60
			out, err := openssl(t, "verify", "-x509_strict", "-attime", itoa(at), "-CAfile", path("root"), "-untrusted", path("chain"), "-verify_hostname", "www.example.org", "-purpose", "sslserver", path("leaf"))
			if err != nil {
				t.Errorf("openssl verify: %s", out)
			}
			if out, err := openssl(t, "verify", "-attime", itoa(at), "-CAfile", path("root"), path("leaf")); err == nil {
				t.Errorf("a chain with a hole verifies: %s", out)
			}
			public, err := openssl(t, "pkey", "-in", path("key"), "-pubout")
			if err != nil {
				t.Fatalf("openssl pkey: %s", public)
			}
			if certified, err := openssl(t, "x509", "-in", path("leaf"), "-noout", "-pubkey"); err != nil || certified != public {
				t.Errorf("the certificate is for another key: %v\n%s%s", err, certified, public)
			}
		})
	}
}

// serialOf writes a serial number as clients do.
func serialOf(n *big.Int) string {
	var parts []string
	for _, b := range n.Bytes() {
		parts = append(parts, hex.EncodeToString([]byte{b}))
	}
	return strings.Join(parts, ":")
}
