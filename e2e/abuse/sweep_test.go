package abuse_test

import (
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// denied is the one answer to a stranger.
const denied = `{"errors":["permission denied"]}`

// TestT30_H11_PublicEndpoints: the endpoints that need no token are a
// reviewed list. A line that appears here is a decision about security. The
// server is one with storage on disk: in memory, giving up leadership is public
// too, because it does nothing there.
func TestT30_H11_PublicEndpoints(t *testing.T) {
	w := newWorld(t, servertest.Options{Dir: t.TempDir()})
	var b strings.Builder
	for _, e := range w.endpoints() {
		switch {
		case e.Sealed:
			b.WriteString(e.String() + " (also while sealed)\n")
		case e.Public:
			b.WriteString(e.String() + "\n")
		}
	}
	golden := filepath.Join("testdata", "public.golden")
	if *update {
		if err := os.WriteFile(golden, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), b.String()); diff != "" {
		t.Errorf("the endpoints without a token have changed (-want +got):\n%s", diff)
	}
}

// TestA10_H10_StrangersLearnNothing asks every endpoint that needs a token
// without one, with a wrong one and with tokens of every wrong shape: the answer
// is the same everywhere, whether a mount or an endpoint is there or not.
func TestA10_H10_StrangersLearnNothing(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	before := w.rows()
	absent := []string{"nowhere/x", "auth/nowhere/x", "sys/nowhere", "secret/data/absent", "kv1/absent", "auth/userpass/nowhere", "x"}
	check := func(what, verb, path, token string) {
		t.Helper()
		a := w.Do(verb, path, token, nil)
		if a.Status != http.StatusForbidden || strings.TrimSpace(string(a.Body)) != denied {
			t.Errorf("%s %s %s: got %s, want the one refusal", what, verb, path, a)
		}
	}
	for _, e := range w.endpoints() {
		if e.Public {
			continue
		}
		check("no token", method(e.Verb), e.Path, "")
		check("wrong token", method(e.Verb), e.Path, "cfs.nonsense")
	}
	for _, path := range absent {
		for v := route.VerbRead; v <= route.VerbPatch; v++ {
			for _, token := range []string{"", "cfs.", "cfb.", "root ", "roo", "roott", "ROOT", "s.abc", "hvs.abc", strings.Repeat("x", 4000)} {
				if strings.TrimSpace(token) == servertest.RootToken {
					continue
				}
				check("token "+token[:min(len(token), 6)], method(v), path, token)
			}
		}
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("refused requests have changed the store: %v", diff)
	}
}

// TestA10_NoCapability asks every endpoint with a token whose policies grant
// nothing there, and with one that is granted every other verb.
func TestA10_NoCapability(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	none, _ := w.create(map[string]any{"policies": []string{"absent"}, "no_default_policy": true})
	tokens := map[route.Verb]string{}
	for v := route.VerbRead; v <= route.VerbPatch; v++ {
		name := "all-but-" + v.String()
		w.Policy(name, `path "*" { capabilities = [`+allBut(v)+`] } path "+/*" { capabilities = [`+allBut(v)+`] }`)
		tokens[v], _ = w.create(map[string]any{"policies": []string{name}, "no_default_policy": true})
	}
	before := w.rows()
	for _, e := range w.endpoints() {
		if e.Public {
			continue
		}
		for what, token := range map[string]string{"no policy": none, "other verbs": tokens[e.Verb]} {
			if a := w.Do(method(e.Verb), e.Path, token, nil); a.Status != http.StatusForbidden {
				t.Errorf("%s, %s: got %s, want 403", e, what, a)
			}
		}
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("refused requests have changed the store: %v", diff)
	}
}

// allBut are the capabilities that do not allow a verb.
func allBut(v route.Verb) string {
	var list []string
	for _, c := range []struct {
		name string
		verb route.Verb
	}{
		{"read", route.VerbRead}, {"list", route.VerbList}, {"scan", route.VerbScan}, {"create", route.VerbWrite},
		{"update", route.VerbWrite}, {"delete", route.VerbDelete}, {"patch", route.VerbPatch},
	} {
		if c.verb != v {
			list = append(list, `"`+c.name+`"`)
		}
	}
	return strings.Join(append(list, `"sudo"`), ", ")
}

// TestA10_NoSudo asks every endpoint that demands sudo with a token that has
// every capability but that.
func TestA10_NoSudo(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Policy("nosudo", `path "*" { capabilities = ["create", "read", "update", "delete", "list", "scan", "patch"] }`)
	token := w.Token("nosudo")
	before := w.rows()
	asked := 0
	for _, e := range w.endpoints() {
		if !e.Sudo {
			continue
		}
		asked++
		if a := w.Do(method(e.Verb), e.Path, token, nil); a.Status != http.StatusForbidden {
			t.Errorf("%s: got %s, want 403", e, a)
		}
	}
	if asked < 15 {
		t.Errorf("only %d endpoints demand sudo", asked)
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("refused requests have changed the store: %v", diff)
	}
}
