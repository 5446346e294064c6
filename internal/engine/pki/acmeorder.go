package pki

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/engine/pki/acme"
	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/engine/pki/profile"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// identifier is what a certificate is ordered for.
type identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// acmeOrder is an order as it is stored, at ("order", account, id).
type acmeOrder struct {
	ID          string
	Account     string
	Directory   string // prefix
	Status      string
	Identifiers []identifier
	Auths       []string
	Expires     time.Time
	NotBefore   string `json:",omitempty"`
	NotAfter    string `json:",omitempty"`
	Serial      string `json:",omitempty"` // of the certificate
}

// authorization is stored at ("auth", account, id).
type authorization struct {
	ID         string
	Account    string
	Identifier identifier // without "*."
	Wildcard   bool
	Status     string
	Expires    time.Time
	Challenges []challenge
	Orders     []string
}

type challenge struct {
	Type      string
	Token     string
	Status    string
	Validated time.Time     `json:",omitzero"`
	Error     *acme.Problem `json:",omitempty"`
}

const (
	// orderLife is how long an order may take.
	orderLife = 24 * time.Hour
	// maxIdentifiers bounds the names of an order.
	maxIdentifiers = 100
	// maxACMELife is the longest lifetime of a certificate.
	maxACMELife = 90 * 24 * time.Hour
)

type orderJSON struct {
	Authorizations []string     `json:"authorizations"`
	Expires        string       `json:"expires"`
	Finalize       string       `json:"finalize"`
	Identifiers    []identifier `json:"identifiers"`
	Status         string       `json:"status"`
	Certificate    string       `json:"certificate,omitempty"`
	NotBefore      string       `json:"notBefore,omitempty"`
	NotAfter       string       `json:"notAfter,omitempty"`
}

func (s *signed) orderAnswer(status int, o *acmeOrder) *acmeAnswer {
	url := s.base + "/order/" + o.ID
	out := orderJSON{Expires: acmeTime(o.Expires), Finalize: url + "/finalize", Identifiers: o.Identifiers, Status: o.Status, NotBefore: o.NotBefore, NotAfter: o.NotAfter}
	for _, id := range o.Auths {
		out.Authorizations = append(out.Authorizations, s.base+"/authorization/"+id)
	}
	if o.Status == statusValid {
		out.Certificate = url + "/cert"
	}
	return &acmeAnswer{status: status, location: url, body: out}
}

