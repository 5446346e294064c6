package clients_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	vault "github.com/hashicorp/vault/api"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// selfSigned writes a certificate for servers and clients, with its key.
func selfSigned(t *testing.T, name string) (certFile, keyFile, text string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := clock.System{}.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	text = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for file, b := range map[string][]byte{certFile: []byte(text), keyFile: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(file, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile, text
}

// TestCertLogin logs in over TLS with Vault's Go client.
func TestCertLogin(t *testing.T) {
	serverCert, serverKey, _ := selfSigned(t, "server")
	mine, mineKey, minePEM := selfSigned(t, "me")
	other, otherKey, _ := selfSigned(t, "me")
	s := servertest.New(t, servertest.Options{Change: func(c *config.Config) {
		c.Listeners[0].TLS = config.TLS{CertFile: serverCert, KeyFile: serverKey}
	}})
	open := func(token, certFile, keyFile string) *vault.Client {
		cfg := vault.DefaultConfig()
		cfg.Address, cfg.MaxRetries = s.Addr, 0
		if err := cfg.ConfigureTLS(&vault.TLSConfig{CACert: serverCert, ClientCert: certFile, ClientKey: keyFile}); err != nil {
			t.Fatal(err)
		}
		c, err := vault.NewClient(cfg)
		if err != nil {
			t.Fatal(err)
		}
		c.SetToken(token)
		return c
	}
	root := open(servertest.RootToken, "", "")
	if err := root.Sys().EnableAuthWithOptions("cert", &vault.EnableAuthOptions{Type: "cert"}); err != nil {
		t.Fatal(err)
	}
	if _, err := root.Logical().Write("auth/cert/certs/me", in{"certificate": minePEM, "token_policies": "me", "token_ttl": "10m"}); err != nil {
		t.Fatal(err)
	}
	login, err := open("", mine, mineKey).Logical().Write("auth/cert/login", in{"name": "me"})
	if err != nil || login.Auth == nil || login.Auth.LeaseDuration != 600 {
		t.Fatalf("got %+v, %v", login, err)
	}
	for name, tt := range map[string]struct {
		cert, key string
		want      string // of the error, "" for success
	}{"the same": {mine, mineKey, ""}, "another of the same name": {other, otherKey, "not matching"}, "none": {"", "", "no client certificate"}} {
		_, err := open(login.Auth.ClientToken, tt.cert, tt.key).Auth().Token().RenewSelf(0)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("renewing with %s: %v", name, err)
		}
	}
	if _, err := open("", other, otherKey).Logical().Write("auth/cert/login", in{"name": "me"}); err == nil {
		t.Error("another certificate of the same name logged in")
	}
}
