package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/config"
)

func getenv(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestEnvironmentOverridesFiles(t *testing.T) {
	c, err := config.Parse("c", []byte("api_addr = \"http://a:1\"\nlog_level = \"debug\"\nstorage \"raft\" { path = \"/a\" }"))
	if err != nil {
		t.Fatal(err)
	}
	err = c.ApplyEnv(getenv(map[string]string{
		"VAULT_API_ADDR": "http://vault:1", "BAO_API_ADDR": "http://bao:1", "COFFER_API_ADDR": "http://coffer:1",
		"VAULT_CLUSTER_ADDR": "https://vault:2", "BAO_LOG_LEVEL": "WARN", "VAULT_LOG_FORMAT": "json",
		"VAULT_RAFT_PATH": "/b", "VAULT_RAFT_NODE_ID": "n", "VAULT_UI": "true",
	}))
	if err != nil {
		t.Fatal(err)
	}
	got := []any{c.APIAddr, c.ClusterAddr, c.Log.Level, c.Log.Format, c.Storage.Raft.Path, c.Storage.Raft.NodeID, c.UI}
	want := []any{"http://coffer:1", "https://vault:2", "warn", "json", "/b", "n", true}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestEnvironmentReportsEveryWrongVariable(t *testing.T) {
	err := config.New().ApplyEnv(getenv(map[string]string{"VAULT_UI": "yes please", "BAO_LOG_LEVEL": "loud", "VAULT_LOG_FORMAT": "xml"}))
	want := []string{
		`the environment variable VAULT_UI must be true or false, not "yes please"`,
		`BAO_LOG_LEVEL must be one of trace, debug, info, warn, error, not "loud"`,
		`VAULT_LOG_FORMAT must be standard or json, not "xml"`,
	}
	if diff := cmp.Diff(want, lines(err)); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func TestProblemsNameTheVariableTheyCameFrom(t *testing.T) {
	c := config.Dev(config.DevFlags{})
	if err := c.ApplyEnv(getenv(map[string]string{"VAULT_API_ADDR": "coffer:8200"})); err != nil {
		t.Fatal(err)
	}
	want := []string{`VAULT_API_ADDR: api_addr must be a URL such as "https://coffer.example.com:8200", not "coffer:8200"`}
	if diff := cmp.Diff(want, lines(c.Validate())); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}
