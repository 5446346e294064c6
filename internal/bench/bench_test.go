package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/api"
	"github.com/cofferhq/coffer/internal/bench"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// short is a load that ends soon.
func short() bench.Options {
	return bench.Options{Clients: 4, Rounds: 2, Count: 40, Keys: 10, Clock: clock.System{}, PID: os.Getpid()}
}

func client(t *testing.T, s *servertest.Server) *api.Client {
	t.Helper()
	c, err := api.New(api.Config{Address: s.Addr, Token: servertest.RootToken})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func workload(t *testing.T, name string) bench.Workload {
	t.Helper()
	for _, w := range bench.Workloads() {
		if w.Name == name {
			return w
		}
	}
	t.Fatalf("no workload %q", name)
	return bench.Workload{}
}

// things lists what a load may leave behind on a server.
func things(s *servertest.Server) map[string]string {
	list := map[string]string{}
	for _, path := range []string{"sys/mounts", "sys/auth"} {
		list[path] = string(s.Must(http.StatusOK, http.MethodGet, path, nil).Body)
	}
	for _, path := range []string{"sys/policies/acl", "auth/token/accessors"} {
		list[path] = string(s.Must(http.StatusOK, "LIST", path, nil).Body)
	}
	for path, body := range list {
		var a struct{ Data json.RawMessage }
		if json.Unmarshal([]byte(body), &a) == nil {
			list[path] = string(a.Data)
		}
	}
	return list
}

// TestEveryWorkloadRunsAndLeavesNothing runs each workload on a server of ours:
// every request succeeds, and mounts, policies and tokens are afterwards what
// they were.
func TestEveryWorkloadRunsAndLeavesNothing(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	c := client(t, s)
	before := things(s)
	ran := 0
	for _, w := range bench.Workloads() {
		r, err := bench.Run(t.Context(), c, w, short())
		if err != nil {
			t.Errorf("%s: %v", w.Name, err)
			continue
		}
		if r.Skipped != "" {
			t.Logf("%s was left out: %s", w.Name, r.Skipped)
			continue
		}
		ran++
		if r.Requests != 80 || r.Errors != 0 {
			t.Errorf("%s: %d requests and %d errors (%s), want 80 and none", w.Name, r.Requests, r.Errors, r.Error)
		}
		if r.PerSecond <= 0 || r.P50 <= 0 || r.P99 < r.P50 || r.Max < r.P99 || r.Resident == 0 {
			t.Errorf("%s: implausible figures %+v", w.Name, r)
		}
	}
	if ran < 9 {
		t.Errorf("only %d workloads ran", ran)
	}
	if diff := cmp.Diff(before, things(s)); diff != "" {
		t.Errorf("the load left something behind (-before +after):\n%s", diff)
	}
}

func TestKeepLeavesWhatWasMade(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	o := short()
	o.Keep = true
	if _, err := bench.Run(t.Context(), client(t, s), workload(t, "token-create"), o); err != nil {
		t.Fatal(err)
	}
	keys, _ := s.Must(http.StatusOK, "LIST", "auth/token/accessors", nil).Data()["keys"].([]any)
	if len(keys) < 80 {
		t.Errorf("%d tokens are there, want those of 80 requests", len(keys))
	}
}

func TestInterruptedRunCleansUp(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	before := things(s)
	o := short()
	o.Count, o.Duration = 0, time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	o.Clock = &counting{Clock: clock.System{}, then: cancel, after: 100}
	if _, err := bench.Run(ctx, client(t, s), workload(t, "kv2-write"), o); err == nil {
		t.Error("an interrupted run gave no error")
	}
	if diff := cmp.Diff(before, things(s)); diff != "" {
		t.Errorf("the load left something behind (-before +after):\n%s", diff)
	}
}

// counting is a clock that calls a function when it was read often enough: in
// the middle of a round.
type counting struct {
	clock.Clock
	then  func()
	after int64
	reads atomic.Int64
}

func (c *counting) Now() time.Time {
	if c.reads.Add(1) == c.after {
		c.then()
	}
	return c.Clock.Now()
}

func TestFailedRequestsAreErrors(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	s.Must(http.StatusNoContent, http.MethodPost, "sys/quotas/rate-limit/tight", map[string]any{"path": "auth/token/create", "rate": 5})
	r, err := bench.Run(t.Context(), client(t, s), workload(t, "batch-create"), short())
	if err != nil {
		t.Fatal(err)
	}
	if r.Errors == 0 || !strings.HasPrefix(r.Error, "status 429: {") {
		t.Errorf("%d errors, the first %q; want refusals by the rate limit", r.Errors, r.Error)
	}
}

func TestOnlyThisMachineIsLoaded(t *testing.T) {
	for address, near := range map[string]bool{
		"http://127.0.0.1:8200": true, "http://127.9.9.9:1": true, "http://[::1]:8200": true, "https://localhost": true, "unix:///run/coffer.sock": true,
		"http://192.0.2.1:8200": false, "https://vault.example.com": false, "http://localhost.example.com": false, "http://0.0.0.0:8200": false,
	} {
		if err := bench.Reachable(address, false); (err == nil) != near {
			t.Errorf("%s: %v", address, err)
		}
		if err := bench.Reachable(address, true); err != nil {
			t.Errorf("%s with leave: %v", address, err)
		}
	}
}

func TestOptionsThatMeasureNothingAreRefused(t *testing.T) {
	s := servertest.New(t, servertest.Options{})
	for name, change := range map[string]func(*bench.Options){
		"no clients": func(o *bench.Options) { o.Clients = 0 }, "no rounds": func(o *bench.Options) { o.Rounds = 0 },
		"no end": func(o *bench.Options) { o.Count = 0 }, "no keys": func(o *bench.Options) { o.Keys = 0 },
	} {
		o := short()
		change(&o)
		if _, err := bench.Run(t.Context(), client(t, s), workload(t, "health"), o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestSummaryIsTheMedianOfRounds(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	got := bench.Summary([]time.Duration{ms(1), ms(2), ms(3)}, []time.Duration{ms(5), ms(9)}, []time.Duration{ms(1), ms(2), ms(4), ms(7)})
	want := bench.Result{Requests: 9, PerSecond: 3, P50: ms(4), P99: ms(7), Max: ms(9), CPU: ms(1), Resident: 50_000_000}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestReports(t *testing.T) {
	results := []bench.Result{
		{Workload: "kv2-read", Clients: 32, Rounds: 3, Requests: 240_000, PerSecond: 16000, P50: 1100 * time.Microsecond, P99: 9 * time.Millisecond,
			Max: 34 * time.Millisecond, CPU: 74 * time.Microsecond, Resident: 43_600_000},
		{Workload: "token-create", Clients: 32, Rounds: 3, Requests: 100, Errors: 3, Error: "status 429: {}", PerSecond: 7000, P50: 4 * time.Millisecond,
			P99: 12 * time.Millisecond, Max: 25 * time.Millisecond},
		{Workload: "pki-issue", Clients: 32, Rounds: 3, Skipped: "the server does not have it"},
	}
	var text, object, lines bytes.Buffer
	if err := bench.WriteText(&text, results); err != nil {
		t.Fatal(err)
	}
	if err := bench.WriteJSON(&object, results); err != nil {
		t.Fatal(err)
	}
	if err := bench.WriteGo(&lines, results); err != nil {
		t.Fatal(err)
	}
	golden(t, "report.txt", text.Bytes())
	golden(t, "report.json", object.Bytes())
	for line := range strings.Lines(lines.String()) {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, "Benchmark") && (len(fields) < 4 || len(fields)%2 != 0) {
			t.Errorf("not a line of a Go benchmark: %q", line)
		}
	}
	if got := strings.Count(lines.String(), "\nBenchmarkServer/"); got != 2 {
		t.Errorf("%d benchmarks, want 2:\n%s", got, &lines)
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}
