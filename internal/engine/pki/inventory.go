package pki

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// listCerts lists serial numbers in their order. A page is read by seeking.
func (e *Engine) listCerts(ctx context.Context, c *route.Call, _ struct{}) (out route.Keys, err error) {
	err = e.scanCerts(ctx, c, func(_ store.Reader, serial string, _ []byte) error {
		out.Keys = append(out.Keys, colons([]byte(serial)))
		return nil
	})
	return out, err
}

// scanCerts calls fn for the certificates of a page: those after the serial
// number in the query, as many as its limit says.
func (e *Engine) scanCerts(ctx context.Context, c *route.Call, fn func(r store.Reader, serial string, row []byte) error) error {
	rng := store.Under(e.key(kindCert))
	if after, ok := parseSerial(c.Query.Get("after")); ok {
		rng.Start = store.After(e.key(kindCert, serialPart(after)))
	}
	if n, err := strconv.Atoi(c.Query.Get("limit")); err == nil && n > 0 {
		rng.Limit = n
	}
	return e.view(ctx, func(r store.Reader) error {
		n := 0
		for entry, err := range r.Scan(rng) {
			if err != nil {
				return err
			}
			if err := fn(r, entry.Key.Last(), entry.Value); err != nil {
				return err
			}
			if n++; n == rng.Limit {
				return nil
			}
		}
		return nil
	})
}

// certInfo is what the inventory says of a certificate.
type certInfo struct {
	Serial     string   `json:"serial_number"`
	CommonName string   `json:"common_name"`
	AltNames   []string `json:"alt_names"`
	NotBefore  string   `json:"not_before"`
	NotAfter   string   `json:"not_after"`
	Issued     string   `json:"issued_at"`
	IssuerID   string   `json:"issuer_id"`
	Role       string   `json:"role,omitempty"`
	Source     string   `json:"source"`
	KeyType    string   `json:"key_type"`
	KeyBits    int      `json:"key_bits,omitempty"`
	Revoked    bool     `json:"revoked"`
	RevokedAt  string   `json:"revocation_time_rfc3339,omitempty"`
	Entity     string   `json:"entity_id,omitempty"`
	Accessor   string   `json:"token_accessor,omitempty"`
	Display    string   `json:"display_name,omitempty"`
	Account    string   `json:"acme_account,omitempty"`
}

