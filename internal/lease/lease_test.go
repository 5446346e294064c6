package lease_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/expiry"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/lease"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

func TestALeaseLivesAsLongAsItsLimitsLetIt(t *testing.T) {
	tests := []struct {
		name   string
		lease  route.Lease
		caller func(w *world) route.Caller
		want   time.Duration
		err    error
	}{
		{name: "the mount's default", want: time.Hour},
		{name: "what the engine wants", lease: route.Lease{TTL: 2 * time.Hour}, want: 2 * time.Hour},
		{name: "the engine's maximum", lease: route.Lease{TTL: 2 * time.Hour, MaxTTL: 90 * time.Minute}, want: 90 * time.Minute},
		{name: "the engine's maximum, below the default", lease: route.Lease{MaxTTL: time.Minute}, want: time.Minute},
		{name: "the mount's maximum", lease: route.Lease{TTL: 100 * day, MaxTTL: 50 * day}, want: day},
		{name: "whole seconds", lease: route.Lease{TTL: 1500 * time.Millisecond}, want: time.Second},
		{name: "no time", lease: route.Lease{TTL: time.Millisecond}, err: fault.Invalid},
		{
			name: "a batch token's end", want: time.Minute,
			caller: func(w *world) route.Caller {
				return route.Caller{Batch: true, ExpiresAt: w.clock.Now().Add(time.Minute)}
			},
		},
		{
			name: "a batch token that ends now", err: fault.Invalid,
			caller: func(w *world) route.Caller { return route.Caller{Batch: true, ExpiresAt: w.clock.Now()} },
		},
		{
			name: "a batch token that ends within the second", err: fault.Invalid,
			caller: func(w *world) route.Caller {
				return route.Caller{Batch: true, ExpiresAt: w.clock.Now().Add(time.Second / 2)}
			},
		},
		{name: "a token that was revoked", caller: func(*world) route.Caller { return route.Caller{Token: "dead"} }, err: fault.Denied},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.tokens.dead["dead"] = true
			c := w.call("database/creds/r", "t")
			if tt.caller != nil {
				c.Caller = tt.caller(w)
			}
			e, err := w.tryGrant(c, tt.lease)
			if tt.err != nil {
				if !errors.Is(err, tt.err) {
					t.Errorf("error %v, want %v", err, tt.err)
				}
				if n := w.rows(); n != 0 {
					t.Errorf("%d rows are left by a refusal", n)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if e.TTL.Truncate(time.Second) != tt.want || e.Expires.Sub(w.clock.Now()) != tt.want {
				t.Errorf("lives %v until %v from now, want %v", e.TTL, e.Expires.Sub(w.clock.Now()), tt.want)
			}
		})
	}
}

