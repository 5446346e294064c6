package token_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/token"
)

func TestARenewalKeepsWithinTheLimits(t *testing.T) {
	const hour = time.Hour
	tests := []struct {
		name      string
		entry     func(*token.Entry)
		method    route.TokenParams
		refusal   error
		role      string
		age       time.Duration
		increment time.Duration
		want      time.Duration // from the renewal
		capped    bool
		err       error
	}{
		{name: "by what it got first", age: hour / 2, want: hour},
		{name: "by what was asked for", age: hour / 2, increment: 3 * hour, want: 3 * hour},
		{name: "by less than it has", age: hour / 2, increment: time.Minute, want: time.Minute},
		{name: "to the mount's maximum", age: hour / 2, increment: 40 * day, want: 32*day - hour/2, capped: true},
		{name: "to its own maximum", entry: func(e *token.Entry) { e.ExplicitMaxTTL = 2 * hour }, age: hour / 2, increment: 3 * hour, want: hour + hour/2, capped: true},
		{name: "by its period, whatever is asked for", entry: func(e *token.Entry) { e.Period = hour / 2 }, age: hour / 4, increment: 3 * hour, want: hour / 2},
		{name: "beyond the mount's maximum with a period", entry: func(e *token.Entry) { e.Period, e.TTL = 50*day, 50*day }, age: 40 * day, want: 50 * day},
		{
			name: "not beyond its own maximum with a period", entry: func(e *token.Entry) { e.Period, e.ExplicitMaxTTL = hour, hour+hour/2 },
			age: hour - 1, want: hour/2 + 1,
		},
		{name: "at the last moment", age: hour - 1, want: hour},
		{name: "at its end", age: hour, err: fault.Denied},
		{name: "not renewable", entry: func(e *token.Entry) { e.Renewable = false }, err: fault.Invalid},
		{name: "at its own maximum", entry: func(e *token.Entry) { e.ExplicitMaxTTL = hour / 2 }, age: hour / 2, err: fault.Invalid},

		{name: "of a method, by the role's lifetime", entry: ofMethod, method: route.TokenParams{TTL: 2 * hour}, age: hour / 2, want: 2 * hour},
		{name: "of a method, by the mount's lifetime", entry: ofMethod, age: hour / 2, want: day},
		{name: "of a method, to the role's maximum", entry: ofMethod, method: route.TokenParams{TTL: 2 * hour, MaxTTL: hour}, age: hour / 2, want: hour / 2},
		{name: "of a method, by the role's period", entry: ofMethod, method: route.TokenParams{Period: 5 * hour, MaxTTL: hour}, age: hour / 2, want: 5 * hour},
		{
			name: "of a method whose role has no period any more", entry: func(e *token.Entry) { ofMethod(e); e.Period = 5 * hour },
			method: route.TokenParams{TTL: hour / 2}, age: hour / 2, want: hour / 2,
		},
		{name: "of a method that refuses", entry: ofMethod, refusal: fault.New(fault.Denied, "the user is gone"), err: fault.Denied},

		{name: "of a role with a period", role: `{"token_period": "3h"}`, age: hour / 2, want: 3 * hour},
		{name: "of a role with a maximum", role: `{"token_explicit_max_ttl": "90m"}`, age: hour / 2, increment: 5 * hour, want: hour, capped: true},
		{name: "of a role that was deleted", entry: func(e *token.Entry) { e.Role = "gone" }, err: fault.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.method.params, w.method.err = tt.method, tt.refusal
			var change []func(*token.Entry)
			if tt.entry != nil {
				change = append(change, tt.entry)
			}
			if tt.role != "" {
				w.role("r", tt.role)
				change = append(change, func(e *token.Entry) { e.Role = "r" })
			}
			m := w.create(nil, change...)
			rows := len(w.rows())
			w.clock.Advance(tt.age)
			c := w.call(m)
			after, err := w.Renew(t.Context(), c, m.Entry, tt.increment)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if n := len(w.rows()); n != rows {
				t.Errorf("%d rows became %d", rows, n)
			}
			if err != nil {
				return
			}
			if got := after.Expires.Sub(w.clock.Now()); got != tt.want {
				t.Errorf("ends in %v, want %v", got, tt.want)
			}
			if warned := len(c.Warnings()) == 1; warned != tt.capped {
				t.Errorf("%d warnings (capped: %v)", len(c.Warnings()), tt.capped)
			}
			stored, err := w.Authenticate(t.Context(), m.text)
			if err != nil || !stored.Expires.Equal(after.Expires) {
				t.Errorf("stored is another end: %v", err)
			}
			w.clock.Advance(tt.want - 1)
			w.wantAlive(true, m)
			w.clock.Advance(1)
			w.wantAlive(false, m)
			w.expireTokens()
		})
	}
}

func ofMethod(e *token.Entry) { e.Mount = 12 }

func TestABatchTokenIsNotRenewed(t *testing.T) {
	w := newWorld(t)
	e, text, err := w.Create(t.Context(), token.Entry{Type: token.Batch, TTL: time.Hour}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Renew(t.Context(), w.call(&made{e, text}), e, 0); !errors.Is(err, fault.Invalid) {
		t.Errorf("error %v, want invalid", err)
	}
}

// TestAClockThatIsSetBackForgetsNoToken hands items over that were due by the
// clock of a moment ago.
func TestAClockThatIsSetBackForgetsNoToken(t *testing.T) {
	for _, inBatch := range []bool{false, true} {
		w := newWorld(t)
		m := w.create(nil)
		child := w.create(m, func(e *token.Entry) { e.TTL = 5 * time.Hour })
		w.clock.Advance(time.Hour)
		items := w.dueItems()[:1]
		w.clock.Advance(-time.Minute)
		err := w.Expire(t.Context(), items[0])
		if inBatch {
			err = errors.Join(err, w.ExpireBatch(t.Context(), items))
		}
		if err != nil {
			t.Fatal(err)
		}
		w.clock.Advance(time.Minute)
		w.expireTokens()
		w.wantAlive(false, m, child)
		w.gone()
	}
}

func TestALoginNeedsItsMethodInService(t *testing.T) {
	w := newWorld(t)
	c := w.Config
	gone := fault.New(fault.NotFound, "the mount has been disabled or moved")
	var verdict error
	c.Serving = func(store.Reader, route.Mount) error { return verdict }
	s, err := token.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id := &route.Identity{DisplayName: "u"}
	if _, _, err := s.Login(t.Context(), w.call(nil), id, "", "", nil); err != nil {
		t.Fatal(err)
	}
	before := len(w.rows())
	verdict = gone
	for _, tokenType := range []string{"", token.Batch} {
		if _, _, err := s.Login(t.Context(), w.call(nil), id, "", tokenType, nil); !errors.Is(err, gone) {
			t.Errorf("error %v, want %v", err, gone)
		}
	}
	if n := len(w.rows()); n != before {
		t.Errorf("%d rows became %d by a refused login", before, n)
	}
}
