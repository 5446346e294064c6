package pki

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/engine/pki/profile"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// leafFields are what requests for certificates have in common.
type leafFields struct {
	CommonName   string        `json:"common_name" doc:"Common name."`
	AltNames     []string      `json:"alt_names" doc:"DNS names and email addresses."`
	IPs          []string      `json:"ip_sans" doc:"IP addresses."`
	URIs         []string      `json:"uri_sans" doc:"URIs."`
	OtherNames   []string      `json:"other_sans" doc:"Names such as 1.3.6.1.4.1.311.20.2.3;UTF8:user@example.org."`
	UserIDs      []string      `json:"user_ids" doc:"User ids of the subject."`
	SerialNumber string        `json:"serial_number" doc:"serialNumber attribute of the subject."`
	ExcludeCN    bool          `json:"exclude_cn_from_sans" doc:"Keep the common name out of the alternative names."`
	TTL          wire.Duration `json:"ttl" doc:"Lifetime; the role's if not given."`
	NotBefore    string        `json:"not_before" doc:"Begin of the validity, as a date."`
	NotAfter     string        `json:"not_after" doc:"End of the validity, as a date, instead of ttl."`
	Format       string        `json:"format" default:"pem" doc:"pem, der or pem_bundle."`
	KeyFormat    string        `json:"private_key_format" doc:"der for the key's own encoding, or pkcs8."`
	NoRoots      bool          `json:"remove_roots_from_chain" doc:"Leave root certificates out of ca_chain."`
	Metadata     string        `json:"cert_metadata" doc:"Base64 of data to keep with the certificate, at most 16 KiB."`
}

// maxMetadata is the longest metadata of a certificate, in bytes.
const maxMetadata = 16 << 10

func (f *leafFields) request() *profile.Request {
	return &profile.Request{
		CommonName: f.CommonName, AltNames: f.AltNames, IPs: f.IPs, URIs: f.URIs, OtherNames: f.OtherNames, UserIDs: f.UserIDs, SerialNumber: f.SerialNumber,
		ExcludeCN: f.ExcludeCN, TTL: f.TTL.D(), NotBefore: f.NotBefore, NotAfter: f.NotAfter,
	}
}

func (f *leafFields) check() error {
	if err := checkFormat(f.Format); err != nil {
		return err
	}
	return checkKeyFormat(f.KeyFormat)
}

type issueFields struct {
	Role string `path:"role" doc:"Name of the role."`
	leafFields
	KeyType string `json:"key_type" doc:"With a role of key_type any: rsa, ec or ed25519."`
	KeyBits int    `json:"key_bits" doc:"With a role of key_type any: size of the key."`
}

type issueRequest struct {
	issueFields
	IssuerRef string `json:"issuer_ref" doc:"The role's issuer, or default. Another one is chosen by the path."`
}

type issueAtRequest struct {
	issueFields
	IssuerRef string `path:"issuer_ref" doc:"Id or name of the issuer, or default."`
}

type signFields struct {
	leafFields
	CSR string `json:"csr" doc:"Certificate request as PEM."`
}

type signRequest struct {
	Role string `path:"role" doc:"Name of the role."`
	signFields
	IssuerRef string `json:"issuer_ref" doc:"The role's issuer, or default. Another one is chosen by the path."`
}

type signAtRequest struct {
	Role string `path:"role" doc:"Name of the role."`
	signFields
	IssuerRef string `path:"issuer_ref" doc:"Id or name of the issuer, or default."`
}

// verbatimFields are what the caller of sign-verbatim decides himself.
type verbatimFields struct {
	signFields
	KeyUsage         wire.Opt[[]string] `json:"key_usage" doc:"Key usages: DigitalSignature, KeyAgreement, KeyEncipherment if not given."`
	ExtKeyUsage      wire.Opt[[]string] `json:"ext_key_usage" doc:"Extended key usages."`
	ExtKeyUsageOIDs  wire.Opt[[]string] `json:"ext_key_usage_oids" doc:"Extended key usages as object identifiers."`
	SignatureBits    wire.Opt[int]      `json:"signature_bits" doc:"Bits of the hash: 256, 384 or 512; 0 is what fits the key."`
	UsePSS           wire.Opt[bool]     `json:"use_pss" doc:"Sign with RSA-PSS if the issuer's key is RSA."`
	BasicConstraints wire.Opt[bool]     `json:"basic_constraints_valid_for_non_ca" doc:"Write the basic constraints extension."`
}

