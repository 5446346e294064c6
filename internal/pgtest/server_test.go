package pgtest_test

import (
	"context"
	"testing"

	"github.com/cofferhq/coffer/internal/pgtest"
)

func TestServerKeepsItsDataOverARestart(t *testing.T) {
	s := pgtest.Start(t)
	s.Exec(`CREATE ROLE kept LOGIN PASSWORD 'kept-password'`)
	s.Stop()
	s.Start()
	if !s.HasRole("kept") {
		t.Fatal("the role is gone")
	}
	if !s.Login("kept", "kept-password") || s.Login("kept", "wrong") {
		t.Error("passwords are not checked")
	}
}

func TestDatabasesAreFresh(t *testing.T) {
	s := pgtest.Start(t)
	a, b := s.NewDatabase(), s.NewDatabase()
	if _, err := s.ConnTo(a).Exec(context.Background(), "CREATE TABLE t ()"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ConnTo(b).Exec(context.Background(), "SELECT 1 FROM t"); err == nil {
		t.Error("the second database has the first one's table")
	}
}
