package ssh_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/engine/enginetest"
)

// sshd is OpenSSH's server on a port of its own, which trusts one CA for users
// and has a host certificate.
type sshd struct {
	t    *testing.T
	dir  string
	port int
	user string
}

func keygen(t *testing.T, file string) string {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file).CombinedOutput(); err != nil {
		t.Fatalf("ssh-keygen: %s", out)
	}
	public, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	return string(public)
}

func (s *sshd) write(name, content string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// newSSHD starts the server. It trusts the mount's default issuer, and its host
// certificate is from the role "host".
func newSSHD(t *testing.T, m *enginetest.Mount) *sshd {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	s := &sshd{t: t, dir: t.TempDir(), user: me.Username, port: freePort(t)}
	hostKey := keygen(t, filepath.Join(s.dir, "host"))
	m.Write("roles/host", in{"key_type": "ca", "allow_host_certificates": true, "allowed_domains": "*", "ttl": "1h"})
	s.write("host-cert.pub", text(t, m.Write("sign/host", in{"cert_type": "host", "valid_principals": "coffer.test", "public_key": hostKey}), "signed_key"))
	s.write("ca.pub", string(m.Read("public_key").Raw.Body))
	if me.Uid == "0" { // where the server drops its privileges
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-p", fmt.Sprint(s.port), "-h", filepath.Join(s.dir, "host"),
		"-o", "ListenAddress=127.0.0.1", "-o", "TrustedUserCAKeys="+filepath.Join(s.dir, "ca.pub"), "-o", "HostCertificate="+filepath.Join(s.dir, "host-cert.pub"),
		"-o", "PidFile=none", "-o", "UsePAM=no", "-o", "AuthorizedKeysFile=none", "-o", "PermitRootLogin=prohibit-password", "-o", "PasswordAuthentication=no",
		"-o", "StrictModes=no")
	var log bytes.Buffer
	cmd.Stderr = &log
	cmd.Cancel = func() error { return cmd.Process.Kill() }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("sshd: %s", log.String())
		}
	})
	s.await()
	return s
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

// await waits until the server listens.
func (s *sshd) await() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", s.port))
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatal("sshd does not listen")
		}
	}
}

// login runs a command on the server with a key and a certificate, and returns
// its output. The client checks the host's certificate.
func (s *sshd) login(key, cert, command string) (string, error) {
	s.t.Helper()
	known := s.write("known_hosts", "@cert-authority * "+s.read("ca.pub"))
	cmd := exec.CommandContext(s.t.Context(), "ssh", "-F", "none", "-i", key, "-o", "CertificateFile="+s.write("user-cert.pub", cert), "-o", "IdentitiesOnly=yes",
		"-o", "IdentityAgent=none", "-o", "BatchMode=yes", "-o", "UserKnownHostsFile="+known, "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes",
		"-o", "HostKeyAlias=coffer.test", "-p", fmt.Sprint(s.port), s.user+"@127.0.0.1", command)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (s *sshd) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

func TestLoginsToOpenSSH(t *testing.T) {
	for _, ca := range []in{{"key_type": "ed25519"}, {"key_type": "rsa", "key_bits": 2048}, {"key_type": "ec"}} {
		t.Run(fmt.Sprint(ca["key_type"]), func(t *testing.T) {
			m := mounted(t)
			m.Write("config/ca", ca)
			s := newSSHD(t, m)
			role(m, "user", in{"allowed_users": s.user + ",somebody", "default_user": s.user, "ttl": "5m", "allowed_extensions": "*"})
			key := filepath.Join(s.dir, "user")
			public := keygen(t, key)
			sign := func(body in) string {
				t.Helper()
				body["public_key"] = public
				return text(t, m.Write("sign/user", body), "signed_key")
			}
			if out, err := s.login(key, sign(in{}), "echo hello"); err != nil || !strings.Contains(out, "hello") {
				t.Fatalf("%v: %s", err, out)
			}
			if out, err := s.login(key, sign(in{"valid_principals": "somebody"}), "echo hello"); err == nil {
				t.Errorf("a certificate for somebody else logs in: %s", out)
			}
			if out, err := s.login(key, sign(in{"critical_options": in{"force-command": "echo forced"}}), "echo hello"); err != nil || !strings.Contains(out, "forced") || strings.Contains(out, "hello") {
				t.Errorf("with a forced command: %v: %s", err, out)
			}
			if out, err := s.login(key, sign(in{"critical_options": in{"source-address": "10.0.0.0/8"}}), "echo hello"); err == nil {
				t.Errorf("a certificate for another network logs in: %s", out)
			}
			m.Clock.Advance(-time.Hour)
			expired := sign(in{})
			m.Clock.Advance(time.Hour)
			if out, err := s.login(key, expired, "echo hello"); err == nil {
				t.Errorf("a certificate that has ended logs in: %s", out)
			}
			other := mounted(t)
			role(other, "user", in{"default_user": s.user})
			if out, err := s.login(key, text(t, other.Write("sign/user", in{"public_key": public}), "signed_key"), "echo hello"); err == nil {
				t.Errorf("another CA's certificate logs in: %s", out)
			}
			issued := m.Write("issue/user", in{"key_type": "ed25519"})
			if out, err := s.login(s.write("issued", text(t, issued, "private_key")), text(t, issued, "signed_key"), "echo hello"); err != nil {
				t.Errorf("with an issued key: %v: %s", err, out)
			}
		})
	}
}

// TestOpenSSHReadsCertificates has ssh-keygen say what is in one.
func TestOpenSSHReadsCertificates(t *testing.T) {
	m := mounted(t)
	role(m, "r", in{"default_user": "app", "default_extensions": in{"permit-pty": ""}, "default_critical_options": in{"force-command": "/bin/true"}, "key_id_format": "id of {{role_name}}"})
	s := &sshd{t: t, dir: t.TempDir()}
	file := s.write("cert.pub", text(t, m.Write("sign/r", in{"public_key": publicKey(t, nil)}), "signed_key"))
	out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-L", "-f", file).CombinedOutput()
	if err != nil {
		t.Fatalf("%s", out)
	}
	for _, want := range []string{"user certificate", `Key ID: "id of r"`, "app", "force-command /bin/true", "permit-pty"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("ssh-keygen does not say %q: %s", want, out)
		}
	}
}
