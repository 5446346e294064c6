package database_test

import (
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/pgtest"
	"github.com/cofferhq/coffer/internal/route"
)

// proxy stands between the engine and a server and can swallow answers: the
// server has done its work, and the engine's connection breaks.
type proxy struct {
	port    int
	swallow atomic.Int32 // how many of the next answers
}

func startProxy(t *testing.T, s *pgtest.Server) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	p := &proxy{port: l.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
			if err != nil {
				_ = client.Close()
				continue
			}
			go p.pass(server, client, false)
			go p.pass(client, server, true)
		}
	}()
	return p
}

func (p *proxy) pass(to, from net.Conn, answers bool) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		// Only the answer to COMMIT ends a piece of work.
		if answers && strings.Contains(string(buf[:n]), "COMMIT\x00") && p.swallow.Load() > 0 {
			p.swallow.Add(-1)
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func TestConnectionThatBreaksAfterTheStatement(t *testing.T) {
	s := pgtest.Start(t)
	p := startProxy(t, s)
	m := mount(t)
	configure(t, m, s, object{"connection_url": fmt.Sprintf("postgresql://{{username}}:{{password}}@127.0.0.1:%d/postgres?sslmode=disable", p.port)})
	m.Write("roles/app", object{"db_name": "pg", "creation_statements": createRole})
	c := issue(t, m, "app")

	p.swallow.Store(1)
	m.Fails(fault.Upstream, route.VerbRead, "creds/app", nil)
	if got := s.Roles("v-"); len(got) != 1 || got[0] != c.Username {
		t.Errorf("users after a broken creation: %v", got)
	}
	if len(m.Timers()) != 1 {
		t.Error("the intent was cleared although the outcome was not known")
	}
	m.Advance(time.Hour)
	if len(m.Timers()) != 0 {
		t.Errorf("timers %v", m.Timers())
	}

	p.swallow.Store(1) // dropping is repeated
	revoke(t, m, c)
	if got := s.Roles("v-"); len(got) != 0 {
		t.Errorf("users after a broken revocation: %v", got)
	}

	s.Exec(`CREATE ROLE svc LOGIN PASSWORD 'first'`)
	p.swallow.Store(1) // so is setting a password
	m.Write("static-roles/s", object{"db_name": "pg", "username": "svc", "rotation_period": "1h"})
	if got := m.Read("static-creds/s").Map(t)["password"].(string); !s.Login("svc", got) {
		t.Error("the static role has another password than the database")
	}

	s.Exec(`CREATE ROLE own SUPERUSER LOGIN PASSWORD 'first'`)
	m.Write("config/pg", object{"username": "own", "password": "first"})
	p.swallow.Store(2) // this too, so it breaks twice
	m.Fails(fault.Upstream, route.VerbWrite, "rotate-root/pg", nil)
	if s.Login("own", "first") {
		t.Fatal("the password was not changed at all")
	}
	m.Write("reset/pg", nil)
	revoke(t, m, issue(t, m, "app"))
	if len(m.Timers()) != 1 || m.Timers()["root/pg"] != (time.Time{}) {
		t.Errorf("timers %v", m.Timers()) // only the static role's
	}
}
