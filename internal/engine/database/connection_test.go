package database_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/pgtest"
	"github.com/cofferhq/coffer/internal/route"
)

func TestConnectionIsReadAsItWasWritten(t *testing.T) {
	m := mount(t)
	const url = "postgresql://{{username}}:{{password}}@127.0.0.1:1/x?sslmode=disable"
	m.Write("config/x", object{"plugin_name": "postgresql", "connection_url": url, "username": "a", "password": "b", "verify_connection": false,
		"allowed_roles": "r, s", "max_open_connections": 3, "max_connection_lifetime": "5m", "rotation_statements": []string{`ALTER ROLE "{{name}}" PASSWORD '{{password}}'`}})
	want := object{
		"allowed_roles": []any{"r", "s"}, "password_policy": "", "plugin_name": "postgresql", "plugin_version": "",
		"connection_details":                 object{"connection_url": url, "username": "a", "max_open_connections": 3.0, "max_connection_lifetime": "5m"},
		"root_credentials_rotate_statements": []any{`ALTER ROLE "{{name}}" PASSWORD '{{password}}'`},
	}
	if diff := cmp.Diff(want, m.Read("config/x").Map(t)); diff != "" {
		t.Error(diff)
	}
	m.Write("config/x", object{"username": "c", "allowed_roles": []string{}, "verify_connection": false})
	got := m.Read("config/x").Map(t)
	if d := got["connection_details"].(object); d["username"] != "c" || d["connection_url"] != url || len(got["allowed_roles"].([]any)) != 0 {
		t.Errorf("after an update: %v", got)
	}
	if diff := cmp.Diff(object{"keys": []any{"x"}}, m.List("config").Map(t)); diff != "" {
		t.Error(diff)
	}
	m.Delete("config/x")
	m.Delete("config/x")
	m.Fails(fault.NotFound, route.VerbRead, "config/x", nil)
	m.Fails(fault.NotFound, route.VerbList, "config", nil)
}

func TestConnectionsThatCannotWorkAreRefused(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	for what, body := range map[string]object{
		"no plugin":            {"plugin_name": ""},
		"unknown plugin":       {"plugin_name": "nope"},
		"no URL":               {"connection_url": ""},
		"wrong password":       {"password": "wrong"},
		"wrong user":           {"username": "nobody"},
		"wrong database":       {"connection_url": s.Template("none")},
		"nothing listens":      {"connection_url": "postgresql://{{username}}:{{password}}@127.0.0.1:1/x?sslmode=disable"},
		"no such host":         {"connection_url": "postgresql://{{username}}:{{password}}@host.invalid/x?sslmode=disable"},
		"TLS is not offered":   {"connection_url": strings.Replace(s.Template("postgres"), "disable", "require", 1)},
		"unknown policy":       {"password_policy": "none"},
		"broken template":      {"username_template": "{{.RoleName"},
		"growing template":     {"username_template": `{{$a := "aaaa"}}` + strings.Repeat(`{{$a = print $a $a}}`, 100) + "{{random 9}}"},
		"escaping template":    {"username_template": `{{$a := "\\"}}` + strings.Repeat(`{{$a = js $a}}`, 100) + "{{random 9}}"},
		"long template":        {"username_template": "{{random 9}}" + strings.Repeat("x", 5000)},
		"looping template":     {"username_template": "{{range 1000000000}}{{end}}"},
		"unknown field":        {"username_template": "{{.Password}}{{random 9}}"},
		"statements that stop": {"root_rotation_statements": "COMMIT"},
	} {
		t.Run(what, func(t *testing.T) {
			full := object{"plugin_name": "postgresql-database-plugin", "connection_url": s.Template("postgres"), "username": pgtest.Superuser, "password": pgtest.Password}
			for k, v := range body {
				full[k] = v
			}
			err := m.Fails(fault.Invalid, route.VerbWrite, "config/bad", full)
			if text := fault.Message(err); text == "" || strings.Contains(text, pgtest.Password) || strings.Contains(text, "127.0.0.1") {
				t.Errorf("message %q", text)
			}
			m.Fails(fault.NotFound, route.VerbRead, "config/bad", nil)
		})
	}
	err := m.Fails(fault.Invalid, route.VerbWrite, "config/bad", object{"plugin_name": "nope", "connection_url": "x"})
	if !strings.Contains(fault.Message(err), "plugin not found") {
		t.Errorf("clients look for \"plugin not found\" in %q", fault.Message(err))
	}
}