type verbatimRequest struct {
	verbatimFields
	Role      string `json:"role" doc:"Role whose lifetimes, storage and lease settings count."`
	IssuerRef string `json:"issuer_ref" doc:"Id or name of the issuer; the role's if not given."`
}

type verbatimRoleRequest struct {
	verbatimFields
	Role      string `path:"role" doc:"Role whose lifetimes, storage and lease settings count."`
	IssuerRef string `json:"issuer_ref" doc:"Id or name of the issuer; the role's if not given."`
}

type verbatimAtRequest struct {
	verbatimFields
	Role      string `json:"role" doc:"Role whose lifetimes, storage and lease settings count."`
	IssuerRef string `path:"issuer_ref" doc:"Id or name of the issuer, or default."`
}

type verbatimRoleAtRequest struct {
	verbatimFields
	Role      string `path:"role" doc:"Role whose lifetimes, storage and lease settings count."`
	IssuerRef string `path:"issuer_ref" doc:"Id or name of the issuer, or default."`
}

type issued struct {
	Chain          []string `json:"ca_chain"`
	Certificate    string   `json:"certificate"`
	Expiration     int64    `json:"expiration"`
	IssuingCA      string   `json:"issuing_ca"`
	NotBefore      int64    `json:"not_before"`
	PrivateKey     string   `json:"private_key,omitempty"`
	PrivateKeyType string   `json:"private_key_type,omitempty"`
	SerialNumber   string   `json:"serial_number"`
}

// AppendJSON writes the answer.
func (o *issued) AppendJSON(b []byte) []byte {
	b = append(b, `{"ca_chain":`...)
	b = wire.AppendStrings(b, o.Chain)
	b = wire.AppendStringMember(b, "certificate", o.Certificate)
	b = wire.AppendIntMember(b, "expiration", o.Expiration)
	b = wire.AppendStringMember(b, "issuing_ca", o.IssuingCA)
	b = wire.AppendIntMember(b, "not_before", o.NotBefore)
	if o.PrivateKey != "" {
		b = wire.AppendStringMember(b, "private_key", o.PrivateKey)
		b = wire.AppendStringMember(b, "private_key_type", o.PrivateKeyType)
	}
	b = wire.AppendStringMember(b, "serial_number", o.SerialNumber)
	return append(b, '}')
}

// order is a request for a certificate on its way.
type order struct {
	source   string
	roleName string
	role     *profile.Role
	issuer   string // a reference
	fields   *leafFields
	request  *profile.Request
	key      crypto.Signer // nil if the caller has it
	public   crypto.PublicKey
}

func (e *Engine) issue(ctx context.Context, c *route.Call, in issueRequest) (*issued, *engine.Lease, error) {
	return e.issueWith(ctx, c, in.issueFields, in.IssuerRef, false)
}

func (e *Engine) issueAt(ctx context.Context, c *route.Call, in issueAtRequest) (*issued, *engine.Lease, error) {
	return e.issueWith(ctx, c, in.issueFields, in.IssuerRef, true)
}

func (e *Engine) issueWith(ctx context.Context, c *route.Call, in issueFields, ref string, byPath bool) (*issued, *engine.Lease, error) {
	r, err := e.role(ctx, in.Role)
	if err != nil {
		return nil, nil, err
	}
	spec := keypair.Spec{Type: r.KeyType, Bits: r.KeyBits}
	if r.KeyType == profile.KeyAny {
		if in.KeyType == "" {
			return nil, nil, fault.New(fault.Invalid, `the role has key_type any: say which key to make in "key_type", or sign a certificate request instead`)
		}
		spec = keypair.Spec{Type: in.KeyType, Bits: in.KeyBits}
	}
	if err := in.check(); err != nil {
		return nil, nil, err
	}
	if ref, err = issuerRef(r, ref, byPath); err != nil {
		return nil, nil, err
	}
	o := &order{source: "issue", roleName: in.Role, role: r, issuer: ref, fields: &in.leafFields, request: in.request()}
	if err := e.ready(ctx, ref); err != nil { // before a key is made in vain
		return nil, nil, err
	}
	if o.key, err = spec.Generate(e.host.Rand); err != nil {
		return nil, nil, err
	}
	o.public = o.key.Public()
	return e.fulfil(ctx, c, o)
}

