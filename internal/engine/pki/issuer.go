package pki

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"

	"github.com/cofferhq/coffer/internal/engine/pki/profile"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// usage is what an issuer may be used for.
type usage uint8

const (
	usageRead usage = 1 << iota
	usageIssue
	usageCRL
	usageOCSP

	usageAll = usageRead | usageIssue | usageCRL | usageOCSP
)

var usageNames = []struct {
	bit  usage
	name string
}{{usageCRL, "crl-signing"}, {usageIssue, "issuing-certificates"}, {usageOCSP, "ocsp-signing"}, {usageRead, "read-only"}}

// String lists the names, in order.
func (u usage) String() string {
	var names []string
	for _, n := range usageNames {
		if u&n.bit != 0 {
			names = append(names, n.name)
		}
	}
	return strings.Join(names, ",")
}

func parseUsage(names []string) (usage, error) {
	u := usageRead
	for _, name := range names {
		i := slices.IndexFunc(usageNames, func(n struct {
			bit  usage
			name string
		}) bool {
			return n.name == strings.TrimSpace(name)
		})
		if i < 0 {
			return 0, fault.New(fault.Invalid, "usage holds read-only, issuing-certificates, crl-signing and ocsp-signing")
		}
		u |= usageNames[i].bit
	}
	return u, nil
}

// What happens to a certificate that would end after its issuer.
const (
	leafErr      = "err"
	leafTruncate = "truncate"
	leafPermit   = "permit"
)

type issuerRequest struct {
	Ref string `path:"issuer_ref" doc:"Id or name of the issuer, or default."`
}

type issuerResponse struct {
	ID                  string          `json:"issuer_id"`
	Name                string          `json:"issuer_name"`
	KeyID               string          `json:"key_id"`
	Certificate         string          `json:"certificate"`
	Manual              []string        `json:"manual_chain"`
	Chain               []string        `json:"ca_chain"`
	Leaf                string          `json:"leaf_not_after_behavior"`
	Usage               string          `json:"usage"`
	RevocationAlgorithm string          `json:"revocation_signature_algorithm"`
	Issuing             profile.Strings `json:"issuing_certificates"`
	CRL                 profile.Strings `json:"crl_distribution_points"`
	Delta               profile.Strings `json:"delta_crl_distribution_points"`
	OCSP                profile.Strings `json:"ocsp_servers"`
	Templates           bool            `json:"enable_aia_url_templating,omitempty"`
	Revoked             bool            `json:"revoked"`
	RevocationTime      int64           `json:"revocation_time,omitempty"`
	RevocationText      string          `json:"revocation_time_rfc3339,omitempty"`
}

func (i *issuer) response() *issuerResponse {
	out := &issuerResponse{
		ID: i.ID, Name: i.Name, KeyID: i.KeyID, Certificate: i.pem + "\n", Manual: i.Manual, Leaf: i.Leaf, Usage: i.Usage.String(),
		RevocationAlgorithm: algorithmName(i.RevocationAlgorithm), Issuing: i.URLs.Issuing, CRL: i.URLs.CRL, Delta: i.URLs.Delta, OCSP: i.URLs.OCSP,
		Templates: i.URLs.Templates, Revoked: !i.Revoked.IsZero(),
	}
	for _, link := range i.chain {
		out.Chain = append(out.Chain, link.pem+"\n")
	}
	if out.Revoked {
		out.RevocationTime, out.RevocationText = i.Revoked.Unix(), rfc3339(i.Revoked)
	}
	return out
}

