package cert

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
)

// The limits of answers of responders.
const (
	usualVerdicts = 100
	maxVerdicts   = 100_000
	// clockSkew is how far a responder's clock may be off.
	clockSkew = 5 * time.Minute
	// openEnded is how long an answer counts that does not say.
	openEnded = time.Hour
)

var errCacheSize = fault.Newf(fault.Invalid, "ocsp_cache_size may be 0 to %d", maxVerdicts)

// verdicts keeps answers while they are in force. The key of one is a hash of all
// that it depends on.
type verdicts struct {
	mu   sync.Mutex
	kept map[[sha256.Size]byte]verdict // guarded by mu
}

type verdict struct {
	good  bool
	until time.Time
}

func (v *verdicts) get(key [sha256.Size]byte, now time.Time) (good, known bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k, ok := v.kept[key]
	return k.good, ok && now.Before(k.until)
}

// put keeps an answer. If there is no room, those that are out of force go, and
// if there are none, all.
func (v *verdicts) put(key [sha256.Size]byte, answer verdict, now time.Time, size int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if size == 0 {
		size = usualVerdicts
	}
	if len(v.kept) >= size {
		for k, old := range v.kept {
			if !now.Before(old.until) {
				delete(v.kept, k)
			}
		}
	}
	if v.kept == nil || len(v.kept) >= size {
		v.kept = map[[sha256.Size]byte]verdict{}
	}
	v.kept[key] = answer
}

// responders asks the OCSP responders of a certificate (RFC 6960).
type responders struct {
	outbound *authn.Outbound
	settings ocspSettings
	extra    []*x509.Certificate // who may sign beside the issuer
	now      time.Time
}

var (
	errRevoked  = fault.New(fault.Unauthenticated, "the certificate has been revoked")
	errNoAnswer = fault.New(fault.Unauthenticated, "no OCSP responder has said that the certificate is good")
)

