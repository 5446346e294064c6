package quota

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// limiter is a rate limit in force.
type limiter struct {
	rule    rule
	entity  bool     // grouped by entity, if the client has one
	shared  bool     // without an entity all clients are one
	clients *buckets // of entities, or of all if not grouped by entity
	others  *buckets // of clients without an entity
}

func newLimiter(r *rule) *limiter {
	l := &limiter{rule: *r}
	l.entity = r.GroupBy == byEntityThenIP || r.GroupBy == byEntityThenNone
	l.shared = r.GroupBy == byNone || r.GroupBy == byEntityThenNone
	l.clients = newBuckets(paceOf(r.Rate, r.Interval, r.BlockInterval))
	l.others = l.clients
	if l.entity {
		rate := r.Rate
		if r.SecondaryRate > 0 {
			rate = r.SecondaryRate
		}
		l.others = newBuckets(paceOf(rate, r.Interval, r.BlockInterval))
	}
	return l
}

// take takes a token of the client; entity is "" if it has none.
func (l *limiter) take(addr netip.Addr, entity string, now time.Time) level {
	switch {
	case l.entity && entity != "":
		return l.clients.take(client{entity: entity}, now)
	case l.shared:
		return l.others.take(client{}, now)
	}
	return l.others.take(addressOf(addr), now)
}

// Rates are the rate limits in force.
type Rates struct {
	forest forest[limiter]
	config *settings
}

// Rates returns the rate limits, nil if there are none.
func (s *Store) Rates() *Rates { return s.rates.Load() }

// Check is one request on its way past the rate limits. A nil Check passes.
type Check struct {
	rates  *Rates
	path   string
	addr   netip.Addr
	now    time.Time
	bound  []bound
	few    [2]bound // where bound lies, unless there are more
	lowest level    // of the bucket with the least room
	seen   bool     // lowest is set
}

// bound is what one namespace's quotas mean for the request.
type bound struct {
	quota   *limiter
	branch  *branch[limiter]
	charged bool
}

// Check looks up what binds a request; nil if nothing does. login says that it
// is one.
func (r *Rates) Check(c *route.Call, login bool) *Check {
	if r == nil || r.config.exempts(c.Namespace.Path, c.Full) {
		return nil
	}
	x := &Check{rates: r, path: c.Full, addr: c.Remote, now: c.Now}
	x.bound = x.few[:0]
	r.forest.binding(targetOf(c), func(q *limiter, b *branch[limiter]) {
		roles := login && b != nil && len(b.roles) > 0
		if !roles {
			b = nil
		}
		if q != nil || roles {
			x.bound = append(x.bound, bound{quota: q, branch: b})
		}
	})
	if len(x.bound) == 0 {
		return nil
	}
	return x
}

// Arrive charges the request as far as it can be without reading it. Who has
// brought no token, or needs none, is anonymous and has no entity.
func (x *Check) Arrive(anonymous bool) error {
	if x == nil {
		return nil
	}
	for i := range x.bound {
		b := &x.bound[i]
		switch {
		case b.branch != nil:
			// The quota depends on a role that only the body tells. All the
			// quotas that it can be together bound how many bodies are read.
			if b.branch.admission == nil {
				continue
			}
			if l := b.branch.admission.take(x.addr, "", x.now); !l.ok {
				return x.refuse(l)
			}
		case b.quota.entity && !anonymous:
		default:
			if err := x.charge(b, b.quota, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// Entity charges what is grouped by entity, once the token is known; "" is a
// token without an entity, or one that is not valid.
func (x *Check) Entity(id string) error {
	if x == nil {
		return nil
	}
	for i := range x.bound {
		b := &x.bound[i]
		if b.charged || b.branch != nil {
			continue
		}
		if err := x.charge(b, b.quota, id); err != nil {
			return err
		}
	}
	return nil
}

// NeedsRole reports whether the role of a login has to be told to [Check.Role].
func (x *Check) NeedsRole() bool {
	if x != nil {
		for i := range x.bound {
			if x.bound[i].branch != nil {
				return true
			}
		}
	}
	return false
}

// Role charges a login by its role, once the body has told it.
func (x *Check) Role(role string) error {
	for i := range x.bound {
		b := &x.bound[i]
		if b.branch == nil || b.charged {
			continue
		}
		q := b.branch.roles[role]
		if q == nil {
			q = b.quota
		}
		if q == nil {
			continue
		}
		if err := x.charge(b, q, ""); err != nil {
			return err
		}
	}
	return nil
}

func (x *Check) charge(b *bound, q *limiter, entity string) error {
	b.charged = true
	l := q.take(x.addr, entity, x.now)
	if !l.ok {
		return x.refuse(l)
	}
	x.note(l)
	return nil
}

func (x *Check) refuse(l level) error {
	x.lowest, x.seen = l, true
	return fault.Newf(fault.RateLimited, "request path %q: rate limit quota exceeded", x.path)
}

func (x *Check) note(l level) {
	if !x.seen || l.remaining < x.lowest.remaining {
		x.lowest, x.seen = l, true
	}
}

// Audited reports whether a refusal is to be written to the audit devices.
func (x *Check) Audited() bool { return x == nil || x.rates.config.AuditLogging }

// Headers tell the client how much it has left, if the configuration says so.
func (x *Check) Headers() map[string]string {
	if x == nil || !x.seen || !x.rates.config.ResponseHeaders {
		return nil
	}
	h := map[string]string{
		"X-Ratelimit-Limit":     strconv.FormatInt(x.lowest.limit, 10),
		"X-Ratelimit-Remaining": strconv.FormatInt(x.lowest.remaining, 10),
		"X-Ratelimit-Reset":     seconds(x.lowest.reset),
	}
	if !x.lowest.ok {
		h["Retry-After"] = seconds(x.lowest.retry)
	}
	return h
}

// seconds rounds up: who waits that long has waited long enough.
func seconds(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}

// admission bounds logins whose role is not known yet by the sum of everything
// that can bind them: who keeps within each of them keeps within this.
func admission(t *tree[limiter], b *branch[limiter]) *limiter {
	var rest []*limiter
	for _, q := range b.exact {
		rest = append(rest, q)
	}
	for i := range b.prefixes {
		rest = append(rest, b.prefixes[i].quota)
	}
	general := b.whole
	if general == nil {
		general = t.handedTo(b.namespace)
	}
	if general == nil || len(b.roles) == 0 {
		return nil // a login by another role is not bound at all
	}
	rest = append(rest, general)
	for _, q := range b.roles {
		rest = append(rest, q)
	}
	perSecond, capacity := 0.0, int64(0)
	for _, q := range rest {
		p := q.others.pace
		perSecond += float64(time.Second) / float64(p.per)
		capacity += p.capacity
	}
	p := pace{per: max(time.Duration(float64(time.Second)/perSecond), 1), capacity: capacity}
	bs := newBuckets(p)
	return &limiter{clients: bs, others: bs}
}
