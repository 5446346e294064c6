//go:build unix

package postgres_test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/engine/database/postgres"
)

// connected returns both ends of a connection over TCP.
func connected(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return client, server
}

// TestLivenessIsToldFromTheSocket checks that only a connection on which
// nothing waits counts as standing.
func TestLivenessIsToldFromTheSocket(t *testing.T) {
	for _, c := range []struct {
		name   string
		before func(server net.Conn) error
		want   bool
	}{
		{"idle", func(net.Conn) error { return nil }, false},
		{"with a farewell", func(s net.Conn) error { _, err := s.Write([]byte("E")); return err }, true},
		{"ended", net.Conn.Close, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, server := connected(t)
			if err := c.before(server); err != nil {
				t.Fatal(err)
			}
			deadline := time.After(5 * time.Second)
			for postgres.Readable(client) != c.want {
				select {
				case <-deadline: // what was sent never came
					t.Fatalf("readable is not %t", c.want)
				default:
				}
			}
		})
	}
}

// TestLivenessDoesNotWaitForAReader checks a connection on which pgx has left a
// reader behind, as it does after a slow write.
func TestLivenessDoesNotWaitForAReader(t *testing.T) {
	client, _ := connected(t)
	raw, err := client.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	reading, done := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- raw.Read(func(uintptr) bool {
			close(reading)
			<-done
			return true
		})
	}()
	<-reading
	told := make(chan bool, 1)
	go func() { told <- postgres.Readable(client) }()
	select {
	case waiting := <-told:
		if waiting {
			t.Error("an idle connection counts as ended")
		}
	case <-time.After(5 * time.Second):
		t.Error("it waits for the reader")
	}
	close(done)
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
