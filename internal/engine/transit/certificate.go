package transit

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"

	"github.com/cofferhq/coffer/internal/engine"
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

type agreeRequest struct {
	Name        string `path:"name" doc:"Name of the key to make."`
	Base        string `json:"base_key_name" doc:"Name of the key of an ecdsa type to agree with."`
	BaseVersion string `json:"base_key_version" default:"latest" doc:"Version of that key, or latest."`
	Type        string `json:"derived_key_type" default:"aes256-gcm96" doc:"Type of the key to make: aes128-gcm96, aes256-gcm96, chacha20-poly1305 or xchacha20-poly1305."`
	Algorithm   string `json:"key_derivation_algorithm" default:"ecdh" doc:"ecdh."`
	Peer        string `json:"peer_public_key" doc:"The other party's public key, PKIX in PEM."`
}

// agreeKey makes a key of the secret that a key and another party's public key
// agree on.
func (e *Engine) agreeKey(ctx context.Context, c *route.Call, in agreeRequest) (*keyAnswer, error) {
	if err := engine.CheckName(in.Name); err != nil {
		return nil, err
	}
	if in.Algorithm != "ecdh" {
		return nil, fault.New(fault.Invalid, `key_derivation_algorithm must be "ecdh"`)
	}
	settings := traits{Type: in.Type}
	row, t, err := settings.newRow(false)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode([]byte(in.Peer))
	if block == nil {
		return nil, fault.New(fault.Invalid, "the peer_public_key must be PEM")
	}
	peer, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the peer_public_key could not be parsed")
	}
	base, err := e.use(ctx, in.Base)
	if err != nil {
		return nil, err
	}
	n, err := base.row.parseVersion(in.BaseVersion)
	if err != nil {
		return nil, err
	}
	v, err := e.forNew(ctx, base, n)
	if err != nil {
		return nil, err
	}
	k, err := v.key.Agree(peer, t)
	if err != nil {
		return nil, err
	}
	first, err := e.newVersion(k, c.Now)
	if err != nil {
		return nil, err
	}
	err = e.update(ctx, func(tx store.Txn) error {
		if exists, err := store.Exists(tx, e.keyKey(in.Name)); err != nil {
			return err
		} else if exists {
			return fault.New(fault.Invalid, "a key of that name exists")
		}
		row := row // a retry begins anew
		if err := e.append(tx, &row, first); err != nil {
			return err
		}
		return e.save(tx, in.Name, &row)
	})
	if err != nil {
		return nil, err
	}
	return e.show(ctx, in.Name)
}
