package backup

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Config is what [Schedules] need.
type Config struct {
	Store store.Store
	Clock clock.Clock
	Log   *slog.Logger
	// Save writes a whole snapshot.
	Save func(ctx context.Context, w io.Writer) error
	// Scratch is the folder in which a snapshot lies until it is where it
	// belongs; "" is the system's.
	Scratch string
	// Client reaches the places that are not local.
	Client *http.Client
	// Getenv finds credentials that a schedule does not give.
	Getenv func(string) string
}

// Schedules is the noun.
type Schedules struct {
	Config
	changed chan struct{} // has an element if schedules have changed
	stop    func()

	mu       sync.Mutex
	outcomes map[string]outcome // guarded by mu: by schedule; a view of the rows
}

// outcome is what came of a schedule so far, as it is stored. Times are zero
// before there is one.
type outcome struct {
	Errors    int       `json:"errors,omitempty"` // since the last good one
	Started   time.Time `json:"started,omitzero"` // of the last attempt
	Ended     time.Time `json:"ended,omitzero"`   // of the last attempt
	Error     string    `json:"error,omitempty"`  // of the last attempt
	URL       string    `json:"url,omitempty"`    // of the last good one
	Good      time.Time `json:"good,omitzero"`    // end of the last good one
	GoodStart time.Time `json:"good_start,omitzero"`
	Next      time.Time `json:"next,omitzero"`
}

// New opens the noun.
func New(ctx context.Context, c Config) (*Schedules, error) {
	s := &Schedules{Config: c, changed: make(chan struct{}, 1), outcomes: map[string]outcome{}}
	// Watching before reading: what changes in between is applied on top.
	s.stop = c.Store.Watch(s.watch)
	if err := s.load(ctx); err != nil {
		s.stop()
		return nil, fmt.Errorf("reading scheduled snapshots: %w", err)
	}
	return s, nil
}

// Close ends the noun.
func (s *Schedules) Close() { s.stop() }

// The rows: ("snapshot-auto", name, what).
const (
	rowName     = "snapshot-auto"
	rowSchedule = "schedule"
	rowOutcome  = "outcome"
)

func key(parts ...string) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindConfig, append([]string{rowName}, parts...)...)
}

