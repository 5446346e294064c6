package k8stest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Issuer is that of every server's tokens, and the audience of the server itself.
const Issuer = "https://kubernetes.default.svc.cluster.local"

// Server is a running API server.
type Server struct {
	// URL is where it listens, with TLS.
	URL string
	// CAPEM is the certificate that it shows.
	CAPEM string
	// Reviews counts the token reviews that were asked for.
	Reviews atomic.Int64

	t   testing.TB
	now func() time.Time
	key *rsa.PrivateKey
	kid string

	mu         sync.Mutex
	uids       map[string]string            // of objects, by kind/namespace/name; guarded by mu
	labels     map[string]map[string]string // of namespaces; guarded by mu
	notes      map[string]map[string]string // annotations of service accounts, by namespace/name; guarded by mu
	users      map[string]user              // by static token; guarded by mu
	reviewers  map[string]bool              // user names that may review; guarded by mu
	readers    map[string]bool              // user names that may read namespaces and service accounts; guarded by mu
	unforeseen int                          // answers with status 500 still to give; guarded by mu
}

// user is who asks, or who a token is about.
type user struct {
	Username string              `json:"username,omitempty"`
	UID      string              `json:"uid,omitempty"`
	Groups   []string            `json:"groups,omitempty"`
	Extra    map[string][]string `json:"extra,omitempty"`
}

// New starts a server and stops it when the test ends. now is its clock; nil is
// the machine's.
func New(t testing.TB, now func() time.Time) *Server {
	t.Helper()
	if now == nil {
		now = time.Now
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256(der)
	s := &Server{
		t: t, now: now, key: key, kid: base64.RawURLEncoding.EncodeToString(id[:]), uids: map[string]string{}, labels: map[string]map[string]string{},
		notes: map[string]map[string]string{}, users: map[string]user{}, reviewers: map[string]bool{}, readers: map[string]bool{},
	}
	listener := httptest.NewTLSServer(http.HandlerFunc(s.serve))
	t.Cleanup(listener.Close)
	s.URL = listener.URL
	s.CAPEM = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: listener.Certificate().Raw}))
	return s
}

// PublicKeyPEM is the key that tokens are verified with.
func (s *Server) PublicKeyPEM() string {
	der, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// Put makes an object of a kind ("serviceaccounts", "pods", "secrets", "nodes")
// and returns its uid; a new one unless uid is given. Nodes have no namespace.
func (s *Server) Put(kind, namespace, name, uid string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if uid == "" {
		uid = newUID()
	}
	s.uids[kind+"/"+namespace+"/"+name] = uid
	return uid
}

// ServiceAccount makes a service account anew and returns its uid.
func (s *Server) ServiceAccount(namespace, name string) string {
	return s.Put("serviceaccounts", namespace, name, "")
}

// Delete removes an object, named as kind/namespace/name.
func (s *Server) Delete(object string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.uids, object)
}

// Namespace makes a namespace or replaces its labels.
func (s *Server) Namespace(name string, labels map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]string{"kubernetes.io/metadata.name": name}
	for k, v := range labels {
		all[k] = v
	}
	s.labels[name] = all
}

// Annotate replaces the annotations of a service account.
func (s *Server) Annotate(namespace, name string, annotations map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes[namespace+"/"+name] = annotations
}

// User lets a static token stand for a user.
func (s *Server) User(token, name, uid string, groups ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[token] = user{Username: name, UID: uid, Groups: append(groups, "system:authenticated")}
}

// AllowReviews binds a user name to the right to review tokens.
func (s *Server) AllowReviews(username string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reviewers[username] = true
}

// AllowReads binds a user name to the right to read namespaces and service
// accounts.
func (s *Server) AllowReads(username string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readers[username] = true
}

// Break answers the next n requests with status 500.
func (s *Server) Break(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unforeseen = n
}

func newUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// failure is a Status (meta/v1) that says why something was refused.
type failure struct {
	Kind       string         `json:"kind"`
	APIVersion string         `json:"apiVersion"`
	Metadata   map[string]any `json:"metadata"`
	Status     string         `json:"status"`
	Message    string         `json:"message"`
	Reason     string         `json:"reason"`
	Code       int            `json:"code"`
}

func fail(w http.ResponseWriter, code int, reason, message string) {
	send(w, code, failure{Kind: "Status", APIVersion: "v1", Metadata: map[string]any{}, Status: "Failure", Message: message, Reason: reason, Code: code})
}

func send(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(body)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unforeseen > 0 {
		s.unforeseen--
		fail(w, http.StatusInternalServerError, "InternalError", "an error on the server")
		return
	}
	who := user{Username: "system:anonymous"}
	if bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		v := s.verify(bearer, []string{Issuer})
		if v.Error != "" {
			fail(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
			return
		}
		who = v.User
	}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case r.Method == http.MethodPost && r.URL.Path == "/apis/authentication.k8s.io/v1/tokenreviews":
		s.review(w, r, who)
	case r.Method == http.MethodGet && len(parts) == 4 && parts[2] == "namespaces":
		s.namespace(w, who, parts[3])
	case r.Method == http.MethodGet && len(parts) == 6 && parts[4] == "serviceaccounts":
		s.account(w, who, parts[3], parts[5])
	default:
		fail(w, http.StatusNotFound, "NotFound", "the server could not find the requested resource")
	}
}

func forbidden(w http.ResponseWriter, what, verb, who, resource, group, where string) {
	fail(w, http.StatusForbidden, "Forbidden", fmt.Sprintf("%s is forbidden: User %q cannot %s resource %q in API group %q %s", what, who, verb, resource, group, where))
}

func (s *Server) namespace(w http.ResponseWriter, who user, name string) {
	if !s.readers[who.Username] {
		forbidden(w, fmt.Sprintf("namespaces %q", name), "get", who.Username, "namespaces", "", fmt.Sprintf("in the namespace %q", name))
		return
	}
	labels, ok := s.labels[name]
	if !ok {
		fail(w, http.StatusNotFound, "NotFound", fmt.Sprintf("namespaces %q not found", name))
		return
	}
	send(w, http.StatusOK, map[string]any{"kind": "Namespace", "apiVersion": "v1", "metadata": map[string]any{"name": name, "labels": labels}})
}

func (s *Server) account(w http.ResponseWriter, who user, namespace, name string) {
	if !s.readers[who.Username] {
		forbidden(w, fmt.Sprintf("serviceaccounts %q", name), "get", who.Username, "serviceaccounts", "", fmt.Sprintf("in the namespace %q", namespace))
		return
	}
	uid, ok := s.uids["serviceaccounts/"+namespace+"/"+name]
	if !ok {
		fail(w, http.StatusNotFound, "NotFound", fmt.Sprintf("serviceaccounts %q not found", name))
		return
	}
	send(w, http.StatusOK, map[string]any{"kind": "ServiceAccount", "apiVersion": "v1", "metadata": map[string]any{
		"name": name, "namespace": namespace, "uid": uid, "annotations": s.notes[namespace+"/"+name],
	}})
}