// info reads what the inventory says of a certificate.
func (e *Engine) info(r store.Reader, serial string, rec *record) (*certInfo, error) {
	out := &certInfo{
		Serial: colons([]byte(serial)), NotAfter: rfc3339(unix(rec.NotAfter)), Issued: rfc3339(unix(rec.Issued)), IssuerID: rec.Issuer, Role: rec.Role, Source: rec.Source,
		Entity: rec.Entity, Accessor: rec.Accessor, Display: rec.Display, Account: rec.Account, AltNames: []string{},
	}
	if cert, err := x509.ParseCertificate(rec.DER); err == nil {
		out.CommonName, out.NotBefore = cert.Subject.CommonName, rfc3339(cert.NotBefore)
		out.AltNames = append(append(out.AltNames, cert.DNSNames...), cert.EmailAddresses...)
		for _, ip := range cert.IPAddresses {
			out.AltNames = append(out.AltNames, ip.String())
		}
		for _, u := range cert.URIs {
			out.AltNames = append(out.AltNames, u.String())
		}
		spec, _ := keypair.Of(cert.PublicKey)
		out.KeyType, out.KeyBits = spec.Type, spec.Bits
	}
	rev, err := e.revocation(r, rec.Issuer, new(big.Int).SetBytes([]byte(serial)))
	switch {
	case err == nil:
		out.Revoked, out.RevokedAt = true, rfc3339(rev.At)
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	return out, nil
}

func (e *Engine) listDetailed(ctx context.Context, c *route.Call, _ struct{}) (out route.Keys, err error) {
	out.Info = map[string]any{}
	err = e.scanCerts(ctx, c, func(r store.Reader, serial string, _ []byte) error {
		rec, err := e.cert(r, new(big.Int).SetBytes([]byte(serial)))
		if err != nil {
			return err
		}
		info, err := e.info(r, serial, rec)
		if err != nil {
			return err
		}
		out.Keys = append(out.Keys, info.Serial)
		out.Info[info.Serial] = info
		return nil
	})
	return out, err
}

type searchRequest struct {
	Name    string `query:"name" doc:"A name of the certificate: a DNS name, email address, IP address or URI; .example.org is everything below it."`
	Role    string `query:"role" doc:"Name of the role."`
	Issuer  string `query:"issuer_ref" doc:"Id or name of the issuer, or default."`
	Entity  string `query:"entity_id" doc:"Entity that asked."`
	Display string `query:"display_name" doc:"Display name of the token that asked."`
	After   string `query:"expires_after" doc:"Earliest end, as a date, or as a duration from now."`
	Before  string `query:"expires_before" doc:"Latest end, as a date, or as a duration from now."`
	Revoked string `query:"revoked" doc:"true for revoked ones alone, false for the others."`
	Limit   int    `query:"limit" default:"100" doc:"Most certificates in one answer, at most 1000."`
	From    string `query:"from" doc:"Where to continue: the last answer's next."`
}

type searchResponse struct {
	Certificates []*certInfo `json:"certificates"`
	// Next continues the search; absent if this is all.
	Next string `json:"next,omitempty"`
}

// maxScanned bounds the index rows that one search looks at. A search that
// meets the bound is continued like one that meets its limit.
const maxScanned = 50_000

// criteria are a search request, understood.
type criteria struct {
	searchRequest
	issuer        string
	after, before int64
	revoked       wire.Opt[bool]
}

func (e *Engine) understand(ctx context.Context, c *route.Call, in searchRequest) (*criteria, error) {
	q := &criteria{searchRequest: in, after: minTime, before: maxTime}
	for _, f := range []struct {
		name, text string
		to         *int64
	}{{"expires_after", in.After, &q.after}, {"expires_before", in.Before, &q.before}} {
		if f.text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, f.text)
		if err != nil {
			d, err := wire.ParseDurationText(f.text)
			if err != nil {
				return nil, fault.Newf(fault.Invalid, "field %q: must be a date such as 2030-01-31T00:00:00Z, or a duration from now", f.name)
			}
			at = c.Now.Add(d)
		}
		*f.to = at.Unix()
	}
	if in.Issuer != "" {
		a, err := e.ca(ctx)
		if err != nil {
			return nil, err
		}
		i, err := a.issuer(in.Issuer)
		if err != nil {
			return nil, err
		}
		q.issuer = i.ID
	}
	if in.Revoked != "" {
		on, err := strconv.ParseBool(in.Revoked)
		if err != nil {
			return nil, fault.New(fault.Invalid, `field "revoked": must be true or false`)
		}
		q.revoked = wire.Some(on)
	}
	if q.Limit <= 0 || q.Limit > 1000 {
		q.Limit = 1000
	}
	return q, nil
}

const (
	minTime = -1 << 62
	maxTime = 1 << 62
)

// searchCerts goes through the index of names, or else of ends.
func (e *Engine) searchCerts(ctx context.Context, c *route.Call, in searchRequest) (*searchResponse, error) {
	q, err := e.understand(ctx, c, in)
	if err != nil {
		return nil, err
	}
	rng, ok := e.searchRange(q)
	if !ok {
		return nil, fault.New(fault.Invalid, `field "from": must be the last answer's next`)
	}
	out := &searchResponse{Certificates: []*certInfo{}}
	err = e.view(ctx, func(r store.Reader) error {
		out.Certificates, out.Next = out.Certificates[:0], ""
		scanned := 0
		for entry, err := range r.Scan(rng) {
			if err != nil {
				return err
			}
			if scanned++; scanned > maxScanned || len(out.Certificates) == q.Limit {
				out.Next = hex.EncodeToString([]byte(entry.Key[len(e.key(kindCert)):]))
				return nil
			}
			info, err := e.match(r, q, entry)
			if err != nil {
				return err
			}
			if info != nil {
				out.Certificates = append(out.Certificates, info)
			}
		}
		return nil
	})
	return out, err
}

