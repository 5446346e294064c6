// Command coffer is Coffer: server, command line and all.
package main

import (
	"context"
	"os"

	"github.com/cofferhq/coffer/internal/cli"
	"github.com/cofferhq/coffer/internal/serve"
	"github.com/cofferhq/coffer/internal/version"
)

func main() {
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
