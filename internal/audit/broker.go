package audit

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/store"
)

// Config is what a [Broker] needs.
type Config struct {
	// Store keeps devices, salts and headers; it is the barrier.
	Store store.Store
	Clock clock.Clock
	Log   *slog.Logger
	// Rand is the source of salts; nil is the system's.
	Rand io.Reader
	// Signer signs checkpoints; its key is an Ed25519 one. Without it there are
	// checkpoints that prove nothing.
	Signer crypto.Signer
	// Node names this node in checkpoints.
	Node string
	// AllowAPI lets devices be enabled and disabled through the API.
	AllowAPI bool
	// Declared are the devices of the configuration file.
	Declared []Device
	// Openers make sinks by the device's type. Nil is the built-in ones.
	Openers map[string]Opener

	// Lag is how long a write may take before others stop waiting for its
	// device; 100 ms if zero.
	Lag time.Duration
	// Deadline is how long a write may take before its device counts as
	// failed; 2 s if zero. A device's option "deadline" goes before.
	Deadline time.Duration
	// Backlog bounds the lines that wait for a device, in bytes; 16 MiB if
	// zero.
	Backlog int
	// CheckpointEntries and CheckpointInterval say how many entries, and how
	// much time, may pass without a checkpoint; 1024 and a minute if zero.
	CheckpointEntries  uint64
	CheckpointInterval time.Duration
}

// BuiltinOpeners returns the types of devices that this package knows.
func BuiltinOpeners() map[string]Opener { return map[string]Opener{"file": OpenFile} }

// Broker gives records to the enabled devices. It is safe for concurrent use.
type Broker struct {
	cfg     Config
	lim     limits
	keyID   string
	view    atomic.Pointer[view] // nil until loaded and after Run has ended
	tickets sync.Pool
	stats   brokerStats

	changed  chan struct{} // capacity 1: there are devices to start or stop
	busy     chan struct{} // capacity 1: the watchdog has something to watch
	watching atomic.Bool   // the watchdog is at it

	mu      sync.Mutex
	unwatch func()               // guarded by mu
	current []*device            // of the last view that could be built; guarded by mu
	fresh   []*device            // to be started by Run; guarded by mu
	retired []*device            // to be stopped by Run; guarded by mu
	writers map[string][]*device // devices not known to have stopped, by target; guarded by mu
}

// view is an immutable picture of what is enabled.
type view struct {
	devices []*device
	headers *headerSet
}

