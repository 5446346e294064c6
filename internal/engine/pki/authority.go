package pki

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// keyRow is a private key as it is stored.
type keyRow struct {
	ID   string
	Name string `json:",omitempty"`
	// Made is when it came, in nanoseconds: listings and "latest" go by it.
	Made int64
	DER  []byte // PKCS #8
}

// issuerRow is an issuer as it is stored.
type issuerRow struct {
	ID    string
	Name  string `json:",omitempty"`
	KeyID string `json:",omitempty"` // "" for a certificate without key
	Made  int64
	DER   []byte // the certificate
	// Manual is the chain that an operator has chosen, as ids, itself first.
	Manual []string `json:",omitempty"`
	Leaf   string   // what happens to a certificate that would outlive the issuer
	Usage  usage
	// RevocationAlgorithm signs CRLs and OCSP answers; 0 is the key's own.
	RevocationAlgorithm x509.SignatureAlgorithm `json:",omitempty"`
	URLs                urls                    `json:",omitzero"`
	// Revoked is when the issuer was revoked, zero if it was not.
	Revoked time.Time `json:",omitzero"`
}

// issuer is an issuer ready for use. It is immutable.
type issuer struct {
	issuerRow
	cert  *x509.Certificate
	pem   string        // without a line break at the end
	key   crypto.Signer // nil without a key
	root  bool          // self-signed
	chain []*issuer     // itself first, then towards the root, as far as known here

	once sync.Once // guards what follows
	id   asn1.RawValue
	alg  x509.SignatureAlgorithm
	err  error
}

// algorithm returns what find found the first time.
func (i *issuer) algorithm(find func() (x509.SignatureAlgorithm, asn1.RawValue, error)) (x509.SignatureAlgorithm, asn1.RawValue, error) {
	i.once.Do(func() { i.alg, i.id, i.err = find() })
	return i.alg, i.id, i.err
}

// authority is what a mount issues with: its issuers, keys and settings, parsed.
// It is immutable, and dropped when one of the rows changes.
type authority struct {
	issuers  []*issuer // in order of their coming
	keys     []keyRow
	byID     map[string]*issuer
	parsed   map[string]crypto.Signer // keys by id
	names    map[string]*issuer
	issuing  issuersConfig
	keysConf keysConfig
	urls     urlsConfig
	cluster  clusterConfig
	crl      crlConfig
	acme     acmeConfig
	// responders are the issuers that answer OCSP requests.
	responders responders
}

// authorities holds the current authority.
type authorities struct {
	current atomic.Pointer[authority]
	mu      sync.Mutex
	changes uint64 // counts drops; guarded by mu
}

func (a *authorities) drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.changes++
	a.current.Store(nil)
}

func (a *authorities) mark() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changes
}

// keep stores what was loaded, unless a row has changed since mark.
func (a *authorities) keep(v *authority, mark uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.changes == mark {
		a.current.Store(v)
	}
}

// ca returns what the mount issues with.
func (e *Engine) ca(ctx context.Context) (*authority, error) {
	if a := e.authority.current.Load(); a != nil {
		return a, nil
	}
	mark := e.authority.mark()
	var a *authority
	err := e.view(ctx, func(r store.Reader) (err error) {
		a, err = e.load(r)
		return err
	})
	if err != nil {
		return nil, err
	}
	e.authority.keep(a, mark)
	return a, nil
}

// load reads an authority from its rows: within a transaction, as it is there.
func (e *Engine) load(r store.Reader) (*authority, error) {
	a := &authority{byID: map[string]*issuer{}, parsed: map[string]crypto.Signer{}, names: map[string]*issuer{}, crl: defaultCRL(), acme: defaultACME()}
	for _, err := range []error{
		setting(e, r, "issuers", &a.issuing), setting(e, r, "keys", &a.keysConf), setting(e, r, "urls", &a.urls),
		setting(e, r, "cluster", &a.cluster), setting(e, r, "crl", &a.crl), setting(e, r, "acme", &a.acme),
	} {
		if err != nil {
			return nil, err
		}
	}
	keys, err := rows[keyRow](e, r, kindKey)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(keys, func(a, b keyRow) int { return int(a.Made - b.Made) })
	a.keys = keys
	for _, k := range keys {
		signer, err := keypair.ParseDER(k.DER)
		if err != nil {
			return nil, fmt.Errorf("reading key %s: malformed", k.ID)
		}
		a.parsed[k.ID] = signer
	}
	list, err := rows[issuerRow](e, r, kindIssuer)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b issuerRow) int { return int(a.Made - b.Made) })
	for _, row := range list {
		cert, err := x509.ParseCertificate(row.DER)
		if err != nil {
			return nil, fmt.Errorf("reading issuer %s: malformed", row.ID)
		}
		i := &issuer{issuerRow: row, cert: cert, pem: certPEM(row.DER), key: a.parsed[row.KeyID], root: selfSigned(cert)}
		a.issuers = append(a.issuers, i)
		a.byID[row.ID] = i
		if row.Name != "" {
			a.names[row.Name] = i
		}
	}
	for _, i := range a.issuers {
		i.chain = a.chainOf(i)
	}
	a.responders, err = newResponders(a.issuers)
	return a, err
}

