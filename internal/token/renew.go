package token

import (
	"context"
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

var errNotRenewable = fault.New(fault.Invalid, "lease is not renewable")

// Renew prolongs a token from now: by its period if it has one, else by
// increment, or by what it got last if that is zero; never beyond its limits.
// A token at its end is refused, not given a lifetime of zero.
func (s *Store) Renew(ctx context.Context, c *route.Call, e *Entry, increment time.Duration) (*Entry, error) {
	switch {
	case e.Type == Batch:
		return nil, fault.New(fault.Invalid, "batch tokens cannot be renewed")
	case !e.Renewable || e.Expires.IsZero():
		return nil, errNotRenewable
	}
	l, err := s.limits(ctx, c, e)
	if err != nil {
		return nil, err
	}
	var also func(store.Txn) error
	if e.EntityID != "" && s.Renewing != nil {
		if also, err = s.Renewing(ctx, c, e); err != nil {
			return nil, err
		}
	}
	var after *Entry
	capped := false
	_, err = s.Store.Update(ctx, func(tx store.Txn) error {
		now := s.Clock.Now()
		cur, err := get(tx, e.Handle)
		if errors.Is(err, store.ErrNotFound) || err == nil && !cur.usableParent(now) {
			return errBad
		}
		if err != nil {
			return err
		}
		if err := expiry.Remove(tx, due(cur)); err != nil {
			return err
		}
		if capped, err = l.apply(cur, increment, now); err != nil {
			return err
		}
		if also != nil {
			if err := also(tx); err != nil {
				return err
			}
		}
		after = cur
		if err := expiry.Put(tx, due(cur)); err != nil {
			return err
		}
		return put(tx, cur)
	})
	if err == nil && capped {
		c.Warn("TTL of \"" + increment.String() + "\" exceeded the effective maximum; TTL value is capped accordingly")
	}
	return after, err
}

// renewLimits are what bounds a renewal now.
type renewLimits struct {
	period, ttl, max, explicit time.Duration
}

// limits asks the auth method that granted the token for its role's present
// settings; a token made by auth/token/ has its own.
func (s *Store) limits(ctx context.Context, c *route.Call, e *Entry) (renewLimits, error) {
	l := renewLimits{period: e.Period, ttl: e.TTL, max: c.Mount.MaxTTL, explicit: e.ExplicitMaxTTL}
	if e.LastTTL > 0 {
		l.ttl = e.LastTTL
	}
	if e.Role != "" {
		role, err := s.role(ctx, e.NS, e.Role)
		if err != nil {
			return l, err
		}
		if role == nil {
			return l, fault.New(fault.Invalid, "the token's role has been deleted: the token cannot be renewed")
		}
		if role.Period > 0 {
			l.period = role.Period
		}
		l.explicit = minSet(l.explicit, role.ExplicitMaxTTL)
	}
	if e.Mount == store.System {
		return l, nil
	}
	method, mount, err := s.Method(ctx, e.Mount)
	if err != nil {
		return l, err
	}
	l.max = mount.MaxTTL
	if method == nil {
		return l, nil
	}
	p, err := method.Renew(ctx, c, e.Payload)
	if err != nil {
		return l, err
	}
	if p.Period > 0 || l.period > 0 {
		l.period = p.Period
	}
	if l.ttl = p.TTL; l.ttl == 0 {
		l.ttl = mount.DefaultTTL
	}
	l.max = minSet(p.MaxTTL, mount.MaxTTL)
	return l, nil
}

// apply sets the new end and reports whether a limit cut what was asked for.
func (l renewLimits) apply(e *Entry, increment time.Duration, now time.Time) (capped bool, err error) {
	want := increment
	if want <= 0 {
		want = l.ttl
	}
	if l.period > 0 {
		want = l.period
	}
	until := now.Add(want)
	limit := func(max time.Duration) {
		if end := e.Created.Add(max); max > 0 && until.After(end) {
			until, capped = end, increment > 0
		}
	}
	if l.period == 0 {
		limit(l.max)
	}
	limit(l.explicit)
	if !until.After(now) {
		return false, fault.New(fault.Invalid, "the token has reached its maximum lifetime and cannot be renewed")
	}
	e.Expires, e.Renewed, e.LastTTL = until, now, seconds(until.Sub(now))
	return capped, nil
}
