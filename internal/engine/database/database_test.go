package database_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/database"
	"github.com/cofferhq/coffer/internal/engine/database/postgres"
	"github.com/cofferhq/coffer/internal/engine/enginetest"
	"github.com/cofferhq/coffer/internal/pgtest"
	"github.com/cofferhq/coffer/internal/route"
)

const createRole = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';`

// mount mounts the engine with the drivers, PostgreSQL's if none are named. The
// clock stands at the present, since PostgreSQL goes by its own.
func mount(t *testing.T, drivers ...database.Driver) *enginetest.Mount {
	t.Helper()
	if len(drivers) == 0 {
		drivers = []database.Driver{postgres.Driver()}
	}
	typ := database.Type(drivers...)
	m := enginetest.New(t, typ.Routes, typ.New)
	m.Clock.Advance(clock.System{}.Now().Sub(m.Clock.Now()))
	return m
}

type object = map[string]any

// configure writes the connection pg to a server.
func configure(t *testing.T, m *enginetest.Mount, s *pgtest.Server, more object) {
	t.Helper()
	body := object{"plugin_name": "postgresql-database-plugin", "connection_url": s.Template("postgres"), "username": pgtest.Superuser, "password": pgtest.Password, "allowed_roles": "*"}
	for k, v := range more {
		body[k] = v
	}
	m.Write("config/pg", body)
}

type credentials struct {
	Username, Password string
	lease              *route.Lease
}

func issue(t *testing.T, m *enginetest.Mount, role string) credentials {
	t.Helper()
	r := m.Read("creds/" + role)
	var c credentials
	if err := json.Unmarshal(r.Data, &c); err != nil {
		t.Fatal(err)
	}
	c.lease = r.Issued
	return c
}

func revoke(t *testing.T, m *enginetest.Mount, c credentials) {
	t.Helper()
	if err := m.Instance.(engine.Revoker).Revoke(t.Context(), c.lease.Payload); err != nil {
		t.Fatalf("revoking: %v", err)
	}
}

func TestUserLivesAsLongAsItsLease(t *testing.T) {
	s := pgtest.Start(t)
	m := mount(t)
	configure(t, m, s, nil)
	m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole, "default_ttl": "10m", "max_ttl": "1h"})
	c := issue(t, m, "app")
	if !strings.HasPrefix(c.Username, "v-token-app-") {
		t.Errorf("username %q", c.Username)
	}
	if !s.Login(c.Username, c.Password) {
		t.Fatal("the new user cannot log in")
	}
	if c.lease.TTL != 10*time.Minute || c.lease.MaxTTL != time.Hour || !c.lease.Renewable {
		t.Errorf("lease %+v", c.lease)
	}
	if timers := m.Timers(); len(timers) != 0 {
		t.Errorf("timers left: %v", timers)
	}
	limits, err := m.Instance.(engine.Renewer).Renew(t.Context(), c.lease.Payload, m.Clock.Now().Add(2*time.Hour))
	if err != nil || limits.TTL != 10*time.Minute || limits.MaxTTL != time.Hour {
		t.Errorf("renewing: %+v, %v", limits, err)
	}
	var until time.Time
	if err := s.Conn().QueryRow(t.Context(), "SELECT rolvaliduntil FROM pg_roles WHERE rolname = $1", c.Username).Scan(&until); err != nil {
		t.Fatal(err)
	}
	if d := until.Sub(m.Clock.Now()); d < 2*time.Hour || d > 2*time.Hour+time.Minute {
		t.Errorf("after renewal the user is valid for %v", d)
	}
	revoke(t, m, c)
	if s.HasRole(c.Username) {
		t.Error("the user is still there")
	}
	revoke(t, m, c) // gone already: no error
}