// issuerRef decides which issuer signs. A path names it, which policies can
// allow or forbid; a field of the body can only repeat what the role says.
func issuerRef(r *profile.Role, ref string, byPath bool) (string, error) {
	switch {
	case byPath:
		return ref, nil
	case ref == "" || ref == refDefault || ref == r.IssuerRef:
		return r.IssuerRef, nil
	}
	return "", fault.New(fault.Invalid, "the role names its issuer: another one is chosen by the path issuer/<issuer>/…")
}

func (e *Engine) ready(ctx context.Context, ref string) error {
	a, err := e.ca(ctx)
	if err != nil {
		return err
	}
	_, err = a.signer(ref, usageIssue)
	return err
}

func (e *Engine) signCSR(ctx context.Context, c *route.Call, in signRequest) (*issued, *engine.Lease, error) {
	return e.signWith(ctx, c, in.Role, in.signFields, in.IssuerRef, false)
}

func (e *Engine) signCSRAt(ctx context.Context, c *route.Call, in signAtRequest) (*issued, *engine.Lease, error) {
	return e.signWith(ctx, c, in.Role, in.signFields, in.IssuerRef, true)
}

func (e *Engine) signWith(ctx context.Context, c *route.Call, name string, in signFields, ref string, byPath bool) (*issued, *engine.Lease, error) {
	r, err := e.role(ctx, name)
	if err != nil {
		return nil, nil, err
	}
	if ref, err = issuerRef(r, ref, byPath); err != nil {
		return nil, nil, err
	}
	o := &order{source: "sign", roleName: name, role: r, issuer: ref, fields: &in.leafFields}
	return e.signOrder(ctx, c, o, in.CSR, false)
}

func (e *Engine) signOrder(ctx context.Context, c *route.Call, o *order, text string, whole bool) (*issued, *engine.Lease, error) {
	if text == "" {
		return nil, nil, fault.New(fault.Invalid, `field "csr" is required`)
	}
	if err := o.fields.check(); err != nil {
		return nil, nil, err
	}
	csr, err := parseCSR(text)
	if err != nil {
		return nil, nil, err
	}
	o.request = o.fields.request()
	o.request.CSR, o.request.WholeSubject, o.public = csr, whole, csr.PublicKey
	return e.fulfil(ctx, c, o)
}

func (e *Engine) signVerbatim(ctx context.Context, c *route.Call, in verbatimRequest) (*issued, *engine.Lease, error) {
	return e.verbatimWith(ctx, c, in.verbatimFields, in.Role, in.IssuerRef, false)
}

func (e *Engine) signVerbatimRole(ctx context.Context, c *route.Call, in verbatimRoleRequest) (*issued, *engine.Lease, error) {
	return e.verbatimWith(ctx, c, in.verbatimFields, in.Role, in.IssuerRef, false)
}

func (e *Engine) signVerbatimAt(ctx context.Context, c *route.Call, in verbatimAtRequest) (*issued, *engine.Lease, error) {
	return e.verbatimWith(ctx, c, in.verbatimFields, in.Role, in.IssuerRef, true)
}

func (e *Engine) signVerbatimRoleAt(ctx context.Context, c *route.Call, in verbatimRoleAtRequest) (*issued, *engine.Lease, error) {
	return e.verbatimWith(ctx, c, in.verbatimFields, in.Role, in.IssuerRef, true)
}

