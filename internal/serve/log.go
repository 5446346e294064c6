package serve

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/diag"
)

// logger is the server's log with the file that it may be written to.
type logger struct {
	*diag.Levels
	root *slog.Logger
	file *logFile // nil for the standard error
}

func newLogger(c config.Log, stderr io.Writer) (*logger, error) {
	level, ok := diag.ParseLevel(c.Level)
	if !ok {
		level = slog.LevelInfo
	}
	l := &logger{}
	out := stderr
	if c.File != "" {
		f, err := openLogFile(c)
		if err != nil {
			return nil, err
		}
		l.file, out = f, f
	}
	// Every level passes here: what is written is decided by the levels.
	options := &slog.HandlerOptions{Level: diag.LevelTrace, ReplaceAttr: diag.NameLevel}
	var handler slog.Handler = slog.NewTextHandler(out, options)
	if c.Format == "json" {
		handler = slog.NewJSONHandler(out, options)
	}
	l.Levels = diag.NewLevels(handler, level)
	l.root = l.Logger(diag.RootLogger)
	return l, nil
}

func (l *logger) setLevel(name string) {
	if level, ok := diag.ParseLevel(name); ok {
		l.SetInitial(level)
	}
}

func (l *logger) reopen() {
	if l.file == nil {
		return
	}
	if err := l.file.reopen(); err != nil {
		l.root.Error("opening the log file anew", "error", err)
	}
}

func (l *logger) close() {
	if l.file != nil {
		_ = l.file.f.Close() // nothing can be logged any more
	}
}

// logFile is a log file that can be opened anew after it was moved away, and
// that moves itself away when it has grown too large or too old.
type logFile struct {
	config config.Log
	clock  clock.Clock

	mu    sync.Mutex
	f     *os.File  // guarded by mu
	size  int64     // guarded by mu
	begun time.Time // guarded by mu
}

func openLogFile(c config.Log) (*logFile, error) {
	l := &logFile{config: c, clock: clock.System{}}
	return l, l.reopen()
}

func (l *logFile) reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reopenLocked()
}

func (l *logFile) reopenLocked() error {
	f, err := os.OpenFile(l.config.File, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	if l.f != nil {
		_ = l.f.Close() // the new file is in place
	}
	l.f, l.size, l.begun = f, st.Size(), l.clock.Now()
	return nil
}

// Write appends a line, to a new file if the present one is full.
func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.full(len(p)) {
		if err := l.rotateLocked(); err != nil {
			return 0, err
		}
	}
	n, err := l.f.Write(p)
	l.size += int64(n)
	return n, err
}

func (l *logFile) full(more int) bool {
	c := l.config
	return l.size > 0 && (c.RotateBytes > 0 && l.size+int64(more) > c.RotateBytes ||
		c.RotateDuration > 0 && l.clock.Now().Sub(l.begun) >= c.RotateDuration)
}

// rotateLocked moves the file away under the time and removes the oldest.
func (l *logFile) rotateLocked() error {
	path := l.config.File
	ext := filepath.Ext(path)
	base := strings.TrimSuffix(path, ext)
	if err := os.Rename(path, fmt.Sprintf("%s-%d%s", base, l.clock.Now().UnixNano(), ext)); err != nil {
		return err
	}
	if err := l.reopenLocked(); err != nil {
		return err
	}
	if l.config.RotateMaxFiles == 0 {
		return nil
	}
	old, err := rotated(base, ext)
	if err != nil {
		return err
	}
	slices.Sort(old) // the names hold the time
	keep := max(l.config.RotateMaxFiles, 0)
	for len(old) > keep {
		if err := os.Remove(old[0]); err != nil {
			return err
		}
		old = old[1:]
	}
	return nil
}

// rotated returns the files that were moved away from base+ext: those whose
// names have a time, and nothing but a time, in between.
func rotated(base, ext string) ([]string, error) {
	dir, prefix := filepath.Split(base)
	entries, err := os.ReadDir(filepath.Clean(dir + "."))
	if err != nil {
		return nil, err
	}
	var list []string
	for _, e := range entries {
		stamp, ok := strings.CutPrefix(e.Name(), prefix+"-")
		if !ok {
			continue
		}
		if stamp, ok = strings.CutSuffix(stamp, ext); !ok {
			continue
		}
		if _, err := strconv.ParseUint(stamp, 10, 64); err == nil {
			list = append(list, filepath.Join(dir, e.Name()))
		}
	}
	return list, nil
}
