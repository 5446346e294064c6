package pki

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// record is a certificate as it is stored, with who asked for it.
type record struct {
	DER      []byte `json:"c"`
	Issuer   string `json:"i"`
	Role     string `json:"r,omitempty"`
	NotAfter int64  `json:"n"`
	Issued   int64  `json:"t"`
	// Source is what made it: "issue", "sign", "sign-verbatim", "acme", "root",
	// "intermediate" or "self-issued".
	Source string `json:"s"`
	// Metadata is what the caller has to say about it.
	Metadata []byte `json:"m,omitempty"`
	by
}

// by is who asked.
type by struct {
	Entity   string `json:"e,omitempty"`
	Accessor string `json:"a,omitempty"`
	Display  string `json:"d,omitempty"`
	Account  string `json:"k,omitempty"` // of ACME
}

func byCall(c *route.Call) by {
	return by{Entity: c.Caller.EntityID, Accessor: c.Caller.Accessor, Display: c.Caller.DisplayName}
}

// maxIndexedNames bounds the index rows of one certificate. A name beyond them
// is in the certificate, but not found by searching.
const maxIndexedNames = 64

// storeCert writes a certificate and its index rows.

func (e *Engine) storeCert(tx store.Txn, rec *record, t *x509.Certificate) error {
	if rec.Issued == 0 {
		rec.Issued = e.host.Clock.Now().Unix()
	}
	row, err := json.Marshal(rec)
	if err != nil {
		return fmt.Errorf("encoding a certificate's record: %w", err)
	}
	serial := serialPart(t.SerialNumber)
	if err := tx.Put(e.key(kindCert, serial), row); err != nil {
		return err
	}
	if err := tx.Put(e.expiryKey(rec.NotAfter, serial), []byte(rec.Issuer+"\n"+rec.Role)); err != nil {
		return err
	}
	for _, name := range indexedNames(t) {
		if err := tx.Put(e.key(kindName, name, serial), nil); err != nil {
			return err
		}
	}
	return nil
}

// dropCert removes a certificate with its index rows. A row that cannot be
// read goes alone.
func (e *Engine) dropCert(tx store.Txn, serial string, rec *record) error {
	if err := tx.Delete(e.key(kindCert, serial)); err != nil {
		return err
	}
	if rec == nil {
		return nil
	}
	if err := tx.Delete(e.expiryKey(rec.NotAfter, serial)); err != nil {
		return err
	}
	cert, err := x509.ParseCertificate(rec.DER)
	if err != nil {
		return nil //nolint:nilerr // without a certificate there are no names to remove
	}
	for _, name := range indexedNames(cert) {
		if err := tx.Delete(e.key(kindName, name, serial)); err != nil {
			return err
		}
	}
	return nil
}

// expiryKey orders certificates by when they end. The bias keeps times before
// 1970 in order.
func (e *Engine) expiryKey(notAfter int64, serial string) store.Key {
	return e.key(kindExpiry, expiryPart(notAfter), serial)
}

func expiryPart(notAfter int64) string { return store.Uint64Part(uint64(notAfter) ^ 1<<63) }

func parseExpiryPart(part string) int64 {
	n, _ := store.ParseUint64Part(part)
	return int64(n ^ 1<<63)
}

// indexedNames are the names by which a certificate is found: its common name
// and alternative names, in lower case, backwards by label, so that all names
// below a domain stand together.
func indexedNames(t *x509.Certificate) []string {
	seen := map[string]bool{}
	var list []string
	add := func(name string) {
		name = indexName(name)
		if name != "" && !seen[name] && len(list) < maxIndexedNames {
			seen[name] = true
			list = append(list, name)
		}
	}
	add(t.Subject.CommonName)
	for _, n := range t.DNSNames {
		add(n)
	}
	for _, n := range t.EmailAddresses {
		add(n)
	}
	for _, ip := range t.IPAddresses {
		add(ip.String())
	}
	for _, u := range t.URIs {
		add(u.String())
	}
	return list
}

func indexName(name string) string {
	name = strings.ToLower(name)
	if len(name) > 512 {
		name = name[:512]
	}
	if strings.ContainsAny(name, ":/@ ") { // no host name: as it is
		return name
	}
	labels := strings.Split(name, ".")
	for i, j := 0, len(labels)-1; i < j; i, j = i+1, j-1 {
		labels[i], labels[j] = labels[j], labels[i]
	}
	return strings.Join(labels, ".")
}

// cert reads a certificate's record; [store.ErrNotFound] if there is none.
func (e *Engine) cert(r store.Reader, serial *big.Int) (*record, error) {
	rec, err := store.GetJSON[record](r, e.key(kindCert, serialPart(serial)))
	if err != nil {
		return nil, err
	}
	return &rec, nil
}

type certRequest struct {
	Serial string `path:"serial" doc:"Serial number as pairs of hexadecimal digits between colons or dashes; or ca, ca_chain, crl, delta-crl."`
}

type certResponse struct {
	Chain          string `json:"ca_chain,omitempty"`
	Certificate    string `json:"certificate"`
	IssuerID       string `json:"issuer_id,omitempty"`
	RevocationTime int64  `json:"revocation_time"`
	RevocationText string `json:"revocation_time_rfc3339"`
}

var errNoCert = fault.New(fault.NotFound, "")

