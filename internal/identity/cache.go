package identity

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cofferhq/coffer/internal/store"
)

// The cache is bounded: shards times perShard principals, of a kilobyte or so.
const (
	shards   = 32
	perShard = 1024
)

// cache keeps the principals that were asked for lately. The change feed drops
// one when any row that it was made of changes, and a reader that began before
// that cannot put the older one back (the mark tells).
type cache struct {
	revision atomic.Uint64 // numbers principals, so that no two have one
	shards   [shards]shard
}

type cacheKey struct {
	ns store.NamespaceID
	id string
}

type shard struct {
	mu      sync.RWMutex
	entries map[cacheKey]*Principal // guarded by mu
	drops   uint64                  // guarded by mu
}

func newCache() *cache {
	c := &cache{}
	for i := range c.shards {
		c.shards[i].entries = map[cacheKey]*Principal{}
	}
	return c
}

// shard spreads ids by their beginning, which is random.
func (c *cache) shard(id string) *shard {
	if len(id) < 2 {
		return &c.shards[0]
	}
	return &c.shards[(uint(id[0])*31+uint(id[1]))%shards]
}

func (c *cache) get(ns store.NamespaceID, id string) *Principal {
	s := c.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.entries[cacheKey{ns, id}]
}

func (c *cache) mark(id string) uint64 {
	s := c.shard(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.drops
}

func (c *cache) put(ns store.NamespaceID, id string, p *Principal, mark uint64) {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drops != mark {
		return
	}
	if len(s.entries) >= perShard {
		for victim := range s.entries { // map order is random enough
			delete(s.entries, victim)
			break
		}
	}
	s.entries[cacheKey{ns, id}] = p
}

// drop forgets an entity.
func (c *cache) drop(ns store.NamespaceID, id string) {
	s := c.shard(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, cacheKey{ns, id})
	s.drops++
}

// dropMembers forgets who is in a group, in whatever namespace.
func (c *cache) dropMembers(group string) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for k, p := range s.entries {
			if _, in := slices.BinarySearch(p.groupIDs, group); in {
				delete(s.entries, k)
			}
		}
		s.drops++
		s.mu.Unlock()
	}
}

func (c *cache) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		clear(s.entries)
		s.drops++
		s.mu.Unlock()
	}
}

// watch follows the change feed.
func (c *cache) watch(commit store.Commit) {
	if commit.Reset {
		c.clear()
		return
	}
	for i := range commit.Changes {
		k := commit.Changes[i].Key
		if k.Mount() != store.System {
			continue
		}
		switch k.Kind() {
		case store.KindEntity:
			c.drop(k.Namespace(), k.Last())
		case store.KindGroup:
			c.dropMembers(k.Last())
		case store.KindIdentityIndex:
			c.index(k)
		}
	}
}

// index follows a change of a relation. A change of an alias always comes with
// one of the row that ties it to its entity.
func (c *cache) index(k store.Key) {
	parts, err := k.Parts()
	if err != nil || len(parts) < 2 {
		return
	}
	switch parts[0] {
	case aliasesOf, mergedInto:
		c.drop(k.Namespace(), parts[1])
	case groupsOf:
		if len(parts) > 2 && parts[1] == anEntity {
			c.drop(k.Namespace(), parts[2])
		} else if len(parts) > 2 {
			c.dropMembers(parts[2])
		}
	}
}
