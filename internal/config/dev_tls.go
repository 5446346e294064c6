package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// devCertLife is how long generated certificates last: longer than a day's
// work, too short to be used for anything else.
const devCertLife = 30 * 24 * time.Hour

// WriteDevCertificates creates a certificate authority and a certificate for a
// development server, in [DevMode].CertDir or else in a new temporary directory,
// and makes the development listener use them. It returns the path of the
// authority's certificate, which clients have to trust.
func (c *Config) WriteDevCertificates(clk clock.Clock) (caFile string, err error) {
	dir := c.Dev.CertDir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "coffer-dev-tls-"); err != nil {
			return "", fmt.Errorf("creating a directory for certificates: %w", err)
		}
		c.Dev.CertDir = dir
	}
	files, err := devCertificates(clk.Now(), c.devNames())
	if err != nil {
		return "", fmt.Errorf("generating certificates: %w", err)
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return "", fmt.Errorf("writing certificates: %w", err)
		}
	}
	c.Listeners[0].useDevCertificates(dir)
	return filepath.Join(dir, devCAFile), nil
}

func (c *Config) devNames() []string {
	names := append([]string{"localhost", "127.0.0.1", "::1"}, c.Dev.SANs...)
	if host, _, err := net.SplitHostPort(c.Listeners[0].Address); err == nil && host != "" {
		names = append(names, host)
	}
	return names
}

// devCertificates returns PEM files by name.
func devCertificates(now time.Time, names []string) (map[string][]byte, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	ca := devTemplate(now, "Coffer development CA")
	ca.IsCA, ca.BasicConstraintsValid = true, true
	ca.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	leaf := devTemplate(now, "Coffer development server")
	leaf.KeyUsage = x509.KeyUsageDigitalSignature
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
			continue
		}
		leaf.DNSNames = append(leaf.DNSNames, name)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		devCAFile:   pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER}),
		devCertFile: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leafDER}),
		devKeyFile:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

func devTemplate(now time.Time, name string) *x509.Certificate {
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)) // crypto/rand does not fail
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(devCertLife),
	}
}