func (e *Engine) readCert(ctx context.Context, _ *route.Call, in certRequest) (*certResponse, error) {
	out, _, err := e.lookup(ctx, in.Serial)
	return out, err
}

// lookup finds what a path under cert/ names.
func (e *Engine) lookup(ctx context.Context, name string) (*certResponse, []byte, error) {
	switch name {
	case "ca", "ca_chain":
		a, err := e.ca(ctx)
		if err != nil {
			return nil, nil, err
		}
		i, err := a.issuer(refDefault)
		if err != nil {
			return nil, nil, err
		}
		if name == "ca" {
			return &certResponse{Certificate: i.pem}, i.DER, nil
		}
		chain := strings.Join(chainText(i.chain, formatPEM, false), "\n")
		return &certResponse{Certificate: chain, Chain: chain}, nil, nil
	case "crl", "delta-crl":
		list, err := e.list(ctx, refDefault, name == "delta-crl")
		if err != nil {
			return nil, nil, err
		}
		return &certResponse{Certificate: list.pem()}, list.der, nil
	}
	serial, ok := parseSerial(name)
	if !ok {
		return nil, nil, fault.New(fault.NotFound, "unsupported path")
	}
	out := &certResponse{}
	var der []byte
	err := e.view(ctx, func(r store.Reader) error {
		rec, err := e.cert(r, serial)
		if err == nil {
			der = rec.DER
		}
		issuer := ""
		if rec != nil {
			issuer = rec.Issuer
		}
		rev, rerr := e.revocation(r, issuer, serial)
		switch {
		case rerr == nil:
			out.IssuerID, out.RevocationTime, out.RevocationText = rev.Issuer, rev.At.Unix(), rfc3339(rev.At)
			if err != nil {
				der, err = rev.DER, nil
			}
		case !errors.Is(rerr, store.ErrNotFound):
			return rerr
		}
		if err == nil && der == nil {
			err = store.ErrNotFound
		}
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = errNoCert
	}
	if err != nil {
		return nil, nil, err
	}
	out.Certificate = certPEM(der)
	return out, der, nil
}

func (e *Engine) rawCert(ctx context.Context, _ *route.Call, in certRequest) (route.Bytes, error) {
	out, der, err := e.lookup(ctx, in.Serial)
	switch {
	case err != nil:
		return route.Bytes{}, err
	case in.Serial == "crl" || in.Serial == "delta-crl":
		return route.Bytes{ContentType: typeCRL, Body: der}, nil
	case der == nil:
		return route.Bytes{ContentType: typeCertificate, Body: []byte(out.Certificate)}, nil
	}
	return route.Bytes{ContentType: typeCertificate, Body: der}, nil
}

func (e *Engine) rawCertPEM(ctx context.Context, _ *route.Call, in certRequest) (route.Bytes, error) {
	out, _, err := e.lookup(ctx, in.Serial)
	if err != nil {
		return route.Bytes{}, err
	}
	return route.Bytes{ContentType: typePEMChain, Body: []byte(out.Certificate)}, nil
}

// caRaw answers the default issuer's certificate, or 204 while there is none.
func (e *Engine) caRaw(ctx context.Context, c *route.Call, _ struct{}) (route.Bytes, error) {
	return e.caBytes(ctx, c, typeCertificate, func(i *issuer) []byte { return i.DER })
}

func (e *Engine) caPEM(ctx context.Context, c *route.Call, _ struct{}) (route.Bytes, error) {
	return e.caBytes(ctx, c, typePEMChain, func(i *issuer) []byte { return []byte(i.pem) })
}

func (e *Engine) caChain(ctx context.Context, c *route.Call, _ struct{}) (route.Bytes, error) {
	return e.caBytes(ctx, c, typeCertificate, func(i *issuer) []byte {
		return []byte(strings.Join(chainText(i.chain, formatPEM, false), "\n"))
	})
}

func (e *Engine) caBytes(ctx context.Context, c *route.Call, kind string, body func(*issuer) []byte) (route.Bytes, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return route.Bytes{}, err
	}
	i, err := a.issuer(refDefault)
	if err != nil {
		return route.Bytes{}, nil //nolint:nilerr // no content, as clients know it
	}
	if unmodified(c, time.Unix(0, i.Made)) {
		return notModified, nil
	}
	return route.Bytes{ContentType: kind, Body: body(i), Header: map[string]string{"Last-Modified": httpTime(time.Unix(0, i.Made))}}, nil
}

// notModified answers a client that has it already (RFC 9110, section 15.4.5).
var notModified = route.Bytes{Status: 304}

const httpLayout = "Mon, 02 Jan 2006 15:04:05 GMT"

func httpTime(t time.Time) string { return t.UTC().Format(httpLayout) }

// unmodified reports whether the client has what there is since t. The header
// reaches the handler only if the mount passes it on.
func unmodified(c *route.Call, t time.Time) bool {
	since, err := time.Parse(httpLayout, c.Header("If-Modified-Since"))
	return err == nil && !t.Truncate(time.Second).After(since)
}

// parseCertPEM reads one certificate.
func parseCertPEM(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(strings.TrimSpace(text)))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, fault.New(fault.Invalid, `field "certificate": must be a certificate as PEM`)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Invalid, `field "certificate": is malformed`)
	}
	return cert, nil
}
