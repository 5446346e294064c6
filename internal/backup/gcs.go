package backup

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

	"github.com/cofferhq/coffer/internal/fault"
)

// gcsSettings name a bucket and say how to reach it.
type gcsSettings struct {
	Bucket   string `json:"bucket"`
	Key      string `json:"key,omitempty"`
	Endpoint string `json:"endpoint,omitempty"`
	Plain    bool   `json:"plain,omitempty"`
}

// serviceAccount is what is read of a service account's key file.
type serviceAccount struct {
	Email      string `json:"client_email"`
	PrivateKey string `json:"private_key"`
	KeyID      string `json:"private_key_id"`
	TokenURL   string `json:"token_uri"`
}

func (s gcsSettings) account() (a serviceAccount, err error) {
	if json.Unmarshal([]byte(s.Key), &a) != nil || a.Email == "" || a.PrivateKey == "" {
		return a, fault.New(fault.Invalid, "'google_service_account_key' is required: the JSON of a service account's key file")
	}
	a.TokenURL = cmp.Or(a.TokenURL, "https://oauth2.googleapis.com/token")
	if u, err := url.Parse(a.TokenURL); err != nil || u.Host == "" || u.Scheme != "https" && !s.Plain {
		return a, fault.New(fault.Invalid, "'google_service_account_key' has a token_uri that is no https URL")
	}
	return a, nil
}

func (s gcsSettings) check() error {
	switch {
	case s.Bucket == "":
		return fault.New(fault.Invalid, "'google_gcs_bucket' is required")
	case strings.ContainsAny(s.Endpoint, "/?#@"):
		return fault.New(fault.Invalid, "'google_endpoint' is a host, with a port if need be, and no URL")
	case s.Plain && s.Endpoint == "":
		return fault.New(fault.Invalid, "'google_disable_tls' needs a 'google_endpoint': Google is not spoken to without TLS")
	}
	_, err := s.account()
	return err
}

func (s gcsSettings) shown() any {
	return struct {
		Bucket   string `json:"google_gcs_bucket"`
		Endpoint string `json:"google_endpoint"`
		Plain    bool   `json:"google_disable_tls"`
	}{s.Bucket, s.Endpoint, s.Plain}
}

// gcsPlace is a folder of a bucket, by the JSON API of Google Cloud Storage
// (https://cloud.google.com/storage/docs/json_api).
type gcsPlace struct {
	gcsSettings
	folder string
	base   url.URL
	jwt    jwt.Config
	client *http.Client
}

func newGCS(c schedule, client *http.Client) (*gcsPlace, error) {
	a, err := c.GCS.account()
	if err != nil {
		return nil, err
	}
	p := &gcsPlace{gcsSettings: c.GCS, folder: folder(c.PathPrefix), client: client, jwt: jwt.Config{
		Email: a.Email, PrivateKey: []byte(a.PrivateKey), PrivateKeyID: a.KeyID, TokenURL: a.TokenURL,
		Scopes: []string{"https://www.googleapis.com/auth/devstorage.read_write"},
	}}
	p.base = url.URL{Scheme: "https", Host: cmp.Or(p.Endpoint, "storage.googleapis.com")}
	if p.Plain {
		p.base.Scheme = "http"
	}
	return p, nil
}

func (p *gcsPlace) put(ctx context.Context, name string, f *os.File, size int64) (string, error) {
	u := p.base.JoinPath("upload/storage/v1/b", p.Bucket, "o")
	u.RawQuery = url.Values{"uploadType": {"media"}, "name": {p.folder + name}}.Encode()
	// An upload that breaks off leaves no object.
	err := p.send(ctx, http.MethodPost, u, io.NewSectionReader(f, 0, size), size, nil)
	return "gs://" + p.Bucket + "/" + p.folder + name, err
}

func (p *gcsPlace) list(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	query := url.Values{"prefix": {p.folder + prefix}, "fields": {"items(name),nextPageToken"}}
	for {
		u := p.base.JoinPath("storage/v1/b", p.Bucket, "o")
		u.RawQuery = query.Encode()
		var page struct {
			Items []struct{ Name string }
			Next  string `json:"nextPageToken"`
		}
		if err := p.send(ctx, http.MethodGet, u, nil, 0, &page); err != nil {
			return nil, err
		}
		for _, i := range page.Items {
			names = append(names, strings.TrimPrefix(i.Name, p.folder))
		}
		if page.Next == "" {
			return names, nil
		}
		query.Set("pageToken", page.Next)
	}
}

func (p *gcsPlace) remove(ctx context.Context, name string) error {
	u := p.base.JoinPath("storage/v1/b", p.Bucket, "o")
	u.RawPath = u.EscapedPath() + "/" + url.PathEscape(p.folder+name)
	u.Path += "/" + p.folder + name
	return p.send(ctx, http.MethodDelete, u, nil, 0, nil)
}

func (p *gcsPlace) send(ctx context.Context, method string, u *url.URL, body io.Reader, size int64, dst any) error {
	token, err := p.jwt.TokenSource(context.WithValue(ctx, oauth2.HTTPClient, p.client)).Token()
	if err != nil {
		return fault.Wrap(fault.Upstream, err, "the service account gets no token: see the server's log")
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return fault.Wrap(fault.Invalid, err, "the settings of the object store make no URL")
	}
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(body), size
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	token.SetAuthHeader(req)
	res, err := do(p.client, req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if dst == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(dst); err != nil {
		return fault.Wrap(fault.Upstream, err, "the object store's answer cannot be read")
	}
	return nil
}
