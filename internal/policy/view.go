package policy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// view holds the ACL policies of every namespace that was asked for. The
// change feed keeps it right: a policy is in force here before the Update that
// wrote it returns.
type view struct {
	store store.Store
	log   *slog.Logger
	acls  *aclCache
	// revision counts changes. It rises with mu held, before what was compiled
	// from older policies is dropped.
	revision atomic.Uint64

	mu     sync.RWMutex
	spaces map[store.NamespaceID]*space // guarded by mu
}

// space is one namespace's policies; view.mu guards it.
type space struct {
	loaded bool
	// policies has a nil for one that was deleted while the space was being
	// read, so that the reader does not bring it back.
	policies map[string]*stored
}

// stored is a policy's row with its text, parsed on first use.
type stored struct {
	row
	policy  func() (*Policy, error)
	damaged bool // row could not be read
}

func newView(s store.Store, log *slog.Logger, acls *aclCache) *view {
	return &view{store: s, log: log, acls: acls, spaces: map[store.NamespaceID]*space{}}
}

// decode reads a row. What is wrong with it shows when it is used: then every
// request that depends on it fails.
func (v *view) decode(key store.Key, value []byte) *stored {
	p := new(stored)
	name, err := key.Last(), json.Unmarshal(value, &p.row)
	if err == nil && p.Text == "" {
		// No write leaves an empty text behind, and a policy without rules
		// would drop its denials.
		err = errors.New("no text")
	}
	p.damaged = err != nil
	p.policy = sync.OnceValues(func() (*Policy, error) {
		if err != nil {
			return nil, v.unusable(key, errors.New("malformed row"))
		}
		parsed, _, err := Parse(name, p.Text)
		if err != nil {
			return nil, v.unusable(key, err)
		}
		parsed.seen = p.Seen
		return parsed, nil
	})
	return p
}

func (v *view) unusable(key store.Key, err error) error {
	v.log.Error("a stored policy cannot be used; requests of tokens that hold it are refused",
		"namespace", key.Namespace(), "policy", key.Last(), "error", err)
	// The cause's kind is the writer's fault, not the reader's: it is cut off.
	return fault.Wrap(fault.Internal, fmt.Errorf("reading policy %q: %s", key.Last(), err), "a policy of the token cannot be read")
}

// watch follows the change feed.
func (v *view) watch(c store.Commit) {
	if c.Reset {
		v.mu.Lock()
		clear(v.spaces) // read anew on use, where an error has somewhere to go
		v.revision.Add(1)
		v.mu.Unlock()
		v.acls.clear()
		return
	}
	for i := range c.Changes {
		k := c.Changes[i].Key
		if k.Kind() == store.KindPolicy && k.Mount() == store.System {
			v.change(k, c.Changes[i].Value)
		}
	}
}

func (v *view) change(key store.Key, value []byte) {
	ns, name := key.Namespace(), key.Last()
	v.mu.Lock()
	if sp := v.spaces[ns]; sp != nil {
		switch {
		case value != nil:
			sp.policies[name] = v.decode(key, value)
		case sp.loaded:
			delete(sp.policies, name)
		default:
			sp.policies[name] = nil
		}
	}
	v.revision.Add(1)
	v.mu.Unlock()
	v.acls.drop(ns, name)
}

// load reads a namespace's policies if that was not done yet.
func (v *view) load(ctx context.Context, ns store.NamespaceID) error {
	for {
		sp, loaded := v.space(ns)
		if loaded {
			return nil
		}
		read := map[string]*stored{}
		err := v.store.View(ctx, func(r store.Reader) error {
			clear(read)
			for e, err := range r.Scan(store.Under(store.NewKey(ns, store.System, store.KindPolicy))) {
				if err != nil {
					return err
				}
				read[e.Key.Last()] = v.decode(e.Key, e.Value)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if v.fill(ns, sp, read) {
			return nil
		}
	}
}

// space returns a namespace's space, making it so that the change feed finds
// it before it is read.
func (v *view) space(ns store.NamespaceID) (sp *space, loaded bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if sp = v.spaces[ns]; sp == nil {
		sp = &space{policies: map[string]*stored{}}
		v.spaces[ns] = sp
	}
	return sp, sp.loaded
}

// fill completes a space with what was read and not changed meanwhile. It
// reports false if a reset has thrown the space away.
func (v *view) fill(ns store.NamespaceID, sp *space, read map[string]*stored) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.spaces[ns] != sp {
		return false
	}
	if sp.loaded {
		return true
	}
	for name, p := range read {
		if _, changed := sp.policies[name]; !changed {
			sp.policies[name] = p
		}
	}
	for name, p := range sp.policies {
		if p == nil {
			delete(sp.policies, name)
		}
	}
	sp.loaded = true
	return true
}

// locked calls fn with a namespace's policies, read-locked, and returns the
// revision that they have.
func (v *view) locked(ctx context.Context, ns store.NamespaceID, fn func(map[string]*stored)) (revision uint64, err error) {
	for {
		if revision, ok := v.tryLocked(ns, fn); ok {
			return revision, nil
		}
		if err := v.load(ctx, ns); err != nil {
			return 0, err
		}
	}
}

func (v *view) tryLocked(ns store.NamespaceID, fn func(map[string]*stored)) (revision uint64, ok bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	sp := v.spaces[ns]
	if sp == nil || !sp.loaded {
		return 0, false
	}
	fn(sp.policies)
	return v.revision.Load(), true
}

// collect returns the named policies in the order of names, nil for those that
// are not there, all of one revision.
func (v *view) collect(ctx context.Context, ns store.NamespaceID, names []string) (found []*stored, revision uint64, err error) {
	found = make([]*stored, len(names))
	revision, err = v.locked(ctx, ns, func(policies map[string]*stored) {
		for i, name := range names {
			found[i] = policies[name]
		}
	})
	return found, revision, err
}

// get returns one policy, or an error that is [fault.NotFound].
func (v *view) get(ctx context.Context, ns store.NamespaceID, name string) (*stored, error) {
	found, _, err := v.collect(ctx, ns, []string{name})
	if err != nil {
		return nil, err
	}
	if found[0] == nil {
		return nil, errNotFound
	}
	return found[0], nil
}

// named is a policy with its name.
type named struct {
	name string
	*stored
}

// list returns a namespace's policies, sorted by name.
func (v *view) list(ctx context.Context, ns store.NamespaceID) ([]named, error) {
	var all []named
	_, err := v.locked(ctx, ns, func(policies map[string]*stored) {
		all = make([]named, 0, len(policies))
		for name, p := range policies {
			all = append(all, named{name, p})
		}
	})
	slices.SortFunc(all, func(a, b named) int { return strings.Compare(a.name, b.name) })
	return all, err
}

// expired returns the names of at most limit policies that have expired.
func (v *view) expired(ctx context.Context, ns store.NamespaceID, now time.Time, limit int) ([]string, error) {
	var names []string
	_, err := v.locked(ctx, ns, func(policies map[string]*stored) {
		for name, p := range policies {
			if len(names) < limit && p.row.expired(now) {
				names = append(names, name)
			}
		}
	})
	return names, err
}
