package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Read reads path. The query may be nil.
func (c *Client) Read(ctx context.Context, path string, query url.Values) (*Secret, error) {
	return c.Secret(ctx, &Request{Method: http.MethodGet, Path: path, Query: query})
}

// List lists the keys directly below path; see [Secret.Keys].
func (c *Client) List(ctx context.Context, path string) (*Secret, error) {
	return c.Secret(ctx, &Request{Method: "LIST", Path: directory(path)})
}

// Scan lists the keys at any depth below path; see [Secret.Keys].
func (c *Client) Scan(ctx context.Context, path string) (*Secret, error) {
	return c.Secret(ctx, &Request{Method: "SCAN", Path: directory(path)})
}

// Write writes data, which may be any value that encodes to a JSON object, a
// [json.RawMessage], or nil for an empty body.
func (c *Client) Write(ctx context.Context, path string, data any) (*Secret, error) {
	return c.writeBody(ctx, http.MethodPut, path, data)
}

// Patch changes the fields named in data and leaves the others (JSON merge
// patch); a null removes a field.
func (c *Client) Patch(ctx context.Context, path string, data any) (*Secret, error) {
	body, err := encodeBody(data)
	if err != nil {
		return nil, err
	}
	return c.Secret(ctx, &Request{
		Method: http.MethodPatch, Path: path, Body: body,
		Header: http.Header{"Content-Type": {"application/merge-patch+json"}},
	})
}

// Delete deletes path. The query may be nil.
func (c *Client) Delete(ctx context.Context, path string, query url.Values) (*Secret, error) {
	return c.Secret(ctx, &Request{Method: http.MethodDelete, Path: path, Query: query})
}

// Unwrap returns the answer that was wrapped in token; with an empty token, in
// the client's own. A wrapping token works once.
func (c *Client) Unwrap(ctx context.Context, token string) (*Secret, error) {
	// With its own token as credential no policy needs to allow the call.
	req := &Request{Method: http.MethodPut, Path: "sys/wrapping/unwrap"}
	if token != "" && token != c.cfg.Token {
		if c.cfg.Token == "" {
			req.Token = token
		} else {
			body, err := encodeBody(map[string]string{"token": token})
			if err != nil {
				return nil, err
			}
			req.Body = body
		}
	}
	return c.WithWrapTTL("").Secret(ctx, req)
}

// Wrap asks the server to keep data and to return a single-use token for it.
func (c *Client) Wrap(ctx context.Context, data any, ttl string) (*WrapInfo, error) {
	s, err := c.WithWrapTTL(ttl).Write(ctx, "sys/wrapping/wrap", data)
	if err != nil {
		return nil, err
	}
	if s.WrapInfo == nil {
		return nil, fmt.Errorf("the server did not wrap the data")
	}
	return s.WrapInfo, nil
}

func (c *Client) writeBody(ctx context.Context, method, path string, data any) (*Secret, error) {
	body, err := encodeBody(data)
	if err != nil {
		return nil, err
	}
	return c.Secret(ctx, &Request{Method: method, Path: path, Body: body})
}

func encodeBody(data any) ([]byte, error) {
	switch d := data.(type) {
	case nil:
		return nil, nil
	case json.RawMessage:
		return d, nil
	}
	body, err := json.Marshal(data)
	if err != nil {
		return nil, fmt.Errorf("encoding the request: %w", err)
	}
	return body, nil
}

// directory adds the trailing slash that a listing wants.
func directory(path string) string {
	if path == "" || strings.HasSuffix(path, "/") {
		return path
	}
	return path + "/"
}
