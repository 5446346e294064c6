package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
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

	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/diag"
	"github.com/cofferhq/coffer/internal/server"
	"github.com/cofferhq/coffer/internal/server/servertest"
	"github.com/cofferhq/coffer/internal/store/raft"
)

// wire connects the nodes of a test over loopback, and can be cut.
type wire struct {
	mu    sync.Mutex
	ids   map[string]string       // guarded by mu: address to node
	alone map[string]bool         // guarded by mu: nodes that are cut off
	conns map[net.Conn]*[2]string // guarded by mu: who dials whom
}

// end is a node's end of the wire. A connection begins with the name of its
// protocol, in a line.
type end struct {
	wire  *wire
	id    string
	l     net.Listener
	mu    sync.Mutex
	ports map[string]*protocol // guarded by mu
}

// protocol is a listener for one protocol.
type protocol struct {
	end   *end
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newWire() *wire {
	return &wire{ids: map[string]string{}, alone: map[string]bool{}, conns: map[net.Conn]*[2]string{}}
}

func (w *wire) end(t *testing.T, id, address string) *end {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	e := &end{wire: w, id: id, l: l, ports: map[string]*protocol{}}
	w.mu.Lock()
	w.ids[l.Addr().String()] = id
	w.mu.Unlock()
	t.Cleanup(func() { _ = l.Close() })
	go e.accept()
	return e
}

func (e *end) accept() {
	for {
		c, err := e.l.Accept()
		if err != nil {
			return
		}
		go func() {
			r := bufio.NewReader(c)
			name, err := r.ReadString('\n')
			if err != nil {
				_ = c.Close()
				return
			}
			e.mu.Lock()
			p := e.ports[strings.TrimSpace(name)]
			e.mu.Unlock()
			if p == nil {
				_ = c.Close()
				return
			}
			select {
			case p.conns <- buffered{c, r}:
			case <-p.done:
				_ = c.Close()
			}
		}()
	}
}

// buffered is a connection whose beginning has been read already.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

func (e *end) Address() string { return e.l.Addr().String() }

func (e *end) Listen(name string) net.Listener {
	e.mu.Lock()
	defer e.mu.Unlock()
	p := &protocol{end: e, conns: make(chan net.Conn), done: make(chan struct{})}
	e.ports[name] = p
	return p
}

func (p *protocol) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *protocol) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

func (p *protocol) Addr() net.Addr { return p.end.l.Addr() }

func (e *end) Dial(ctx context.Context, node, address, name string) (net.Conn, error) {
	if _, rest, ok := strings.Cut(address, "@"); ok {
		address = rest
	}
	e.wire.mu.Lock()
	cut := e.wire.alone[e.id] || e.wire.alone[node] || e.wire.ids[address] != node
	e.wire.mu.Unlock()
	if cut {
		return nil, errors.New("no way there")
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, name+"\n"); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	e.wire.mu.Lock()
	defer e.wire.mu.Unlock()
	e.wire.conns[c] = &[2]string{e.id, node}
	return c, nil
}

// isolate cuts a node off, or lets it back.
func (w *wire) isolate(node string, alone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.alone[node] = alone
	for c, ends := range w.conns {
		if alone && (ends[0] == node || ends[1] == node) {
			_ = c.Close()
			delete(w.conns, c)
		}
	}
}

// node is a whole server of a cluster under test.
type node struct {
	t       *testing.T
	id      string
	addr    string // its URL
	address string // where nodes reach it
	audit   string
	log     *servertest.Buffer
	server  *server.Server
	raft    *raft.Store
	stop    func()
}

// nodes are a cluster under test.
type nodes struct {
	t     *testing.T
	wire  *wire
	all   []*node
	token string // a root token
	key   string // unseals
}

// start starts a sealed node that belongs to no cluster.
func (ns *nodes) start(id string) *node {
	t := ns.t
	t.Helper()
	dir := t.TempDir()
	n := &node{t: t, id: id, log: &servertest.Buffer{}, audit: filepath.Join(dir, "audit.log")}
	c := config.Dev(config.DevFlags{ListenAddress: "127.0.0.1:0", NoStoreToken: true})
	c.Dev = nil
	c.Storage = config.Storage{Type: "raft", Raft: &config.RaftStorage{Path: filepath.Join(dir, "data"), NodeID: id}}
	c.Audits = []config.AuditDevice{{Type: "file", Path: "test", Options: map[string]string{"file_path": n.audit, "fsync": "none"}}}
	c.APIAddr = "https://" + id + ":8200"
	addr := make(chan string, 1)
	var err error
	network := ns.wire.end(t, id, "127.0.0.1:0")
	n.address = network.Address()
	n.server, err = server.New(server.Options{
		Config: c, Out: io.Discard, Network: network,
		Log:       diag.NewLevels(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: diag.LevelTrace}), slog.LevelDebug),
		Listening: func(urls []string) { addr <- urls[0] },
	})
	if err != nil {
		t.Fatal(err)
	}
	n.raft = server.Raft(n.server)
	ctx, cancel := context.WithCancel(context.Background()) // ends in stop
	done := make(chan error, 1)
	go func() { done <- n.server.Run(ctx, nil) }()
	n.addr = <-addr
	n.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stopping %s: %v", id, err)
		}
		if t.Failed() {
			t.Logf("the log of %s:\n%s", id, tail(n.log.String(), 60))
		}
	})
	ns.all = append(ns.all, n)
	t.Cleanup(func() { // all at once: the last ones would wait for a majority
		var wg sync.WaitGroup
		for _, n := range ns.all {
			wg.Go(n.stop)
		}
		wg.Wait()
	})
	return n
}

