package audit

import (
	"bytes"
	"log/slog"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// limits are the broker's settings that its devices share.
type limits struct {
	lag                time.Duration
	deadline           time.Duration
	backlog            int
	checkpointEntries  uint64
	checkpointInterval time.Duration
}

// item is one line that waits to be written.
type item struct {
	end    int     // of the line in its batch's lines
	ticket *ticket // nil once reported
	gen    uint64
	waited bool // the ticket still waits for this device
}

// batch is lines, each without its place in the chain, and who waits for them.
type batch struct {
	lines []byte
	items []item
}

func (b *batch) reset() {
	clear(b.lines) // raw devices hold secrets in clear
	b.lines = b.lines[:0]
	if cap(b.lines) > maxKeptBatch {
		b.lines = nil
	}
	clear(b.items)
	b.items = b.items[:0]
}

// maxKeptBatch bounds the buffers of a device that are kept for reuse.
const maxKeptBatch = 1 << 20

// device is an enabled audit device: a queue in front of a sink, and the
// goroutine that empties it.
type device struct {
	row   Device
	salt  []byte
	fmt   *formatter
	sink  Sink
	clock clock.Clock
	log   *slog.Logger
	lim   limits
	stats *deviceStats
	free  func(*ticket)

	wake    chan struct{} // capacity 1
	stop    chan struct{} // closed by the broker: write what is pending and end
	stopped chan struct{} // closed by the writer when it has ended
	reopen  chan struct{} // capacity 1

	mu      sync.Mutex
	pending batch     // guarded by mu
	flight  batch     // the items are guarded by mu; the lines are the writer's
	busy    time.Time // since when the sink, or the start, takes; zero if idle; guarded by mu
	lagging bool      // guarded by mu
	blocked bool      // guarded by mu
	gone    bool      // takes no more; guarded by mu
	lost    uint64    // dropped since the last checkpoint; guarded by mu

	w writer
}

// enqueue appends a line. It reports false if the device has been disabled.
func (d *device) enqueue(line []byte, t *ticket) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.gone {
		return false
	}
	waited := !d.lagging && !d.blocked
	t.add(waited)
	if len(d.pending.lines)+len(line) > d.lim.backlog && len(d.pending.items) > 0 {
		d.lost++
		d.stats.dropped.Add(1)
		d.stats.failures.Add(1)
		t.report(false, waited)
		return true
	}
	d.pending.lines = append(d.pending.lines, line...)
	it := item{end: len(d.pending.lines), ticket: t, waited: waited}
	if d.blocked {
		it.ticket = nil
		d.stats.failures.Add(1)
		t.report(false, false)
	}
	d.pending.items = append(d.pending.items, it)
	return true
}

func (d *device) kick() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// watch marks the device as lagging or blocked if its sink has been at work for
// too long, and releases whoever waits. It reports whether the device has
// anything under way.
func (d *device) watch(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.busy.IsZero() {
		return len(d.pending.items) > 0
	}
	took := now.Sub(d.busy)
	if took >= d.lim.lag && !d.lagging {
		d.lagging = true
		d.stats.lagging.Store(true)
		d.unwaitLocked(d.flight.items)
		d.unwaitLocked(d.pending.items)
	}
	if took >= d.lim.deadline {
		if !d.blocked {
			d.blocked = true
			d.stats.blocked.Store(true)
			d.log.Error("audit device is blocked", "device", d.row.Path, "for", took)
		}
		d.reportLocked(d.flight.items, false)
		d.reportLocked(d.pending.items, false)
	}
	return true
}

func (d *device) unwaitLocked(items []item) {
	for i := range items {
		if it := &items[i]; it.ticket != nil && it.waited {
			it.waited = false
			it.ticket.lag()
		}
	}
}

func (d *device) reportLocked(items []item, recorded bool) {
	for i := range items {
		it := &items[i]
		if it.ticket == nil {
			continue
		}
		if !recorded {
			d.stats.failures.Add(1)
		}
		if it.ticket.report(recorded, it.waited) {
			d.free(it.ticket)
		}
		it.ticket = nil
	}
}

