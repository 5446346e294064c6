package namespace

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"

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
	// Born writes what a new namespace has, in the transaction that makes it.
	Born func(tx store.Txn, ns store.NamespaceID) error
	// Free reports with an error that a mount stands in the way of a namespace
	// with a name.
	Free func(r store.Reader, parent store.NamespaceID, name string) error
	// End ends what was granted in a namespace that goes, in the systems behind
	// it too. It is repeated until it succeeds.
	End func(ctx context.Context, ns store.NamespaceID) error
	// Forget removes what other nouns keep about a namespace outside it, in the
	// transaction that removes the namespace.
	Forget func(tx store.Txn, ns store.NamespaceID) error
	// Visible reports whether a caller may do anything below a path of its
	// namespace, for listings that everybody may ask for.
	Visible func(ctx context.Context, c *route.Call, path string) bool
}

// Store is the noun.
type Store struct {
	Config
	root *Space
	stop func()
	wake chan struct{} // holds an item when there may be something to delete

	mu     sync.RWMutex
	spaces map[store.NamespaceID]*Space // guarded by mu: those that were looked up
	below  map[place]*Space             // guarded by mu: the same by place
	marks  uint64                       // guarded by mu: counts changes
}

// place is where a namespace is.
type place struct {
	parent store.NamespaceID
	name   string
}

// New opens the noun over an initialised store.
func New(c Config) *Store {
	s := &Store{Config: c, root: newSpace(nil, &Entry{ID: store.RootNamespace, UUID: Root.UUID}), wake: make(chan struct{}, 1)}
	s.clear()
	s.rouse()
	s.stop = c.Store.Watch(s.watch)
	return s
}

// Close ends the noun.
func (s *Store) Close() { s.stop() }

func (s *Store) clear() {
	s.spaces = map[store.NamespaceID]*Space{store.RootNamespace: s.root}
	s.below = map[place]*Space{}
	s.marks++
}

// rouse makes the worker look for deletions.
func (s *Store) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// watch follows the change feed.
func (s *Store) watch(c store.Commit) {
	if c.Reset {
		s.mu.Lock()
		s.clear()
		s.mu.Unlock()
		s.rouse()
		return
	}
	for i := range c.Changes {
		ch := &c.Changes[i]
		if ch.Key.Kind() == store.KindNamespace && ch.Key.Mount() == store.System {
			s.follow(ch)
		}
	}
}

// follow takes over the change of one row.
func (s *Store) follow(ch *store.Change) {
	parts, err := ch.Key.Parts()
	if err != nil || len(parts) != 2 {
		return // a child's row: its record is in the same commit
	}
	if parts[0] == ending {
		s.rouse()
		return
	}
	n, _ := store.ParseUint64Part(parts[1])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks++
	sp := s.spaces[store.NamespaceID(n)]
	if sp == nil {
		return // nobody has looked for it yet
	}
	var e Entry
	if ch.Value == nil {
		e = *sp.Entry()
		e.Tainted = true // for those who still hold it
		delete(s.spaces, e.ID)
		delete(s.below, place{e.Parent, e.Name})
	} else if err := json.Unmarshal(ch.Value, &e); err != nil {
		s.Log.Error("a stored namespace cannot be read; requests to it are refused", "namespace", n)
		e = *sp.Entry()
		e.Tainted = true
	}
	sp.set(&e)
}

// ErrMissing is the answer for a namespace that is not there.
var ErrMissing = fault.New(fault.NotFound, "namespace not found")

// ByID returns the namespace with a number; [ErrMissing] if there is none.
func (s *Store) ByID(ctx context.Context, id store.NamespaceID) (*Space, error) {
	for {
		s.mu.RLock()
		sp, mark := s.spaces[id], s.marks
		s.mu.RUnlock()
		if sp != nil {
			return sp, nil
		}
		sp, current, err := s.load(ctx, id, mark)
		if err != nil {
			return nil, err
		}
		if current {
			return sp, nil
		}
	}
}

