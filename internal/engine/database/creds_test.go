package database_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/pgtest"
	"github.com/cofferhq/coffer/internal/route"
)

// eventually waits for something that another process does.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("never: %s", what)
		}
	}
}

func TestRoleIsReadAsItWasWritten(t *testing.T) {
	m := mount(t)
	m.Write("roles/r", object{"db_name": "x", "creation_statements": "CREATE; GRANT a, b", "revocation_statements": []string{"DROP;"}, "default_ttl": 60, "credential_config": object{"password_policy": "test"}})
	want := object{
		"creation_statements": []any{"CREATE; GRANT a, b"}, "credential_type": "password", "credential_config": object{"password_policy": "test"}, "db_name": "x",
		"default_ttl": 60.0, "max_ttl": 0.0, "renew_statements": []any{}, "revocation_statements": []any{"DROP;"}, "rollback_statements": []any{},
	}
	if diff := cmp.Diff(want, m.Read("roles/r").Map(t)); diff != "" {
		t.Error(diff)
	}
	m.Write("roles/r", object{"db_name": "x", "max_ttl": "2h", "credential_config": object{}})
	want["max_ttl"] = 7200.0
	delete(want, "credential_config")
	if diff := cmp.Diff(want, m.Read("roles/r").Map(t)); diff != "" {
		t.Error(diff)
	}
	m.Delete("roles/r")
	m.Fails(fault.NotFound, route.VerbRead, "roles/r", nil)
	m.Fails(fault.NotFound, route.VerbList, "roles", nil)
}

func TestStatementsAreReadInAllForms(t *testing.T) {
	m := mount(t)
	for _, test := range []struct {
		in   any
		want []any
	}{
		{"", []any{}},
		{[]string{}, []any{}},
		{"SELECT a, b;", []any{"SELECT a, b;"}},
		{[]string{"A", "B, C"}, []any{"A", "B, C"}},
		{`["A","B"]`, []any{"A", "B"}},
		{"U0VMRUNUIDEsIDI7", []any{"SELECT 1, 2;"}},
		{"CREATE", []any{"CREATE"}},
	} {
		m.Write("roles/r", object{"db_name": "x", "creation_statements": test.in})
		if diff := cmp.Diff(test.want, m.Read("roles/r").Map(t)["creation_statements"]); diff != "" {
			t.Errorf("%v: %s", test.in, diff)
		}
	}
	m.Fails(fault.Invalid, route.VerbWrite, "roles/r", object{"db_name": "x", "creation_statements": object{}})
}

func TestRolesThatCannotWorkAreRefused(t *testing.T) {
	m := mount(t)
	m.Write("config/x", object{"plugin_name": "postgresql", "connection_url": "postgresql://h.invalid/x", "username": "u", "verify_connection": false})
	for what, body := range map[string]object{
		"no connection":           {"creation_statements": createRole},
		"unknown credential type": {"db_name": "x", "credential_type": "rsa_private_key"},
		"unknown policy":          {"db_name": "x", "credential_config": object{"password_policy": "none"}},
		"unknown setting":         {"db_name": "x", "credential_config": object{"key_bits": "2048"}},
		"unclosed quotation":      {"db_name": "x", "creation_statements": `CREATE ROLE "{{name}}`},
		"transaction control":     {"db_name": "x", "revocation_statements": "DROP; COMMIT"},
		"negative lifetime":       {"db_name": "x", "default_ttl": "-5s"},
	} {
		t.Run(what, func(t *testing.T) { m.Fails(fault.Invalid, route.VerbWrite, "roles/r", body) })
	}
	m.Fails(fault.NotFound, route.VerbList, "roles", nil)
}

func TestCredentialsThatCannotBeMade(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, object{"allowed_roles": []string{"broken", "half", "empty", "ghost"}})
	m.Write("roles/no", object{"db_name": "pg", "creation_statements": createRole})
	m.Write("roles/empty", object{"db_name": "pg"})
	m.Write("roles/ghost", object{"db_name": "none", "creation_statements": createRole})
	m.Write("roles/broken", object{"db_name": "pg", "creation_statements": "SELEKT 1"})
	m.Write("roles/half", object{"db_name": "pg", "creation_statements": []string{createRole, `GRANT SELECT ON nowhere TO "{{name}}"`}})
	for role, want := range map[string]fault.Kind{"x": fault.Invalid, "no": fault.Invalid, "empty": fault.Invalid, "ghost": fault.Invalid, "broken": fault.Upstream, "half": fault.Upstream} {
		err := m.Fails(want, route.VerbRead, "creds/"+role, nil)
		if fault.Message(err) == "" {
			t.Errorf("%s: no message in %v", role, err)
		}
	}
	if err := m.Fails(fault.Invalid, route.VerbRead, "creds/x", nil); !strings.Contains(fault.Message(err), "unknown role") {
		t.Errorf("clients look for \"unknown role\" in %q", fault.Message(err))
	}
	if left := s.Roles("v-"); len(left) != 0 {
		t.Errorf("users left: %v", left)
	}
	if timers := m.Timers(); len(timers) != 0 {
		t.Errorf("intents left: %v", timers)
	}
}

