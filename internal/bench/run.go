package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/api"
	"github.com/cofferhq/coffer/internal/clock"
)

// Options say how a load is made.
type Options struct {
	// Clients is how many requests are under way at once.
	Clients int
	// Rounds is how often each workload is measured, Warmup how long it runs
	// before that.
	Rounds int
	Warmup time.Duration
	// Duration is the length of a round. Count, if not zero, is the number of
	// its requests instead.
	Duration time.Duration
	Count    int64
	// Keys is how many keys the KV workloads use in turn.
	Keys int
	// PID is the server's process on this machine; zero if it is elsewhere.
	PID int
	// Postgres is the URL of a PostgreSQL for the database workload, with a user
	// who may make roles.
	Postgres string
	// Remote allows a server that is not on this machine.
	Remote bool
	// Keep leaves on the server what the load has made.
	Keep bool
	// Clock times the requests.
	Clock clock.Clock
}

// validate refuses a load that could not be measured.
func (o *Options) validate() error {
	switch {
	case o.Clients < 1 || o.Clients > 10_000:
		return errors.New("the number of clients must be between 1 and 10000")
	case o.Rounds < 1:
		return errors.New("at least one round is needed")
	case o.Duration <= 0 && o.Count <= 0:
		return errors.New("a round needs a duration or a count of requests")
	case o.Keys < 1 || o.Keys > 1_000_000:
		return errors.New("the number of keys must be between 1 and 1000000")
	}
	return nil
}

// Run measures one workload on the server that admin talks to, and removes what
// it has made there. A workload that the server cannot serve gives a [Result]
// with Skipped set.
func Run(ctx context.Context, admin *api.Client, w Workload, o Options) (r Result, err error) {
	if err := o.validate(); err != nil {
		return r, err
	}
	tlsConfig, err := admin.TLS()
	if err != nil {
		return r, err
	}
	to, err := newTarget(admin.Address(), tlsConfig, o.Remote)
	if err != nil {
		return r, err
	}
	s, err := openSite(ctx, admin, to, o)
	if err != nil {
		return r, err
	}
	if !o.Keep {
		defer func() {
			// An interrupted run cleans up as well.
			err = errors.Join(err, s.close(context.WithoutCancel(ctx)))
		}()
	}
	r = Result{Workload: w.Name, Clients: o.Clients, Rounds: o.Rounds}
	requests, err := w.prepare(ctx, s)
	switch {
	case errors.Is(err, errNoDatabase), errors.Is(err, errNoEngine):
		r.Skipped = err.Error()
		return r, nil
	case err != nil:
		return r, fmt.Errorf("preparing %s: %w", w.Name, err)
	}
	l := &load{target: s.target, requests: requests, options: o}
	if o.Warmup > 0 {
		if _, err := l.round(ctx, o.Warmup, 0); err != nil {
			return r, err
		}
	}
	rounds := make([]round, o.Rounds)
	for i := range rounds {
		if rounds[i], err = l.round(ctx, o.Duration, o.Count); err != nil {
			return r, fmt.Errorf("measuring %s: %w", w.Name, err)
		}
	}
	r.summarize(rounds)
	return r, nil
}

// load sends requests.
type load struct {
	target   target
	requests [][]byte
	options  Options
}

// round is what one round has shown.
type round struct {
	took     time.Duration
	sorted   []time.Duration // latencies of the answers that were successes
	failures int64
	failure  string        // the first
	cpu      time.Duration // of the server
	resident int64         // of the server, after it
}

// round lets every client send requests for a duration, or until there were
// count of them.
func (l *load) round(ctx context.Context, d time.Duration, count int64) (round, error) {
	var r round
	server := process(l.options.PID)
	var before time.Duration
	var err error
	if server != 0 {
		if before, err = server.cpu(); err != nil {
			return r, err
		}
	}
	clients := make([]client, l.options.Clients)
	var running sync.WaitGroup
	began := l.options.Clock.Now()
	shared := &quota{end: began.Add(d)}
	if shared.counted = count > 0; shared.counted {
		shared.left.Store(count)
	}
	for i := range clients {
		running.Go(func() { clients[i].run(ctx, l, shared, i*len(l.requests)/len(clients)) })
	}
	running.Wait()
	r.took = l.options.Clock.Now().Sub(began)
	for i := range clients {
		c := &clients[i]
		err = errors.Join(err, c.err)
		r.failures += c.failures
		if r.failure == "" {
			r.failure = c.failure
		}
		r.sorted = append(r.sorted, c.took...)
	}
	slices.Sort(r.sorted)
	if server != 0 && err == nil {
		var after time.Duration
		after, err = server.cpu()
		r.cpu = after - before
		var err2 error
		r.resident, err2 = server.resident()
		err = errors.Join(err, err2)
	}
	return r, errors.Join(err, ctx.Err())
}

// quota says when a round ends.
type quota struct {
	end     time.Time
	counted bool
	left    atomic.Int64
}

// more reports whether another request is to be sent at now.
func (q *quota) more(now time.Time) bool {
	if q.counted {
		return q.left.Add(-1) >= 0
	}
	return now.Before(q.end)
}

// client is one of many that send requests at the same time.
type client struct {
	took     []time.Duration
	failures int64
	failure  string
	err      error
}

// run sends requests, beginning with the one at start, until the round ends.
func (c *client) run(ctx context.Context, l *load, q *quota, start int) {
	var open *conn
	defer func() {
		if open != nil {
			_ = open.net.Close() // everything was read
		}
	}()
	now := l.options.Clock.Now()
	for i := start; q.more(now); i++ {
		if ctx.Err() != nil {
			return
		}
		if open == nil {
			if open, c.err = l.target.dial(ctx); c.err != nil {
				return
			}
		}
		a, err := open.send(l.requests[i%len(l.requests)], now)
		done := l.options.Clock.Now()
		switch {
		case err != nil:
			c.err = fmt.Errorf("talking to the server: %w", err)
			return
		case a.status/100 == 2:
			c.took = append(c.took, done.Sub(now))
		default:
			c.failed(a)
		}
		if a.closes {
			_ = open.net.Close() // as the server does
			open = nil
		}
		now = done
	}
}

func (c *client) failed(a answer) {
	if c.failures++; c.failure == "" {
		c.failure = fmt.Sprintf("status %d: %s", a.status, a.text)
	}
}
