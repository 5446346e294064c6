package faults_test

import (
	"context"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/cli"
	"github.com/cofferhq/coffer/internal/serve"
	"github.com/cofferhq/coffer/internal/version"
)

// asCoffer is set in the environment of processes that are to be the server.
const asCoffer = "COFFER_FAULTS_AS_COFFER"

// TestMain makes this test binary be the binary under test.
func TestMain(m *testing.M) {
	if os.Getenv(asCoffer) == "" {
		os.Exit(m.Run())
	}
	app := cli.App{
		Stdio: cli.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, Env: os.Getenv, Version: version.Coffer,
		Server: serve.Server, Diagnose: serve.Diagnose, VerifyAudit: serve.VerifyAudit,
	}
	os.Exit(app.Main(context.Background(), os.Args))
}

// amount is how much of something a test does: n unless the variable says
// otherwise.
func amount(t *testing.T, variable string, n int) int {
	t.Helper()
	text := os.Getenv(variable)
	if text == "" {
		return n
	}
	more, err := strconv.Atoi(text)
	if err != nil || more < 1 {
		t.Fatalf("%s=%q is no number", variable, text)
	}
	return more
}

// eventually waits until a condition holds.
func eventually(t *testing.T, patience time.Duration, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
