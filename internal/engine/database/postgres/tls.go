package postgres

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/jackc/pgx/v5"

	"github.com/cofferhq/coffer/internal/engine/database"
	"github.com/cofferhq/coffer/internal/fault"
)

// secure applies the TLS settings that are given as PEM text. With an
// authority the server must prove itself: its certificate must come from there
// and name the host (sslmode=verify-ca leaves out the name), and no connection
// is made without TLS.
func secure(d database.Details, cfg *pgx.ConnConfig, mode string) error {
	ca, err := d.Text("tls_ca")
	if err != nil {
		return err
	}
	cert, err := d.Text("tls_certificate")
	if err != nil {
		return err
	}
	key, err := d.Text("private_key")
	if err != nil {
		return err
	}
	if ca == "" && cert == "" && key == "" {
		return nil
	}
	if mode == "disable" {
		return fault.New(fault.Invalid, "tls_ca and tls_certificate contradict sslmode=disable")
	}
	var roots *x509.CertPool
	if ca != "" {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(ca)) {
			return fault.Newf(fault.Invalid, "field %q: must hold PEM certificates", "tls_ca")
		}
	}
	var own []tls.Certificate
	if cert != "" || key != "" {
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			// The decoder's text could speak of the key: it is not passed on.
			return fault.New(fault.Invalid, "tls_certificate and private_key must be a PEM certificate and its key")
		}
		own = []tls.Certificate{pair}
	}
	requireTLS(cfg)
	if cfg.TLSConfig == nil {
		return fault.New(fault.Invalid, "tls_ca and tls_certificate need a host that is reached over TCP")
	}
	adapt(cfg.TLSConfig, cfg.Host, roots, own, mode)
	for _, f := range cfg.Fallbacks {
		adapt(f.TLSConfig, f.Host, roots, own, mode)
	}
	return nil
}

// requireTLS drops the ways of connecting that have no TLS; pgx keeps one such
// way per host for sslmode=prefer, its default, and for allow.
func requireTLS(cfg *pgx.ConnConfig) {
	kept := cfg.Fallbacks[:0]
	for _, f := range cfg.Fallbacks {
		if f.TLSConfig == nil {
			continue
		}
		if cfg.TLSConfig == nil {
			cfg.Host, cfg.Port, cfg.TLSConfig = f.Host, f.Port, f.TLSConfig
			continue
		}
		kept = append(kept, f)
	}
	cfg.Fallbacks = kept
}

func adapt(c *tls.Config, host string, roots *x509.CertPool, own []tls.Certificate, mode string) {
	c.MinVersion = tls.VersionTLS12
	c.ServerName = host
	if own != nil {
		c.Certificates = own
	}
	if roots == nil {
		return
	}
	c.RootCAs = roots
	c.InsecureSkipVerify = false
	c.VerifyPeerCertificate = nil
	c.VerifyConnection = nil
	if mode == "verify-ca" {
		// Checked below instead, without the name.
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(s tls.ConnectionState) error { return verifyChain(s, roots) }
	}
}

func verifyChain(s tls.ConnectionState, roots *x509.CertPool) error {
	o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := s.PeerCertificates[0].Verify(o)
	return err
}
