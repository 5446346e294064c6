package barrier

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// persistStep is how many encryptions are counted in memory before
// [Barrier.CheckRotation] writes the count down.
const persistStep = 1 << 16

// ring is the keyring as a running barrier holds it. It is replaced, never
// changed, but for the counters in its ciphers.
type ring struct {
	root        Key
	revision    uint64
	rotation    RotationConfig
	ciphers     map[uint32]*termCipher
	newest      *termCipher
	installed   time.Time // of newest
	encryptions uint64    // of newest, as stored
}

// newRing expands k's keys, keeping the ciphers (and their counters) of old.
func newRing(k *keyring, root Key, old *ring) (*ring, error) {
	r := &ring{
		root:        root,
		revision:    k.revision,
		rotation:    k.rotation,
		ciphers:     make(map[uint32]*termCipher, len(k.keys)),
		installed:   k.newest().installed,
		encryptions: k.newest().encryptions,
	}
	for _, d := range k.keys {
		g, err := newGCM(d.key)
		if err != nil {
			return nil, err
		}
		c := &termCipher{term: d.term, gcm: g}
		if prev := old.ciphers[d.term]; prev != nil {
			c = prev
		}
		r.ciphers[d.term] = c
	}
	r.newest = r.ciphers[k.newest().term]
	return r, nil
}

// reload reads the keyring as it is stored now, whatever its revision.
func (b *Barrier) reload(ctx context.Context) error {
	return b.inner.View(ctx, func(r store.Reader) error {
		row, err := r.Get(keyringKey())
		if err != nil {
			return err
		}
		return b.install(row, true)
	})
}

// follow installs the keyring that a commit brings, if it does.
func (b *Barrier) follow(c store.Commit) error {
	if b.ring.Load() == nil {
		return nil
	}
	if c.Reset {
		// A watcher has no context of its own and must not be cut short.
		return b.reload(context.Background())
	}
	for _, ch := range c.Changes {
		if ch.Key != keyringKey() {
			continue
		}
		if ch.Value == nil {
			return errors.New("the keyring was removed from the store")
		}
		return b.install(ch.Value, false)
	}
	return nil
}

// install makes the keyring in row the current one. Unless any revision will do,
// an older or equal one changes nothing.
func (b *Barrier) install(row []byte, anyRevision bool) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	old := b.ring.Load()
	if old == nil {
		return ErrSealed
	}
	k, root, err := b.openRow(row, old)
	if err != nil {
		return err
	}
	defer k.zero()
	if !anyRevision && k.revision <= old.revision {
		if k.revision < old.revision {
			b.cfg.Logger.Error("ignoring an older keyring", "revision", k.revision, "current", old.revision)
		}
		return nil
	}
	next, err := newRing(k, root, old)
	if err != nil {
		return err
	}
	b.ring.Store(next)
	if root != old.root {
		old.root.Zero()
	}
	if old.newest != nil && next.newest != old.newest {
		b.cfg.Logger.Info("data key changed", "term", next.newest.term)
	}
	return nil
}

// openRow opens row with the known root key, else with the one handed over.
func (b *Barrier) openRow(row []byte, old *ring) (*keyring, Key, error) {
	k, err := openKeyring(row, old.root, b.cfg.ClusterID)
	if err == nil {
		return k, old.root, nil
	}
	root, err := openHandover(row, old.ciphers, b.cfg.ClusterID)
	if err != nil {
		return nil, Key{}, err
	}
	if k, err = openKeyring(row, root, b.cfg.ClusterID); err != nil {
		root.Zero()
		return nil, Key{}, err
	}
	return k, root, nil
}

// lateCipher finds the cipher of a term that the change feed has not brought
// yet, in the keyring of the snapshot the value came from.
func (b *Barrier) lateCipher(snapshot store.Reader, term uint32) (*termCipher, error) {
	row, err := snapshot.Get(keyringKey())
	if err != nil {
		return nil, ErrUnreadable
	}
	if err := b.install(row, false); err != nil {
		return nil, err
	}
	if r := b.ring.Load(); r != nil {
		return r.ciphers[term], nil
	}
	return nil, ErrSealed
}

// lose gives up: without the keyring nothing may be read or written.
func (b *Barrier) lose(cause error) {
	b.mu.Lock()
	old := b.ring.Swap(nil)
	if old != nil {
		old.root.Zero()
	}
	b.mu.Unlock()
	if old == nil {
		return
	}
	b.cfg.Logger.Error("keyring lost, sealing", "error", cause)
	if b.cfg.Lost != nil {
		b.cfg.Lost(cause)
	}
}

// hold returns the ring with a root key of the caller's own, which no change of
// the ring can clear while the caller seals with it.
func (b *Barrier) hold() (*ring, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.ring.Load()
	if r == nil {
		return nil, ErrSealed
	}
	held := *r
	held.root = r.root.Clone()
	return &held, nil
}

// rewrite reads the keyring, lets change alter it and stores it, in one
// transaction with also (which may be nil). The counts of encryptions so far go
// with it. A zero root keeps the root key that is.
func (b *Barrier) rewrite(ctx context.Context, root Key, change func(*keyring) error, also func(raw, sealed store.Txn) error) error {
	b.writing.Lock()
	defer b.writing.Unlock()
	return b.rewriteLocked(ctx, root, change, also)
}

