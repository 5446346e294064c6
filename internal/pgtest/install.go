package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// installation is where PostgreSQL's binaries are and who runs them.
type installation struct {
	bin     string
	version string
	runAs   *syscall.Credential // nil is the user of the test
}

// findInstallation looks where distributions put the binaries, the newest
// version first, then in PATH.
func findInstallation() (installation, error) {
	var in installation
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	more, _ := filepath.Glob("/usr/pgsql-*/bin/initdb")
	found = append(found, more...)
	slices.SortFunc(found, func(a, b string) int { return major(b) - major(a) })
	if path, err := exec.LookPath("initdb"); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		return in, errors.New("this test needs PostgreSQL's server binaries (initdb, postgres); install the package postgresql")
	}
	in.bin = filepath.Dir(found[0])
	in.version = strconv.Itoa(major(found[0]))
	if os.Geteuid() == 0 {
		cred, err := postgresUser()
		if err != nil {
			return in, err
		}
		in.runAs = cred
	}
	return in, nil
}

// major reads the version out of a path such as /usr/lib/postgresql/15/bin.
func major(path string) int {
	for part := range strings.SplitSeq(path, "/") {
		if n, err := strconv.Atoi(strings.TrimPrefix(part, "pgsql-")); err == nil {
			return n
		}
	}
	return 0
}

func postgresUser() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL refuses to run as root and there is no user postgres: %w", err)
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
}

func (in installation) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(in.bin, name), args...)
	cmd.Dir = "/"
	cmd.Env = []string{"LC_ALL=C", "PATH=" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: in.runAs, Setpgid: true}
	return cmd
}

// own gives a file to the user who runs the server.
func (in installation) own(path string) error {
	if in.runAs == nil {
		return nil
	}
	return os.Chown(path, int(in.runAs.Uid), int(in.runAs.Gid))
}

func (in installation) writeFile(path string, content []byte) error {
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return err
	}
	return in.own(path)
}

// copyTemplate puts a fresh data directory into dir/data.
func (in installation) copyTemplate(dir string) error {
	template, err := in.template()
	if err != nil {
		return err
	}
	if err := in.own(dir); err != nil {
		return err
	}
	if out, err := exec.Command("cp", "-a", template, filepath.Join(dir, "data")).CombinedOutput(); err != nil {
		return fmt.Errorf("copying the data directory: %w: %s", err, out)
	}
	return nil
}

// settings make a server quick and private; its data need not survive a crash
// of the machine.
const settings = `
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
synchronous_commit = off
full_page_writes = off
max_connections = 120
shared_buffers = 16MB
password_encryption = 'scram-sha-256'
logging_collector = off
`

// template returns the machine's data directory for this version, made at the
// first use. Several test binaries may do that at once: each makes its own and
// the first to rename it wins.
func (in installation) template() (string, error) {
	base := filepath.Join(os.TempDir(), fmt.Sprintf("pgtest-template-%s-%d", in.version, os.Geteuid()))
	data := filepath.Join(base, "data")
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); err == nil {
		return data, nil
	}
	work, err := os.MkdirTemp("", "pgtest-init-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	if err := in.own(work); err != nil {
		return "", err
	}
	if err := in.initdb(work); err != nil {
		return "", err
	}
	if err := os.Rename(work, base); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return data, nil
}

func (in installation) initdb(work string) error {
	password := filepath.Join(work, "password")
	if err := in.writeFile(password, []byte(Password)); err != nil {
		return err
	}
	data := filepath.Join(work, "data")
	out, err := in.command("initdb", "-D", data, "-U", Superuser, "-A", "scram-sha-256", "--pwfile="+password,
		"-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions", "--wal-segsize=1").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	f, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(settings)
	return err
}
