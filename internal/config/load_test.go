package config_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cofferhq/coffer/internal/config"
)

// withoutPlaces compares configurations regardless of where things stood.
func withoutPlaces() cmp.Options {
	return cmp.Options{
		cmpopts.IgnoreUnexported(config.Config{}),
		cmpopts.IgnoreTypes(config.Pos{}),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b config.Secret) bool { return string(a) == string(b) }),
	}
}

func TestParseOfAProductionFile(t *testing.T) {
	c := parseFile(t, "testdata/vault.hcl")
	if l := c.Listeners[0]; l.Address != "0.0.0.0:8200" || l.TLS.CertFile != "/etc/vault/tls/server.crt" {
		t.Errorf("listener = %+v", l)
	}
	want := config.Storage{Type: "raft", Raft: &config.RaftStorage{Path: "/vault/data", NodeID: "vault-1"}}
	if diff := cmp.Diff(want, c.Storage, withoutPlaces()); diff != "" {
		t.Errorf("storage (-want +got):\n%s", diff)
	}
	wantAudits := []config.AuditDevice{{
		Type: "file", Path: "file", Options: map[string]string{"file_path": "/var/log/vault/audit.log", "log_raw": "true"},
	}}
	if diff := cmp.Diff(wantAudits, c.Audits, withoutPlaces()); diff != "" {
		t.Errorf("audit devices (-want +got):\n%s", diff)
	}
	want1 := `testdata/vault.hcl:13:1: seal type "awskms" is not supported; use shamir, or set disabled = true in this block`
	if err := c.Validate(); err == nil || err.Error() != want1 {
		t.Errorf("Validate() = %v, want %s", err, want1)
	}
}

func TestParseFillsEveryField(t *testing.T) {
	c := parseFile(t, "testdata/full.hcl")
	want := config.Listener{
		Type: "tcp", Address: "10.0.0.1:8200", ClusterAddress: "10.0.0.1:8201",
		TLS: config.TLS{
			CertFile: "/tls/server.crt", KeyFile: "/tls/server.key", MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS13,
			CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
			ClientCAFile: "/tls/ca.crt", RequireClientCert: true,
		},
		ProxyProtocol: config.ProxyProtocol{
			Behavior:   "allow_authorized",
			Authorized: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("10.2.0.7/32")},
		},
		Forwarded: config.Forwarded{
			Authorized: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::1/128")},
			HopSkips:   1, RejectNotAuthorized: true,
		},
		Limits: config.Limits{
			RequestSize: 64 << 20, RequestDuration: 2 * time.Minute, JSONDepth: 100, JSONStringLength: 1 << 20,
			JSONObjectEntries: 10000, JSONArrayElements: 10000, JSONStrings: 500000, TokenHeaderSize: 8 << 10,
		},
		Timeouts: config.Timeouts{ReadHeader: 10 * time.Second, Read: 45 * time.Second, Idle: 24 * time.Hour},
		Access: config.Access{
			UnauthenticatedMetrics: true, UnauthenticatedPprof: true, UnauthenticatedInFlight: true,
			DisableUnauthedGenerateRoot: true,
		},
		CORS: config.CORS{Enabled: true, AllowedOrigins: []string{"https://ui.example.com"}},
		Headers: map[string]http.Header{
			"default": {"X-Frame-Options": {"DENY"}},
			"2xx":     {"Content-Security-Policy": {"default-src 'self', data:"}},
		},
	}
	if diff := cmp.Diff(want, c.Listeners[0], withoutPlaces()); diff != "" {
		t.Errorf("first listener (-want +got):\n%s", diff)
	}
	wantSocket := config.Socket{Mode: "0660", User: "coffer", Group: "1000"}
	if diff := cmp.Diff(wantSocket, c.Listeners[2].Socket); diff != "" {
		t.Errorf("socket (-want +got):\n%s", diff)
	}
	wantLog := config.Log{Level: "warn", Format: "json", RotateBytes: 10 << 20}
	if diff := cmp.Diff(wantLog, c.Log); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
	wantLockouts := []config.UserLockout{
		{Type: "all", Threshold: 10, Duration: 10 * time.Minute},
		{Type: "userpass", Threshold: 25, CounterReset: 5 * time.Minute, Disabled: true},
	}
	if diff := cmp.Diff(wantLockouts, c.UserLockouts, withoutPlaces()); diff != "" {
		t.Errorf("user lockouts (-want +got):\n%s", diff)
	}
	if len(c.Notes) > 0 {
		t.Errorf("notes: %v", c.Notes)
	}
	if err := c.Validate(); err != nil {
		t.Errorf("Validate() = %v", err)
	}
	if active := c.ActiveSeals(); len(active) != 1 || active[0].Type != "shamir" {
		t.Errorf("active seals: %v", active)
	}
}

func TestJSONMeansWhatHCLMeans(t *testing.T) {
	want, got := parseFile(t, "testdata/full.hcl"), parseFile(t, "testdata/full.json")
	if diff := cmp.Diff(want, got, withoutPlaces()); diff != "" {
		t.Errorf("HCL and JSON differ (-HCL +JSON):\n%s", diff)
	}
}

