package faults_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// object is the body of a request.
type object = map[string]any

// client speaks to one server.
type client struct {
	base string
	http *http.Client
}

func newClient(port int) *client {
	return &client{
		base: fmt.Sprintf("http://127.0.0.1:%d/v1/", port),
		http: &http.Client{
			Timeout:   45 * time.Second,
			Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		},
	}
}

// forget drops connections to a process that is gone.
func (c *client) forget() { c.http.CloseIdleConnections() }

// answer is what came of a request.
type answer struct {
	What   string
	Status int // 0 if no answer came
	Body   []byte
	Err    error // why no answer came
	Took   time.Duration
}

// call sends a request and waits for its answer.
func (c *client) call(method, path, token string, body any) answer {
	return c.callWith(context.Background(), method, path, token, body)
}

// callWith is call with a context and with headers, names and values in turn.
func (c *client) callWith(ctx context.Context, method, path, token string, body any, headers ...string) (a answer) {
	a.What = method + " " + path
	began := clock.System{}.Now()
	defer func() { a.Took = clock.System{}.Now().Sub(began) }()
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			a.Err = err
			return a
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		a.Err = err
		return a
	}
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := c.http.Do(req)
	if err != nil {
		a.Err = err
		return a
	}
	defer res.Body.Close()
	if a.Body, a.Err = io.ReadAll(res.Body); a.Err == nil {
		a.Status = res.StatusCode
	}
	return a
}

// acknowledged reports whether the server said that it has done it.
func (a answer) acknowledged() bool { return a.Err == nil && a.Status/100 == 2 }

// uncertain reports whether the server may or may not have done it.
func (a answer) uncertain() bool { return a.Err != nil || a.Status >= 500 }

func (a answer) error() error {
	if a.Err != nil {
		return fmt.Errorf("%s: %w", a.What, a.Err)
	}
	return fmt.Errorf("%s: %w", a.What, errors.New(a.String()))
}

// String shows the answer.
func (a answer) String() string {
	if a.Err != nil {
		return a.Err.Error()
	}
	return fmt.Sprintf("%d %s", a.Status, bytes.TrimSpace(a.Body))
}

// must fails the test unless the answer has the status.
func (a answer) must(t *testing.T, status int) answer {
	t.Helper()
	if a.Err != nil || a.Status != status {
		t.Fatalf("%s: %s, want %d", a.What, a, status)
	}
	return a
}

// into decodes the whole answer.
func (a answer) into(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.Body, v); err != nil {
		t.Fatalf("%s: %v in %s", a.What, err, a.Body)
	}
}

// envelope is what tests read of an answer.
type envelope struct {
	LeaseID string          `json:"lease_id"`
	Data    json.RawMessage `json:"data"`
	Auth    struct {
		Token    string `json:"client_token"`
		Accessor string `json:"accessor"`
	} `json:"auth"`
}

// open decodes the envelope.
func (a answer) open() (e envelope, err error) {
	err = json.Unmarshal(a.Body, &e)
	return e, err
}

// data decodes the data of the envelope.
func data[T any](a answer) (v T, err error) {
	e, err := a.open()
	if err == nil {
		err = json.Unmarshal(e.Data, &v)
	}
	return v, err
}
