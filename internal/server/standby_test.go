package server_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/replica"
)

// kv1 mounts version 1 of kv at kv/.
func (ns *nodes) kv1() {
	ns.t.Helper()
	ns.leader().must(http.StatusNoContent, ns.token, http.MethodPost, "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
}

// tokenAt makes a token at a node.
func (n *node) tokenAt(parent string, in map[string]any) string {
	n.t.Helper()
	a := n.must(http.StatusOK, parent, http.MethodPost, "auth/token/create", in)
	auth, _ := a.json()["auth"].(map[string]any)
	text, _ := auth["client_token"].(string)
	return text
}

func TestAnyNodeTakesWrites(t *testing.T) {
	ns := newNodes(t, 3)
	follower := ns.follower()
	follower.must(http.StatusNoContent, ns.token, http.MethodPost, "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	for i, from := range ns.all {
		path := "kv/" + from.id
		for j, to := range ns.all {
			want := strings.Repeat("x", 10*i+j)
			w := from.must(http.StatusNoContent, ns.token, http.MethodPost, path, map[string]any{"v": want})
			index := w.header.Get("X-Vault-Index")
			if index == "" {
				t.Fatalf("the answer to a write at %s has no index: %v", from.id, w.header)
			}
			got := to.must(http.StatusOK, ns.token, http.MethodGet, path, nil, "X-Vault-Index", index)
			if v := got.data()["v"]; v != want {
				t.Errorf("written at %s, %s reads %v, want %s", from.id, to.id, v, want)
			}
		}
	}
}

// TestWhatIsNewIsFoundEverywhere uses everything at once where it was not made,
// without telling an index.
func TestWhatIsNewIsFoundEverywhere(t *testing.T) {
	ns := newNodes(t, 3)
	ns.kv1()
	ns.leader().must(http.StatusNoContent, ns.token, http.MethodPut, "sys/policies/acl/kv", map[string]any{"policy": `path "kv/row*" { capabilities = ["create", "update", "read", "list"] }`})
	ns.leader().must(http.StatusNoContent, ns.token, http.MethodPost, "sys/auth/userpass", map[string]any{"type": "userpass"})
	ns.leader().must(http.StatusNoContent, ns.token, http.MethodPost, "auth/userpass/users/u", map[string]any{"password": "p", "token_policies": "kv"})
	for round := range 10 {
		a, b := ns.all[round%3], ns.all[(round+1)%3]
		row := "kv/row" + string(rune('a'+round))

		token := a.tokenAt(ns.token, map[string]any{"policies": []string{"kv"}, "ttl": "1h"})
		b.must(http.StatusOK, token, http.MethodGet, "auth/token/lookup-self", nil)
		a.must(http.StatusNoContent, token, http.MethodPost, row, map[string]any{"v": "1"})
		b.must(http.StatusOK, token, http.MethodGet, row, nil)

		login := a.must(http.StatusOK, "", http.MethodPost, "auth/userpass/login/u", map[string]any{"password": "p"})
		auth, _ := login.json()["auth"].(map[string]any)
		b.must(http.StatusOK, auth["client_token"].(string), http.MethodGet, row, nil)

		mount := "new" + string(rune('a'+round))
		a.must(http.StatusNoContent, ns.token, http.MethodPost, "sys/mounts/"+mount, map[string]any{"type": "kv"})
		b.must(http.StatusNoContent, ns.token, http.MethodPost, mount+"/x", map[string]any{"v": "1"})
		a.must(http.StatusOK, ns.token, http.MethodGet, mount+"/x", nil)

		b.must(http.StatusNoContent, ns.token, http.MethodPost, "auth/token/revoke", map[string]any{"token": token})
		eventually(t, "the revoked token is refused at "+a.id, func() bool {
			return a.do(token, http.MethodGet, row, nil).status == http.StatusForbidden
		})
	}
	// What is not there is still not there.
	for _, n := range ns.all {
		n.must(http.StatusForbidden, "hvs.nobody", http.MethodGet, "kv/rowa", nil)
		n.must(http.StatusNotFound, ns.token, http.MethodGet, "kv/absent", nil)
		n.must(http.StatusNotFound, ns.token, http.MethodGet, "absent/x", nil)
		n.must(http.StatusNotFound, ns.token, "LIST", "kv/absent", nil)
	}
}

func TestTokensWithFewUsesWrappingAndCubbyholesWorkAnywhere(t *testing.T) {
	ns := newNodes(t, 3)
	ns.kv1()
	f := ns.follower()
	f.must(http.StatusNoContent, ns.token, http.MethodPost, "kv/a", map[string]any{"v": "1"})

	twice := f.tokenAt(ns.token, map[string]any{"policies": []string{"root"}, "num_uses": 2})
	for range 2 {
		f.must(http.StatusOK, twice, http.MethodGet, "kv/a", nil)
	}
	f.must(http.StatusForbidden, twice, http.MethodGet, "kv/a", nil)

	wrapped := f.must(http.StatusOK, ns.token, http.MethodGet, "kv/a", nil, "X-Vault-Wrap-TTL", "60")
	info, _ := wrapped.json()["wrap_info"].(map[string]any)
	text, _ := info["token"].(string)
	f.must(http.StatusOK, "", http.MethodPost, "sys/wrapping/lookup", map[string]any{"token": text})
	if got := f.must(http.StatusOK, text, http.MethodPost, "sys/wrapping/unwrap", nil).data()["v"]; got != "1" {
		t.Errorf("unwrapped %v", got)
	}
	f.must(http.StatusBadRequest, text, http.MethodPost, "sys/wrapping/unwrap", nil)

	own := f.tokenAt(ns.token, map[string]any{"ttl": "1h"})
	f.must(http.StatusNoContent, own, http.MethodPost, "cubbyhole/x", map[string]any{"v": "2"})
	for _, n := range ns.all {
		if got := n.must(http.StatusOK, own, http.MethodGet, "cubbyhole/x", nil).data()["v"]; got != "2" {
			t.Errorf("the cubbyhole at %s has %v", n.id, got)
		}
	}
}

func TestClientsChooseHowCurrent(t *testing.T) {
	ns := newNodes(t, 3)
	ns.kv1()
	leader, f := ns.leader(), ns.follower()
	w := leader.must(http.StatusNoContent, ns.token, http.MethodPost, "kv/a", map[string]any{"v": "1"})
	now, err := replica.ParseIndex(w.header.Get("X-Vault-Index"))
	if err != nil {
		t.Fatal(err)
	}
	later := replica.Index{Cluster: now.Cluster, At: now.At + 1_000_000}.String()
	f.must(http.StatusPreconditionFailed, ns.token, http.MethodGet, "kv/a", nil, "X-Vault-Index", later)
	f.must(http.StatusPreconditionFailed, ns.token, http.MethodGet, "kv/a", nil, "X-Vault-Index", later, "X-Vault-Inconsistent", "fail")
	f.must(http.StatusOK, ns.token, http.MethodGet, "kv/a", nil, "X-Vault-Index", later, "X-Vault-Inconsistent", "forward-active-node")
	f.must(http.StatusOK, ns.token, http.MethodGet, "kv/a", nil, "X-Vault-Index", replica.Index{Cluster: "another", At: 1 << 60}.String())
	f.must(http.StatusBadRequest, ns.token, http.MethodGet, "kv/a", nil, "X-Vault-Index", "!")
	f.must(http.StatusPreconditionFailed, ns.token, http.MethodGet, "kv/a", nil, "X-Vault-Index", w.header.Get("X-Vault-Index"), "X-Vault-Index", later)

	// Who answers is who audits.
	before := entries(t, leader, "kv/a")
	f.must(http.StatusOK, ns.token, http.MethodGet, "kv/a", nil, "X-Vault-Forward", "active-node")
	if n := entries(t, leader, "kv/a") - before; n != 2 {
		t.Errorf("the leader has recorded %d entries of a request forwarded to it, want 2", n)
	}
	before, there := entries(t, f, "kv/a"), entries(t, leader, "kv/a")
	f.must(http.StatusOK, ns.token, http.MethodGet, "kv/a", nil)
	if n, m := entries(t, f, "kv/a")-before, entries(t, leader, "kv/a")-there; n != 2 || m != 0 {
		t.Errorf("a read at a follower is recorded %d times there and %d times at the leader, want 2 and 0", n, m)
	}

	a := f.must(http.StatusTemporaryRedirect, ns.token, http.MethodPost, "kv/a?x=1", map[string]any{"v": "2"}, "X-Vault-No-Request-Forwarding", "true")
	if got, want := a.header.Get("Location"), "https://"+leader.id+":8200/v1/kv/a?x=1"; got != want {
		t.Errorf("redirected to %q, want %q", got, want)
	}
}

// entries counts the lines of a path in a node's audit log.
func entries(t *testing.T, n *node, path string) int {
	t.Helper()
	log, err := os.ReadFile(n.audit)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(log, []byte(`"path":"`+path+`"`))
}

// TestLeaderSeesTheClient binds a token to an address and makes sure that it is
// the client's that counts, and not what a client says of itself.
func TestLeaderSeesTheClient(t *testing.T) {
	ns := newNodes(t, 3)
	ns.kv1()
	f := ns.follower()
	here := f.tokenAt(ns.token, map[string]any{"policies": []string{"root"}, "bound_cidrs": []string{"127.0.0.1/32"}})
	away := f.tokenAt(ns.token, map[string]any{"policies": []string{"root"}, "bound_cidrs": []string{"203.0.113.0/24"}})
	f.must(http.StatusNoContent, here, http.MethodPost, "kv/a", map[string]any{"v": "1"})
	for _, headers := range [][]string{nil, {"Coffer-Remote", "203.0.113.5:1"}, {"X-Forwarded-For", "203.0.113.5"}, {"Coffer-Hops", "0"}} {
		f.must(http.StatusForbidden, away, http.MethodPost, "kv/a", map[string]any{"v": "1"}, headers...)
	}
	log, err := os.ReadFile(ns.leader().audit)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), `"remote_address":"127.0.0.1"`) || strings.Contains(string(log), "203.0.113.5\"") {
		t.Error("the leader's audit log does not have the client's address")
	}
}

