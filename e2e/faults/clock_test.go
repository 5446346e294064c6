package faults_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/pgtest"
)

// TestExpiredWhileDown lets tokens and leases end while the server is down.
// None of them is good for anything from its first answer on, and what they
// stood for is cleaned up.
func TestExpiredWhileDown(t *testing.T) {
	pg := pgtest.Start(t)
	n := newNode(t, place{})
	n.showLog()
	prepare(t, n, pg)
	n.call(http.MethodPost, "database/roles/app", n.Root, object{
		"db_name": "pg", "default_ttl": "3s", "creation_statements": `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}';`,
	}).must(t, 204)
	credentials := issueMany(t, n, n.Root, "database", 5)
	ended := expiring(t, n)
	end := clock.System{}.Now().Add(3500 * time.Millisecond)
	if users := pg.Roles("v-"); len(users) != len(credentials) {
		t.Fatalf("%d users were made: %v", len(credentials), users)
	}
	n.kill()
	<-clock.System{}.After(end.Sub(clock.System{}.Now()))

	n.restart()
	for name, token := range ended {
		if alive, err := lives(n, token); err != nil || alive {
			t.Errorf("%s: a token that ended while the server was down lives: %t (%v)", name, alive, err)
		}
	}
	for _, c := range credentials {
		a := n.call(http.MethodPut, "sys/leases/renew", n.Root, object{"lease_id": c.lease})
		if a.acknowledged() || a.uncertain() {
			t.Errorf("renewing a lease that ended while the server was down: %s", a)
		}
	}
	eventually(t, readiness, "the users are gone", func() bool { return len(pg.Roles("v-")) == 0 })
	goneLeases(t, n, credentials)
	eventually(t, readiness, "the tokens are gone", func() bool { return tokens(t, n) == 1 })
	n.kill()
	all := n.readRows()
	all.audit(t)
	if len(all.leases) > 0 || len(all.tokens) != 1 {
		t.Errorf("%d leases and %d tokens are left", len(all.leases), len(all.tokens))
	}
}

// expiring makes tokens of all sorts that end within three seconds.
func expiring(t *testing.T, n *node) map[string]string {
	t.Helper()
	n.call(http.MethodPost, "auth/approle/role/brief", n.Root, object{"token_ttl": "3s", "bind_secret_id": false, "secret_id_bound_cidrs": "", "token_bound_cidrs": "127.0.0.0/8"}).must(t, 204)
	role, err := data[struct {
		ID string `json:"role_id"`
	}](n.call(http.MethodGet, "auth/approle/role/brief/role-id", n.Root, nil).must(t, 200))
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]string{}
	for _, c := range []struct {
		name, path string
		body       object
	}{
		{"plain", "auth/token/create", object{"ttl": "3s"}},
		{"orphan", "auth/token/create", object{"ttl": "3s", "no_parent": true}},
		{"periodic", "auth/token/create", object{"period": "3s"}},
		{"with an explicit end", "auth/token/create", object{"ttl": "3s", "explicit_max_ttl": "3s"}},
		{"with the root policy", "auth/token/create", object{"ttl": "3s", "policies": []string{"root"}}},
		{"batch", "auth/token/create", object{"ttl": "3s", "type": "batch", "policies": []string{"default"}}},
		{"limited", "auth/token/create", object{"ttl": "3s", "num_uses": 5}},
		{"of a login", "auth/approle/login", object{"role_id": role.ID}},
	} {
		e, err := n.call(http.MethodPost, c.path, n.Root, c.body).must(t, 200).open()
		if err != nil {
			t.Fatal(err)
		}
		made[c.name] = e.Auth.Token
	}
	return made
}
