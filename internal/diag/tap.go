package diag

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// taps is an immutable list of readers.
type taps []*tap

// tapList is the readers that follow the log.
type tapList struct {
	mu     sync.Mutex // serialises changes
	list   atomic.Pointer[taps]
	lowest atomic.Int64 // level that any reader wants
}

func (t *tapList) handle(ctx context.Context, steps []func(slog.Handler) slog.Handler, r slog.Record) error {
	list := t.list.Load()
	if list == nil {
		return nil
	}
	var errs []error
	for _, tap := range *list {
		if r.Level < tap.level {
			continue
		}
		h := tap.handler
		for _, step := range steps {
			h = step(h)
		}
		errs = append(errs, h.Handle(ctx, r))
	}
	return errors.Join(errs...)
}

// add reports false if there are too many already.
func (t *tapList) add(tap *tap) bool {
	return t.change(func(list taps) (taps, bool) { return append(list, tap), len(list) < maxTaps })
}

func (t *tapList) remove(gone *tap) {
	t.change(func(list taps) (taps, bool) {
		return slices.DeleteFunc(list, func(have *tap) bool { return have == gone }), true
	})
}

func (t *tapList) change(fn func(taps) (taps, bool)) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list taps
	if have := t.list.Load(); have != nil {
		list = slices.Clone(*have)
	}
	list, ok := fn(list)
	if !ok {
		return false
	}
	lowest := int64(math.MaxInt64)
	for _, tap := range list {
		lowest = min(lowest, int64(tap.level))
	}
	t.list.Store(&list)
	t.lowest.Store(lowest)
	return true
}

// maxTaps bounds how many may follow the log: each line is written once more
// for each of them.
const maxTaps = 16

// tapLines bounds the lines that wait for a slow reader; more are dropped, so
// that a reader never delays the server.
const tapLines = 512

// tap is a reader of the log.
type tap struct {
	level   slog.Level
	handler slog.Handler
	lines   chan []byte
	dropped atomic.Int64
}

func newTap(level slog.Level, json bool) *tap {
	t := &tap{level: level, lines: make(chan []byte, tapLines)}
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: NameLevel}
	if t.handler = slog.NewTextHandler(t, options); json {
		t.handler = slog.NewJSONHandler(t, options)
	}
	return t
}

// Write takes a line, or drops it.
func (t *tap) Write(line []byte) (int, error) {
	select {
	case t.lines <- slices.Clone(line):
	default:
		t.dropped.Add(1)
	}
	return len(line), nil
}

// NameLevel is a ReplaceAttr function for slog's handlers that writes levels
// by the names that [LevelName] gives.
func NameLevel(groups []string, a slog.Attr) slog.Attr {
	if l, ok := a.Value.Any().(slog.Level); ok && len(groups) == 0 && a.Key == slog.LevelKey {
		a.Value = slog.StringValue(LevelName(l))
	}
	return a
}
