package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
)

// site is a machine with a sound configuration, to be spoiled by a test.
type site struct {
	dir     string
	address string
	clock   *clock.Fake
	src     string
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), address: freeAddress(t), clock: clock.NewFake(time.Time{})}
	if err := os.Mkdir(filepath.Join(s.dir, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	dev := config.Dev(config.DevFlags{TLS: true, TLSCertDir: s.dir, TLSSANs: []string{"coffer.internal"}})
	if _, err := dev.WriteDevCertificates(s.clock); err != nil {
		t.Fatal(err)
	}
	s.src = strings.NewReplacer("DIR", s.dir, "ADDRESS", s.address).Replace(`
listener "tcp" {
  address            = "ADDRESS"
  tls_cert_file      = "DIR/vault-cert.pem"
  tls_key_file       = "DIR/vault-key.pem"
  tls_client_ca_file = "DIR/vault-ca.pem"
}
storage "raft" {
  path = "DIR/data"
}
api_addr = "https://coffer.internal:8200"
audit "file" "disk" {
  options {
    file_path = "DIR/audit.log"
  }
}
`)
	return s
}

func (s *site) diagnose(t *testing.T) *config.Report {
	t.Helper()
	path := write(t, s.dir, "c.hcl", s.src)
	r := config.Diagnose(t.Context(), config.Diagnosis{Paths: []string{path}, Clock: s.clock, Getenv: getenv(nil)})
	return &r
}

// find returns the first check whose name contains part and that has the
// status.
func find(r *config.Report, part string, status config.Status) (config.Check, bool) {
	for _, c := range r.Checks {
		if strings.Contains(c.Name, part) && c.Status == status {
			return c, true
		}
	}
	return config.Check{}, false
}

func TestDiagnoseOfASoundSite(t *testing.T) {
	s := newSite(t)
	r := s.diagnose(t)
	for _, c := range r.Checks {
		if c.Status == config.StatusFail {
			t.Errorf("%s fails: %s", c.Name, c.Message)
		}
		if (c.Status == config.StatusFail || c.Status == config.StatusWarn) && c.Advice == "" {
			t.Errorf("%s gives no advice", c.Name)
		}
	}
	for _, name := range []string{
		"configuration files", "keys without effect", "environment", "configuration rules", "listener " + s.address,
		"TLS pair", "TLS validity", "TLS names", "TLS client CA", "storage permissions", "storage writes", "audit device disk", "seal shamir",
	} {
		if _, ok := find(r, name, config.StatusOK); !ok {
			t.Errorf("%s is not ok in %+v", name, r.Checks)
		}
	}
	left, err := filepath.Glob(filepath.Join(s.dir, "data", "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("files were left behind: %v %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "audit.log")); err == nil {
		t.Error("the audit file was created")
	}
}

func TestDiagnoseFindsWhatIsWrong(t *testing.T) {
	tests := map[string]struct {
		spoil   func(t *testing.T, s *site)
		check   string
		status  config.Status
		message string
	}{
		"a misspelt key": {
			func(_ *testing.T, s *site) { s.src += "log_levl = \"info\"\n" },
			"configuration files", config.StatusFail, `unknown key "log_levl"`,
		},
		"a key without effect": {
			func(_ *testing.T, s *site) { s.src += "license_path = \"x\"\n" },
			"keys without effect", config.StatusWarn, "license_path has no effect",
		},
		"a broken rule": {
			func(_ *testing.T, s *site) { s.src += "cluster_addr = \"x\"\n" },
			"configuration rules", config.StatusFail, "cluster_addr must be a URL",
		},
		"an address in use": {
			func(t *testing.T, s *site) { occupy(t, s.address) },
			"listener", config.StatusFail, "the address is in use",
		},
		"an address of another machine": {
			func(_ *testing.T, s *site) { s.src = strings.ReplaceAll(s.src, s.address, "192.0.2.1:8200") },
			"listener", config.StatusFail, "no interface of this machine has the address",
		},
		"a listener without TLS": {
			func(_ *testing.T, s *site) {
				s.src += "listener \"tcp\" {\n address = \"127.0.0.1:8299\"\n tls_disable = true\n}\n"
			},
			"127.0.0.1:8299 TLS", config.StatusWarn, "the listener is not encrypted",
		},
		"a certificate that expires soon": {
			func(_ *testing.T, s *site) { s.clock.Advance(25 * 24 * time.Hour) },
			"TLS validity", config.StatusWarn, "in 5 days",
		},
		"a certificate that has expired": {
			func(_ *testing.T, s *site) { s.clock.Advance(31 * 24 * time.Hour) },
			"TLS validity", config.StatusFail, "expired on 2026-02-01",
		},
		"an authority that has expired": {
			func(_ *testing.T, s *site) { s.clock.Advance(31 * 24 * time.Hour) },
			"TLS client CA", config.StatusFail, "expired on 2026-02-01",
		},
		"a key of another certificate": {
			func(t *testing.T, s *site) {
				other := config.Dev(config.DevFlags{TLS: true})
				if _, err := other.WriteDevCertificates(s.clock); err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { os.RemoveAll(other.Dev.CertDir) })
				s.src = strings.ReplaceAll(s.src, s.dir+"/vault-key.pem", other.Listeners[0].TLS.KeyFile)
			},
			"TLS", config.StatusFail, "private key does not match public key",
		},
		"a missing certificate": {
			func(t *testing.T, s *site) { s.src = strings.ReplaceAll(s.src, "vault-cert.pem", "none.pem") },
			"TLS", config.StatusFail, "no such file",
		},
		"a key open to everyone": {
			func(t *testing.T, s *site) { chmod(t, s.dir+"/vault-key.pem", 0o644) },
			"TLS key", config.StatusWarn, "open to every user",
		},
		"a certificate for another name": {
			func(_ *testing.T, s *site) { s.src = strings.ReplaceAll(s.src, "coffer.internal", "other.internal") },
			"TLS names", config.StatusWarn, `not valid for "other.internal"`,
		},
		"an issuer nobody here trusts": {
			func(*testing.T, *site) {},
			"TLS chain", config.StatusWarn, "does not trust the issuer",
		},
		"a client CA that holds no certificate": {
			func(t *testing.T, s *site) { write(t, s.dir, "vault-ca.pem", "nothing") },
			"TLS client CA", config.StatusFail, "holds no certificate",
		},
		"a data directory that others can read": {
			func(t *testing.T, s *site) { chmod(t, s.dir+"/data", 0o755) },
			"storage permissions", config.StatusWarn, "permissions 0755",
		},
		"a data directory that is a file": {
			func(t *testing.T, s *site) {
				s.src = strings.ReplaceAll(s.src, "/data\"", "/"+filepath.Base(write(t, s.dir, "file", ""))+"\"")
			},
			"storage", config.StatusFail, "is not a directory",
		},
		"a data directory under nothing": {
			func(_ *testing.T, s *site) { s.src = strings.ReplaceAll(s.src, "/data\"", "/no/data\"") },
			"storage", config.StatusFail, "this user cannot create it",
		},
		"no audit device": {
			func(_ *testing.T, s *site) { s.src = s.src[:strings.Index(s.src, "audit \"file")] },
			"audit devices", config.StatusWarn, "declares none",
		},
		"an audit file that is executable": {
			func(t *testing.T, s *site) { write(t, s.dir, "audit.log", ""); chmod(t, s.dir+"/audit.log", 0o700) },
			"audit device", config.StatusFail, "is executable",
		},
		"an audit file that is a directory": {
			func(_ *testing.T, s *site) { s.src = strings.ReplaceAll(s.src, "audit.log", "data") },
			"audit device", config.StatusFail, "is not a regular file",
		},
		"a seal that is not supported": {
			func(_ *testing.T, s *site) { s.src += "seal \"awskms\" {}\n" },
			"seal awskms", config.StatusFail, "is not supported",
		},
		"a socket in no directory": {
			func(_ *testing.T, s *site) { s.src += "listener \"unix\" { address = \"/nonexistent/sock\" }\n" },
			"listener /nonexistent/sock", config.StatusFail, "does not exist",
		},
		"a store in memory": {
			func(_ *testing.T, s *site) {
				s.src = strings.Replace(s.src, "storage \"raft\" {\n  path = \""+s.dir+"/data\"", "storage \"inmem\" {", 1)
			},
			"storage", config.StatusWarn, "lost when the server stops",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			test.spoil(t, s)
			r := s.diagnose(t)
			c, ok := find(r, test.check, test.status)
			if !ok || !strings.Contains(c.Message, test.message) || c.Advice == "" {
				t.Errorf("want %s: %s with %q and advice; got %+v", test.check, test.status, test.message, r.Checks)
			}
		})
	}
}

func TestReportPrints(t *testing.T) {
	r := config.Report{Checks: []config.Check{
		{Name: "one", Status: config.StatusOK, Message: "fine"},
		{Name: "two", Status: config.StatusWarn, Message: "a\nb", Advice: "do <this>"},
		{Name: "three", Status: config.StatusSkipped},
	}}
	var text, data bytes.Buffer
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	want := "[  ok  ] one: fine\n[ warn ] two: a\n           b\n         -> do <this>\n[ skip ] three\n\n3 checks: 0 failed, 1 with warnings\n"
	if diff := cmp.Diff(want, text.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if err := r.WriteJSON(&data); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Status config.Status
		Checks []config.Check
	}
	if err := json.Unmarshal(data.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Status != config.StatusWarn || !cmp.Equal(got.Checks, r.Checks) {
		t.Errorf("JSON: %s", data.String())
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func occupy(t *testing.T, address string) {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(fmt.Errorf("preparing the test: %w", err))
	}
}
