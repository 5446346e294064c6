package database_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/pgtest"
	"github.com/cofferhq/coffer/internal/route"
)

func TestStaticRoleOwnsThePassword(t *testing.T) {
	s := pgtest.Start(t)
	s.Exec(`CREATE ROLE "o'wned" LOGIN PASSWORD 'first'`)
	m := mount(t)
	configure(t, m, s, nil)
	m.Write("static-roles/s", object{"db_name": "pg", "username": "o'wned", "rotation_period": "24h"})
	want := object{"credential_type": "password", "db_name": "pg", "last_vault_rotation": m.Clock.Now().Format(time.RFC3339Nano), "rotation_period": 86400.0, "rotation_statements": []any{}, "username": "o'wned"}
	if diff := cmp.Diff(want, m.Read("static-roles/s").Map(t)); diff != "" {
		t.Error(diff)
	}
	password := func() string {
		t.Helper()
		got := m.Read("static-creds/s").Map(t)
		p, _ := got["password"].(string)
		if !s.Login("o'wned", p) {
			t.Fatalf("%v do not log in", got)
		}
		return p
	}
	p1 := password()
	m.Clock.Advance(time.Hour)
	got := m.Read("static-creds/s").Map(t)
	if diff := cmp.Diff(object{"last_vault_rotation": want["last_vault_rotation"], "password": p1, "rotation_period": 86400.0, "ttl": 82800.0, "username": "o'wned"}, got); diff != "" {
		t.Error(diff)
	}
	m.Write("rotate-role/s", nil)
	p2 := password()
	if p2 == p1 || s.Login("o'wned", p1) {
		t.Error("the old password is still good")
	}
	if ttl := m.Read("static-creds/s").Map(t)["ttl"]; ttl != 86400.0 {
		t.Errorf("ttl %v after a rotation", ttl)
	}
	m.Advance(23 * time.Hour)
	if password() != p2 {
		t.Error("rotated too early")
	}
	m.Advance(time.Hour)
	p3 := password()
	if p3 == p2 {
		t.Error("not rotated when due")
	}
	m.Write("static-roles/s", object{"rotation_period": "1h", "rotation_statements": `ALTER ROLE {{username}} PASSWORD {{password}}`})
	if password() != p3 {
		t.Error("an update rotated")
	}
	m.Advance(time.Hour)
	if password() == p3 {
		t.Error("not rotated by the new period")
	}
	if diff := cmp.Diff(object{"keys": []any{"s"}}, m.List("static-roles").Map(t)); diff != "" {
		t.Error(diff)
	}
	last := password()
	m.Delete("static-roles/s")
	m.Fails(fault.NotFound, route.VerbRead, "static-roles/s", nil)
	if len(m.Timers()) != 0 || !s.Login("o'wned", last) {
		t.Error("deleting the role leaves a timer or changes the user")
	}
}

func TestStaticRolesThatCannotWorkAreRefused(t *testing.T) {
	n := newNode(t)
	n.Write("config/few", object{"plugin_name": "fake", "connection_url": "fake://", "username": "root", "password": "root-password", "allowed_roles": "other"})
	good := object{"db_name": "db", "username": "svc", "rotation_period": "24h"}
	for what, body := range map[string]object{
		"no connection":              {"db_name": ""},
		"unknown connection":         {"db_name": "none"},
		"not allowed":                {"db_name": "few"},
		"no user":                    {"username": ""},
		"the connection's own user":  {"username": "root"},
		"control characters":         {"username": "a\x00b"},
		"period too short":           {"rotation_period": "1s"},
		"neither period nor cron":    {"rotation_period": nil},
		"both":                       {"rotation_schedule": "0 0 * * *"},
		"window without schedule":    {"rotation_window": "1h"},
		"short window":               {"rotation_period": nil, "rotation_schedule": "0 0 * * *", "rotation_window": "1m"},
		"six fields":                 {"rotation_period": nil, "rotation_schedule": "0 0 0 * * *"},
		"a time zone":                {"rotation_period": nil, "rotation_schedule": "TZ=0"},
		"a zone that is not closed":  {"rotation_period": nil, "rotation_schedule": "CRON_TZ=UTC 0 0 * *"},
		"no such hour":               {"rotation_period": nil, "rotation_schedule": "0 25 * * *"},
		"no such day":                {"rotation_period": nil, "rotation_schedule": "0 0 30 2 *"},
		"a descriptor":               {"rotation_period": nil, "rotation_schedule": "@every 1s"},
		"password without skipping":  {"password": "x"},
		"unknown type of credential": {"credential_type": "client_certificate"},
	} {
		t.Run(what, func(t *testing.T) {
			full := object{}
			for k, v := range good {
				full[k] = v
			}
			for k, v := range body {
				full[k] = v
			}
			n.Fails(fault.Invalid, route.VerbWrite, "static-roles/s", full)
			n.Fails(fault.NotFound, route.VerbRead, "static-roles/s", nil)
		})
	}
	n.Fails(fault.Invalid, route.VerbWrite, "static-roles/app", good) // the name of a role
	n.Write("static-roles/s", good)
	n.Fails(fault.Invalid, route.VerbWrite, "static-roles/s", object{"username": "other"})
	n.Fails(fault.Invalid, route.VerbWrite, "roles/s", object{"db_name": "db"})
	n.Fails(fault.Invalid, route.VerbWrite, "rotate-role/none", nil)
	if err := n.Fails(fault.Invalid, route.VerbRead, "static-creds/none", nil); !strings.Contains(fault.Message(err), "unknown role") {
		t.Errorf("clients look for \"unknown role\" in %q", fault.Message(err))
	}
	n.Delete("static-roles/none")
}

