package audit

import (
	"sync/atomic"
	"time"
)

// DeviceStats is what a device has done since this node started it.
type DeviceStats struct {
	Device   string
	Type     string
	Entries  uint64 // recorded
	Batches  uint64 // writes, each of one or more entries
	Failures uint64 // entries that a request did not see recorded
	Dropped  uint64 // entries lost because the device's queue was full
	Busy     time.Duration
	Lagging  bool
	Blocked  bool
}

// Stats counts what the broker has done since it was made.
type Stats struct {
	// Requests and Responses were recorded by at least one device; the failed
	// ones by none, so that the request failed.
	Requests, RequestFailures   uint64
	Responses, ResponseFailures uint64
	Devices                     []DeviceStats
}

type deviceStats struct {
	entries, batches, failures, dropped atomic.Uint64
	busy                                atomic.Int64
	lagging, blocked                    atomic.Bool
}

func (s *deviceStats) observe(written int, took time.Duration, err error) {
	s.busy.Add(int64(took))
	if written > 0 {
		s.batches.Add(1)
	}
	if err == nil {
		s.entries.Add(uint64(written))
	}
}

func (s *deviceStats) snapshot(d Device) DeviceStats {
	return DeviceStats{
		Device: d.Path, Type: d.Type, Entries: s.entries.Load(), Batches: s.batches.Load(), Failures: s.failures.Load(),
		Dropped: s.dropped.Load(), Busy: time.Duration(s.busy.Load()), Lagging: s.lagging.Load(), Blocked: s.blocked.Load(),
	}
}

type brokerStats struct {
	requests, requestFailures, responses, responseFailures atomic.Uint64
}

func (s *brokerStats) count(t Type, ok bool) {
	switch {
	case t == TypeRequest && ok:
		s.requests.Add(1)
	case t == TypeRequest:
		s.requestFailures.Add(1)
	case ok:
		s.responses.Add(1)
	default:
		s.responseFailures.Add(1)
	}
}
