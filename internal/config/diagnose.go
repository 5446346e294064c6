package config

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/cofferhq/coffer/internal/clock"
)

// Diagnosis says what [Diagnose] is to look at.
type Diagnosis struct {
	// Paths are the configuration files and directories.
	Paths []string
	// Getenv reads the environment; nil for none.
	Getenv func(string) string
	// Clock tells the time that certificates are compared with.
	Clock clock.Clock
}

// Diagnose checks a configuration against the system it is to run on: what a
// server would stumble over when it starts, or weeks later. It leaves nothing
// behind, but it creates probe files and binds addresses for a moment: run it
// as the server's user, and expect addresses in use beside a running server.
func Diagnose(ctx context.Context, what Diagnosis) Report {
	x := &examiner{now: what.Clock, report: &Report{}}
	if !x.files(what) {
		return *x.report
	}
	steps := []func(context.Context){
		x.listeners, x.storage, x.audits, x.seals, x.system,
	}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			x.report.fail("diagnosis", "interrupted: "+err.Error(), "run it again")
			break
		}
		step(ctx)
	}
	return *x.report
}

// examiner carries the configuration through the checks.
type examiner struct {
	c      *Config
	now    clock.Clock
	report *Report
}

// files loads and validates; false means that nothing more can be said.
func (x *examiner) files(what Diagnosis) bool {
	c, err := Load(what.Paths)
	if err != nil {
		x.report.fail("configuration files", problemList(err), "correct the files; nothing else can be checked before")
		return false
	}
	x.c = c
	x.report.ok("configuration files", "read %s", strings.Join(what.Paths, ", "))
	if len(c.Notes) > 0 {
		lines := make([]string, len(c.Notes))
		for i, n := range c.Notes {
			lines[i] = n.String()
		}
		x.report.warn("keys without effect", strings.Join(lines, "\n"), "remove these keys, or keep them for the other product")
	} else {
		x.report.ok("keys without effect", "none")
	}
	if what.Getenv != nil {
		if err := c.ApplyEnv(what.Getenv); err != nil {
			x.report.fail("environment", problemList(err), "correct or unset the variables")
		} else {
			x.report.ok("environment", "applied")
		}
	}
	if err := c.Validate(); err != nil {
		x.report.fail("configuration rules", problemList(err), "correct the files")
	} else {
		x.report.ok("configuration rules", "satisfied")
	}
	return true
}

// problemList prints joined errors, one a line.
func problemList(err error) string { return strings.TrimSpace(err.Error()) }

func (x *examiner) listeners(ctx context.Context) {
	for _, l := range x.c.Listeners {
		name := fmt.Sprintf("listener %s", l.Address)
		if l.Type == "unix" {
			x.socket(name, l)
			continue
		}
		x.bind(ctx, name, l.Address)
		if l.ClusterAddress != "" {
			x.bind(ctx, "cluster listener "+l.ClusterAddress, l.ClusterAddress)
		}
		x.listenerTLS(name, l)
	}
}

// bind opens an address for a moment.
func (x *examiner) bind(ctx context.Context, name, address string) {
	if strings.Contains(address, "{{") {
		x.report.skip(name, "the address is not valid")
		return
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		_ = listener.Close() // it was only a probe
		x.report.ok(name, "the address can be bound")
	case errors.Is(err, syscall.EADDRINUSE):
		x.report.fail(name, "the address is in use", "stop the process that holds it (perhaps a running server), or choose another address")
	case errors.Is(err, syscall.EACCES):
		x.report.fail(name, "this user may not bind the address", "use a port above 1023, or grant CAP_NET_BIND_SERVICE")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		x.report.fail(name, "no interface of this machine has the address", "use 0.0.0.0 or an address of this machine")
	default:
		x.report.fail(name, "the address cannot be bound: "+err.Error(), "check the address")
	}
}

func (x *examiner) socket(name string, l Listener) {
	dir := filepath.Dir(l.Address)
	info, err := os.Stat(dir)
	switch {
	case err != nil || !info.IsDir():
		x.report.fail(name, "the directory "+dir+" of the socket does not exist", "create it")
	case !x.writable(dir):
		x.report.fail(name, "this user may not write to "+dir, "change the owner of the directory")
	default:
		x.report.ok(name, "the socket can be created")
	}
	if existing, err := os.Stat(l.Address); err == nil && existing.Mode()&os.ModeSocket == 0 {
		x.report.fail(name, "there is a file at the socket's path that is not a socket", "move it away")
	}
}

// writable tells whether a file can be created in dir.
func (x *examiner) writable(dir string) bool {
	file, err := os.CreateTemp(dir, ".coffer-probe-*")
	if err != nil {
		return false
	}
	defer os.Remove(file.Name())
	return file.Close() == nil
}

func (x *examiner) audits(context.Context) {
	if len(x.c.Audits) == 0 {
		x.report.warn("audit devices", "the configuration declares none",
			`add audit "file" "name" { options { file_path = "/var/log/coffer/audit.log" } }, or enable one after initialisation`)
	}
	for _, a := range x.c.Audits {
		if path := a.Options["file_path"]; a.Type == "file" && path != "" {
			x.auditFile("audit device "+a.Path, path)
		}
	}
}

func (x *examiner) auditFile(name, path string) {
	if slices.Contains([]string{"stdout", "/dev/stdout", "discard", "/dev/null"}, path) {
		x.report.ok(name, "writes to %s", path)
		return
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		x.newAuditFile(name, path)
	case err != nil:
		x.report.fail(name, err.Error(), "check the permissions of the directories above")
	case !info.Mode().IsRegular():
		x.report.fail(name, path+" is not a regular file", "give the path of a file")
	case info.Mode().Perm()&0o111 != 0:
		x.report.fail(name, path+" is executable", "remove the execute permission, or give another path")
	default:
		x.existingAuditFile(name, path, info)
	}
}

func (x *examiner) newAuditFile(name, path string) {
	dir := filepath.Dir(path)
	for {
		info, err := os.Stat(dir)
		if err == nil && info.IsDir() {
			break
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			break
		}
		dir = parent
	}
	if !x.writable(dir) {
		x.report.fail(name, "this user may not create "+path, "create the directory and give it to the server's user")
		return
	}
	x.report.ok(name, "%s can be created", path)
}

func (x *examiner) existingAuditFile(name, path string, info os.FileInfo) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		x.report.fail(name, "this user may not append to "+path, "change the owner of the file")
		return
	}
	_ = file.Close() // nothing was written
	if info.Mode().Perm()&0o007 != 0 {
		x.report.warn(name, path+" is open to every user of the machine", "set its permissions to 0600")
		return
	}
	x.report.ok(name, "%s can be appended to", path)
}

func (x *examiner) seals(context.Context) {
	for _, s := range x.c.ActiveSeals() {
		name := "seal " + s.Name
		if !s.supported() {
			x.report.fail(name, "the type "+s.Type+" is not supported", "use "+strings.Join(supportedSeals(), ", "))
			continue
		}
		x.report.ok(name, "unsealed by hand with key shares")
	}
}
