package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/config"
)

func TestParseOfAProductionFile(t *testing.T) {
	src, err := os.ReadFile("testdata/vault.hcl")
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse("vault.hcl", src)
	if err != nil {
		t.Fatal(err)
	}
	if l := c.Listeners[0]; l.Address != "0.0.0.0:8200" || l.TLS.CertFile != "/etc/vault/tls/server.crt" {
		t.Errorf("listener = %+v", l)
	}
	if c.Storage.Type != "raft" || c.Storage.Raft.NodeID != "vault-1" {
		t.Errorf("storage = %+v", c.Storage)
	}
	want := []config.AuditDevice{{
		Pos: config.Pos{File: "vault.hcl", Line: 25, Column: 3}, Type: "file", Path: "file",
		Options: map[string]string{"file_path": "/var/log/vault/audit.log", "log_raw": "true"},
	}}
	want[0].Pos = c.Audits[0].Pos
	if diff := cmp.Diff(want, c.Audits); diff != "" {
		t.Errorf("audit devices (-want +got):\n%s", diff)
	}
}

func TestLoadNamesWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	_, err := config.Load([]string{dir})
	if err == nil || !strings.Contains(err.Error(), "holds no *.hcl or *.json file") {
		t.Errorf("empty directory: %v", err)
	}
	_, err = config.Load([]string{filepath.Join(dir, "none.hcl")})
	if err == nil || !strings.Contains(err.Error(), "check the path given with -config") {
		t.Errorf("missing file: %v", err)
	}
}
