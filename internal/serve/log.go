package serve

import (
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/cofferhq/coffer/internal/config"
)

// logger is the server's log with what can change while it runs.
type logger struct {
	*slog.Logger
	level *slog.LevelVar
	file  *logFile // nil for the standard error
}

// levelTrace is below the library's lowest.
const levelTrace = slog.LevelDebug - 4

func newLogger(c config.Log, stderr io.Writer) (*logger, error) {
	l := &logger{level: new(slog.LevelVar)}
	l.setLevel(c.Level)
	out := stderr
	if c.File != "" {
		f, err := openLogFile(c.File)
		if err != nil {
			return nil, err
		}
		l.file, out = f, f
	}
	options := &slog.HandlerOptions{Level: l.level}
	if c.Format == "json" {
		l.Logger = slog.New(slog.NewJSONHandler(out, options))
	} else {
		l.Logger = slog.New(slog.NewTextHandler(out, options))
	}
	return l, nil
}

func (l *logger) setLevel(name string) {
	switch strings.ToLower(name) {
	case "trace":
		l.level.Set(levelTrace)
	case "debug":
		l.level.Set(slog.LevelDebug)
	case "warn", "warning":
		l.level.Set(slog.LevelWarn)
	case "error":
		l.level.Set(slog.LevelError)
	default:
		l.level.Set(slog.LevelInfo)
	}
}

func (l *logger) reopen() {
	if l.file == nil {
		return
	}
	if err := l.file.reopen(); err != nil {
		l.Error("opening the log file anew", "error", err)
	}
}

func (l *logger) close() {
	if l.file != nil {
		_ = l.file.f.Close() // nothing can be logged any more
	}
}

// logFile is a log file that can be opened anew after it was moved away.
type logFile struct {
	path string
	mu   sync.Mutex
	f    *os.File // guarded by mu
}

func openLogFile(path string) (*logFile, error) {
	l := &logFile{path: path}
	return l, l.reopen()
}

func (l *logFile) reopen() error {
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		_ = l.f.Close() // the new file is in place
	}
	l.f = f
	return nil
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.f.Write(p)
}
