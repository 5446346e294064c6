package faults_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/pgtest"
)

// worker is a client under whose requests the server is killed. It keeps a
// ledger of what was acknowledged.
type worker interface {
	// work sends one or a few requests. It returns false when an answer stayed
	// out, and an error if the server broke a promise.
	work(ctx context.Context) (goOn bool, err error)
	// settle finds out, after a restart, what came of the request without an
	// answer, and checks what was acknowledged in this round.
	settle() error
	// verify checks everything that was ever acknowledged.
	verify() error
}

// TestKilledUnderLoad kills the server again and again while clients write.
// Nothing that was acknowledged may be lost, no index may differ from what it
// points to, and no database user may be without a lease or an intent.
func TestKilledUnderLoad(t *testing.T) {
	pg := pgtest.Start(t)
	n := newNode(t, place{})
	n.showLog()
	prepare(t, n, pg)
	workers := crew(t, n)
	kills := amount(t, "COFFER_FAULTS_KILLS", 15)
	var slowest time.Duration
	for i := range kills {
		between := 300*time.Millisecond + rand.N(1200*time.Millisecond)
		round(t, n, workers, between)
		all := n.readRows()
		all.audit(t)
		all.auditUsers(t, pg.Roles("v-"))
		began := clock.System{}.Now()
		n.restart()
		slowest = max(slowest, clock.System{}.Now().Sub(began))
		for _, w := range workers {
			if err := w.settle(); err != nil {
				t.Errorf("%T: %v", w, err)
			}
		}
		if t.Failed() {
			t.Fatalf("after kill %d", i+1)
		}
	}
	for _, w := range workers {
		if err := w.verify(); err != nil {
			t.Errorf("%T: %v", w, err)
		}
		t.Log(w)
	}
	t.Logf("%d kills, the slowest restart took %v", kills, slowest)
	if slowest > 5*time.Second {
		t.Errorf("a restart took %v", slowest)
	}
	noUserStays(t, n, pg)
}

// round lets the workers work for a while and kills the server meanwhile.
func round(t *testing.T, n *node, workers []worker, length time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(background())
	defer cancel()
	var all sync.WaitGroup
	for _, w := range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				goOn, err := w.work(ctx)
				if err != nil {
					t.Errorf("%T: %v", w, err)
				}
				if err != nil || !goOn {
					return
				}
			}
		})
	}
	<-time.After(length)
	n.kill()
	cancel()
	all.Wait()
}

// noUserStays ends all leases and lets the intents' time come: then no user is
// left in the database.
func noUserStays(t *testing.T, n *node, pg *pgtest.Server) {
	t.Helper()
	n.call(http.MethodPut, "sys/leases/revoke-prefix/database/creds", n.Root, nil).must(t, 204)
	n.kill()
	all := n.readRows()
	all.audit(t)
	if len(all.leases) > 0 {
		t.Errorf("%d leases are left after the revocation of all", len(all.leases))
	}
	users := pg.Roles("v-")
	t.Logf("%d users of unfinished requests", all.auditUsers(t, users))
	later := startLater(t, n, 11*time.Minute)
	eventually(t, 30*time.Second, "users of unfinished requests are gone", func() bool { return len(pg.Roles("v-")) == 0 })
	later.stop()
	if all = n.readRows(); len(all.intents) > 0 {
		t.Errorf("intents are left: %v", all.intents)
	}
	all.audit(t)
}

// prepare mounts what the workers use.
func prepare(t *testing.T, n *node, pg *pgtest.Server) {
	t.Helper()
	for _, m := range []struct {
		path string
		body object
	}{
		{"sys/mounts/secret", object{"type": "kv", "options": object{"version": "2"}}},
		{"sys/auth/approle", object{"type": "approle"}},
		{"sys/policies/acl/minter", object{"policy": `path "auth/token/create" { capabilities = ["create", "update"] }`}},
		{"auth/approle/role/app", object{"token_ttl": "1h", "token_policies": "default"}},
	} {
		n.call(http.MethodPost, m.path, n.Root, m.body).must(t, 204)
	}
	mountDatabase(t, n, "database", pg)
}

// mountDatabase mounts an engine that makes users in a PostgreSQL, with a role
// named app.
func mountDatabase(t *testing.T, n *node, path string, pg *pgtest.Server) {
	t.Helper()
	mountDatabaseIn(t, n, "", path, pg)
}

// mountDatabaseIn does so in a namespace, whose path ends with a slash.
func mountDatabaseIn(t *testing.T, n *node, namespace, path string, pg *pgtest.Server) {
	t.Helper()
	n.call(http.MethodPost, namespace+"sys/mounts/"+path, n.Root, object{"type": "database"}).must(t, 204)
	path = namespace + path
	n.call(http.MethodPost, path+"/config/pg", n.Root, object{
		"plugin_name": "postgresql-database-plugin", "connection_url": pg.Template("postgres"), "username": pgtest.Superuser,
		"password": pgtest.Password, "allowed_roles": "*",
	}).must(t, 204)
	n.call(http.MethodPost, path+"/roles/app", n.Root, object{
		"db_name": "pg", "default_ttl": "1h", "max_ttl": "24h",
		"creation_statements": `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';`,
	}).must(t, 204)
}

func crew(t *testing.T, n *node) []worker {
	t.Helper()
	counter := &counter{acked: map[int]int{}}
	role, err := data[struct {
		ID string `json:"role_id"`
	}](n.call(http.MethodGet, "auth/approle/role/app/role-id", n.Root, nil).must(t, 200))
	if err != nil {
		t.Fatal(err)
	}
	return []worker{
		&secretWorker{n: n, path: "secret/data/one"}, &secretWorker{n: n, path: "secret/data/two"},
		&counterWorker{n: n, shared: counter}, &counterWorker{n: n, shared: counter},
		&tokenWorker{n: n}, &loginWorker{n: n, role: role.ID},
		&databaseWorker{n: n}, &databaseWorker{n: n},
	}
}

// unexpected words an answer that the server had no reason to give.
func unexpected(a answer) error { return fmt.Errorf("unexpected answer: %w", a.error()) }