func (s *Schedules) load(ctx context.Context) error {
	all := map[string]outcome{}
	err := s.Store.View(ctx, func(r store.Reader) error {
		clear(all)
		for e, err := range r.Scan(store.Under(key())) {
			if err != nil {
				return err
			}
			if parts, err := e.Key.Parts(); err == nil && len(parts) == 3 && parts[2] == rowOutcome {
				var o outcome
				if err := json.Unmarshal(e.Value, &o); err != nil {
					return err
				}
				all[parts[1]] = o
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outcomes = all
	return nil
}

// watch follows the change feed.
func (s *Schedules) watch(c store.Commit) {
	if c.Reset {
		if err := s.load(context.Background()); err != nil { // no request's context gets here
			s.Log.Error("the state of scheduled snapshots cannot be read", "error", err)
		}
		s.wake()
		return
	}
	for i := range c.Changes {
		k := c.Changes[i].Key
		if k.Kind() != store.KindConfig || k.Mount() != store.System {
			continue
		}
		if parts, err := k.Parts(); err == nil && len(parts) == 3 && parts[0] == rowName {
			s.follow(parts[1], parts[2], c.Changes[i].Value)
		}
	}
}

func (s *Schedules) follow(name, what string, value []byte) {
	if what == rowSchedule {
		s.wake()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var o outcome
	if value == nil || json.Unmarshal(value, &o) != nil {
		delete(s.outcomes, name)
		return
	}
	s.outcomes[name] = o
}

func (s *Schedules) wake() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// LastGood returns when the last good snapshot ended, of the schedule that has
// waited longest for one: the zero time if one has had none yet. It reports
// false if there is no schedule.
func (s *Schedules) LastGood() (oldest time.Time, scheduled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, o := range s.outcomes {
		if !scheduled || o.Good.Before(oldest) {
			oldest, scheduled = o.Good, true
		}
	}
	return oldest, scheduled
}

// Failures returns the most attempts in a row that have failed for any
// schedule.
func (s *Schedules) Failures() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	most := 0
	for _, o := range s.outcomes {
		most = max(most, o.Errors)
	}
	return most
}

// retry is how long a failed attempt waits for the next one at first; the wait
// doubles up to the interval.
const retry = time.Minute

// Run takes snapshots when they are due, until ctx ends. Only a leader runs it.
func (s *Schedules) Run(ctx context.Context) error {
	for {
		next, err := s.takeDue(ctx)
		if err != nil && ctx.Err() == nil {
			s.Log.Error("scheduled snapshots cannot be read", "error", err)
			next = s.Clock.Now().Add(retry)
		}
		var due <-chan time.Time // never, without a schedule
		if !next.IsZero() {
			due = s.Clock.After(next.Sub(s.Clock.Now()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
		case <-due:
		}
	}
}

// takeDue takes what is due and returns when the next one is.
func (s *Schedules) takeDue(ctx context.Context) (next time.Time, err error) {
	all, err := s.schedules(ctx)
	if err != nil {
		return next, err
	}
	for name, c := range all {
		o := s.outcomeOf(name)
		// A clock that has been set back must not put snapshots off.
		if latest := s.Clock.Now().Add(c.Interval); o.Next.After(latest) {
			o.Next = latest
		}
		if !o.Next.After(s.Clock.Now()) {
			if o, err = s.take(ctx, name, c, o); err != nil {
				return next, err
			}
		}
		if next.IsZero() || o.Next.Before(next) {
			next = o.Next
		}
	}
	return next, nil
}

func (s *Schedules) outcomeOf(name string) outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.outcomes[name]
}

// take takes a snapshot and notes what came of it. Its error is that of the
// note; that of the snapshot is in it.
func (s *Schedules) take(ctx context.Context, name string, c schedule, o outcome) (outcome, error) {
	o.Started = s.Clock.Now()
	url, err := s.snapshot(ctx, c, o.Started)
	if ctx.Err() != nil {
		return o, ctx.Err() // leadership or the server ends: the next leader goes on
	}
	o.Ended = s.Clock.Now()
	if err == nil {
		o.Error, o.Errors, o.URL, o.Good, o.GoodStart = "", 0, url, o.Ended, o.Started
		o.Next = o.Started.Add(c.Interval)
		s.Log.Info("a snapshot was taken", "schedule", name, "url", url)
	} else {
		o.Errors++
		o.Error = explain(err)
		o.Next = o.Ended.Add(min(retry<<min(o.Errors-1, 10), c.Interval))
		s.Log.Error("a scheduled snapshot failed", "schedule", name, "attempts", o.Errors, "error", err)
	}
	_, err = s.Store.Update(ctx, func(tx store.Txn) error {
		// The schedule may have been removed meanwhile; then so is its state.
		if there, err := store.Exists(tx, key(name, rowSchedule)); err != nil || !there {
			return err
		}
		return store.PutJSON(tx, key(name, rowOutcome), o)
	})
	return o, err
}

// explain words an error for whoever asks for the status.
func explain(err error) string {
	if m := fault.Message(err); m != "" {
		return m
	}
	return "the snapshot could not be taken; the server's log says why"
}

// snapshot takes a snapshot, puts it in its place, and removes what is beyond
// the number to be kept.
func (s *Schedules) snapshot(ctx context.Context, c schedule, at time.Time) (url string, err error) {
	place, err := s.place(c)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp(s.Scratch, ".snapshot-")
	if err != nil {
		return "", fmt.Errorf("making a scratch file: %w", err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := s.Save(ctx, f); err != nil {
		return "", fmt.Errorf("taking a snapshot: %w", err)
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return "", err
	}
	name := c.FilePrefix + "-" + strconv.FormatInt(at.UnixNano(), 10) + suffix
	if url, err = place.put(ctx, name, f, size); err != nil {
		return "", err
	}
	return url, s.retain(ctx, c, place)
}

const suffix = ".snap"

// retain removes the oldest snapshots beyond the number to be kept.
func (s *Schedules) retain(ctx context.Context, c schedule, p place) error {
	all, err := p.list(ctx, c.FilePrefix+"-")
	if err != nil {
		return fmt.Errorf("listing snapshots: %w", err)
	}
	all = slices.DeleteFunc(all, func(name string) bool { return !ours(c.FilePrefix, name) })
	slices.Sort(all)
	for len(all) > c.Retain {
		if err := p.remove(ctx, all[0]); err != nil {
			return fmt.Errorf("removing snapshot %q: %w", all[0], err)
		}
		all = all[1:]
	}
	return nil
}

// ours reports whether a name is that of a snapshot with a prefix. All times
// until the year 2286 have nineteen digits, so names sort as times.
func ours(prefix, name string) bool {
	digits, ok := strings.CutPrefix(name, prefix+"-")
	if !ok {
		return false
	}
	if digits, ok = strings.CutSuffix(digits, suffix); !ok || len(digits) != 19 {
		return false
	}
	_, err := strconv.ParseUint(digits, 10, 64)
	return err == nil
}

// place keeps snapshots. Names have no slash.
type place interface {
	// put stores what f has from its beginning to size, whole or not at all,
	// and returns its URL.
	put(ctx context.Context, name string, f *os.File, size int64) (url string, err error)
	// list returns the names that begin with prefix.
	list(ctx context.Context, prefix string) ([]string, error)
	remove(ctx context.Context, name string) error
}

func (s *Schedules) place(c schedule) (place, error) {
	switch c.Type {
	case local:
		return localPlace{c.PathPrefix, c.Local, c.FilePrefix}, nil
	case s3:
		return newS3(c, s.Client, s.Clock, s.Getenv)
	case azure:
		return newAzure(c, s.Client, s.Clock)
	case gcs:
		return newGCS(c, s.Client)
	}
	return nil, fault.Newf(fault.Invalid, "unknown storage_type %q", c.Type)
}

func (s *Schedules) schedules(ctx context.Context) (map[string]schedule, error) {
	all := map[string]schedule{}
	err := s.Store.View(ctx, func(r store.Reader) error {
		names, err := store.Children(r, key(), "", 0)
		if err != nil {
			return err
		}
		for _, name := range names {
			c, err := store.GetJSON[schedule](r, key(name, rowSchedule))
			if err != nil {
				return err
			}
			all[name] = c
		}
		return nil
	})
	return all, err
}
