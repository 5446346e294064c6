package pki

import (
	"context"
	"crypto"
	_ "crypto/sha1" // the hash that OCSP requests name issuers by
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"log/slog"
	"math/big"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/cofferhq/coffer/internal/engine/pki/keypair"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// typeOCSP is the media type of OCSP answers (RFC 6960, appendix A).
const typeOCSP = "application/ocsp-response"

// maxOCSPRequest bounds an OCSP request, in bytes.
const maxOCSPRequest = 2 << 10

type ocspPathRequest struct {
	Request string `path:"req" doc:"The request in base64."`
}

func (e *Engine) ocspGet(ctx context.Context, c *route.Call, in ocspPathRequest) (route.Bytes, error) {
	text := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/", " ", "+").Replace(in.Request), "=")
	der, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil {
		return ocspBytes(400, ocsp.MalformedRequestErrorResponse), nil
	}
	return e.answerOCSP(ctx, der)
}

func (e *Engine) ocspPost(ctx context.Context, c *route.Call, _ struct{}) (route.Bytes, error) {
	return e.answerOCSP(ctx, c.Raw)
}

func ocspBytes(status int, der []byte) route.Bytes {
	return route.Bytes{Status: status, ContentType: typeOCSP, Body: der}
}

// answerOCSP says what is known of one certificate (RFC 6960). The issuer's own
// key signs. A certificate that is not revoked is good: with roles that store
// nothing nobody could tell it from one that was never made.
func (e *Engine) answerOCSP(ctx context.Context, der []byte) (route.Bytes, error) {
	if len(der) > maxOCSPRequest {
		return ocspBytes(400, ocsp.MalformedRequestErrorResponse), nil
	}
	req, err := ocsp.ParseRequest(der)
	if err != nil {
		return ocspBytes(400, ocsp.MalformedRequestErrorResponse), nil
	}
	a, err := e.ca(ctx)
	if err != nil {
		return route.Bytes{}, err
	}
	i := a.responder(req)
	if i == nil || a.crl.OCSPDisable {
		return ocspBytes(401, ocsp.UnauthorizedErrorResponse), nil
	}
	answer := &ocspAnswer{serial: req.SerialNumber, at: e.host.Clock.Now().UTC().Truncate(time.Second), life: a.crl.OCSPExpiry.D()}
	if err := e.status(ctx, a, i, req.SerialNumber, answer); err != nil {
		return route.Bytes{}, err
	}
	signed, err := e.signOCSP(i, req, answer)
	if err != nil {
		e.host.Log.Error("signing an OCSP answer", slog.String("issuer", i.ID), slog.Any("error", err))
		return ocspBytes(500, ocsp.InternalErrorErrorResponse), nil
	}
	return ocspBytes(200, signed), nil
}

// ocspAnswer is what is known of a certificate.
type ocspAnswer struct {
	serial  *big.Int
	at      time.Time
	life    time.Duration
	revoked *revocation // nil if it is good
}

func (e *Engine) status(ctx context.Context, a *authority, i *issuer, serial *big.Int, out *ocspAnswer) error {
	return e.view(ctx, func(r store.Reader) error {
		for _, same := range a.equals(i) {
			rev, err := e.revocation(r, same.ID, serial)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			out.revoked = rev
			return err
		}
		return nil
	})
}

// The structures of RFC 6960, section 4.2.1.
type (
	ocspCertID struct {
		Hash       pkix.AlgorithmIdentifier
		IssuerName []byte
		IssuerKey  []byte
		Serial     *big.Int
	}
	ocspRevoked struct {
		At     time.Time       `asn1:"generalized"`
		Reason asn1.Enumerated `asn1:"explicit,tag:0,optional"`
	}
	ocspSingle struct {
		ID      ocspCertID
		Good    asn1.Flag   `asn1:"tag:0,optional"`
		Revoked ocspRevoked `asn1:"tag:1,optional"`
		This    time.Time   `asn1:"generalized"`
		Next    time.Time   `asn1:"generalized,explicit,tag:0,optional"`
	}
	ocspData struct {
		Responder asn1.RawValue
		Produced  time.Time `asn1:"generalized"`
		Responses []ocspSingle
	}
	ocspBasic struct {
		Data      asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	ocspResponse struct {
		Status asn1.Enumerated
		Body   struct {
			Type asn1.ObjectIdentifier
			DER  []byte
		} `asn1:"explicit,tag:0"`
	}
)

var oidOCSPBasic = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}

var ocspHashes = map[crypto.Hash]asn1.ObjectIdentifier{
	crypto.SHA1: {1, 3, 14, 3, 2, 26}, crypto.SHA256: {2, 16, 840, 1, 101, 3, 4, 2, 1}, crypto.SHA384: {2, 16, 840, 1, 101, 3, 4, 2, 2}, crypto.SHA512: {2, 16, 840, 1, 101, 3, 4, 2, 3},
}

// signOCSP encodes and signs an answer. The x/crypto package that reads requests
// also writes answers, but signs neither with Ed25519 nor with RSA-PSS.
func (e *Engine) signOCSP(i *issuer, req *ocsp.Request, a *ocspAnswer) ([]byte, error) {
	single := ocspSingle{
		ID:   ocspCertID{Hash: pkix.AlgorithmIdentifier{Algorithm: ocspHashes[req.HashAlgorithm], Parameters: asn1.NullRawValue}, IssuerName: req.IssuerNameHash, IssuerKey: req.IssuerKeyHash, Serial: a.serial},
		This: a.at,
	}
	if a.life > 0 {
		single.Next = a.at.Add(a.life)
	}
	if a.revoked == nil {
		single.Good = true
	} else {
		single.Revoked = ocspRevoked{At: a.revoked.At.UTC().Truncate(time.Second), Reason: asn1.Enumerated(a.revoked.Reason)}
	}
	responder := asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, IsCompound: true, Bytes: i.cert.RawSubject}
	data, err := asn1.Marshal(ocspData{Responder: responder, Produced: a.at, Responses: []ocspSingle{single}})
	if err != nil {
		return nil, err
	}
	algorithm, id, err := e.algorithmID(i)
	if err != nil {
		return nil, err
	}
	signature, err := signBytes(e, i.key, algorithm, data)
	if err != nil {
		return nil, err
	}
	basic, err := asn1.Marshal(ocspBasic{Data: asn1.RawValue{FullBytes: data}, Algorithm: asn1.RawValue{FullBytes: id.FullBytes}, Signature: asn1.BitString{Bytes: signature, BitLength: 8 * len(signature)}})
	if err != nil {
		return nil, err
	}
	out := ocspResponse{}
	out.Body.Type, out.Body.DER = oidOCSPBasic, basic
	return asn1.Marshal(out)
}

// responders finds issuers by what OCSP requests name them by.
type responders map[string]*issuer

func responderKey(h crypto.Hash, name, key []byte) string {
	return string(rune(h)) + "\x00" + string(name) + "\x00" + string(key)
}

// newResponders indexes the issuers that may answer, under every hash that
// requests use.
func newResponders(list []*issuer) (responders, error) {
	m := responders{}
	for _, i := range list {
		if i.key == nil || i.Usage&usageOCSP == 0 {
			continue
		}
		bits, err := keypair.Bits(i.cert.PublicKey)
		if err != nil {
			return nil, err
		}
		for _, h := range []crypto.Hash{crypto.SHA1, crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			name, key := h.New(), h.New()
			name.Write(i.cert.RawSubject)
			key.Write(bits)
			m[responderKey(h, name.Sum(nil), key.Sum(nil))] = i
		}
	}
	return m, nil
}

func (a *authority) responder(req *ocsp.Request) *issuer {
	return a.responders[responderKey(req.HashAlgorithm, req.IssuerNameHash, req.IssuerKeyHash)]
}