func TestScheduleAndWindow(t *testing.T) {
	n := newNode(t)
	start := n.Clock.Now() // Friday 2026-01-02 03:04:05
	n.Write("static-roles/s", object{"db_name": "db", "username": "svc", "rotation_schedule": "0 6 * * SAT", "rotation_window": "2h"})
	first := n.db.password("svc")
	got := n.Read("static-creds/s").Map(t)
	want := object{"last_vault_rotation": start.Format(time.RFC3339Nano), "password": first, "rotation_schedule": "0 6 * * SAT", "rotation_window": 7200.0, "ttl": 96955.0, "username": "svc"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	saturday := time.Date(2026, 1, 3, 6, 0, 0, 0, time.UTC)
	advanceTo := func(at time.Time) { t.Helper(); n.Advance(at.Sub(n.Clock.Now())) }
	advanceTo(saturday.Add(-time.Second))
	if n.db.password("svc") != first {
		t.Error("rotated too early")
	}
	n.db.fail = failing("password", errUnreachable, false, 1)
	advanceTo(saturday.Add(30 * time.Minute))
	if n.db.password("svc") != first {
		t.Error("rotated although the database was away")
	}
	advanceTo(saturday.Add(time.Hour))
	second := n.db.password("svc")
	if second == first {
		t.Error("not retried within the window")
	}
	// No leader until after the next window: the one after it counts.
	advanceTo(saturday.AddDate(0, 0, 7).Add(3 * time.Hour))
	if n.db.password("svc") != second {
		t.Error("rotated outside the window")
	}
	advanceTo(saturday.AddDate(0, 0, 14))
	if n.db.password("svc") == second {
		t.Error("not rotated in the next window")
	}
}

func TestSkippedImportLeavesThePasswordAlone(t *testing.T) {
	n := newNode(t)
	n.Write("static-roles/s", object{"db_name": "db", "username": "svc", "rotation_period": "1h", "skip_import_rotation": true, "password": "svc-password"})
	if got := n.Read("static-creds/s").Map(t)["password"]; got != "svc-password" || n.db.password("svc") != "svc-password" {
		t.Errorf("password %v, the database has %q", got, n.db.password("svc"))
	}
	if n.Read("static-roles/s").Map(t)["skip_import_rotation"] != true {
		t.Error("skip_import_rotation is not read")
	}
	n.Advance(time.Hour)
	if got := n.Read("static-creds/s").Map(t)["password"]; got == "svc-password" || got != n.db.password("svc") {
		t.Errorf("after the period: %v, the database has %q", got, n.db.password("svc"))
	}
	n.db.users["other"] = "x"
	n.Write("static-roles/unknown", object{"db_name": "db", "username": "other", "rotation_period": "1h", "skip_import_rotation": true})
	if r := n.Read("static-creds/unknown"); len(r.Warnings) != 1 || r.Map(t)["password"] != "" {
		t.Errorf("%s, %q", r.Data, r.Warnings)
	}
}

func TestRotationsOfOneRoleDoNotOverlap(t *testing.T) {
	n := newNode(t)
	n.Write("static-roles/s", object{"db_name": "db", "username": "svc", "rotation_period": "1h"})
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if err := n.Call(route.VerbWrite, "rotate-role/s", nil).Err; err != nil {
				t.Error(err)
			}
			if err := n.Call(route.VerbWrite, "rotate-root/db", nil).Err; err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if got := n.Read("static-creds/s").Map(t)["password"]; got != n.db.password("svc") {
		t.Errorf("stored %v, the database has %q", got, n.db.password("svc"))
	}
	n.Read("creds/app")
}

func TestRootPasswordIsKnownToNobodyAfterRotation(t *testing.T) {
	s := pgtest.Start(t)
	s.Exec(`CREATE ROLE own SUPERUSER LOGIN PASSWORD 'first-password'`)
	for _, more := range []object{nil, {"password_authentication": "scram-sha-256"}, {"root_rotation_statements": `ALTER USER "{{username}}" WITH PASSWORD '{{password}}';`}, {"password_policy": "test"}} {
		m := mount(t)
		s.Exec(`ALTER ROLE own PASSWORD 'first-password'`)
		configure(t, m, s, object{"username": "own", "password": "first-password"})
		if more != nil {
			m.Write("config/pg", more)
		}
		m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole})
		issue(t, m, "app") // a pool with the old password
		m.Write("rotate-root/pg", nil)
		if s.Login("own", "first-password") {
			t.Errorf("%v: the old password is still good", more)
		}
		c := issue(t, m, "app")
		m.Write("rotate-root/pg", nil)
		revoke(t, m, c)
		if got := fmt.Sprintf("%s", m.Read("config/pg").Data); strings.Contains(got, "Pw-") {
			t.Errorf("%v: read %s", more, got)
		}
		if len(m.Timers()) != 0 {
			t.Errorf("timers %v", m.Timers())
		}
	}
	m := mount(t)
	m.Fails(fault.Invalid, route.VerbWrite, "rotate-root/none", nil)
	m.Write("config/url", object{"plugin_name": "postgresql", "connection_url": s.URL("own", "x"), "verify_connection": false})
	m.Fails(fault.Invalid, route.VerbWrite, "rotate-root/url", nil)
}
