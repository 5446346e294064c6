package backup_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/backup"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

// site is a noun over a store in memory, with a snapshot that tests decide on.
type site struct {
	t     testing.TB
	store store.Store
	clock *clock.Fake
	noun  *backup.Schedules
	taken atomic.Int64 // snapshots that were asked for
	text  atomic.Value // string: what the next snapshot has; "" fails
	env   map[string]string
}

func newSite(t testing.TB) *site {
	t.Helper()
	st := mem.New()
	t.Cleanup(func() { st.Close() })
	s := &site{t: t, store: st, clock: clock.NewFake(time.Time{}), env: map[string]string{}}
	s.text.Store("a snapshot")
	s.noun = s.open()
	return s
}

// open opens the noun over the store, as another node would.
func (s *site) open() *backup.Schedules {
	s.t.Helper()
	noun, err := backup.New(s.t.Context(), backup.Config{
		Store: s.store, Clock: s.clock, Log: slog.New(slog.DiscardHandler), Scratch: s.t.TempDir(), Client: http.DefaultClient,
		Getenv: func(name string) string { return s.env[name] },
		Save: func(_ context.Context, w io.Writer) error {
			s.taken.Add(1)
			text := s.text.Load().(string)
			if text == "" {
				return errors.New("no snapshot today")
			}
			_, err := io.WriteString(w, text)
			return err
		},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(noun.Close)
	return noun
}

// lead runs the schedules until the test or the returned function ends it.
func (s *site) lead(noun *backup.Schedules) (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan error, 1)
	go func() { done <- noun.Run(ctx) }()
	ended := false
	stop = func() {
		if ended {
			return
		}
		ended = true
		cancel()
		if err := <-done; err != nil {
			s.t.Error(err)
		}
	}
	s.t.Cleanup(stop)
	return stop
}

// call calls an endpoint and returns the data as JSON has it.
func (s *site) call(verb route.Verb, path, body string) ([]byte, error) {
	s.t.Helper()
	table, err := route.NewTable(backup.Routes)
	if err != nil {
		s.t.Fatal(err)
	}
	var m route.Match
	e, _ := table.Find(verb, "storage/raft/snapshot-auto/"+path, &m)
	if e == nil {
		s.t.Fatalf("no endpoint for %v %s", verb, path)
	}
	c := route.Call{Verb: verb, Now: s.clock.Now()}
	c.SetMatch(&m, e)
	if body != "" {
		object, err := wire.ParseObject([]byte(body), wire.DefaultLimits)
		if err != nil {
			s.t.Fatal(err)
		}
		c.Body = object
	}
	reply, err := e.Handle(s.t.Context(), s.noun, &c)
	if err != nil {
		return nil, err
	}
	return reply.Data, nil
}

// status reads a schedule's status until it is as wanted.
func (s *site) eventually(what string, holds func() bool) {
	s.t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatalf("not in time: %s", what)
		}
	}
}

