package faults_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/pgtest"
	"github.com/cofferhq/coffer/internal/store"
)

// TestKilledWhileDeletingANamespace kills the server again and again while it
// deletes namespaces with database users: in the end every user has been dropped
// and no row of the namespaces is left.
func TestKilledWhileDeletingANamespace(t *testing.T) {
	pg := pgtest.Start(t)
	n := newNode(t, place{})
	n.showLog()
	prepare(t, n, pg)
	n.call(http.MethodGet, "database/creds/app", n.Root, nil).must(t, 200) // one that stays
	rounds := amount(t, "COFFER_FAULTS_NAMESPACES", 6)
	for i := range rounds {
		name := fmt.Sprintf("team%d", i)
		n.call(http.MethodPost, "sys/namespaces/"+name, n.Root, nil).must(t, 200)
		mountDatabaseIn(t, n, name+"/", "database", pg)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 5 {
					n.call(http.MethodGet, name+"/database/creds/app", n.Root, nil).must(t, 200)
					n.call(http.MethodPost, name+"/auth/token/create", n.Root, object{"policies": []string{"default"}}).must(t, 200)
				}
			})
		}
		all.Wait()
		if got := len(pg.Roles("v-")); got != 21 {
			t.Fatalf("there are %d users, want 21", got)
		}
		n.call(http.MethodDelete, "sys/namespaces/"+name, n.Root, nil).must(t, 200)
		for range 3 {
			<-time.After(rand.N(60 * time.Millisecond))
			n.kill()
			n.restart()
		}
		eventually(t, time.Minute, name+" is gone", func() bool {
			return n.call(http.MethodGet, "sys/namespaces/"+name, n.Root, nil).Status == http.StatusNotFound
		})
		if got := len(pg.Roles("v-")); got != 1 {
			t.Errorf("after round %d there are %d users, want the one outside", i, got)
		}
	}
	n.kill()
	rows := n.readRows()
	rows.audit(t)
	for ns, count := range rows.spaces {
		if ns != store.RootNamespace {
			t.Errorf("%d rows of namespace %d are left", count, ns)
		}
	}
	if len(rows.leases) != 1 {
		t.Errorf("there are %d leases, want the one outside", len(rows.leases))
	}
}
