package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"
)

// expirySoon is when a certificate's end becomes worth a warning.
const expirySoon = 30 * 24 * time.Hour

func (x *examiner) listenerTLS(name string, l Listener) {
	name += " TLS"
	if l.TLS.Disabled {
		x.report.warn(name, "the listener is not encrypted", "set tls_cert_file and tls_key_file, or make sure that only a trusted proxy reaches it")
		return
	}
	if l.TLS.CertFile == "" || l.TLS.KeyFile == "" {
		x.report.skip(name, "no certificate is configured")
		return
	}
	x.keyFile(name, l.TLS.KeyFile)
	pair, err := tls.LoadX509KeyPair(l.TLS.CertFile, l.TLS.KeyFile)
	if err != nil {
		x.report.fail(name, pairProblem(err), "check that tls_cert_file and tls_key_file are PEM files that belong together and that this user may read")
		return
	}
	x.report.ok(name+" pair", "certificate and key belong together")
	chain, err := parseChain(pair.Certificate)
	if err != nil {
		x.report.fail(name, "the certificate cannot be parsed", "issue it again")
		return
	}
	x.validity(name, chain)
	x.usage(name, chain)
	x.apiName(name, chain[0])
	if l.TLS.ClientCAFile != "" {
		x.clientCA(name, l.TLS.ClientCAFile)
	}
}

// pairProblem tells what is wrong without repeating the content of a key.
func pairProblem(err error) string {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Error()
	}
	return err.Error()
}

func (x *examiner) keyFile(name, path string) {
	info, err := os.Stat(path)
	if err != nil {
		return // loading the pair reports it
	}
	if info.Mode().Perm()&0o007 != 0 {
		x.report.warn(name+" key", path+" is open to every user of the machine", "set its permissions to 0600")
	}
}

func parseChain(der [][]byte) ([]*x509.Certificate, error) {
	chain := make([]*x509.Certificate, 0, len(der))
	for _, raw := range der {
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return chain, nil
}

// validity checks the dates of every certificate in the file.
func (x *examiner) validity(name string, chain []*x509.Certificate) {
	now := x.now.Now()
	for _, c := range chain {
		label := fmt.Sprintf("%s validity of %q", name, c.Subject.String())
		switch {
		case now.Before(c.NotBefore):
			x.report.fail(label, "not valid before "+date(c.NotBefore), "check the machine's clock, or use another certificate")
		case now.After(c.NotAfter):
			x.report.fail(label, "expired on "+date(c.NotAfter), "renew the certificate")
		case c.NotAfter.Sub(now) < expirySoon:
			x.report.warn(label, fmt.Sprintf("expires on %s, in %d days", date(c.NotAfter), int(c.NotAfter.Sub(now).Hours()/24)), "renew the certificate and send the server SIGHUP")
		default:
			x.report.ok(label, "until %s", date(c.NotAfter))
		}
	}
}

func date(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// usage checks that clients can use the certificate for a server, and that
// the chain leads to a root that this machine or the file itself knows.
func (x *examiner) usage(name string, chain []*x509.Certificate) {
	name += " chain"
	for i, c := range chain[:len(chain)-1] {
		if err := c.CheckSignatureFrom(chain[i+1]); err != nil {
			x.report.fail(name, fmt.Sprintf("certificate %d of the file did not sign certificate %d", i+2, i+1), "put the server's certificate first and each issuer after it")
			return
		}
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	intermediates := x509.NewCertPool()
	for _, c := range chain[1:] {
		intermediates.AddCert(c)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: x.now.Now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case err == nil:
		x.report.ok(name, "trusted by this machine")
	case errors.As(err, &unknown):
		x.report.warn(name, "this machine does not trust the issuer "+fmt.Sprintf("%q", chain[len(chain)-1].Issuer.String()), "clients need the authority's certificate, for example in VAULT_CACERT; intermediate certificates belong into tls_cert_file")
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		x.report.fail(name, "the certificate is not meant for servers", "issue it with the extended key usage serverAuth")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		x.report.skip(name, "not checked: a certificate is not valid today")
	default:
		x.report.warn(name, "the chain cannot be verified: "+err.Error(), "check the certificate and its issuers")
	}
}

// apiName checks that the certificate is for the name that clients are told.
func (x *examiner) apiName(name string, leaf *x509.Certificate) {
	name += " names"
	u, err := url.Parse(x.c.APIAddr)
	switch {
	case x.c.APIAddr == "" || err != nil || u.Hostname() == "":
		x.report.skip(name, "api_addr names no host to compare with")
	case leaf.VerifyHostname(u.Hostname()) != nil:
		x.report.warn(name, fmt.Sprintf("the certificate is not valid for %q, the host of api_addr", u.Hostname()), "issue it with this name as a subject alternative name, or correct api_addr")
	case u.Scheme != "https":
		x.report.warn(name, "api_addr says http, but the listener speaks TLS", "write api_addr with https://")
	default:
		x.report.ok(name, "valid for %q, the host of api_addr", u.Hostname())
	}
}

func (x *examiner) clientCA(name, path string) {
	name += " client CA"
	data, err := readSmallFile(path)
	if err != nil {
		x.report.fail(name, err.Error(), "check tls_client_ca_file")
		return
	}
	count := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		switch {
		case err != nil:
			x.report.fail(name, path+" holds something that is not a certificate", "keep certificates in PEM form only")
			return
		case !c.IsCA:
			x.report.warn(name, fmt.Sprintf("%q is not an authority and verifies only itself", c.Subject.String()), "give the certificate of the authority that issues client certificates")
		case x.now.Now().After(c.NotAfter):
			x.report.fail(name, fmt.Sprintf("%q expired on %s", c.Subject.String(), date(c.NotAfter)), "replace it")
		}
		count++
	}
	if count == 0 {
		x.report.fail(name, path+" holds no certificate", "give a PEM file")
		return
	}
	x.report.ok(name, "%d authorities", count)
}