func TestLargeBodiesTravel(t *testing.T) {
	ns := newNodes(t, 3)
	ns.kv1()
	f := ns.follower()
	for _, size := range []int{1000, 900 << 10, 3 << 20} {
		parts := make([]string, 0, size/1000)
		for range size / 1000 {
			parts = append(parts, strings.Repeat("y", 1000))
		}
		f.must(http.StatusNoContent, ns.token, http.MethodPost, "kv/large", map[string]any{"v": parts})
		got, _ := ns.leader().must(http.StatusOK, ns.token, http.MethodGet, "kv/large", nil).data()["v"].([]any)
		if len(got) != len(parts) {
			t.Errorf("of %d parts %d have arrived", len(parts), len(got))
		}
	}
	// A body beyond the listener's limit is refused, of known length or not.
	for _, body := range []io.Reader{io.LimitReader(endless{}, 40<<20), strings.NewReader(strings.Repeat(" ", 33<<20))} {
		if a := f.do(ns.token, http.MethodPost, "kv/large", body); a.status != http.StatusRequestEntityTooLarge {
			t.Errorf("a body that is too large: %d %s", a.status, a.body)
		}
	}
}

// endless is a JSON object that does not end.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestSealingIsANodesOwn(t *testing.T) {
	ns := newNodes(t, 3)
	ns.kv1()
	f := ns.follower()
	f.must(http.StatusNoContent, ns.token, http.MethodPut, "sys/seal", nil)
	for _, n := range ns.all {
		want := http.StatusOK
		if n == f {
			want = http.StatusServiceUnavailable
		}
		n.must(want, ns.token, http.MethodGet, "sys/mounts", nil)
	}
	f.unseal(ns.key)
	f.must(http.StatusNoContent, ns.token, http.MethodPost, "kv/a", map[string]any{"v": "1"})
}

