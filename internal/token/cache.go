package token

import (
	"sync"

	"github.com/cofferhq/coffer/internal/store"
)

// The cache is bounded: shards times perShard records, some 100 MB at the very
// most with large tokens.
const (
	shards   = 64
	perShard = 1024
)

// cache keeps records that were read lately. It is kept right by the change
// feed: a commit that touches a record drops it, and a reader that began before
// that commit cannot put its older copy back (the mark tells).
type cache [shards]shard

type shard struct {
	mu      sync.RWMutex
	entries map[string]*Entry // guarded by mu
	mark    uint64            // guarded by mu: counts drops
}

func newCache() *cache {
	c := new(cache)
	for i := range c {
		c[i].entries = make(map[string]*Entry)
	}
	return c
}

func (c *cache) shard(handle string) *shard {
	if handle == "" {
		return &c[0]
	}
	return &c[handle[0]%shards]
}

func (c *cache) get(handle string) (*Entry, uint64) {
	s := c.shard(handle)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.entries[handle], s.mark
}

func (c *cache) put(handle string, e *Entry, mark uint64) {
	s := c.shard(handle)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mark != mark {
		return
	}
	if len(s.entries) >= perShard {
		for victim := range s.entries { // map order is random enough
			delete(s.entries, victim)
			break
		}
	}
	s.entries[handle] = e
}

func (c *cache) drop(handle string) {
	s := c.shard(handle)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, handle)
	s.mark++
}

func (c *cache) watch(commit store.Commit) {
	if commit.Reset {
		for i := range c {
			c[i].mu.Lock()
			clear(c[i].entries)
			c[i].mark++
			c[i].mu.Unlock()
		}
		return
	}
	for i := range commit.Changes {
		k := commit.Changes[i].Key
		if k.Kind() == store.KindToken && k.Mount() == store.System {
			c.drop(k.Last())
		}
	}
}
