package backup_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/cofferhq/coffer/internal/route"
)

// keep takes three snapshots by a schedule that keeps two, and returns what
// the second of those left has to be.
func keep(t *testing.T, s *site, body string) (left []string) {
	t.Helper()
	s.mustWrite("far", body)
	s.lead(s.noun)
	for i := range 3 {
		text := fmt.Sprintf("snapshot %d", i)
		s.text.Store(text)
		if i > 0 {
			left = append(left, text)
			s.clock.Advance(time.Hour)
		} else {
			s.text.Store("a snapshot")
		}
		s.eventually("a snapshot is where it belongs", func() bool {
			if s.noun.Failures() > 0 {
				t.Fatalf("the snapshot failed: %s", s.status("far"))
			}
			good, ok := s.noun.LastGood()
			return ok && good.Equal(s.clock.Now())
		})
	}
	return left
}

// secretless fails the test if what is shown of a schedule has a secret.
func secretless(t *testing.T, s *site, secrets ...string) {
	t.Helper()
	shown, err := s.call(route.VerbRead, "config/far", "")
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		if bytes.Contains(shown, []byte(secret)) {
			t.Errorf("the schedule shows a secret: %s", shown)
		}
	}
}

const (
	accessKey = "AKIDEXAMPLE"
	secretKey = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

// signedS3 is an S3-compatible server that refuses what is not signed as the
// vendor's own code would, or whose body is not the one that was signed.
func signedS3(t *testing.T, bucket string) (host string, content func() []string) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	inner := gofakes3.New(backend, gofakes3.WithTimeSkewLimit(0)).Server() // the clock here is not its
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		sum := sha256.Sum256(body)
		if got := r.Header.Get("X-Amz-Content-Sha256"); got != hex.EncodeToString(sum[:]) {
			t.Errorf("%s %s: the body's digest is not told", r.Method, r.URL)
		}
		if !signedAgain(t, r) {
			w.WriteHeader(http.StatusForbidden)
			io.WriteString(w, `<?xml version="1.0"?><Error><Code>SignatureDoesNotMatch</Code></Error>`)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return strings.TrimPrefix(srv.URL, "http://"), func() []string {
		list, err := backend.ListBucket(bucket, nil, gofakes3.ListBucketPage{})
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, c := range list.Contents {
			o, err := backend.GetObject(bucket, c.Key, nil)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(o.Contents)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(c.Key, "prod/eu/") {
				t.Errorf("%s is in another folder", c.Key)
			}
			all = append(all, string(text))
		}
		return all
	}
}

// signedAgain signs a request as it came and compares.
func signedAgain(t *testing.T, r *http.Request) bool {
	t.Helper()
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return false
	}
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+r.Host+r.URL.RequestURI(), nil)
	if err != nil {
		t.Fatal(err)
	}
	again.ContentLength = r.ContentLength
	for name, values := range r.Header {
		if strings.HasPrefix(name, "X-Amz-") && name != "X-Amz-Date" {
			again.Header[name] = values
		}
	}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	keys := aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}
	if err := signer.SignHTTP(context.Background(), keys, again, r.Header.Get("X-Amz-Content-Sha256"), "s3", "eu-west-1", at); err != nil {
		t.Fatal(err)
	}
	return r.Header.Get("Authorization") == again.Header.Get("Authorization")
}

func TestS3(t *testing.T) {
	host, content := signedS3(t, "backups")
	s := newSite(t)
	left := keep(t, s, fmt.Sprintf(`{"interval":"1h","retain":2,"path_prefix":"/prod/eu","storage_type":"aws-s3","aws_s3_bucket":"backups","aws_s3_region":"eu-west-1",
		"aws_access_key_id":%q,"aws_secret_access_key":%q,"aws_s3_endpoint":%q,"aws_s3_disable_tls":true,"aws_s3_force_path_style":true,"aws_s3_server_side_encryption":true}`, accessKey, secretKey, host))
	if got := content(); !slices.Equal(got, left) {
		t.Errorf("the bucket has %q, want %q", got, left)
	}
	secretless(t, s, secretKey)
}