// searchRange is where the rows of a search are. The place to continue is a
// key without the mount's part, which is put back here.
func (e *Engine) searchRange(q *criteria) (store.Range, bool) {
	var rng store.Range
	kind := kindName
	switch {
	case strings.HasPrefix(q.Name, "."):
		rng = store.UnderPart(e.key(kindName), indexName(q.Name[1:])+".")
	case q.Name != "":
		rng = store.Under(e.key(kindName, indexName(q.Name)))
	default:
		kind = kindExpiry
		rng = store.Under(e.key(kindExpiry))
		rng.Start = e.key(kindExpiry, expiryPart(q.after))
		rng.End = e.key(kindExpiry, expiryPart(q.before))
	}
	if q.From == "" {
		return rng, true
	}
	tail, err := hex.DecodeString(q.From)
	start := e.key(kind) + store.Key(tail)
	if err != nil || !rng.Contains(start) {
		return rng, false
	}
	rng.Start = start
	return rng, true
}

// match reads the certificate of an index row and reports what is known of it,
// nil if the search is not for it.
func (e *Engine) match(r store.Reader, q *criteria, entry store.Entry) (*certInfo, error) {
	if entry.Key.Kind() == kindExpiry {
		issuer, role, _ := strings.Cut(string(entry.Value), "\n")
		if q.issuer != "" && q.issuer != issuer || q.Role != "" && q.Role != role {
			return nil, nil //nolint:nilnil // it is another one
		}
	}
	serial := entry.Key.Last()
	rec, err := e.cert(r, new(big.Int).SetBytes([]byte(serial)))
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil //nolint:nilnil // its row is gone
	}
	if err != nil {
		return nil, err
	}
	if q.issuer != "" && q.issuer != rec.Issuer || q.Role != "" && q.Role != rec.Role || q.Entity != "" && q.Entity != rec.Entity ||
		q.Display != "" && q.Display != rec.Display || rec.NotAfter < q.after || rec.NotAfter >= q.before {
		return nil, nil //nolint:nilnil // it is another one
	}
	info, err := e.info(r, serial, rec)
	if err != nil || q.revoked.Set && q.revoked.Value != info.Revoked {
		return nil, err
	}
	return info, nil
}

type metadataResponse struct {
	Serial   string `json:"serial_number"`
	IssuerID string `json:"issuer_id"`
	Role     string `json:"role,omitempty"`
	NotAfter string `json:"expiration"`
	Metadata string `json:"cert_metadata"`
}

func (e *Engine) readMetadata(ctx context.Context, _ *route.Call, in certRequest) (*metadataResponse, error) {
	serial, ok := parseSerial(in.Serial)
	if !ok {
		return nil, fault.New(fault.Invalid, "a serial number is pairs of hexadecimal digits between colons or dashes")
	}
	var rec *record
	err := e.view(ctx, func(r store.Reader) (err error) {
		rec, err = e.cert(r, serial)
		return err
	})
	if errors.Is(err, store.ErrNotFound) || err == nil && len(rec.Metadata) == 0 {
		err = errNoCert
	}
	if err != nil {
		return nil, err
	}
	return &metadataResponse{Serial: serialText(serial), IssuerID: rec.Issuer, Role: rec.Role, NotAfter: rfc3339(unix(rec.NotAfter)), Metadata: base64.StdEncoding.EncodeToString(rec.Metadata)}, nil
}