func names(t testing.TB, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestSnapshotsAreTakenAndTheOldestRemoved(t *testing.T) {
	s := newSite(t)
	dir := filepath.Join(t.TempDir(), "snapshots")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// Somebody else's files are not touched, whatever they are called.
	others := []string{"coffer-1.snap", "coffer-notes.txt", "zebra-1767323045000000000.snap"}
	for _, name := range others {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.mustWrite("daily", fmt.Sprintf(`{"interval":"1h","retain":2,"path_prefix":%q,"file_prefix":"coffer","storage_type":"local","local_max_space":100000}`, dir))
	s.lead(s.noun)
	for i := range 4 {
		want := int64(i + 1)
		s.eventually("a snapshot is taken", func() bool { return s.taken.Load() == want })
		s.eventually("its outcome is noted", func() bool {
			good, ok := s.noun.LastGood()
			return ok && good.Equal(s.clock.Now())
		})
		s.text.Store(fmt.Sprintf("snapshot %d", i+1))
		s.clock.Advance(time.Hour)
	}
	s.eventually("the fifth is there", func() bool { return s.taken.Load() == 5 })
	s.eventually("two are left", func() bool { return len(names(t, dir)) == len(others)+2 })
	var contents []string
	for _, name := range names(t, dir) {
		if slices.Contains(others, name) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		contents = append(contents, string(text))
	}
	if want := []string{"snapshot 3", "snapshot 4"}; !slices.Equal(contents, want) {
		t.Errorf("the snapshots have %q, want %q", contents, want)
	}
}

func (s *site) mustWrite(name, body string) {
	s.t.Helper()
	if _, err := s.call(route.VerbWrite, "config/"+name, body); err != nil {
		s.t.Fatal(err)
	}
}

func TestAFailureIsToldAndTriedAgain(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	s.text.Store("")
	s.mustWrite("daily", fmt.Sprintf(`{"interval":"24h","path_prefix":%q,"storage_type":"local","local_max_space":100000}`, dir))
	s.lead(s.noun)
	s.eventually("the failure is noted", func() bool { return s.noun.Failures() == 1 })
	if got := s.status("daily"); !strings.Contains(got, `"consecutive_errors":1`) || strings.Contains(got, "no snapshot today") {
		t.Errorf("the status is %s", got)
	}
	s.clock.Advance(time.Minute)
	s.eventually("it is tried again", func() bool { return s.noun.Failures() == 2 })
	s.clock.Advance(time.Minute)
	if n := s.taken.Load(); n != 2 {
		t.Errorf("%d attempts: the second wait is not longer than the first", n)
	}
	s.text.Store("now there is one")
	s.clock.Advance(time.Minute)
	s.eventually("it succeeds", func() bool { return s.noun.Failures() == 0 && len(names(t, dir)) == 1 })
}

func (s *site) status(name string) string {
	s.t.Helper()
	got, err := s.call(route.VerbRead, "status/"+name, "")
	if err != nil {
		s.t.Fatal(err)
	}
	return string(got)
}

// TestANewLeaderGoesOn takes no snapshot twice and misses none.
func TestANewLeaderGoesOn(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	s.mustWrite("hourly", fmt.Sprintf(`{"interval":"1h","retain":9,"path_prefix":%q,"storage_type":"local","local_max_space":100000}`, dir))
	stop := s.lead(s.noun)
	s.eventually("the first is taken", func() bool { return len(names(t, dir)) == 1 && s.noun.Failures() == 0 })
	s.eventually("its outcome is noted", func() bool { at, _ := s.noun.LastGood(); return !at.IsZero() })
	stop()
	s.clock.Advance(30 * time.Minute)
	other := s.open()
	s.lead(other)
	s.clock.Advance(29 * time.Minute)
	if n := len(names(t, dir)); n != 1 {
		t.Fatalf("%d snapshots: the new leader took one before its time", n)
	}
	s.clock.Advance(time.Minute)
	s.eventually("the next is taken in time", func() bool { return len(names(t, dir)) == 2 })
	if good, _ := s.noun.LastGood(); good.IsZero() {
		t.Error("a node that does not lead knows of no snapshot")
	}
}

func TestASnapshotThatWouldNotFitIsRefused(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	s.text.Store(strings.Repeat("x", 600))
	s.mustWrite("hourly", fmt.Sprintf(`{"interval":"1h","retain":9,"path_prefix":%q,"storage_type":"local","local_max_space":1000}`, dir))
	s.lead(s.noun)
	s.eventually("the first fits", func() bool { at, _ := s.noun.LastGood(); return !at.IsZero() && len(names(t, dir)) == 1 })
	s.clock.Advance(time.Hour)
	s.eventually("the second does not", func() bool { return s.noun.Failures() == 1 })
	if got := s.status("hourly"); !strings.Contains(got, "local_max_space") {
		t.Errorf("the status does not say what to do: %s", got)
	}
	if n := len(names(t, dir)); n != 1 {
		t.Errorf("%d files are in the directory", n)
	}
}

func TestBadSchedulesAreRefused(t *testing.T) {
	s := newSite(t)
	for _, tt := range []struct{ name, body, want string }{
		{"no interval", `{"path_prefix":"/x","storage_type":"local","local_max_space":1}`, "interval"},
		{"interval too short", `{"interval":59,"path_prefix":"/x","storage_type":"local","local_max_space":1}`, "interval"},
		{"retain none", `{"interval":60,"retain":0,"path_prefix":"/x","storage_type":"local","local_max_space":1}`, "retain"},
		{"no place", `{"interval":60,"path_prefix":"/x"}`, "storage_type"},
		{"unknown place", `{"interval":60,"path_prefix":"/x","storage_type":"floppy"}`, "storage_type"},
		{"no path", `{"interval":60,"storage_type":"local","local_max_space":1}`, "path_prefix"},
		{"relative path", `{"interval":60,"path_prefix":"x","storage_type":"local","local_max_space":1}`, "path_prefix"},
		{"path with dots", `{"interval":60,"path_prefix":"/x/../y","storage_type":"local","local_max_space":1}`, "path_prefix"},
		{"no space", `{"interval":60,"path_prefix":"/x","storage_type":"local"}`, "local_max_space"},
		{"prefix leaves the folder", `{"interval":60,"path_prefix":"/x","file_prefix":"../y","storage_type":"local","local_max_space":1}`, "file_prefix"},
		{"autoload", `{"interval":60,"path_prefix":"/x","storage_type":"local","local_max_space":1,"autoload_enabled":true}`, "autoload"},
		{"no bucket", `{"interval":60,"path_prefix":"x","storage_type":"aws-s3","aws_s3_region":"eu-west-1"}`, "aws_s3_bucket"},
		{"half a key", `{"interval":60,"path_prefix":"x","storage_type":"aws-s3","aws_s3_bucket":"b","aws_s3_region":"r","aws_access_key_id":"a"}`, "aws_secret_access_key"},
		{"plain HTTP to Amazon", `{"interval":60,"path_prefix":"x","storage_type":"aws-s3","aws_s3_bucket":"b","aws_s3_region":"r","aws_s3_disable_tls":true}`, "aws_s3_endpoint"},
		{"endpoint is a URL", `{"interval":60,"path_prefix":"x","storage_type":"aws-s3","aws_s3_bucket":"b","aws_s3_endpoint":"http://h"}`, "aws_s3_endpoint"},
		{"no container", `{"interval":60,"path_prefix":"x","storage_type":"azure-blob"}`, "azure_container_name"},
		{"key not base64", `{"interval":60,"path_prefix":"x","storage_type":"azure-blob","azure_container_name":"c","azure_account_name":"a","azure_account_key":"%"}`, "azure_account_key"},
		{"unknown cloud", `{"interval":60,"path_prefix":"x","storage_type":"azure-blob","azure_container_name":"c","azure_account_name":"a","azure_account_key":"eA==","azure_blob_environment":"moon"}`, "azure_blob_environment"},
		{"no service account", `{"interval":60,"path_prefix":"x","storage_type":"google-gcs","google_gcs_bucket":"b"}`, "google_service_account_key"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.call(route.VerbWrite, "config/bad", tt.body)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("it answered %v, want a text about %s", err, tt.want)
			}
			if _, err := s.call(route.VerbRead, "config/bad", ""); err == nil {
				t.Error("it was stored all the same")
			}
		})
	}
}
