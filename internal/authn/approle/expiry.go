package approle

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// The names of the mount's timers.
const (
	timerExpire = "expire" // the first secret id to expire
	timerSweep  = "sweep"  // secret ids of deleted roles
)

// batch is how many secret ids one transaction removes.
const batch = 256

// timePart encodes a time so that it sorts; the zero time is zero.
func timePart(t time.Time) string {
	if t.IsZero() {
		return store.Uint64Part(0)
	}
	return store.Uint64Part(uint64(t.UnixNano()))
}

func parseTimePart(part string) time.Time {
	n, ok := store.ParseUint64Part(part)
	if !ok || n == 0 {
		return time.Time{}
	}
	return time.Unix(0, int64(n)).UTC()
}

func (m *method) expiryKey(at time.Time, uid, hash string) store.Key {
	return m.storage.Key(kindExpiry, timePart(at), uid, hash)
}

// addExpiry enters a secret id in the index by time, and sets the timer if it
// is the first.
func (m *method) addExpiry(tx store.Txn, at time.Time, uid, hash string) error {
	first, err := m.firstExpiry(tx)
	if err != nil {
		return err
	}
	if err := tx.Put(m.expiryKey(at, uid, hash), nil); err != nil {
		return err
	}
	if first.IsZero() || at.Before(first) {
		return m.timers.Schedule(tx, timerExpire, at)
	}
	return nil
}

// firstExpiry is when the first secret id expires, zero if none does.
func (m *method) firstExpiry(r store.Reader) (time.Time, error) {
	rng := store.Under(m.storage.Key(kindExpiry))
	rng.Limit = 1
	for e, err := range r.Scan(rng) {
		if err != nil {
			return time.Time{}, err
		}
		parts, err := e.Key.Parts()
		if err != nil || len(parts) != 3 {
			return time.Time{}, errors.New("decoding a key of the expiry index: malformed")
		}
		return parseTimePart(parts[0]), nil
	}
	return time.Time{}, nil
}

// Fire implements [engine.TimerHandler].
func (m *method) Fire(ctx context.Context, name string) error {
	var step func(store.Txn) (more bool, err error)
	switch name {
	case timerExpire:
		step = m.expire
	case timerSweep:
		step = m.sweep
	default:
		return fmt.Errorf("unknown timer %q", name)
	}
	for {
		more := false
		err := m.storage.Update(ctx, func(tx store.Txn) (err error) {
			more, err = step(tx)
			return err
		})
		if err != nil || !more {
			return err
		}
	}
}

// expire removes secret ids whose time has come, and sets the timer for the
// next.
func (m *method) expire(tx store.Txn) (more bool, err error) {
	rng := store.Under(m.storage.Key(kindExpiry))
	rng.End = m.storage.Key(kindExpiry, timePart(m.clock.Now().Add(1)))
	rng.Limit = batch
	n := 0
	for e, err := range tx.Scan(rng) {
		if err != nil {
			return false, err
		}
		n++
		parts, err := e.Key.Parts()
		if err != nil || len(parts) != 3 {
			return false, errors.New("decoding a key of the expiry index: malformed")
		}
		if err := m.removeExpired(tx, e.Key, parts[1], parts[2]); err != nil {
			return false, err
		}
	}
	if n == batch {
		return true, nil
	}
	first, err := m.firstExpiry(tx)
	if err != nil || first.IsZero() {
		return false, err
	}
	return false, m.timers.Schedule(tx, timerExpire, first)
}

func (m *method) removeExpired(tx store.Txn, index store.Key, uid, hash string) error {
	s, err := store.GetJSON[secretID](tx, m.secretIDKey(uid, hash))
	if errors.Is(err, store.ErrNotFound) {
		return tx.Delete(index)
	}
	if err != nil {
		return err
	}
	return m.removeSecretID(tx, uid, hash, &s)
}

// drop marks the secret ids of a deleted role for removal. Nobody can log in
// with them any more: the role is gone.
func (m *method) drop(tx store.Txn, uid string) error {
	rng := store.Under(m.storage.Key(kindSecretID, uid))
	rng.Limit = 1
	for _, err := range tx.Scan(rng) {
		if err != nil {
			return err
		}
		if err := tx.Put(m.storage.Key(kindDropped, uid), nil); err != nil {
			return err
		}
		return m.timers.Schedule(tx, timerSweep, m.clock.Now())
	}
	return nil
}

// sweep removes a batch of secret ids of the first deleted role.
func (m *method) sweep(tx store.Txn) (more bool, err error) {
	uids, err := store.Children(tx, m.storage.Key(kindDropped), "", 1)
	if err != nil || len(uids) == 0 {
		return false, err
	}
	uid := uids[0]
	rng := store.Under(m.storage.Key(kindSecretID, uid))
	rng.Limit = batch
	n := 0
	for e, err := range tx.Scan(rng) {
		if err != nil {
			return false, err
		}
		n++
		s, err := store.GetJSON[secretID](tx, e.Key)
		if err != nil {
			return false, err
		}
		if err := m.removeSecretID(tx, uid, e.Key.Last(), &s); err != nil {
			return false, err
		}
	}
	if n == batch {
		return true, nil
	}
	return true, tx.Delete(m.storage.Key(kindDropped, uid))
}

// tidy does what the timers do anyway.
func (m *method) tidy(ctx context.Context, _ *route.Call, _ listRequest) (*route.Reply, error) {
	for _, timer := range []string{timerExpire, timerSweep} {
		if err := m.Fire(ctx, timer); err != nil {
			return nil, err
		}
	}
	return &route.Reply{Accepted: true, Warn: "Expired secret ids are removed when they expire: there is nothing to tidy."}, nil
}