// algorithms are those that revocations can be signed with, by the names of
// Go's constants, and common spellings of them.
var algorithms = map[string]x509.SignatureAlgorithm{
	"SHA256WithRSA": x509.SHA256WithRSA, "SHA384WithRSA": x509.SHA384WithRSA, "SHA512WithRSA": x509.SHA512WithRSA,
	"SHA256WithRSAPSS": x509.SHA256WithRSAPSS, "SHA384WithRSAPSS": x509.SHA384WithRSAPSS, "SHA512WithRSAPSS": x509.SHA512WithRSAPSS,
	"ECDSAWithSHA256": x509.ECDSAWithSHA256, "ECDSAWithSHA384": x509.ECDSAWithSHA384, "ECDSAWithSHA512": x509.ECDSAWithSHA512, "Ed25519": x509.PureEd25519,
}

func algorithmName(a x509.SignatureAlgorithm) string {
	for name, v := range algorithms {
		if v == a {
			return name
		}
	}
	return ""
}

func parseAlgorithm(name string) (x509.SignatureAlgorithm, error) {
	if name == "" {
		return x509.UnknownSignatureAlgorithm, nil
	}
	fold := func(s string) string { return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s)) }
	for known, a := range algorithms {
		if fold(known) == fold(name) || fold(a.String()) == fold(name) {
			return a, nil
		}
	}
	return 0, fault.New(fault.Invalid, "revocation_signature_algorithm must be one such as SHA256WithRSA, ECDSAWithSHA256 or Ed25519")
}

// checkAlgorithm refuses an algorithm that the issuer's key cannot do.
func (i *issuerRow) checkAlgorithm(cert *x509.Certificate) error {
	kind := x509.PublicKeyAlgorithm(0)
	switch a := i.RevocationAlgorithm; {
	case a == x509.UnknownSignatureAlgorithm:
		return nil
	case a == x509.PureEd25519:
		kind = x509.Ed25519
	case strings.HasPrefix(algorithmName(a), "ECDSA"):
		kind = x509.ECDSA
	default:
		kind = x509.RSA
	}
	if kind != cert.PublicKeyAlgorithm {
		return fault.New(fault.Invalid, "revocation_signature_algorithm does not fit the issuer's key")
	}
	return nil
}

func (e *Engine) readIssuer(ctx context.Context, _ *route.Call, in issuerRequest) (*issuerResponse, error) {
	i, err := e.issuerAt(ctx, in.Ref)
	if err != nil {
		return nil, err
	}
	return i.response(), nil
}

// issuerAt returns the issuer that a path names; an unknown one is
// [fault.NotFound].
func (e *Engine) issuerAt(ctx context.Context, ref string) (*issuer, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	i, err := a.issuer(ref)
	return i, asMissing(err)
}

type issuerInfo struct {
	Default bool   `json:"is_default"`
	Name    string `json:"issuer_name"`
	KeyID   string `json:"key_id"`
	Serial  string `json:"serial_number"`
}

func (e *Engine) listIssuers(ctx context.Context, _ *route.Call, _ struct{}) (route.Keys, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return route.Keys{}, err
	}
	out := route.Keys{Info: map[string]any{}}
	for _, i := range a.issuers {
		out.Keys = append(out.Keys, i.ID)
		out.Info[i.ID] = issuerInfo{Default: i.ID == a.issuing.Default, Name: i.Name, KeyID: i.KeyID, Serial: serialText(i.cert.SerialNumber)}
	}
	return out, nil
}

type writeIssuerRequest struct {
	Ref                 string             `path:"issuer_ref" doc:"Id or name of the issuer, or default."`
	Name                wire.Opt[string]   `json:"issuer_name" doc:"Name of the issuer."`
	Leaf                wire.Opt[string]   `json:"leaf_not_after_behavior" doc:"What happens to a certificate that would end after the issuer: err, truncate or permit."`
	Manual              wire.Opt[[]string] `json:"manual_chain" doc:"The chain, as references to issuers, itself first; empty builds it from the certificates here."`
	Usage               wire.Opt[[]string] `json:"usage" doc:"read-only, issuing-certificates, crl-signing, ocsp-signing."`
	RevocationAlgorithm wire.Opt[string]   `json:"revocation_signature_algorithm" doc:"Algorithm that signs lists and OCSP answers; empty is what fits the key."`
	urlsOfIssuer
}

