package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// Exit codes of every command.
const (
	exitOK     = 0
	exitLocal  = 1
	exitServer = 2
)

// Stdio is the standard streams of a command.
type Stdio struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// Hook runs a command that lives outside this package.
type Hook func(ctx context.Context, args []string, stdio Stdio) int

// App is the command line with what it takes from the outside.
type App struct {
	Stdio
	// Env looks up an environment variable, as os.Getenv.
	Env func(string) string
	// Version is the number of the version, as 1.2.3.
	Version string
	// Server runs the server command, Diagnose operator diagnose, VerifyAudit
	// audit verify; nil means that this build has none.
	Server      Hook
	Diagnose    Hook
	VerifyAudit Hook

	name string // of the program, from its first argument
}

// Main runs the command line args, the first of which names the program, and
// returns the exit code.
func (a *App) Main(ctx context.Context, args []string) int {
	run := *a
	run.name = "coffer"
	if len(args) > 0 && args[0] != "" {
		run.name = filepath.Base(args[0])
		args = args[1:]
	}
	if run.Env == nil {
		run.Env = func(string) string { return "" }
	}
	return run.dispatch(ctx, args)
}

func (a *App) dispatch(ctx context.Context, args []string) int {
	if len(args) > 0 {
		switch args[0] {
		case "-v", "-version", "--version":
			args = append([]string{"version"}, args[1:]...)
		case "-h", "-help", "--help", "help":
			args = args[1:]
			if len(args) == 0 {
				a.usage(a.Out, a.commands(), nil)
				return exitOK
			}
			args = append(args, "-help")
		case completeVerb:
			a.complete(args[1:])
			return exitOK
		case "-autocomplete-install", "--autocomplete-install", "-autocomplete-uninstall", "--autocomplete-uninstall":
			args = append([]string{"completion"}, args...)
		}
	}
	path, cmd, rest := a.commands().find(args)
	switch {
	case cmd.define != nil:
		return a.runCommand(ctx, path, cmd, rest)
	case cmd.hook != nil:
		return cmd.hook(ctx, rest, a.Stdio)
	case len(rest) > 0 && isHelp(rest[0]):
		a.usage(a.Out, cmd, path)
		return exitOK
	case len(rest) > 0 && strings.HasPrefix(rest[0], "-"):
		fmt.Fprintf(a.Err, "Flags go after the command, as in \"%s read %s PATH\"\n\n", a.name, rest[0])
	case len(rest) > 0:
		fmt.Fprintf(a.Err, "%s has no command %q", strings.Join(append([]string{a.name}, path...), " "), rest[0])
		if near := cmd.nearest(rest[0]); near != "" {
			fmt.Fprintf(a.Err, "; did you mean %q?", near)
		}
		fmt.Fprint(a.Err, "\n\n")
	}
	a.usage(a.Err, cmd, path)
	return exitLocal
}

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

// runCommand parses the flags of cmd and runs it.
func (a *App) runCommand(ctx context.Context, path []string, cmd *command, args []string) int {
	// An interrupt ends the command in order: a prompt gives the terminal its
	// echo back, and monitor ends without an error.
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := &call{App: a, cmd: cmd, path: path}
	fs, act := c.flagSet()
	rest, err := parseFlags(fs, args)
	switch {
	case errors.Is(err, errHelp):
		a.usage(a.Out, cmd, path)
		return exitOK
	case err == nil:
		c.args = rest
		err = c.checkArgs()
	default:
		err = usageError(err.Error())
	}
	if err == nil {
		err = c.prepare(fs)
	}
	if err == nil {
		err = act(ctx, c)
	}
	return c.finish(err)
}
