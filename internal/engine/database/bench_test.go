package database_test

import (
	"context"
	"crypto/rand"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/database"
	"github.com/cofferhq/coffer/internal/engine/database/postgres"
	"github.com/cofferhq/coffer/internal/pgtest"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

type noTimers struct{}

func (noTimers) Schedule(store.Txn, string, time.Time) error { return nil }
func (noTimers) Cancel(store.Txn, string) error              { return nil }

const benchmarkCallers = 16 // times GOMAXPROCS

// BenchmarkCreds makes users through the engine, BenchmarkBare the same users
// through a bare pool of the same size: the engine should reach nine tenths of
// it.
func BenchmarkCreds(b *testing.B) {
	s := pgtest.Start(b)
	db := mem.New()
	defer db.Close()
	typ := database.Type(postgres.Driver())
	storage := engine.NewStorage(store.RootNamespace, 7, db)
	instance, err := typ.New(engine.Host{
		Storage: storage, Clock: clock.System{}, Rand: rand.Reader, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Timers: noTimers{},
		Passwords: func(context.Context, string) (string, error) { return rand.Text()[:20], nil },
	})
	if err != nil {
		b.Fatal(err)
	}
	defer instance.(engine.Closer).Close()
	table, err := route.NewTable(typ.Routes)
	if err != nil {
		b.Fatal(err)
	}
	call := func(verb route.Verb, path, body string) error {
		var match route.Match
		e, _ := table.Find(verb, path, &match)
		c := &route.Call{Verb: verb, Mount: route.Mount{DefaultTTL: time.Hour, MaxTTL: time.Hour}, Caller: route.Caller{DisplayName: "token"}}
		if c.Body, err = wire.ParseObject([]byte(body), wire.DefaultLimits); err != nil {
			return err
		}
		c.SetMatch(&match, e)
		reply, err := e.Handle(b.Context(), instance, c)
		if err == nil && reply.Issued != nil {
			err = storage.Update(b.Context(), reply.Issued.Commit)
		}
		return err
	}
	if err := call(route.VerbWrite, "config/pg", `{"plugin_name":"postgresql","connection_url":"`+s.Template("postgres")+`","username":"`+pgtest.Superuser+`","password":"`+pgtest.Password+`","allowed_roles":"*"}`); err != nil {
		b.Fatal(err)
	}
	if err := call(route.VerbWrite, "roles/app", `{"db_name":"pg","creation_statements":["CREATE ROLE \"{{name}}\" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"]}`); err != nil {
		b.Fatal(err)
	}
	b.SetParallelism(benchmarkCallers)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := call(route.VerbRead, "creds/app", ""); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

func BenchmarkBare(b *testing.B) {
	s := pgtest.Start(b)
	config, err := pgxpool.ParseConfig(s.URL(pgtest.Superuser, pgtest.Password))
	if err != nil {
		b.Fatal(err)
	}
	config.MaxConns = 4
	pool, err := pgxpool.NewWithConfig(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	defer pool.Close()
	b.SetParallelism(benchmarkCallers)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			sql := `CREATE ROLE "v-token-app-` + rand.Text() + `" WITH LOGIN PASSWORD '` + rand.Text()[:20] + `' VALID UNTIL '2099-01-01'`
			if _, err := pool.Exec(b.Context(), sql); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
