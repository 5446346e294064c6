package pki

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// revocations holds, per issuer, the encoded entries of revocation lists, and
// the lists last made of them. An issuer's are read from its rows once and
// follow the change feed from then on, so that a new revocation costs its own
// entry and not the list.
type revocations struct {
	mu  sync.Mutex
	all map[string]*revoked // by issuer id; guarded by mu
}

// revoked are one issuer's revocations.
type revoked struct {
	mu      sync.Mutex
	loaded  bool           // guarded by mu, as all that follows
	pending []store.Change // what came while the rows were being read
	entries []revokedEntry
	index   map[string]int // position by serial
	latest  time.Time      // of the newest revocation
	made    map[bool]*list // by whether it is a delta
}

type revokedEntry struct {
	at  time.Time
	der []byte
}

func (r *revocations) of(issuer string) *revoked {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = map[string]*revoked{}
	}
	set := r.all[issuer]
	if set == nil {
		set = &revoked{index: map[string]int{}, made: map[bool]*list{}}
		r.all[issuer] = set
	}
	return set
}

func (r *revocations) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = nil
}

// follow takes in a change of a row.
func (r *revocations) follow(c *store.Change) {
	parts, err := c.Key.Parts()
	if err != nil || len(parts) != 2 {
		return
	}
	r.mu.Lock()
	set := r.all[parts[0]]
	if set != nil && c.Value == nil {
		delete(r.all, parts[0]) // tidied: the rest is read anew
	}
	r.mu.Unlock()
	if set == nil || c.Value == nil {
		return
	}
	set.mu.Lock()
	defer set.mu.Unlock()
	if !set.loaded {
		set.pending = append(set.pending, *c)
		return
	}
	set.add(parts[1], c.Value)
}

// add takes in a row. The caller holds mu.
func (s *revoked) add(serial string, row []byte) {
	var rev revocation
	if json.Unmarshal(row, &rev) != nil {
		return
	}
	if _, have := s.index[serial]; have {
		return
	}
	der, err := encodeEntry(serial, &rev)
	if err != nil {
		return
	}
	s.index[serial] = len(s.entries)
	s.entries = append(s.entries, revokedEntry{rev.At, der})
	if rev.At.After(s.latest) {
		s.latest = rev.At
	}
}

// encodeEntry encodes an entry of a list (RFC 5280, section 5.1.2.6).
func encodeEntry(serial string, rev *revocation) ([]byte, error) {
	entry := pkix.RevokedCertificate{SerialNumber: new(big.Int).SetBytes([]byte(serial)), RevocationTime: rev.At.UTC().Truncate(time.Second)}
	if rev.Reason != 0 {
		value, err := asn1.Marshal(asn1.Enumerated(rev.Reason))
		if err != nil {
			return nil, err
		}
		entry.Extensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 21}, Value: value}}
	}
	return asn1.Marshal(entry)
}

// ready reads the rows unless that was done. The caller holds no lock.
func (s *revoked) ready(ctx context.Context, e *Engine, issuer string) error {
	s.mu.Lock()
	loaded := s.loaded
	s.mu.Unlock()
	if loaded {
		return nil
	}
	type row struct {
		serial string
		value  []byte
	}
	var rows []row
	err := e.view(ctx, func(r store.Reader) error {
		rows = rows[:0]
		for entry, err := range r.Scan(store.Under(e.key(kindRevoked, issuer))) {
			if err != nil {
				return err
			}
			rows = append(rows, row{entry.Key.Last(), append([]byte(nil), entry.Value...)})
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.loaded {
		return nil
	}
	for _, r := range rows {
		s.add(r.serial, r.value)
	}
	for _, c := range s.pending {
		if c.Value != nil {
			s.add(c.Key.Last(), c.Value)
		}
	}
	s.pending, s.loaded = nil, true
	return nil
}

// list is a signed revocation list.
type list struct {
	der    []byte
	cut    time.Time // revocations until then are on it
	base   time.Time // of a delta: the complete list's cut
	count  int       // revocations that were known then
	config crlConfig
	issuer *issuer
}

func (l *list) pem() string {
	return strings.TrimSuffix(string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: l.der})), "\n")
}

var errNoList = fault.New(fault.NotFound, "")