func tail(text string, lines int) string {
	all := strings.Split(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// newNodes starts a cluster of n unsealed nodes, the first of which leads.
func newNodes(t *testing.T, n int) *nodes {
	t.Helper()
	ns := &nodes{t: t, wire: newWire()}
	for i := range n {
		ns.start(fmt.Sprintf("n%d", i))
	}
	first := ns.all[0]
	if err := first.raft.Found(t.Context()); err != nil {
		t.Fatal(err)
	}
	keys := first.must(http.StatusOK, "", http.MethodPut, "sys/init", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	var out struct {
		Keys  []string `json:"keys_base64"`
		Token string   `json:"root_token"`
	}
	if err := json.Unmarshal(keys.body, &out); err != nil {
		t.Fatal(err)
	}
	ns.key, ns.token = out.Keys[0], out.Token
	first.unseal(ns.key)
	for _, m := range ns.all[1:] {
		if err := first.raft.AddMember(t.Context(), raft.Member{ID: m.id, Address: m.address, Voter: true}); err != nil {
			t.Fatal(err)
		}
		eventually(t, m.id+" has the cluster's state", func() bool {
			return m.do("", http.MethodGet, "sys/init", nil).json()["initialized"] == true
		})
		m.unseal(ns.key)
	}
	return ns
}

func (n *node) unseal(key string) {
	n.t.Helper()
	if a := n.must(http.StatusOK, "", http.MethodPut, "sys/unseal", map[string]any{"key": key}); a.json()["sealed"] != false {
		n.t.Fatalf("%s stays sealed: %s", n.id, a.body)
	}
}

// leader waits for the node that leads.
func (ns *nodes) leader() *node {
	ns.t.Helper()
	var leader *node
	eventually(ns.t, "a node leads", func() bool {
		for _, n := range ns.all {
			if n.raft.Leader().Self {
				leader = n
			}
		}
		return leader != nil
	})
	return leader
}

// follower returns a node that does not lead.
func (ns *nodes) follower() *node {
	ns.t.Helper()
	leader := ns.leader()
	for _, n := range ns.all {
		if n != leader {
			eventually(ns.t, n.id+" knows its leader", func() bool { return n.raft.Leader().ID == leader.id })
			return n
		}
	}
	return nil
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) json() map[string]any {
	m := map[string]any{}
	_ = json.Unmarshal(a.body, &m) // an answer without a JSON body is an empty map
	return m
}

func (a answer) data() map[string]any {
	d, _ := a.json()["data"].(map[string]any)
	return d
}

var client = &http.Client{
	Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// try makes a request; header names and values alternate.
func (n *node) try(ctx context.Context, token, method, path string, body any, headers ...string) (answer, error) {
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case io.Reader:
		r = b
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		r = strings.NewReader(string(text))
	}
	req, err := http.NewRequestWithContext(ctx, method, n.addr+"/v1/"+path, r)
	if err != nil {
		return answer{}, err
	}
	if token != "" {
		req.Header.Set("X-Vault-Token", token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return answer{res.StatusCode, res.Header, text}, err
}

func (n *node) do(token, method, path string, body any, headers ...string) answer {
	n.t.Helper()
	a, err := n.try(n.t.Context(), token, method, path, body, headers...)
	if err != nil {
		n.t.Fatalf("%s %s at %s: %v", method, path, n.id, err)
	}
	return a
}

// must makes a request and wants a status.
func (n *node) must(status int, token, method, path string, body any, headers ...string) answer {
	n.t.Helper()
	a := n.do(token, method, path, body, headers...)
	if a.status != status {
		n.t.Fatalf("%s %s at %s: got %d %s, want %d", method, path, n.id, a.status, a.body, status)
	}
	return a
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !so(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in 30 s", what)
		}
	}
}
