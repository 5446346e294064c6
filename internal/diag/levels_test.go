package diag_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/diag"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// plain is a log without times, so that lines can be compared.
func plain(w io.Writer) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{Level: diag.LevelTrace, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Attr{}
		}
		return diag.NameLevel(groups, a)
	}})
}

func TestEachLoggerHasItsLevel(t *testing.T) {
	var out bytes.Buffer
	levels := diag.NewLevels(plain(&out), slog.LevelInfo)
	root, expiry := levels.Logger(diag.RootLogger), levels.Logger("expiry")
	detailed := expiry.With("lease", 1).WithGroup("g")
	wrote := func(want ...string) {
		t.Helper()
		root.Debug("root")
		detailed.Debug("expiry", "a", 2)
		root.Log(t.Context(), diag.LevelTrace, "trace")
		if diff := cmp.Diff(strings.Join(want, ""), out.String()); diff != "" {
			t.Error("(-want +got):\n" + diff)
		}
		out.Reset()
	}
	rootLine, expiryLine, traceLine := "level=debug msg=root\n", "level=debug msg=expiry logger=expiry lease=1 g.a=2\n", "level=trace msg=trace\n"
	wrote()
	levels.Set("expiry", slog.LevelDebug)
	wrote(expiryLine)
	levels.Set("", diag.LevelTrace)
	wrote(rootLine, expiryLine, traceLine)
	levels.Reset("expiry")
	wrote(rootLine, traceLine)
	levels.SetInitial(slog.LevelDebug) // takes what nobody has set along
	wrote(rootLine, expiryLine, traceLine)
	levels.Reset("")
	wrote(rootLine, expiryLine)
	if levels.Set("nobody", slog.LevelDebug) || levels.Reset("nobody") {
		t.Error("a logger that is not there was changed")
	}
	if levels.Logger("expiry").Debug("again"); out.String() != "level=debug msg=again logger=expiry\n" {
		t.Errorf("a second logger of a name: %q", out.String())
	}
}

func TestLoggerEndpoints(t *testing.T) {
	f := setup(t)
	want := func(levels map[string]any) {
		t.Helper()
		if diff := cmp.Diff(levels, f.Read("loggers").Map(t)); diff != "" {
			t.Error("(-want +got):\n" + diff)
		}
	}
	want(map[string]any{"core": "info", "expiry": "info"})
	f.Write("loggers/expiry", `{"level":"TRACE"}`)
	want(map[string]any{"core": "info", "expiry": "trace"})
	f.Write("loggers", `{"level":"err"}`)
	want(map[string]any{"core": "error", "expiry": "error"})
	f.Delete("loggers/core")
	want(map[string]any{"core": "info", "expiry": "error"})
	f.Delete("loggers")
	want(map[string]any{"core": "info", "expiry": "info"})
	if diff := cmp.Diff(map[string]any{"core": "info"}, f.Read("loggers/core").Map(t)); diff != "" {
		t.Error("one logger (-want +got):\n" + diff)
	}
	f.Fails(fault.Invalid, route.VerbWrite, "loggers", `{"level":"bogus"}`)
	f.Fails(fault.Invalid, route.VerbWrite, "loggers", nil)
	f.Fails(fault.Invalid, route.VerbWrite, "loggers/core", `{"level":"loud"}`)
	f.Fails(fault.Invalid, route.VerbWrite, "loggers/nobody", `{"level":"info"}`)
	f.Fails(fault.Invalid, route.VerbDelete, "loggers/nobody", nil)
	f.Fails(fault.Invalid, route.VerbRead, "loggers/nobody", nil)
	want(map[string]any{"core": "info", "expiry": "info"})
}

// lockedBuffer is written by the stream while the test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// take returns what was written since it was last asked.
func (b *lockedBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.b.Reset()
	return b.b.String()
}

func TestMonitorFollowsTheLogAtItsOwnLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		levels := diag.NewLevels(plain(&out), slog.LevelWarn)
		log := levels.Logger("expiry").With("lease", 1)
		ctx, cancel := context.WithCancel(t.Context())
		var got lockedBuffer
		ended := make(chan error, 1)
		go func() { ended <- levels.Follow(ctx, &got, slog.LevelDebug, true) }()
		synctest.Wait()
		log.Log(t.Context(), diag.LevelTrace, "too fine")
		log.Debug("seen", "a", 2)
		synctest.Wait()
		if line := got.take(); !strings.Contains(line, `"level":"debug","msg":"seen","logger":"expiry","lease":1,"a":2}`+"\n") || strings.Count(line, "\n") != 1 {
			t.Errorf("the reader got %q", line)
		}
		if out.Len() > 0 {
			t.Errorf("the log got %q, below its level", out.String())
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
		if log.Enabled(t.Context(), slog.LevelDebug) {
			t.Error("debug is still on after the reader has gone")
		}
		log.Error("after")
		if line := got.take(); line != "" {
			t.Errorf("after the end: %q", line)
		}
	})
}

func TestASlowReaderLosesLinesAndIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		levels := diag.NewLevels(plain(io.Discard), slog.LevelInfo)
		log := levels.Logger(diag.RootLogger)
		r, w := io.Pipe()
		go func() { _ = levels.Follow(t.Context(), w, slog.LevelInfo, false); _ = w.Close() }()
		synctest.Wait()
		for range 1000 {
			log.Info("line") // never waits, although nobody reads
		}
		synctest.Wait()
		go func() { synctest.Wait(); levels.Close() }()
		all, err := io.ReadAll(r)
		if err != nil || !strings.Contains(string(all), "lines were dropped") || strings.Count(string(all), "msg=line\n") >= 1000 {
			t.Errorf("%d bytes, %v", len(all), err)
		}
	})
}

func TestFollowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		levels := diag.NewLevels(plain(io.Discard), slog.LevelInfo)
		log := levels.Logger(diag.RootLogger)
		broken := errors.New("connection reset")
		ended := make(chan error, 20)
		r, w := io.Pipe()
		_ = r.CloseWithError(broken)
		go func() { ended <- levels.Follow(t.Context(), w, slog.LevelInfo, false) }()
		synctest.Wait()
		log.Info("line")
		if err := <-ended; !errors.Is(err, broken) {
			t.Errorf("a writer that fails: %v", err)
		}
		for range 16 {
			go func() { ended <- levels.Follow(t.Context(), io.Discard, slog.LevelInfo, false) }()
		}
		synctest.Wait()
		if err := levels.Follow(t.Context(), io.Discard, slog.LevelInfo, false); !errors.Is(err, fault.Unavailable) {
			t.Errorf("one reader too many: %v", err)
		}
		levels.Close()
		levels.Close()
		for range 16 {
			if err := <-ended; err != nil {
				t.Errorf("closed: %v", err)
			}
		}
	})
}

func TestMonitorEndpoint(t *testing.T) {
	f := setup(t)
	for _, path := range []string{"monitor", "monitor?log_level=trace&log_format=json"} {
		if r := f.Read(path).Raw; r.Stream == nil || r.Body != nil {
			t.Errorf("%s: %+v is not a stream", path, r)
		}
	}
	for _, path := range []string{"monitor?log_level=loud", "monitor?log_level=", "monitor?log_format=xml"} {
		f.Fails(fault.Invalid, route.VerbRead, path, nil)
	}
}