// list returns an issuer's current revocation list, which it signs if the one
// at hand is not current any more.
//
// When a list begins (its cut) follows from the rows and the settings alone, so
// that all nodes sign lists of the same content and number, and nothing need be
// stored or scheduled: it is the newest revocation, or the last multiple of the
// rebuild interval; with auto_rebuild only the latter.
func (e *Engine) list(ctx context.Context, ref string, delta bool) (*list, error) {
	a, err := e.ca(ctx)
	if err != nil {
		return nil, err
	}
	i, err := a.issuer(ref)
	if err != nil {
		return nil, err
	}
	if delta && !a.crl.Delta {
		return nil, errNoList
	}
	if i, err = a.crlSigner(i); err != nil {
		return nil, err
	}
	var sets []*revoked
	var latest time.Time
	count := 0
	for _, same := range a.equals(i) {
		set := e.lists.of(same.ID)
		if err := set.ready(ctx, e, same.ID); err != nil {
			return nil, err
		}
		set.mu.Lock()
		if set.latest.After(latest) {
			latest = set.latest
		}
		count += len(set.entries)
		set.mu.Unlock()
		sets = append(sets, set)
	}
	if a.crl.AutoRebuild {
		count = 0 // what comes after the cut waits for the next list
	}
	now := e.host.Clock.Now()
	cut := a.crl.cut(time.Unix(0, i.Made), latest, now)
	base := time.Time{}
	if delta {
		base, cut = cut, a.crl.deltaCut(cut, now)
	}
	own := sets[0]
	own.mu.Lock()
	have := own.made[delta]
	own.mu.Unlock()
	if have != nil && have.cut.Equal(cut) && have.base.Equal(base) && have.count == count && have.issuer == i && have.config == a.crl {
		return have, nil
	}
	made, err := e.signList(a, i, sets, cut, base)
	if err != nil {
		return nil, err
	}
	made.count = count
	own.mu.Lock()
	own.made[delta] = made
	own.mu.Unlock()
	return made, nil
}

// crlSigner returns the issuer, or an equal one, that may sign lists.
func (a *authority) crlSigner(i *issuer) (*issuer, error) {
	for _, same := range append([]*issuer{i}, a.equals(i)...) {
		if same.key != nil && same.Usage&usageCRL != 0 {
			return same, nil
		}
	}
	return nil, errNoList
}

var (
	oidDelta       = asn1.ObjectIdentifier{2, 5, 29, 27}
	oidFreshestCRL = asn1.ObjectIdentifier{2, 5, 29, 46}
)

// signList puts the entries between base and cut under a signature.
func (e *Engine) signList(a *authority, i *issuer, sets []*revoked, cut, base time.Time) (*list, error) {
	t := &x509.RevocationList{Number: listNumber(cut), ThisUpdate: cut.UTC().Truncate(time.Second), SignatureAlgorithm: i.RevocationAlgorithm}
	t.NextUpdate = t.ThisUpdate.Add(a.crl.Expiry.D())
	if !base.IsZero() {
		value, err := asn1.Marshal(listNumber(base))
		if err != nil {
			return nil, err
		}
		t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: oidDelta, Critical: true, Value: value})
	} else if u, err := a.urlsOf(i); err == nil && len(u.Delta) > 0 && a.crl.Delta {
		ext, err := freshestCRL(u.Delta)
		if err != nil {
			return nil, err
		}
		t.ExtraExtensions = append(t.ExtraExtensions, ext)
	}
	var entries []byte
	for _, set := range sets {
		if a.crl.Disable {
			break
		}
		set.mu.Lock()
		for _, entry := range set.entries {
			if entry.at.After(base) && !entry.at.After(cut) {
				entries = append(entries, entry.der...)
			}
		}
		set.mu.Unlock()
	}
	der, err := signEntries(e, t, i, entries)
	if err != nil {
		return nil, fmt.Errorf("signing a revocation list: %w", err)
	}
	return &list{der: der, cut: cut, base: base, config: a.crl, issuer: i}, nil
}

// listNumber numbers lists by when they begin, in nanoseconds.
func listNumber(cut time.Time) *big.Int { return big.NewInt(cut.UnixNano()) }

// freshestCRL names where the delta list is (RFC 5280, section 5.2.6).
func freshestCRL(urls []string) (pkix.Extension, error) {
	type name struct {
		Full []asn1.RawValue `asn1:"tag:0"`
	}
	type point struct {
		Name name `asn1:"tag:0"`
	}
	var points []point
	for _, u := range urls {
		points = append(points, point{name{[]asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(u)}}}})
	}
	der, err := asn1.Marshal(points)
	return pkix.Extension{Id: oidFreshestCRL, Value: der}, err
}