func TestRollbackStatementsRunAfterAFailure(t *testing.T) {
	s := pgtest.Start(t)
	s.Exec("CREATE TABLE failures (name text)")
	m := mount(t)
	configure(t, m, s, nil)
	m.Write("roles/half", object{"db_name": "pg", "creation_statements": []string{createRole, "SELEKT"}, "rollback_statements": `INSERT INTO failures VALUES ('{{name}}')`})
	m.Fails(fault.Upstream, route.VerbRead, "creds/half", nil)
	var name string
	if err := s.Conn().QueryRow(t.Context(), "SELECT name FROM failures").Scan(&name); err != nil || !strings.HasPrefix(name, "v-token-half-") {
		t.Errorf("%q, %v", name, err)
	}
}

func TestErrorsNeverRepeatAPassword(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, nil)
	for what, statement := range map[string]string{
		"as a syntax error":   `SELECT 1 '{{password}}'`,
		"as a word":           `SELECT "{{password}}"`,
		"as a number":         `SELECT '{{password}}'::int`,
		"raised":              `DO $$ BEGIN RAISE 'no: {{password}}'; END $$`,
		"raised in pieces":    `DO $$ BEGIN RAISE '%', right('{{password}}', 6); END $$`,
		"the connection's":    `DO $$ BEGIN RAISE 'no: ` + pgtest.Password + `'; END $$`,
		"without any":         `SELECT nonsense`,
		"as a name that goes": `DROP ROLE "{{password}}"`,
	} {
		t.Run(what, func(t *testing.T) {
			m.Write("roles/r", object{"db_name": "pg", "creation_statements": statement})
			err := m.Fails(fault.Upstream, route.VerbRead, "creds/r", nil)
			// Passwords of enginetest begin with this.
			for e := err; e != nil; e = errors.Unwrap(e) {
				if text := e.Error(); strings.Contains(text, "Pw-") || strings.Contains(text, pgtest.Password) {
					t.Errorf("error %q", text)
				}
			}
			if !strings.Contains(err.Error(), "SQLSTATE") {
				t.Errorf("error %q does not say what was wrong", err)
			}
		})
	}
}

func TestLeasesOutliveTheirRole(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, nil)
	s.Exec("CREATE TABLE farewells (name text)")
	m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole, "revocation_statements": []string{`INSERT INTO farewells VALUES ('old')`, `DROP ROLE "{{name}}"`}})
	a, b := issue(t, m, "app"), issue(t, m, "app")
	m.Write("roles/app", object{"db_name": "pg", "revocation_statements": []string{`INSERT INTO farewells VALUES ('new')`, `DROP ROLE "{{name}}"`}})
	revoke(t, m, a)
	m.Delete("roles/app")
	if _, err := m.Instance.(engine.Renewer).Renew(t.Context(), b.lease.Payload, m.Clock.Now().Add(time.Hour)); fault.KindOf(err) != fault.Invalid {
		t.Errorf("renewing without the role: %v", err)
	}
	revoke(t, m, b)
	var said string
	if err := s.Conn().QueryRow(t.Context(), "SELECT string_agg(name, ' ') FROM farewells").Scan(&said); err != nil || said != "new old" {
		t.Errorf("%q, %v", said, err)
	}
	if left := s.Roles("v-"); len(left) != 0 {
		t.Errorf("users left: %v", left)
	}
	m.Delete("config/pg")
	if err := m.Instance.(engine.Revoker).Revoke(t.Context(), a.lease.Payload); !strings.Contains(fault.Message(err), "config/pg") {
		t.Errorf("revoking without the connection: %v", err)
	}
	if err := m.Instance.(engine.Revoker).Revoke(t.Context(), []byte("{")); err == nil {
		t.Error("took a broken payload")
	}
}

