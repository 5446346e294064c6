package faults_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// readiness is how long a server may take to answer, from its start or from the
// last share of the unseal key.
const readiness = 20 * time.Second

// node is a server of its own, with its storage on the disk.
type node struct {
	*client
	t *testing.T

	// Dir is its folder, Data the storage in it, Audit the log of its only
	// audit device.
	Dir, Data, Audit string
	// Root is the root token, Key the unseal key.
	Root, Key string
	// Wrapper is put before the command: a tracer that injects faults.
	Wrapper []string

	config string
	log    string
	cmd    *exec.Cmd
	exited chan error // receives once, when cmd has ended
}

// place says where a node keeps its files; empty fields are in a folder of the
// test.
type place struct{ data, audit, extra string }

// newNode starts a node, initialises and unseals it.
func newNode(t *testing.T, p place) *node {
	t.Helper()
	n := makeNode(t, p)
	n.start()
	var keys struct {
		Keys []string `json:"keys_base64"`
		Root string   `json:"root_token"`
	}
	n.call(http.MethodPut, "sys/init", "", object{"secret_shares": 1, "secret_threshold": 1}).must(t, 200).into(t, &keys)
	n.Key, n.Root = keys.Keys[0], keys.Root
	n.unseal()
	return n
}

// makeNode prepares a node's files.
func makeNode(t *testing.T, p place) *node {
	t.Helper()
	dir := t.TempDir()
	n := &node{t: t, Dir: dir, Data: p.data, Audit: p.audit, config: filepath.Join(dir, "coffer.hcl"), log: filepath.Join(dir, "server.log")}
	if n.Data == "" {
		n.Data = filepath.Join(dir, "data")
	}
	if n.Audit == "" {
		n.Audit = filepath.Join(dir, "audit.log")
	}
	port := freePort(t)
	n.client = newClient(port)
	text := fmt.Sprintf(`
api_addr = "http://127.0.0.1:%d"
storage "raft" {
  path    = %q
  node_id = "one"
}
listener "tcp" {
  address     = "127.0.0.1:%d"
  tls_disable = true
}
audit "file" "log" {
  options {
    file_path = %q
    fsync     = "none"
  }
}
%s
`, port, n.Data, port, n.Audit, p.extra)
	if err := os.WriteFile(n.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.kill)
	return n
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// start starts the process and waits until it answers, sealed.
func (n *node) start() {
	n.t.Helper()
	if err := n.tryStart(); err != nil {
		n.t.Fatal(err)
	}
}

// tryStart starts the process; it fails if the process ends instead of
// answering.
func (n *node) tryStart() error {
	if err := n.launch(); err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(readiness)
	for {
		if a := n.call(http.MethodGet, "sys/seal-status", "", nil); a.Err == nil && a.Status == http.StatusOK {
			return nil
		}
		select {
		case err := <-n.exited:
			n.cmd = nil
			return fmt.Errorf("the server ended: %w\n%s", errors.Join(err, errEnded), n.output())
		case <-tick.C:
		case <-deadline:
			return fmt.Errorf("the server does not answer\n%s", n.output())
		}
	}
}

// errEnded says that the process has ended by itself.
var errEnded = errors.New("ended")

func (n *node) launch() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	args := append(append([]string{}, n.Wrapper...), self, "server", "-config="+n.config)
	n.cmd = exec.Command(args[0], args[1:]...)
	n.cmd.Env = append(os.Environ(), asCoffer+"=1")
	// A group of its own, so that a tracer and what it traces end together.
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd.Stdout, n.cmd.Stderr = log, log
	if err := n.cmd.Start(); err != nil {
		return err
	}
	n.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, done chan error) { done <- cmd.Wait() }(n.cmd, n.exited)
	return nil
}

// unseal gives the key and waits until the server serves.
func (n *node) unseal() {
	n.t.Helper()
	n.call(http.MethodPut, "sys/unseal", "", object{"key": n.Key}).must(n.t, 200)
	eventually(n.t, readiness, "the server is active", func() bool { return n.health() == http.StatusOK })
}

// health is the status of the health endpoint, 0 without an answer.
func (n *node) health() int { return n.call(http.MethodGet, "sys/health", "", nil).Status }

// restart starts the process again and unseals it.
func (n *node) restart() {
	n.t.Helper()
	n.start()
	n.unseal()
}

// kill ends the process as a crash does. A process that is not there is fine.
func (n *node) kill() {
	if n.cmd == nil {
		return
	}
	_ = syscall.Kill(-n.cmd.Process.Pid, syscall.SIGKILL) // it may have ended by itself
	<-n.exited
	n.cmd = nil
	n.client.forget()
}

// terminate asks the process to end, as an operator does, and returns how it
// did.
func (n *node) terminate(patience time.Duration) error {
	n.t.Helper()
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case err := <-n.exited:
		n.cmd = nil
		n.client.forget()
		return err
	case <-time.After(patience):
		return errors.New("it did not end in time")
	}
}

// output is what the process has logged, from the end.
func (n *node) output() string {
	b, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	if len(b) > 4000 {
		b = b[len(b)-4000:]
	}
	return string(bytes.TrimSpace(b))
}

// showLog prints the end of the server's log if the test has failed.
func (n *node) showLog() {
	n.t.Cleanup(func() {
		if n.t.Failed() {
			n.t.Logf("the server's log:\n%s", n.output())
		}
	})
}

// background is the context of calls that no test cancels.
func background() context.Context { return context.Background() }
