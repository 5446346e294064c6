package pgtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Superuser and Password are those of every server's owner; clients log in with
// SCRAM-SHA-256.
const (
	Superuser = "postgres"
	Password  = "pgtest-superuser"
)

const patience = 30 * time.Second

// Server is a running PostgreSQL.
type Server struct {
	// Port is where it listens on 127.0.0.1; it stays the same over a restart.
	Port int

	t         testing.TB
	install   installation
	dir       string
	args      []string
	databases atomic.Int64

	process *exec.Cmd
	exited  chan error // receives once, when process has ended
}

// Start starts a server and stops it when the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	return start(t, nil)
}

// StartTLS starts a server that offers TLS with the given PEM certificate and
// key.
func StartTLS(t testing.TB, cert, key []byte) *Server {
	t.Helper()
	return start(t, map[string][]byte{"server.crt": cert, "server.key": key})
}

func start(t testing.TB, tls map[string][]byte) *Server {
	t.Helper()
	in, err := findInstallation()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "pgtest-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{t: t, install: in, dir: dir}
	if err := in.copyTemplate(dir); err != nil {
		t.Fatal(err)
	}
	if tls != nil {
		s.args = []string{"-c", "ssl=on"}
		for name, content := range tls {
			if err := in.writeFile(filepath.Join(dir, "data", name), content); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 5 { // another process may take the port in between
		s.Port = freePort(t)
		if err = s.launch(); err == nil {
			t.Cleanup(s.shutdown)
			return s
		}
	}
	t.Fatalf("starting PostgreSQL: %v", err)
	return nil
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// launch starts the process and waits until it answers.
func (s *Server) launch() error {
	args := append([]string{"-D", filepath.Join(s.dir, "data"), "-p", strconv.Itoa(s.Port)}, s.args...)
	s.process = s.install.command("postgres", args...)
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.process.Stdout, s.process.Stderr = log, log
	if err := s.process.Start(); err != nil {
		return err
	}
	s.exited = make(chan error, 1)
	go func(p *exec.Cmd, done chan error) { done <- p.Wait() }(s.process, s.exited)
	return s.waitReady()
}

func (s *Server) waitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.URL(Superuser, Password))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case err := <-s.exited:
			s.process = nil
			return fmt.Errorf("the server ended (%w): %s", err, s.Log())
		case <-ctx.Done():
			return fmt.Errorf("the server does not answer: %w", err)
		case <-tick.C:
		}
	}
}

// Log returns what the server has logged.
func (s *Server) Log() string {
	b, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Stop ends the server; its clients' connections break.
func (s *Server) Stop() {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatal("the server is not running")
	}
	s.shutdown()
}

func (s *Server) shutdown() {
	if s.process == nil {
		return
	}
	s.signal(syscall.SIGCONT)
	s.signal(syscall.SIGINT) // fast shutdown
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.signal(syscall.SIGQUIT)
		<-s.exited
	}
	s.process = nil
}

// Start starts the server again after Stop, with its data and on its port.
func (s *Server) Start() {
	s.t.Helper()
	if err := s.launch(); err != nil {
		s.t.Fatalf("starting PostgreSQL again: %v", err)
	}
}

// Freeze makes new connections hang: they are accepted and never answered.
func (s *Server) Freeze() { s.t.Helper(); s.signal(syscall.SIGSTOP) }

// Thaw ends a Freeze.
func (s *Server) Thaw() { s.t.Helper(); s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig os.Signal) {
	if err := s.process.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.t.Errorf("signalling PostgreSQL: %v", err)
	}
}

// URL returns the connection URL of a user, for the database postgres.
func (s *Server) URL(user, password string) string {
	return s.DatabaseURL("postgres", user, password)
}

// DatabaseURL returns the connection URL of a user for a database.
func (s *Server) DatabaseURL(database, user, password string) string {
	u := url.URL{Scheme: "postgresql", User: url.UserPassword(user, password), Host: "127.0.0.1:" + strconv.Itoa(s.Port), Path: "/" + database}
	u.RawQuery = "sslmode=" + s.sslmode()
	return u.String()
}

// Template returns a connection URL with the placeholders {{username}} and
// {{password}}.
func (s *Server) Template(database string) string {
	return fmt.Sprintf("postgresql://{{username}}:{{password}}@127.0.0.1:%d/%s?sslmode=%s", s.Port, url.PathEscape(database), s.sslmode())
}

func (s *Server) sslmode() string {
	if len(s.args) > 0 {
		return "require"
	}
	return "disable"
}

// NewDatabase creates an empty database and returns its name.
func (s *Server) NewDatabase() string {
	s.t.Helper()
	name := "test" + strconv.FormatInt(s.databases.Add(1), 10)
	s.Exec("CREATE DATABASE " + name)
	return name
}

// Conn opens a connection as the superuser, closed when the test ends.
func (s *Server) Conn() *pgx.Conn {
	s.t.Helper()
	return s.ConnTo("postgres")
}

// ConnTo is Conn for a database other than postgres.
func (s *Server) ConnTo(database string) *pgx.Conn {
	s.t.Helper()
	conn, err := pgx.Connect(context.Background(), s.DatabaseURL(database, Superuser, Password))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Login reports whether a user can log in with the password.
func (s *Server) Login(user, password string) bool {
	s.t.Helper()
	conn, err := pgx.Connect(context.Background(), s.URL(user, password))
	if err != nil {
		if text := err.Error(); !strings.Contains(text, "28P01") && !strings.Contains(text, "28000") {
			s.t.Fatalf("logging in as %q: %v", user, err)
		}
		return false
	}
	_ = conn.Close(context.Background())
	return true
}

// Exec runs statements as the superuser.
func (s *Server) Exec(sql string) {
	s.t.Helper()
	conn := s.Conn()
	defer conn.Close(context.Background())
	if _, err := conn.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// HasRole reports whether a role of that name exists.
func (s *Server) HasRole(name string) bool {
	s.t.Helper()
	conn := s.Conn()
	defer conn.Close(context.Background())
	var n int
	if err := conn.QueryRow(context.Background(), "SELECT count(*) FROM pg_roles WHERE rolname = $1", name).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n == 1
}

// Roles lists the roles whose names begin with prefix.
func (s *Server) Roles(prefix string) []string {
	s.t.Helper()
	conn := s.Conn()
	defer conn.Close(context.Background())
	rows, err := conn.Query(context.Background(), "SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1) ORDER BY 1", prefix)
	if err != nil {
		s.t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		s.t.Fatal(err)
	}
	return names
}
