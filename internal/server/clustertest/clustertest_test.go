package clustertest_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/cluster/port"
	"github.com/cofferhq/coffer/internal/server/clustertest"
)

const policy = `path "a" { capabilities = ["read"] }`

// write writes a policy and fails the test if that is refused.
func write(t *testing.T, c *clustertest.Cluster, n *clustertest.Node, name string) {
	t.Helper()
	if a := n.Do("PUT", "sys/policies/acl/"+name, c.Root, map[string]any{"policy": policy}); a.Status/100 != 2 {
		t.Fatalf("writing on %s: %s", n.ID, a)
	}
}

func has(c *clustertest.Cluster, n *clustertest.Node, name string) bool {
	return n.Do("GET", "sys/policies/acl/"+name, c.Root, nil).Status == http.StatusOK
}

func TestClusterOutlivesItsLeader(t *testing.T) {
	c := clustertest.New(t, 3)
	write(t, c, c.Nodes[0], "before")
	old := c.Leader()
	others := slices.DeleteFunc(slices.Clone(c.Nodes), func(n *clustertest.Node) bool { return n == old })
	c.Isolate(old)
	next := c.Leader(others...)
	write(t, c, next, "after")
	c.Heal(old)
	old.Wait("it has what was written without it", func() bool { return has(c, old, "after") })
	// A restarted node takes part while it is sealed: with another one gone the
	// cluster still has its quorum.
	old.Restart()
	third := others[0]
	if third == next {
		third = others[1]
	}
	third.Stop()
	write(t, c, next, "with a sealed voter")
}

// TestSealedNodeHandsOver seals the leader, and then restarts all others.
func TestSealedNodeHandsOver(t *testing.T) {
	c := clustertest.New(t, 3)
	old := c.Leader()
	if a := old.Do("PUT", "sys/seal", c.Root, nil); a.Status != http.StatusNoContent {
		t.Fatalf("sealing: %s", a)
	}
	others := slices.DeleteFunc(slices.Clone(c.Nodes), func(n *clustertest.Node) bool { return n == old })
	write(t, c, c.Leader(others...), "after")
	old.Unseal(c.Key)
	old.Wait("it has what was written", func() bool { return has(c, old, "after") })
}

func TestRemovedNodeServesNothing(t *testing.T) {
	c := clustertest.New(t, 3)
	lead, gone := c.Leader(), c.Nodes[2]
	if gone == lead {
		gone = c.Nodes[1]
	}
	for _, token := range []string{"", "wrong"} {
		for _, path := range []string{"remove-peer", "promote", "demote"} {
			if a := lead.Do("POST", "sys/storage/raft/"+path, token, map[string]any{"server_id": gone.ID}); a.Status != http.StatusForbidden {
				t.Errorf("%s by a stranger: %s", path, a)
			}
		}
	}
	if a := lead.Do("POST", "sys/storage/raft/remove-peer", c.Root, map[string]any{"server_id": gone.ID}); a.Status != http.StatusNoContent {
		t.Fatalf("removing: %s", a)
	}
	gone.Wait("it knows", func() bool { return gone.Do("GET", "sys/health", "", nil).Status == 530 })
	check := func(when string) {
		t.Helper()
		if a := gone.Do("GET", "sys/policies/acl/default", c.Root, nil); a.Status != http.StatusServiceUnavailable {
			t.Errorf("%s it answers %s", when, a)
		}
		if a := gone.Do("PUT", "sys/unseal", "", map[string]any{"key": c.Key}); a.Status == http.StatusOK {
			t.Errorf("%s it unseals: %s", when, a)
		}
		if a := gone.Do("POST", "sys/storage/raft/join", "", map[string]any{"leader_api_addr": lead.Addr}); a.Status != http.StatusBadRequest {
			t.Errorf("%s it joins: %s", when, a)
		}
	}
	check("after the removal")
	gone.Restart()
	check("after a restart")
	write(t, c, lead, "goes on")
	if got := c.Voters(lead); slices.Contains(got, gone.ID) {
		t.Errorf("voters are %v", got)
	}
	// With an empty folder it is a new node, which may have the old name.
	again := c.Start(gone.ID)
	again.Join(lead)
	again.Wait("it has the data", func() bool { return has(c, again, "goes on") })
}

