package faults_test

import (
	"net/http"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cofferhq/coffer/internal/pgtest"
)

// patience bounds how long revocations may take to find out that their
// database is back. Every failed attempt doubles the time to the next one.
const patience = 40 * time.Second

// TestDeadDatabase revokes fifty leases while their database is away. Another
// database's users and the secrets of KV are served meanwhile as if nothing had
// happened, and when the database is back every user goes.
func TestDeadDatabase(t *testing.T) {
	for _, c := range []struct {
		name string
		away func(t *testing.T, s *pgtest.Server) (back func())
	}{
		{"stopped", func(_ *testing.T, s *pgtest.Server) func() { s.Stop(); return s.Start }},
		{"hanging", hang},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of the time is spent waiting
			dead, healthy := pgtest.Start(t), pgtest.Start(t)
			n := newNode(t, place{})
			n.showLog()
			mountDatabase(t, n, "dead", dead)
			mountDatabase(t, n, "healthy", healthy)
			n.call(http.MethodPost, "sys/mounts/kv", n.Root, object{"type": "kv"}).must(t, 204)
			holder := newHolder(t, n)
			leases := issueMany(t, n, holder, "dead", 50)
			vanished := leases[7].user
			dead.Exec(`DROP ROLE "` + vanished + `"`)

			back := c.away(t, dead)
			a := n.call(http.MethodPost, "auth/token/revoke", n.Root, object{"token": holder}).must(t, 204)
			if a.Took > time.Second {
				t.Errorf("revoking the token took %v", a.Took)
			}
			stays := serveMeanwhile(t, n, 4*time.Second)
			t.Logf("meanwhile: %s", stays)
			if users := healthy.Roles("v-"); len(users) > 0 {
				t.Errorf("users of the other database are left: %v", users)
			}
			if alive, err := leased(n, leases[0].lease); err != nil || !alive {
				t.Errorf("the lease is there while its user may be: %t (%v)", alive, err)
			}

			back()
			eventually(t, patience, "every user is gone", func() bool { return len(dead.Roles("v-")) == 0 })
			goneLeases(t, n, leases)
			n.kill()
			n.readRows().audit(t)
		})
	}
}

// hang makes a database accept connections and statements and answer none.
func hang(t *testing.T, pg *pgtest.Server) (back func()) {
	t.Helper()
	conn := pg.Conn()
	defer conn.Close(background())
	rows, err := conn.Query(background(), "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
	if err != nil {
		t.Fatal(err)
	}
	sessions, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		t.Fatal(err)
	}
	signal := func(s syscall.Signal) {
		for _, pid := range sessions {
			_ = syscall.Kill(pid, s) // it may have ended meanwhile
		}
	}
	pg.Freeze()
	signal(syscall.SIGSTOP)
	back = sync.OnceFunc(func() {
		signal(syscall.SIGCONT)
		pg.Thaw()
	})
	t.Cleanup(back)
	return back
}

// newHolder makes a token that may ask for database users.
func newHolder(t *testing.T, n *node) string {
	t.Helper()
	n.call(http.MethodPost, "sys/policies/acl/users", n.Root, object{"policy": `path "+/creds/app" { capabilities = ["read"] }`}).must(t, 204)
	e, err := n.call(http.MethodPost, "auth/token/create", n.Root, object{"policies": []string{"users"}, "ttl": "1h"}).must(t, 200).open()
	if err != nil {
		t.Fatal(err)
	}
	return e.Auth.Token
}

// issueMany asks for many database users with one token.
func issueMany(t *testing.T, n *node, token, mount string, count int) []credential {
	t.Helper()
	asHolder := *n
	asHolder.Root = token
	all := make([]credential, count)
	for i := range all {
		var a answer
		if all[i], a = issue(background(), &asHolder, mount); !a.acknowledged() {
			t.Fatal(a.error())
		}
	}
	return all
}

// goneLeases waits until none of the leases is there.
func goneLeases(t *testing.T, n *node, leases []credential) {
	t.Helper()
	eventually(t, patience, "every lease is gone", func() bool {
		return !slices.ContainsFunc(leases, func(c credential) bool {
			alive, err := leased(n, c.lease)
			return err != nil || alive
		})
	})
}

// serveMeanwhile uses the healthy parts of the server for a while and returns
// how long they took. Nothing may fail.
func serveMeanwhile(t *testing.T, n *node, length time.Duration) *latencies {
	t.Helper()
	all := &latencies{}
	deadline := time.After(length)
	for {
		got, a := issue(background(), n, "healthy")
		if !a.acknowledged() {
			t.Fatal(a.error())
		}
		all.add(a)
		all.add(n.call(http.MethodPut, "sys/leases/revoke", n.Root, object{"lease_id": got.lease}).must(t, 204))
		all.add(n.call(http.MethodPost, "kv/a", n.Root, object{"b": "c"}).must(t, 204))
		all.add(n.call(http.MethodGet, "kv/a", n.Root, nil).must(t, 200))
		select {
		case <-deadline:
			if worst := all.quantile(1); worst > 2*time.Second {
				t.Errorf("a request beside the dead database took %v", worst)
			}
			return all
		default:
		}
	}
}