// checkOCSP refuses a certificate that no responder calls good.
func (m *method) checkOCSP(ctx context.Context, s ocspSettings, cacheSize int, c, issuer *x509.Certificate) error {
	if !s.Enabled {
		return nil
	}
	r := responders{outbound: m.outbound, settings: s, now: m.clock.Now()}
	if s.CAs != "" {
		var err error
		if r.extra, err = parseCertificates(s.CAs); err != nil {
			return err
		}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	key := sha256.Sum256(slices.Concat(hash(c.Raw), hash(issuer.Raw), text))
	good, known := m.verdicts.get(key, r.now)
	if !known {
		v, err := r.ask(ctx, c, issuer)
		if errors.Is(err, errNoAnswer) && s.FailOpen {
			return nil
		}
		if err != nil {
			return err
		}
		m.verdicts.put(key, v, r.now, cacheSize)
		good = v.good
	}
	if !good {
		return errRevoked
	}
	return nil
}

func hash(b []byte) []byte {
	h := sha256.Sum256(b)
	return h[:]
}

// ask asks one responder after the other until one answers, or all of them.
func (r *responders) ask(ctx context.Context, c, issuer *x509.Certificate) (verdict, error) {
	servers := r.settings.Servers
	if len(servers) == 0 {
		servers = c.OCSPServer
	}
	request, err := ocsp.CreateRequest(c, issuer, &ocsp.RequestOptions{Hash: crypto.SHA1})
	if err != nil {
		return verdict{}, errNoAnswer
	}
	worst, answered := verdict{}, false
	for _, url := range servers {
		v, ok := r.askOne(ctx, url, string(request), c, issuer)
		if !ok {
			continue
		}
		if !answered || !v.good {
			worst = v
		}
		answered = true
		if !v.good || !r.settings.QueryAll {
			break
		}
	}
	if !answered {
		return verdict{}, errNoAnswer
	}
	return worst, nil
}

func (r *responders) askOne(ctx context.Context, url, request string, c, issuer *x509.Certificate) (verdict, bool) {
	header := map[string]string{"Content-Type": "application/ocsp-request", "Accept": "application/ocsp-response"}
	for range 1 + r.settings.Retries {
		status, body, err := r.outbound.Send(ctx, authn.Message{Method: "POST", URL: url, Header: header, Body: request})
		if err == nil && status/100 == 2 {
			return r.judge(body, c, issuer)
		}
	}
	return verdict{}, false
}

// judge reads an answer. One that is not signed by whom it must be, is about
// another certificate, or is out of date does not count, and neither does
// "unknown".
func (r *responders) judge(body []byte, c, issuer *x509.Certificate) (verdict, bool) {
	answer := r.verified(body, c, issuer)
	if answer == nil || !about(answer, c, issuer) {
		return verdict{}, false
	}
	until := answer.NextUpdate
	if until.IsZero() {
		until = answer.ThisUpdate.Add(openEnded)
	}
	if age := r.settings.MaxAge; age > 0 && answer.ThisUpdate.Add(age).Before(until) {
		until = answer.ThisUpdate.Add(age)
	}
	if r.now.Add(clockSkew).Before(answer.ThisUpdate) || !r.now.Before(until.Add(clockSkew)) {
		return verdict{}, false
	}
	switch answer.Status {
	case ocsp.Good:
		return verdict{good: true, until: until}, true
	case ocsp.Revoked:
		return verdict{until: until}, true
	}
	return verdict{}, false
}

// verified parses an answer that the certificate's issuer has signed, or whom it
// appoints for this (RFC 6960, section 4.2.2.2), or one of the role's own.
func (r *responders) verified(body []byte, c, issuer *x509.Certificate) *ocsp.Response {
	if answer, err := ocsp.ParseResponseForCert(body, c, issuer); err == nil && r.appointed(answer.Certificate, issuer) {
		return answer
	}
	for _, ca := range r.extra {
		// With a signer of its own inside, the signer must be of the role's
		// authority; without, the authority must have signed.
		if answer, err := ocsp.ParseResponseForCert(body, c, ca); err == nil && r.appointed(answer.Certificate, ca) {
			return answer
		}
	}
	return nil
}

// appointed reports whether the certificate that came along with an answer is
// the authority's own or one that it has made for signing answers.
func (r *responders) appointed(signer, authority *x509.Certificate) bool {
	if signer == nil || signer.Equal(authority) {
		return true
	}
	return slices.Contains(signer.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) && !r.now.Before(signer.NotBefore) && !r.now.After(signer.NotAfter)
}

// about reports whether an answer speaks of a certificate of this issuer: one
// responder may answer for several, whose serial numbers overlap.
func about(answer *ocsp.Response, c, issuer *x509.Certificate) bool {
	var data responseData
	if _, err := asn1.Unmarshal(answer.TBSResponseData, &data); err != nil {
		return false
	}
	var key struct {
		Algorithm pkix.AlgorithmIdentifier
		Bits      asn1.BitString
	}
	if _, err := asn1.Unmarshal(issuer.RawSubjectPublicKeyInfo, &key); err != nil {
		return false
	}
	return slices.ContainsFunc(data.Responses, func(s singleResponse) bool {
		sum := hashOf(s.ID.Hash.Algorithm)
		return sum != nil && s.ID.Serial.Cmp(c.SerialNumber) == 0 &&
			bytes.Equal(s.ID.Name, sum(issuer.RawSubject)) && bytes.Equal(s.ID.Key, sum(key.Bits.RightAlign()))
	})
}

// responseData and singleResponse are the parts of those of RFC 6960, section
// 4.2.1, that say what an answer is about.
type responseData struct {
	Version     int `asn1:"optional,default:0,explicit,tag:0"`
	ResponderID asn1.RawValue
	ProducedAt  time.Time `asn1:"generalized"`
	Responses   []singleResponse
}

type singleResponse struct {
	ID struct {
		Hash   pkix.AlgorithmIdentifier
		Name   []byte
		Key    []byte
		Serial *big.Int
	}
	Status asn1.RawValue
}

// hashOf returns the hash function of an OID that answers name issuers with.
func hashOf(oid asn1.ObjectIdentifier) func([]byte) []byte {
	switch {
	case oid.Equal(asn1.ObjectIdentifier{1, 3, 14, 3, 2, 26}):
		// SHA-1 names the issuer here and proves nothing (RFC 6960, section 4.3).
		return func(b []byte) []byte { h := sha1.Sum(b); return h[:] }
	case oid.Equal(asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}):
		return hash
	}
	return nil
}