func TestNodesTellOfEachOther(t *testing.T) {
	ns := newNodes(t, 3)
	leader, f := ns.leader(), ns.follower()
	leader.must(http.StatusOK, "", http.MethodGet, "sys/health", nil)
	eventually(t, "the follower knows the leader's address", func() bool {
		a := f.do("", http.MethodGet, "sys/leader", nil).json()
		return a["leader_address"] == "https://"+leader.id+":8200" && a["is_self"] == false && a["performance_standby"] == true
	})
	f.must(473, "", http.MethodGet, "sys/health", nil)
	f.must(http.StatusOK, "", http.MethodGet, "sys/health?standbyok=true", nil)
	eventually(t, "the leader has heard from all", func() bool {
		a := f.do(ns.token, http.MethodGet, "sys/ha-status", nil)
		var list struct {
			Nodes []struct {
				Active bool   `json:"active_node"`
				API    string `json:"api_address"`
				Echo   string `json:"last_echo"`
			}
		}
		if err := json.Unmarshal(a.body, &list); err != nil {
			t.Fatal(err)
		}
		metrics := string(leader.must(http.StatusOK, ns.token, http.MethodGet, "sys/metrics?format=prometheus", nil).body)
		for _, want := range []string{`vault_raft_storage_follower_applied_index_delta{peer_id="` + f.id + `"}`, "vault_core_active 1", "vault_raft_leader_changes ", "vault_raft_commit_seconds "} {
			if !strings.Contains(metrics, want) {
				return false
			}
		}
		return len(list.Nodes) == 3 && list.Nodes[0].Active && list.Nodes[0].API == "https://"+leader.id+":8200" && list.Nodes[1].Echo != ""
	})
}