type urlsOfIssuer struct {
	Issuing   wire.Opt[[]string] `json:"issuing_certificates" doc:"URLs of the issuer's certificate, instead of the mount's."`
	CRL       wire.Opt[[]string] `json:"crl_distribution_points" doc:"URLs of its revocation list."`
	Delta     wire.Opt[[]string] `json:"delta_crl_distribution_points" doc:"URLs of its delta list."`
	OCSP      wire.Opt[[]string] `json:"ocsp_servers" doc:"URLs of its OCSP responder."`
	Templates wire.Opt[bool]     `json:"enable_aia_url_templating" doc:"Let the URLs hold {{issuer_id}}, {{cluster_path}} and {{cluster_aia_path}}."`
}

// writeIssuer replaces an issuer's settings: what is not mentioned gets its
// default.
func (e *Engine) writeIssuer(ctx context.Context, c *route.Call, in writeIssuerRequest) (*issuerResponse, error) {
	return e.changeIssuer(ctx, in, true)
}

// patchIssuer changes what is mentioned.
func (e *Engine) patchIssuer(ctx context.Context, c *route.Call, in writeIssuerRequest) (*issuerResponse, error) {
	return e.changeIssuer(ctx, in, false)
}

func (e *Engine) changeIssuer(ctx context.Context, in writeIssuerRequest, whole bool) (*issuerResponse, error) {
	var out *issuerResponse
	err := e.update(ctx, func(tx store.Txn) error {
		a, err := e.load(tx)
		if err != nil {
			return err
		}
		i, err := a.issuer(in.Ref)
		if err != nil {
			return asMissing(err)
		}
		row := i.issuerRow
		if whole {
			row.Name, row.Leaf, row.Manual, row.Usage, row.RevocationAlgorithm, row.URLs = "", leafErr, nil, usageAll, 0, urls{}
		}
		if err := in.into(a, i, &row); err != nil {
			return err
		}
		if err := store.PutJSON(tx, e.key(kindIssuer, row.ID), row); err != nil {
			return err
		}
		if a, err = e.load(tx); err != nil {
			return err
		}
		out = a.byID[row.ID].response()
		return nil
	})
	return out, err
}

func (in *writeIssuerRequest) into(a *authority, i *issuer, row *issuerRow) (err error) {
	in.Name.Into(&row.Name)
	if err := checkName("issuer_name", row.Name); err != nil {
		return err
	}
	if other := a.names[row.Name]; other != nil && other != i || a.byID[row.Name] != nil {
		return fault.Newf(fault.Invalid, "the issuer name %q is in use", row.Name)
	}
	in.Leaf.Into(&row.Leaf)
	if !slices.Contains([]string{leafErr, leafTruncate, leafPermit}, row.Leaf) {
		return fault.New(fault.Invalid, "leaf_not_after_behavior must be err, truncate or permit")
	}
	if in.Usage.Set {
		if row.Usage, err = parseUsage(in.Usage.Value); err != nil {
			return err
		}
	}
	if in.RevocationAlgorithm.Set {
		if row.RevocationAlgorithm, err = parseAlgorithm(in.RevocationAlgorithm.Value); err != nil {
			return err
		}
		if err := row.checkAlgorithm(i.cert); err != nil {
			return err
		}
	}
	if in.Manual.Set {
		if row.Manual, err = a.manualChain(i, in.Manual.Value); err != nil {
			return err
		}
	}
	u := urlsRequest(in.urlsOfIssuer)
	return u.into(&row.URLs)
}

