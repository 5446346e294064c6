package audit

import "time"

// syncing is a sync that runs beside writes. Under fsync=interval lines are
// acknowledged when they are written, and a sync of a busy log takes tens of
// milliseconds: requests must not wait for it.
type syncing struct {
	result chan error // receives once; nil while no sync runs
	began  time.Time
}

// start begins a sync of what has been written.
func (s *syncing) start(sink Sink, now time.Time) {
	result := make(chan error, 1)
	s.result, s.began = result, now
	go func() { result <- sink.Sync() }() // ended by [syncing.wait], before the sink is opened, rotated or closed
}

// overdue reports whether the sync has taken so long that no more lines may be
// acknowledged before it ends.
func (s *syncing) overdue(now time.Time, limit time.Duration) bool {
	return s.result != nil && now.Sub(s.began) >= limit
}

// wait returns the result of the running sync, if there is one.
func (s *syncing) wait() error {
	if s.result == nil {
		return nil
	}
	err := <-s.result
	s.result = nil
	return err
}

// synced takes over the result of a sync that has ended. What a failed sync has
// not stored is lost to later ones too, so the target is opened anew.
func (w *writer) synced(err error) error {
	w.beside.result = nil
	if err != nil {
		w.opened = false
	}
	return err
}

// join waits for the sync that runs beside writes.
func (w *writer) join() error { return w.synced(w.beside.wait()) }
