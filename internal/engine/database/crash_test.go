package database_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// failures are all the ways in which one operation on a database can go wrong.
var failures = []struct {
	what string
	err  error
	done bool // the operation takes effect first
}{
	{"is refused", errRefused, false},
	{"does not reach the database", errUnreachable, false},
	{"breaks off before it takes effect", errUncertain, false},
	{"breaks off after it took effect", errUncertain, true},
}

// failing makes an operation fail for so many times.
func failing(op string, err error, done bool, times int) func(string, bool) error {
	return func(o string, after bool) error {
		if o != op || after != done || times == 0 {
			return nil
		}
		times--
		return err
	}
}

func TestNoUserIsLeftWithoutALease(t *testing.T) {
	for _, f := range failures {
		t.Run("creation "+f.what, func(t *testing.T) {
			n := newNode(t)
			n.db.fail = failing("create", f.err, f.done, 1)
			n.Fails(fault.Upstream, route.VerbRead, "creds/app", nil)
			if len(n.db.users) != 2 {
				t.Errorf("users at once after the failure: %v", n.db.users)
			}
			n.restart(t)
			n.Advance(time.Hour)
			if len(n.db.users) != 2 || len(n.Timers()) != 0 {
				t.Errorf("users left: %v, timers %v", n.db.users, n.Timers())
			}
		})
	}
	t.Run("power is cut before the intent is stored", func(t *testing.T) {
		n := newNode(t)
		n.crashAfter(0)
		if err := n.Call(route.VerbRead, "creds/app", nil).Err; err == nil || len(n.db.users) != 2 {
			t.Errorf("error %v, users %v", err, n.db.users)
		}
	})
}

func TestUserWhoseLeaseWasNeverStoredIsDropped(t *testing.T) {
	n := newNode(t)
	c := issueUncommitted(t, n)
	if len(n.db.users) != 3 || len(n.Timers()) != 1 {
		t.Fatalf("users %v, timers %v", n.db.users, n.Timers())
	}
	n.restart(t)
	n.db.fail = failing("drop", errUnreachable, false, 1)
	n.Advance(11 * time.Minute)
	if len(n.Timers()) != 1 {
		t.Fatal("the intent was forgotten although the user is there")
	}
	n.Advance(time.Minute)
	if len(n.db.users) != 2 || len(n.Timers()) != 0 {
		t.Errorf("users %v, timers %v", n.db.users, n.Timers())
	}
	// The lease that comes after all is refused.
	if err := n.Storage.Update(t.Context(), c.Commit); fault.KindOf(err) != fault.Unavailable {
		t.Errorf("a lease for a dropped user: %v", err)
	}
}

// issueUncommitted makes a user as far as the moment before the lease is
// stored.
func issueUncommitted(t *testing.T, n *node) *route.Lease {
	t.Helper()
	table, err := route.NewTable(n.typ.Routes)
	if err != nil {
		t.Fatal(err)
	}
	var match route.Match
	e, _ := table.Find(route.VerbRead, "creds/app", &match)
	c := &route.Call{Verb: route.VerbRead, Mount: n.Settings, Caller: n.Caller}
	c.SetMatch(&match, e)
	reply, err := e.Handle(t.Context(), n.Instance, c)
	if err != nil {
		t.Fatal(err)
	}
	return reply.Issued
}

func TestDisablingTheMountDropsUnfinishedUsers(t *testing.T) {
	n := newNode(t)
	issueUncommitted(t, n)
	if err := n.Instance.(engine.Cleaner).Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(n.db.users) != 2 || len(n.Timers()) != 0 {
		t.Errorf("users %v, timers %v", n.db.users, n.Timers())
	}
}

func TestStaticRoleSurvivesFailuresAtEveryStep(t *testing.T) {
	check := func(t *testing.T, n *node) {
		t.Helper()
		n.restart(t)
		n.db.fail = nil
		for range 3 {
			n.Advance(time.Hour)
		}
		got := n.Read("static-creds/s").Map(t)
		if got["password"] != n.db.password("svc") {
			t.Errorf("stored password %q, the database has %q", got["password"], n.db.password("svc"))
		}
		if len(n.Timers()) != 1 {
			t.Errorf("timers %v", n.Timers())
		}
		n.Write("rotate-role/s", nil)
		if got := n.Read("static-creds/s").Map(t); got["password"] != n.db.password("svc") {
			t.Errorf("after another rotation: %q, the database has %q", got["password"], n.db.password("svc"))
		}
	}
	static := object{"db_name": "db", "username": "svc", "rotation_period": "1h"}
	for _, f := range failures {
		t.Run("rotation "+f.what, func(t *testing.T) {
			n := newNode(t)
			n.Write("static-roles/s", static)
			n.db.fail = failing("password", f.err, f.done, 2)
			n.Fails(fault.Upstream, route.VerbWrite, "rotate-role/s", nil)
			check(t, n)
		})
	}
	for updates := range 3 {
		t.Run(fmt.Sprintf("power cut after %d updates", updates), func(t *testing.T) {
			n := newNode(t)
			n.Write("static-roles/s", static)
			n.crashAfter(updates)
			if err := n.Call(route.VerbWrite, "rotate-role/s", nil).Err; (err == nil) != (updates == 2) {
				t.Errorf("rotation: %v", err)
			}
			check(t, n)
		})
	}
}

