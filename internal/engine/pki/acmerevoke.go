package pki

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"strings"

	"github.com/cofferhq/coffer/internal/engine/pki/acme"
	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/store"
)

// acmeRevoke revokes a certificate for the account that ordered it, for an
// account that has proved control of all its names, or for who has its key.
func (e *Engine) acmeRevoke(ctx context.Context, s *signed) (*acmeAnswer, error) {
	var p struct {
		Certificate string `json:"certificate"`
		Reason      int    `json:"reason"`
	}
	if err := s.decode(&p); err != nil {
		return nil, err
	}
	der, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(p.Certificate, "="))
	if err != nil {
		return nil, acme.Errorf(acme.Malformed, "the certificate is not base64url")
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, acme.Errorf(acme.Malformed, "the certificate is malformed")
	}
	if p.Reason < 0 || p.Reason > 10 || p.Reason == 6 || p.Reason == 7 || p.Reason == 8 {
		return nil, acme.Errorf(acme.BadRevocationReason, "the reason must be one of 0 to 5, 9 and 10")
	}
	if s.account == nil {
		if !keypair.Same(cert.PublicKey, s.request.JWK.Key) {
			return nil, acme.Errorf(acme.Unauthorized, "the request is not signed by the certificate's key")
		}
	} else if err := e.mayRevoke(ctx, s, cert); err != nil {
		return nil, err
	}
	known := e.view(ctx, func(r store.Reader) error {
		rec, err := e.cert(r, cert.SerialNumber)
		if err != nil || !bytes.Equal(rec.DER, der) {
			return acme.Errorf(acme.Unauthorized, "the certificate was not made here")
		}
		if _, err = e.revocation(r, rec.Issuer, cert.SerialNumber); err == nil {
			return acme.Errorf(acme.AlreadyRevoked, "the certificate is revoked already")
		}
		return nil
	})
	if known != nil {
		return nil, known
	}
	if _, err := e.revokeCert(ctx, cert, p.Reason); err != nil {
		return nil, err
	}
	return &acmeAnswer{status: 200}, nil
}

func (e *Engine) mayRevoke(ctx context.Context, s *signed, cert *x509.Certificate) error {
	return e.view(ctx, func(r store.Reader) error {
		if rec, err := e.cert(r, cert.SerialNumber); err == nil && rec.Account == s.account.ID && bytes.Equal(rec.DER, cert.Raw) {
			return nil
		}
		open := map[identifier]bool{}
		for _, name := range cert.DNSNames {
			open[identifier{acme.TypeDNS, strings.ToLower(name)}] = true
		}
		for _, ip := range cert.IPAddresses {
			open[identifier{acme.TypeIP, ip.String()}] = true
		}
		refused := acme.Errorf(acme.Unauthorized, "the account has neither ordered the certificate nor proved control of its names")
		if len(open) == 0 || len(cert.EmailAddresses)+len(cert.URIs) > 0 {
			return refused
		}
		for entry, err := range r.Scan(store.Under(e.key(kindACME, "auth", s.account.ID))) {
			if err != nil {
				return err
			}
			a, err := store.GetJSON[authorization](r, entry.Key)
			if err != nil {
				return err
			}
			if a.current(s.call.Now) != statusValid {
				continue
			}
			if a.Wildcard {
				a.Identifier.Value = "*." + a.Identifier.Value
			}
			delete(open, a.Identifier)
		}
		if len(open) > 0 {
			return refused
		}
		return nil
	})
}
