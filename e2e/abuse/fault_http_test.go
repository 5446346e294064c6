package abuse_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// most is the largest body that a listener takes.
const most = 32 << 20

// bombs are bodies below the limit that are costly to whoever builds a tree of
// them.
func bombs() map[string]string {
	repeated := func(unit string, room int) string { return strings.Repeat(unit, (most-room)/len(unit)) }
	var names strings.Builder
	for i := range 900_000 {
		fmt.Fprintf(&names, `"n%d":0,`, i)
	}
	return map[string]string{
		"arrays":         repeated("[", 1),
		"in an object":   `{"a":` + repeated("[", 8),
		"objects":        repeated(`{"a":`, 8),
		"closed arrays":  `{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`,
		"tiny strings":   `{"a":[` + repeated(`"",`, 16) + `""]}`,
		"numbers":        `{"a":[` + repeated(`0,`, 16) + `0]}`,
		"empty objects":  `{"a":[` + repeated(`{},`, 16) + `{}]}`,
		"names":          `{` + names.String() + `"z":0}`,
		"duplicate keys": `{` + repeated(`"a":0,`, 16) + `"a":0}`,
		"long string":    `{"a":"` + repeated("x", 16) + `"}`,
		"escapes":        `{"a":"` + repeated(`\u0000`, 16) + `"}`,
		"long number":    `{"a":` + repeated("9", 16) + `}`,
		"spaces":         repeated(" ", 16) + `[`,
		"objects after":  `{}` + repeated(`{}`, 16) + `[`,
		"string objects": `{"data":"` + repeated(`{\"a\":`, 16) + `"}`,
	}
}

// TestH1_H3_BombsAreDefused sends every bomb to public endpoints and as root, as
// JSON, as a merge patch and as a form, whole and in chunks: a 4xx within a
// second, in bounded memory.
func TestH1_H3_BombsAreDefused(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Must(http.StatusOK, http.MethodPost, "secret/data/x", map[string]any{"data": map[string]string{"k": "v"}})
	before := w.rows()
	clk := clock.System{}
	for name, body := range bombs() {
		for _, target := range []struct{ verb, path, token, kind string }{
			{http.MethodPost, "auth/userpass/login/x", "", "application/json"}, {http.MethodPost, "sys/wrapping/unwrap", "", "application/json"},
			{http.MethodPut, "sys/unseal", "", "application/json"}, {http.MethodPost, "secret/data/x", servertest.RootToken, "application/json"},
			{http.MethodPatch, "secret/data/x", servertest.RootToken, mergePatch}, {http.MethodPost, "kv1/x", servertest.RootToken, ""},
			{http.MethodPost, "auth/approle/login", "", "application/x-www-form-urlencoded"}, {http.MethodPost, "secret/data/x", "", "application/json"},
		} {
			for _, chunked := range []bool{false, true} {
				heap, stop := w.peak()
				start := clk.Now()
				status := w.send(target.verb, target.path, target.token, target.kind, strings.NewReader(body), chunked)
				took := clk.Now().Sub(start)
				stop()
				what := fmt.Sprintf("%s to %s %s as %q, chunked %v", name, target.verb, target.path, target.kind, chunked)
				if status/100 != 4 {
					t.Errorf("%s: got %d, want a 4xx", what, status)
				}
				if took > time.Second {
					t.Errorf("%s: took %v, want less than a second", what, took)
				}
				if limit := int64(5*most) + int64(len(body)); heap.Load() > limit {
					t.Errorf("%s: the heap grew by %d MiB, want at most %d", what, heap.Load()>>20, limit>>20)
				}
			}
		}
	}
	if diff := difference(before, w.rows()); len(diff) > 0 {
		t.Errorf("refused requests have changed the store: %v", diff)
	}
}

// TestH2_QuotasComeBeforeParsing floods a login under a quota of one request a
// second: all but the first few are turned away, without a look at their bodies.
func TestH2_QuotasComeBeforeParsing(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	w.Must(http.StatusNoContent, http.MethodPost, "sys/quotas/rate-limit/logins", map[string]any{"rate": 1, "path": "auth/userpass/", "interval": "1h"})
	body := bombs()["tiny strings"]
	turned := 0
	for range 20 {
		switch status := w.send(http.MethodPost, "auth/userpass/login/x", "", "application/json", strings.NewReader(body), false); status {
		case http.StatusTooManyRequests:
			turned++
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		default:
			t.Errorf("got %d", status)
		}
	}
	if turned < 18 {
		t.Errorf("%d of 20 requests were turned away", turned)
	}
}

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

// send makes a request with a body of unknown length if chunked.
func (w *world) send(verb, path, token, kind string, body io.Reader, chunked bool) int {
	w.t.Helper()
	if chunked {
		body = io.MultiReader(body) // hides the length
	}
	req, err := http.NewRequestWithContext(w.t.Context(), verb, w.Addr+"/v1/"+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", token)
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return http.StatusRequestEntityTooLarge // the server has hung up on the rest of the body
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// peak watches how far the heap grows until stop is called.
func (w *world) peak() (grown *atomic.Int64, stop func()) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	base := int64(m.HeapAlloc)
	grown = &atomic.Int64{}
	ctx, cancel := context.WithCancel(context.Background()) // ends in stop
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			grown.Store(max(grown.Load(), int64(m.HeapAlloc)-base))
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return grown, func() {
		cancel()
		<-done
	}
}

// TestH4_EndlessBodiesEnd sends every endpoint that needs no token, and one that
// does, a body without end: the server hangs up at its limit.
func TestH4_EndlessBodiesEnd(t *testing.T) {
	w := newWorld(t, servertest.Options{})
	paths := []string{"secret/data/x", "nowhere/x"}
	for _, e := range w.endpoints() {
		if e.Public && e.Verb >= route.VerbWrite && e.Pattern != "step-down" {
			paths = append(paths, e.Path)
		}
	}
	for _, path := range paths {
		for _, start := range []string{`{"a":"`, `{"a":[`, ` `} {
			sent := &counter{start: start}
			grown, stop := w.peak()
			status := w.send(http.MethodPost, path, "", "application/json", sent, true)
			stop()
			if status/100 != 4 {
				t.Errorf("an endless body to %s: got %d, want a 4xx", path, status)
			}
			if n := sent.n.Load(); n > 2*most {
				t.Errorf("%s: the server took %d MiB", path, n>>20)
			}
			if grown.Load() > 6*most {
				t.Errorf("%s: the heap grew by %d MiB", path, grown.Load()>>20)
			}
		}
	}
}

// counter is a body without end.
type counter struct {
	start string
	n     atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	if c.n.Load() > 16*most {
		return 0, io.ErrUnexpectedEOF // the test has failed; end it
	}
	n := copy(p, c.start)
	c.start = ""
	for i := n; i < len(p); i++ {
		p[i] = ' '
	}
	c.n.Add(int64(len(p)))
	return len(p), nil
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
