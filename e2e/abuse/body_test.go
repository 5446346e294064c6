package abuse_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
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
				status, took := 0, time.Hour
				// The best of three: a busy machine is not the server's fault.
				for range 3 {
					start := clk.Now()
					status = w.send(target.verb, target.path, target.token, target.kind, strings.NewReader(body), chunked)
					if took = min(took, clk.Now().Sub(start)); took <= time.Second {
						break
					}
				}
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
