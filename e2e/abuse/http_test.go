package abuse_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// TestH8_ProxyHeadersEndNoListener: connections from a source that may not speak
// the PROXY protocol, and garbage in its header, leave the listener open to
// others.
func TestH8_ProxyHeadersEndNoListener(t *testing.T) {
	w := newWorld(t, servertest.Options{Change: func(c *config.Config) {
		c.Listeners[0].ProxyProtocol = config.ProxyProtocol{Behavior: "deny_unauthorized", Authorized: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	}})
	for _, from := range []string{"127.0.0.1", "127.0.0.2"} {
		for _, text := range []string{
			"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY garbage\r\n", "PROXY TCP4 x y 1 2\r\n", "PROXY " + strings.Repeat("x", 4096), "PROXY UNKNOWN\r\n",
			"\r\n\r\n\x00\r\nQUIT\n\x21\x11\xff\xff", "\r\n\r\n\x00\r\nQUIT\n\xff\xff\xff\xff", "\x00", "",
		} {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(w.Addr, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(conn, text) // the server may have hung up
			_ = conn.Close()
			w.Must(http.StatusOK, http.MethodGet, "auth/token/lookup-self", nil)
		}
	}
}

// TestH5_T12_CeremoniesNeedAuthority: nobody without a token starts, feeds,
// cancels or even sees a change of keys or the making of a root token, and a
// stranger cannot disturb one that is under way.
func TestH5_T12_CeremoniesNeedAuthority(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	var asked []string
	for _, e := range w.endpoints() {
		if e.Mount != "sys/" || !strings.Contains(e.Pattern, "rekey") && !strings.Contains(e.Pattern, "rotate") && !strings.Contains(e.Pattern, "generate-root") {
			continue
		}
		asked = append(asked, e.String())
		if a := w.ask(e, "", map[string]any{"key": w.Keys[0], "nonce": "x", "secret_shares": 1, "secret_threshold": 1}); a.Status != http.StatusForbidden {
			t.Errorf("%s without a token: got %s, want 403", e, a)
		}
		if a := w.Do(method(e.Verb), e.Path+"-recovery-key", "", nil); a.Status/100 == 2 {
			t.Errorf("%s for recovery keys without a token: got %s", e, a)
		}
	}
	if len(asked) < 25 {
		t.Errorf("only %d endpoints of ceremonies: %v", len(asked), asked)
	}
	for _, c := range []struct {
		start, feed string
		body        map[string]any
	}{
		{"sys/rotate/root/init", "sys/rotate/root/update", map[string]any{"secret_shares": 3, "secret_threshold": 2}},
		{"sys/generate-root-token/attempt", "sys/generate-root-token/update", map[string]any{}},
	} {
		a := w.Must(http.StatusOK, http.MethodPost, c.start, c.body)
		nonce := nonceOf(a)
		if nonce == "" {
			t.Fatalf("starting %s: %s", c.start, a)
		}
		w.Must(http.StatusOK, http.MethodPost, c.feed, map[string]any{"key": w.Keys[0], "nonce": nonce})
		for what, body := range map[string]map[string]any{"no nonce": {"key": w.Keys[1]}, "wrong nonce": {"key": w.Keys[1], "nonce": "11111111-2222-3333-4444-555555555555"}} {
			if a := w.Do(http.MethodPost, c.feed, servertest.RootToken, body); a.Status != http.StatusBadRequest {
				t.Errorf("%s with %s: got %s, want 400", c.feed, what, a)
			}
		}
		for verb, path := range map[string]string{http.MethodDelete: c.start, http.MethodPost: c.start, http.MethodPut: c.feed} {
			if a := w.Do(verb, path, "", map[string]any{"key": w.Keys[1], "nonce": nonce}); a.Status != http.StatusForbidden {
				t.Errorf("%s %s by a stranger: got %s, want 403", verb, path, a)
			}
		}
		if a := w.Must(http.StatusOK, http.MethodGet, c.start, nil); !strings.Contains(string(a.Body), `"progress":1`) {
			t.Errorf("%s: strangers have changed the progress: %s", c.start, a)
		}
		w.Do(http.MethodDelete, c.start, servertest.RootToken, map[string]any{"nonce": nonce})
	}
	if text := w.auditText(); strings.Count(text, "generate-root-token") < 5 || strings.Count(text, "rotate/root") < 5 {
		t.Error("refused ceremonies are not in the audit log")
	}
}

// nonceOf finds the nonce in an answer with or without an envelope.
func nonceOf(a servertest.Answer) string {
	if n, ok := a.Data()["nonce"].(string); ok {
		return n
	}
	n, _ := a.JSON()["nonce"].(string)
	return n
}

// TestH9_LongPaths: a path that is too long for a key is refused before it gets
// near the store, on every verb, and the server lives.
func TestH9_LongPaths(t *testing.T) {
	w := newWorld(t, servertest.Options{Dir: t.TempDir()})
	before := w.rows()
	for _, n := range []int{8 << 10, 32 << 10, 60 << 10} {
		for _, base := range []string{"secret/data/", "secret/metadata/", "kv1/", "cubbyhole/", "sys/policies/acl/", "auth/userpass/users/", "auth/userpass/login/", "auth/approle/role/", "auth/token/roles/", "sys/mounts/", "sys/leases/revoke/", "nowhere/"} {
			for _, unit := range []string{"x", "x/", "%00", "\xc3\xa9"} {
				path := base + strings.TrimSuffix(strings.Repeat(unit, n/len(unit)), "/")
				for _, verb := range []string{http.MethodGet, "LIST", http.MethodPost, http.MethodDelete} {
					status := w.wire(verb, "/v1/"+path, servertest.RootToken)
					if status/100 != 4 {
						t.Errorf("%s of %d bytes below %s: got %d, want a 4xx", verb, n, base, status)
					}
				}
			}
		}
	}
	if status := w.wireMaybe(http.MethodGet, "/v1/secret/data/"+strings.Repeat("x", 1<<20)); status/100 != 4 && status != 0 {
		t.Errorf("a path of a megabyte: got %d", status)
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("refused requests have changed the store: %v", diff)
	}
	w.Must(http.StatusOK, http.MethodPost, "secret/data/alive", map[string]any{"data": map[string]string{"k": "v"}})
	long := "secret/data/" + strings.Repeat("x/", 2000) + "y"
	if a := w.Do(http.MethodPost, long, servertest.RootToken, map[string]any{"data": map[string]string{"k": "v"}}); a.Status/100 == 5 {
		t.Errorf("a path of 4 KB with 2000 segments: got %s", a)
	}
}

// wireMaybe is wire for a request on which the server may hang up; 0 if it does.
func (w *world) wireMaybe(verb, target string) int {
	w.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(w.Addr, "http://"))
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: coffer\r\n\r\n", verb, target); err != nil {
		return 0
	}
	var proto string
	var status int
	if _, err := fmt.Fscan(conn, &proto, &status); err != nil {
		return 0
	}
	return status
}

