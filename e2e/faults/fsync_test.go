package faults_test

import (
	"bufio"
	"context"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestFailedFsync lets the disk fail to make writes durable, once. Nothing is
// acknowledged from then on, also when the disk is well again, and the server
// says that it is not healthy. A restart has everything that was acknowledged.
func TestFailedFsync(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed; it injects the fault")
	}
	n := newNode(t, place{})
	n.showLog()
	n.call(http.MethodPost, "sys/mounts/secret", n.Root, object{"type": "kv", "options": object{"version": "2"}}).must(t, 204)
	w := &secretWorker{n: n, path: "secret/data/a"}
	for range 50 {
		if _, err := w.work(background()); err != nil {
			t.Fatal(err)
		}
	}
	detach := inject(t, strace, n.cmd.Process.Pid, "inject=fsync,fdatasync,sync_file_range:error=EIO")
	refusesAll(t, n, w)
	detach()
	refusesAll(t, n, w)

	n.kill()
	n.restart()
	v, err := readVersion(n, w.path)
	if err != nil || v.Data.N != v.Metadata.Version || v.Metadata.Version < w.version {
		t.Errorf("after the restart: version %d with value %d, %d was acknowledged (%v)", v.Metadata.Version, v.Data.N, w.version, err)
	}
	writeVersion(background(), n, w.path, v.Metadata.Version, v.Metadata.Version+1).must(t, 200)
}

// refusesAll fails the test if a write is acknowledged, or if the server counts
// as healthy after it.
func refusesAll(t *testing.T, n *node, w *secretWorker) {
	t.Helper()
	for range 10 {
		ctx, cancel := context.WithTimeout(background(), 5*time.Second)
		a := writeVersion(ctx, n, w.path, w.version, w.version+1)
		cancel()
		if a.acknowledged() || !a.uncertain() {
			t.Fatalf("a write on a disk that does not keep it: %s", a)
		}
	}
	if status := n.health(); status == http.StatusOK {
		t.Error("the server counts as healthy")
	}
	if token := n.call(http.MethodPost, "auth/token/create", n.Root, nil); !token.uncertain() {
		t.Errorf("a token on a disk that does not keep it: %s", token)
	}
}

// inject attaches a tracer that makes system calls of a process fail.
func inject(t *testing.T, strace string, pid int, fault string) (detach func()) {
	t.Helper()
	calls, _, _ := strings.Cut(strings.TrimPrefix(fault, "inject="), ":")
	cmd := exec.Command(strace, "-f", "-o", "/dev/null", "-e", "trace="+calls, "-e", fault, "-p", strconv.Itoa(pid))
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	attached := make(chan bool, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if strings.Contains(lines.Text(), "attached") {
				select {
				case attached <- true:
				default:
				}
			} else {
				t.Logf("strace: %s", lines.Text())
			}
		}
		_ = cmd.Wait() // it ends by our signal
	}()
	done := false
	detach = func() {
		if !done {
			done = true
			_ = cmd.Process.Signal(syscall.SIGINT) // it may have ended
			<-ended
		}
	}
	t.Cleanup(detach)
	select {
	case <-attached:
	case <-ended:
		t.Fatal("strace could not be attached")
	case <-time.After(readiness):
		t.Fatal("strace did not attach in time")
	}
	return detach
}