// TestS3InParts uploads what is too large for one request.
func TestS3InParts(t *testing.T) {
	if testing.Short() {
		t.Skip("it moves 130 MB")
	}
	host, content := signedS3(t, "backups")
	s := newSite(t)
	s.env["AWS_ACCESS_KEY_ID"], s.env["AWS_SECRET_ACCESS_KEY"] = accessKey, secretKey // not in the schedule
	big := strings.Repeat("0123456789abcdef", (130<<20)/16)
	s.text.Store(big)
	s.mustWrite("far", fmt.Sprintf(`{"interval":"1h","path_prefix":"prod/eu/","storage_type":"aws-s3","aws_s3_bucket":"backups","aws_s3_region":"eu-west-1",
		"aws_s3_endpoint":%q,"aws_s3_disable_tls":true,"aws_s3_force_path_style":true}`, host))
	s.lead(s.noun)
	s.eventually("the snapshot is there", func() bool {
		if s.noun.Failures() > 0 {
			t.Fatalf("the snapshot failed: %s", s.status("far"))
		}
		at, _ := s.noun.LastGood()
		return !at.IsZero()
	})
	if got := content(); len(got) != 1 || got[0] != big {
		t.Errorf("the bucket has %d objects, and not what was sent", len(got))
	}
}

func TestAWrongKeyIsTold(t *testing.T) {
	host, content := signedS3(t, "backups")
	s := newSite(t)
	s.mustWrite("far", fmt.Sprintf(`{"interval":"1h","path_prefix":"prod/eu","storage_type":"aws-s3","aws_s3_bucket":"backups","aws_s3_region":"eu-west-1",
		"aws_access_key_id":%q,"aws_secret_access_key":"another","aws_s3_endpoint":%q,"aws_s3_disable_tls":true,"aws_s3_force_path_style":true}`, accessKey, host))
	s.lead(s.noun)
	s.eventually("it fails", func() bool { return s.noun.Failures() == 1 })
	if got := s.status("far"); !strings.Contains(got, "SignatureDoesNotMatch") {
		t.Errorf("the status does not say why: %s", got)
	}
	if got := content(); len(got) != 0 {
		t.Errorf("the bucket has %q", got)
	}
}

// blobs is what the stand-ins of the other clouds keep.
type blobs struct {
	mu     sync.Mutex
	byName map[string]string // guarded by mu
	blocks map[string]string // guarded by mu: Azure's, by name and id
}

func (b *blobs) contents() (all []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	names := make([]string, 0, len(b.byName))
	for name := range b.byName {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		all = append(all, b.byName[name])
	}
	return all
}

// azureKey is a storage account's.
var azureKey = base64.StdEncoding.EncodeToString([]byte("the key of an account, 32 bytes."))

// azureBlobs stands for Azure Blob Storage, by its REST reference. It works the
// signature out by itself: for the requests there are, all headers that it
// covers but these are empty.
func azureBlobs(t *testing.T, b *blobs) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		length := ""
		if len(body) > 0 {
			length = fmt.Sprint(len(body))
		}
		sign := r.Method + "\n\n\n" + length + "\n\n\n\n\n\n\n\n\nx-ms-date:" + r.Header.Get("X-Ms-Date") + "\nx-ms-version:" + r.Header.Get("X-Ms-Version") + "\n/acct" + r.URL.EscapedPath()
		q := r.URL.Query()
		for _, name := range []string{"blockid", "comp", "marker", "prefix", "restype"} {
			if q.Has(name) {
				sign += "\n" + name + ":" + q.Get(name)
			}
		}
		raw, err := base64.StdEncoding.DecodeString(azureKey)
		if err != nil {
			t.Fatal(err)
		}
		m := hmac.New(sha256.New, raw)
		io.WriteString(m, sign)
		if r.Header.Get("Authorization") != "SharedKey acct:"+base64.StdEncoding.EncodeToString(m.Sum(nil)) {
			w.Header().Set("X-Ms-Error-Code", "AuthenticationFailed")
			w.WriteHeader(http.StatusForbidden)
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		name := strings.TrimPrefix(r.URL.Path, "/box/")
		switch {
		case r.Method == http.MethodPut && q.Get("comp") == "block":
			b.blocks[name+q.Get("blockid")] = string(body)
			w.WriteHeader(http.StatusCreated)
		case r.Method == http.MethodPut && q.Get("comp") == "blocklist":
			var list struct{ Latest []string }
			if err := xml.Unmarshal(body, &list); err != nil {
				t.Error(err)
			}
			whole := ""
			for _, id := range list.Latest {
				whole += b.blocks[name+id]
			}
			b.byName[name] = whole
			w.WriteHeader(http.StatusCreated)
		case r.Method == http.MethodDelete:
			delete(b.byName, name)
			w.WriteHeader(http.StatusAccepted)
		case q.Get("comp") == "list":
			b.page(w, q, "marker", func(names []string, next string) string {
				text := `<?xml version="1.0"?><EnumerationResults><Blobs>`
				for _, name := range names {
					text += "<Blob><Name>" + name + "</Name></Blob>"
				}
				return text + "</Blobs><NextMarker>" + next + "</NextMarker></EnumerationResults>"
			})
		default:
			t.Errorf("unexpected request: %s %s", r.Method, r.URL)
		}
	})
}