// load reads a namespace into the tree, unless there has been a change since
// mark: then what was read may be of the past.
func (s *Store) load(ctx context.Context, id store.NamespaceID, mark uint64) (sp *Space, current bool, err error) {
	var e *Entry
	err = s.Store.View(ctx, func(r store.Reader) (err error) {
		e, err = get(r, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, false, ErrMissing
	}
	if err != nil {
		return nil, false, err
	}
	parent, err := s.ByID(ctx, e.Parent)
	if err != nil {
		return nil, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.marks != mark {
		return nil, false, nil
	}
	if sp = s.spaces[id]; sp == nil {
		sp = newSpace(parent, e)
		s.spaces[id] = sp
		s.below[place{e.Parent, e.Name}] = sp
	}
	return sp, true, nil
}

// Child returns the namespace with a name directly below another; [ErrMissing]
// if there is none.
func (s *Store) Child(ctx context.Context, parent store.NamespaceID, name string) (*Space, error) {
	s.mu.RLock()
	sp := s.below[place{parent, name}]
	s.mu.RUnlock()
	if sp != nil {
		return sp, nil
	}
	if checkName(name) != nil {
		return nil, ErrMissing
	}
	var id store.NamespaceID
	err := s.Store.View(ctx, func(r store.Reader) (err error) {
		id, err = child(r, parent, name)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrMissing
	}
	if err != nil {
		return nil, err
	}
	return s.ByID(ctx, id)
}

// At returns the namespace at a path, as a header names it: with or without a
// slash at either end; "" and "root" are the root. [ErrMissing] if there is
// none.
func (s *Store) At(ctx context.Context, path string) (*Space, error) {
	path = strings.Trim(path, "/")
	if path == Root.UUID {
		path = ""
	}
	return s.under(ctx, s.root, path)
}

// under returns the namespace at a path below another; "" is that one.
func (s *Store) under(ctx context.Context, sp *Space, path string) (*Space, error) {
	for path != "" {
		name, rest, _ := strings.Cut(path, "/")
		var err error
		if sp, err = s.Child(ctx, sp.ID, name); err != nil {
			return nil, err
		}
		path = rest
	}
	return sp, nil
}

// Ancestors returns the numbers of the namespaces above one, the nearest first.
func (s *Store) Ancestors(ctx context.Context, ns store.NamespaceID) ([]store.NamespaceID, error) {
	sp, err := s.ByID(ctx, ns)
	if err != nil {
		return nil, err
	}
	var ids []store.NamespaceID
	for sp = sp.parent; sp != nil; sp = sp.parent {
		ids = append(ids, sp.ID)
	}
	return ids, nil
}

// Above reports whether a namespace is above another, or the same.
func (s *Store) Above(ctx context.Context, ns, other store.NamespaceID) (bool, error) {
	sp, err := s.ByID(ctx, other)
	if errors.Is(err, ErrMissing) {
		return false, nil
	}
	for ; err == nil && sp != nil; sp = sp.parent {
		if sp.ID == ns {
			return true, nil
		}
	}
	return false, err
}

// Reach is how a token of one namespace stands to a request in another.
type Reach struct {
	// Home is the token's namespace.
	Home route.Namespace
	// Prefix is the path of the request's namespace as seen from there: what
	// stands before the request's path when the token's policies judge it.
	Prefix string
	// IDs are the numbers of the namespaces that Prefix names, from the top.
	IDs []store.NamespaceID
}

// Reach returns how a token of a namespace reaches another one. It is
// [ErrMissing] if one of them is gone, and ok is false if the request's lies
// neither in the token's nor below it.
func (s *Store) Reach(ctx context.Context, token, to store.NamespaceID) (r Reach, ok bool, err error) {
	home, err := s.ByID(ctx, token)
	if err != nil {
		return r, false, err
	}
	sp, err := s.ByID(ctx, to)
	if err != nil {
		return r, false, err
	}
	if home.Entry().Tainted {
		return r, false, ErrMissing
	}
	r.Home = home.Namespace
	if r.Prefix, ok = strings.CutPrefix(sp.Path, home.Path); !ok {
		return r, false, nil
	}
	for ; sp != home && sp.parent != nil; sp = sp.parent {
		r.IDs = append(r.IDs, sp.ID)
	}
	slices.Reverse(r.IDs)
	return r, true, nil
}
