package profile

import (
	"fmt"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
)

// What a role lets callers say about the ends of the validity. A bound may also
// be a date: the earliest or latest that they may give.
const (
	BoundPermit   = "permit"
	BoundForbid   = "forbid"
	BoundDuration = "duration"    // not_before: at most not_before_duration ago
	BoundTTL      = "ttl-limited" // not_after: at most max_ttl from now
)

func checkBound(field, bound string) error {
	switch bound {
	case BoundPermit, BoundForbid, "":
		return nil
	case BoundDuration:
		if field == "not_before" {
			return nil
		}
	case BoundTTL:
		if field == "not_after" {
			return nil
		}
	}
	if _, err := time.Parse(time.RFC3339, bound); err == nil {
		return nil
	}
	kind := BoundDuration
	if field == "not_after" {
		kind = BoundTTL
	}
	return fault.Newf(fault.Invalid, `%s_bound must be "permit", "forbid", %q or a date such as 2030-01-31T00:00:00Z`, field, kind)
}

func checkTime(field, text string) error {
	_, err := parseTime(field, text)
	return err
}

// parseTime reads a date; the empty text is the zero time.
func parseTime(field, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02"} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC().Truncate(time.Second), nil
		}
	}
	return time.Time{}, fault.Newf(fault.Invalid, "%s must be a date such as 2030-01-31T00:00:00Z", field)
}

// Validity is the time that a certificate is good for.
type Validity struct {
	NotBefore, NotAfter time.Time
	// Warning is what the caller should know, "" if nothing.
	Warning string
}

// Validity decides from a request, the role, and the mount's limits.
func (r *Role) Validity(q *Request, env Env) (v Validity, err error) {
	now := env.Now.UTC().Truncate(time.Second)
	v.NotBefore = now.Add(-r.NotBeforeDuration.D())
	if v.NotBefore, err = r.bounded("not_before", q.NotBefore, r.NotBefore, r.NotBeforeBound, v.NotBefore, now, env); err != nil {
		return v, err
	}
	if q.NotAfter != "" && q.TTL != 0 {
		return v, fault.New(fault.Invalid, `give "ttl" or "not_after", not both`)
	}
	ttl, limit := r.lifetimes(env)
	if q.TTL > 0 {
		ttl = q.TTL
	}
	if ttl > limit {
		v.Warning = fmt.Sprintf("TTL %q is longer than the %q that is permitted; it was cut to that", ttl, limit)
		ttl = limit
	}
	v.NotAfter = now.Add(ttl)
	if q.TTL == 0 {
		if v.NotAfter, err = r.bounded("not_after", q.NotAfter, r.NotAfter, r.NotAfterBound, v.NotAfter, now, env); err != nil {
			return v, err
		}
	}
	switch {
	case !v.NotAfter.After(now):
		return v, fault.New(fault.Invalid, "the certificate would have expired already: not_after is in the past")
	case !v.NotAfter.After(v.NotBefore):
		return v, fault.New(fault.Invalid, "the certificate would end before it begins")
	}
	return v, nil
}

// lifetimes returns the lifetime that a request without one gets, and the
// longest.
func (r *Role) lifetimes(env Env) (ttl, limit time.Duration) {
	ttl, limit = r.TTL.D(), r.MaxTTL.D()
	if ttl == 0 {
		ttl = env.DefaultTTL
	}
	if limit == 0 || limit > env.MaxTTL && env.MaxTTL > 0 {
		limit = env.MaxTTL
	}
	return ttl, limit
}

// bounded returns one end of the validity: the caller's, within the bound, else
// the role's, else the one computed.
func (r *Role) bounded(field, asked, own, bound string, computed, now time.Time, env Env) (time.Time, error) {
	if asked == "" {
		at, err := parseTime(field, own)
		if err != nil || at.IsZero() {
			return computed, err
		}
		return at, nil
	}
	at, err := parseTime(field, asked)
	if err != nil {
		return at, err
	}
	refused := fault.Newf(fault.Invalid, "the role's %s_bound does not permit this %s", field, field)
	_, limit := r.lifetimes(env)
	switch bound {
	case BoundPermit, "":
	case BoundForbid:
		return at, fault.Newf(fault.Invalid, "the role does not let callers choose %s", field)
	case BoundDuration:
		if at.Before(now.Add(-r.NotBeforeDuration.D())) {
			return at, refused
		}
	case BoundTTL:
		if at.After(now.Add(limit)) {
			return at, refused
		}
	default:
		edge, err := parseTime(field+"_bound", bound)
		if err != nil {
			return at, err
		}
		if field == "not_before" && at.Before(edge) || field == "not_after" && at.After(edge) {
			return at, refused
		}
	}
	return at, nil
}
