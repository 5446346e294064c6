package server_test

import (
	"crypto/rand"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/pgtest"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// The same for both sides of BenchmarkCredentialsBesideBare.
const (
	credentialClients     = 32
	credentialConnections = 4
)

// BenchmarkCredentialsBesideBare makes users in PostgreSQL through a whole
// server, with its log on the disk and its audit file, and through a bare pool of
// as many connections, in turn and with as many clients. The figure that counts
// is the ratio of their rates: the server is to reach nine tenths of the pool.
//
// PostgreSQL spends most of the time on turning passwords into SCRAM verifiers.
// With password_authentication=scram-sha-256 the server does that.
func BenchmarkCredentialsBesideBare(b *testing.B) {
	for _, authentication := range []string{"password", "scram-sha-256"} {
		b.Run(authentication, func(b *testing.B) { benchmarkCredentials(b, authentication) })
	}
}

func benchmarkCredentials(b *testing.B, authentication string) {
	pg := pgtest.Start(b)
	dir := b.TempDir()
	s := servertest.New(b, servertest.Options{Dir: dir, Change: func(c *config.Config) { c.Storage.Raft.Path = dir }})
	s.Must(http.StatusNoContent, http.MethodPost, "sys/mounts/database", map[string]string{"type": "database"})
	s.Must(http.StatusNoContent, http.MethodPost, "database/config/pg", map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "app", "connection_url": pg.Template("postgres"),
		"username": pgtest.Superuser, "password": pgtest.Password, "max_open_connections": credentialConnections, "password_authentication": authentication,
	})
	s.Must(http.StatusNoContent, http.MethodPost, "database/roles/app", map[string]any{
		"db_name": "pg", "default_ttl": "1h",
		"creation_statements": `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'`,
	})
	through := func() {
		if a := s.Do(http.MethodGet, "database/creds/app", servertest.RootToken, nil); a.Status != http.StatusOK {
			b.Errorf("making a user: %s", a)
		}
	}
	settings, err := pgxpool.ParseConfig(pg.URL(pgtest.Superuser, pgtest.Password))
	if err != nil {
		b.Fatal(err)
	}
	settings.MaxConns = credentialConnections
	pool, err := pgxpool.NewWithConfig(b.Context(), settings)
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	bare := func() {
		sql := `CREATE ROLE "v-token-app-` + rand.Text() + `" WITH LOGIN PASSWORD '` + rand.Text()[:20] + `' VALID UNTIL '2099-01-01'`
		if _, err := pool.Exec(b.Context(), sql); err != nil {
			b.Error(err)
		}
	}
	const turn = 200 // requests: short, as making a user takes longer the more there are
	var server, direct time.Duration
	made := 0
	for b.Loop() {
		if made++; made%turn != 0 {
			continue
		}
		server += together(turn, through)
		direct += together(turn, bare)
	}
	if direct > 0 {
		turns := float64(made / turn * turn)
		b.ReportMetric(turns/server.Seconds(), "users/s")
		b.ReportMetric(turns/direct.Seconds(), "bare-users/s")
		b.ReportMetric(direct.Seconds()/server.Seconds(), "of-bare")
	}
}

// together has all clients do something n times in all.
func together(n int, do func()) time.Duration {
	var left atomic.Int64
	left.Store(int64(n))
	var clients sync.WaitGroup
	began := time.Now()
	for range credentialClients {
		clients.Go(func() {
			for left.Add(-1) >= 0 {
				do()
			}
		})
	}
	clients.Wait()
	return time.Since(began)
}
