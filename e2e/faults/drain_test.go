package faults_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/cofferhq/coffer/internal/pgtest"
)

// TestTerminatedUnderLoad asks the server to end while clients write. A request
// that was accepted is answered, and one that was not has no effect.
func TestTerminatedUnderLoad(t *testing.T) {
	pg := pgtest.Start(t)
	n := newNode(t, place{})
	n.showLog()
	prepare(t, n, pg)
	// A user whose making takes longer than the server would need to end.
	n.call(http.MethodPost, "database/roles/app", n.Root, object{
		"db_name": "pg", "default_ttl": "1h", "creation_statements": `SELECT pg_sleep(2); CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}';`,
	}).must(t, 204)
	var clients sync.WaitGroup
	var slow credential
	var slowAnswer answer
	begun := make(chan struct{})
	clients.Go(func() {
		close(begun)
		slow, slowAnswer = issue(background(), n, "database")
	})
	<-begun
	workers := make([]*secretWorker, 8)
	for i := range workers {
		w := &secretWorker{n: n, path: "secret/data/" + string(rune('a'+i))}
		workers[i] = w
		clients.Go(func() {
			for goOn, err := true, error(nil); goOn; {
				if goOn, err = w.work(background()); err != nil {
					t.Errorf("%s: %v", w.path, err)
				}
			}
		})
	}
	eventually(t, readiness, "the database is at work", func() bool { return busy(t, pg) })
	if err := n.terminate(readiness); err != nil {
		t.Errorf("the server ended with %v", err)
	}
	clients.Wait()
	if !slowAnswer.acknowledged() {
		t.Errorf("the request under way: %s", slowAnswer)
	}
	if !strings.Contains(n.output(), "msg=sealed") {
		t.Error("it did not seal")
	}
	n.restart()
	for _, w := range workers {
		v, err := readVersion(n, w.path)
		if err != nil || v.Metadata.Version != w.version || w.version == 0 {
			t.Errorf("%s: version %d is there, %d was acknowledged (%v)", w.path, v.Metadata.Version, w.version, err)
		}
	}
	if alive, err := leased(n, slow.lease); err != nil || !alive || !pg.HasRole(slow.user) {
		t.Errorf("the user made meanwhile has its lease: %t, and is there: %t (%v)", alive, pg.HasRole(slow.user), err)
	}
	n.kill()
	n.readRows().audit(t)
}

// busy reports whether somebody's statement runs in the database.
func busy(t *testing.T, pg *pgtest.Server) bool {
	t.Helper()
	conn := pg.Conn()
	defer conn.Close(background())
	var count int
	err := conn.QueryRow(background(), "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid() AND state = 'active'").Scan(&count)
	if err != nil {
		t.Fatal(err)
	}
	return count > 0
}