func TestStaticRoleIsCreatedWithItsPasswordOrNotAtAll(t *testing.T) {
	for _, f := range failures {
		n := newNode(t)
		n.db.fail = failing("password", f.err, f.done, 1)
		n.Fails(fault.Upstream, route.VerbWrite, "static-roles/s", object{"db_name": "db", "username": "svc", "rotation_period": "1h"})
		r := n.Call(route.VerbRead, "static-roles/s", nil)
		if f.err != errUncertain {
			if fault.KindOf(r.Err) != fault.NotFound || len(n.Timers()) != 0 || n.db.password("svc") != "svc-password" {
				t.Errorf("%s: %v, timers %v", f.what, r.Err, n.Timers())
			}
			continue
		}
		// The password may have changed: the role stays and takes charge.
		n.restart(t)
		n.Advance(10 * time.Minute)
		if got := n.Read("static-creds/s").Map(t); got["password"] != n.db.password("svc") || n.db.password("svc") == "svc-password" {
			t.Errorf("%s: %v, the database has %q", f.what, got, n.db.password("svc"))
		}
	}
}

func TestRootPasswordSurvivesFailuresAtEveryStep(t *testing.T) {
	check := func(t *testing.T, n *node) {
		t.Helper()
		n.restart(t)
		n.db.fail = nil
		n.Read("creds/app") // works with whichever password the database has
		n.Advance(10 * time.Minute)
		if len(n.Timers()) != 0 {
			t.Errorf("timers %v", n.Timers())
		}
		n.Write("rotate-root/db", nil)
		n.Read("creds/app")
		if n.db.password("root") == "root-password" {
			t.Error("the password was not changed")
		}
	}
	for _, f := range failures {
		t.Run("rotation "+f.what, func(t *testing.T) {
			n := newNode(t)
			n.db.fail = failing("password", f.err, f.done, 1)
			n.Fails(fault.Upstream, route.VerbWrite, "rotate-root/db", nil)
			check(t, n)
		})
		t.Run("rotation "+f.what+", resumed by its timer", func(t *testing.T) {
			n := newNode(t)
			n.db.fail = failing("password", f.err, f.done, 1)
			n.Fails(fault.Upstream, route.VerbWrite, "rotate-root/db", nil)
			n.restart(t)
			n.Advance(time.Hour)
			if len(n.Timers()) != 0 {
				t.Errorf("timers %v", n.Timers())
			}
			check(t, n)
		})
	}
	for updates := range 3 {
		t.Run(fmt.Sprintf("power cut after %d updates", updates), func(t *testing.T) {
			n := newNode(t)
			n.crashAfter(updates)
			if err := n.Call(route.VerbWrite, "rotate-root/db", nil).Err; (err == nil) != (updates == 2) {
				t.Errorf("rotation: %v", err)
			}
			check(t, n)
		})
	}
}

func TestRootPasswordThatIsLostIsReported(t *testing.T) {
	n := newNode(t)
	n.crashAfter(1)
	n.Call(route.VerbWrite, "rotate-root/db", nil)
	n.restart(t)
	n.db.users["root"] = "changed-by-hand"
	n.Fails(fault.Upstream, route.VerbRead, "creds/app", nil)
	n.Fails(fault.Upstream, route.VerbWrite, "rotate-root/db", nil)
	n.Write("config/db", object{"password": "changed-by-hand"})
	n.Read("creds/app")
	n.Advance(time.Hour)
	if len(n.Timers()) != 0 {
		t.Errorf("timers %v", n.Timers())
	}
}

// One timer for many failures: revocation rests while the database is away.
func TestRevocationRestsWhileTheDatabaseIsAway(t *testing.T) {
	n := newNode(t)
	c := n.Read("creds/app").Issued
	tries := 0
	n.db.fail = func(op string, _ bool) error {
		if op == "drop" {
			tries++
			return errUnreachable
		}
		return nil
	}
	for range 24 * 3600 { // a day, one try a second
		if err := n.Instance.(engine.Revoker).Revoke(t.Context(), c.Payload); fault.KindOf(err) != fault.Upstream {
			t.Fatal(err)
		}
		n.Clock.Advance(time.Second)
	}
	if tries < 1000 || tries > 5000 {
		t.Errorf("%d tries in a day", tries)
	}
	n.db.fail = nil
	n.Clock.Advance(time.Minute)
	if err := n.Instance.(engine.Revoker).Revoke(t.Context(), c.Payload); err != nil {
		t.Error(err)
	}
	if len(n.db.users) != 2 {
		t.Errorf("users left: %v", n.db.users)
	}
}
