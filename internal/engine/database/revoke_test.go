package database_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/pgtest"
)

func TestVanishedUserIsRevoked(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, nil)
	for role, statements := range map[string]any{"plain": "", "own": `DROP ROLE "{{name}}"`, "broken": "SELEKT"} {
		m.Write("roles/"+role, object{"db_name": "pg", "creation_statements": createRole, "revocation_statements": statements})
		c := issue(t, m, role)
		s.Exec(`DROP ROLE "` + c.Username + `"`)
		revoke(t, m, c)
	}
	m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole})
	c := issue(t, m, "app")
	s.Exec(`DROP ROLE "` + c.Username + `"`)
	if _, err := m.Instance.(engine.Renewer).Renew(t.Context(), c.lease.Payload, m.Clock.Now().Add(time.Hour)); fault.KindOf(err) != fault.Upstream {
		t.Errorf("renewing a user who is gone: %v", err)
	}
}

func TestBlankRevocationStatementsStillDropTheUser(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, nil)
	for _, statements := range []any{"", " ;", []string{}, []string{""}, []string{"-- DROP ROLE", "/* nothing */"}} {
		m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole, "revocation_statements": statements})
		c := issue(t, m, "app")
		revoke(t, m, c)
		if s.HasRole(c.Username) {
			t.Errorf("%q: the user is still there", statements)
		}
	}
}

func TestFailingRevocationSaysSo(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, nil)
	m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole, "revocation_statements": "SELEKT"})
	c := issue(t, m, "app")
	if err := m.Instance.(engine.Revoker).Revoke(t.Context(), c.lease.Payload); fault.KindOf(err) != fault.Upstream {
		t.Errorf("error %v", err)
	}
	m.Write("roles/app", object{"db_name": "pg", "revocation_statements": ""})
	revoke(t, m, c)
}

// hostile are names of databases, schemas and roles that try to leave their
// quotation.
var hostile = []string{`a"; DROP TABLE canary;--`, `';DROP TABLE canary;--`, `O'Brien`, `‘so“`, `$$`, `$1`, `$coffer$`, `a\`, `%I`, `Upper Case`}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

func TestDefaultRevocationWithHostileNames(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	// The owner may create roles but is not a superuser, so that both ways of
	// taking rights away are used.
	s.Exec(`CREATE ROLE admin LOGIN CREATEROLE PASSWORD 'admin-password'`)
	for i, name := range hostile {
		s.Exec("CREATE DATABASE " + quoted(name) + " OWNER admin")
		conn := s.ConnTo(name)
		sql := strings.ReplaceAll(`GRANT CREATE ON SCHEMA public TO admin; SET ROLE admin; CREATE TABLE public_canary (); CREATE SCHEMA @;
			CREATE TABLE @.@ (id serial); CREATE FUNCTION @.@() RETURNS int LANGUAGE sql AS 'SELECT 1'; CREATE TABLE @.canary ()`, "@", quoted(name))
		if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		for _, user := range []struct{ name, password string }{{pgtest.Superuser, pgtest.Password}, {"admin", "admin-password"}} {
			configure(t, m, s, object{"connection_url": s.Template(name), "username": user.name, "password": user.password, "username_template": "{{.DisplayName}}{{random 6}}"})
			q := quoted(name)
			m.Write("roles/app", object{"db_name": "pg", "creation_statements": []string{createRole,
				"GRANT USAGE ON SCHEMA " + q + ` TO "{{name}}"`, "GRANT SELECT ON ALL TABLES IN SCHEMA " + q + ` TO "{{name}}"`, "GRANT EXECUTE ON ALL ROUTINES IN SCHEMA " + q + ` TO "{{name}}"`,
				"GRANT USAGE ON ALL SEQUENCES IN SCHEMA " + q + ` TO "{{name}}"`, "GRANT CONNECT ON DATABASE " + q + ` TO "{{name}}"`}})
			m.Caller.DisplayName = name
			c := issue(t, m, "app")
			if !strings.HasPrefix(c.Username, name) || !s.Login(c.Username, c.Password) {
				t.Errorf("%q as %s: user %q", name, user.name, c.Username)
			}
			if err := m.Instance.(engine.Revoker).Revoke(t.Context(), c.lease.Payload); err != nil {
				t.Errorf("%q as %s: %v", name, user.name, err)
			}
			if s.HasRole(c.Username) {
				t.Errorf("%q as %s: the user is still there", name, user.name)
			}
		}
		if _, err := conn.Exec(t.Context(), "SELECT 1 FROM public_canary, "+quoted(name)+".canary"); err != nil {
			t.Errorf("%q (%d): canary: %v", name, i, err)
		}
	}
}

func TestRevocationEndsSessions(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, nil)
	m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole})
	c := issue(t, m, "app")
	session, err := pgx.Connect(t.Context(), s.URL(c.Username, c.Password))
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(context.Background())
	revoke(t, m, c)
	eventually(t, "the session ends", func() bool { return session.Ping(t.Context()) != nil })
}

// What a user owns is neither dropped nor handed to the administrator, with
// whose rights a function would then run.
func TestUserWhoOwnsObjectsIsLockedOut(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, nil)
	s.Exec("GRANT CREATE ON SCHEMA public TO PUBLIC")
	m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole})
	c := issue(t, m, "app")
	session, err := pgx.Connect(t.Context(), s.URL(c.Username, c.Password))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.PgConn().Exec(t.Context(), "CREATE TABLE precious (); CREATE FUNCTION trap() RETURNS text SECURITY DEFINER LANGUAGE sql AS 'SELECT current_user::text'").ReadAll(); err != nil {
		t.Fatal(err)
	}
	_ = session.Close(t.Context())
	err = m.Instance.(engine.Revoker).Revoke(t.Context(), c.lease.Payload)
	if fault.KindOf(err) != fault.Upstream || !strings.Contains(fault.Message(err), "owns objects") {
		t.Errorf("error %v", err)
	}
	if s.Login(c.Username, c.Password) {
		t.Error("the user can still log in")
	}
	var owner string
	if err := s.Conn().QueryRow(t.Context(), "SELECT trap()").Scan(&owner); err != nil || owner != c.Username {
		t.Errorf("the function runs as %q, %v", owner, err)
	}
	m.Write("roles/app", object{"db_name": "pg", "revocation_statements": []string{`DROP OWNED BY "{{name}}"`, `DROP ROLE "{{name}}"`}})
	revoke(t, m, c)
	if s.HasRole(c.Username) {
		t.Error("the user is still there")
	}
}
