package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/cofferhq/coffer/api"
	"github.com/cofferhq/coffer/internal/cli"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server"
)

// runThree runs a development cluster of three nodes in this process.
func (f *flags) runThree(ctx context.Context, stdio cli.Stdio) (err error) {
	if len(f.configs) > 0 {
		return errors.New("-dev-three-node takes no -config: its nodes differ in what a configuration says")
	}
	f.devFlags.ApplyEnv(os.Getenv)
	if err := f.devFlags.Validate(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "coffer-dev-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	configs, err := config.DevCluster(f.devFlags, dir)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	t := &three{flags: f, stdio: stdio, stderr: &lines{to: stdio.Err}, ended: make(chan error, len(configs))}
	defer t.nodes.Wait()
	defer stop() // one that ends takes the others along
	key := make(chan string, 1)
	if err := t.start(ctx, configs[0], func(k string) { key <- k }); err != nil {
		return err
	}
	var unseal string
	select {
	case unseal = <-key:
	case err := <-t.ended:
		return err
	case <-ctx.Done():
		return nil
	}
	for _, c := range configs[1:] {
		if err := t.join(ctx, c, unseal); err != nil {
			return err
		}
	}
	fmt.Fprintf(stdio.Out, "The other nodes are at %s and %s. See: coffer operator members\n\n", configs[1].APIAddr, configs[2].APIAddr)
	return <-t.ended
}

// three are the nodes of a development cluster.
type three struct {
	flags  *flags
	stdio  cli.Stdio
	stderr *lines
	nodes  sync.WaitGroup
	ended  chan error // each node sends what it has ended with
}

// start starts a node. initialised is given the unseal key of the first; it is
// nil for the others.
func (t *three) start(ctx context.Context, c *config.Config, initialised func(key string)) error {
	id := c.Storage.Raft.NodeID
	if t.flags.logLevel != "" {
		if err := c.Log.SetLevel(t.flags.logLevel, "-log-level"); err != nil {
			return err
		}
	}
	if err := c.Validate(); err != nil {
		return err
	}
	log, err := newLogger(c.Log, t.stderr.of(id))
	if err != nil {
		return err
	}
	listening := make(chan struct{})
	s, err := server.New(server.Options{
		Config: c, Log: log.Levels, Out: t.stdio.Out, Initialised: initialised,
		Listening: func([]string) { close(listening) },
	})
	if err != nil {
		return fmt.Errorf("starting %s: %w", id, err)
	}
	ended := make(chan struct{})
	t.nodes.Go(func() {
		defer log.close()
		defer close(ended)
		if err := s.Run(ctx, nil); err != nil {
			t.ended <- fmt.Errorf("running %s: %w", id, err)
			return
		}
		t.ended <- nil
	})
	select {
	case <-listening:
		return nil
	case <-ended:
		return <-t.ended
	}
}

// joinTime bounds how long a node may take to join.
const joinTime = time.Minute

// join starts a node that joins the first, and unseals it.
func (t *three) join(ctx context.Context, c *config.Config, key string) error {
	if err := t.start(ctx, c, nil); err != nil {
		return err
	}
	client, err := api.New(api.Config{Address: c.APIAddr})
	if err != nil {
		return err
	}
	wall := clock.System{}
	timeout := wall.After(joinTime)
	for {
		// The first keys open the door of the cluster, the next one the node.
		status, err := client.Unseal(ctx, api.UnsealRequest{Key: key})
		if err == nil && !status.Sealed {
			return nil
		}
		select {
		case <-wall.After(100 * time.Millisecond):
		case <-timeout:
			return fmt.Errorf("%s did not join in time: %w", c.Storage.Raft.NodeID, err)
		case err := <-t.ended:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// lines keeps the lines of several logs apart.
type lines struct {
	mu sync.Mutex
	to io.Writer // guarded by mu
}

// of returns a log whose lines begin with a name.
func (l *lines) of(name string) io.Writer { return prefixed{l, []byte(name + " ")} }

// prefixed writes lines, one or more whole ones at a time, as loggers do.
type prefixed struct {
	lines  *lines
	prefix []byte
}

// Write writes lines.
func (p prefixed) Write(b []byte) (int, error) {
	var out []byte
	for line := range bytes.Lines(b) {
		out = append(append(out, p.prefix...), line...)
	}
	p.lines.mu.Lock()
	defer p.lines.mu.Unlock()
	if _, err := p.lines.to.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}