func TestPasswordsInConnectionStringsAreNeverRead(t *testing.T) {
	m := mount(t)
	const canary = "c4n4ry-Sekret"
	for _, url := range []string{
		"postgresql://u:" + canary + "@h/x",
		"postgresql://u:%20" + canary + "@h/x",
		"postgres://u:" + canary + "@h1:1,h2:2/x?sslmode=disable",
		"postgresql://u@h/x?password=" + canary + "&sslmode=disable",
		"postgresql://u:a@h/x?sslmode=disable&sslpassword=" + canary,
		"host=h user=u password=" + canary + " dbname=x",
		"host=h user=u PASSWORD = '" + canary + " \\' x' dbname=x",
		"password=" + canary + " user=u host=h",
	} {
		r := m.Write("config/x", object{"plugin_name": "postgresql", "connection_url": url, "verify_connection": false})
		if len(r.Warnings) != 1 || strings.Contains(r.Warnings[0], canary) {
			t.Errorf("%s: warnings %q", url, r.Warnings)
		}
		if got := string(m.Read("config/x").Data); strings.Contains(got, canary) || !strings.Contains(got, "*****") {
			t.Errorf("%s is read as %s", url, got)
		}
		m.Delete("config/x")
	}
}

func TestPlaceholdersAreNoPasswords(t *testing.T) {
	m := mount(t)
	for _, url := range []string{
		"postgresql://{{username}}:{{password}}@h/x?application_name=a:b@c",
		"postgresql://{{username}}@h/x?password={{password}}",
		"host=h user={{username}} password='{{password}}'",
		"postgresql://h1:1,h2:2/x",
	} {
		r := m.Write("config/x", object{"plugin_name": "postgresql", "connection_url": url, "username": "u", "password": "p", "verify_connection": false})
		if got := m.Read("config/x").Map(t)["connection_details"].(object)["connection_url"]; got != url || len(r.Warnings) != 0 {
			t.Errorf("%s is read as %s, warnings %q", url, got, r.Warnings)
		}
	}
}

func TestResetAndReloadOpenConnectionsAnew(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, nil)
	m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole})
	sessions := func() (pids string) {
		t.Helper()
		if err := s.Conn().QueryRow(t.Context(), "SELECT coalesce(string_agg(pid::text, ','), '') FROM pg_stat_activity WHERE application_name = 'coffer'").Scan(&pids); err != nil {
			t.Fatal(err)
		}
		return pids
	}
	issue(t, m, "app")
	before := sessions()
	issue(t, m, "app")
	if got := sessions(); got != before || got == "" {
		t.Errorf("connections are not kept: %q, then %q", before, got)
	}
	m.Write("reset/pg", nil)
	issue(t, m, "app")
	after := sessions()
	if strings.Contains(after, before) {
		t.Errorf("after a reset: %q, before: %q", after, before)
	}
	got := m.Write("reload/postgresql", nil).Map(t)
	if diff := cmp.Diff(object{"connections": []any{"pg"}, "count": 1.0}, got); diff != "" {
		t.Error(diff)
	}
	m.Fails(fault.Invalid, route.VerbWrite, "reset/none", nil)
	m.Fails(fault.Invalid, route.VerbWrite, "reload/none", nil)
}

func TestIdleConnectionsAreLimited(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	for idle, want := range map[int]int{-1: 0, 0: 1} {
		configure(t, m, s, object{"max_idle_connections": idle, "username_template": `{{.RoleName}}-{{random 10}}`})
		m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole})
		issue(t, m, "app")
		eventually(t, fmt.Sprintf("%d idle connections", want), func() bool {
			var n int
			if err := s.Conn().QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'coffer'").Scan(&n); err != nil {
				t.Fatal(err)
			}
			return n == want
		})
	}
}

func TestAllowedRolesAreGlobs(t *testing.T) {
	m := mount(t)
	for _, test := range []struct {
		allowed, role string
		want          bool
	}{
		{"*", "any", true}, {"app", "app", true}, {"app", "app2", false}, {"app*", "app2", true}, {"*-ro", "app-ro", true},
		{"a*b*c", "aXbYc", true}, {"a*b*c", "aXcYb", false}, {"a*a", "a", false}, {"", "x", false}, {"x,y", "y", true},
	} {
		m.Write("config/x", object{"plugin_name": "postgresql", "connection_url": "postgresql://h.invalid/x", "username": "u", "password": "p", "verify_connection": false, "allowed_roles": test.allowed})
		m.Write("roles/"+test.role, object{"db_name": "x", "creation_statements": createRole})
		// An allowed role gets as far as the database, which is not there.
		want := fault.Invalid
		if test.want {
			want = fault.Upstream
		}
		if got := m.Call(route.VerbRead, "creds/"+test.role, nil).Err; fault.KindOf(got) != want {
			t.Errorf("%q allows %q: %v", test.allowed, test.role, got)
		}
	}
}
