package clients_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

func TestOverAUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	open := servertest.Options{Change: func(c *config.Config) {
		c.Listeners[0].Type, c.Listeners[0].Address = "unix", socket
	}}
	tour(t, open, func(t *testing.T, s *servertest.Server, c *client) {
		if want := "unix://" + socket; s.Addr != want {
			t.Fatalf("the server is at %s, want %s", s.Addr, want)
		}
		c.kv(2, "secret", "Put", "app", in{"v": 1}).ok()
		c.kv(2, "secret", "Get", "app").has(in{"Data": in{"v": 1}})
	})
}

func TestOverTLS(t *testing.T) {
	cert, key := certificate(t)
	open := servertest.Options{Change: func(c *config.Config) {
		c.Listeners[0].TLS.Disabled, c.Listeners[0].TLS.CertFile, c.Listeners[0].TLS.KeyFile = false, cert, key
	}}
	t.Setenv("VAULT_CACERT", cert)
	t.Setenv("BAO_CACERT", cert)
	tour(t, open, func(t *testing.T, s *servertest.Server, c *client) {
		c.token("LookupSelf").has(in{"data|policies": []string{"root"}})
	})
}

// certificate makes files of a certificate for loopback that is its own
// authority, and of its key.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0), // always valid
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// A client may insist on reading what it wrote.
func TestReadYourWrites(t *testing.T) {
	tour(t, servertest.Options{Dir: t.TempDir(), Uninitialised: true}, func(t *testing.T, s *servertest.Server, c *client) {
		if c.kind != "vault" {
			t.Skip("this client has no such method")
		}
		c.unsealed(1, 1)
		c.call(c.api, "SetReadYourWrites", true)
		c.sys("Mount", "v1", in{"type": "kv"}).ok()
		for n := range 5 {
			c.kv(1, "v1", "Put", "k", in{"n": n}).ok()
			c.kv(1, "v1", "Get", "k").has(in{"Data": in{"n": n}})
		}
	})
}