// verbatimWith signs any name. Of a role only lifetimes, signature, storage and
// lease settings count.
func (e *Engine) verbatimWith(ctx context.Context, c *route.Call, in verbatimFields, name, ref string, byPath bool) (*issued, *engine.Lease, error) {
	r := profile.Verbatim()
	if name != "" {
		own, err := e.role(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		r.Limit(own)
	}
	ref, err := issuerRef(&r, ref, byPath)
	if err != nil {
		return nil, nil, err
	}
	for _, f := range []struct {
		from wire.Opt[[]string]
		to   *profile.Strings
	}{{in.KeyUsage, &r.KeyUsage}, {in.ExtKeyUsage, &r.ExtKeyUsage}, {in.ExtKeyUsageOIDs, &r.ExtKeyUsageOIDs}} {
		if f.from.Set {
			*f.to = f.from.Value
		}
	}
	in.SignatureBits.Into(&r.SignatureBits)
	in.UsePSS.Into(&r.UsePSS)
	in.BasicConstraints.Into(&r.BasicConstraints)
	if err := r.Check(); err != nil {
		return nil, nil, err
	}
	o := &order{source: "sign-verbatim", roleName: name, role: &r, issuer: ref, fields: &in.leafFields}
	return e.signOrder(ctx, c, o, in.CSR, true)
}

// fulfil builds, signs and stores the certificate of an order.
func (e *Engine) fulfil(ctx context.Context, c *route.Call, o *order) (*issued, *engine.Lease, error) {
	meta, err := base64.StdEncoding.DecodeString(o.fields.Metadata)
	if err != nil || len(meta) > maxMetadata {
		return nil, nil, fault.Newf(fault.Invalid, `field "cert_metadata": must be base64 of at most %d bytes`, maxMetadata)
	}
	cert, err := e.produce(ctx, c, o)
	if err != nil {
		return nil, nil, err
	}
	rec := &record{DER: cert.der, Issuer: cert.from.ID, Role: o.roleName, NotAfter: cert.t.NotAfter.Unix(), Issued: c.Now.Unix(), Source: o.source, Metadata: meta, by: byCall(c)}
	save := func(tx store.Txn) error { return e.storeCert(tx, rec, cert.t) }
	if o.role.NoStore {
		save = func(store.Txn) error { return nil }
	}
	out, err := o.answer(cert)
	if err != nil {
		return nil, nil, err
	}
	if !o.role.GenerateLease {
		if o.role.NoStore {
			return out, nil, nil
		}
		return out, nil, e.update(ctx, save)
	}
	payload, err := json.Marshal(grant{DER: cert.der})
	if err != nil {
		return nil, nil, err
	}
	ttl := cert.t.NotAfter.Sub(c.Now).Truncate(time.Second)
	return out, &engine.Lease{TTL: ttl, MaxTTL: ttl, Payload: payload, Commit: save}, nil
}

// produce builds and signs the certificate of an order.
func (e *Engine) produce(ctx context.Context, c *route.Call, o *order) (*certificate, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	i, err := a.signer(o.issuer, usageIssue)
	if err != nil {
		return nil, err
	}
	v := env(c)
	if o.role.Templated() && c.Caller.EntityID != "" {
		if v.Values, err = e.host.Identity(ctx, c.Caller.EntityID); err != nil {
			return nil, err
		}
	}
	t, err := o.role.Build(o.request, o.public, v)
	if err != nil {
		return nil, err
	}
	cert, err := e.sign(a, i, t.Certificate, signing{o.role.SignatureBits, o.role.UsePSS})
	if err != nil {
		return nil, err
	}
	for _, w := range []string{t.Warning, cert.warning} {
		if w != "" {
			c.Warn(w)
		}
	}
	return cert, nil
}

// answer words the certificate.
func (o *order) answer(cert *certificate) (*issued, error) {
	f := o.fields
	out := &issued{
		Chain: chainText(cert.from.chain, f.Format, f.NoRoots), Certificate: certText(cert.der, f.Format), Expiration: cert.t.NotAfter.Unix(),
		IssuingCA: cert.from.text(f.Format), NotBefore: cert.t.NotBefore.Unix(), SerialNumber: cert.serial,
	}
	parts := []string{}
	if o.key != nil {
		var err error
		spec, _ := keypair.Of(o.public)
		out.PrivateKeyType = spec.Type
		if out.PrivateKey, err = privateText(o.key, f.Format, f.KeyFormat); err != nil {
			return nil, err
		}
		if f.Format == formatBundle {
			legacy, err := privatePEM(o.key, false)
			if err != nil {
				return nil, err
			}
			parts = append(parts, legacy)
		}
	}
	if f.Format == formatBundle {
		parts = append(append(parts, out.Certificate), out.Chain...)
		out.Certificate = strings.Join(parts, "\n")
	}
	return out, nil
}
