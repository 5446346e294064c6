package transit

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/transit/material"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// defaultCacheSize bounds the cache of a mount that sets no bound: keys of a few
// kilobytes each.
const defaultCacheSize = 50_000

// cache is the view of the keys that were used lately. A reader that began
// before a change cannot put its older picture back: the mark tells.
type cache struct {
	mu       sync.RWMutex
	keys     map[string]*key // guarded by mu
	mark     uint64          // guarded by mu: counts drops
	settings atomic.Pointer[settings]
}

func newCache() *cache { return &cache{keys: map[string]*key{}} }

func (c *cache) get(name string) (*key, uint64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.keys[name], c.mark
}

func (c *cache) put(name string, k *key, mark uint64, limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mark != mark {
		return
	}
	for victim := range c.keys { // map order is random enough
		if len(c.keys) < limit {
			break
		}
		delete(c.keys, victim)
	}
	c.keys[name] = k
}

func (c *cache) drop(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.keys, name)
	c.mark++
}

func (c *cache) dropSettings() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.settings.Store(nil)
	c.mark++
}

func (c *cache) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.keys)
	c.settings.Store(nil)
	c.mark++
}

func (c *cache) putSettings(s *settings, mark uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mark == mark {
		c.settings.Store(s)
	}
}

// key is a key in memory: its row, and the versions that were used.
type key struct {
	name string
	row  keyRow
	typ  material.Type

	mu       sync.RWMutex
	versions map[int]*version // guarded by mu
}

// version is a version in memory.
type version struct {
	n       int
	created time.Time
	key     *material.Key
	mac     []byte
}

// macKey is the key for HMAC.
func (v *version) macKey() []byte {
	if v.key.Type() == material.HMAC {
		return v.key.Secret()
	}
	return v.mac
}

// load returns a key, softly deleted or not. It is absent with errNoKey.
func (e *Engine) load(ctx context.Context, name string) (*key, error) {
	k, mark := e.cache.get(name)
	if k != nil {
		return k, nil
	}
	if err := engine.CheckName(name); err != nil {
		return nil, err
	}
	k = &key{name: name, versions: map[int]*version{}}
	err := e.view(ctx, func(r store.Reader) (err error) {
		if k.row, err = e.row(r, name); err != nil {
			return err
		}
		k.typ, err = k.row.typ()
		return err
	})
	if err != nil {
		return nil, err
	}
	s, err := e.settings(ctx)
	if err != nil {
		return nil, err
	}
	limit := defaultCacheSize
	if s.CacheSize > 0 {
		limit = s.CacheSize
	}
	e.cache.put(name, k, mark, limit)
	return k, nil
}

// use returns a key that may be used.
func (e *Engine) use(ctx context.Context, name string) (*key, error) {
	k, err := e.load(ctx, name)
	if err == nil && k.row.SoftDeleted {
		return nil, errSoft
	}
	return k, err
}

// at returns a version of a key, whatever the minimum versions say.
func (e *Engine) at(ctx context.Context, k *key, n int) (*version, error) {
	k.mu.RLock()
	v := k.versions[n]
	k.mu.RUnlock()
	if v != nil {
		return v, nil
	}
	var row versionRow
	err := e.view(ctx, func(r store.Reader) (err error) {
		row, err = e.version(r, k.row.ID, n)
		return err
	})
	if err != nil {
		return nil, err
	}
	v = &version{n: n, created: row.Created, mac: row.MAC}
	if v.key, err = row.parse(k.typ); err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.versions[n] = v
	return v, nil
}

// forNew returns the version that encrypts and signs: the latest, or the one
// that was asked for if it still may.
func (e *Engine) forNew(ctx context.Context, k *key, asked int) (*version, error) {
	n := asked
	switch {
	case n == 0:
		n = k.row.Latest
	case n < 0 || n > k.row.Latest || n < k.row.oldest():
		return nil, errNoVersion
	case n < k.row.MinEncryption:
		return nil, fault.New(fault.Invalid, "this version of the key is older than its min_encryption_version")
	}
	return e.at(ctx, k, n)
}

// forOld returns the version that made something earlier.
func (e *Engine) forOld(ctx context.Context, k *key, n int) (*version, error) {
	if n > k.row.Latest || n < max(k.row.MinAvailable, 1) {
		return nil, errNoVersion
	}
	if n < k.row.oldest() {
		return nil, fault.New(fault.Invalid, "this was made by a version of the key that is older than its min_decryption_version")
	}
	return e.at(ctx, k, n)
}
