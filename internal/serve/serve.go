// Package serve is the part of the command line that runs a server: it reads
// flags, files and signals and hands the rest to package server. It stands
// apart from package cli so that commands which only talk to a server do not
// depend on one.
package serve

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/cofferhq/coffer/internal/cli"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server"
	"github.com/cofferhq/coffer/internal/version"
)

// list is a flag that may be given several times.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }

// flags are those of the server command.
type flags struct {
	configs   list
	dev       bool
	validate  bool
	logLevel  string
	logFormat string
	logFile   string
	devFlags  config.DevFlags
	sans      list
	exitOnEOF bool
}

func (f *flags) define(fs *flag.FlagSet) {
	fs.Var(&f.configs, "config", "configuration file or folder; may be given several times")
	fs.BoolVar(&f.validate, "validate", false, "check the configuration and stop")
	fs.StringVar(&f.logLevel, "log-level", "", "trace, debug, info, warn or error")
	fs.StringVar(&f.logFormat, "log-format", "", "standard or json")
	fs.StringVar(&f.logFile, "log-file", "", "file to log to")
	fs.BoolVar(&f.exitOnEOF, "exit-on-core-shutdown", false, "accepted for compatibility; the server always exits when it cannot serve")
	d := &f.devFlags
	fs.BoolVar(&f.dev, "dev", false, "development server: in memory, unsealed")
	fs.StringVar(&d.RootTokenID, "dev-root-token-id", "", "root token of the development server")
	fs.StringVar(&d.ListenAddress, "dev-listen-address", "", "address of the development server")
	fs.BoolVar(&d.NoStoreToken, "dev-no-store-token", false, "do not store the root token for the command line")
	fs.BoolVar(&d.NoKV, "dev-no-kv", false, "mount nothing at secret/")
	fs.BoolVar(&d.KVV1, "dev-kv-v1", false, "mount version 1 of kv at secret/")
	fs.BoolVar(&d.HA, "dev-ha", false, "accepted for compatibility")
	fs.BoolVar(&d.Transactional, "dev-transactional", false, "accepted for compatibility")
	fs.BoolVar(&d.ThreeNode, "dev-three-node", false, "development cluster of three nodes in this process, in a temporary folder")
	fs.BoolVar(&d.FourCluster, "dev-four-cluster", false, "accepted for compatibility")
	fs.DurationVar(&d.Latency, "dev-latency", 0, "delay of every access to storage")
	fs.IntVar(&d.LatencyJitter, "dev-latency-jitter", 0, "variation of the delay, in per cent")
	fs.BoolVar(&d.TLS, "dev-tls", false, "make a certificate and speak HTTPS")
	fs.StringVar(&d.TLSCertDir, "dev-tls-cert-dir", "", "folder for the certificate")
	fs.Var(&f.sans, "dev-tls-san", "further name in the certificate; may be given several times")
	fs.StringVar(&d.PluginDir, "dev-plugin-dir", "", "accepted for compatibility")
}

// Server runs the server command.
func Server(ctx context.Context, args []string, stdio cli.Stdio) int {
	f := flags{}
	fs := flag.NewFlagSet("server", flag.ContinueOnError)
	fs.SetOutput(stdio.Err)
	f.define(fs)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 1
	}
	run := f.run
	if f.devFlags.ThreeNode {
		run = f.runThree
	}
	if err := run(ctx, stdio); err != nil {
		fmt.Fprintf(stdio.Err, "Error: %v\n", err)
		return 1
	}
	return 0
}

