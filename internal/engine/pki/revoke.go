package pki

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// revocation is a revoked certificate as it is stored: one row each, under the
// issuer.
type revocation struct {
	Issuer   string    `json:"i"`
	At       time.Time `json:"t"`
	NotAfter int64     `json:"n"`
	// DER is the certificate if there is no record of it.
	DER []byte `json:"c,omitempty"`
	// Reason is a code of RFC 5280, section 5.3.1; 0 is unspecified.
	Reason int `json:"r,omitempty"`
}

// grant is the payload of a certificate's lease.
type grant struct{ DER []byte }

type revokeRequest struct {
	Serial      string `json:"serial_number" doc:"Serial number of a stored certificate."`
	Certificate string `json:"certificate" doc:"The certificate as PEM, instead of its serial number."`
}

type revokeWithKeyRequest struct {
	Serial      string      `json:"serial_number" doc:"Serial number of a stored certificate."`
	Certificate string      `json:"certificate" doc:"The certificate as PEM, instead of its serial number."`
	PrivateKey  wire.Secret `json:"private_key" sensitive:"true" doc:"The certificate's private key as PEM."`
}

type revokeResponse struct {
	Time  int64  `json:"revocation_time"`
	Text  string `json:"revocation_time_rfc3339"`
	State string `json:"state"`
}

func (r *revocation) response() *revokeResponse {
	return &revokeResponse{Time: r.At.Unix(), Text: rfc3339(r.At), State: "revoked"}
}

func (e *Engine) revoke(ctx context.Context, c *route.Call, in revokeRequest) (*revokeResponse, error) {
	cert, err := e.toRevoke(ctx, in.Serial, in.Certificate)
	if err != nil {
		return nil, err
	}
	return e.revokeAndTell(ctx, c, cert)
}

// revokeWithKey lets the holder of a private key revoke its certificate.
func (e *Engine) revokeWithKey(ctx context.Context, c *route.Call, in revokeWithKeyRequest) (*revokeResponse, error) {
	cert, err := e.toRevoke(ctx, in.Serial, in.Certificate)
	if err != nil {
		return nil, err
	}
	key, err := keypair.ParsePEM([]byte(in.PrivateKey.Reveal()))
	if err != nil {
		return nil, err
	}
	if !keypair.Same(key.Public(), cert.PublicKey) {
		return nil, fault.New(fault.Invalid, "the private key is not that of the certificate")
	}
	return e.revokeAndTell(ctx, c, cert)
}

func (e *Engine) revokeAndTell(ctx context.Context, c *route.Call, cert *x509.Certificate) (*revokeResponse, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	if !a.crl.AllowExpired && c.Now.After(cert.NotAfter) {
		c.Warn("The certificate has expired: it is not added to the revocation list.")
		return nil, nil //nolint:nilnil // nothing but the warning
	}
	rev, err := e.revokeCert(ctx, cert, 0)
	if err != nil {
		return nil, err
	}
	return rev.response(), nil
}

// toRevoke finds the certificate that a request speaks of.
func (e *Engine) toRevoke(ctx context.Context, text, certificate string) (*x509.Certificate, error) {
	switch {
	case text == "" && certificate == "":
		return nil, fault.New(fault.Invalid, `give "serial_number" or "certificate"`)
	case text != "" && certificate != "":
		return nil, fault.New(fault.Invalid, `give "serial_number" or "certificate", not both`)
	case certificate != "":
		return parseCertPEM(certificate)
	}
	serial, ok := parseSerial(text)
	if !ok {
		return nil, fault.New(fault.Invalid, `field "serial_number": must be pairs of hexadecimal digits between colons`)
	}
	return e.storedCert(ctx, serial)
}