// TestH10_ErrorsTellNoAddress: no error names an address or a file of the
// machine.
func TestH10_ErrorsTellNoAddress(t *testing.T) {
	dir := t.TempDir()
	w := newWorld(t, servertest.Options{Dir: dir})
	addr := strings.TrimPrefix(w.Addr, "http://")
	for _, e := range w.endpoints() {
		if e.Sealed || e.Pattern == "ha-status" {
			continue
		}
		for _, token := range []string{"", servertest.RootToken} {
			if token != "" && (e.Pattern == "seal" || strings.Contains(e.Pattern, "config/state") || strings.Contains(e.Pattern, "host-info") || strings.Contains(e.Pattern, "in-flight") || strings.Contains(e.Pattern, "monitor") || strings.Contains(e.Pattern, "pprof")) {
				continue
			}
			a := w.ask(e, token, nil)
			if a.Status < 400 {
				continue
			}
			for _, secret := range []string{addr, dir, "127.0.0.1", "/tmp/"} {
				if strings.Contains(string(a.Body), secret) {
					t.Errorf("%s: the error tells %q: %s", e, secret, a)
				}
			}
		}
	}
}

// TestT32_PanicsStayInTheirRequest lets handlers panic at every point where they
// are called: 500, in the audit log, no text of the panic in the answer, and the
// server goes on.
func TestT32_PanicsStayInTheirRequest(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	lease := w.Must(http.StatusOK, http.MethodGet, "fault/creds/x", nil)
	id, _ := lease.JSON()["lease_id"].(string)
	for _, c := range []struct {
		where, verb, path, token string
		body                     any
	}{
		{"read", http.MethodGet, "fault/at/x", servertest.RootToken, nil},
		{"write", http.MethodPost, "fault/at/x", servertest.RootToken, map[string]string{"text": "x"}},
		{"write", http.MethodDelete, "fault/at/x", servertest.RootToken, nil},
		{"exists", http.MethodPost, "fault/at/x", servertest.RootToken, map[string]string{"text": "x"}},
		{"issue", http.MethodGet, "fault/creds/y", servertest.RootToken, nil},
		{"renew", http.MethodPost, "sys/leases/renew", servertest.RootToken, map[string]string{"lease_id": id}},
		{"login", http.MethodPost, "auth/fault/login", "", map[string]any{}},
	} {
		t.Run(c.where+" "+c.verb, func(t *testing.T) {
			lines := strings.Count(w.auditText(), "\n")
			w.Fault.panicIn(c.where)
			a := w.Do(c.verb, c.path, c.token, c.body)
			w.Fault.panicIn("")
			if a.Status != http.StatusInternalServerError || strings.Contains(string(a.Body), canary) {
				t.Errorf("got %s, want 500 without the panic's text", a)
			}
			if now := strings.Count(w.auditText(), "\n"); now <= lines {
				t.Error("the failed request is not in the audit log")
			}
			a = w.Do(c.verb, c.path, c.token, c.body)
			if a.Status/100 != 2 {
				t.Errorf("afterwards: got %s, want success", a)
			}
		})
	}
	w.noCanary(canary)
	w.everythingEnds()
}
