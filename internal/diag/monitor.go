package diag

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// errLevel words a level that is missing or unknown.
var errLevel = fault.New(fault.Invalid, `"level" must be one of trace, debug, info, warn and error`)

// errLogger words a logger that is not there.
var errLogger = fault.New(fault.Invalid, "there is no logger of that name")

type loggerRequest struct {
	Name string `path:"name" doc:"Name of the logger."`
}

type levelsRequest struct {
	Level string `json:"level" doc:"Level: trace, debug, info, warn or error."`
}

type levelRequest struct {
	loggerRequest
	levelsRequest
}

func (d *Diag) readLoggers(context.Context, *route.Call, noInput) (map[string]string, error) {
	return d.levels(), nil
}

func (d *Diag) levels() map[string]string {
	names := map[string]string{}
	for name, level := range d.Levels.All() {
		names[name] = LevelName(level)
	}
	return names
}

func (d *Diag) readLogger(_ context.Context, _ *route.Call, in loggerRequest) (map[string]string, error) {
	level, ok := d.levels()[in.Name]
	if !ok {
		return nil, errLogger
	}
	return map[string]string{in.Name: level}, nil
}

func (d *Diag) writeLoggers(_ context.Context, _ *route.Call, in levelsRequest) (route.None, error) {
	return d.setLevel("", in.Level)
}

func (d *Diag) writeLogger(_ context.Context, _ *route.Call, in levelRequest) (route.None, error) {
	return d.setLevel(in.Name, in.Level)
}

func (d *Diag) setLevel(name, text string) (route.None, error) {
	level, ok := ParseLevel(text)
	if !ok {
		return route.None{}, errLevel
	}
	if !d.Levels.Set(name, level) {
		return route.None{}, errLogger
	}
	return route.None{}, nil
}

func (d *Diag) resetLoggers(context.Context, *route.Call, noInput) (route.None, error) {
	d.Levels.Reset("")
	return route.None{}, nil
}

func (d *Diag) resetLogger(_ context.Context, _ *route.Call, in loggerRequest) (route.None, error) {
	if !d.Levels.Reset(in.Name) {
		return route.None{}, errLogger
	}
	return route.None{}, nil
}

type monitorRequest struct {
	Level  string `query:"log_level" default:"info" doc:"Least level to show: trace, debug, info, warn or error."`
	Format string `query:"log_format" default:"standard" doc:"Format of the lines: standard or json."`
}

func (d *Diag) monitor(_ context.Context, _ *route.Call, in monitorRequest) (route.Bytes, error) {
	level, ok := ParseLevel(in.Level)
	if !ok {
		return route.Bytes{}, fault.New(fault.Invalid, `"log_level" must be one of trace, debug, info, warn and error`)
	}
	if in.Format != "standard" && in.Format != "json" {
		return route.Bytes{}, fault.New(fault.Invalid, `"log_format" must be "standard" or "json"`)
	}
	return route.Bytes{ContentType: "text/plain; charset=utf-8", Stream: func(ctx context.Context, w io.Writer) error {
		return d.Levels.Follow(ctx, w, level, in.Format == "json")
	}}, nil
}

// Follow writes what is logged from now on at or above a level, whatever the
// loggers' own levels are, until ctx ends or [Levels.Close] is called. Lines
// that the writer is too slow for are dropped and counted in the stream.
func (l *Levels) Follow(ctx context.Context, w io.Writer, level slog.Level, json bool) error {
	t := newTap(level, json)
	if !l.taps.add(t) {
		return fault.New(fault.Unavailable, "too many clients follow the log already")
	}
	defer l.taps.remove(t)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.closed:
			return nil
		case line := <-t.lines:
			if _, err := w.Write(line); err != nil {
				return fmt.Errorf("writing to a client that follows the log: %w", err)
			}
		}
		if n := t.dropped.Swap(0); n > 0 {
			notice := slog.New(t.handler)
			notice.Log(ctx, max(level, slog.LevelWarn), "lines were dropped: the reader is too slow", "lines", n)
		}
	}
}
