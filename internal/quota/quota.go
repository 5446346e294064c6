package quota

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Config is what a [Store] needs.
type Config struct {
	Store store.Store
	Clock clock.Clock
	Log   *slog.Logger
	// Place finds what a path means that is relative to a namespace: another
	// namespace, a mount, or a path below one. The error is safe for clients.
	Place func(ctx context.Context, ns route.Namespace, path string) (Place, error)
	// Mount returns the mount with an id.
	Mount func(id store.MountID) (route.Mount, bool)
	// TellsRole reports whether the logins of an auth method tell their role.
	TellsRole func(id store.MountID) bool
	// Leases returns the key above all leases of a path in whole segments; ""
	// is the namespace.
	Leases func(ns store.NamespaceID, path string) store.Key
}

// Store is the noun. Its methods are safe for concurrent use.
type Store struct {
	Config
	// rates and leases are nil without quotas of that type.
	rates  atomic.Pointer[Rates]
	leases atomic.Pointer[meters]
	config atomic.Pointer[settings]
	stop   func()

	mu       sync.Mutex
	rules    map[store.Key]*rule    // guarded by mu: all rows
	limiters map[store.Key]*limiter // guarded by mu: those in force
	counters map[store.Key]*meter   // guarded by mu: those in force
}

// New opens the noun.
func New(ctx context.Context, c Config) (*Store, error) {
	s := &Store{Config: c, rules: map[store.Key]*rule{}}
	d := defaultSettings()
	s.config.Store(&d)
	// Watching before reading: a change in between waits for the reading and
	// is then applied on top of it.
	s.stop = c.Store.Watch(s.watch)
	if err := s.load(ctx); err != nil {
		s.stop()
		return nil, fmt.Errorf("reading quotas: %w", err)
	}
	return s, nil
}

// Close ends the noun.
func (s *Store) Close() { s.stop() }

func (s *Store) load(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rules map[store.Key]*rule
	var conf settings
	err := s.Store.View(ctx, func(r store.Reader) (err error) {
		if conf, err = readSettings(r); err != nil {
			return err
		}
		rules = map[store.Key]*rule{}
		for e, err := range r.Scan(store.Under(allKey())) {
			if err != nil {
				return err
			}
			s.apply(rules, e.Key, e.Value)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.config.Store(&conf)
	s.rules, s.counters = rules, nil // what was counted belongs to another state
	s.buildLocked()
	return nil
}

func readSettings(r store.Reader) (settings, error) {
	c, err := store.GetJSON[settings](r, settingsKey())
	if errors.Is(err, store.ErrNotFound) {
		return defaultSettings(), nil
	}
	return c, err
}

// watch follows the change feed.
func (s *Store) watch(c store.Commit) {
	if c.Reset {
		// No request's context gets here, and the read is from this node.
		if err := s.load(context.Background()); err != nil {
			s.Log.Error("quotas cannot be read; those before stay in force", "error", err)
		}
		return
	}
	rebuild := false
	counted := s.leases.Load()
	for i := range c.Changes {
		ch := &c.Changes[i]
		if ch.Key.Mount() != store.System {
			continue
		}
		switch ch.Key.Kind() {
		case store.KindLease:
			counted.note(ch)
		case store.KindQuota:
			s.mu.Lock()
			s.apply(s.rules, ch.Key, ch.Value)
			s.mu.Unlock()
			rebuild = true
		case store.KindConfig:
			if ch.Key == settingsKey() {
				s.reconfigure(ch.Value)
				rebuild = true
			}
		case store.KindMount:
			rebuild = true // a mount may have moved, and its leases with it
		}
	}
	if rebuild {
		s.mu.Lock()
		s.buildLocked()
		s.mu.Unlock()
	}
}

func (s *Store) reconfigure(value []byte) {
	c := defaultSettings()
	if value != nil {
		if err := json.Unmarshal(value, &c); err != nil {
			s.Log.Error("the settings of quotas cannot be read; those before stay in force")
			return
		}
	}
	s.config.Store(&c)
}

// apply takes a row into rules; a nil value is its removal.
func (s *Store) apply(rules map[store.Key]*rule, key store.Key, value []byte) {
	if value == nil {
		delete(rules, key)
		return
	}
	r := new(rule)
	if err := json.Unmarshal(value, r); err != nil {
		s.Log.Error("a stored quota cannot be read and is not in force", "quota", key.Last())
		delete(rules, key)
		return
	}
	rules[key] = r
}

// buildLocked puts the rules into force. A quota that has not changed keeps its
// buckets and its count.
func (s *Store) buildLocked() {
	limiters, counters := map[store.Key]*limiter{}, map[store.Key]*meter{}
	rates, leases := forest[limiter]{}, &meters{forest: forest[meter]{}, byNamespace: map[store.NamespaceID][]*meter{}}
	for key, r := range s.rules {
		kind, _, ok := parseKey(key)
		switch {
		case ok && kind == rateLimit && r.Rate > 0:
			l := s.limiters[key]
			if l == nil || l.rule != *r {
				l = newLimiter(r)
			}
			limiters[key] = l
			rates.add(r.Owner, r.Place, l)
		case ok && kind == leaseCount:
			m := s.meterFor(key, r)
			counters[key] = m
			leases.add(r, m)
		}
	}
	for _, t := range rates {
		for _, b := range t.mounts {
			b.admission = admission(t, b)
		}
	}
	s.limiters, s.counters = limiters, counters
	if len(counters) == 0 {
		leases = nil
	}
	s.leases.Store(leases)
	var inForce *Rates
	if len(limiters) > 0 {
		inForce = &Rates{forest: rates, config: s.config.Load()}
	}
	s.rates.Store(inForce)
}

// ForgetMount removes the quotas of a mount that goes, in the transaction that
// removes it.
func ForgetMount(tx store.Txn, id store.MountID) error {
	return forget(tx, func(_ store.Key, r *rule) bool { return r.Place.Mount == id })
}

// ForgetNamespace removes the quotas of a namespace that goes: those on it and
// those that it has written.
func ForgetNamespace(tx store.Txn, ns store.NamespaceID) error {
	return forget(tx, func(k store.Key, r *rule) bool {
		kind, name, _ := parseKey(k)
		return r.Place.NS == ns || k == ruleKey(kind, ns, name)
	})
}

func forget(tx store.Txn, goes func(store.Key, *rule) bool) error {
	var found []store.Key
	for e, err := range tx.Scan(store.Under(allKey())) {
		if err != nil {
			return err
		}
		var r rule
		if err := json.Unmarshal(e.Value, &r); err != nil {
			return errors.New("decoding a quota: malformed")
		}
		if goes(e.Key, &r) {
			found = append(found, e.Key)
		}
	}
	for _, key := range found {
		if err := tx.Delete(key); err != nil {
			return err
		}
	}
	return nil
}
