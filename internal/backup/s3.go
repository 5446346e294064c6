package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
)

// s3Settings name a bucket and say how to reach it.
type s3Settings struct {
	Bucket       string `json:"bucket"`
	Region       string `json:"region,omitempty"`
	AccessKey    string `json:"access_key,omitempty"`
	SecretKey    string `json:"secret_key,omitempty"`
	SessionToken string `json:"session_token,omitempty"`
	Endpoint     string `json:"endpoint,omitempty"`
	Plain        bool   `json:"plain,omitempty"`
	PathStyle    bool   `json:"path_style,omitempty"`
	Encrypt      bool   `json:"encrypt,omitempty"`
	KMS          bool   `json:"kms,omitempty"`
	KMSKey       string `json:"kms_key,omitempty"`
}

func (s s3Settings) check() error {
	switch {
	case s.Bucket == "":
		return fault.New(fault.Invalid, "'aws_s3_bucket' is required")
	case s.Region == "" && s.Endpoint == "":
		return fault.New(fault.Invalid, "'aws_s3_region' is required, unless there is an 'aws_s3_endpoint'")
	case (s.AccessKey == "") != (s.SecretKey == ""):
		return fault.New(fault.Invalid, "'aws_access_key_id' and 'aws_secret_access_key' are given together or not at all")
	case strings.ContainsAny(s.Endpoint, "/?#@"):
		return fault.New(fault.Invalid, "'aws_s3_endpoint' is a host, with a port if need be, and no URL")
	case s.Plain && s.Endpoint == "":
		return fault.New(fault.Invalid, "'aws_s3_disable_tls' needs an 'aws_s3_endpoint': Amazon is not spoken to without TLS")
	case s.KMSKey != "" && !s.KMS:
		return fault.New(fault.Invalid, "'aws_s3_kms_key' needs 'aws_s3_enable_kms'")
	}
	return nil
}

func (s s3Settings) shown() any {
	return struct {
		Bucket    string `json:"aws_s3_bucket"`
		Region    string `json:"aws_s3_region"`
		AccessKey string `json:"aws_access_key_id"`
		Endpoint  string `json:"aws_s3_endpoint"`
		Plain     bool   `json:"aws_s3_disable_tls"`
		PathStyle bool   `json:"aws_s3_force_path_style"`
		Encrypt   bool   `json:"aws_s3_server_side_encryption"`
		KMS       bool   `json:"aws_s3_enable_kms"`
		KMSKey    string `json:"aws_s3_kms_key"`
	}{s.Bucket, s.Region, s.AccessKey, s.Endpoint, s.Plain, s.PathStyle, s.Encrypt, s.KMS, s.KMSKey}
}

// s3Place is a folder of a bucket, by Amazon's REST API
// (https://docs.aws.amazon.com/AmazonS3/latest/API/). The signature is made by
// the vendor's own code.
type s3Place struct {
	s3Settings
	folder string // "" or ends in a slash
	base   url.URL
	keys   aws.Credentials
	signer *v4.Signer
	client *http.Client
	clock  clock.Clock
}

func newS3(c schedule, client *http.Client, clk clock.Clock, getenv func(string) string) (*s3Place, error) {
	p := &s3Place{s3Settings: c.S3, folder: folder(c.PathPrefix), client: client, clock: clk, signer: v4.NewSigner(func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = true // S3 alone wants paths escaped once
	})}
	p.keys = aws.Credentials{AccessKeyID: p.AccessKey, SecretAccessKey: p.SecretKey, SessionToken: p.SessionToken}
	if p.AccessKey == "" {
		p.keys = aws.Credentials{AccessKeyID: getenv("AWS_ACCESS_KEY_ID"), SecretAccessKey: getenv("AWS_SECRET_ACCESS_KEY"), SessionToken: getenv("AWS_SESSION_TOKEN")}
	}
	if !p.keys.HasKeys() {
		return nil, fault.New(fault.Invalid, "there are no credentials for S3: give 'aws_access_key_id' and 'aws_secret_access_key', or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the server's environment")
	}
	p.Region = cmp.Or(p.Region, "us-east-1")
	p.base = url.URL{Scheme: "https", Host: cmp.Or(p.Endpoint, "s3."+p.Region+".amazonaws.com"), Path: "/"}
	if p.Plain {
		p.base.Scheme = "http"
	}
	if p.PathStyle {
		p.base.Path += p.Bucket
	} else {
		p.base.Host = p.Bucket + "." + p.base.Host
	}
	return p, nil
}

// folder makes a prefix end in a slash.
func folder(prefix string) string {
	if prefix = strings.Trim(prefix, "/"); prefix == "" {
		return ""
	}
	return prefix + "/"
}

// Above partsFrom a snapshot is sent in parts. One request could carry 5 GB,
// but would begin anew at every hiccup. There may be 10,000 parts.
const (
	partsFrom = 128 << 20
	partSize  = 64 << 20
)

func (p *s3Place) put(ctx context.Context, name string, f *os.File, size int64) (string, error) {
	key := p.folder + name
	url := "s3://" + p.Bucket + "/" + key
	if size <= partsFrom {
		_, err := p.send(ctx, http.MethodPut, key, nil, p.encryption(), io.NewSectionReader(f, 0, size))
		return url, err
	}
	return url, p.putParts(ctx, key, f, size)
}

