package diag_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/diag"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

func TestPrometheusTextHasRequestsGaugesAndTheProcess(t *testing.T) {
	f := setup(t)
	f.metrics.Observe("kv", "read", 200, 2*time.Millisecond)
	f.metrics.Observe("kv", "read", 204, 3*time.Millisecond)
	f.metrics.Observe("kv", "read", 403, time.Millisecond)
	got := f.Read("metrics?format=prometheus").Raw
	if got.ContentType != "text/plain; version=0.0.4; charset=utf-8" {
		t.Errorf("content type %q", got.ContentType)
	}
	for _, line := range []string{
		`coffer_request_duration_seconds_count{mount_type="kv",operation="read",status="2xx"} 2`,
		`coffer_request_duration_seconds_bucket{mount_type="kv",operation="read",status="2xx",le="0.0025"} 1`,
		`coffer_request_duration_seconds_count{mount_type="kv",operation="read",status="4xx"} 1`,
		`vault_core_handle_request_count 3`,
		`vault_core_handle_request_sum 6`,
		`vault_core_unsealed 1`,
		`# TYPE vault_core_unsealed gauge`,
	} {
		if !strings.Contains(string(got.Body), line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	for _, name := range []string{"\ngo_goroutines ", "\nvault_runtime_num_goroutines ", "\nvault_runtime_alloc_bytes "} {
		if !strings.Contains(string(got.Body), name) {
			t.Errorf("no metric %q", strings.TrimSpace(name))
		}
	}
	if strings.Contains(string(got.Body), "vault_expire_num_leases") {
		t.Error("a gauge without a number is shown")
	}
}

func TestJSONMetricsHaveTheFieldsOfVault(t *testing.T) {
	f := setup(t)
	f.metrics.Observe("kv", "read", 200, 2*time.Millisecond)
	var got struct {
		Timestamp                         string
		Gauges, Counters, Samples, Points []map[string]any
	}
	if err := json.Unmarshal(f.Read("metrics").Raw.Body, &got); err != nil {
		t.Fatal(err)
	}
	if got.Timestamp != "2026-01-02 03:04:05 +0000 UTC" || got.Points == nil || got.Counters == nil {
		t.Errorf("timestamp %q, points %v, counters %v", got.Timestamp, got.Points, got.Counters)
	}
	find := func(list []map[string]any, name string) map[string]any {
		for _, m := range list {
			if m["Name"] == name {
				return m
			}
		}
		return nil
	}
	if diff := cmp.Diff(map[string]any{"Name": "vault.core.unsealed", "Value": 1.0, "Labels": map[string]any{}}, find(got.Gauges, "vault.core.unsealed")); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
	want := map[string]any{
		"Name": "vault.core.handle_request", "Count": 1.0, "Rate": 0.0, "Sum": 2.0, "Min": 0.0, "Max": 0.0, "Mean": 2.0, "Stddev": 0.0, "Labels": map[string]any{},
	}
	if diff := cmp.Diff(want, find(got.Samples, "vault.core.handle_request")); diff != "" {
		t.Error("(-want +got):\n" + diff)
	}
	if find(got.Samples, "coffer_request_duration_seconds") == nil {
		t.Error("no sample of requests")
	}
}

func TestAnUnknownFormatIsRefused(t *testing.T) {
	setup(t).Fails(fault.Invalid, route.VerbRead, "metrics?format=xml", nil)
}

func TestWrongGaugesAreRefused(t *testing.T) {
	read := func() (float64, bool) { return 0, true }
	for _, gauges := range [][]diag.Gauge{
		{{Name: "a", Help: "A.", Read: read}, {Name: "a", Help: "A.", Read: read}},
		{{Name: "core.handle_request", Help: "A.", Read: read}},
	} {
		if _, err := diag.NewMetrics(diag.MetricsConfig{Gauges: gauges}); err == nil {
			t.Errorf("%v: no error", gauges)
		}
	}
	if _, err := diag.NewMetrics(diag.MetricsConfig{Prefix: "my-coffer"}); err != nil {
		t.Errorf("prefix with a hyphen: %v", err)
	}
}

func TestObservingDoesNotAllocate(t *testing.T) {
	m := setup(t).metrics
	m.Observe("kv", "read", 200, time.Millisecond)
	if n := testing.AllocsPerRun(100, func() { m.Observe("kv", "read", 200, time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	var none *diag.Metrics
	none.Observe("kv", "read", 200, time.Millisecond)
}

func TestSeriesAreBounded(t *testing.T) {
	f := setup(t)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 1000 {
				f.metrics.Observe(fmt.Sprintf("type-%d-%d", g, i), "read", 200, time.Millisecond)
			}
		})
	}
	all.Wait()
	body := string(f.Read("metrics?format=prometheus").Raw.Body)
	if n := strings.Count(body, "coffer_request_duration_seconds_count"); n != 1025 {
		t.Errorf("%d series, want 1024 and the one for all others", n)
	}
	if !strings.Contains(body, `coffer_request_duration_seconds_count{mount_type="other",operation="other",status="0xx"} 2976`) {
		t.Error("the rest is not counted together")
	}
}

func BenchmarkObserve(b *testing.B) {
	m, err := diag.NewMetrics(diag.MetricsConfig{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.Observe("kv", "read", 200, time.Millisecond)
		}
	})
}