// New returns a broker. It refuses every record until [Broker.Load] has been
// called, and writes none until [Broker.Run] runs.
func New(cfg Config) (*Broker, error) {
	if cfg.Store == nil || cfg.Clock == nil || cfg.Log == nil {
		return nil, errors.New("audit: a store, a clock and a logger are needed")
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	if cfg.Openers == nil {
		cfg.Openers = BuiltinOpeners()
	}
	b := &Broker{
		cfg: cfg,
		lim: limits{
			lag: or(cfg.Lag, 100*time.Millisecond), deadline: or(cfg.Deadline, 2*time.Second), backlog: or(cfg.Backlog, 16<<20),
			checkpointEntries: or(cfg.CheckpointEntries, 1024), checkpointInterval: or(cfg.CheckpointInterval, time.Minute),
		},
		changed: make(chan struct{}, 1),
		busy:    make(chan struct{}, 1),
		writers: map[string][]*device{},
	}
	if cfg.Signer != nil {
		pub, ok := cfg.Signer.Public().(ed25519.PublicKey)
		if !ok {
			return nil, errors.New("audit: the signing key must be an Ed25519 one")
		}
		b.keyID = KeyID(pub)
	}
	for _, d := range cfg.Declared {
		if err := b.checkDeclared(d); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// KeyID names a public key in checkpoints: the beginning of its hash.
func KeyID(pub ed25519.PublicKey) string {
	sum := sha256.Sum256(pub)
	return hex.EncodeToString(sum[:8])
}

// Log records r and returns when [Pending.Wait] does.
func (b *Broker) Log(ctx context.Context, r *Record) error { return b.Begin(r).Wait(ctx) }

// Begin encodes r for every device and queues it. Nothing of r is kept. The
// devices write when someone waits, or starts them.
func (b *Broker) Begin(r *Record) Pending {
	for {
		v := b.view.Load()
		if v != nil && len(v.devices) == 0 {
			return Pending{}
		}
		t := b.acquireTicket()
		taken := 0
		if v != nil {
			for _, d := range v.devices {
				e := d.fmt.acquire()
				e.entry(r, v.headers)
				if d.enqueue(e.buf, t) {
					taken++
				}
				d.fmt.release(e)
			}
		}
		if taken == 0 && v != b.view.Load() {
			b.recycle(t) // every device was disabled meanwhile: look again
			continue
		}
		t.report(false, false) // the caller's own hold
		return Pending{b: b, view: v, t: t, gen: t.gen, kind: r.Type}
	}
}

// kick wakes the devices, and the watchdog that looks after them.
func (b *Broker) kick(v *view) {
	if v == nil {
		return
	}
	for _, d := range v.devices {
		d.kick()
	}
	if !b.watching.Load() {
		select {
		case b.busy <- struct{}{}:
		default:
		}
	}
}

// Reopen makes every device open its target anew, after it was moved away by a
// tool that rotates logs.
func (b *Broker) Reopen() {
	if v := b.view.Load(); v != nil {
		for _, d := range v.devices {
			select {
			case d.reopen <- struct{}{}:
			default:
			}
		}
		b.kick(v)
	}
}

// Stats returns the present counts.
func (b *Broker) Stats() Stats {
	s := Stats{
		Requests: b.stats.requests.Load(), RequestFailures: b.stats.requestFailures.Load(),
		Responses: b.stats.responses.Load(), ResponseFailures: b.stats.responseFailures.Load(),
	}
	if v := b.view.Load(); v != nil {
		for _, d := range v.devices {
			s.Devices = append(s.Devices, d.stats.snapshot(d.row))
		}
	}
	return s
}

// Run writes until ctx ends, then ends every device in good order: what is
// pending is written, a closing checkpoint follows. A device that is hung is
// given up after the deadline.
func (b *Broker) Run(ctx context.Context) error {
	watchdog := make(chan struct{})
	end := make(chan struct{})
	go func() {
		defer close(watchdog)
		b.watch(end)
	}()
	for {
		b.startAndStop()
		select {
		case <-b.changed:
			continue
		case <-ctx.Done():
		}
		break
	}
	err := b.close()
	close(end)
	<-watchdog
	return err
}

// startAndStop starts the writers of new devices and stops those of removed
// ones. A target's new writer begins when its old one has ended.
func (b *Broker) startAndStop() {
	b.mu.Lock()
	fresh, retired := b.fresh, b.retired
	b.fresh, b.retired = nil, nil
	before := make([][]*device, len(fresh))
	for i, d := range fresh {
		key := d.target()
		before[i] = b.writers[key]
		b.writers[key] = append(b.writers[key][:len(before[i]):len(before[i])], d)
	}
	b.mu.Unlock()
	for _, d := range retired {
		close(d.stop)
	}
	for i, d := range fresh {
		go func() {
			for _, old := range before[i] {
				<-old.stopped
			}
			d.run()
			b.forget(d)
		}()
	}
}

// forget drops an ended writer from the list.
func (b *Broker) forget(d *device) {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := d.target()
	kept := make([]*device, 0, len(b.writers[key]))
	for _, w := range b.writers[key] {
		if w != d {
			kept = append(kept, w)
		}
	}
	b.writers[key] = kept
}

// close ends all devices.
func (b *Broker) close() error {
	b.mu.Lock()
	stop := b.unwatch
	b.unwatch = nil
	b.mu.Unlock()
	if stop != nil {
		stop()
	}
	b.mu.Lock()
	b.view.Store(nil)
	b.retired = append(b.retired, b.current...)
	b.current = nil
	b.mu.Unlock()
	b.startAndStop()
	b.mu.Lock()
	var left []*device
	for _, ds := range b.writers {
		left = append(left, ds...)
	}
	b.mu.Unlock()
	late := b.cfg.Clock.After(b.lim.deadline)
	for _, d := range left {
		select {
		case <-d.stopped:
		case <-late:
			for _, d := range left {
				d.abandon()
			}
			return fmt.Errorf("ending audit device %s: it is blocked", d.row.Path)
		}
	}
	return nil
}

// watch is the watchdog: while any device has something under way it looks
// whether one takes too long.
func (b *Broker) watch(end <-chan struct{}) {
	for {
		select {
		case <-b.busy:
		case <-end:
			return
		}
		b.watching.Store(true)
		for b.watching.Load() {
			select {
			case <-b.cfg.Clock.After(b.lim.lag / 2):
			case <-end:
				b.anyBusy()
				return
			}
			if !b.anyBusy() {
				b.watching.Store(false)
				// A kick between the look and the store went unseen.
				if b.anyBusy() {
					b.watching.Store(true)
				}
			}
		}
	}
}

func (b *Broker) anyBusy() bool {
	now := b.cfg.Clock.Now()
	busy := false
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, ds := range b.writers {
		for _, d := range ds {
			busy = d.watch(now) || busy
		}
	}
	return busy
}
