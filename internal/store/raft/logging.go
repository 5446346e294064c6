package raft

import (
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/hashicorp/go-hclog"
)

// quiet passes on the warnings and errors of the raft libraries, and nothing
// of their chatter.
type quiet struct {
	logger *slog.Logger
	args   []any
}

var _ hclog.Logger = (*quiet)(nil)

// Log implements [hclog.Logger].
func (q *quiet) Log(level hclog.Level, msg string, args ...any) {
	if level < hclog.Warn {
		return
	}
	to := slog.LevelWarn
	if level > hclog.Warn {
		to = slog.LevelError
	}
	q.logger.Log(context.Background(), to, msg, append(append([]any(nil), q.args...), args...)...) // no request to speak of
}

// Trace implements [hclog.Logger].
func (q *quiet) Trace(string, ...any) {}

// Debug implements [hclog.Logger].
func (q *quiet) Debug(string, ...any) {}

// Info implements [hclog.Logger].
func (q *quiet) Info(string, ...any) {}

// Warn implements [hclog.Logger].
func (q *quiet) Warn(msg string, args ...any) { q.Log(hclog.Warn, msg, args...) }

// Error implements [hclog.Logger].
func (q *quiet) Error(msg string, args ...any) { q.Log(hclog.Error, msg, args...) }

// IsTrace implements [hclog.Logger].
func (q *quiet) IsTrace() bool { return false }

// IsDebug implements [hclog.Logger].
func (q *quiet) IsDebug() bool { return false }

// IsInfo implements [hclog.Logger].
func (q *quiet) IsInfo() bool { return false }

// IsWarn implements [hclog.Logger].
func (q *quiet) IsWarn() bool { return true }

// IsError implements [hclog.Logger].
func (q *quiet) IsError() bool { return true }

// ImpliedArgs implements [hclog.Logger].
func (q *quiet) ImpliedArgs() []any { return q.args }

// With implements [hclog.Logger].
func (q *quiet) With(args ...any) hclog.Logger {
	return &quiet{q.logger, append(append([]any(nil), q.args...), args...)}
}

// Name implements [hclog.Logger].
func (q *quiet) Name() string { return "" }

// Named implements [hclog.Logger].
func (q *quiet) Named(string) hclog.Logger { return q }

// ResetNamed implements [hclog.Logger].
func (q *quiet) ResetNamed(string) hclog.Logger { return q }

// SetLevel implements [hclog.Logger].
func (q *quiet) SetLevel(hclog.Level) {}

// GetLevel implements [hclog.Logger].
func (q *quiet) GetLevel() hclog.Level { return hclog.Warn }

// StandardLogger implements [hclog.Logger].
func (q *quiet) StandardLogger(*hclog.StandardLoggerOptions) *log.Logger {
	return log.New(io.Discard, "", 0)
}

// StandardWriter implements [hclog.Logger].
func (q *quiet) StandardWriter(*hclog.StandardLoggerOptions) io.Writer { return io.Discard }

// pebbleLogger passes on Pebble's errors, and takes its fatal ones for what
// they are: the state can no longer be trusted.
type pebbleLogger struct {
	logger      *slog.Logger
	failAndPark func(error)
}

var _ pebble.Logger = pebbleLogger{}

// Infof implements [pebble.Logger].
func (pebbleLogger) Infof(string, ...any) {}

// Errorf implements [pebble.Logger].
func (p pebbleLogger) Errorf(format string, args ...any) {
	p.logger.Error("storage engine", "error", fmt.Sprintf(format, args...))
}

// Fatalf implements [pebble.Logger]. It does not return, since Pebble would go
// on with a state that is not on the disk.
func (p pebbleLogger) Fatalf(format string, args ...any) {
	p.failAndPark(fmt.Errorf("storage engine: "+format, args...))
}