// page answers a list two names at a time.
func (b *blobs) page(w io.Writer, q url.Values, marker string, show func(names []string, next string) string) {
	var names []string
	for name := range b.byName {
		if strings.HasPrefix(name, q.Get("prefix")) && name > q.Get(marker) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	next := ""
	if len(names) > 2 {
		names = names[:2]
		next = names[1]
	}
	io.WriteString(w, show(names, next))
}

func TestAzure(t *testing.T) {
	b := &blobs{byName: map[string]string{}, blocks: map[string]string{}}
	srv := httptest.NewServer(azureBlobs(t, b))
	t.Cleanup(srv.Close)
	s := newSite(t)
	left := keep(t, s, fmt.Sprintf(`{"interval":"1h","retain":2,"path_prefix":"prod","storage_type":"azure-blob","azure_container_name":"box","azure_account_name":"acct","azure_account_key":%q,"azure_endpoint":%q}`, azureKey, srv.URL))
	if got := b.contents(); !slices.Equal(got, left) {
		t.Errorf("the container has %q, want %q", got, left)
	}
	secretless(t, s, azureKey)
}

// google stands for Cloud Storage and the server that gives out its tokens.
func google(t *testing.T, b *blobs, key *rsa.PublicKey) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.FormValue("assertion"), ".")
		if len(parts) != 3 {
			t.Errorf("the assertion has %d parts", len(parts))
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		signature, err := base64.RawURLEncoding.DecodeString(parts[2])
		if err != nil {
			t.Error(err)
		}
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature); err != nil {
			t.Errorf("the assertion is not signed by the account: %v", err)
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"access_token":"of an hour","token_type":"Bearer","expires_in":3600}`)
	})
	allowed := func(h http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer of an hour" {
				w.WriteHeader(http.StatusUnauthorized)
				return
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			h(w, r)
		}
	}
	mux.HandleFunc("POST /upload/storage/v1/b/box/o", allowed(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		b.byName[r.URL.Query().Get("name")] = string(body)
	}))
	mux.HandleFunc("GET /storage/v1/b/box/o", allowed(func(w http.ResponseWriter, r *http.Request) {
		b.page(w, r.URL.Query(), "pageToken", func(names []string, next string) string {
			var page struct {
				Items []map[string]string `json:"items"`
				Next  string              `json:"nextPageToken,omitempty"`
			}
			for _, name := range names {
				page.Items = append(page.Items, map[string]string{"name": name})
			}
			page.Next = next
			text, err := json.Marshal(page)
			if err != nil {
				t.Error(err)
			}
			return string(text)
		})
	}))
	mux.HandleFunc("DELETE /storage/v1/b/box/o/{name}", allowed(func(w http.ResponseWriter, r *http.Request) {
		delete(b.byName, r.PathValue("name"))
		w.WriteHeader(http.StatusNoContent)
	}))
	return mux
}

func TestGoogle(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b := &blobs{byName: map[string]string{}}
	srv := httptest.NewServer(google(t, b, &key.PublicKey))
	t.Cleanup(srv.Close)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	account, err := json.Marshal(map[string]string{
		"client_email": "coffer@example.iam", "private_key_id": "1", "token_uri": srv.URL + "/token",
		"private_key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	})
	if err != nil {
		t.Fatal(err)
	}
	s := newSite(t)
	left := keep(t, s, fmt.Sprintf(`{"interval":"1h","retain":2,"path_prefix":"prod/eu","storage_type":"google-gcs","google_gcs_bucket":"box","google_service_account_key":%q,"google_endpoint":%q,"google_disable_tls":true}`,
		account, strings.TrimPrefix(srv.URL, "http://")))
	if got := b.contents(); !slices.Equal(got, left) {
		t.Errorf("the bucket has %q, want %q", got, left)
	}
	secretless(t, s, "PRIVATE KEY")
}
