package ssh

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// certRequest is what is asked for in a certificate.
type certRequest struct {
	Role       string            `path:"role" doc:"Name of the role."`
	TTL        wire.Duration     `json:"ttl" doc:"Lifetime; 0 is the role's."`
	Principals string            `json:"valid_principals" doc:"Comma-separated users or hosts."`
	CertType   string            `json:"cert_type" default:"user" doc:"user or host."`
	KeyID      string            `json:"key_id" doc:"Key id, if the role lets it be asked for."`
	Options    map[string]string `json:"critical_options" doc:"Critical options; the role's defaults without any."`
	Extensions map[string]string `json:"extensions" doc:"Extensions; the role's defaults without any."`
}

type signRequest struct {
	certRequest
	PublicKey string `json:"public_key" doc:"Public key to certify, as in authorized_keys."`
}

type issueRequest struct {
	certRequest
	KeyType string `json:"key_type" default:"rsa" doc:"Type of the new key: rsa, ec or ed25519."`
	KeyBits int    `json:"key_bits" doc:"Size of the new key; 0 is the usual one of its type."`
}

type signAnswer struct {
	IssuerID string `json:"issuer_id"`
	Serial   string `json:"serial_number"`
	Signed   string `json:"signed_key"`
}

type issueAnswer struct {
	signAnswer
	PrivateKey string `json:"private_key"`
	KeyType    string `json:"private_key_type"`
}

func (e *Engine) sign(ctx context.Context, c *route.Call, in signRequest) (signAnswer, error) {
	row, err := e.caRole(ctx, in.Role)
	if err != nil {
		return signAnswer{}, err
	}
	return e.certify(ctx, c, &row, in.PublicKey, &in.certRequest)
}

func (e *Engine) issue(ctx context.Context, c *route.Call, in issueRequest) (issueAnswer, error) {
	row, err := e.caRole(ctx, in.Role)
	if err != nil {
		return issueAnswer{}, err
	}
	p, err := generate(in.KeyType, in.KeyBits, e.host.Rand)
	if err != nil {
		return issueAnswer{}, err
	}
	a, err := e.certify(ctx, c, &row, p.public, &in.certRequest)
	return issueAnswer{a, p.private, keyKinds[in.KeyType]}, err
}

func (e *Engine) caRole(ctx context.Context, name string) (roleRow, error) {
	row, err := e.role(ctx, name, errNoRole)
	if err == nil && row.Type != typeCA {
		err = fault.New(fault.Invalid, "the role makes passwords, not certificates")
	}
	return row, err
}

// certify signs a certificate for a public key within a role's bounds. All
// bounds are held against the certificate that will be signed, wherever its
// parts came from.
func (e *Engine) certify(ctx context.Context, c *route.Call, row *roleRow, publicKey string, in *certRequest) (signAnswer, error) {
	public, err := row.publicKey(publicKey)
	if err != nil {
		return signAnswer{}, err
	}
	cert := &ssh.Certificate{Key: public}
	if cert.CertType, err = row.certType(in.CertType); err != nil {
		return signAnswer{}, err
	}
	who := caller{e.host.Identity, c.Caller.EntityID}
	if cert.ValidPrincipals, err = row.principals(ctx, who, cert.CertType, in.Principals); err != nil {
		return signAnswer{}, err
	}
	if cert.KeyId, err = row.keyID(c, public, in); err != nil {
		return signAnswer{}, err
	}
	if cert.CriticalOptions, err = row.options(in.Options); err != nil {
		return signAnswer{}, err
	}
	if cert.Extensions, err = row.extensions(ctx, who, cert.CertType, in.Extensions); err != nil {
		return signAnswer{}, err
	}
	ttl, err := row.lifetime(&c.Mount, in.TTL.D())
	if err != nil {
		return signAnswer{}, err
	}
	cert.ValidAfter, cert.ValidBefore = uint64(c.Now.Add(-row.NotBefore.D()).Unix()), uint64(c.Now.Add(ttl).Unix())
	if cert.Serial, err = serial(e.host.Rand); err != nil {
		return signAnswer{}, err
	}
	id, signer, err := e.signer(ctx, row.IssuerRef)
	if err != nil {
		return signAnswer{}, err
	}
	if signer, err = row.algorithm(signer); err != nil {
		return signAnswer{}, err
	}
	if err := cert.SignCert(rand.Reader, signer); err != nil {
		return signAnswer{}, fmt.Errorf("signing a certificate: %w", err)
	}
	return signAnswer{id, strconv.FormatUint(cert.Serial, 16), string(ssh.MarshalAuthorizedKey(cert))}, nil
}