// signEntries makes a list of encoded entries. The standard library encodes and
// signs a list without entries; they are put where the standard has them (RFC
// 5280, section 5.1), and the whole is signed again. So the cost of a large list
// is one copy and one hash.
func signEntries(e *Engine, t *x509.RevocationList, i *issuer, entries []byte) ([]byte, error) {
	empty, err := signEmpty(e, t, i)
	if err != nil || len(entries) == 0 {
		return empty, err
	}
	var outer struct {
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(empty, &outer); err != nil {
		return nil, err
	}
	// The extensions are the last member; the entries go before them.
	rest, head := outer.TBS.Bytes, outer.TBS.Bytes
	for len(rest) > 0 {
		var member asn1.RawValue
		after, err := asn1.Unmarshal(rest, &member)
		if err != nil {
			return nil, err
		}
		if member.Class == asn1.ClassContextSpecific && member.Tag == 0 {
			head = outer.TBS.Bytes[:len(outer.TBS.Bytes)-len(rest)]
			break
		}
		rest = after
	}
	body := make([]byte, 0, len(outer.TBS.Bytes)+len(entries)+8)
	body = append(body, head...)
	body = appendTLV(body, 0x30, entries)
	body = append(body, rest...)
	tbs := appendTLV(make([]byte, 0, len(body)+8), 0x30, body)
	parsed, err := x509.ParseRevocationList(empty)
	if err != nil {
		return nil, err
	}
	signature, err := signBytes(e, i.key, parsed.SignatureAlgorithm, tbs)
	if err != nil {
		return nil, err
	}
	sig, err := asn1.Marshal(asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)})
	if err != nil {
		return nil, err
	}
	whole := make([]byte, 0, len(tbs)+len(sig)+64)
	whole = append(append(append(whole, tbs...), outer.Algorithm.FullBytes...), sig...)
	return appendTLV(make([]byte, 0, len(whole)+8), 0x30, whole), nil
}

// signEmpty makes a list without entries.
func signEmpty(e *Engine, t *x509.RevocationList, i *issuer) ([]byte, error) {
	signer := *i.cert
	if len(signer.SubjectKeyId) == 0 { // of an imported certificate: any verifier goes by the name then
		id, err := keypair.ID(signer.PublicKey)
		if err != nil {
			return nil, err
		}
		signer.SubjectKeyId = id
	}
	signer.KeyUsage |= x509.KeyUsageCRLSign
	return x509.CreateRevocationList(e.host.Rand, t, &signer, i.key)
}

// algorithmID returns the algorithm of an issuer's lists and OCSP answers, and
// its encoding with the parameters that it has.
func (e *Engine) algorithmID(i *issuer) (x509.SignatureAlgorithm, asn1.RawValue, error) {
	return i.algorithm(func() (x509.SignatureAlgorithm, asn1.RawValue, error) {
		now := e.host.Clock.Now()
		der, err := signEmpty(e, &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: now, NextUpdate: now.Add(time.Hour), SignatureAlgorithm: i.RevocationAlgorithm}, i)
		if err != nil {
			return 0, asn1.RawValue{}, err
		}
		var outer struct {
			TBS       asn1.RawValue
			Algorithm asn1.RawValue
			Signature asn1.BitString
		}
		if _, err := asn1.Unmarshal(der, &outer); err != nil {
			return 0, asn1.RawValue{}, err
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return 0, asn1.RawValue{}, err
		}
		return list.SignatureAlgorithm, outer.Algorithm, nil
	})
}

// appendTLV appends a tag, the length of content in DER, and content.
func appendTLV(dst []byte, tag byte, content []byte) []byte {
	dst = append(dst, tag)
	switch n := len(content); {
	case n < 0x80:
		dst = append(dst, byte(n))
	case n < 1<<8:
		dst = append(dst, 0x81, byte(n))
	case n < 1<<16:
		dst = append(dst, 0x82, byte(n>>8), byte(n))
	case n < 1<<24:
		dst = append(dst, 0x83, byte(n>>16), byte(n>>8), byte(n))
	default:
		dst = append(dst, 0x84, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(dst, content...)
}

// signBytes signs as an X.509 signature algorithm has it.
func signBytes(e *Engine, key crypto.Signer, a x509.SignatureAlgorithm, content []byte) ([]byte, error) {
	hash := crypto.SHA256
	switch a {
	case x509.PureEd25519:
		return key.Sign(e.host.Rand, content, crypto.Hash(0))
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		hash = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		hash = crypto.SHA512
	}
	h := hash.New()
	h.Write(content)
	var opts crypto.SignerOpts = hash
	switch a {
	case x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS:
		opts = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	return key.Sign(e.host.Rand, h.Sum(nil), opts)
}
