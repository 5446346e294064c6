// Package e2e_test tells whole stories: the binary as people run it, servers
// with real listeners and disks, a real PostgreSQL, and the commands of the
// documentation.
package e2e_test

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/cofferhq/coffer/internal/cli"
	"github.com/cofferhq/coffer/internal/serve"
	"github.com/cofferhq/coffer/internal/version"
)

// TestMain makes this test binary be the binary under test when it is run under
// one of its names. The folder with these names is in PATH.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"coffer": coffer, "vault": coffer, "bao": coffer})
}

// coffer is what cmd/coffer's main does.
func coffer() {
	app := cli.App{
		Stdio:       cli.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr},
		Env:         os.Getenv,
		Version:     version.Coffer,
		Server:      serve.Server,
		Diagnose:    serve.Diagnose,
		VerifyAudit: serve.VerifyAudit,
	}
	os.Exit(app.Main(context.Background(), os.Args))
}
