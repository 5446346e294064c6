package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// newTransport returns the connection pool for address and the URL that
// requests are built on: for a unix socket that is a stand-in host, because a
// socket path has no place in a URL.
func newTransport(cfg Config) (http.RoundTripper, *url.URL, error) {
	base, err := parseAddress(cfg.Address)
	if err != nil {
		return nil, nil, err
	}
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          100,
		MaxIdleConnsPerHost:   100,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
	}
	if cfg.ProxyAddress != "" {
		proxy, err := url.Parse(cfg.ProxyAddress)
		if err != nil {
			return nil, nil, errors.New("proxy address is not a URL")
		}
		t.Proxy = http.ProxyURL(proxy)
	}
	if t.TLSClientConfig, err = cfg.TLS.build(); err != nil {
		return nil, nil, err
	}
	if base.Scheme == "unix" {
		socket := base.Host + base.Path
		t.Proxy = nil
		t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", socket)
		}
		base = &url.URL{Scheme: "http", Host: "localhost"}
	}
	if cfg.Middleware != nil {
		return cfg.Middleware(t), base, nil
	}
	return t, base, nil
}

// TLS returns the configuration of the client's https connections, for who opens
// one without it.
func (c *Client) TLS() (*tls.Config, error) { return c.cfg.TLS.build() }

func (c TLSConfig) build() (*tls.Config, error) {
	out := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         c.ServerName,
		InsecureSkipVerify: c.InsecureSkipVerify,
	}
	var err error
	if out.RootCAs, err = c.roots(); err != nil {
		return nil, err
	}
	switch {
	case c.ClientCert != "" && c.ClientKey != "":
		cert, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("loading the client certificate: %w", err)
		}
		out.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &cert, nil
		}
	case c.ClientCert != "" || c.ClientKey != "":
		return nil, errors.New("a client certificate needs both the certificate and its key")
	}
	return out, nil
}

// roots returns the pool of configured authorities, nil for the system's.
func (c TLSConfig) roots() (*x509.CertPool, error) {
	switch {
	case c.CACert != "":
		pool := x509.NewCertPool()
		return pool, addPEMFile(pool, c.CACert)
	case len(c.CACertBytes) > 0:
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(c.CACertBytes) {
			return nil, errors.New("the CA certificate bytes hold no PEM certificate")
		}
		return pool, nil
	case c.CAPath != "":
		return rootsFromDir(c.CAPath)
	}
	return nil, nil
}

func rootsFromDir(dir string) (*x509.CertPool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the CA directory: %w", err)
	}
	pool := x509.NewCertPool()
	found := false
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		// A directory of certificates usually holds other files as well.
		if addPEMFile(pool, filepath.Join(dir, e.Name())) == nil {
			found = true
		}
	}
	if !found {
		return nil, fmt.Errorf("the CA directory %s holds no PEM certificate", dir)
	}
	return pool, nil
}

func addPEMFile(pool *x509.CertPool, path string) error {
	pem, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the CA certificate: %w", err)
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s holds no PEM certificate", path)
	}
	return nil
}

// limiter is a token bucket: a taken token returns after burst/rate seconds, so
// that over time no more than rate tokens are taken per second.
type limiter struct {
	tokens chan struct{}
	refill time.Duration
}

func newLimiter(rate float64, burst int) *limiter {
	if rate <= 0 {
		return nil
	}
	if burst <= 0 {
		burst = max(int(rate), 1)
	}
	l := &limiter{
		tokens: make(chan struct{}, burst),
		refill: time.Duration(float64(burst) / rate * float64(time.Second)),
	}
	for range burst {
		l.tokens <- struct{}{}
	}
	return l
}

func (l *limiter) wait(ctx context.Context) error {
	if l == nil {
		return nil
	}
	select {
	case <-l.tokens:
		time.AfterFunc(l.refill, func() { l.tokens <- struct{}{} })
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