func TestWhoMayNotJoin(t *testing.T) {
	c := clustertest.New(t, 1)
	lead := c.Nodes[0]
	join := func(n *clustertest.Node) (status int, text string) {
		t.Helper()
		a := n.Do("POST", "sys/storage/raft/join", "", map[string]any{"leader_api_addr": lead.Addr})
		return a.Status, a.String()
	}
	unseal := func(n *clustertest.Node, key string) (int, string) {
		a := n.Do("PUT", "sys/unseal", "", map[string]any{"key": key})
		return a.Status, a.String()
	}
	other := clustertest.New(t, 1) // another cluster, with keys of its own

	t.Run("who has the keys of another cluster", func(t *testing.T) {
		n := c.Start("stranger")
		if status, text := join(n); status != http.StatusOK {
			t.Fatal(text)
		}
		if status, text := unseal(n, other.Key); status != http.StatusBadRequest {
			t.Errorf("unsealing with another cluster's keys: %s", text)
		}
		if got := c.Voters(lead); len(got) != 1 {
			t.Errorf("members are %v", got)
		}
		if a := n.Do("PUT", "sys/init", "", map[string]any{"secret_shares": 1, "secret_threshold": 1}); a.Status != http.StatusBadRequest {
			t.Errorf("initialising a node that is about to join: %s", a)
		}
		n.Unseal(c.Key) // it was asked for the right ones
	})
	t.Run("who belongs to a cluster", func(t *testing.T) {
		if status, text := join(other.Nodes[0]); status != http.StatusBadRequest || !strings.Contains(text, "already") {
			t.Error(text)
		}
	})
	t.Run("who has another node's id", func(t *testing.T) {
		n := c.Start("n0")
		if status, text := join(n); status != http.StatusOK {
			t.Fatal(text)
		}
		if status, text := unseal(n, c.Key); status != http.StatusBadRequest || !strings.Contains(text, "node_id") {
			t.Errorf("joining under another's id: %d %s", status, text)
		}
	})
	t.Run("who asks nobody", func(t *testing.T) {
		n := c.Start("lonely")
		for _, body := range []map[string]any{{}, {"leader_api_addr": "not a URL"}, {"auto_join": "provider=aws region=x"}, {"leader_api_addr": "http://127.0.0.1:1", "auto_join": "dns-srv x"}} {
			if a := n.Do("POST", "sys/storage/raft/join", "", body); a.Status != http.StatusBadRequest {
				t.Errorf("joining with %v: %s", body, a)
			}
		}
		if a := n.Do("POST", "sys/storage/raft/join", "", map[string]any{"leader_api_addr": "http://127.0.0.1:1"}); a.Status/100 != 5 {
			t.Errorf("joining where nobody is: %s", a)
		}
		if _, root := clustertest.Init(t, n); root == "" {
			t.Error("it cannot be initialised afterwards")
		}
	})
	t.Run("who answers what was not asked", func(t *testing.T) {
		for _, body := range []map[string]any{
			{}, {"server_id": "x"}, {"server_id": "x", "cluster_addr": "127.0.0.1:1", "ticket": strings.Repeat("AAAA", 8), "answer": "AAAA", "request": "AAAA"},
			{"server_id": "x", "ticket": "*"},
		} {
			if a := lead.Do("POST", "sys/storage/raft/bootstrap/answer", "", body); a.Status/100 != 4 {
				t.Errorf("answering with %v: %s", body, a)
			}
		}
		if got := c.Voters(lead); len(got) > 2 {
			t.Errorf("members are %v", got)
		}
	})
}

