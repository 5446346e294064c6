// Package servertest runs whole servers inside tests: real listeners on
// loopback, the real gate, a store in memory or in a folder, and an audit log in
// a file that tests can read.
package servertest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/diag"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/httpd"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/server"
)

// Options change what [New] starts. The zero Options are a development server
// with KV v2 at secret/ and a file audit device.
type Options struct {
	// Clock is the machine's if nil.
	Clock clock.Clock
	// Dir keeps the storage in a folder; "" is in memory.
	Dir string
	// Uninitialised leaves the server as it is found on a new disk, or sealed.
	Uninitialised bool
	// NoAudit starts without an audit device.
	NoAudit bool
	// Engines and Methods can be mounted besides the built-in ones.
	Engines []engine.Type
	Methods []authn.Type
	// DialNode connects to the cluster ports of other nodes. Nil is TCP.
	DialNode func(ctx context.Context, address string) (net.Conn, error)
	// Change may alter the configuration.
	Change func(*config.Config)
}

// RootToken is the root token of a server that [New] has initialised.
const RootToken = "root"

// Server is a running server.
type Server struct {
	// Addr is its URL.
	Addr string
	// AuditLog is the file of its audit device, "" without one.
	AuditLog string
	// Log is the server's own log so far.
	Log *Buffer

	t      testing.TB
	server *server.Server
	cancel context.CancelFunc
	done   chan error
	once   sync.Once
}

// New starts a server that stops with the test.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	c := config.Dev(config.DevFlags{RootTokenID: RootToken, ListenAddress: "127.0.0.1:0", NoStoreToken: true})
	s := &Server{t: t, Log: &Buffer{}, done: make(chan error, 1)}
	if !o.NoAudit {
		s.AuditLog = filepath.Join(t.TempDir(), "audit.log")
		c.Audits = append(c.Audits, config.AuditDevice{Type: "file", Path: "test", Options: map[string]string{"file_path": s.AuditLog, "fsync": "none"}})
	}
	if o.Dir != "" {
		c.Storage = config.Storage{Type: "raft", Raft: &config.RaftStorage{Path: o.Dir, NodeID: "test"}}
	}
	if o.Uninitialised {
		c.Dev = nil
	}
	if o.Change != nil {
		o.Change(c)
	}
	addr := make(chan string, 1)
	srv, err := server.New(server.Options{Config: c, Clock: o.Clock, Out: io.Discard, Engines: o.Engines, Methods: o.Methods, DialNode: o.DialNode,
		Log:       diag.NewLevels(slog.NewTextHandler(s.Log, &slog.HandlerOptions{Level: diag.LevelTrace}), slog.LevelDebug),
		Listening: func(urls []string) { addr <- urls[0] },
	})
	if err != nil {
		t.Fatalf("starting a server: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background()) // ends in Stop
	s.cancel, s.server = cancel, srv
	go func() { s.done <- srv.Run(ctx, nil) }()
	select {
	case s.Addr = <-addr:
	case err := <-s.done:
		t.Fatalf("starting a server: %v\n%s", err, s.Log)
	}
	t.Cleanup(s.Stop)
	return s
}

// Stop stops the server as SIGTERM does. It may be called again.
func (s *Server) Stop() {
	s.once.Do(func() {
		s.cancel()
		if err := <-s.done; err != nil {
			s.t.Errorf("stopping a server: %v", err)
		}
	})
}

// Gate returns the gate behind the listeners, nil while the server is sealed:
// the way to what no request shows, such as the rows of the store.
func (s *Server) Gate() *gate.Gate { return s.server.Gate() }

// Handler returns what a listener with the default limits answers with, for
// benchmarks of the way through the server without a connection.
func (s *Server) Handler() http.Handler { return s.Listener(func(*config.Listener) {}) }

// Listener returns what another listener of the server answers with, whose
// configuration change alters.
func (s *Server) Listener(change func(*config.Listener)) http.Handler {
	c := config.Dev(config.DevFlags{}).Listeners[0]
	change(&c)
	return httpd.NewListener(c, s.server, slog.New(slog.DiscardHandler), clock.System{}, &httpd.InFlight{})
}

// Always returns the endpoints that answer while the server is sealed.
func (s *Server) Always() *route.Table { return s.server.Always() }

// Answer is what a request got.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// JSON decodes the body.
func (a Answer) JSON() map[string]any {
	m := map[string]any{}
	_ = json.Unmarshal(a.Body, &m) // an answer without a JSON body is an empty map
	return m
}

// Data returns the answer's data.
func (a Answer) Data() map[string]any {
	d, _ := a.JSON()["data"].(map[string]any)
	return d
}

// String shows the answer in a failure.
func (a Answer) String() string { return fmt.Sprintf("%d %s", a.Status, bytes.TrimSpace(a.Body)) }

// Do makes a request below /v1/ with a token ("" for none) and a body that is
// nil, a string sent as it is, or a value sent as JSON. Header names and values
// alternate.
func (s *Server) Do(method, path, token string, body any, headers ...string) Answer {
	s.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	case []byte:
		r = bytes.NewReader(b)
	default:
		text, err := json.Marshal(body)
		if err != nil {
			s.t.Fatal(err)
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(s.t.Context(), method, s.Addr+"/v1/"+path, r)
	if err != nil {
		s.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return Answer{Status: resp.StatusCode, Header: resp.Header, Body: text}
}

// client keeps connections, as real clients do, and follows no redirect.
var client = &http.Client{
	Timeout:       time.Minute,
	Transport:     &http.Transport{MaxIdleConnsPerHost: 64, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// Must makes a request as root and wants a status.
func (s *Server) Must(status int, method, path string, body any, headers ...string) Answer {
	s.t.Helper()
	return s.MustAs(RootToken, status, method, path, body, headers...)
}

// MustAs makes a request with a token and wants a status.
func (s *Server) MustAs(token string, status int, method, path string, body any, headers ...string) Answer {
	s.t.Helper()
	a := s.Do(method, path, token, body, headers...)
	if a.Status != status {
		s.t.Fatalf("%s %s: got %s, want status %d", method, path, a, status)
	}
	return a
}

// Token makes a token with policies and returns its text.
func (s *Server) Token(policies ...string) string {
	s.t.Helper()
	a := s.Must(http.StatusOK, http.MethodPost, "auth/token/create", map[string]any{"policies": policies, "ttl": "1h"})
	auth, _ := a.JSON()["auth"].(map[string]any)
	text, _ := auth["client_token"].(string)
	return text
}

// Policy writes an ACL policy.
func (s *Server) Policy(name, text string) {
	s.t.Helper()
	a := s.Do(http.MethodPut, "sys/policies/acl/"+name, RootToken, map[string]any{"policy": text})
	if a.Status/100 != 2 {
		s.t.Fatalf("writing policy %s: %s", name, a)
	}
}

// Buffer is a log that can be read while it is written.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

// Write appends to the buffer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns what was written so far.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
