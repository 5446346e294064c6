package server_test

import (
	"net/http"
	"testing"
)

func TestAnyNodeTakesWrites(t *testing.T) {
	ns := newNodes(t, 3)
	follower := ns.follower()
	follower.must(http.StatusNoContent, ns.token, http.MethodPost, "sys/mounts/kv", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	follower.must(http.StatusNoContent, ns.token, http.MethodPost, "kv/a", map[string]any{"v": "1"})
	for _, n := range ns.all {
		if got := n.must(http.StatusOK, ns.token, http.MethodGet, "kv/a", nil).data()["v"]; got != "1" {
			t.Errorf("%s reads %v", n.id, got)
		}
	}
}
