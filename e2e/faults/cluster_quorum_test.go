package faults_test

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// TestLostQuorum loses two of three disks and follows the documented procedure:
// the node that is left becomes the whole cluster, with everything that was
// acknowledged, and empty nodes join it.
func TestLostQuorum(t *testing.T) {
	c := newCluster(t, 3)
	h := newHistory(c, 4)
	for _, key := range h.keys {
		if out := h.write(c.nodes[1], 0, casCall{key: key, value: 7}); out.outcome != written {
			t.Fatalf("writing %s: %+v", key, out)
		}
	}
	h.settled() // what n0 has not heard of would be lost with the others
	left := c.nodes[0]
	for _, n := range c.nodes {
		n.kill()
	}
	for _, n := range c.nodes[1:] {
		if err := os.RemoveAll(n.Data); err != nil {
			t.Fatal(err)
		}
	}
	peers := filepath.Join(left.Data, "peers.json")
	for _, wrong := range []string{`{`, `[]`, `[{"id": "n1"}]`, `[{"id": "n0"}, {"id": "n1"}]`} {
		if err := os.WriteFile(peers, []byte(wrong), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := left.tryStart(); err == nil {
			t.Fatalf("the node starts with %s", wrong)
		}
	}
	if err := os.WriteFile(peers, []byte(`[{"id": "n0"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	c.restart(left)
	c.serving(left)
	c.writableAt(readiness, 0)
	if _, err := os.Stat(peers); err == nil {
		t.Error("the file is still there: the next start would do it again")
	}
	c.voters(1)
	for _, n := range c.nodes[1:] {
		c.restart(n)
		c.serving(n)
	}
	c.voters(3)
	c.writable(readiness)
	h.settled()
	for _, key := range h.keys {
		if s, err := readState(c.nodes[2], c.root, key); err != nil || s != (casState{1, 7}) {
			t.Errorf("%s: %+v, %v", key, s, err)
		}
	}
	left.call(http.MethodGet, "sys/health", "", nil).must(t, http.StatusOK)
}
