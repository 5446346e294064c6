package k8stest

import (
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// object is something that a token is bound to.
type object struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

// bound are the private claims of a token.
type bound struct {
	Namespace string  `json:"namespace"`
	Account   object  `json:"serviceaccount"`
	Pod       *object `json:"pod,omitempty"`
	Secret    *object `json:"secret,omitempty"`
	Node      *object `json:"node,omitempty"`
}

// claims are those of tokens of both kinds: bound ones have the object, legacy
// ones the flat names.
type claims struct {
	Issuer    string   `json:"iss"`
	Subject   string   `json:"sub"`
	Audiences []string `json:"aud,omitempty"`
	Expires   int64    `json:"exp,omitempty"`
	NotBefore int64    `json:"nbf,omitempty"`
	Issued    int64    `json:"iat,omitempty"`
	ID        string   `json:"jti,omitempty"`
	Bound     *bound   `json:"kubernetes.io,omitempty"`
	Namespace string   `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
	Name      string   `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
	UID       string   `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
	Secret    string   `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
}

// legacyIssuer is that of tokens that are kept in Secrets.
const legacyIssuer = "kubernetes/serviceaccount"

// leeway is how far clocks may differ.
const leeway = time.Minute

// Token makes a token of a service account for audiences (the server's own if
// there are none), good for a lifetime from now.
func (s *Server) Token(namespace, name string, lifetime time.Duration, audiences ...string) string {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(audiences) == 0 {
		audiences = []string{Issuer}
	}
	now := s.now()
	return s.sign(claims{
		Issuer: Issuer, Subject: username(namespace, name), Audiences: audiences, Expires: now.Add(lifetime).Unix(), NotBefore: now.Unix(), Issued: now.Unix(), ID: newUID(),
		Bound: &bound{Namespace: namespace, Account: object{name, s.uids["serviceaccounts/"+namespace+"/"+name]}},
	})
}

// LegacyToken makes a token of the older kind, without audience and end, that is
// kept in a Secret.
func (s *Server) LegacyToken(namespace, name, secret string) string {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sign(claims{
		Issuer: legacyIssuer, Subject: username(namespace, name), Namespace: namespace, Name: name, Secret: secret, UID: s.uids["serviceaccounts/"+namespace+"/"+name],
	})
}

func username(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

func (s *Server) sign(claims any) string {
	s.t.Helper()
	return signWith(s.t.Fatal, s.key, s.kid, claims)
}

func signWith(fatal func(...any), key *rsa.PrivateKey, kid string, claims any) string {
	options := &jose.SignerOptions{}
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, options)
	if err != nil {
		fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		fatal(err)
	}
	text, err := jws.CompactSerialize()
	if err != nil {
		fatal(err)
	}
	return text
}

// verdict is the status of a TokenReview.
type verdict struct {
	Authenticated bool     `json:"authenticated,omitempty"`
	User          user     `json:"user"`
	Audiences     []string `json:"audiences,omitempty"`
	Error         string   `json:"error,omitempty"`
}

func refuse(reason string, args ...any) verdict {
	if reason == "" {
		return verdict{Error: "invalid bearer token"}
	}
	return verdict{Error: "[invalid bearer token, " + fmt.Sprintf(reason, args...) + "]"}
}

// review answers a TokenReview (authentication.k8s.io/v1).
func (s *Server) review(w http.ResponseWriter, r *http.Request, who user) {
	s.Reviews.Add(1)
	if !s.reviewers[who.Username] {
		forbidden(w, "tokenreviews.authentication.k8s.io", "create", who.Username, "tokenreviews", "authentication.k8s.io", "at the cluster scope")
		return
	}
	var ask struct {
		Spec struct {
			Token     string   `json:"token"`
			Audiences []string `json:"audiences,omitempty"`
		} `json:"spec"`
	}
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil {
		fail(w, http.StatusBadRequest, "BadRequest", "the object provided is unrecognized")
		return
	}
	if ask.Spec.Token == "" {
		fail(w, http.StatusBadRequest, "BadRequest", "token is required for TokenReview in authentication")
		return
	}
	audiences := ask.Spec.Audiences
	if len(audiences) == 0 {
		audiences = []string{Issuer}
	}
	send(w, http.StatusCreated, map[string]any{
		"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "metadata": map[string]any{}, "spec": ask.Spec, "status": s.verify(ask.Spec.Token, audiences),
	})
}

// verify judges a token for audiences.
func (s *Server) verify(token string, audiences []string) verdict {
	if u, ok := s.users[token]; ok {
		if !slices.Contains(audiences, Issuer) {
			return refuse("")
		}
		return verdict{Authenticated: true, User: u, Audiences: []string{Issuer}}
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return refuse("")
	}
	var c claims
	if json.Unmarshal(jws.UnsafePayloadWithoutVerification(), &c) != nil || c.Issuer != Issuer && c.Issuer != legacyIssuer {
		return refuse("") // nobody feels concerned
	}
	if kid := jws.Signatures[0].Protected.KeyID; kid != "" && kid != s.kid {
		return refuse("invalid signature, no keys found")
	}
	if _, err := jws.Verify(&s.key.PublicKey); err != nil {
		return refuse("go-jose/go-jose: error in cryptographic primitive")
	}
	held := c.Audiences
	if c.Issuer == legacyIssuer {
		held = []string{Issuer}
	}
	var common []string
	for _, a := range audiences {
		if slices.Contains(held, a) {
			common = append(common, a)
		}
	}
	if len(common) == 0 {
		return refuse("token audiences %s is invalid for the target audiences %s", quoted(held), quoted(audiences))
	}
	v := s.validate(c)
	if v.Error == "" {
		v.Audiences = common
	}
	return v
}

func quoted(list []string) string {
	q := make([]string, len(list))
	for i, s := range list {
		q[i] = fmt.Sprintf("%q", s)
	}
	return "[" + strings.Join(q, " ") + "]"
}

// validate judges the times of a token and the objects that it is bound to.
func (s *Server) validate(c claims) verdict {
	now := s.now()
	switch {
	case c.Expires != 0 && now.Add(-leeway).After(time.Unix(c.Expires, 0)):
		return refuse("service account token has expired")
	case c.NotBefore != 0 && now.Add(leeway).Before(time.Unix(c.NotBefore, 0)):
		return refuse("service account token is not valid yet")
	}
	b := c.Bound
	if b == nil {
		b = &bound{Namespace: c.Namespace, Account: object{c.Name, c.UID}}
	}
	switch uid := s.uids["serviceaccounts/"+b.Namespace+"/"+b.Account.Name]; {
	case uid == "":
		return refuse("serviceaccounts %q not found", b.Account.Name)
	case uid != b.Account.UID:
		return refuse("service account UID (%s) does not match claim (%s)", uid, b.Account.UID)
	case c.Bound == nil && s.uids["secrets/"+b.Namespace+"/"+c.Secret] == "":
		return refuse("Token has been invalidated")
	}
	for kind, o := range map[string]*object{"pods": b.Pod, "secrets": b.Secret} {
		if o != nil && s.uids[kind+"/"+b.Namespace+"/"+o.Name] != o.UID {
			return refuse("service account token has been invalidated")
		}
	}
	u := user{
		Username: username(b.Namespace, b.Account.Name), UID: b.Account.UID,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + b.Namespace, "system:authenticated"},
	}
	if c.Bound != nil {
		u.Extra = extra(c)
	}
	return verdict{Authenticated: true, User: u}
}

// extra is what a server tells about a bound token beside its user.
func extra(c claims) map[string][]string {
	const prefix = "authentication.kubernetes.io/"
	e := map[string][]string{prefix + "credential-id": {"JTI=" + c.ID}}
	for kind, o := range map[string]*object{"pod": c.Bound.Pod, "node": c.Bound.Node} {
		if o != nil {
			e[prefix+kind+"-name"], e[prefix+kind+"-uid"] = []string{o.Name}, []string{o.UID}
		}
	}
	return e
}
