package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cofferhq/coffer/internal/pgtest"
)

// patience is how long a story waits for something to come true.
const patience = 20 * time.Second

type command = func(ts *testscript.TestScript, neg bool, args []string)

// commands are those that stories have besides testscript's own.
func commands(pg *pgtest.Server) map[string]command {
	port := ports()
	dev := func(ts *testscript.TestScript, _ bool, _ []string) { dev(ts, port) }
	return map[string]command{
		"port":       port,
		"cert":       cert,
		"dev":        dev,
		"capture":    capture,
		"json":       jsonField,
		"eventually": eventually,
		"signal":     signal,
		"lines":      lines,
		"template":   template,
		"postgres":   func(ts *testscript.TestScript, neg bool, args []string) { postgres(ts, pg, args) },
		"gone":       func(ts *testscript.TestScript, neg bool, args []string) { gone(ts, neg, pg, args) },
		"sql":        func(ts *testscript.TestScript, neg bool, args []string) { sql(ts, neg, pg, args) },
	}
}

// usage fails the story when a command has too few arguments.
func usage(ts *testscript.TestScript, args []string, least int, text string) {
	if len(args) < least {
		ts.Fatalf("usage: %s", text)
	}
}

// ports returns the command that sets variables to free ports. It gives no port
// twice, as stories run at the same time and use theirs later.
func ports() command {
	var given sync.Map
	return func(ts *testscript.TestScript, _ bool, args []string) {
		usage(ts, args, 1, "port VAR...")
		for _, name := range args {
			for {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				ts.Check(err)
				port := l.Addr().(*net.TCPAddr).Port
				ts.Check(l.Close())
				if _, twice := given.LoadOrStore(port, true); !twice {
					ts.Setenv(name, strconv.Itoa(port))
					break
				}
			}
		}
	}
}

// dev prepares the environment for a development server that the story starts
// in the background at $VAULT_ADDR, as it is not to run at the usual port.
func dev(ts *testscript.TestScript, port command) {
	port(ts, false, []string{"PORT"})
	addr := "127.0.0.1:" + ts.Getenv("PORT")
	ts.Setenv("VAULT_DEV_LISTEN_ADDRESS", addr)
	ts.Setenv("VAULT_ADDR", "http://"+addr)
}

// capture sets a variable to what the last command printed, without the newline
// at its end.
func capture(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, args, 1, "capture VAR")
	ts.Setenv(args[0], strings.TrimRight(ts.ReadFile("stdout"), "\n"))
}

// jsonField sets a variable to a value in the JSON that the last command
// printed; a number in the path is an index.
func jsonField(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, args, 2, "json VAR PATH.TO.VALUE")
	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &v))
	for part := range strings.SplitSeq(args[1], ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i >= len(at) {
				ts.Fatalf("no element %s in %v", part, at)
			}
			v = at[i]
		}
	}
	text, ok := v.(string)
	if !ok {
		b, err := json.Marshal(v)
		ts.Check(err)
		text = string(b)
	}
	ts.Setenv(args[0], text)
}

// eventually runs a program again and again until it succeeds, or with ! fails.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, args, 1, "eventually PROGRAM ARGS...")
	wait(ts, strings.Join(args, " "), func() bool { return (ts.Exec(args[0], args[1:]...) == nil) != neg })
}

// wait polls until a condition holds.
func wait(ts *testscript.TestScript, what string, holds func() bool) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-deadline:
			ts.Fatalf("waited too long for: %s", what)
		case <-tick.C:
		}
	}
}

// signal sends a signal to the process that a file of its id names.
func signal(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, args, 2, "signal HUP|TERM|KILL FILE")
	sig, ok := map[string]syscall.Signal{"HUP": syscall.SIGHUP, "TERM": syscall.SIGTERM, "KILL": syscall.SIGKILL}[args[0]]
	if !ok {
		ts.Fatalf("unknown signal %s", args[0])
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[1])))
	ts.Check(err)
	ts.Check(syscall.Kill(pid, sig))
}

// lines sets variables to the text after a prefix, of the lines in a file that
// have it, in order.
func lines(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, args, 3, "lines FILE PREFIX VAR...")
	var found []string
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), args[1]); ok {
			found = append(found, strings.TrimSpace(rest))
		}
	}
	for i, name := range args[2:] {
		if i >= len(found) {
			ts.Fatalf("%s has only %d lines beginning with %q", args[0], len(found), args[1])
		}
		ts.Setenv(name, found[i])
	}
}

// template replaces the variables in a file.
func template(ts *testscript.TestScript, _ bool, args []string) {
	usage(ts, args, 1, "template FILE...")
	for _, name := range args {
		text := os.Expand(ts.ReadFile(name), ts.Getenv)
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// postgres makes a database with a table notes and sets PG_URL to its connection
// URL with placeholders, and PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD.
func postgres(ts *testscript.TestScript, pg *pgtest.Server, _ []string) {
	name := "story_" + strings.NewReplacer("-", "_").Replace(filepath.Base(ts.Name()))
	pg.Exec("CREATE DATABASE " + name)
	for key, value := range environment(pg, name) {
		ts.Setenv(key, value)
	}
	sql(ts, false, pg, []string{"CREATE TABLE notes (text text); INSERT INTO notes VALUES ('from the database')"})
}

// gone waits until no database role of these names exists. With ! they must all
// exist now.
func gone(ts *testscript.TestScript, neg bool, pg *pgtest.Server, args []string) {
	usage(ts, args, 1, "gone USER...")
	for _, name := range args {
		if neg && !pg.HasRole(name) {
			ts.Fatalf("there is no database user %s", name)
		}
		if !neg {
			wait(ts, "user "+name+" being gone", func() bool { return !pg.HasRole(name) })
		}
	}
}

// environment is where clients find a database.
func environment(pg *pgtest.Server, database string) map[string]string {
	return map[string]string{
		"PG_URL": pg.Template(database), "PGHOST": "127.0.0.1", "PGPORT": strconv.Itoa(pg.Port), "PGDATABASE": database,
		"PGUSER": pgtest.Superuser, "PGPASSWORD": pgtest.Password,
	}
}

// sql runs statements as $PGUSER, and prints the first value of the last. With !
// they must be refused.
func sql(ts *testscript.TestScript, neg bool, pg *pgtest.Server, args []string) {
	usage(ts, args, 1, "sql STATEMENTS")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	out, err := query(ctx, pg.DatabaseURL(ts.Getenv("PGDATABASE"), ts.Getenv("PGUSER"), ts.Getenv("PGPASSWORD")), args[0])
	switch {
	case neg && err == nil:
		ts.Fatalf("unexpected success")
	case !neg && err != nil:
		ts.Fatalf("%s: %v", args[0], err)
	case err != nil:
		out = err.Error()
	}
	_, err = fmt.Fprintln(ts.Stdout(), out)
	ts.Check(err)
}

func query(ctx context.Context, url, statements string) (string, error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	results, err := conn.PgConn().Exec(ctx, statements).ReadAll()
	if err != nil || len(results) == 0 {
		return "", err
	}
	if rows := results[len(results)-1].Rows; len(rows) > 0 && len(rows[0]) > 0 {
		return string(rows[0][0]), nil
	}
	return "", nil
}