// storedCert returns a certificate that is kept here, or revoked here.
func (e *Engine) storedCert(ctx context.Context, serial *big.Int) (*x509.Certificate, error) {
	var der []byte
	err := e.view(ctx, func(r store.Reader) error {
		rec, err := e.cert(r, serial)
		if err == nil {
			der = rec.DER
			return nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		rev, err := e.revocation(r, "", serial)
		if err == nil && len(rev.DER) > 0 {
			der = rev.DER
			return nil
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && der == nil {
		return nil, fault.Newf(fault.Invalid, "certificate with serial %s not found", serialText(serial))
	}
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("reading certificate %s: malformed", serialText(serial))
	}
	return cert, nil
}

// revocation reads a revocation; [store.ErrNotFound] if there is none. Without
// an issuer all are asked.
func (e *Engine) revocation(r store.Reader, issuer string, serial *big.Int) (*revocation, error) {
	ids := []string{issuer}
	if issuer == "" {
		var err error
		if ids, err = store.Children(r, e.key(kindRevoked), "", 0); err != nil {
			return nil, err
		}
	}
	for _, id := range ids {
		rev, err := store.GetJSON[revocation](r, e.key(kindRevoked, id, serialPart(serial)))
		if err == nil {
			return &rev, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
	}
	return nil, store.ErrNotFound
}

// issuerOf finds the issuer that signed a certificate.
func (a *authority) issuerOf(cert *x509.Certificate) *issuer {
	for _, i := range a.issuers {
		if bytes.Equal(i.cert.RawSubject, cert.RawIssuer) && cert.CheckSignatureFrom(i.cert) == nil {
			return i
		}
	}
	return nil
}

// revokeCert revokes a certificate of one of the mount's issuers. Doing so again
// changes nothing.
func (e *Engine) revokeCert(ctx context.Context, cert *x509.Certificate, reason int) (*revocation, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	i := a.issuerOf(cert)
	if i == nil {
		return nil, fault.New(fault.Invalid, "no issuer of this mount has signed the certificate")
	}
	if bytes.Equal(i.DER, cert.Raw) {
		return nil, fault.New(fault.Invalid, "a root cannot be on its own revocation list: take its usages away, or delete it")
	}
	var rev *revocation
	err = e.update(ctx, func(tx store.Txn) (err error) {
		for _, same := range a.equals(i) {
			if rev, err = e.revocation(tx, same.ID, cert.SerialNumber); !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		rev = &revocation{Issuer: i.ID, At: e.host.Clock.Now(), NotAfter: cert.NotAfter.Unix(), Reason: reason}
		rec, err := e.cert(tx, cert.SerialNumber)
		switch {
		case errors.Is(err, store.ErrNotFound):
			rev.DER = cert.Raw
		case err != nil:
			return err
		case !bytes.Equal(rec.DER, cert.Raw):
			return fault.New(fault.Invalid, "another certificate has this serial number")
		}
		return store.PutJSON(tx, e.key(kindRevoked, i.ID, serialPart(cert.SerialNumber)), rev)
	})
	return rev, err
}

// equals are the issuers with the same name and key: a certificate of one is a
// certificate of all, so they share their revocations.
func (a *authority) equals(i *issuer) []*issuer {
	var list []*issuer
	for _, o := range a.issuers {
		if o == i || bytes.Equal(o.cert.RawSubject, i.cert.RawSubject) && bytes.Equal(o.cert.RawSubjectPublicKeyInfo, i.cert.RawSubjectPublicKeyInfo) {
			list = append(list, o)
		}
	}
	return list
}

// Revoke revokes the certificate of a lease that has ended.
func (e *Engine) Revoke(ctx context.Context, payload []byte) error {
	var g grant
	if json.Unmarshal(payload, &g) != nil {
		return errors.New("decoding lease payload: malformed")
	}
	cert, err := x509.ParseCertificate(g.DER)
	if err != nil {
		return errors.New("decoding lease payload: malformed certificate")
	}
	if !e.host.Clock.Now().Before(cert.NotAfter) {
		return nil // its end has come
	}
	a, err := e.ca(ctx)
	if err != nil {
		return err
	}
	if a.issuerOf(cert) == nil {
		return nil // nobody can sign a list for it any more
	}
	_, err = e.revokeCert(ctx, cert, 0)
	return err
}

// revokeIssuer marks an issuer as revoked: it issues no more, and is on the
// list of its own issuer if that is here.
func (e *Engine) revokeIssuer(ctx context.Context, c *route.Call, in issuerRequest) (*issuerResponse, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	i, err := a.issuer(in.Ref)
	if err != nil {
		return nil, asMissing(err)
	}
	if parent := a.issuerOf(i.cert); parent != nil && parent != i && !i.root {
		if _, err := e.revokeCert(ctx, i.cert, 0); err != nil {
			return nil, err
		}
	}
	var out *issuerResponse
	err = e.update(ctx, func(tx store.Txn) error {
		a, err := e.load(tx)
		if err != nil {
			return err
		}
		i, err := a.issuer(in.Ref)
		if err != nil {
			return asMissing(err)
		}
		if i.Revoked.IsZero() {
			i.Revoked = c.Now
			i.Usage &^= usageIssue
		}
		out = i.response()
		return store.PutJSON(tx, e.key(kindIssuer, i.ID), i.issuerRow)
	})
	return out, err
}

func (e *Engine) listRevoked(ctx context.Context, c *route.Call, _ struct{}) (out route.Keys, err error) {
	err = e.view(ctx, func(r store.Reader) error {
		out.Keys = nil
		for entry, err := range r.Scan(store.Under(e.key(kindRevoked))) {
			if err != nil {
				return err
			}
			out.Keys = append(out.Keys, colons([]byte(entry.Key.Last())))
		}
		return nil
	})
	return out, err
}