// encryption are the headers that ask for encryption by the store.
func (p *s3Place) encryption() http.Header {
	h := http.Header{}
	switch {
	case p.KMS:
		h.Set("X-Amz-Server-Side-Encryption", "aws:kms")
		if p.KMSKey != "" {
			h.Set("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", p.KMSKey)
		}
	case p.Encrypt:
		h.Set("X-Amz-Server-Side-Encryption", "AES256")
	}
	return h
}

type s3Part struct {
	Number int    `xml:"PartNumber"`
	ETag   string `xml:"ETag"`
}

// putParts uploads in parts. Nothing is to be seen of an object before all of
// them are there.
func (p *s3Place) putParts(ctx context.Context, key string, f *os.File, size int64) (err error) {
	var begun struct {
		UploadID string `xml:"UploadId"`
	}
	if err := p.sendXML(ctx, http.MethodPost, key, url.Values{"uploads": {""}}, p.encryption(), nil, &begun); err != nil {
		return err
	}
	id := url.Values{"uploadId": {begun.UploadID}}
	defer func() {
		if err != nil { // parts that stay would be paid for
			_, _ = p.send(context.WithoutCancel(ctx), http.MethodDelete, key, id, nil, nil)
		}
	}()
	var done struct {
		XMLName xml.Name `xml:"CompleteMultipartUpload"`
		Parts   []s3Part `xml:"Part"`
	}
	for at := int64(0); at < size; at += partSize {
		n := len(done.Parts) + 1
		query := url.Values{"uploadId": id["uploadId"], "partNumber": {strconv.Itoa(n)}}
		header, err := p.send(ctx, http.MethodPut, key, query, nil, io.NewSectionReader(f, at, min(partSize, size-at)))
		if err != nil {
			return err
		}
		done.Parts = append(done.Parts, s3Part{n, header.Get("ETag")})
	}
	body, err := xml.Marshal(done)
	if err != nil {
		return err
	}
	// The answer may be an error with status 200: it is sent while the work goes on.
	var answer struct {
		XMLName xml.Name
		Code    string
	}
	if err := p.sendXML(ctx, http.MethodPost, key, id, nil, bytes.NewReader(body), &answer); err != nil {
		return err
	}
	if answer.XMLName.Local == "Error" {
		return fault.Newf(fault.Upstream, "the object store could not complete the upload: %s", answer.Code)
	}
	return nil
}

func (p *s3Place) list(ctx context.Context, prefix string) ([]string, error) {
	var names []string
	query := url.Values{"list-type": {"2"}, "prefix": {p.folder + prefix}}
	for {
		var page struct {
			Contents []struct{ Key string }
			Next     string `xml:"NextContinuationToken"`
		}
		if err := p.sendXML(ctx, http.MethodGet, "", query, nil, nil, &page); err != nil {
			return nil, err
		}
		for _, c := range page.Contents {
			names = append(names, strings.TrimPrefix(c.Key, p.folder))
		}
		if page.Next == "" {
			return names, nil
		}
		query.Set("continuation-token", page.Next)
	}
}

func (p *s3Place) remove(ctx context.Context, name string) error {
	_, err := p.send(ctx, http.MethodDelete, p.folder+name, nil, nil, nil)
	return err
}

func (p *s3Place) sendXML(ctx context.Context, method, key string, query url.Values, header http.Header, body io.ReadSeeker, dst any) error {
	res, err := p.request(ctx, method, key, query, header, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if err := xml.NewDecoder(io.LimitReader(res.Body, maxAnswer)).Decode(dst); err != nil {
		return fault.Wrap(fault.Upstream, err, "the object store's answer cannot be read")
	}
	return nil
}

func (p *s3Place) send(ctx context.Context, method, key string, query url.Values, header http.Header, body io.ReadSeeker) (http.Header, error) {
	res, err := p.request(ctx, method, key, query, header, body)
	if err != nil {
		return nil, err
	}
	return res.Header, res.Body.Close()
}

func (p *s3Place) request(ctx context.Context, method, key string, query url.Values, header http.Header, body io.ReadSeeker) (*http.Response, error) {
	u := p.base
	u.Path = strings.TrimSuffix(u.Path, "/") + "/" + key
	if key == "" {
		u.Path = p.base.Path
	}
	u.RawQuery = query.Encode()
	sum, size, err := digest(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, fault.Wrap(fault.Invalid, err, "the settings of the object store make no URL")
	}
	if body != nil {
		req.Body, req.ContentLength = io.NopCloser(body), size
	}
	for name, values := range header {
		req.Header[name] = values
	}
	// Told and signed: the store refuses a body that was damaged on its way.
	req.Header.Set("X-Amz-Content-Sha256", sum)
	if err := p.signer.SignHTTP(ctx, p.keys, req, sum, "s3", p.Region, p.clock.Now()); err != nil {
		return nil, fmt.Errorf("signing a request: %w", err)
	}
	return do(p.client, req)
}

// digest returns the SHA-256 of a body in hex, and its size, and goes back to
// its beginning.
func digest(body io.ReadSeeker) (sum string, size int64, err error) {
	h := sha256.New()
	if body != nil {
		if size, err = io.Copy(h, body); err == nil {
			_, err = body.Seek(0, io.SeekStart)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), size, err
}
