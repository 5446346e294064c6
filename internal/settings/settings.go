// Package settings is the noun of the cluster's small settings below sys/: what
// pages of other origins may do (config/cors), response headers of the web
// interface (config/ui/headers), the versions that the cluster has run
// (version-history), and this node's configuration without secrets.
//
// Settings live in the store, a row each. What every request needs of them is a
// view in memory, fed by the store's change feed, so that a change is in force
// on a node before the write that made it returns there.
package settings

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/store"
)

// Config is what a [Store] needs.
type Config struct {
	Store store.Store
	Clock clock.Clock
	Log   *slog.Logger
	// Sanitized describes this node's configuration without secrets. It is
	// encoded as JSON.
	Sanitized func() map[string]any
	// Reload are the parts of the configuration that config/reload reads anew,
	// by subsystem.
	Reload map[string]func(ctx context.Context) error
}

// Store is the noun.
type Store struct {
	Config
	mu   sync.Mutex // serialises changes of view
	view atomic.Pointer[view]
	stop func()
}

// view is the settings that requests need. It is immutable.
type view struct {
	cors    CORS
	headers map[string][]string
}

// New opens the noun.
func New(ctx context.Context, c Config) (*Store, error) {
	s := &Store{Config: c}
	s.view.Store(&view{})
	// Watching before reading: a change in between waits for the reading and
	// is then applied on top of it.
	s.stop = c.Store.Watch(s.watch)
	if err := s.load(ctx); err != nil {
		s.stop()
		return nil, fmt.Errorf("reading settings: %w", err)
	}
	return s, nil
}

// Close ends the noun.
func (s *Store) Close() { s.stop() }

// CORS returns what pages of other origins may do. Its slices are shared and
// not to be changed.
func (s *Store) CORS() CORS { return s.view.Load().cors }

// UIHeaders returns the response headers of the web interface, by canonical
// name. The map is shared and not to be changed.
func (s *Store) UIHeaders() map[string][]string { return s.view.Load().headers }

// The settings' names among the rows of [store.KindConfig].
const (
	corsName     = "cors"
	uiHeaderName = "ui-header"
)

func configKey(parts ...string) store.Key {
	return store.NewKey(store.RootNamespace, store.System, store.KindConfig, parts...)
}

func (s *Store) load(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var v *view
	err := s.Store.View(ctx, func(r store.Reader) error {
		v = &view{headers: map[string][]string{}}
		for _, name := range []string{corsName, uiHeaderName} {
			for e, err := range r.Scan(store.Under(configKey(name))) {
				if err != nil {
					return err
				}
				s.apply(v, e.Key, e.Value)
			}
		}
		return nil
	})
	if err == nil {
		s.view.Store(v)
	}
	return err
}

// watch follows the change feed.
func (s *Store) watch(c store.Commit) {
	if c.Reset {
		// No request's context gets here, and the read is from this node.
		if err := s.load(context.Background()); err != nil {
			s.Log.Error("settings cannot be read; those in force are the defaults", "error", err)
			s.view.Store(&view{}) // what is not known is not allowed
		}
		return
	}
	for i := range c.Changes {
		k := c.Changes[i].Key
		if k.Kind() == store.KindConfig && k.Mount() == store.System && k.Namespace() == store.RootNamespace {
			s.change(k, c.Changes[i].Value)
		}
	}
}

func (s *Store) change(key store.Key, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.view.Load()
	v := &view{cors: old.cors, headers: maps.Clone(old.headers)}
	if v.headers == nil {
		v.headers = map[string][]string{}
	}
	s.apply(v, key, value)
	s.view.Store(v)
}

// apply takes a row into a view; a nil value is its removal. A row that cannot
// be read counts as removed: both settings only ever allow something.
func (s *Store) apply(v *view, key store.Key, value []byte) {
	parts, err := key.Parts()
	if err != nil || len(parts) == 0 {
		return
	}
	switch {
	case parts[0] == corsName && len(parts) == 1:
		var row CORS
		s.decode(key, value, &row)
		v.cors = row
	case parts[0] == uiHeaderName && len(parts) == 2:
		var row headerRow
		s.decode(key, value, &row)
		if delete(v.headers, parts[1]); len(row.Values) > 0 {
			v.headers[parts[1]] = row.Values
		}
	}
}

// decode leaves dst zero if there is no value or it is malformed.
func (s *Store) decode(key store.Key, value []byte, dst any) {
	if value == nil {
		return
	}
	if err := json.Unmarshal(value, dst); err != nil {
		s.Log.Error("a stored setting cannot be read and counts as not set", "setting", key.Last())
	}
}
