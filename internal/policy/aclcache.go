package policy

import (
	"hash/maphash"
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/store"
)

// Identity is whom templated policies are rendered for. It is immutable.
type Identity struct {
	// ID and Revision together name this state of the identity: when a value
	// changes, so must one of them.
	ID       string
	Revision uint64
	// Value returns what a template such as "identity.entity.name" stands for,
	// and false if the identity has none. It must be safe for concurrent use.
	Value func(name string) (string, bool)
}

// value is safe to call on nil, which has no values.
func (i *Identity) value(name string) (string, bool) {
	if i == nil || i.Value == nil {
		return "", false
	}
	return i.Value(name)
}

// identityKey is what tells one identity from another. The zero key is none.
type identityKey struct {
	id       string
	revision uint64
	some     bool
}

func (i *Identity) key() identityKey {
	if i == nil {
		return identityKey{}
	}
	return identityKey{i.ID, i.Revision, true}
}

// The cache is bounded: shards times perShard ACLs, of some kilobytes each.
const (
	shards   = 16
	perShard = 256
)

// aclCache keeps what was compiled lately. An entry goes when one of its
// policies changes; its key is compared in full, component by component.
type aclCache struct {
	seed   maphash.Seed
	shards [shards]aclShard
}

type aclShard struct {
	mu      sync.RWMutex
	entries map[uint64]*compiled // guarded by mu; by hash, so the last of two with one hash stays
}

// compiled is a set of policies, compiled, or why that cannot be done.
type compiled struct {
	ns        store.NamespaceID
	names     []string
	who       identityKey
	templated bool
	acl       *ACL
	err       error
	until     time.Time // when it must be compiled anew; zero is never
}

func newACLCache() *aclCache {
	c := &aclCache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].entries = map[uint64]*compiled{}
	}
	return c
}

// get returns the entry for a caller, or nil.
func (c *aclCache) get(ns store.NamespaceID, names []string, who *Identity) *compiled {
	if e := c.lookup(ns, names, who.key()); e != nil || who == nil {
		return e
	}
	// Policies without templates are the same for everyone.
	if e := c.lookup(ns, names, identityKey{}); e != nil && !e.templated {
		return e
	}
	return nil
}

func (c *aclCache) lookup(ns store.NamespaceID, names []string, who identityKey) *compiled {
	h := c.hash(ns, names, who)
	s := &c.shards[h%shards]
	s.mu.RLock()
	e := s.entries[h]
	s.mu.RUnlock()
	if e == nil || e.ns != ns || e.who != who || !slices.Equal(e.names, names) {
		return nil
	}
	return e
}

func (c *aclCache) hash(ns store.NamespaceID, names []string, who identityKey) uint64 {
	const odd = 0x9e3779b97f4a7c15
	h := uint64(ns)*odd + who.revision
	if who.some {
		h = bits.RotateLeft64(h, 29)*odd ^ maphash.String(c.seed, who.id)
	}
	for _, name := range names {
		h = bits.RotateLeft64(h, 29)*odd ^ maphash.String(c.seed, name)
	}
	return h
}

// put keeps an entry that was compiled from policies of a revision, unless
// there has been a change since: then it may be of the past.
func (c *aclCache) put(e *compiled, current *atomic.Uint64, revision uint64) {
	h := c.hash(e.ns, e.names, e.who)
	s := &c.shards[h%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	if current.Load() != revision {
		return
	}
	if len(s.entries) >= perShard {
		for victim := range s.entries { // map order is random enough
			delete(s.entries, victim)
			break
		}
	}
	s.entries[h] = e
}

// drop forgets what was compiled with a policy, or in its absence.
func (c *aclCache) drop(ns store.NamespaceID, name string) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for h, e := range s.entries {
			if e.ns == ns && slices.Contains(e.names, name) {
				delete(s.entries, h)
			}
		}
		s.mu.Unlock()
	}
}

func (c *aclCache) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		clear(s.entries)
		s.mu.Unlock()
	}
}
