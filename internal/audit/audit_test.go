package audit_test

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/audit"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
)

// house is a running broker over a store in memory.
type house struct {
	*audit.Broker
	Store store.Store
	Key   ed25519.PrivateKey
	stop  func()
}

// Pub is the key that checkpoints verify with.
func (h *house) Pub() ed25519.PublicKey { return h.Key.Public().(ed25519.PublicKey) }

// newHouse runs a broker until the test ends, or [house.Stop].
func newHouse(t testing.TB, change func(*audit.Config)) *house {
	t.Helper()
	h := &house{Store: mem.New(), Key: ed25519.NewKeyFromSeed([]byte("0123456789abcdef0123456789abcdef"))}
	cfg := audit.Config{Store: h.Store, Clock: clock.System{}, Log: slog.New(slog.DiscardHandler), Signer: h.Key, Node: "node-1", AllowAPI: true}
	if change != nil {
		change(&cfg)
	}
	h.Store = cfg.Store
	b, err := audit.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Load(context.Background()); err != nil {
		t.Fatal(err)
	}
	h.Broker = b
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := b.Run(ctx); err != nil && !t.Failed() {
			t.Log("ending the broker: ", err)
		}
	}()
	h.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(h.stop)
	return h
}

// enable adds a device and fails the test if that fails.
func (h *house) enable(t testing.TB, path string, options map[string]string) {
	t.Helper()
	typ := "file"
	if options["type"] != "" {
		typ = options["type"]
	}
	delete(options, "type")
	if err := h.Enable(context.Background(), audit.Device{Path: path, Type: typ, Options: options}); err != nil {
		t.Fatal(err)
	}
}

// entries parses the lines of a log that are no checkpoints.
func entries(t testing.TB, path string) []map[string]any {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var list []map[string]any
	for line := range strings.Lines(string(b)) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("line is no JSON: %v\n%s", err, line)
		}
		if e["type"] != "checkpoint" {
			list = append(list, e)
		}
	}
	return list
}

func sampleTime() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC) }

// sampleRead is a read of a KV version 2 secret, both halves.
func sampleRead() (request, response *audit.Record) {
	auth := &audit.Auth{
		Token: "hvs.CAESIJclienttoken", Accessor: "8609694a-cdbc-db9b-d345-e782dbb562ed", DisplayName: "userpass-alice",
		Policies: []string{"app", "default"}, TokenPolicies: []string{"app", "default"},
		PolicyResults: &audit.PolicyResults{Allowed: true, GrantingPolicies: []audit.GrantingPolicy{{Name: "app", NamespaceID: "root", Type: "acl"}}},
		Metadata:      []audit.Pair{{Key: "username", Value: "alice"}}, EntityID: "0fb7d6b0-8b8a-d3e5-6b2a-6a5f7d0c7f5e",
		TokenType: "service", TokenTTL: time.Hour, TokenIssueTime: sampleTime().Add(-time.Minute),
	}
	mount := audit.Mount{Point: "secret/", Type: "kv", Accessor: "kv_1a2b3c", Class: "secret"}
	req := &audit.Request{
		ID: "f4b1c1f0-0b0a-4b0e-8c8d-2c4f3c1f0b0a", ClientID: "0fb7d6b0-8b8a-d3e5-6b2a-6a5f7d0c7f5e", Operation: "read", Mount: mount,
		ClientToken: auth.Token, ClientTokenAccessor: auth.Accessor, Namespace: audit.Namespace{ID: "root"}, Path: "secret/data/app/db",
		RemoteAddr: "127.0.0.1", RemotePort: 51234, Headers: []audit.Header{{Name: "User-Agent", Values: []string{"Go-http-client/1.1"}}},
	}
	data := []byte(`{"data":{"user":"app","password":"s3cr3t-canary"},"metadata":{"created_time":"2026-01-02T03:04:05Z","custom_metadata":null,"deletion_time":"","destroyed":false,"version":3}}`)
	request = &audit.Record{Time: sampleTime(), Type: audit.TypeRequest, Auth: auth, Request: req}
	response = &audit.Record{Time: sampleTime(), Type: audit.TypeResponse, Auth: auth, Request: req, Response: &audit.Response{Mount: mount, Data: data}}
	return request, response
}

func TestReadIsRecordedAndVerifies(t *testing.T) {
	h := newHouse(t, nil)
	path := filepath.Join(t.TempDir(), "audit.log")
	h.enable(t, "file", map[string]string{"file_path": path})
	request, response := sampleRead()
	p := h.Begin(request)
	q := h.Begin(response)
	for _, w := range []audit.Pending{p, q} {
		if err := w.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	h.stop()
	if got := entries(t, path); len(got) != 2 || got[0]["type"] != "request" || got[1]["type"] != "response" {
		t.Fatalf("entries: %v", got)
	}
	b, _ := os.ReadFile(path)
	for _, secret := range []string{"canary", "CAESIJ", "8609694a"} {
		if strings.Contains(string(b), secret) {
			t.Errorf("%q is in clear:\n%s", secret, b)
		}
	}
	r, err := audit.Verify(strings.NewReader(string(b)), h.Pub())
	if err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	if r.Entries != 2 || r.Unproven != 0 || !r.Complete {
		t.Errorf("report: %+v", r)
	}
}
