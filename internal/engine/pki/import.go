package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"

	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

type importRequest struct {
	Bundle wire.Secret `json:"pem_bundle" doc:"Certificates and private keys as PEM, in any order." sensitive:"true"`
}

type setSignedRequest struct {
	Certificate string `json:"certificate" doc:"The signed certificate as PEM, and others of its chain."`
}

type importResponse struct {
	ExistingIssuers []string          `json:"existing_issuers"`
	ExistingKeys    []string          `json:"existing_keys"`
	ImportedIssuers []string          `json:"imported_issuers"`
	ImportedKeys    []string          `json:"imported_keys"`
	Mapping         map[string]string `json:"mapping"`
}

// bundle is what a PEM text holds.
type bundle struct {
	certs []*x509.Certificate
	keys  []crypto.Signer
}

// maxBundle bounds the parts of an import.
const maxBundle = 256

func parseBundle(text string) (*bundle, error) {
	b := &bundle{}
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		switch {
		case len(b.certs)+len(b.keys) >= maxBundle:
			return nil, fault.Newf(fault.Invalid, "a bundle has at most %d certificates and keys", maxBundle)
		case keypair.IsPrivate(block):
			key, err := keypair.ParseDER(block.Bytes)
			if err != nil {
				return nil, err
			}
			b.keys = append(b.keys, key)
		case block.Type == "CERTIFICATE" || block.Type == "TRUSTED CERTIFICATE" || block.Type == "X509 CERTIFICATE":
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fault.New(fault.Invalid, "a certificate of the bundle is malformed")
			}
			if !cert.IsCA || !cert.BasicConstraintsValid {
				return nil, fault.New(fault.Invalid, "a certificate of the bundle is not that of a CA: its basic constraints do not say so")
			}
			if _, ok := keypair.Of(cert.PublicKey); !ok {
				return nil, fault.New(fault.Invalid, "a certificate of the bundle has a key that is neither RSA, ECDSA nor Ed25519")
			}
			b.certs = append(b.certs, cert)
		}
	}
	if len(b.certs)+len(b.keys) == 0 {
		return nil, fault.New(fault.Invalid, "there is no certificate and no private key in the bundle: it must be PEM")
	}
	return b, nil
}

func (e *Engine) importBundle(ctx context.Context, c *route.Call, in importRequest) (*importResponse, error) {
	b, err := parseBundle(in.Bundle.Reveal())
	if err != nil {
		return nil, err
	}
	return e.importAll(ctx, c, b)
}

func (e *Engine) importCerts(ctx context.Context, c *route.Call, in importRequest) (*importResponse, error) {
	b, err := parseBundle(in.Bundle.Reveal())
	if err != nil {
		return nil, err
	}
	if len(b.keys) > 0 {
		return nil, fault.New(fault.Invalid, "private keys are imported at issuers/import/bundle, not here")
	}
	return e.importAll(ctx, c, b)
}

func (e *Engine) setSigned(ctx context.Context, c *route.Call, in setSignedRequest) (*importResponse, error) {
	if in.Certificate == "" {
		return nil, fault.New(fault.Invalid, `field "certificate" is required`)
	}
	b, err := parseBundle(in.Certificate)
	if err != nil {
		return nil, err
	}
	if len(b.keys) > 0 {
		return nil, fault.New(fault.Invalid, "private keys are imported at issuers/import/bundle, not here")
	}
	return e.importAll(ctx, c, b)
}

// importAll stores the parts of a bundle that are not there yet.
func (e *Engine) importAll(ctx context.Context, c *route.Call, b *bundle) (*importResponse, error) {
	var out *importResponse
	var a *authority
	err := e.update(ctx, func(tx store.Txn) (err error) {
		out = &importResponse{Mapping: map[string]string{}}
		if a, err = e.load(tx); err != nil {
			return err
		}
		for _, key := range b.keys {
			if err := e.importOneKey(tx, a, key, out); err != nil {
				return err
			}
		}
		for _, cert := range b.certs {
			if err := e.importOneCert(tx, a, cert, out); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	a.warnURLs(c)
	return out, nil
}

func (e *Engine) importOneKey(tx store.Txn, a *authority, key crypto.Signer, out *importResponse) error {
	if have := a.findKey(key.Public()); have != nil {
		out.ExistingKeys = append(out.ExistingKeys, have.ID)
		return nil
	}
	k, err := e.addKey(tx, a, key, "")
	if err != nil {
		return err
	}
	out.ImportedKeys = append(out.ImportedKeys, k.ID)
	// A certificate that was imported without its key has one from now on.
	for _, i := range a.issuers {
		if i.KeyID == "" && keypair.Same(i.cert.PublicKey, key.Public()) {
			i.KeyID, i.key = k.ID, key
			if err := store.PutJSON(tx, e.key(kindIssuer, i.ID), i.issuerRow); err != nil {
				return err
			}
		}
	}
	return nil
}

func (e *Engine) importOneCert(tx store.Txn, a *authority, cert *x509.Certificate, out *importResponse) error {
	for _, i := range a.issuers {
		if bytes.Equal(i.DER, cert.Raw) {
			out.ExistingIssuers = append(out.ExistingIssuers, i.ID)
			out.Mapping[i.ID] = i.KeyID
			return nil
		}
	}
	row := issuerRow{DER: cert.Raw, Leaf: leafErr, Usage: usageAll}
	if k := a.findKey(cert.PublicKey); k != nil {
		row.KeyID = k.ID
	}
	i, err := e.addIssuer(tx, a, row)
	if err != nil {
		return err
	}
	out.ImportedIssuers = append(out.ImportedIssuers, i.ID)
	out.Mapping[i.ID] = row.KeyID
	return nil
}
