package server_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestTransitOnAnyNode makes, rotates and uses keys at nodes in turn, without
// telling an index: a ciphertext of one is good at the next, whatever version it
// is of, and however new the key.
func TestTransitOnAnyNode(t *testing.T) {
	ns := newNodes(t, 3)
	ns.leader().must(http.StatusNoContent, ns.token, http.MethodPost, "sys/mounts/transit", map[string]any{"type": "transit"})
	seal := func(n *node, key string) string {
		t.Helper()
		text, _ := n.must(http.StatusOK, ns.token, http.MethodPost, "transit/encrypt/"+key, map[string]any{"plaintext": "aGVsbG8="}).data()["ciphertext"].(string)
		return text
	}
	open := func(n *node, key, ciphertext string) {
		t.Helper()
		if got := n.must(http.StatusOK, ns.token, http.MethodPost, "transit/decrypt/"+key, map[string]any{"ciphertext": ciphertext}).data()["plaintext"]; got != "aGVsbG8=" {
			t.Errorf("%s decrypts to %v", n.id, got)
		}
	}
	var all []string
	for round := range 9 {
		a, b := ns.all[round%3], ns.all[(round+1)%3]
		a.must(http.StatusOK, ns.token, http.MethodPost, "transit/keys/k", nil)
		all = append(all, seal(a, "k"))
		open(b, "k", all[len(all)-1])
		b.must(http.StatusOK, ns.token, http.MethodPost, "transit/keys/k/rotate", nil)

		// Encrypting for a key that there is not makes it, at any node.
		fresh := "fresh" + string(rune('a'+round))
		open(b, fresh, seal(a, fresh))
	}
	for _, n := range ns.all {
		for _, c := range all {
			open(n, "k", c)
		}
	}
	leader := ns.leader()
	leader.must(http.StatusOK, ns.token, http.MethodPost, "transit/keys/k/config", map[string]any{"min_decryption_version": 10})
	for _, n := range ns.all {
		eventually(t, "old versions are refused at "+n.id, func() bool {
			return n.do(ns.token, http.MethodPost, "transit/decrypt/k", map[string]any{"ciphertext": all[0]}).status == http.StatusBadRequest
		})
	}
}

// TestCodesAndPasswordsAreGoodOnceOnAnyNode uses each at one node and again at
// the others.
func TestCodesAndPasswordsAreGoodOnceOnAnyNode(t *testing.T) {
	ns := newNodes(t, 3)
	leader := ns.leader()
	leader.must(http.StatusNoContent, ns.token, http.MethodPost, "sys/mounts/totp", map[string]any{"type": "totp"})
	leader.must(http.StatusNoContent, ns.token, http.MethodPost, "sys/mounts/ssh", map[string]any{"type": "ssh"})
	leader.must(http.StatusNoContent, ns.token, http.MethodPost, "ssh/roles/o", map[string]any{"key_type": "otp", "default_user": "u", "cidr_list": "10.0.0.0/8"})
	for i, n := range ns.all {
		key := "k" + n.id
		n.must(http.StatusOK, ns.token, http.MethodPost, "totp/keys/"+key, map[string]any{"generate": true, "issuer": "i", "account_name": "a"})
		code := n.must(http.StatusOK, ns.token, http.MethodGet, "totp/code/"+key, nil).data()["code"]
		password := n.must(http.StatusOK, ns.token, http.MethodPost, "ssh/creds/o", map[string]any{"ip": "10.1.2.3"}).data()["key"]
		if text, _ := password.(string); strings.Count(text, "-") != 4 {
			t.Fatalf("the password is %v", password)
		}
		first, others := ns.all[(i+1)%3], []*node{ns.all[i], ns.all[(i+1)%3], ns.all[(i+2)%3]}
		if got := first.must(http.StatusOK, ns.token, http.MethodPost, "totp/code/"+key, map[string]any{"code": code}).data()["valid"]; got != true {
			t.Errorf("the code is %v at %s", got, first.id)
		}
		first.must(http.StatusOK, "", http.MethodPost, "ssh/verify", map[string]any{"otp": password})
		for _, other := range others {
			other.must(http.StatusBadRequest, ns.token, http.MethodPost, "totp/code/"+key, map[string]any{"code": code})
			other.must(http.StatusBadRequest, "", http.MethodPost, "ssh/verify", map[string]any{"otp": password})
		}
	}
}
