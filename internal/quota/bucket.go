package quota

import (
	"hash/maphash"
	"math"
	"net/netip"
	"sync"
	"time"
)

// client is whom a bucket belongs to: an address, an entity, or, if empty,
// everybody.
type client struct {
	addr   netip.Addr
	entity string
}

// addressOf is the client behind an address. Whoever has an IPv6 address has
// all of its /64, so that is what counts.
func addressOf(a netip.Addr) client {
	if a = a.Unmap().WithZone(""); a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			a = p.Addr()
		}
	}
	return client{addr: a}
}

// pace is how fast a bucket fills and how much it holds.
type pace struct {
	per      time.Duration // the time that a token takes to come
	capacity int64
	block    time.Duration // how long a client that found it empty stays out
}

// maxRate and maxPer bound what a pace can be, so that its times fit.
const (
	maxRate = 1e9
	maxPer  = 366 * 24 * time.Hour
)

func paceOf(rate float64, interval, block time.Duration) pace {
	per := max(time.Duration(float64(interval)/rate), 1)
	return pace{per: per, capacity: int64(max(math.Floor(rate), 1)), block: block}
}

func (p pace) window() time.Duration { return p.per * time.Duration(p.capacity) }

// level is what a bucket says to a request.
type level struct {
	ok        bool
	limit     int64
	remaining int64
	reset     time.Duration // until the bucket is full
	retry     time.Duration // until the next token; zero if ok
}

const (
	shards = 16
	// maxClients bounds the buckets of a shard; those of all are some ten MB.
	maxClients = 4096
)

// buckets are those of a quota's clients.
type buckets struct {
	pace
	seed   maphash.Seed
	shards [shards]shard
}

type shard struct {
	mu       sync.Mutex
	clients  map[client]bucket // guarded by mu
	overflow bucket            // guarded by mu: for all clients beyond maxClients
	swept    time.Time         // guarded by mu: when room was last looked for
}

// bucket is the time at which it will be full, and the end of a block.
type bucket struct{ full, blocked time.Time }

func (b bucket) idle(now time.Time) bool { return !b.full.After(now) && !b.blocked.After(now) }

func newBuckets(p pace) *buckets { return &buckets{pace: p, seed: maphash.MakeSeed()} }

// take takes a token from a client's bucket, or says that there is none.
func (bs *buckets) take(who client, now time.Time) level {
	sh := &bs.shards[maphash.Comparable(bs.seed, who)%shards]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	b, known := sh.clients[who]
	shared := !known && !sh.room(bs.window(), now)
	if shared {
		b = sh.overflow
	}
	b, l := bs.draw(b, now)
	switch {
	case shared:
		sh.overflow = b
	case sh.clients == nil:
		sh.clients = map[client]bucket{who: b}
	default:
		sh.clients[who] = b
	}
	return l
}

// draw takes a token from a bucket.
func (p pace) draw(b bucket, now time.Time) (bucket, level) {
	window := p.window()
	full := b.full
	if full.Before(now) {
		full = now
	}
	// After the clock was set back no bucket is emptier than empty, and no
	// block longer than it was.
	if end := now.Add(window); full.After(end) {
		full = end
	}
	if end := now.Add(p.block); b.blocked.After(end) {
		b.blocked = end
	}
	b.full = full
	l := level{limit: p.capacity}
	if b.blocked.After(now) {
		l.retry = b.blocked.Sub(now)
		l.reset = l.retry
		return b, l
	}
	used := full.Sub(now)
	if used+p.per > window {
		l.retry, l.reset = used+p.per-window, used
		if p.block > 0 {
			b.blocked = now.Add(p.block)
			l.retry = p.block
		}
		return b, l
	}
	used += p.per
	b.full = now.Add(used)
	l.ok, l.reset, l.remaining = true, used, int64((window-used)/p.per)
	return b, l
}

// room reports whether another client may have a bucket. Idle ones are dropped
// for it, but not looked for at each request of a crowd.
func (sh *shard) room(window time.Duration, now time.Time) bool {
	if len(sh.clients) < maxClients {
		return true
	}
	if since := now.Sub(sh.swept); since >= 0 && since < max(window/8, time.Millisecond) {
		return false
	}
	sh.swept = now
	for who, b := range sh.clients {
		if b.idle(now) {
			delete(sh.clients, who)
		}
	}
	return len(sh.clients) < maxClients
}

// clients counts the buckets.
func (bs *buckets) clients() int {
	n := 0
	for i := range bs.shards {
		sh := &bs.shards[i]
		sh.mu.Lock()
		n += len(sh.clients)
		sh.mu.Unlock()
	}
	return n
}
