package transit

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"

	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

type csrRequest struct {
	Name    string `path:"name" doc:"Name of the key."`
	Version string `json:"version" default:"latest" doc:"Version to sign with, or latest."`
	CSR     string `json:"csr" doc:"Request in PEM whose subject and extensions are taken over; without it they are empty."`
}

type csrAnswer struct {
	Name string `json:"name"`
	Type string `json:"type"`
	CSR  string `json:"csr"`
}

func (e *Engine) requestCertificate(ctx context.Context, _ *route.Call, in csrRequest) (csrAnswer, error) {
	a := csrAnswer{Name: in.Name}
	k, err := e.use(ctx, in.Name)
	if err != nil {
		return a, err
	}
	a.Type, _ = shownType(k.row.Type)
	if k.row.Derived {
		return a, fault.New(fault.Invalid, "a derived key signs no certificate request")
	}
	n, err := k.row.parseVersion(in.Version)
	if err != nil {
		return a, err
	}
	v, err := e.forNew(ctx, k, n)
	if err != nil {
		return a, err
	}
	signer := v.key.Signer()
	if signer == nil {
		return a, fault.Newf(fault.Invalid, "a key of type %s signs no certificate request, or only its public half is known", k.typ)
	}
	template, err := parseCSR(in.CSR)
	if err != nil {
		return a, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, signer)
	if err != nil {
		return a, fault.Wrap(fault.Invalid, err, "the certificate request could not be made of the one that was given")
	}
	a.CSR = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	return a, nil
}

// parseCSR reads what a request asks for, without its key and signature.
func parseCSR(text string) (*x509.CertificateRequest, error) {
	if text == "" {
		return &x509.CertificateRequest{}, nil
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" {
		return nil, fault.New(fault.Invalid, "the csr must be a certificate request in PEM")
	}
	given, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the csr could not be parsed")
	}
	return &x509.CertificateRequest{RawSubject: given.RawSubject, ExtraExtensions: given.Extensions}, nil
}

type certificateRequest struct {
	Name    string `path:"name" doc:"Name of the key."`
	Version string `json:"version" default:"latest" doc:"Version whose certificate this is, or latest."`
	Chain   string `json:"certificate_chain" doc:"Certificates in PEM, the key's own first."`
}

type certificateAnswer struct {
	Name  string `json:"name"`
	Type  string `json:"type"`
	Chain string `json:"certificate_chain"`
}

var errChain = fault.New(fault.Invalid, "the certificate_chain must be certificates in PEM, each followed by that of its issuer")

func (e *Engine) setCertificate(ctx context.Context, _ *route.Call, in certificateRequest) (certificateAnswer, error) {
	a := certificateAnswer{Name: in.Name}
	certs, err := parseChain(in.Chain)
	if err != nil {
		return a, err
	}
	if len(certs) == 0 {
		return a, errChain
	}
	chain := make([][]byte, len(certs))
	for i, cert := range certs {
		if i > 0 && certs[i-1].CheckSignatureFrom(cert) != nil {
			return a, errChain
		}
		chain[i] = cert.Raw
	}
	err = e.change(ctx, in.Name, func(tx store.Txn, row *keyRow) error {
		t, err := row.typ()
		if err != nil {
			return err
		}
		n, err := row.parseVersion(in.Version)
		if err != nil {
			return err
		}
		v, err := e.version(tx, row.ID, n)
		if err != nil {
			return err
		}
		if err := certifies(certs[0], t, row, &v); err != nil {
			return err
		}
		v.Chain = chain
		a.Type, _ = shownType(row.Type)
		return store.PutJSON(tx, e.versionKey(row.ID, n), v)
	})
	a.Chain = chainText(chain)
	return a, err
}

// parseChain reads the certificates of a PEM text, in order.
func parseChain(text string) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	rest := []byte(text)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return chain, nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" {
			return nil, fault.New(fault.Invalid, "the certificate_chain has something that is not a certificate")
		}
		chain = append(chain, cert)
	}
}

// certifies refuses a certificate of another key.
func certifies(cert *x509.Certificate, t material.Type, row *keyRow, v *versionRow) error {
	if row.Derived || !t.Certifiable() {
		return fault.New(fault.Invalid, "a key of this type, or a derived one, has no certificate")
	}
	k, err := v.parse(t)
	if err != nil {
		return err
	}
	if !k.SamePublic(cert.PublicKey) {
		return fault.New(fault.Invalid, "the first certificate is not for this version of the key")
	}
	return nil
}
