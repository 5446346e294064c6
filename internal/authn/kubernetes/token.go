package kubernetes

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// maxToken bounds a token, in bytes.
const maxToken = 64 << 10

// said is what a token says about itself, which nobody has verified yet unless
// there are keys to do so.
type said struct {
	Issuer    string
	Audiences []string
	account
	// Secret is the Secret that a token of the older kind was kept in.
	Secret string
}

// claims are those of tokens of both kinds: bound ones have the object, older
// ones the flat names.
type claims struct {
	Issuer   string          `json:"iss"`
	Audience json.RawMessage `json:"aud"`
	Bound    struct {
		Namespace string `json:"namespace"`
		Account   struct {
			Name string `json:"name"`
			UID  string `json:"uid"`
		} `json:"serviceaccount"`
	} `json:"kubernetes.io"`
	Namespace string `json:"kubernetes.io/serviceaccount/namespace"`
	Name      string `json:"kubernetes.io/serviceaccount/service-account.name"`
	UID       string `json:"kubernetes.io/serviceaccount/service-account.uid"`
	Secret    string `json:"kubernetes.io/serviceaccount/secret.name"`
}

// algorithms are those that clusters sign with.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512, jose.EdDSA}
}

// hear reads what a token says. ok is false for what is no token, and, if there
// are keys, for one that none of them has signed.
func (a *api) hear(token string) (said, bool) {
	if len(token) > maxToken || !tokenText(token) {
		return said{}, false
	}
	jws, err := jose.ParseSignedCompact(token, algorithms())
	if err != nil {
		return said{}, false
	}
	payload := jws.UnsafePayloadWithoutVerification()
	if len(a.keys) > 0 {
		payload = nil
		for _, key := range a.keys {
			if verified, err := jws.Verify(key); err == nil {
				payload = verified
				break
			}
		}
	}
	var c claims
	if payload == nil || json.Unmarshal(payload, &c) != nil {
		return said{}, false
	}
	s := said{Issuer: c.Issuer, account: account{c.Bound.Namespace, c.Bound.Account.Name, c.Bound.Account.UID}}
	if s.Name == "" {
		s.account, s.Secret = account{c.Namespace, c.Name, c.UID}, c.Secret
	}
	s.Audiences, _ = audiences(c.Audience)
	return s, true
}

// audiences reads an aud claim: a string or a list of strings (RFC 7519, section
// 4.1.3).
func audiences(raw json.RawMessage) ([]string, bool) {
	var one string
	var many []string
	switch {
	case len(raw) == 0:
		return nil, true
	case json.Unmarshal(raw, &many) == nil:
		return many, true
	case json.Unmarshal(raw, &one) == nil:
		return []string{one}, true
	}
	return nil, false
}

// usualIssuer is the one that is expected if issuers are checked and none is
// configured.
const usualIssuer = "kubernetes/serviceaccount"

// wrongIssuer reports whether the configuration rules the issuer out.
func (a *api) wrongIssuer(s said) bool {
	if a.config.IgnoreIssuer {
		return false
	}
	want := a.config.Issuer
	if want == "" {
		want = usualIssuer
	}
	return s.Issuer != want
}

// isFor reports whether a token says that it is for an audience.
func (s said) isFor(audience string) bool {
	return slices.Contains(s.Audiences, audience)
}

// is reports whether a token's own words fit the service account that the API
// server has named. Words that it leaves out fit.
func (s said) is(who account) bool {
	fits := func(said, is string) bool { return said == "" || strings.TrimSpace(said) == is }
	return fits(s.Namespace, who.Namespace) && fits(s.Name, who.Name) && fits(s.UID, who.UID)
}