// run is the device's writer. It ends when the broker closes stop.
func (d *device) run() {
	defer close(d.stopped)
	d.mu.Lock()
	d.busy, d.lagging, d.blocked = time.Time{}, false, false
	d.mu.Unlock()
	d.flush(false) // what came before the start
	var tick <-chan time.Time
	for {
		select {
		case <-d.wake:
			d.flush(false)
		case <-d.reopen:
			d.flush(true)
		case <-tick:
			tick = nil
			d.upkeep()
		case err := <-d.w.beside.result:
			if d.w.synced(err) != nil {
				d.syncFailed(err)
			}
		case <-d.stop:
			d.finish()
			return
		}
		if tick == nil && d.w.unfinished() {
			tick = d.clock.After(upkeepInterval)
		}
	}
}

// upkeepInterval is how often a device looks whether to sync, sign or rotate,
// while there is anything to.
const upkeepInterval = time.Second

// begin takes the pending lines over and starts the device's stopwatch.
func (d *device) begin() (now time.Time, lost uint64) {
	now = d.clock.Now()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy = now
	d.pending, d.flight = d.flight, d.pending
	lost, d.lost = d.lost, 0
	return now, lost
}

// flush writes what is pending.
func (d *device) flush(reopen bool) {
	d.mu.Lock()
	nothing := len(d.pending.items) == 0
	d.mu.Unlock()
	if nothing && !reopen {
		return
	}
	now, lost := d.begin()
	d.w.dropped += lost
	if reopen {
		d.w.closing(now, reasonRotate)
	}
	written, err := d.w.write(now, &d.flight)
	d.end(now, written, err)
}

// upkeep syncs, signs and rotates when it is time.
func (d *device) upkeep() {
	now, lost := d.begin()
	d.w.dropped += lost
	written, err := d.w.write(now, &d.flight)
	if err == nil {
		err = d.w.upkeep(now)
	}
	d.end(now, written, err)
}

// syncFailed says that lines which were acknowledged may not be durable.
func (d *device) syncFailed(err error) {
	d.log.Error("syncing audit device", "device", d.row.Path, "error", err)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stats.observe(0, 0, err)
}

// finish ends the device in good order: what is pending, a closing checkpoint.
func (d *device) finish() {
	d.mu.Lock()
	d.gone = true
	d.mu.Unlock()
	now, lost := d.begin()
	d.w.dropped += lost
	written, err := d.w.write(now, &d.flight)
	if !d.w.opened {
		_ = d.w.join() // why it is not opened has been reported
	} else {
		d.w.closing(now, reasonClose)
		if cerr := d.sink.Close(); cerr != nil {
			d.log.Warn("closing audit device", "device", d.row.Path, "error", cerr)
		}
	}
	d.end(now, written, err)
	d.mu.Lock()
	d.reportLocked(d.pending.items, false)
	d.mu.Unlock()
}

// end reports a batch of which the first written items are in the sink, and
// keeps the others for another try.
func (d *device) end(began time.Time, written int, err error) {
	took := d.clock.Now().Sub(began)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.busy = time.Time{}
	if err == nil {
		if written > 0 || took >= d.lim.lag {
			d.lagging = took >= d.lim.lag
			d.stats.lagging.Store(d.lagging)
		}
		if d.blocked {
			d.blocked = false
			d.stats.blocked.Store(false)
			d.log.Info("audit device has recovered", "device", d.row.Path)
		}
	} else {
		d.log.Error("writing to audit device", "device", d.row.Path, "error", err)
	}
	d.stats.observe(written, took, err)
	d.reportLocked(d.flight.items, err == nil)
	if written < len(d.flight.items) {
		d.requeueLocked(written)
	}
	d.flight.reset()
}

// requeueLocked puts the lines that were not written before the pending ones.
func (d *device) requeueLocked(written int) {
	from := 0
	if written > 0 {
		from = d.flight.items[written-1].end
	}
	rest := d.flight.lines[from:]
	items := make([]item, 0, len(d.flight.items)-written+len(d.pending.items))
	for _, it := range d.flight.items[written:] {
		items = append(items, item{end: it.end - from})
	}
	for _, it := range d.pending.items {
		it.end += len(rest)
		items = append(items, it)
	}
	d.pending.lines = append(bytes.Clone(rest), d.pending.lines...)
	d.pending.items = items
}

// abandon gives up a device whose sink does not come back: whoever waits is
// told.
func (d *device) abandon() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = true
	d.reportLocked(d.flight.items, false)
	d.reportLocked(d.pending.items, false)
}
