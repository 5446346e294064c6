package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/k8stest"
	"github.com/cofferhq/coffer/internal/ldaptest"
	"github.com/cofferhq/coffer/internal/pgtest"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// pages are those whose commands are run.
func pages(t *testing.T) []string {
	t.Helper()
	found := []string{"../docs/quick-start.md", "../docs/identity.md", "../docs/openid.md", "../docs/quotas.md", "../docs/performance.md", "../docs/namespaces.md"}
	for _, folder := range []string{"engines", "auth", "operations"} {
		names, err := filepath.Glob("../docs/" + folder + "/*.md")
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, names...)
	}
	return found
}

// TestDocs runs the commands of each page, top to bottom, as a reader would: in
// one shell, in an empty folder, with a development server at VAULT_ADDR, its
// root token in VAULT_TOKEN, a PostgreSQL at PGHOST and PGPORT, a directory at
// LDAP_URL and an API server at KUBERNETES_HOST. Blocks
// fenced otherwise are shown and not run. What pages put at the usual places goes
// into the folder, and servers they start at the usual port get a free one.
func TestDocs(t *testing.T) {
	pg := pgtest.Start(t)
	others := otherServices(t)
	for _, page := range pages(t) {
		t.Run(strings.TrimSuffix(strings.TrimPrefix(page, "../docs/"), ".md"), func(t *testing.T) {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			blocks := shellBlocks(string(text))
			if len(blocks) == 0 {
				return
			}
			env := environment(pg, pg.NewDatabase())
			maps.Copy(env, others)
			runPage(t, page, blocks, env)
		})
	}
}

// otherServices are those that pages log in with: a directory, and an API server
// that knows a reviewer and a pod.
func otherServices(t *testing.T) map[string]string {
	k8s := k8stest.New(t, nil)
	k8s.ServiceAccount("default", "reviewer")
	k8s.ServiceAccount("production", "app-sa")
	k8s.AllowReviews("system:serviceaccount:default:reviewer")
	ca := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(ca, []byte(k8s.CAPEM), 0o600); err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"LDAP_URL": ldaptest.Start(t).URL, "KUBERNETES_HOST": k8s.URL, "KUBERNETES_CA": ca,
		"REVIEWER_TOKEN": k8s.Token("default", "reviewer", time.Hour), "POD_TOKEN": k8s.Token("production", "app-sa", time.Hour),
	}
}

// block is the shell commands of one fence.
type block struct {
	line     int // of the fence
	commands string
}

// shellBlocks returns what is fenced as sh.
func shellBlocks(text string) []block {
	var blocks []block
	inside, fenced := false, false
	for i, line := range strings.Split(text, "\n") {
		marker := strings.HasPrefix(line, "```")
		switch {
		case marker && fenced:
			inside, fenced = false, false
		case marker:
			fenced = true
			if inside = strings.TrimSpace(line) == "```sh"; inside {
				blocks = append(blocks, block{line: i + 1})
			}
		case inside:
			blocks[len(blocks)-1].commands += line + "\n"
		}
	}
	return blocks
}

func runPage(t *testing.T, page string, blocks []block, environ map[string]string) {
	s := servertest.New(t, servertest.Options{Change: func(c *config.Config) { c.AllowAPIAuditCreation = true }})
	dir := t.TempDir()
	env := append(os.Environ(), "HOME="+dir, "VAULT_ADDR="+s.Addr, "VAULT_TOKEN="+servertest.RootToken, "VAULT_FORMAT=")
	for name, value := range environ {
		env = append(env, name+"="+value)
	}
	replace := []string{"/etc/coffer", dir + "/etc/coffer", "/var/lib/coffer", dir + "/var/lib/coffer", "/var/log/coffer", dir + "/var/log/coffer"}
	for _, usual := range []string{"8200", "8201", "8210", "8211", "8220", "8221"} {
		replace = append(replace, "127.0.0.1:"+usual, "127.0.0.1:"+freePort(t))
	}
	usual := strings.NewReplacer(replace...)
	var script strings.Builder
	for _, b := range blocks {
		fmt.Fprintf(&script, "echo '--- the block at %s:%d' >&2\n%s", strings.TrimPrefix(page, "../"), b.line, usual.Replace(b.commands))
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-eu", "-o", "pipefail", "-c", script.String())
	cmd.Dir, cmd.Env = dir, env
	cmd.WaitDelay = 5 * time.Second
	// A server that a page has started ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	kill := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel = kill
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if cmd.Process != nil {
		_ = kill() // usually all have ended
	}
	if err != nil {
		t.Errorf("%v; the commands of the page said:\n%s", err, tail(out.String(), 60))
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// tail returns the last lines of a text.
func tail(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