func acmeTime(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// acmeNewOrder takes an order. Names that the directory's role would not let
// into a certificate are refused now.
func (e *Engine) acmeNewOrder(ctx context.Context, s *signed) (*acmeAnswer, error) {
	if err := s.needAccount(); err != nil {
		return nil, err
	}
	var p struct {
		Identifiers []identifier `json:"identifiers"`
		NotBefore   string       `json:"notBefore"`
		NotAfter    string       `json:"notAfter"`
	}
	if err := s.decode(&p); err != nil {
		return nil, err
	}
	list, err := normalIdentifiers(p.Identifiers)
	if err != nil {
		return nil, err
	}
	if err := s.admitNames(list); err != nil {
		return nil, err
	}
	o := &acmeOrder{Account: s.account.ID, Directory: s.prefix, Status: statusPending, Identifiers: list, Expires: s.call.Now.Add(orderLife), NotBefore: p.NotBefore, NotAfter: p.NotAfter}
	if o.ID, err = e.newID(); err != nil {
		return nil, err
	}
	var auths []*authorization
	for _, id := range list {
		a, err := e.newAuthorization(o, id)
		if err != nil {
			return nil, err
		}
		o.Auths = append(o.Auths, a.ID)
		auths = append(auths, a)
	}
	err = e.update(ctx, func(tx store.Txn) error {
		for _, a := range auths {
			if err := store.PutJSON(tx, e.key(kindACME, "auth", a.Account, a.ID), a); err != nil {
				return err
			}
		}
		return store.PutJSON(tx, e.key(kindACME, "order", o.Account, o.ID), o)
	})
	if err != nil {
		return nil, err
	}
	return s.orderAnswer(201, o), nil
}

// normalIdentifiers gives identifiers their one spelling.
func normalIdentifiers(list []identifier) ([]identifier, error) {
	if len(list) > maxIdentifiers {
		return nil, acme.Errorf(acme.Malformed, "an order has at most %d identifiers", maxIdentifiers)
	}
	var out []identifier
	for _, id := range list {
		switch id.Type {
		case acme.TypeDNS:
			id.Value = strings.ToLower(strings.TrimSuffix(id.Value, "."))
			if _, err := netip.ParseAddr(id.Value); err == nil || !profile.ValidDNSName(id.Value) {
				return nil, acme.Errorf(acme.RejectedIdentifier, "%q is no DNS name", bounded(id.Value))
			}
		case acme.TypeIP:
			ip, err := netip.ParseAddr(id.Value)
			if err != nil || ip.Zone() != "" {
				return nil, acme.Errorf(acme.RejectedIdentifier, "%q is no IP address", bounded(id.Value))
			}
			id.Value = ip.Unmap().String()
		default:
			return nil, acme.Errorf(acme.UnsupportedIdentifier, "identifiers are of type dns or ip")
		}
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out, nil
}

func bounded(s string) string {
	if len(s) > 128 {
		return s[:128] + "…"
	}
	return s
}

// requestFor is a request for a certificate with exactly these names.
func requestFor(list []identifier) *profile.Request {
	q := &profile.Request{ExcludeCN: true}
	for _, id := range list {
		if id.Type == acme.TypeIP {
			q.IPs = append(q.IPs, id.Value)
		} else {
			q.AltNames = append(q.AltNames, id.Value)
		}
	}
	return q
}

// admitNames asks the directory's role about the names.
func (s *signed) admitNames(list []identifier) error {
	err := s.rules.Admits(requestFor(list), profile.Env{Now: s.call.Now})
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Invalid {
		return acme.Errorf(acme.RejectedIdentifier, "%s", f.Msg)
	}
	return err
}

func (e *Engine) newAuthorization(o *acmeOrder, id identifier) (*authorization, error) {
	a := &authorization{Account: o.Account, Identifier: id, Status: statusPending, Expires: o.Expires, Orders: []string{o.ID}}
	if base, ok := strings.CutPrefix(id.Value, "*."); ok {
		a.Wildcard, a.Identifier.Value = true, base
	}
	var err error
	if a.ID, err = e.newID(); err != nil {
		return nil, err
	}
	for _, kind := range acme.ChallengeTypes(id.Type, a.Wildcard) {
		token := make([]byte, 32)
		if _, err := io.ReadFull(e.host.Rand, token); err != nil {
			return nil, err
		}
		a.Challenges = append(a.Challenges, challenge{Type: kind, Token: base64.RawURLEncoding.EncodeToString(token), Status: statusPending})
	}
	return a, nil
}

// order reads one of the caller's orders, in the state that it has by now.
func (e *Engine) orderOf(r store.Reader, s *signed) (*acmeOrder, error) {
	o, err := store.GetJSON[acmeOrder](r, e.key(kindACME, "order", s.account.ID, s.call.Param("order_id")))
	if errors.Is(err, store.ErrNotFound) || err == nil && o.Directory != s.prefix {
		return nil, acme.Errorf(acme.Malformed, "there is no such order")
	}
	if err != nil {
		return nil, err
	}
	if o.Status != statusPending {
		return &o, nil
	}
	if !s.call.Now.Before(o.Expires) {
		o.Status = statusInvalid
		return &o, nil
	}
	o.Status = statusReady
	for _, id := range o.Auths {
		a, err := e.authorization(r, s, id)
		if err != nil {
			return nil, err
		}
		switch a.Status {
		case statusValid:
		case statusPending:
			if o.Status == statusReady {
				o.Status = statusPending
			}
		default:
			o.Status = statusInvalid
		}
	}
	return &o, nil
}

func (e *Engine) acmeOrder(ctx context.Context, s *signed) (*acmeAnswer, error) {
	if err := s.needAccount(); err != nil {
		return nil, err
	}
	var o *acmeOrder
	err := e.view(ctx, func(r store.Reader) (err error) {
		o, err = e.orderOf(r, s)
		return err
	})
	if err != nil {
		return nil, err
	}
	return s.orderAnswer(200, o), nil
}

// acmeFinalize has the certificate of an order issued.
func (e *Engine) acmeFinalize(ctx context.Context, s *signed) (*acmeAnswer, error) {
	if err := s.needAccount(); err != nil {
		return nil, err
	}
	var p struct {
		CSR string `json:"csr"`
	}
	if err := s.decode(&p); err != nil {
		return nil, err
	}
	der, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(p.CSR, "="))
	if err != nil {
		return nil, acme.Errorf(acme.BadCSR, "the certificate request is not base64url")
	}
	csr, err := parseCSRDER(der)
	if err != nil {
		return nil, acme.Errorf(acme.BadCSR, "the certificate request is malformed, or its signature is invalid")
	}
	var o *acmeOrder
	if err := e.view(ctx, func(r store.Reader) (err error) {
		o, err = e.orderOf(r, s)
		return err
	}); err != nil {
		return nil, err
	}
	if o.Status != statusReady {
		return nil, acme.Errorf(acme.OrderNotReady, "the order is %s, not ready", o.Status)
	}
	if len(o.Identifiers) == 0 {
		return nil, acme.Errorf(acme.OrderNotReady, "the order has no identifiers")
	}
	if err := matchCSR(csr, o.Identifiers); err != nil {
		return nil, err
	}
	cert, err := e.produceACME(ctx, s, o, csr)
	if err != nil {
		return nil, err
	}
	err = e.update(ctx, func(tx store.Txn) error {
		now, err := e.orderOf(tx, s)
		if err != nil {
			return err
		}
		if now.Status != statusReady {
			return acme.Errorf(acme.OrderNotReady, "the order is %s, not ready", now.Status)
		}
		now.Status, now.Serial = statusValid, cert.serial
		o = now
		rec := &record{DER: cert.der, Issuer: cert.from.ID, Role: s.role, NotAfter: cert.t.NotAfter.Unix(), Issued: s.call.Now.Unix(), Source: "acme", by: by{Account: s.account.ID, Display: s.account.External}}
		if err := e.storeCert(tx, rec, cert.t); err != nil {
			return err
		}
		return store.PutJSON(tx, e.key(kindACME, "order", o.Account, o.ID), o)
	})
	if err != nil {
		return nil, err
	}
	return s.orderAnswer(200, o), nil
}

// matchCSR refuses a request whose names are not exactly those of the order.
// Kinds of names that an order cannot have are refused too, although nothing
// of the request but its key gets into the certificate.
func matchCSR(csr *x509.CertificateRequest, want []identifier) error {
	if len(csr.EmailAddresses)+len(csr.URIs) > 0 || profile.HasOtherNames(csr) {
		return acme.Errorf(acme.BadCSR, "the certificate request has names that are neither DNS names nor addresses")
	}
	var got []identifier
	add := func(id identifier) error {
		list, err := normalIdentifiers([]identifier{id})
		if err != nil {
			return acme.Errorf(acme.BadCSR, "the certificate request has a name that is not of the order")
		}
		if !slices.Contains(got, list[0]) {
			got = append(got, list[0])
		}
		return nil
	}
	for _, name := range csr.DNSNames {
		if err := add(identifier{acme.TypeDNS, name}); err != nil {
			return err
		}
	}
	for _, ip := range csr.IPAddresses {
		if err := add(identifier{acme.TypeIP, ip.String()}); err != nil {
			return err
		}
	}
	if cn := csr.Subject.CommonName; cn != "" {
		kind := acme.TypeDNS
		if _, err := netip.ParseAddr(cn); err == nil {
			kind = acme.TypeIP
		}
		if err := add(identifier{kind, cn}); err != nil {
			return err
		}
	}
	if len(got) != len(want) || slices.ContainsFunc(want, func(id identifier) bool { return !slices.Contains(got, id) }) {
		return acme.Errorf(acme.BadCSR, "the names of the certificate request are not those of the order")
	}
	return nil
}

// produceACME builds and signs the certificate of an order: the names are the
// order's, the key is the request's.
func (e *Engine) produceACME(ctx context.Context, s *signed, o *acmeOrder, csr *x509.CertificateRequest) (*certificate, error) {
	if keypair.Same(csr.PublicKey, s.account.Key.Key) {
		return nil, acme.Errorf(acme.BadCSR, "the certificate's key must not be the account's")
	}
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	i, err := a.signer(s.issuer, usageIssue)
	if err != nil {
		return nil, err
	}
	env := env(s.call)
	env.MaxTTL = min(env.MaxTTL, maxACMELife)
	q := requestFor(o.Identifiers)
	q.NotBefore, q.NotAfter = o.NotBefore, o.NotAfter
	if cn := csr.Subject.CommonName; cn != "" && len(cn) <= 64 {
		q.CommonName = strings.ToLower(cn)
	}
	t, err := s.rules.Build(q, csr.PublicKey, env)
	if err != nil {
		var f *fault.Error
		if errors.As(err, &f) && f.Kind == fault.Invalid {
			return nil, acme.Errorf(acme.BadCSR, "%s", f.Msg)
		}
		return nil, err
	}
	if t.NotAfter.After(i.cert.NotAfter) && i.Leaf == leafErr {
		t.NotAfter = i.cert.NotAfter // the client has not chosen it
	}
	return e.sign(a, i, t.Certificate, signing{s.rules.SignatureBits, s.rules.UsePSS})
}

// acmeCert answers the certificate of an order with its chain.
func (e *Engine) acmeCert(ctx context.Context, s *signed) (*acmeAnswer, error) {
	if err := s.needAccount(); err != nil {
		return nil, err
	}
	ca, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	var rec *record
	err = e.view(ctx, func(r store.Reader) error {
		o, err := e.orderOf(r, s)
		if err != nil {
			return err
		}
		serial, ok := parseSerial(o.Serial)
		if o.Status != statusValid || !ok {
			return acme.Errorf(acme.OrderNotReady, "the order is %s: there is no certificate", o.Status)
		}
		rec, err = e.cert(r, serial)
		if errors.Is(err, store.ErrNotFound) {
			return acme.Errorf(acme.Malformed, "the certificate is not kept any more")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(certPEM(rec.DER) + "\n")
	if i := ca.byID[rec.Issuer]; i != nil {
		for _, link := range i.chain {
			b.WriteString(link.pem + "\n")
		}
	}
	return &acmeAnswer{raw: b.Bytes(), kind: typePEMChain}, nil
}
