package barrier

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// ErrSealed is the error of every call on a barrier that was closed or has lost
// its keyring. To the storage contract it is also [fault.Unavailable].
var ErrSealed = fault.Wrap(fault.Sealed, fault.Unavailable, "Vault is sealed")

// Config is what a barrier needs besides the store and the root key. Zero
// fields stand for the machine's clock and randomness and for no logging.
type Config struct {
	// ClusterID binds every sealed value to its cluster.
	ClusterID string
	Clock     clock.Clock
	Rand      io.Reader
	Logger    *slog.Logger
	// Lost, if set, is called once if the barrier can no longer follow the
	// keyring: a snapshot brought one that neither the root key nor a data
	// key opens. The barrier answers [ErrSealed] from then on. Lost must not
	// call the store's Update.
	Lost func(error)
}

func (c Config) withDefaults() Config {
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Rand == nil {
		c.Rand = rand.Reader
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// Barrier is a [store.Store] that seals values on their way into another one.
type Barrier struct {
	inner  store.Store
	cfg    Config
	prefix []byte    // associated data common to all values
	adPool sync.Pool // of *[]byte

	ring atomic.Pointer[ring] // nil once closed or lost
	stop func()               // ends the watch on inner

	mu       sync.Mutex // guards replacing ring and watchers
	watchers atomic.Pointer[[]*watcher]
	writing  sync.Mutex // held by the one writer of the keyring row on this node
}

type watcher struct{ fn store.Watcher }

var _ store.Store = (*Barrier)(nil)

// Create writes the first keyring, sealed with root, within txn of the store
// that is to lie below the barrier.
func Create(txn store.Txn, root Key, cfg Config) error {
	cfg = cfg.withDefaults()
	k, err := newKeyring(cfg.Clock.Now(), cfg.Rand)
	if err != nil {
		return err
	}
	defer k.zero()
	row, err := sealKeyring(k, root, cfg.ClusterID, cfg.Rand)
	if err != nil {
		return err
	}
	return txn.Put(keyringKey(), row)
}

// Open returns the barrier over inner whose keyring root opens; with another
// key the error is [ErrUnreadable]. It keeps its own copy of root. Closing the
// barrier does not close inner.
func Open(ctx context.Context, inner store.Store, root Key, cfg Config) (*Barrier, error) {
	cfg = cfg.withDefaults()
	b := &Barrier{inner: inner, cfg: cfg, prefix: entryPrefix(cfg.ClusterID)}
	b.adPool.New = func() any { return new([]byte) }
	b.watchers.Store(new([]*watcher))
	b.ring.Store(&ring{root: root.Clone()})
	// Watching before reading: a change in between is then seen twice, which
	// the revision makes harmless, and never missed.
	b.stop = inner.Watch(b.committed)
	if err := b.reload(ctx); err != nil {
		_ = b.Close()
		return nil, fmt.Errorf("opening keyring: %w", err)
	}
	return b, nil
}

// View implements [store.Store].
func (b *Barrier) View(ctx context.Context, fn func(store.Reader) error) error {
	if b.ring.Load() == nil {
		return ErrSealed
	}
	return b.inner.View(ctx, func(r store.Reader) error { return fn(&reader{b, r}) })
}

// Update implements [store.Store].
func (b *Barrier) Update(ctx context.Context, fn func(store.Txn) error) (store.Index, error) {
	if b.ring.Load() == nil {
		return 0, ErrSealed
	}
	return b.inner.Update(ctx, func(t store.Txn) error { return fn(b.over(t)) })
}

func (b *Barrier) over(t store.Txn) store.Txn { return &txn{reader{b, t}, t} }

// Watch implements [store.Store]. Values are opened once per commit, whatever
// the number of watchers, and not at all without any. A commit with a value
// that does not open is handed on as a reset, so that views are read anew and
// meet the error where it can be returned.
func (b *Barrier) Watch(w store.Watcher) (stop func()) {
	entry := &watcher{w}
	b.mu.Lock()
	defer b.mu.Unlock()
	next := append(slices.Clone(*b.watchers.Load()), entry)
	b.watchers.Store(&next)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		rest := slices.DeleteFunc(slices.Clone(*b.watchers.Load()), func(o *watcher) bool { return o == entry })
		b.watchers.Store(&rest)
	}
}

// Close ends the barrier and clears its root key. The store below stays open.
func (b *Barrier) Close() error {
	b.stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	if old := b.ring.Swap(nil); old != nil {
		old.root.Zero()
	}
	return nil
}

// committed follows the keyring and passes the commit on, opened.
func (b *Barrier) committed(c store.Commit) {
	if err := b.follow(c); err != nil {
		b.lose(err)
	}
	watchers := *b.watchers.Load()
	if len(watchers) == 0 {
		return
	}
	opened := b.openCommit(c)
	if !opened.Reset && len(opened.Changes) == 0 && len(c.Changes) > 0 {
		return // only rows that do not pass the barrier
	}
	for _, w := range watchers {
		w.fn(opened)
	}
}

func (b *Barrier) openCommit(c store.Commit) store.Commit {
	out := store.Commit{Index: c.Index, Reset: c.Reset}
	if c.Reset {
		return out
	}
	out.Changes = make([]store.Change, 0, len(c.Changes))
	for _, ch := range c.Changes {
		if bypasses(ch.Key) {
			continue
		}
		if ch.Value != nil {
			value, err := b.open(nil, ch.Key, ch.Value)
			if err != nil {
				b.cfg.Logger.Error("opening a committed change", "index", c.Index, "kind", ch.Key.Kind(), "error", err)
				return store.Commit{Index: c.Index, Reset: true}
			}
			ch.Value = value
		}
		out.Changes = append(out.Changes, ch)
	}
	return out
}

// bypasses reports whether the row at key is one that is needed to open the
// barrier and so cannot lie behind it.
func bypasses(key store.Key) bool {
	if key.Mount() != store.System {
		return false
	}
	switch key.Kind() {
	case store.KindSealConfig, store.KindKeyring, store.KindClusterInfo:
		return true
	}
	return false
}

var errBypass = errors.New("a row of the seal was asked of the barrier")

// seal returns value sealed for key under the newest data key.
func (b *Barrier) seal(key store.Key, value []byte) ([]byte, error) {
	r := b.ring.Load()
	if r == nil {
		return nil, ErrSealed
	}
	if len(value) > store.MaxValue-Overhead {
		return nil, fault.Newf(fault.TooLarge, "value is larger than %d bytes", store.MaxValue-Overhead)
	}
	ad := b.adPool.Get().(*[]byte)
	defer b.adPool.Put(ad)
	*ad = appendAD((*ad)[:0], b.prefix, string(key), r.newest.term)
	return r.newest.sealEntry(make([]byte, 0, len(value)+Overhead), value, *ad, b.cfg.Rand)
}

// open returns what seal sealed. If the value's term is not known yet, because
// a snapshot ran ahead of the change feed, the keyring is read from snapshot.
func (b *Barrier) open(snapshot store.Reader, key store.Key, sealed []byte) ([]byte, error) {
	r := b.ring.Load()
	if r == nil {
		return nil, ErrSealed
	}
	term, err := entryTerm(sealed)
	if err != nil {
		return nil, err
	}
	c := r.ciphers[term]
	if c == nil && snapshot != nil {
		if c, err = b.lateCipher(snapshot, term); err != nil {
			return nil, err
		}
	}
	if c == nil {
		return nil, ErrUnreadable
	}
	ad := b.adPool.Get().(*[]byte)
	defer b.adPool.Put(ad)
	*ad = appendAD((*ad)[:0], b.prefix, string(key), term)
	// Never nil, also for the empty value: nil means a removed row.
	return c.gcm.open(make([]byte, 0, len(sealed)-Overhead), sealed[headerLen:], *ad)
}

// reader opens what it reads.
type reader struct {
	b     *Barrier
	inner store.Reader
}

// Get implements [store.Reader].
func (r *reader) Get(key store.Key) ([]byte, error) {
	if bypasses(key) {
		return nil, errBypass
	}
	sealed, err := r.inner.Get(key)
	if err != nil {
		return nil, err
	}
	return r.b.open(r.inner, key, sealed)
}

// Scan implements [store.Reader].
func (r *reader) Scan(rng store.Range) iter.Seq2[store.Entry, error] {
	limit := rng.Limit
	if !mayBypass(rng) {
		limit = 0 // the store below counts
	} else {
		rng.Limit = 0 // skipped rows must not count
	}
	return func(yield func(store.Entry, error) bool) {
		n := 0
		for e, err := range r.inner.Scan(rng) {
			if err == nil && bypasses(e.Key) {
				continue
			}
			if err == nil {
				e.Value, err = r.b.open(r.inner, e.Key, e.Value)
			}
			if err != nil {
				yield(store.Entry{}, err)
				return
			}
			if !yield(e, nil) {
				return
			}
			if n++; n == limit {
				return
			}
		}
	}
}

// mayBypass reports whether r may hold a row that bypasses the barrier. Within
// one namespace and mount the bounds tell; wider ranges may.
func mayBypass(r store.Range) bool {
	if r.Start.Mount() != store.System {
		return r.End == "" || r.End.Namespace() != r.Start.Namespace()
	}
	return r.Start.Kind() <= store.KindClusterInfo || r.End == "" || r.End.Namespace() != r.Start.Namespace()
}

// txn seals what it writes.
type txn struct {
	reader
	inner store.Txn
}

// Put implements [store.Txn].
func (t *txn) Put(key store.Key, value []byte) error {
	if bypasses(key) {
		return errBypass
	}
	sealed, err := t.b.seal(key, value)
	if err != nil {
		return err
	}
	return t.inner.Put(key, sealed)
}

// Delete implements [store.Txn].
func (t *txn) Delete(key store.Key) error {
	if bypasses(key) {
		return errBypass
	}
	return t.inner.Delete(key)
}