func TestKeysOfOtherServersAreNoted(t *testing.T) {
	src := `
disable_mlock    = true
license_path     = "/etc/licence"
plugin_directory = "/plugins"
ha_storage "consul" {
  address = "127.0.0.1:8500"
}
service_registration "kubernetes" {}
telemetry {
  statsd_address = "127.0.0.1:8125"
}
listener "tcp" {
  tls_min_version = "tls10"
}
backend "file" {
  path = "/data"
}
`
	c, err := config.Parse("c", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"c:2:1: disable_mlock has no effect: memory is locked where the system allows it",
		"c:3:1: license_path has no effect: there is no licence; every feature is in the product",
		"c:4:1: plugin_directory has no effect: engines and auth methods are built in",
		"c:5:1: ha_storage has no effect: the storage block serves high availability as well",
		"c:8:1: service_registration has no effect: register the health endpoint sys/health with your discovery service",
		"c:10:3: statsd_address has no effect: metrics are served at sys/metrics in Prometheus format",
		"c:13:21: tls_min_version is raised to tls12: older versions are not served",
		`c:15:1: storage "file" is kept by the raft store in the same directory; data written by another product is not read`,
	}
	var got []string
	for _, n := range c.Notes {
		got = append(got, n.String())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
	if c.Storage.Type != "file" || c.Storage.Raft.Path != "/data" {
		t.Errorf("storage = %+v", c.Storage)
	}
}

func TestLoadMergesFilesInOrder(t *testing.T) {
	dir := t.TempDir()
	a := write(t, dir, "10-base.hcl", "ui = true\nlog_level = \"debug\"\nlistener \"tcp\" { address = \"127.0.0.1:1\" }\nstorage \"inmem\" {}\n")
	b := write(t, dir, "20-local.json", `{"log_level": "error", "listener": {"tcp": {"address": "127.0.0.1:2"}}}`)
	write(t, dir, ".hidden.hcl", "nonsense")
	extra := write(t, t.TempDir(), "extra.conf", "cluster_name = \"x\"\naudit \"file\" \"a\" { options { file_path = \"a\" } }\n")

	c, err := config.Load([]string{dir, extra})
	if err != nil {
		t.Fatal(err)
	}
	if !c.UI || c.Log.Level != "error" || c.ClusterName != "x" || len(c.Audits) != 1 || c.Storage.Type != "inmem" {
		t.Errorf("merged: %+v", c)
	}
	if len(c.Listeners) != 2 || c.Listeners[0].Address != "127.0.0.1:1" || c.Listeners[1].Address != "127.0.0.1:2" {
		t.Errorf("listeners: %+v", c.Listeners)
	}
	want := []config.Note{{
		Pos:  config.Pos{File: b, Line: 1, Column: 2},
		Text: fmt.Sprintf("log_level overrides the value set at %s:2:1", a),
	}}
	if diff := cmp.Diff(want, c.Notes); diff != "" {
		t.Errorf("notes (-want +got):\n%s", diff)
	}
}

func TestStringsComeFromTheEnvironmentAndFromFiles(t *testing.T) {
	t.Setenv("COFFER_TEST_NODE", "node-7")
	t.Setenv("COFFER_TEST_TTL", "2h")
	token := write(t, t.TempDir(), "token", "s3cret\n")
	src := fmt.Sprintf("storage \"raft\" {\n path = \"/d\"\n node_id = \"env://COFFER_TEST_NODE\"\n}\nmax_lease_ttl = \"env://COFFER_TEST_TTL\"\nseal \"transit\" { token = \"file://%s\" }\n", token)
	c, err := config.Parse("c", []byte(src))
	if err != nil {
		t.Fatal(err)
	}
	if c.Storage.Raft.NodeID != "node-7" || c.MaxLeaseTTL != 2*time.Hour || string(c.Seals[0].Parameters["token"]) != "s3cret" {
		t.Errorf("resolved: %+v %v", c.Storage.Raft, c.MaxLeaseTTL)
	}
	if printed := fmt.Sprintf("%v %+v %#v %s", c.Seals, c.Seals, c.Seals, c.Sanitized()); strings.Contains(printed, "s3cret") {
		t.Errorf("the secret is printed: %s", printed)
	}
}

func TestLimitsHaveDefaultsAndCanBeTurnedOff(t *testing.T) {
	c, err := config.Parse("c", []byte(`
listener "tcp" {
  max_request_size = 0
  max_json_depth   = -1
}
listener "tcp" {
  max_request_size     = "-1"
  max_request_duration = "10s"
}
default_max_request_duration = "30s"
`))
	if err != nil {
		t.Fatal(err)
	}
	defaults := config.Limits{
		RequestSize: 32 << 20, RequestDuration: 30 * time.Second, JSONDepth: 300, JSONStringLength: 1 << 20,
		JSONObjectEntries: 10000, JSONArrayElements: 10000, JSONStrings: 500000, TokenHeaderSize: 8 << 10,
	}
	first, second := defaults, defaults
	first.JSONDepth = -1
	second.RequestSize, second.RequestDuration = -1, 10*time.Second
	if diff := cmp.Diff([]config.Limits{first, second}, []config.Limits{c.Listeners[0].Limits, c.Listeners[1].Limits}); diff != "" {
		t.Errorf("limits (-want +got):\n%s", diff)
	}
}

func TestLoadReadsAPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := w.WriteString("cluster_name = \"piped\"\n"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	path := fmt.Sprintf("/dev/fd/%d", r.Fd())
	if _, err := os.Stat(path); err != nil {
		t.Skip("this system has no /dev/fd")
	}
	c, err := config.Load([]string{path})
	if err != nil || c.ClusterName != "piped" {
		t.Errorf("Load() = %+v, %v", c, err)
	}
}

func TestLoadNamesWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	tests := map[string]struct {
		paths []string
		want  string
	}{
		"nothing given":      {nil, "pass -config with a file or a directory"},
		"an empty directory": {[]string{dir}, "holds no *.hcl or *.json file"},
		"a missing file":     {[]string{filepath.Join(dir, "none.hcl")}, "check the path given with -config"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := config.Load(test.paths); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("Load() = %v, want %q in it", err, test.want)
			}
		})
	}
}

func parseFile(t *testing.T, path string) *config.Config {
	t.Helper()
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(path, src)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