func rows[T any](e *Engine, r store.Reader, kind store.Kind) ([]T, error) {
	var list []T
	for entry, err := range r.Scan(store.Under(e.key(kind))) {
		if err != nil {
			return nil, err
		}
		v, err := store.GetJSON[T](r, entry.Key)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// chainOf returns an issuer's chain: the operator's, or the one that the
// certificates here make.
func (a *authority) chainOf(i *issuer) []*issuer {
	if len(i.Manual) > 0 {
		var chain []*issuer
		for _, id := range i.Manual {
			if link := a.byID[id]; link != nil {
				chain = append(chain, link)
			}
		}
		return chain
	}
	chain := []*issuer{i}
	for at := i; !at.root; {
		next := a.parentOf(at, chain)
		if next == nil {
			break
		}
		chain = append(chain, next)
		at = next
	}
	return chain
}

// parentOf finds the certificate that signed one; of several, the self-signed.
func (a *authority) parentOf(child *issuer, chain []*issuer) *issuer {
	var found *issuer
	for _, p := range a.issuers {
		if !bytes.Equal(p.cert.RawSubject, child.cert.RawIssuer) || slices.Contains(chain, p) || child.cert.CheckSignatureFrom(p.cert) != nil {
			continue
		}
		if found == nil || p.root && !found.root {
			found = p
		}
	}
	return found
}

// selfSigned reports whether a certificate is a root.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

var errNoDefault = fault.New(fault.Invalid, "no default issuer currently configured: generate or import one, or choose it at config/issuers")

// issuer resolves a reference: an id, a name, or "default". An unknown one is
// [fault.Invalid].
func (a *authority) issuer(ref string) (*issuer, error) {
	if ref == refDefault || ref == "" {
		if i := a.byID[a.issuing.Default]; i != nil {
			return i, nil
		}
		return nil, errNoDefault
	}
	if i := a.byID[ref]; i != nil {
		return i, nil
	}
	if i := a.names[ref]; i != nil {
		return i, nil
	}
	return nil, fault.Newf(fault.Invalid, "unable to find PKI issuer for reference: %v", ref)
}

// key resolves a reference to a key.
func (a *authority) key(ref string) (*keyRow, error) {
	if ref == refDefault || ref == "" {
		if ref = a.keysConf.Default; ref == "" {
			return nil, fault.New(fault.Invalid, "no default key currently configured: generate or import one, or choose it at config/keys")
		}
	}
	for i := range a.keys {
		if k := &a.keys[i]; k.ID == ref || k.Name != "" && k.Name == ref {
			return k, nil
		}
	}
	return nil, fault.Newf(fault.Invalid, "unable to find PKI key for reference: %v", ref)
}

// signer returns an issuer that can sign for a purpose.
func (a *authority) signer(ref string, want usage) (*issuer, error) {
	i, err := a.issuer(ref)
	if err != nil {
		return nil, err
	}
	if i.Usage&want == 0 {
		return nil, fault.Newf(fault.Invalid, "the issuer's usage does not include %s", want)
	}
	if i.key == nil {
		return nil, fault.New(fault.Invalid, "the issuer has no private key in this mount")
	}
	return i, nil
}

// asMissing turns a failed lookup of what a path names into 404.
func asMissing(err error) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Invalid {
		return fault.New(fault.NotFound, f.Msg)
	}
	return err
}

func certPEM(der []byte) string {
	b := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return string(bytes.TrimSuffix(b, []byte("\n")))
}
