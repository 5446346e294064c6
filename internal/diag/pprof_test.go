package diag_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/diag"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

func TestProfilesAreTaken(t *testing.T) {
	f := setup(t)
	for _, name := range []string{"allocs", "block", "goroutine", "heap", "mutex", "threadcreate"} {
		r := f.Read("pprof/" + name).Raw
		if !strings.HasPrefix(string(r.Body), "\x1f\x8b") || r.ContentType != "application/octet-stream" || r.Header["Content-Disposition"] == "" {
			t.Errorf("%s: %s %v, want a compressed file", name, r.ContentType, r.Header)
		}
		if r := f.Read("pprof/" + name + "?debug=1&gc=1").Raw; r.ContentType != "text/plain; charset=utf-8" || len(r.Body) == 0 {
			t.Errorf("%s as text: %s, %d bytes", name, r.ContentType, len(r.Body))
		}
		if !strings.Contains(string(f.Read("pprof").Raw.Body), name) {
			t.Errorf("%s is not in the index", name)
		}
	}
	f.Fails(fault.NotFound, route.VerbRead, "pprof/secrets", nil)
	f.Fails(fault.Invalid, route.VerbRead, "pprof/heap?debug=3", nil)
	f.Fails(fault.Invalid, route.VerbRead, "pprof/heap?debug=x", nil)
}

// instant is a clock whose waits are over at once.
type instant struct{ *clock.Fake }

func (c instant) After(time.Duration) <-chan time.Time { return c.Fake.After(0) }

func TestProcessorProfileAndTraceAreRecorded(t *testing.T) {
	f := setup(t, func(c *diag.Config) { c.Clock = instant{clock.NewFake(time.Time{})} })
	for path, magic := range map[string]string{"pprof/profile?seconds=2": "\x1f\x8b", "pprof/trace?seconds=0.5": "go 1."} {
		if r := f.Read(path).Raw; !strings.HasPrefix(string(r.Body), magic) {
			t.Errorf("%s: got %.10q", path, r.Body)
		}
	}
	for _, path := range []string{
		"pprof/profile?seconds=0", "pprof/profile?seconds=-1", "pprof/profile?seconds=301", "pprof/profile?seconds=9223372036854775807", "pprof/profile?seconds=18446744074",
		"pprof/profile?seconds=x", "pprof/trace?seconds=0", "pprof/trace?seconds=1e300", "pprof/trace?seconds=NaN", "pprof/trace?seconds=300.1",
	} {
		f.Fails(fault.Invalid, route.VerbRead, path, nil)
	}
}

func TestOnlyOneRecordingRunsAndItEndsWithItsRequest(t *testing.T) {
	f := setup(t)
	d := f.Instance.(*diag.Diag)
	table, err := route.NewTable(diag.Routes)
	if err != nil {
		t.Fatal(err)
	}
	var m route.Match
	e, _ := table.Find(route.VerbRead, "pprof/profile", &m)
	record := func(ctx context.Context) error {
		c := &route.Call{Verb: route.VerbRead}
		c.SetMatch(&m, e)
		_, err := e.Handle(ctx, d, c)
		return err
	}
	waiting := &waitingClock{Fake: f.clock, asked: make(chan struct{})}
	d.Clock = waiting
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- record(ctx) }()
	<-waiting.asked
	f.Fails(fault.Unavailable, route.VerbRead, "pprof/trace", nil)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the recording ended with %v", err)
	}
	short, cancel := context.WithDeadline(t.Context(), f.clock.Now().Add(time.Second))
	defer cancel()
	if err := record(short); fault.KindOf(err) != fault.Invalid {
		t.Errorf("longer than the request may take: %v", err)
	}
}

// waitingClock tells when somebody begins to wait.
type waitingClock struct {
	*clock.Fake
	asked chan struct{}
}

func (c *waitingClock) After(d time.Duration) <-chan time.Time {
	close(c.asked)
	return c.Fake.After(d)
}

func TestCommandLineHidesCredentials(t *testing.T) {
	f := setup(t, func(c *diag.Config) {
		c.Args = []string{"coffer", "server", "-dev", "-dev-root-token-id=canary", "--dev-root-token-id", "canary", "-log-level=debug", "-PASSWORD=canary"}
	})
	want := "coffer|server|-dev|-dev-root-token-id=(hidden)|--dev-root-token-id|(hidden)|-log-level=debug|-PASSWORD=(hidden)"
	if got := strings.ReplaceAll(string(f.Read("pprof/cmdline").Raw.Body), "\x00", "|"); got != want {
		t.Error(cmp.Diff(want, got))
	}
}

func TestSymbolNamesFunctions(t *testing.T) {
	f := setup(t)
	pc := reflect.ValueOf(strings.Fields).Pointer()
	got := string(f.Read(fmt.Sprintf("pprof/symbol?%#x+zzz", pc)).Raw.Body)
	if want := fmt.Sprintf("num_symbols: 1\n%#x strings.Fields\n", pc); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
