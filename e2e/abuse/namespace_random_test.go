package abuse_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/server/servertest"
)

// TestIsolationOfRandomRequests asks for secrets in random places, by header, by
// path and by both, with tokens of random namespaces and policies, and compares
// each answer with what a few lines say it should be.
func TestIsolationOfRandomRequests(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	rng := rand.New(rand.NewPCG(1, 2))
	spaces := []string{"", "a/", "b/", "a/c/"}
	w.in("", 0, http.MethodPost, "kv1/known", map[string]any{"value": "of "})
	mountOf := func(ns string) string {
		if ns == "" {
			return "kv1/"
		}
		return "secret/"
	}
	pick := func(list []string) string { return list[rng.IntN(len(list))] }
	patterns := []string{"*", "+/secret/known", "a/*", "b/secret/known", "c/secret/*", "a/c/secret/known", "secret/known", "secret/*", "kv1/known", "+/+/secret/known", "a/secret/kn*", "sec*"}
	type holder struct{ ns, token, pattern string }
	var holders []holder
	for i := range 40 {
		h := holder{ns: pick(spaces), pattern: pick(patterns)}
		name := fmt.Sprintf("random%d", i)
		w.in(strings.TrimSuffix(h.ns, "/"), 0, http.MethodPost, "sys/policies/acl/"+name, map[string]any{"policy": fmt.Sprintf(`path %q { capabilities = ["read"] }`, h.pattern)})
		h.token = w.tokenIn(strings.TrimSuffix(h.ns, "/"), name)
		holders = append(holders, h)
	}
	for range 2000 {
		h, at := holders[rng.IntN(len(holders))], pick(spaces)
		// Any cut of the whole path into header and path means the same.
		header, path := "", at+mountOf(at)+"known"
		for strings.Count(at, "/") > strings.Count(header, "/") && rng.IntN(2) == 0 {
			name, rest, _ := strings.Cut(path, "/")
			header, path = header+name+"/", rest
		}
		seen, reaches := strings.CutPrefix(at+mountOf(at)+"known", h.ns)
		want := reaches && strings.HasPrefix(at, h.ns) && matches(h.pattern, seen)
		a := w.as(h.token, header, http.MethodGet, path, nil)
		if got := a.Status == http.StatusOK; got != want {
			t.Errorf("a token of %q with %q, GET %s in %q: got %s, want allowed: %v", h.ns, h.pattern, path, header, a, want)
		}
		if want && a.Data()["value"] != "of "+strings.TrimSuffix(at, "/") {
			t.Errorf("GET %s in %q: the secret of another place: %s", path, header, a)
		}
	}
}

// matches is the meaning of a pattern, slowly.
func matches(pattern, path string) bool {
	open := strings.HasSuffix(pattern, "*")
	want, have := strings.Split(strings.TrimSuffix(pattern, "*"), "/"), strings.Split(path, "/")
	for i, p := range want {
		last := i == len(want)-1
		switch {
		case i >= len(have):
			return false
		case last && open:
			return strings.HasPrefix(strings.Join(have[i:], "/"), p)
		case p != "+" && p != have[i]:
			return false
		}
	}
	return len(want) == len(have)
}

// TestAuditNamesTheNamespace: a record tells the namespace of the request, and
// that of the policies which granted it.
func TestAuditNamesTheNamespace(t *testing.T) {
	w := newTenants(t, servertest.Options{})
	w.in("", http.StatusNoContent, http.MethodPut, "sys/audit/log", map[string]any{"type": "file", "options": map[string]string{"file_path": t.TempDir() + "/second.log"}})
	w.in("a", 0, http.MethodPost, "sys/policies/acl/down", map[string]any{"policy": `path "c/secret/*" { capabilities = ["read"] }`})
	text := w.tokenIn("a", "down")
	if a := w.as(text, "a", http.MethodGet, "c/secret/known", nil); a.Status != http.StatusOK {
		t.Fatal(a)
	}
	w.as(text, "b", http.MethodGet, "secret/known", nil)
	type record struct {
		Type string
		Auth struct {
			PolicyResults struct {
				GrantingPolicies []struct {
					NamespacePath string `json:"namespace_path"`
				} `json:"granting_policies"`
			} `json:"policy_results"`
		}
		Request struct {
			Path      string
			Namespace struct{ ID, Path string }
		}
	}
	var below, refused int
	for line := range strings.Lines(w.auditText()) {
		var r record
		if json.Unmarshal([]byte(line), &r) != nil || r.Request.Path != "secret/known" {
			continue
		}
		switch r.Request.Namespace.Path {
		case "a/c/":
			if g := r.Auth.PolicyResults.GrantingPolicies; len(g) == 1 && g[0].NamespacePath == "a/" && r.Request.Namespace.ID != "" {
				below++
			}
		case "b/":
			refused++
		}
	}
	if below != 2 || refused == 0 {
		t.Errorf("%d records of the request below, want 2; %d of the one that was refused", below, refused)
	}
}
