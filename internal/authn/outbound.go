package authn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
)

// The limits of what a method asks others for during a login.
const (
	outboundTime  = 10 * time.Second
	outboundBytes = 2 << 20
)

// Outbound is the HTTP client with which a method asks another service: a key
// set, a token review, a revocation list. Every request has a limit of time, and
// every answer one of size, so that a service which stalls or floods costs one
// login and no more. It may be used by many at a time.
type Outbound struct{ client *http.Client }

// NewOutbound makes a client. Services must show a certificate of one of roots,
// or of the system's if roots is nil, for the host in their URL, or for one of
// names if there are any.
func NewOutbound(roots *x509.CertPool, names ...string) *Outbound {
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if len(names) > 0 {
		// The usual check knows one name only; this one takes its place.
		config.InsecureSkipVerify = true
		config.VerifyConnection = func(s tls.ConnectionState) error { return verifyAny(s, roots, names) }
	}
	return &Outbound{&http.Client{
		Timeout: outboundTime,
		Transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: outboundTime}).DialContext,
			TLSClientConfig:       config,
			TLSHandshakeTimeout:   outboundTime,
			ResponseHeaderTimeout: outboundTime,
			MaxIdleConnsPerHost:   16,
			IdleConnTimeout:       90 * time.Second,
			ForceAttemptHTTP2:     true,
		},
	}}
}

// verifyAny verifies the certificate that a server has shown for one of names.
func verifyAny(s tls.ConnectionState, roots *x509.CertPool, names []string) error {
	between := x509.NewCertPool()
	for _, c := range s.PeerCertificates[1:] {
		between.AddCert(c)
	}
	var err error
	for _, name := range names {
		if _, err = s.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, DNSName: name}); err == nil {
			return nil
		}
	}
	return err
}

// Client is the client itself, for libraries that make requests of their own.
func (o *Outbound) Client() *http.Client { return o.client }

// Close lets go of idle connections.
func (o *Outbound) Close() { o.client.CloseIdleConnections() }

// Message is a request of [Outbound.Send]: the zero Method is GET. Header names
// and values are as given.
type Message struct {
	Method string
	URL    string
	Header map[string]string
	Body   string
}

// Send makes a request and returns the status and the body of its answer. The
// error, which is [fault.Upstream], says what kind of thing failed and never
// repeats what the other side has sent.
func (o *Outbound) Send(ctx context.Context, m Message) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, m.Method, m.URL, strings.NewReader(m.Body))
	if err != nil {
		return 0, nil, fault.Wrap(fault.Upstream, err, "the URL of a service that the login depends on is malformed")
	}
	for name, value := range m.Header {
		req.Header.Set(name, value)
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return 0, nil, fault.Wrap(fault.Upstream, err, "a service that the login depends on cannot be reached")
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, outboundBytes+1))
	if err == nil && len(body) > outboundBytes {
		err = fmt.Errorf("more than %d bytes", outboundBytes)
	}
	if err != nil {
		return 0, nil, fault.Wrap(fault.Upstream, err, "the answer of a service that the login depends on cannot be read")
	}
	return resp.StatusCode, body, nil
}

// Fetch gets a document. An answer that is not a success is an error.
func (o *Outbound) Fetch(ctx context.Context, url, accept string) ([]byte, error) {
	status, body, err := o.Send(ctx, Message{Method: http.MethodGet, URL: url, Header: map[string]string{"Accept": accept}})
	if err == nil && status/100 != 2 {
		err = fault.Wrap(fault.Upstream, fmt.Errorf("status %d from %s", status, url), "a service that the login depends on has refused")
	}
	return body, err
}

// Roots reads certificates in PEM form. It returns nil for no text, and an error
// that names field for text without a certificate.
func Roots(field, pem string) (*x509.CertPool, error) {
	if strings.TrimSpace(pem) == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM([]byte(pem)) {
		return nil, fault.Newf(fault.Invalid, "%s holds no certificate in PEM form", field)
	}
	return pool, nil
}
