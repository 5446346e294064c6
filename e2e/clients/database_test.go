package clients_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/pgtest"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// createUser makes a user that can log in.
const createUser = `CREATE ROLE "{{name}}" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`

// eventually polls until a condition holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s: not so in time", what)
		}
	}
}

func TestDatabaseCredentials(t *testing.T) {
	pg := pgtest.Start(t)
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		c.sys("Mount", "db", in{"type": "database"}).ok()
		c.logical("Write", "db/config/pg", in{
			"plugin_name": "postgresql-database-plugin", "allowed_roles": "app,svc", "connection_url": pg.Template("postgres"),
			"username": pgtest.Superuser, "password": pgtest.Password,
		}).ok()
		c.logical("Read", "db/config/pg").has(in{"data|plugin_name": "postgresql-database-plugin", "data|allowed_roles": []string{"app", "svc"}, "data|connection_details|password": nil})
		c.logical("Write", "db/config/bad", in{"plugin_name": "postgresql-database-plugin", "connection_url": "postgresql://x:y@127.0.0.1:1/none"}).fails(http.StatusBadRequest, "")
		c.logical("Write", "db/roles/app", in{"db_name": "pg", "creation_statements": createUser, "default_ttl": "5m", "max_ttl": "1h"}).ok()
		c.logical("Read", "db/roles/app").has(in{"data|creation_statements": []string{createUser}, "data|default_ttl": 300, "data|max_ttl": 3600})

		lent := c.logical("Read", "db/creds/app").has(in{"lease_duration": 300, "renewable": true})
		id, user, password := lent.text("lease_id"), lent.text("data|username"), lent.text("data|password")
		if !pg.Login(user, password) {
			t.Fatal("the credentials do not log in")
		}
		c.sys("Lookup", id).has(in{"data|id": id, "data|ttl": seconds{295, 300}, "data|renewable": true, "data|last_renewal": nil})
		c.sys("Renew", id, 600).has(in{"lease_id": id, "lease_duration": seconds{599, 600}, "renewable": true})
		c.sys("Renew", id, 36000).has(in{"lease_duration": seconds{3590, 3600}})
		c.sys("Lookup", id).text("data|last_renewal")
		c.logical("List", "sys/leases/lookup/db/creds/app").ok()
		c.sys("Revoke", id).ok()
		eventually(t, "the user is gone", func() bool { return !pg.HasRole(user) })
		c.sys("Lookup", id).fails(http.StatusBadRequest, "invalid lease")
		c.sys("Renew", id, 60).fails(http.StatusBadRequest, "lease not found")

		// The end of a token is the end of what it was lent.
		s.Policy("app", `path "db/creds/app" { capabilities = ["read"] }`)
		token := s.Token("app")
		user = c.as(token).logical("Read", "db/creds/app").text("data|username")
		c.token("RevokeTree", token).ok()
		eventually(t, "the token's user is gone", func() bool { return !pg.HasRole(user) })

		user = c.logical("Read", "db/creds/app").text("data|username")
		c.sys("RevokePrefix", "db/creds").ok()
		eventually(t, "the mount's user is gone", func() bool { return !pg.HasRole(user) })
		user = c.logical("Read", "db/creds/app").text("data|username")
		c.sys("RevokeWithOptions", in{"LeaseID": "db/creds/app", "Prefix": true, "Sync": true}).ok()
		if pg.HasRole(user) {
			t.Error("the answer to a synchronous revocation came before it was done")
		}
		c.sys("RevokeForce", "db/creds").ok()
		c.logical("Read", "db/creds/none").fails(http.StatusBadRequest, "")
	})
}

func TestStaticDatabaseUsers(t *testing.T) {
	pg := pgtest.Start(t)
	tour(t, servertest.Options{}, func(t *testing.T, s *servertest.Server, c *client) {
		name := "svc_" + c.kind
		pg.Exec(`CREATE ROLE "` + name + `" LOGIN`)
		c.sys("Mount", "db", in{"type": "database"}).ok()
		c.logical("Write", "db/config/pg", in{
			"plugin_name": "postgresql-database-plugin", "allowed_roles": "*", "connection_url": pg.Template("postgres"),
			"username": pgtest.Superuser, "password": pgtest.Password,
		}).ok()
		c.logical("Write", "db/static-roles/svc", in{"db_name": "pg", "username": name, "rotation_period": "24h"}).ok()
		lent := c.logical("Read", "db/static-creds/svc").has(in{"data|username": name, "data|rotation_period": 86400, "data|ttl": seconds{86390, 86400}, "lease_id": ""})
		old := lent.text("data|password")
		if !pg.Login(name, old) {
			t.Fatal("the credentials do not log in")
		}
		c.logical("Write", "db/rotate-role/svc", in{}).ok()
		fresh := c.logical("Read", "db/static-creds/svc").text("data|password")
		if fresh == old || pg.Login(name, old) || !pg.Login(name, fresh) {
			t.Error("the password was not rotated")
		}
		c.logical("List", "db/static-roles").has(in{"data|keys": []string{"svc"}})
		c.logical("Delete", "db/static-roles/svc").ok()
		c.logical("Write", "db/reset/pg", in{}).ok()
		c.logical("List", "db/config").has(in{"data|keys": []string{"pg"}})
	})
}
