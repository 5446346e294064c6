package faults_test

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// refused is a request that the server must refuse for less than it serves one.
type refused struct {
	name    string
	method  string
	path    string
	token   string
	headers string
	body    string
	claims  int // length that is stated of the body, if another
	status  int
	times   int // how many times the cost of service it may have; zero is twice
}

// TestRefusalsAreCheaperThanService compares the CPU time that the server
// spends on requests it refuses with what a read of a key costs. Otherwise
// nonsense would be a cheap way to take it out of service. Refusals after which
// the server closes the connection are compared with reads of one connection
// each, and one with a long body with a write of as much. COFFER_FAULTS_REFUSALS is the number of requests of each kind.
func TestRefusalsAreCheaperThanService(t *testing.T) {
	count := amount(t, "COFFER_FAULTS_REFUSALS", 3000)
	n := newNode(t, place{})
	n.showLog()
	n.call(http.MethodPost, "sys/mounts/secret", n.Root, object{"type": "kv", "options": object{"version": "2"}}).must(t, 204)
	n.call(http.MethodPost, "secret/data/k", n.Root, object{"data": object{"user": "alice", "password": "correct horse battery staple"}}).must(t, 200)
	n.call(http.MethodPost, "sys/quotas/rate-limit/tight", n.Root, object{"path": "secret/data/limited", "rate": 0.001, "interval": "1h"}).must(t, 204)
	n.call(http.MethodPut, "sys/policies/acl/reader", n.Root, object{"policy": `path "secret/data/*" { capabilities = ["create", "read", "update"] }`}).must(t, 204)
	login := func() string {
		e, err := n.call(http.MethodPost, "auth/token/create", n.Root, object{"policies": []string{"reader"}}).must(t, 200).open()
		if err != nil {
			t.Fatal(err)
		}
		return e.Auth.Token
	}
	good, gone := login(), login()
	n.call(http.MethodPost, "auth/token/revoke", n.Root, object{"token": gone}).must(t, 204)
	n.call(http.MethodGet, "secret/data/limited", good, nil) // the one request of the hour

	text := func(kilobytes int) string { return `{"data":{"x":"` + strings.Repeat("x", kilobytes<<10) + `"}}` }
	served := refused{name: "a read that is served", path: "secret/data/k", token: good, status: 200}
	alone := served
	alone.headers = "Connection: close\r\n"
	kept := n.cost(served, count)
	closed := n.cost(alone, count/3)
	long := n.cost(refused{name: "a write of 200 KB", method: "POST", path: "secret/data/long", token: good, body: text(200), status: 200}, count/10)
	t.Logf("%-45s %v per request, %v with a connection of its own; a write of 200 KB %v", served.name, kept, closed, long)
	for _, r := range []refused{
		{name: "no token", path: "secret/data/k", status: 403},
		{name: "a token that is none", path: "secret/data/k", token: "cfs.nonsense", status: 403},
		{name: "a token that was revoked", path: "secret/data/k", token: gone, status: 403},
		{name: "a path that policies do not allow", path: "sys/mounts", token: good, status: 403},
		{name: "a path with a second spelling", path: "secret/data/../data/k", token: good, status: 400},
		{name: "no such mount", path: "nowhere/k", token: good, status: 403},
		{name: "a rate limit", path: "secret/data/limited", token: good, status: 429},
		{name: "a revoked token and 16 KB of JSON", method: "POST", path: "secret/data/k", token: gone, body: text(16), status: 403},
		{name: "a revoked token and 200 KB of JSON", method: "POST", path: "secret/data/k", token: gone, body: text(200), status: 403},
		{name: "JSON 1,000 levels deep", method: "POST", path: "secret/data/k", token: good, body: strings.Repeat(`{"a":`, 1000), status: 413},
		{name: "JSON that ends early", method: "POST", path: "secret/data/k", token: good, body: `{"data":{"a":`, status: 400},
		{name: "a body that is too long", method: "POST", path: "secret/data/k", token: good, claims: 40 << 20, headers: "Connection: close\r\n", status: 413},
		{name: "100 KB in one header", path: "secret/data/k", token: good, headers: "X-A: " + strings.Repeat("a", 100<<10) + "\r\nConnection: close\r\n", status: 431},
		{name: "5,000 headers", path: "secret/data/k", token: good, headers: "Connection: close\r\n" + strings.Repeat("X-A: some value\r\n", 5000), status: 431, times: 4},
	} {
		baseline, many := kept, count
		switch {
		case strings.Contains(r.headers, "Connection: close"):
			baseline, many = closed, count/3
		case len(r.body) > 100<<10: // what has arrived is read anyway, to keep the connection
			baseline, many = long, count/10
		}
		n.compare(r, many, baseline)
	}
	n.call(http.MethodPut, "sys/seal", n.Root, nil).must(t, 204)
	n.compare(refused{name: "a sealed server", path: "secret/data/k", token: good, status: 503}, count, kept)
}

// compare fails the test if a refusal costs clearly more than the service does,
// twice. A busy machine adds some to one measurement and not to the other, and up
// to the limit headers are parsed by net/http before they can be refused.
func (n *node) compare(r refused, count int, baseline time.Duration) {
	n.t.Helper()
	cost := n.cost(r, count)
	if cost > baseline {
		cost = min(cost, n.cost(r, count))
	}
	n.t.Logf("%-45s %v", r.name, cost)
	if cost > time.Duration(cmp.Or(r.times, 2))*baseline {
		n.t.Errorf("%s costs %v of CPU time, a request that is served %v", r.name, cost, baseline)
	}
}

// cost is the CPU time that the server spends on one of these requests.
func (n *node) cost(r refused, count int) time.Duration {
	n.t.Helper()
	n.send(r, count/10)
	before := n.cpu()
	n.send(r, count)
	return (n.cpu() - before) / time.Duration(count)
}

// send sends a request many times from a few connections.
func (n *node) send(r refused, count int) {
	n.t.Helper()
	length := len(r.body)
	if r.claims > 0 {
		length = r.claims
	}
	if r.method == "" {
		r.method = "GET"
	}
	request := fmt.Sprintf("%s /v1/%s HTTP/1.1\r\nHost: localhost\r\nX-Vault-Token: %s\r\nContent-Length: %d\r\n%s\r\n%s", r.method, r.path, r.token, length, r.headers, r.body)
	address := strings.TrimSuffix(strings.TrimPrefix(n.base, "http://"), "/v1/")
	var left atomic.Int64
	left.Store(int64(count))
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			var c net.Conn
			for left.Add(-1) >= 0 {
				var err error
				if c == nil {
					if c, err = net.Dial("tcp", address); err != nil {
						n.t.Error(err)
						return
					}
				}
				status, open, err := exchange(c, request)
				if err != nil || status != r.status {
					n.t.Errorf("%s: status %d, error %v, want %d", r.name, status, err, r.status)
					open = false
					left.Store(0)
				}
				if !open {
					_ = c.Close() // the server has closed it, or will
					c = nil
				}
			}
			if c != nil {
				_ = c.Close() // everything was read
			}
		})
	}
	clients.Wait()
}

// exchange sends a request and reads the answer. What the server does not read
// of the request is no error.
func exchange(c net.Conn, request string) (status int, open bool, err error) {
	_, _ = io.WriteString(c, request)
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0, false, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, !res.Close, err
}

// cpu is the CPU time that the server's process has used, to the hundredth of a
// second.
func (n *node) cpu() time.Duration {
	n.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
	if err != nil {
		n.t.Fatal(err)
	}
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var user, system int64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		n.t.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}