func TestAGrantIsRefusedByAMountThatIsGoing(t *testing.T) {
	w := newWorld(t)
	c := w.config()
	gone := fault.New(fault.NotFound, "no such mount")
	c.Serving = func(store.Reader, route.Mount) error { return gone }
	w.Store = lease.New(c)
	if _, err := w.tryGrant(w.call("database/creds/r", "t"), route.Lease{}); !errors.Is(err, gone) {
		t.Errorf("error %v, want %v", err, gone)
	}
	if n := w.rows(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestALeaseEndsWhenItsTimeIsUp(t *testing.T) {
	w := newWorld(t)
	w.grant("database/creds/r", "t", route.Lease{Payload: []byte("a")})
	w.grant("database/creds/r", "t", route.Lease{Payload: []byte("b"), TTL: 2 * time.Hour})
	w.clock.Advance(time.Hour - 1)
	w.expire()
	if diff := cmp.Diff([]string(nil), w.engine.taken()); diff != "" {
		t.Errorf("undone too early:\n%s", diff)
	}
	w.clock.Advance(1)
	w.expire()
	if diff := cmp.Diff([]string{"a"}, w.engine.taken()); diff != "" {
		t.Errorf("after an hour:\n%s", diff)
	}
	w.clock.Advance(time.Hour)
	w.expire()
	if diff := cmp.Diff([]string{"b"}, w.engine.taken()); diff != "" {
		t.Errorf("after two hours:\n%s", diff)
	}
	if n := w.rows(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// TestAClockThatIsSetBackForgetsNoLease hands an item over that was due by the
// clock of a moment ago.
func TestAClockThatIsSetBackForgetsNoLease(t *testing.T) {
	w := newWorld(t)
	w.grant("database/creds/r", "t", route.Lease{Payload: []byte("a")})
	w.clock.Advance(time.Hour)
	items := w.due()
	w.clock.Advance(-time.Minute)
	for _, it := range items {
		if err := w.Expire(t.Context(), it); err != nil {
			t.Fatal(err)
		}
	}
	w.clock.Advance(time.Minute)
	w.expire()
	if diff := cmp.Diff([]string{"a"}, w.engine.taken()); diff != "" {
		t.Errorf("undone in the end:\n%s", diff)
	}
	if n := w.rows(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestALeaseStaysUntilItsGrantIsUndone(t *testing.T) {
	w := newWorld(t)
	e := w.grant("database/creds/r", "t", route.Lease{Payload: []byte("a"), Renewable: true})
	w.engine.refuse = down
	w.clock.Advance(time.Hour)
	if failed := w.expire(); failed != 1 {
		t.Fatalf("%d attempts failed, want 1", failed)
	}
	if n := w.count(); n != 1 {
		t.Errorf("%d leases, want 1", n)
	}
	if _, err := w.Renew(t.Context(), w.call("", "t"), e.ID, 0); !errors.Is(err, fault.Invalid) {
		t.Errorf("renewing a lease whose grant is being undone: %v, want invalid", err)
	}
	w.engine.refuse = nil
	w.expire()
	if n := w.rows(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestALeaseOfAVanishedMountIsRemoved(t *testing.T) {
	w := newWorld(t)
	w.grant("database/creds/r", "t", route.Lease{})
	w.vanished = true
	w.clock.Advance(time.Hour)
	if failed := w.expire(); failed != 0 {
		t.Errorf("%d attempts failed", failed)
	}
	if n := w.rows(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// TestARenewalThatIsUnderWayCannotBringALeaseBack lets a lease come to its end
// while it is being renewed: whoever comes first wins whole.
func TestARenewalThatIsUnderWayCannotBringALeaseBack(t *testing.T) {
	w := newWorld(t)
	e := w.grant("database/creds/r", "t", route.Lease{Payload: []byte("a"), Renewable: true})
	w.clock.Advance(time.Hour - 1)
	c := w.call("", "t") // the request arrives in time
	w.clock.Advance(1)
	var err error
	w.engine.during = func() { _, err = w.Renew(t.Context(), c, e.ID, 0) }
	w.expire()
	if !errors.Is(err, fault.Invalid) {
		t.Errorf("renewal while the grant was being undone: %v, want invalid", err)
	}
	if n := w.rows(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestARenewalKeepsWithinTheLimits(t *testing.T) {
	hour := time.Hour
	tests := []struct {
		name      string
		lease     route.Lease
		limits    engine.RenewLimits
		age       time.Duration
		increment time.Duration
		batch     time.Duration // end of a batch token, from the grant
		want      time.Duration // end, from the renewal
		capped    bool
		err       error
	}{
		{name: "by the mount's default", age: hour / 2, want: hour},
		{name: "by the role's present lifetime", limits: engine.RenewLimits{TTL: 3 * hour}, age: hour / 2, want: 3 * hour},
		{name: "by what was asked for", increment: 5 * hour, age: hour / 2, want: 5 * hour},
		{name: "to the mount's maximum", increment: 50 * hour, age: hour / 2, want: 23*hour + hour/2, capped: true},
		{name: "to the role's present maximum", limits: engine.RenewLimits{MaxTTL: 2 * hour}, increment: 5 * hour, age: hour / 2, want: hour + hour/2, capped: true},
		{name: "not beyond a batch token", increment: 5 * hour, age: hour / 2, batch: 2 * hour, want: hour + hour/2},
		{name: "at the last moment", age: hour - 1, want: hour},
		{name: "at the end", age: hour, err: fault.Invalid},
		{name: "at the maximum", lease: route.Lease{TTL: hour, MaxTTL: hour}, limits: engine.RenewLimits{MaxTTL: hour / 2}, age: hour / 2, err: fault.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.engine.limits = tt.limits
			c := w.call("database/creds/r", "t")
			if tt.batch > 0 {
				c.Caller = route.Caller{Batch: true, ExpiresAt: c.Now.Add(tt.batch)}
			}
			tt.lease.Renewable = true
			e, err := w.tryGrant(c, tt.lease)
			if err != nil {
				t.Fatal(err)
			}
			before := w.rows()
			w.clock.Advance(tt.age)
			c = w.call("", "t")
			after, err := w.Renew(t.Context(), c, e.ID, tt.increment)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if rows := w.rows(); rows != before {
				t.Errorf("%d rows became %d", before, rows)
			}
			if tt.err != nil {
				return
			}
			if got := after.Expires.Sub(w.clock.Now()); got != tt.want {
				t.Errorf("ends in %v, want %v", got, tt.want)
			}
			if last := w.engine.renewed[len(w.engine.renewed)-1]; !last.Equal(after.Expires) {
				t.Errorf("the engine was told of %v, the lease says %v", last, after.Expires)
			}
			if warned := len(c.Warnings()); (warned == 1) != tt.capped || warned > 1 {
				t.Errorf("%d warnings (capped: %v)", warned, tt.capped)
			}
			w.clock.Advance(tt.want - 1)
			if n := len(w.due()); n != 0 {
				t.Errorf("%d items are due before the new end", n)
			}
			w.clock.Advance(1)
			if n := len(w.due()); n != 1 {
				t.Errorf("%d items are due at the new end", n)
			}
		})
	}
}

func TestARevokedLeaseIsUndoneAtOnceAndTriedAgainIfThatFails(t *testing.T) {
	w := newWorld(t)
	e := w.grant("database/creds/r", "t", route.Lease{Payload: []byte("a")})
	w.engine.refuse = down
	if err := w.Revoke(t.Context(), store.RootNamespace, e.ID, false); !errors.Is(err, fault.Upstream) {
		t.Errorf("error %v, want upstream", err)
	}
	if n := len(w.due()); n != 1 {
		t.Fatalf("%d items are due, want 1", n)
	}
	w.engine.refuse = nil
	w.expire()
	if n := w.rows(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	if err := w.Revoke(t.Context(), store.RootNamespace, e.ID, false); err != nil {
		t.Errorf("revoking what is gone: %v", err)
	}
}

func TestLeasesOfAnotherNamespaceAreNotThere(t *testing.T) {
	w := newWorld(t)
	e := w.grant("database/creds/r", "t", route.Lease{Renewable: true})
	const other store.NamespaceID = 2
	c := w.call("", "t")
	c.Namespace.ID = other
	if _, err := w.Renew(t.Context(), c, e.ID, 0); !errors.Is(err, fault.Invalid) {
		t.Errorf("renewing: %v, want invalid", err)
	}
	for _, err := range []error{
		w.Revoke(t.Context(), other, e.ID, true),
		w.RevokePrefix(t.Context(), other, "database", true),
		w.RevokePrefix(t.Context(), other, "", true),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	if n := w.count(); n != 1 {
		t.Errorf("%d leases are left, want 1", n)
	}
}

func TestEndingAnOwnersLeasesLeavesThoseOfOthers(t *testing.T) {
	w := newWorld(t)
	for range 5 {
		w.grant("database/creds/r", "mine", route.Lease{Payload: []byte("mine")})
	}
	w.grant("database/creds/r", "mine too", route.Lease{Payload: []byte("other")})
	var touched []int
	for range 3 {
		w.update(func(tx store.Txn) error {
			n, err := w.EndOwned(tx, "mine", 3)
			touched = append(touched, n)
			return err
		})
	}
	if diff := cmp.Diff([]int{3, 2, 0}, touched); diff != "" {
		t.Errorf("leases touched each time:\n%s", diff)
	}
	w.expire()
	if diff := cmp.Diff([]string{"mine", "mine", "mine", "mine", "mine"}, w.engine.taken()); diff != "" {
		t.Errorf("undone:\n%s", diff)
	}
	if n := w.rows(); n != 3 {
		t.Errorf("%d rows are left, want the three of the other's lease", n)
	}
}

// TestIDsMayHaveEveryByte grants leases of paths with every byte that a path
// may have, and some that it may not.
func TestIDsMayHaveEveryByte(t *testing.T) {
	w := newWorld(t)
	for b := range 256 {
		if b == '/' {
			continue
		}
		path := "database/creds/" + string([]byte{byte(b)}) + "/x"
		e := w.grant(path, "t", route.Lease{Payload: []byte("p"), Renewable: true})
		if _, err := w.Renew(t.Context(), w.call("", "t"), e.ID, 0); err != nil {
			t.Errorf("renewing a lease with byte %#x: %v", b, err)
		}
		if b%2 == 0 {
			if err := w.RevokePrefix(t.Context(), store.RootNamespace, path, false); err != nil {
				t.Errorf("revoking a lease with byte %#x: %v", b, err)
			}
			continue
		}
		w.update(func(tx store.Txn) error { _, err := w.EndOwned(tx, "t", 10); return err })
		w.expire()
	}
	if n := w.rows(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

func TestAnItemThatIsNoLeaseIsRemoved(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"", "short", "8 bytes:", "8 bytes:no/such/lease", strings.Repeat("\xff", 20)} {
		it := expiry.Item{Queue: 9, Class: expiry.Lease, ID: id, At: w.clock.Now()}
		w.update(func(tx store.Txn) error { return expiry.Put(tx, it) })
		if err := w.Expire(context.Background(), it); err != nil {
			t.Errorf("item %q: %v", id, err)
		}
	}
	if n := w.rows(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}
