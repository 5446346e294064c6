package diag_test

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/diag"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

type fixture struct {
	*enginetest.Mount
	metrics *diag.Metrics
	levels  *diag.Levels
	clock   *clock.Fake
}

func setup(t *testing.T, change ...func(*diag.Config)) fixture {
	t.Helper()
	f := fixture{clock: clock.NewFake(time.Time{}), levels: diag.NewLevels(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: diag.LevelTrace}), slog.LevelInfo)}
	f.levels.Logger(diag.RootLogger)
	f.levels.Logger("expiry")
	var err error
	f.metrics, err = diag.NewMetrics(diag.MetricsConfig{Gauges: []diag.Gauge{
		{Name: "core.unsealed", Help: "Whether the server is unsealed.", Read: func() (float64, bool) { return 1, true }},
		{Name: "expire.num_leases", Help: "Leases.", Read: func() (float64, bool) { return 0, false }},
	}})
	if err != nil {
		t.Fatal(err)
	}
	c := diag.Config{
		Clock: f.clock, Metrics: f.metrics, Levels: f.levels,
		InFlight: func() map[string]diag.Flight {
			return map[string]diag.Flight{"id": {StartTime: f.clock.Now(), ClientAddr: "127.0.0.1:1", Path: "/v1/sys/x", Method: "GET"}}
		},
		Tokens:   func(context.Context, store.NamespaceID) (int, error) { return 7, nil },
		Entities: func(context.Context, store.NamespaceID) (int, error) { return 3, nil },
	}
	for _, fn := range change {
		fn(&c)
	}
	f.Mount = enginetest.New(t, diag.Routes, func(engine.Host) (any, error) { return diag.New(c), nil })
	return f
}

func TestCounters(t *testing.T) {
	f := setup(t)
	for path, want := range map[string]string{
		"internal/counters/tokens":   `{"counters":{"service_tokens":{"total":7}}}`,
		"internal/counters/entities": `{"counters":{"entities":{"total":3}}}`,
	} {
		if got := string(f.Read(path).Data); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
	f.Fails(fault.NotFound, route.VerbRead, "internal/counters/requests", nil)
	if !f.Read("internal/counters/activity?start_time=1").NoContent {
		t.Error("activity is not 204")
	}
}

func TestInFlightRequestsAreShownWithoutEnvelope(t *testing.T) {
	got := setup(t).Read("in-flight-req").Raw
	want := `{"id":{"start_time":"2026-01-02T03:04:05Z","client_remote_address":"127.0.0.1:1","request_path":"/v1/sys/x","request_method":"GET"}}` + "\n"
	if diff := cmp.Diff(want, string(got.Body)); diff != "" || got.ContentType != "application/json" {
		t.Errorf("%s (-want +got):\n%s", got.ContentType, diff)
	}
}

func TestProfilesNeedSudo(t *testing.T) {
	for _, e := range diag.Routes {
		if want := len(e.Pattern) >= 5 && e.Pattern[:5] == "pprof"; e.Sudo != want {
			t.Errorf("%s: sudo is %t, want %t", e.Pattern, e.Sudo, want)
		}
		if e.Public {
			t.Errorf("%s is public", e.Pattern)
		}
		if e.Effect {
			t.Errorf("%s would be forwarded to the leader", e.Pattern)
		}
	}
}
