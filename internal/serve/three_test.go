package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/cli"
	"github.com/cofferhq/coffer/internal/serve"
)

// output is what a command has written so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// freePorts returns the first of six ports in a row that nobody listens at.
func freePorts(t *testing.T) int {
	t.Helper()
	for first := 21340; first < 21399; first += 6 {
		free := true
		for port := first; port < first+6; port++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
			if err != nil {
				free = false
				break
			}
			_ = l.Close()
		}
		if free {
			return first
		}
	}
	t.Fatal("no free ports")
	return 0
}

// TestDevelopmentCluster starts the three nodes, writes through one, reads from
// another, and waits until all of them vote.
func TestDevelopmentCluster(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	first := freePorts(t)
	out, log := &output{}, &output{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	go func() {
		done <- serve.Server(ctx, []string{
			"-dev-three-node", "-dev-root-token-id=root", fmt.Sprintf("-dev-listen-address=127.0.0.1:%d", first),
		}, cli.Stdio{Out: out, Err: log})
	}()
	ask := func(node int, method, path, body string) (int, map[string]any) {
		req, err := http.NewRequestWithContext(ctx, method, fmt.Sprintf("http://127.0.0.1:%d/v1/%s", first+2*node, path), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Vault-Token", "root")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, nil
		}
		defer res.Body.Close()
		m := map[string]any{}
		_ = json.NewDecoder(res.Body).Decode(&m) // some answers have no body
		return res.StatusCode, m
	}
	wait := func(what string, so func() bool) {
		t.Helper()
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(time.Minute); !so(); <-tick.C {
			if time.Now().After(deadline) {
				t.Fatalf("%s: not in a minute\n%s\n%s", what, out, log)
			}
		}
	}
	wait("three nodes are there", func() bool { return strings.Contains(out.String(), "The other nodes are at") })
	if status, _ := ask(1, http.MethodPost, "secret/data/a", `{"data":{"x":"1"}}`); status != http.StatusOK {
		t.Errorf("writing through the second node: %d", status)
	}
	if status, _ := ask(2, http.MethodGet, "secret/data/a", ""); status != http.StatusOK {
		t.Errorf("reading at the third node: %d", status)
	}
	wait("all nodes vote and are healthy", func() bool {
		_, state := ask(2, http.MethodGet, "sys/storage/raft/autopilot/state", "")
		data, _ := state["data"].(map[string]any)
		voters, _ := data["voters"].([]any)
		return len(voters) == 3 && data["healthy"] == true && data["failure_tolerance"] == 1.0
	})
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d\n%s", code, log)
	}
}
