// Package clustertest runs whole clusters inside a test: servers with cluster
// ports on loopback, real certificates and real storage, and a network between
// them that can be cut.
package clustertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// Cluster is a cluster that runs, unsealed and with every node a voter.
type Cluster struct {
	Nodes []*Node
	// Key is the one share that unseals it, Root its root token.
	Key, Root string

	t     testing.TB
	clock clock.Clock

	mu    sync.Mutex
	alone map[string]bool         // guarded by mu; cluster addresses that are cut off
	conns map[net.Conn]*[2]string // guarded by mu; who dials whom
}

// Node is one server. It is replaced by Restart.
type Node struct {
	*servertest.Server
	ID      string
	Dir     string
	Address string // of the cluster port

	api     string
	cluster *Cluster
}

// New starts a cluster of n nodes that ends with the test.
func New(t testing.TB, n int) *Cluster {
	t.Helper()
	return NewAt(t, n, nil)
}

// NewAt is New with a clock for all nodes.
func NewAt(t testing.TB, n int, clk clock.Clock) *Cluster {
	t.Helper()
	c := &Cluster{t: t, clock: clk, alone: map[string]bool{}, conns: map[net.Conn]*[2]string{}}
	first := c.Start("n0")
	c.Key, c.Root = Init(t, first)
	first.Unseal(c.Key)
	first.Wait("it leads", func() bool { return first.Do("GET", "sys/health", "", nil).Status == http.StatusOK })
	a := first.Do("POST", "sys/storage/raft/autopilot/configuration", c.Root, map[string]any{"server_stabilization_time": "10ms"})
	if a.Status/100 != 2 {
		t.Fatalf("configuring autopilot: %s", a)
	}
	for i := 1; i < n; i++ {
		node := c.Start(fmt.Sprintf("n%d", i))
		node.Join(first)
	}
	first.Wait("every node has a vote", func() bool { return len(c.Voters(first)) == n })
	return c
}

// Init initialises a node with one share, and returns that and the root token.
func Init(t testing.TB, n *Node) (key, root string) {
	t.Helper()
	a := n.Do("PUT", "sys/init", "", map[string]any{"secret_shares": 1, "secret_threshold": 1})
	keys, _ := a.JSON()["keys_base64"].([]any)
	root, _ = a.JSON()["root_token"].(string)
	if len(keys) != 1 {
		t.Fatalf("initialising: %s", a)
	}
	key, _ = keys[0].(string)
	return key, root
}

// Start starts a node that belongs to no cluster yet.
func (c *Cluster) Start(id string) *Node {
	c.t.Helper()
	n := &Node{ID: id, Dir: c.t.TempDir(), Address: free(c.t), api: free(c.t), cluster: c}
	n.start()
	c.Nodes = append(c.Nodes, n)
	return n
}

// free finds a port that is free now.
func free(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (n *Node) start() {
	n.Server = servertest.New(n.cluster.t, servertest.Options{
		Dir: n.Dir, Uninitialised: true, Clock: n.cluster.clock,
		DialNode: func(ctx context.Context, address string) (net.Conn, error) {
			return n.cluster.dial(ctx, n.Address, address)
		},
		Change: func(c *config.Config) {
			c.Storage.Raft.NodeID = n.ID
			c.Listeners[0].Address = n.api
			c.APIAddr, c.ClusterAddr = "http://"+n.api, "https://"+n.Address
		},
	})
}

// Restart stops a node, if it runs, and starts it again, sealed.
func (n *Node) Restart() {
	n.cluster.t.Helper()
	n.Stop()
	n.start()
}

// Join joins the cluster of another node, and unseals.
func (n *Node) Join(other *Node) {
	n.cluster.t.Helper()
	if a := n.Do("POST", "sys/storage/raft/join", "", map[string]any{"leader_api_addr": other.Addr}); a.Status != http.StatusOK {
		n.cluster.t.Fatalf("joining: %s", a)
	}
	n.Unseal(n.cluster.Key)
}

// Unseal unseals a node.
func (n *Node) Unseal(key string) {
	n.cluster.t.Helper()
	if a := n.Do("PUT", "sys/unseal", "", map[string]any{"key": key}); a.Status != http.StatusOK || a.JSON()["sealed"] != false {
		n.cluster.t.Fatalf("unsealing %s: %s\n%s", n.ID, a, n.Log)
	}
}

// Wait waits until the condition holds.
func (n *Node) Wait(what string, holds func() bool) {
	n.cluster.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			n.cluster.t.Fatalf("%s: in vain: %s\n%s", n.ID, what, n.Log)
		}
	}
}

// Leads reports whether a node leads.
func (n *Node) Leads() bool {
	a := n.Do("GET", "sys/leader", "", nil)
	return a.Status == http.StatusOK && a.JSON()["is_self"] == true
}

// Leader waits until one of the nodes leads; without nodes, one of all.
func (c *Cluster) Leader(of ...*Node) *Node {
	c.t.Helper()
	if len(of) == 0 {
		of = c.Nodes
	}
	var leader *Node
	of[0].Wait("somebody leads", func() bool {
		i := slices.IndexFunc(of, (*Node).Leads)
		if i >= 0 {
			leader = of[i]
		}
		return i >= 0
	})
	return leader
}

// Voters returns the ids of the voters, as a node tells them.
func (c *Cluster) Voters(n *Node) []string {
	var ids []string
	config, _ := n.Do("GET", "sys/storage/raft/configuration", c.Root, nil).Data()["config"].(map[string]any)
	servers, _ := config["servers"].([]any)
	for _, s := range servers {
		if s, _ := s.(map[string]any); s["voter"] == true {
			ids = append(ids, s["node_id"].(string))
		}
	}
	return ids
}

var errCut = errors.New("the network is cut")

func (c *Cluster) dial(ctx context.Context, from, to string) (net.Conn, error) {
	c.mu.Lock()
	cut := c.alone[from] || c.alone[to]
	c.mu.Unlock()
	if cut {
		return nil, errCut
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", to)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns[conn] = &[2]string{from, to}
	return conn, nil
}

// Isolate cuts a node off from the others.
func (c *Cluster) Isolate(n *Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.alone[n.Address] = true
	for conn, ends := range c.conns {
		if ends[0] == n.Address || ends[1] == n.Address {
			_ = conn.Close()
			delete(c.conns, conn)
		}
	}
}

// Heal lets a node back.
func (c *Cluster) Heal(n *Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.alone, n.Address)
}