// publicKey reads the key to certify and holds it to the role's lengths.
func (r *roleRow) publicKey(text string) (ssh.PublicKey, error) {
	if text == "" {
		return nil, fault.New(fault.Invalid, "give the public_key, as in authorized_keys")
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return nil, fault.New(fault.Invalid, "the public_key could not be parsed: it must be a line as in authorized_keys")
	}
	is, err := kindOf(public)
	if err != nil {
		return nil, err
	}
	if is.kind == "rsa" && is.bits < 2048 {
		return nil, fault.New(fault.Invalid, "an RSA key must have at least 2048 bits")
	}
	if len(r.KeyLengths) == 0 {
		return public, nil
	}
	for name, sizes := range r.KeyLengths {
		if keyKinds[name] != is.kind || curveBits[name] != 0 && curveBits[name] != is.bits {
			continue
		}
		if slices.Contains(sizes, is.bits) || curveBits[name] != 0 && slices.Contains(sizes, 0) {
			return public, nil
		}
	}
	return nil, fault.New(fault.Invalid, "the role does not sign keys of this type and size")
}

func (r *roleRow) certType(name string) (uint32, error) {
	switch {
	case name == "user" && r.AllowUser:
		return ssh.UserCert, nil
	case name == "host" && r.AllowHost:
		return ssh.HostCert, nil
	case name == "user" || name == "host":
		return 0, fault.Newf(fault.Invalid, "the role signs no %s certificates", name)
	}
	return 0, fault.New(fault.Invalid, `cert_type must be "user" or "host"`)
}

// defaultKeyID is the key id of roles that say nothing; clients' tools know it.
const defaultKeyID = "vault-{{token_display_name}}-{{public_key_hash}}"

func (r *roleRow) keyID(c *route.Call, public ssh.PublicKey, in *certRequest) (string, error) {
	if in.KeyID != "" {
		if !r.AllowUserKeyIDs {
			return "", fault.New(fault.Invalid, "the role lets no key_id be asked for")
		}
		return in.KeyID, nil
	}
	format := r.KeyIDFormat
	if format == "" {
		format = defaultKeyID
	}
	hash := sha256.Sum256(public.Marshal())
	return strings.NewReplacer(
		"{{token_display_name}}", c.Caller.DisplayName, "{{role_name}}", in.Role, "{{public_key_hash}}", wire.Hex(hash[:]),
	).Replace(format), nil
}

func (r *roleRow) options(asked map[string]string) (map[string]string, error) {
	if len(asked) == 0 {
		return r.DefaultOptions, nil
	}
	if r.AllowedOptions == "" {
		return asked, nil
	}
	for name := range asked {
		if !listed(r.AllowedOptions, name) {
			return nil, fault.New(fault.Invalid, "the role does not allow a critical option that was asked for")
		}
	}
	return asked, nil
}

func (r *roleRow) extensions(ctx context.Context, who caller, certType uint32, asked map[string]string) (map[string]string, error) {
	if len(asked) > 0 {
		for name := range asked {
			if !listed(r.AllowedExtensions, name) {
				return nil, fault.New(fault.Invalid, "the role does not allow an extension that was asked for")
			}
		}
		return asked, nil
	}
	if certType == ssh.HostCert {
		return map[string]string{}, nil // OpenSSH knows none for hosts
	}
	if !r.ExtensionsTemplate {
		return r.DefaultExtensions, nil
	}
	filled := make(map[string]string, len(r.DefaultExtensions))
	for name, template := range r.DefaultExtensions {
		value, ok, err := who.expand(ctx, template)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fault.New(fault.Invalid, "a template of default_extensions speaks of an identity that the caller does not have")
		}
		filled[name] = value
	}
	return filled, nil
}

// algorithm makes an RSA issuer sign with the role's algorithm.
func (r *roleRow) algorithm(signer ssh.Signer) (ssh.Signer, error) {
	if signer.PublicKey().Type() != ssh.KeyAlgoRSA {
		if r.AlgorithmSigner != "default" {
			return nil, fault.New(fault.Invalid, "the role's algorithm_signer is for RSA issuers, and its issuer is none")
		}
		return signer, nil
	}
	name := r.AlgorithmSigner
	if name == "default" {
		name = ssh.KeyAlgoRSASHA256
	}
	both, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, fmt.Errorf("signing a certificate: the issuer's key has no choice of algorithms")
	}
	return ssh.NewSignerWithAlgorithms(both, []string{name})
}

func serial(random io.Reader) (uint64, error) {
	var b [8]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return 0, fmt.Errorf("reading randomness: %w", err)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}