func TestSnapshotBringsBackWhatWas(t *testing.T) {
	c := clustertest.New(t, 3)
	lead := c.Leader()
	write(t, c, lead, "kept")
	taken := c.Nodes[1].Do("GET", "sys/storage/raft/snapshot", c.Root, nil)
	if taken.Status != http.StatusOK || taken.Header.Get("Content-Type") != "application/gzip" {
		t.Fatalf("taking a snapshot: %d %v", taken.Status, taken.Header)
	}
	write(t, c, lead, "later")
	restore := func(n *clustertest.Node, root, path string, body []byte) (int, string) {
		t.Helper()
		a := n.Do("POST", "sys/storage/raft/"+path, root, body)
		return a.Status, a.String()
	}
	for at := 0; at < len(taken.Body); at += 97 {
		if status, text := restore(lead, c.Root, "snapshot", taken.Body[:at]); status/100 != 4 {
			t.Fatalf("restoring what was cut off at %d of %d: %s", at, len(taken.Body), text)
		}
		flipped := bytes.Clone(taken.Body)
		flipped[at] ^= 0x10
		if status, text := restore(lead, c.Root, "snapshot-force", flipped); status/100 != 4 {
			t.Fatalf("restoring what was changed at %d: %s", at, text)
		}
	}
	if status, text := restore(lead, "", "snapshot", taken.Body); status != http.StatusForbidden {
		t.Errorf("restoring by a stranger: %s", text)
	}
	if !has(c, lead, "later") {
		t.Fatal("a refused snapshot has changed something")
	}
	other := clustertest.New(t, 1)
	if status, text := restore(other.Nodes[0], other.Root, "snapshot", taken.Body); status != http.StatusBadRequest || !strings.Contains(text, "another cluster") {
		t.Errorf("restoring on another cluster: %s", text)
	}

	if status, text := restore(lead, c.Root, "snapshot", taken.Body); status != http.StatusNoContent {
		t.Fatalf("restoring: %s", text)
	}
	for _, n := range c.Nodes {
		n.Wait("it has the old state", func() bool { return has(c, n, "kept") && !has(c, n, "later") })
	}
	for _, n := range c.Nodes { // each comes back to its place
		n.Restart()
		n.Unseal(c.Key)
		write(t, c, n, "by-"+n.ID)
	}
	if got := c.Voters(c.Leader()); len(got) != 3 {
		t.Errorf("voters are %v", got)
	}

	// With force another cluster takes it, and its keys with it.
	n := other.Nodes[0]
	if status, text := restore(n, other.Root, "snapshot-force", taken.Body); status != http.StatusNoContent {
		t.Fatalf("forcing: %s", text)
	}
	n.Wait("it has sealed itself", func() bool { return n.Do("GET", "sys/seal-status", "", nil).JSON()["sealed"] == true })
	if a := n.Do("PUT", "sys/unseal", "", map[string]any{"key": other.Key}); a.Status == http.StatusOK && a.JSON()["sealed"] == false {
		t.Error("the old keys unseal it")
	}
	n.Unseal(c.Key)
	n.Wait("it leads", n.Leads)
	if !has(c, n, "kept") {
		t.Error("it has not what was restored")
	}
	joiner := c.Start("late") // and nodes can join it
	if a := joiner.Do("POST", "sys/storage/raft/join", "", map[string]any{"leader_api_addr": n.Addr}); a.Status != http.StatusOK {
		t.Fatal(a)
	}
	joiner.Unseal(c.Key)
}

func TestFilesAreTheOwnersAlone(t *testing.T) {
	c := clustertest.New(t, 2)
	for _, name := range []string{"tls/node.key", "tls/node.pem", "tls/ca.pem", "node-id"} {
		info, err := os.Stat(c.Nodes[0].Dir + "/" + name)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

// TestCertificatesAreRenewed lets a year go by: the authority is replaced while
// the cluster works, and in the end nothing of the old one is trusted.
func TestCertificatesAreRenewed(t *testing.T) {
	clk := clock.NewFake(time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC))
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { // time goes by
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				clk.Advance(50 * time.Millisecond)
			case <-stop:
				return
			}
		}
	})
	defer running.Wait()
	defer close(stop)
	c := clustertest.NewAt(t, 3, clk)
	lead := c.Leader()
	trust := func(n *clustertest.Node) []*x509.Certificate { return certificates(t, n, "ca.pem") }
	leaf := func(n *clustertest.Node) *x509.Certificate { return certificates(t, n, "node.pem")[0] }
	old, first := trust(lead), leaf(lead)
	if len(old) != 1 {
		t.Fatalf("%d authorities are trusted at first", len(old))
	}

	clk.Advance(port.NodeRenewal)
	for _, n := range c.Nodes {
		n.Wait("its certificate is renewed", func() bool { return leaf(n).NotBefore.Sub(first.NotBefore) >= port.NodeRenewal-time.Hour })
		if err := leaf(n).CheckSignatureFrom(old[0]); err != nil {
			t.Errorf("%s: %v", n.ID, err)
		}
	}
	clk.Advance(port.AuthorityRenewal)
	for _, n := range c.Nodes {
		n.Wait("only the new authority is trusted", func() bool {
			now := trust(n)
			return len(now) == 1 && !now[0].Equal(old[0]) && leaf(n).CheckSignatureFrom(now[0]) == nil
		})
	}
	write(t, c, c.Leader(), "with new certificates")
	follower := c.Nodes[0]
	if follower == c.Leader() {
		follower = c.Nodes[1]
	}
	follower.Restart() // it comes back with what is on its disk
	follower.Unseal(c.Key)
	follower.Wait("it follows", func() bool { return has(c, follower, "with new certificates") })
}

// certificates reads a file of certificates of a node.
func certificates(t *testing.T, n *clustertest.Node, name string) []*x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(n.Dir + "/tls/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var list []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, cert)
	}
	return list
}
