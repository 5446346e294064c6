package jwt_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// idp is an OpenID Connect provider. It does what one must: codes are good once,
// for the client and the redirect address that they were made for, and for whoever
// has the PKCE verifier.
type idp struct {
	*httptest.Server
	signer signer
	now    func() time.Time

	mu      sync.Mutex
	codes   map[string]url.Values // parameters of the page, by code
	devices map[string]bool       // device codes and whether the user is done
	// changes are to the claims of identity tokens, info to user information.
	changes, info object
	// token changes the whole answer of the token endpoint.
	token func(object)
}

const (
	clientID     = "coffer"
	clientSecret = "a secret: with &signs"
)

func newIDP(t testing.TB, now func() time.Time) *idp {
	t.Helper()
	p := &idp{signer: newECDSA(t, "k1"), now: now, codes: map[string]url.Values{}, devices: map[string]bool{}}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, object{
			"issuer": p.URL, "jwks_uri": p.URL + "/keys", "authorization_endpoint": p.URL + "/auth", "token_endpoint": p.URL + "/token", "userinfo_endpoint": p.URL + "/me",
			"device_authorization_endpoint": p.URL + "/device", "id_token_signing_alg_values_supported": []string{"ES256"},
		})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{p.signer.jwk()}})
	})
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) { p.exchange(t, w, r) })
	mux.HandleFunc("POST /device", p.device)
	mux.HandleFunc("GET /me", func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.info == nil || r.Header.Get("Authorization") != "Bearer access" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		answer(w, http.StatusOK, p.info)
	})
	p.Server = httptest.NewServer(mux)
	t.Cleanup(p.Close)
	return p
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// approve is the user on the provider's page: it returns what the browser brings
// back.
func (p *idp) approve(t testing.TB, authURL string) (state, code string) {
	t.Helper()
	u, err := url.Parse(authURL)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Path != "/auth" || q.Get("client_id") != clientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" {
		t.Fatalf("the page is %s", authURL)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	code = rand.Text()
	p.codes[code] = q
	return q.Get("state"), code
}

func (p *idp) exchange(t testing.TB, w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = r.ParseForm()
	id, secret, ok := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	if !ok || id != clientID || secret != clientSecret {
		answer(w, http.StatusUnauthorized, object{"error": "invalid_client"})
		return
	}
	nonce := ""
	if r.Form.Get("grant_type") == "urn:ietf:params:oauth:grant-type:device_code" {
		done, known := p.devices[r.Form.Get("device_code")]
		if !known || !done {
			code := "authorization_pending"
			if !known {
				code = "expired_token"
			}
			answer(w, http.StatusBadRequest, object{"error": code})
			return
		}
		delete(p.devices, r.Form.Get("device_code"))
	} else {
		q, known := p.codes[r.Form.Get("code")]
		delete(p.codes, r.Form.Get("code"))
		sum := sha256.Sum256([]byte(r.Form.Get("code_verifier")))
		if !known || q.Get("redirect_uri") != r.Form.Get("redirect_uri") || q.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
			answer(w, http.StatusBadRequest, object{"error": "invalid_grant", "error_description": "canary " + clientSecret})
			return
		}
		nonce = q.Get("nonce")
	}
	now := p.now()
	hash := sha256.Sum256([]byte("access"))
	claims := object{
		"iss": p.URL, "sub": "alice", "aud": clientID, "iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "auth_time": now.Unix(), "nonce": nonce,
		"at_hash": base64.RawURLEncoding.EncodeToString(hash[:16]), "groups": []string{"dev"},
	}
	for k, v := range p.changes {
		if claims[k] = v; v == nil {
			delete(claims, k)
		}
	}
	out := object{"access_token": "access", "token_type": "Bearer", "expires_in": 60, "id_token": p.signer.sign(t, claims)}
	if p.token != nil {
		p.token(out)
	}
	answer(w, http.StatusOK, out)
}

func (p *idp) device(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if id, secret, _ := r.BasicAuth(); id != clientID || secret != url.QueryEscape(clientSecret) {
		answer(w, http.StatusUnauthorized, object{"error": "invalid_client"})
		return
	}
	code := rand.Text()
	p.devices[code] = false
	answer(w, http.StatusOK, object{"device_code": code, "user_code": "ABCD", "verification_uri": p.URL + "/enter", "verification_uri_complete": p.URL + "/enter?c=ABCD", "expires_in": 600, "interval": 7})
}

// done is the user who has entered the code on the other device.
func (p *idp) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for code := range p.devices {
		p.devices[code] = true
	}
}
