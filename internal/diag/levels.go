package diag

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
)

// LevelTrace is the level below debug that Vault's log has.
const LevelTrace = slog.LevelDebug - 4

// RootLogger is the name of the logger that the server's others come from.
const RootLogger = "core"

// levelNames are the names that are shown, and those that are understood.
var levelNames = map[string]slog.Level{
	"trace": LevelTrace, "debug": slog.LevelDebug, "info": slog.LevelInfo, "notice": slog.LevelInfo,
	"warn": slog.LevelWarn, "warning": slog.LevelWarn, "error": slog.LevelError, "err": slog.LevelError,
}

// ParseLevel reads the name of a level.
func ParseLevel(text string) (slog.Level, bool) {
	l, ok := levelNames[strings.ToLower(strings.TrimSpace(text))]
	return l, ok
}

// LevelName names a level: trace, debug, info, warn or error.
func LevelName(l slog.Level) string {
	switch {
	case l < slog.LevelDebug:
		return "trace"
	case l < slog.LevelInfo:
		return "debug"
	case l < slog.LevelWarn:
		return "info"
	case l < slog.LevelError:
		return "warn"
	}
	return "error"
}

// Levels is the server's log: named loggers, each with a level of its own that
// can be changed while they are used, and readers that follow what is logged.
type Levels struct {
	out slog.Handler

	mu      sync.Mutex
	initial slog.Level        // guarded by mu
	named   map[string]*named // guarded by mu

	taps      tapList
	closed    chan struct{}
	closeOnce sync.Once
}

// named is what the loggers of one name share.
type named struct {
	level slog.LevelVar
	set   bool // by the API, not the configuration; guarded by Levels.mu
}

// NewLevels returns a log that writes to out, which must let every level
// through: what is written is decided here.
func NewLevels(out slog.Handler, initial slog.Level) *Levels {
	l := &Levels{out: out, initial: initial, named: map[string]*named{}, closed: make(chan struct{})}
	l.taps.lowest.Store(math.MaxInt64)
	return l
}

// Logger returns the logger called name, [RootLogger] for the server's own.
// Lines of any other name it.
func (l *Levels) Logger(name string) *slog.Logger {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.named[name]
	if n == nil {
		n = &named{}
		n.level.Set(l.initial)
		l.named[name] = n
	}
	h := slog.Handler(&handler{levels: l, level: &n.level, out: l.out})
	if name != RootLogger {
		h = h.WithAttrs([]slog.Attr{slog.String("logger", name)})
	}
	return slog.New(h)
}

// Close ends the streams of those who follow the log. Logging goes on.
func (l *Levels) Close() { l.closeOnce.Do(func() { close(l.closed) }) }

// SetInitial changes the configured level, which is that of all loggers that
// have not been given another one.
func (l *Levels) SetInitial(level slog.Level) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.initial = level
	for _, n := range l.named {
		if !n.set {
			n.level.Set(level)
		}
	}
}

// All returns the levels by name.
func (l *Levels) All() map[string]slog.Level {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string]slog.Level, len(l.named))
	for name, n := range l.named {
		all[name] = n.level.Level()
	}
	return all
}

// Set changes the level of a logger, or of all if name is "". It reports false
// if there is no such logger.
func (l *Levels) Set(name string, level slog.Level) bool {
	return l.each(name, func(n *named) { n.set = true; n.level.Set(level) })
}

// Reset gives a logger the configured level back, or all if name is "".
func (l *Levels) Reset(name string) bool {
	return l.each(name, func(n *named) { n.set = false; n.level.Set(l.initial) })
}

// each calls fn, with mu held, for the logger called name or for all.
func (l *Levels) each(name string, fn func(*named)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if name == "" {
		for n := range maps.Values(l.named) {
			fn(n)
		}
		return true
	}
	n, ok := l.named[name]
	if ok {
		fn(n)
	}
	return ok
}

// handler is the log as one logger sees it.
type handler struct {
	levels *Levels
	level  *slog.LevelVar
	out    slog.Handler
	// steps are what With and WithGroup have done, for handlers of readers
	// that come later.
	steps []func(slog.Handler) slog.Handler
}

// Enabled reports whether the log or a reader wants the level.
func (h *handler) Enabled(_ context.Context, l slog.Level) bool {
	return l >= h.level.Level() || int64(l) >= h.levels.taps.lowest.Load()
}

// Handle writes a record to the log and to the readers that want its level.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	var err error
	if r.Level >= h.level.Level() {
		err = h.out.Handle(ctx, r)
	}
	if int64(r.Level) >= h.levels.taps.lowest.Load() {
		err = errors.Join(err, h.levels.taps.handle(ctx, h.steps, r))
	}
	return err
}

// WithAttrs returns the handler with attributes on every line.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.then(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

// WithGroup returns the handler with a group around what follows.
func (h *handler) WithGroup(name string) slog.Handler {
	return h.then(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h *handler) then(step func(slog.Handler) slog.Handler) slog.Handler {
	return &handler{levels: h.levels, level: h.level, out: step(h.out), steps: append(slices.Clip(h.steps), step)}
}