func TestManyCredentialsAtOnce(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, nil)
	m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole})
	var mu sync.Mutex
	var all []credentials
	var group sync.WaitGroup
	for range 50 {
		group.Go(func() {
			r := m.Call(route.VerbRead, "creds/app", nil)
			var c credentials
			if r.Err != nil {
				t.Error(r.Err)
				return
			}
			if err := json.Unmarshal(r.Data, &c); err != nil {
				t.Error(err)
			}
			c.lease = r.Issued
			mu.Lock()
			defer mu.Unlock()
			all = append(all, c)
		})
	}
	group.Wait()
	if got := s.Roles("v-token-app-"); len(got) != 50 {
		t.Errorf("%d users", len(got))
	}
	for _, c := range all {
		group.Go(func() {
			if err := m.Instance.(engine.Revoker).Revoke(context.Background(), c.lease.Payload); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if left := s.Roles("v-"); len(left) != 0 {
		t.Errorf("users left: %v", left)
	}
}

func TestSCRAMKeepsPasswordsFromTheServer(t *testing.T) {
	s := pgtest.Start(t)
	s.Exec("ALTER SYSTEM SET log_statement = 'all'")
	s.Exec("SELECT pg_reload_conf()")
	m := mount(t)
	configure(t, m, s, object{"password_authentication": "scram-sha-256"})
	m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole})
	c := issue(t, m, "app")
	if !s.Login(c.Username, c.Password) {
		t.Error("the new user cannot log in")
	}
	s.Stop() // flushes the log
	if log := s.Log(); strings.Contains(log, c.Password) || !strings.Contains(log, c.Username) {
		t.Error("the server's log holds the password, or not the statement")
	}
}

func TestUserNames(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	unix := m.Clock.Now().Format("2006")
	for _, test := range []struct{ template, display, role, want string }{
		{"", "userpass-bob", "a-long-role-name", "v-userpass-a-long-r-"},
		{"{{.DisplayName}}_{{.RoleName}}_{{random 8}}", "O'Brien", `r"1`, `O'Brien_r"1_`},
		{`{{.RoleName | uppercase | replace "-" "_"}}{{unix_time | truncate 2}}{{random 5 | lowercase}}`, "d", "my-role", "MY_ROLE17"},
		{`{{printf "%s-%s" (.RoleName | sha256 | truncate 10) (uuid | truncate 8)}}`, "d", "r", "454349e422-"},
		{`{{timestamp "2006"}}-{{.RoleName | base64}}-{{random 4}}`, "d", "r", unix + "-cg==-"},
		{`{{.DisplayName | truncate_sha256 16}}{{random 4}}`, strings.Repeat("x", 40), "r", "xxxxxxxx"},
		{`{{if .RoleName}}{{.RoleName}}{{else}}none{{end}}-{{random 4}}`, "d", "r", "r-"},
		{"", "名前名前", "r", "v-名前-r-"},
		{"", "a\x00b\ncd", "r", "v-abcd-r-"},
		{`{{random 20}}{{.DisplayName}}`, strings.Repeat("é", 60), "r", ""},
	} {
		configure(t, m, s, object{"username_template": test.template})
		m.Write("roles/"+test.role, object{"db_name": "pg", "creation_statements": createRole})
		m.Caller.DisplayName = test.display
		c := issue(t, m, test.role)
		if !strings.HasPrefix(c.Username, test.want) || len(c.Username) > 63 {
			t.Errorf("%s: %q", test.template, c.Username)
		}
		if !s.Login(c.Username, c.Password) {
			t.Errorf("%q cannot log in", c.Username)
		}
		revoke(t, m, c)
		if s.HasRole(c.Username) {
			t.Errorf("%q was not dropped", c.Username)
		}
	}
	r := m.Write("config/pg", object{"username_template": strings.Repeat("x", 60) + "{{random 20}}"})
	if len(r.Warnings) != 0 {
		t.Errorf("three random characters are some: %q", r.Warnings)
	}
	r = m.Write("config/pg", object{"username_template": strings.Repeat("x", 63) + "{{random 20}}"})
	if len(r.Warnings) != 1 {
		t.Errorf("no warning of a random part that is cut off")
	}
}

// A template that makes one name twice must not cost the first user its life.
func TestCollidingNamesLeaveTheFirstUserAlone(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, object{"username_template": "{{.RoleName}}"})
	m.Write("roles/same", object{"db_name": "pg", "creation_statements": createRole})
	first := issue(t, m, "same")
	m.Fails(fault.Upstream, route.VerbRead, "creds/same", nil)
	m.Advance(time.Hour)
	if !s.Login(first.Username, first.Password) {
		t.Error("the first user is gone")
	}
}
