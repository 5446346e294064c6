package serve

import (
	"io"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
)

// LogFile opens a log file that is rotated by the time of a clock. Reopen
// opens it anew.
func LogFile(c config.Log, clk clock.Clock) (out io.WriteCloser, reopen func() error, err error) {
	l := &logFile{config: c, clock: clk}
	return logCloser{l}, l.reopen, l.reopen()
}

type logCloser struct{ *logFile }

func (l logCloser) Close() error { return l.f.Close() }

// GCPercent and PaceGC let tests see how the garbage collector is paced.
var (
	GCPercent = gcPercent
	PaceGC    = paceGC
)
