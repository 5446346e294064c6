package acme

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Request is a signed request whose signature has not been checked yet: what it
// claims is only good for finding the key.
type Request struct {
	// JWK is the key inside the request, nil if it names an account instead.
	JWK *jose.JSONWebKey
	// KeyID is the URL of the account that it names.
	KeyID string
	// Nonce and URL are those of the protected header.
	Nonce, URL string

	jws *jose.JSONWebSignature
}

// signatures are the algorithms of requests (RFC 8555, section 6.2): none that
// is symmetric, and not "none".
func signatures() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.EdDSA}
}

// Parse reads a request: a flattened JSON Web Signature (RFC 7515) with either a
// key or the name of an account. The error is a [Problem].
func Parse(body []byte) (*Request, error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return nil, Errorf(Malformed, "the request is not a flattened JSON Web Signature")
	}
	if _, ok := members["header"]; ok {
		return nil, Errorf(Malformed, "the request has an unprotected header")
	}
	if _, ok := members["signatures"]; ok {
		return nil, Errorf(Malformed, "the request has more than one signature")
	}
	jws, err := jose.ParseSigned(string(body), signatures())
	if err != nil || len(jws.Signatures) != 1 {
		return nil, Errorf(Malformed, "the request is not a flattened JSON Web Signature of a supported algorithm")
	}
	h := jws.Signatures[0].Protected
	r := &Request{JWK: h.JSONWebKey, KeyID: h.KeyID, Nonce: h.Nonce, jws: jws}
	url, ok := h.ExtraHeaders["url"].(string)
	if !ok || url == "" {
		return nil, Errorf(Malformed, "the request's protected header has no url")
	}
	r.URL = url
	if (r.JWK == nil) == (r.KeyID == "") {
		return nil, Errorf(Malformed, "the request's protected header must have either jwk or kid")
	}
	if r.JWK != nil {
		if err := checkKey(r.JWK); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// checkKey refuses keys that are weak, symmetric or private.
func checkKey(k *jose.JSONWebKey) error {
	if !k.Valid() || !k.IsPublic() {
		return Errorf(BadPublicKey, "the key is not a valid public key")
	}
	switch key := k.Key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 || bits > 8192 {
			return Errorf(BadPublicKey, "RSA keys have 2048 to 8192 bits")
		}
	case *ecdsa.PublicKey, ed25519.PublicKey:
	default:
		return Errorf(BadPublicKey, "the key must be RSA, ECDSA or Ed25519")
	}
	return nil
}

// Verify checks the signature with a key and returns the payload.
func (r *Request) Verify(key *jose.JSONWebKey) ([]byte, error) {
	payload, err := r.jws.Verify(key)
	if err != nil {
		return nil, Errorf(Malformed, "the request's signature is invalid")
	}
	return payload, nil
}

// Thumbprint returns the name of a key (RFC 7638), in base64url.
func Thumbprint(k *jose.JSONWebKey) (string, error) {
	sum, err := k.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", Errorf(BadPublicKey, "the key has no thumbprint")
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// BoundKeyID returns the id of the external account that a binding names,
// unchecked.
func BoundKeyID(binding []byte) (string, error) {
	jws, err := parseBinding(binding)
	if err != nil {
		return "", err
	}
	return jws.Signatures[0].Protected.KeyID, nil
}

func parseBinding(binding []byte) (*jose.JSONWebSignature, error) {
	jws, err := jose.ParseSigned(string(binding), []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512})
	if err != nil || len(jws.Signatures) != 1 {
		return nil, Errorf(Malformed, "externalAccountBinding is not a JSON Web Signature with an HMAC")
	}
	return jws, nil
}

// CheckBinding checks that a binding was made with the external account's key,
// for this account key and this URL (RFC 8555, section 7.3.4).
func CheckBinding(binding, mac []byte, account *jose.JSONWebKey, url string) error {
	jws, err := parseBinding(binding)
	if err != nil {
		return err
	}
	payload, err := jws.Verify(mac)
	if err != nil {
		return Errorf(Unauthorized, "the external account binding is invalid")
	}
	h := jws.Signatures[0].Protected
	if bound, _ := h.ExtraHeaders["url"].(string); bound != url || h.Nonce != "" {
		return Errorf(Malformed, "the external account binding is for another URL, or has a nonce")
	}
	var key jose.JSONWebKey
	if json.Unmarshal(payload, &key) != nil {
		return Errorf(Malformed, "the external account binding holds no key")
	}
	want, err := Thumbprint(account)
	if err != nil {
		return err
	}
	got, err := Thumbprint(&key)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare([]byte(got), []byte(want)) != 1 {
		return Errorf(Malformed, "the external account binding is for another key")
	}
	return nil
}

// KeyAuthorization is what the client shows to prove control (RFC 8555, section
// 8.1).
func KeyAuthorization(token, thumbprint string) string { return token + "." + thumbprint }

// ChallengeTypes returns the ways to prove control of an identifier.
func ChallengeTypes(kind string, wildcard bool) []string {
	switch {
	case wildcard:
		return []string{DNS01}
	case kind == TypeIP:
		return []string{HTTP01, TLSALPN01}
	}
	return []string{HTTP01, DNS01, TLSALPN01}
}

// The types of challenges and identifiers.
const (
	HTTP01    = "http-01"
	DNS01     = "dns-01"
	TLSALPN01 = "tls-alpn-01"

	TypeDNS = "dns"
	TypeIP  = "ip"
)

// Known reports whether a type of challenge is one of those above.
func Known(kind string) bool { return slices.Contains([]string{HTTP01, DNS01, TLSALPN01}, kind) }