// manualChain resolves the references of a chain. Each certificate must have
// signed the one before it.
func (a *authority) manualChain(i *issuer, refs []string) ([]string, error) {
	var ids []string
	at := i
	for n, ref := range refs {
		link, err := a.issuer(ref)
		if err != nil {
			return nil, err
		}
		if n == 0 && link != i {
			return nil, fault.New(fault.Invalid, "manual_chain begins with the issuer itself")
		}
		if n > 0 && at.cert.CheckSignatureFrom(link.cert) != nil {
			return nil, fault.Newf(fault.Invalid, "manual_chain: %q has not signed the certificate before it", ref)
		}
		ids = append(ids, link.ID)
		at = link
	}
	return ids, nil
}

func (e *Engine) deleteIssuer(ctx context.Context, c *route.Call, in issuerRequest) (*route.Reply, error) {
	warning := ""
	err := e.update(ctx, func(tx store.Txn) error {
		warning = ""
		a, err := e.load(tx)
		if err != nil {
			return err
		}
		i, err := a.issuer(in.Ref)
		if err != nil {
			return nil // it is gone
		}
		if a.issuing.Default == i.ID {
			warning = "The deleted issuer was the default; choose another at config/issuers."
			if err := e.putSetting(tx, "issuers", issuersConfig{Follows: a.issuing.Follows}); err != nil {
				return err
			}
		}
		return tx.Delete(e.key(kindIssuer, i.ID))
	})
	if warning != "" {
		c.Warn(warning)
	}
	return &route.Reply{}, err
}

// deleteRoot removes every issuer and key of the mount.
func (e *Engine) deleteRoot(ctx context.Context, c *route.Call, _ struct{}) (*route.Reply, error) {
	gone := 0
	err := e.update(ctx, func(tx store.Txn) error {
		a, err := e.load(tx)
		if err != nil {
			return err
		}
		gone = len(a.issuers)
		for _, i := range a.issuers {
			if err := tx.Delete(e.key(kindIssuer, i.ID)); err != nil {
				return err
			}
		}
		for _, k := range a.keys {
			if err := tx.Delete(e.key(kindKey, k.ID)); err != nil {
				return err
			}
		}
		if err := e.putSetting(tx, "keys", keysConfig{}); err != nil {
			return err
		}
		return e.putSetting(tx, "issuers", issuersConfig{Follows: a.issuing.Follows})
	})
	if gone > 0 {
		c.Warn("All issuers and keys of the mount are deleted. Certificates that they signed can be revoked no more.")
	}
	return &route.Reply{NoContent: true}, err
}

type issuerJSON struct {
	ID          string   `json:"issuer_id"`
	Name        string   `json:"issuer_name"`
	Certificate string   `json:"certificate"`
	Chain       []string `json:"ca_chain"`
}

func (e *Engine) issuerAsJSON(ctx context.Context, _ *route.Call, in issuerRequest) (*issuerJSON, error) {
	i, err := e.issuerAt(ctx, in.Ref)
	if err != nil {
		return nil, err
	}
	full := i.response()
	return &issuerJSON{ID: full.ID, Name: full.Name, Certificate: full.Certificate, Chain: full.Chain}, nil
}

func (e *Engine) issuerAsPEM(ctx context.Context, c *route.Call, in issuerRequest) (route.Bytes, error) {
	i, err := e.issuerAt(ctx, in.Ref)
	if err != nil {
		return route.Bytes{}, err
	}
	var b strings.Builder
	for _, link := range i.chain {
		b.WriteString(link.pem + "\n")
	}
	return route.Bytes{ContentType: typePEMChain, Body: []byte(b.String())}, nil
}

func (e *Engine) issuerAsDER(ctx context.Context, c *route.Call, in issuerRequest) (route.Bytes, error) {
	i, err := e.issuerAt(ctx, in.Ref)
	if err != nil {
		return route.Bytes{}, err
	}
	return route.Bytes{ContentType: typeCertificate, Body: i.DER}, nil
}

// The media types of answers that are no JSON.
const (
	typePEMChain    = "application/pem-certificate-chain"
	typeCertificate = "application/pkix-cert"
	typeCRL         = "application/pkix-crl"
	typePEM         = "application/x-pem-file"
)