// configuration reads what the flags, files and environment say.
func (f *flags) configuration(getenv func(string) string) (c *config.Config, err error) {
	f.devFlags.TLSSANs = f.sans
	if f.dev {
		f.devFlags.ApplyEnv(getenv)
		if err := f.devFlags.Validate(); err != nil {
			return nil, err
		}
	}
	switch {
	case len(f.configs) > 0:
		if c, err = config.Load(f.configs); err != nil {
			return nil, err
		}
		if f.dev {
			c.ApplyDev(f.devFlags)
		}
	case f.dev:
		c = config.Dev(f.devFlags)
	default:
		return nil, errors.New("must specify at least one config path using -config, or -dev to try Coffer in memory")
	}
	if err := c.ApplyEnv(getenv); err != nil {
		return nil, err
	}
	if f.logLevel != "" {
		if err := c.Log.SetLevel(f.logLevel, "-log-level"); err != nil {
			return nil, err
		}
	}
	if f.logFormat != "" {
		if err := c.Log.SetFormat(f.logFormat, "-log-format"); err != nil {
			return nil, err
		}
	}
	if f.logFile != "" {
		c.Log.File = f.logFile
	}
	if c.Dev != nil && c.Dev.TLS {
		if _, err := c.WriteDevCertificates(clock.System{}); err != nil {
			return nil, err
		}
	}
	return c, c.Validate()
}

func (f *flags) run(ctx context.Context, stdio cli.Stdio) error {
	c, err := f.configuration(os.Getenv)
	if err != nil {
		return err
	}
	for _, n := range c.Notes {
		fmt.Fprintln(stdio.Err, n.String())
	}
	if f.validate {
		_, err := fmt.Fprintln(stdio.Out, "The configuration is valid.")
		return err
	}
	log, err := newLogger(c.Log, stdio.Err)
	if err != nil {
		return err
	}
	defer log.close()
	harden(log.root)
	s, err := server.New(server.Options{Config: c, Log: log.Levels, Out: stdio.Out})
	if err != nil {
		return err
	}
	log.root.Info("starting", "version", version.Coffer, "storage", c.Storage.Type)
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	removePID, err := writePID(c.PIDFile)
	if err != nil {
		return errors.Join(err, s.Close(ctx))
	}
	defer removePID()
	if os.Getenv("GOGC") == "" {
		var pacing sync.WaitGroup
		defer pacing.Wait()
		defer stop()
		pacing.Go(func() { paceGC(ctx, clock.System{}) })
	}
	return s.Run(ctx, f.reloads(ctx, log))
}

// reloads reads the configuration anew at every SIGHUP. One that is wrong is
// reported and sent as nil, so that certificates and audit files are still
// opened anew.
func (f *flags) reloads(ctx context.Context, log *logger) <-chan *config.Config {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	out := make(chan *config.Config)
	go func() { // ends with the server
		defer signal.Stop(hup)
		for {
			select {
			case <-ctx.Done():
				return
			case <-hup:
			}
			var c *config.Config
			if len(f.configs) > 0 {
				var err error
				if c, err = f.configuration(os.Getenv); err != nil {
					log.root.Error("the configuration is wrong, the old one stays", "error", err)
					c = nil
				} else {
					log.setLevel(c.Log.Level)
				}
			}
			log.reopen()
			select {
			case out <- c:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

func writePID(path string) (remove func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
		return nil, err
	}
	return func() { _ = os.Remove(path) }, nil // the process ends anyway
}

// harden makes the process keep its memory to itself. What the system does not
// allow is logged and does without.
func harden(log *slog.Logger) {
	if err := noDumps(); err != nil {
		log.Warn("core dumps could not be turned off", "error", err)
	}
	debug.SetTraceback("single") // a crash shows one goroutine, not all arguments of all
}

// Diagnose runs the operator diagnose command.
func Diagnose(ctx context.Context, args []string, stdio cli.Stdio) int {
	var configs list
	format := ""
	fs := flag.NewFlagSet("operator diagnose", flag.ContinueOnError)
	fs.SetOutput(stdio.Err)
	fs.Var(&configs, "config", "configuration file or folder; may be given several times")
	fs.StringVar(&format, "format", "table", "table or json")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 1
	}
	if len(configs) == 0 {
		fmt.Fprintln(stdio.Err, "Error: must specify at least one config path using -config")
		return 3
	}
	report := config.Diagnose(ctx, config.Diagnosis{Paths: configs, Getenv: os.Getenv, Clock: clock.System{}})
	write := func(w io.Writer) error { return report.WriteText(w) }
	if format == "json" {
		write = report.WriteJSON
	}
	if err := write(stdio.Out); err != nil {
		return 1
	}
	switch report.Status() {
	case config.StatusOK:
		return 0
	case config.StatusWarn:
		return 2
	}
	return 1
}