// rewriteLocked is rewrite for callers that hold writing.
func (b *Barrier) rewriteLocked(ctx context.Context, root Key, change func(*keyring) error, also func(raw, sealed store.Txn) error) error {
	flushed := make(map[*termCipher]uint64)
	_, err := b.inner.Update(ctx, func(t store.Txn) error {
		clear(flushed)
		old, err := b.hold()
		if err != nil {
			return err
		}
		defer old.root.Zero()
		row, err := t.Get(keyringKey())
		if err != nil {
			return err
		}
		k, current, err := b.openRow(row, old)
		if err != nil {
			return err
		}
		defer k.zero()
		defer current.Zero()
		for i := range k.keys {
			if c := old.ciphers[k.keys[i].term]; c != nil {
				n := c.pending.Load()
				k.keys[i].encryptions += n
				flushed[c] = n
			}
		}
		k.revision++
		if err := change(k); err != nil {
			return err
		}
		under := current
		if !root.IsZero() {
			under = root
		}
		if row, err = sealKeyring(k, under, b.cfg.ClusterID, b.cfg.Rand); err != nil {
			return err
		}
		if err := t.Put(keyringKey(), row); err != nil || also == nil {
			return err
		}
		return also(t, b.over(t))
	})
	if err != nil {
		return fmt.Errorf("rewriting keyring: %w", err)
	}
	for c, n := range flushed {
		c.pending.Add(-n)
	}
	return nil
}

// Rotate installs a new data key for everything written from now on.
func (b *Barrier) Rotate(ctx context.Context) error {
	return b.rewrite(ctx, Key{}, func(k *keyring) error { return k.rotate(b.cfg.Clock.Now(), b.cfg.Rand) }, nil)
}

// RotateRoot seals the keyring with another root key. In the same transaction
// also stores what goes with it: raw is the store below the barrier, where the
// seal keeps its rows, sealed the barrier's view of it.
func (b *Barrier) RotateRoot(ctx context.Context, root Key, also func(raw, sealed store.Txn) error) error {
	if root.IsZero() {
		return errors.New("rotating root key: no key")
	}
	return b.rewrite(ctx, root, func(*keyring) error { return nil }, also)
}

// Persist stores the counts of encryptions, unless another change of the
// keyring is under way, which does it as well. It is called before sealing.
func (b *Barrier) Persist(ctx context.Context) error {
	if r := b.ring.Load(); r == nil || r.newest.pending.Load() == 0 {
		return nil
	}
	if !b.writing.TryLock() {
		return nil
	}
	defer b.writing.Unlock()
	return b.rewriteLocked(ctx, Key{}, func(*keyring) error { return nil }, nil)
}

// CheckRotation installs a new data key if the rotation settings ask for one
// and reports whether it did; else it stores the count of encryptions if that
// has grown much. The node that may write calls it every few minutes.
func (b *Barrier) CheckRotation(ctx context.Context) (rotated bool, err error) {
	r := b.ring.Load()
	if r == nil {
		return false, ErrSealed
	}
	status, c := r.status(), r.rotation
	age := b.cfg.Clock.Now().Sub(status.InstallTime)
	if c.Enabled && (status.Encryptions >= c.MaxOperations || c.Interval > 0 && age >= c.Interval) {
		b.cfg.Logger.Info("rotating the data key", "term", status.Term, "encryptions", status.Encryptions, "age", age)
		return true, b.Rotate(ctx)
	}
	if r.newest.pending.Load() >= persistStep {
		return false, b.Persist(ctx)
	}
	return false, nil
}

func (r *ring) status() KeyStatus {
	return KeyStatus{Term: r.newest.term, InstallTime: r.installed, Encryptions: r.encryptions + r.newest.pending.Load()}
}

// KeyStatus describes the data key that encrypts now.
func (b *Barrier) KeyStatus() (KeyStatus, error) {
	r := b.ring.Load()
	if r == nil {
		return KeyStatus{}, ErrSealed
	}
	return r.status(), nil
}

// RotationConfig returns the rotation settings.
func (b *Barrier) RotationConfig() (RotationConfig, error) {
	r := b.ring.Load()
	if r == nil {
		return RotationConfig{}, ErrSealed
	}
	return r.rotation, nil
}

// ConfigureRotation changes the rotation settings.
func (b *Barrier) ConfigureRotation(ctx context.Context, c RotationConfig) error {
	if err := c.Validate(); err != nil {
		return err
	}
	return b.rewrite(ctx, Key{}, func(k *keyring) error { k.rotation = c; return nil }, nil)
}

// VerifyRoot reports, in constant time, whether root is the root key in use.
func (b *Barrier) VerifyRoot(root Key) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.ring.Load()
	if r == nil {
		return ErrSealed
	}
	if !r.root.Equal(root) {
		return fault.New(fault.Invalid, "root key does not match")
	}
	return nil
}

// CheckKeyring reports whether the keyring in a stored row opens with root in a
// cluster; the error is [ErrUnreadable] if it does not.
func CheckKeyring(row []byte, root Key, clusterID string) error {
	k, err := openKeyring(row, root, clusterID)
	if err != nil {
		return err
	}
	k.zero()
	return nil
}
