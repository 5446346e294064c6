package faults_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// cluster is some nodes, each a process on a host of its own.
type cluster struct {
	t     *testing.T
	net   *network
	nodes []*node
	root  string
	key   string
}

// newCluster starts nodes that have found one another and are unsealed. The
// first one is initialised, the others join it.
func newCluster(t *testing.T, size int) *cluster {
	t.Helper()
	return newClusterOn(t, size, func(int) string { return "" })
}

// newClusterOn says where each node keeps its storage, "" for a folder of the
// test.
func newClusterOn(t *testing.T, size int, data func(i int) string) *cluster {
	t.Helper()
	c := &cluster{t: t, net: newNetwork(t, size)}
	for i := range size {
		c.nodes = append(c.nodes, c.member(i, data(i)))
	}
	first := c.nodes[0]
	first.start()
	var keys struct {
		Keys []string `json:"keys_base64"`
		Root string   `json:"root_token"`
	}
	first.call(http.MethodPut, "sys/init", "", object{"secret_shares": 1, "secret_threshold": 1}).must(t, 200).into(t, &keys)
	c.key, c.root = keys.Keys[0], keys.Root
	for _, n := range c.nodes {
		n.Key, n.Root = c.key, c.root
	}
	first.unseal()
	for _, n := range c.nodes[1:] {
		n.start()
		c.open(n)
	}
	for _, n := range c.nodes {
		c.serving(n)
	}
	c.voters(size)
	return c
}

// voters waits until so many nodes vote: a new one does not before it has
// caught up.
func (c *cluster) voters(want int) {
	c.t.Helper()
	eventually(c.t, readiness, fmt.Sprintf("%d nodes vote", want), func() bool {
		a := c.nodes[0].call(http.MethodGet, "sys/storage/raft/configuration", c.root, nil)
		list, err := data[struct {
			Config struct{ Servers []struct{ Voter bool } }
		}](a)
		if err != nil {
			return false
		}
		n := 0
		for _, s := range list.Config.Servers {
			if s.Voter {
				n++
			}
		}
		return n == want
	})
}

// member prepares a node's files.
func (c *cluster) member(i int, data string) *node {
	c.t.Helper()
	dir := c.t.TempDir()
	n := &node{
		t: c.t, Dir: dir, Data: cmp.Or(data, filepath.Join(dir, "data")), Audit: filepath.Join(dir, "audit.log"),
		config: filepath.Join(dir, "coffer.hcl"), log: filepath.Join(dir, "server.log"), Wrapper: c.net.wrapper(i),
	}
	socket := filepath.Join(dir, "api.sock")
	n.client = newSocketClient(socket)
	own := c.net.address(i)
	joins := ""
	for other := range c.net.hosts {
		if other != i {
			joins += fmt.Sprintf("  retry_join {\n    leader_api_addr = \"http://%s:8200\"\n  }\n", c.net.address(other))
		}
	}
	text := fmt.Sprintf(`
api_addr     = "http://%[1]s:8200"
cluster_addr = "https://%[1]s:8201"
storage "raft" {
  path    = %[2]q
  node_id = "n%[3]d"
%[4]s}
listener "tcp" {
  address         = "%[1]s:8200"
  cluster_address = "%[1]s:8201"
  tls_disable     = true
}
listener "unix" {
  address = %[5]q
}
audit "file" "log" {
  options {
    file_path = %[6]q
    fsync     = "none"
  }
}
`, own, n.Data, i, joins, socket, n.Audit)
	if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(n.kill)
	c.t.Cleanup(func() {
		if c.t.Failed() {
			c.t.Logf("n%d's log:\n%s", i, n.output())
		}
	})
	return n
}

func newSocketClient(path string) *client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	return &client{base: "http://node/v1/", http: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DialContext: dial},
		// A redirect names an address of another host, which tests do not reach.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// open gives a node the key until it is unsealed: one that has yet to join
// takes the key as its proof.
func (c *cluster) open(n *node) {
	c.t.Helper()
	eventually(c.t, readiness, "the node is unsealed", func() bool {
		a := n.call(http.MethodPut, "sys/unseal", "", object{"key": c.key})
		var status struct{ Sealed, Initialized bool }
		n.call(http.MethodGet, "sys/seal-status", "", nil).into(c.t, &status)
		return a.Status == http.StatusOK && status.Initialized && !status.Sealed
	})
}

// serving waits until a node answers requests.
func (c *cluster) serving(n *node) {
	c.t.Helper()
	eventually(c.t, readiness, "the node serves", func() bool {
		return n.call(http.MethodGet, "sys/mounts", c.root, nil).Status == http.StatusOK
	})
}

// restart starts a node again, and unseals it.
func (c *cluster) restart(n *node) {
	c.t.Helper()
	n.start()
	c.open(n)
}

// leader waits until some node says that it leads, and returns its number.
func (c *cluster) leader() int {
	c.t.Helper()
	found := -1
	eventually(c.t, readiness, "there is a leader", func() bool {
		found = c.leading()
		return found >= 0
	})
	return found
}

// leading returns the number of the node that says it leads, or -1.
func (c *cluster) leading() int {
	all := make([]int, len(c.nodes))
	for i := range all {
		all[i] = i
	}
	return c.leadingOf(all...)
}

// leadingOf asks only some nodes.
func (c *cluster) leadingOf(some ...int) int {
	for _, i := range some {
		n := c.nodes[i]
		if n.cmd == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(background(), time.Second)
		a := n.callWith(ctx, http.MethodGet, "sys/leader", "", nil)
		cancel()
		var is struct {
			Self bool `json:"is_self"`
		}
		if a.Status == http.StatusOK {
			a.into(c.t, &is)
		}
		if is.Self {
			return i
		}
	}
	return -1
}

// follower returns the number of some node that does not lead.
func (c *cluster) follower() int {
	leader := c.leader()
	i := rand.N(len(c.nodes) - 1)
	if i >= leader {
		i++
	}
	return i
}

// pause stops a process without ending it, until the returned function lets it
// go on.
func (n *node) pause() (resume func()) {
	n.t.Helper()
	if err := syscall.Kill(-n.cmd.Process.Pid, syscall.SIGSTOP); err != nil {
		n.t.Fatal(err)
	}
	pid := n.cmd.Process.Pid
	return func() { _ = syscall.Kill(-pid, syscall.SIGCONT) } // it may have been killed meanwhile
}

// handTo lets leaders step down until a certain node leads.
func (c *cluster) handTo(i int) {
	c.t.Helper()
	eventually(c.t, 2*readiness, fmt.Sprintf("n%d leads", i), func() bool {
		leader := c.leader()
		if leader != i {
			c.nodes[leader].call(http.MethodPut, "sys/step-down", c.root, nil)
		}
		return leader == i
	})
}

// writable waits until a write succeeds at each node.
func (c *cluster) writable(patience time.Duration) {
	c.t.Helper()
	for i := range c.nodes {
		c.writableAt(patience, i)
	}
}

func (c *cluster) writableAt(patience time.Duration, some ...int) {
	c.t.Helper()
	for _, i := range some {
		eventually(c.t, patience, fmt.Sprintf("n%d takes writes", i), func() bool {
			ctx, cancel := context.WithTimeout(background(), 5*time.Second)
			defer cancel()
			return c.nodes[i].callWith(ctx, http.MethodPost, fmt.Sprintf("secret/data/writable-%d", i), c.root, object{"data": object{"n": i}}).acknowledged()
		})
	}
}
