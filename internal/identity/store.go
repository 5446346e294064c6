package identity

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Config is what a [Store] needs.
type Config struct {
	Store store.Store
	Clock clock.Clock
	Rand  io.Reader
	Log   *slog.Logger
	// Above returns the namespaces above one, the nearest first. Nil is none.
	Above func(ctx context.Context, ns store.NamespaceID) ([]store.NamespaceID, error)
	// Elsewhere calls fn with the numbers of all namespaces until it returns
	// false. Nil is none.
	Elsewhere func(r store.Reader, fn func(store.NamespaceID) bool) error
	// Mount finds a namespace's mount by its accessor.
	Mount func(ns store.NamespaceID, accessor string) (route.Mount, error)
}

// Store is the identity noun.
type Store struct {
	Config
	cache *cache
	stop  func()
}

// New opens the noun over an initialised store.
func New(c Config) *Store {
	s := &Store{Config: c, cache: newCache()}
	s.stop = c.Store.Watch(s.cache.watch)
	return s
}

// Close ends the noun.
func (s *Store) Close() { s.stop() }

// view is one namespace's rows in a snapshot or transaction.
type view struct {
	r  store.Reader
	ns store.NamespaceID
}

// in returns the rows of another namespace.
func (v view) in(ns store.NamespaceID) view { return view{v.r, ns} }

// edit is one namespace's rows in a transaction.
type edit struct {
	view
	tx store.Txn
	// above are the namespaces above this one, of which there may be members in
	// this one's groups. They are known only where members are set.
	above []store.NamespaceID
	now   time.Time
	rand  io.Reader
}

func (s *Store) read(ctx context.Context, ns store.NamespaceID, fn func(view) error) error {
	return s.Store.View(ctx, func(r store.Reader) error { return fn(view{r, ns}) })
}

func (s *Store) edit(tx store.Txn, ns store.NamespaceID) edit {
	return edit{view: view{tx, ns}, tx: tx, now: s.Clock.Now(), rand: s.Rand}
}

// in returns the rows of another namespace, in the same transaction.
func (e edit) in(ns store.NamespaceID) edit {
	e.view = e.view.in(ns)
	return e
}

func (s *Store) change(ctx context.Context, ns store.NamespaceID, fn func(edit) error) error {
	_, err := s.Store.Update(ctx, func(tx store.Txn) error { return fn(s.edit(tx, ns)) })
	return err
}

// authMount returns the auth mount of an accessor that a request names.
func (s *Store) authMount(c *route.Call, accessor string) (route.Mount, error) {
	if accessor == "" {
		return route.Mount{}, fault.New(fault.Invalid, `missing "mount_accessor"`)
	}
	m, err := s.Mount(c.Namespace.ID, accessor)
	if err != nil || !m.Auth {
		return route.Mount{}, fault.Newf(fault.Invalid, "invalid mount accessor %q: there is no such auth mount", clip(accessor))
	}
	return m, nil
}

// fold brings the names that count as one to one spelling: ASCII letters in
// lower case. Other letters stay, since their foldings would let look-alikes in.
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name)
}
