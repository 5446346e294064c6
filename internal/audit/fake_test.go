package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/cofferhq/coffer/internal/audit"
)

// fakeSink is a sink in memory whose faults a test chooses.
type fakeSink struct {
	mu     sync.Mutex
	out    bytes.Buffer  // guarded by mu
	next   []error       // errors of the next writes; guarded by mu
	taken  int           // bytes that a failing write takes; guarded by mu
	opens  int           // guarded by mu
	syncs  int           // guarded by mu
	syncer error         // what Sync returns; guarded by mu
	stuck  chan struct{} // a sync waits until it is closed; guarded by mu
	writes int           // guarded by mu
	hang   chan struct{} // a write waits until it is closed; guarded by mu
}

func (s *fakeSink) Open() (audit.Tail, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opens++
	b := s.out.Bytes()
	t := audit.Tail{Torn: len(b) > 0 && b[len(b)-1] != '\n'}
	if end := bytes.LastIndexByte(b, '\n'); end >= 0 {
		t.Last = bytes.Clone(b[bytes.LastIndexByte(b[:end], '\n')+1 : end])
	}
	return t, nil
}

func (s *fakeSink) Write(p []byte) (int, error) {
	s.mu.Lock()
	hang := s.hang
	s.mu.Unlock()
	if hang != nil {
		<-hang
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if len(s.next) > 0 {
		err := s.next[0]
		s.next = s.next[1:]
		if err != nil {
			n := min(s.taken, len(p))
			s.out.Write(p[:n])
			return n, err
		}
	}
	s.out.Write(p)
	return len(p), nil
}

func (s *fakeSink) Sync() error {
	s.mu.Lock()
	stuck := s.stuck
	s.mu.Unlock()
	if stuck != nil {
		<-stuck
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.syncs++
	return s.syncer
}

func (s *fakeSink) Close() error { return nil }

// block makes writes hang until the returned function is called.
func (s *fakeSink) block() (release func()) {
	ch := make(chan struct{})
	s.mu.Lock()
	s.hang = ch
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.hang = nil
		s.mu.Unlock()
		close(ch)
	}
}

// fail makes the next n writes fail after taking some bytes.
func (s *fakeSink) fail(n, taken int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken = taken
	for range n {
		s.next = append(s.next, errNoSpace)
	}
}

var errNoSpace = errors.New("no space left on device")

func (s *fakeSink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.out.String()
}

// ids are the request ids of the entries in order.
func (s *fakeSink) ids(t testing.TB) []string {
	t.Helper()
	return requestIDs(s.text())
}

func requestIDs(log string) []string {
	var ids []string
	for line := range strings.Lines(log) {
		var e struct {
			Request struct{ ID string }
		}
		if json.Unmarshal([]byte(line), &e) == nil && e.Request.ID != "" {
			ids = append(ids, e.Request.ID)
		}
	}
	return ids
}

// fakes are the sinks of a test by their device's name.
type fakes map[string]*fakeSink

// newFakeHouse runs a broker with fake devices; the sinks go by their names.
func newFakeHouse(t testing.TB, change func(*audit.Config), names ...string) (*house, fakes) {
	t.Helper()
	f := fakes{}
	h := newHouse(t, func(c *audit.Config) {
		c.Openers = map[string]audit.Opener{"fake": func(d audit.Device) (audit.Sink, error) { return f[strings.TrimSuffix(d.Path, "/")], nil }}
		if change != nil {
			change(c)
		}
	})
	for _, name := range names {
		f[name] = &fakeSink{}
		h.enable(t, name, map[string]string{"type": "fake"})
	}
	return h, f
}

// record is a small request record.
func record(id string) *audit.Record {
	return &audit.Record{Time: sampleTime(), Type: audit.TypeRequest, Request: &audit.Request{ID: id, Operation: "read", Path: "secret/x"}}
}

func (h *house) log(t testing.TB, id string) error {
	t.Helper()
	return h.Log(context.Background(), record(id))
}
