package k8stest

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// exchange is one of those that were recorded with a real API server: what was
// asked, with the claims of tokens instead of tokens that have expired since,
// and what of the answer does not depend on the server.
type exchange struct {
	Name      string
	Now       int64 // of the server, in seconds
	Method    string
	Path      string
	Reviewer  *bearer
	Token     *bearer
	Audiences []string
	// Gone are objects that had been deleted.
	Gone             []string
	MayGetNamespaces bool `json:"may_get_namespaces"`
	Want             struct {
		Status      int
		ContentType string `json:"content_type"`
		Review      map[string]any
		Labels      map[string]string
		Failure     map[string]any
	}
}

// bearer is a token: its claims, and which key signed it under which id, or its
// text.
type bearer struct {
	Text   string
	Claims map[string]any
	Key    string // own or other
	KeyID  string `json:"kid"` // own, none, or as it stands here
}

func (b *bearer) sign(t *testing.T, s *Server, other *rsa.PrivateKey) string {
	if b.Claims == nil {
		return b.Text
	}
	key, kid := s.key, b.KeyID
	if b.Key == "other" {
		key = other
	}
	if kid == "own" {
		kid = s.kid
	}
	return signWith(t.Fatal, key, kid, b.Claims)
}

// world makes what there was in the recorded cluster.
func world(s *Server) {
	for name, uid := range map[string]string{
		"app": "dc9ef7b9-ccec-492c-9613-10aff24c4849", "reviewer": "f3ba7b30-b1d2-4c96-be0b-58215f59535c", "noperm": "fb143cf6-80ec-407c-9b3a-c83ee6d3e614",
		"selfrev": "ec5c74de-4d1b-42e4-b67b-070e8c36123a", "gone": "f1b6110a-5632-4e42-95b2-6e793e717950", "again": "ba418fe4-e661-4044-b606-e2a286eacc1d",
	} {
		s.Put("serviceaccounts", "team-a", name, uid)
	}
	s.Put("pods", "team-a", "web-0", "0e04d14b-b3db-44ff-b8b4-0c08dc0519ad")
	s.Put("secrets", "team-a", "bind-me", "b6123509-8996-4ceb-a886-c17c02cfc19a")
	s.Put("secrets", "team-a", "app-token", "")
	s.Namespace("team-a", map[string]string{"env": "prod", "team": "a"})
	s.User("usertok", "alice", "uid2", "dev", "ops")
	s.User("admintok", "admin", "uid1", "system:masters")
	for _, name := range []string{"system:serviceaccount:team-a:reviewer", "system:serviceaccount:team-a:selfrev", "admin"} {
		s.AllowReviews(name)
	}
	s.AllowReads("admin")
}

func TestItAnswersAsTheRealOneDid(t *testing.T) {
	text, err := os.ReadFile("testdata/recorded.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded []exchange
	if err := json.Unmarshal(text, &recorded); err != nil {
		t.Fatal(err)
	}
	if len(recorded) < 50 {
		t.Fatalf("there are %d exchanges only", len(recorded))
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	var now int64
	s := New(t, func() time.Time { return time.Unix(now, 0) })
	for _, x := range recorded {
		t.Run(x.Name, func(t *testing.T) {
			now = x.Now
			s.uids, s.readers = map[string]string{}, map[string]bool{}
			world(s)
			for _, object := range x.Gone {
				s.Delete(object)
			}
			if x.MayGetNamespaces {
				s.AllowReads("system:serviceaccount:team-a:reviewer")
			}
			status, kind, body := ask(t, s, x, other)
			if status != x.Want.Status || kind != x.Want.ContentType {
				t.Errorf("got %d %s, want %d %s", status, kind, x.Want.Status, x.Want.ContentType)
			}
			switch got, _ := body["status"].(map[string]any); {
			case x.Want.Review != nil:
				if diff := cmp.Diff(x.Want.Review, got); diff != "" {
					t.Error(diff)
				}
			case x.Want.Labels != nil:
				labels := map[string]string{}
				for k, v := range body["metadata"].(map[string]any)["labels"].(map[string]any) {
					labels[k] = v.(string)
				}
				if diff := cmp.Diff(x.Want.Labels, labels); diff != "" {
					t.Error(diff)
				}
			default:
				for member, want := range x.Want.Failure {
					if diff := cmp.Diff(want, body[member]); diff != "" {
						t.Errorf("%s: %s", member, diff)
					}
				}
			}
		})
	}
}

func ask(t *testing.T, s *Server, x exchange, other *rsa.PrivateKey) (status int, kind string, body map[string]any) {
	t.Helper()
	var sent []byte
	if x.Token != nil {
		spec := map[string]any{"token": x.Token.sign(t, s, other)}
		if x.Audiences != nil {
			spec["audiences"] = x.Audiences
		}
		var err error
		if sent, err = json.Marshal(map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}); err != nil {
			t.Fatal(err)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), x.Method, s.URL+x.Path, bytes.NewReader(sent))
	if err != nil {
		t.Fatal(err)
	}
	if x.Reviewer != nil {
		req.Header.Set("Authorization", "Bearer "+x.Reviewer.sign(t, s, other))
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(s.CAPEM))
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header.Get("Content-Type"), body
}
