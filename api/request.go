package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	minBackoff    = 250 * time.Millisecond
	maxBackoff    = 5 * time.Second
	maxRetryAfter = 30 * time.Second
	maxRedirects  = 3
)

// Request is a call of the HTTP API that the typed methods do not cover.
type Request struct {
	// Method is an HTTP method; LIST, SCAN and PATCH are usual here.
	Method string
	// Path is below /v1, as "secret/data/app"; it is escaped, not cleaned.
	Path string
	// Query is appended to the path.
	Query url.Values
	// Body is sent as JSON unless Header says otherwise.
	Body []byte
	// Upload is sent instead of Body, as it comes and once: such a request is
	// not repeated, and follows no redirect.
	Upload io.Reader
	// Header is added to the client's own.
	Header http.Header
	// Token replaces the client's token; Unauthenticated sends none.
	Token           string
	Unauthenticated bool
	// Stream lifts the client's timeout from the request, for answers that go on.
	Stream bool
}

func (r *Request) path() string { return strings.TrimPrefix(r.Path, "/") }

// idempotent reports whether the request may be repeated even if the server
// may have carried it out already.
func (r *Request) idempotent() bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, "LIST", "SCAN":
		return true
	}
	return false
}

// Do sends r, follows redirects to another node, and repeats what failed for a
// passing reason. The caller closes the body of the answer. An answer of 400 or
// above is returned as an [*Error].
func (c *Client) Do(ctx context.Context, r *Request) (*http.Response, error) {
	cancel := context.CancelFunc(func() {})
	if c.cfg.Timeout > 0 && !r.Stream {
		ctx, cancel = context.WithTimeout(ctx, c.cfg.Timeout)
	}
	res, err := c.attempts(ctx, r)
	if err != nil {
		cancel()
		return nil, err
	}
	if res.StatusCode >= 400 {
		defer cancel()
		return nil, errorFrom(r, res)
	}
	res.Body = &cancellingBody{ReadCloser: res.Body, cancel: cancel}
	return res, nil
}

// cancellingBody ends the request's context once the answer was read.
type cancellingBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b *cancellingBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}

// Secret sends r and reads the envelope of the answer; an answer without a body
// is an empty [Secret].
func (c *Client) Secret(ctx context.Context, r *Request) (*Secret, error) {
	res, err := c.Do(ctx, r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return ParseSecret(res.Body)
}

// JSON sends in (when not nil) as the body of a request and decodes the answer
// into out (when not nil). It serves the endpoints whose answer has no envelope.
func (c *Client) JSON(ctx context.Context, r Request, in, out any) error {
	if in != nil {
		body, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding the request: %w", err)
		}
		r.Body = body
	}
	res, err := c.Do(ctx, &r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		_, err := io.Copy(io.Discard, res.Body)
		return err
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil {
		return fmt.Errorf("decoding the answer of %s: %w", r.path(), err)
	}
	return nil
}

func (c *Client) attempts(ctx context.Context, r *Request) (*http.Response, error) {
	for attempt := 0; ; attempt++ {
		if err := c.limiter.wait(ctx); err != nil {
			return nil, err
		}
		res, err := c.once(ctx, r)
		if r.Upload != nil || attempt >= c.cfg.MaxRetries || !retryable(r, res, err) {
			return res, err
		}
		delay := backoff(attempt)
		if res != nil {
			if after, ok := retryAfter(res); ok {
				delay = after
			}
			// Reading the little that is left lets the connection be used again.
			_, _ = io.CopyN(io.Discard, res.Body, 64<<10)
			res.Body.Close()
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}

// retryable reports whether trying again may help and cannot do harm. A refusal
// (412, 429, 503) or a connection that was never made left no trace; any other
// failure may have come after the effect, so only reads are repeated.
func retryable(r *Request, res *http.Response, err error) bool {
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			return op.Op == "dial" || r.idempotent()
		}
		return r.idempotent() && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF))
	}
	switch res.StatusCode {
	case http.StatusPreconditionFailed, http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusGatewayTimeout:
		return r.idempotent()
	}
	return false
}

// backoff doubles with each attempt and is spread by half, so that clients that
// failed together do not come back together.
func backoff(attempt int) time.Duration {
	d := min(minBackoff<<min(attempt, 10), maxBackoff)
	return d/2 + rand.N(d/2+1)
}

func retryAfter(res *http.Response) (time.Duration, bool) {
	value := res.Header.Get("Retry-After")
	if value == "" {
		return 0, false
	}
	if seconds, err := strconv.Atoi(value); err == nil && seconds >= 0 {
		return min(time.Duration(min(seconds, 3600))*time.Second, maxRetryAfter), true
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	// The server's own clock is the one its date was computed with.
	sent, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(sent), 0), maxRetryAfter), true
}

// once sends the request and follows redirects.
func (c *Client) once(ctx context.Context, r *Request) (*http.Response, error) {
	target := *c.base
	target.Path = strings.TrimSuffix(c.base.Path, "/") + "/v1/" + r.path()
	target.RawQuery = r.Query.Encode()
	at := &target
	for hop := 0; ; hop++ {
		res, err := c.send(ctx, r, at)
		if err != nil || c.cfg.DisableRedirects || r.Upload != nil || !redirects(res) {
			return res, err
		}
		next, err := at.Parse(res.Header.Get("Location"))
		res.Body.Close()
		switch {
		case err != nil:
			return nil, fmt.Errorf("the server redirects to something that is not a URL")
		case hop == maxRedirects:
			return nil, fmt.Errorf("more than %d redirects, the last to %s", maxRedirects, next.Host)
		case at.Scheme == "https" && next.Scheme != "https":
			return nil, fmt.Errorf("refusing a redirect from https to %s://%s", next.Scheme, next.Host)
		case next.Scheme != "http" && next.Scheme != "https":
			return nil, fmt.Errorf("refusing a redirect to the scheme %q", next.Scheme)
		}
		at = next
	}
}

func redirects(res *http.Response) bool {
	switch res.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return res.Header.Get("Location") != ""
	}
	return false
}

func (c *Client) send(ctx context.Context, r *Request, to *url.URL) (*http.Response, error) {
	body := r.Upload
	if r.Body != nil {
		body = bytes.NewReader(r.Body)
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, to.String(), body)
	if err != nil {
		return nil, fmt.Errorf("building the request: %w", err)
	}
	c.setHeaders(req, r)
	return c.http.Do(req)
}

func (c *Client) setHeaders(req *http.Request, r *Request) {
	for name, values := range c.cfg.Headers {
		req.Header[http.CanonicalHeaderKey(name)] = append([]string(nil), values...)
	}
	req.Header.Set(headerRequest, "true")
	if r.Body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	token := r.Token
	if token == "" {
		token = c.cfg.Token
	}
	if token != "" && !r.Unauthenticated {
		req.Header.Set(headerToken, token)
	}
	if c.cfg.Namespace != "" {
		req.Header.Set(headerNamespace, c.cfg.Namespace)
	}
	if c.cfg.WrapTTL != "" {
		req.Header.Set(headerWrapTTL, c.cfg.WrapTTL)
	}
	for name, values := range r.Header {
		req.Header[http.CanonicalHeaderKey(name)] = append([]string(nil), values...)
	}
}
