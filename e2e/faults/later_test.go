package faults_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/diag"
	"github.com/cofferhq/coffer/internal/server"
)

// ahead is the machine's clock, some time ahead.
type ahead struct {
	clock.System
	by time.Duration
}

// Now returns the time to come.
func (a ahead) Now() time.Time { return a.System.Now().Add(a.by) }

// later is a server within this process, on the storage of a node and at its
// address, for which time has passed.
type later struct {
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
}

// startLater starts and unseals it. The node must not run meanwhile.
func startLater(t *testing.T, n *node, by time.Duration) *later {
	t.Helper()
	c, err := config.Load([]string{n.config})
	if err != nil {
		t.Fatal(err)
	}
	listening := make(chan struct{})
	s, err := server.New(server.Options{
		Config: c, Clock: ahead{by: by}, Log: diag.NewLevels(slog.DiscardHandler, slog.LevelError), Out: io.Discard,
		Listening: func([]string) { close(listening) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(background())
	l := &later{t: t, cancel: cancel, done: make(chan error, 1)}
	go func() { l.done <- s.Run(ctx, nil) }()
	t.Cleanup(l.stop)
	select {
	case <-listening:
	case err := <-l.done:
		t.Fatal(err)
	}
	n.call(http.MethodPut, "sys/unseal", "", object{"key": n.Key}).must(t, 200)
	return l
}

// stop ends the server. It may be called again.
func (l *later) stop() {
	if l.cancel == nil {
		return
	}
	l.cancel()
	l.cancel = nil
	if err := <-l.done; err != nil {
		l.t.Errorf("stopping: %v", err)
	}
}
