package pki

import (
	"context"
	"crypto"
	_ "crypto/sha1" // the hash that OCSP requests name issuers by
	"encoding/base64"
	"errors"
	"math/big"
	"strings"

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
	now := e.host.Clock.Now()
	t := ocsp.Response{Status: ocsp.Good, SerialNumber: req.SerialNumber, ThisUpdate: now, IssuerHash: req.HashAlgorithm, SignatureAlgorithm: i.RevocationAlgorithm}
	if d := a.crl.OCSPExpiry.D(); d > 0 {
		t.NextUpdate = now.Add(d)
	}
	if err := e.status(ctx, a, i, req.SerialNumber, &t); err != nil {
		return route.Bytes{}, err
	}
	signer := *i.cert // without a chain: the verifier has the issuer
	answer, err := ocsp.CreateResponse(i.cert, &signer, t, i.key)
	if err != nil {
		return ocspBytes(500, ocsp.InternalErrorErrorResponse), nil
	}
	return ocspBytes(200, answer), nil
}

func (e *Engine) status(ctx context.Context, a *authority, i *issuer, serial *big.Int, t *ocsp.Response) error {
	return e.view(ctx, func(r store.Reader) error {
		for _, same := range a.equals(i) {
			rev, err := e.revocation(r, same.ID, serial)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			t.Status, t.RevokedAt, t.RevocationReason = ocsp.Revoked, rev.At, rev.Reason
			return nil
		}
		return nil
	})
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
