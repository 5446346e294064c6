package config_test

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
)

func TestDevIsReadyToUse(t *testing.T) {
	c := config.Dev(config.DevFlags{RootTokenID: "root"})
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&config.DevMode{RootTokenID: "root", KVVersion: 2}, c.Dev); diff != "" {
		t.Errorf("dev mode (-want +got):\n%s", diff)
	}
	l := c.Listeners[0]
	if l.Address != "127.0.0.1:8200" || !l.TLS.Disabled || c.Storage.Type != "inmem" || c.APIAddr != "http://127.0.0.1:8200" {
		t.Errorf("listener %s, storage %s, api_addr %s", l.Address, c.Storage.Type, c.APIAddr)
	}
}

func TestDevFlags(t *testing.T) {
	tests := map[string]struct {
		flags config.DevFlags
		want  []string
		kv    int
	}{
		"kv version 1":      {config.DevFlags{KVV1: true}, nil, 1},
		"no kv":             {config.DevFlags{NoKV: true}, nil, 0},
		"high availability": {config.DevFlags{HA: true, Transactional: true, Latency: time.Millisecond, LatencyJitter: 20}, nil, 2},
		"contradictions": {config.DevFlags{NoKV: true, KVV1: true, TLSCertDir: "x", LatencyJitter: 101, Latency: -1}, []string{
			"-dev-no-kv and -dev-kv-v1 contradict each other; keep one",
			"-dev-latency-jitter must be a percentage from 0 to 100",
			"-dev-latency must not be negative",
			"-dev-tls-cert-dir and -dev-tls-san need -dev-tls",
		}, 0},
		"three nodes":          {config.DevFlags{ThreeNode: true}, nil, 2},
		"three nodes with TLS": {config.DevFlags{ThreeNode: true, TLS: true}, []string{"-dev-three-node does not go with -dev-tls"}, 2},
		"four clusters": {config.DevFlags{FourCluster: true}, []string{
			"-dev-four-cluster is not supported: there is no replication between clusters; -dev-three-node starts one cluster",
		}, 2},
		"plugins": {config.DevFlags{PluginDir: "x"}, []string{"-dev-plugin-dir is not supported: engines and auth methods are built in"}, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, lines(test.flags.Validate())); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if got := config.Dev(test.flags).Dev.KVVersion; got != test.kv {
				t.Errorf("kv version %d, want %d", got, test.kv)
			}
		})
	}
}

func TestDevFlagsComeFromTheEnvironmentLast(t *testing.T) {
	env := getenv(map[string]string{"VAULT_DEV_ROOT_TOKEN_ID": "env", "BAO_DEV_LISTEN_ADDRESS": "127.0.0.1:1"})
	flags := config.DevFlags{RootTokenID: "flag"}
	flags.ApplyEnv(env)
	if flags.RootTokenID != "flag" || flags.ListenAddress != "127.0.0.1:1" {
		t.Errorf("flags = %+v", flags)
	}
}

func TestDevKeepsWhatFilesSay(t *testing.T) {
	c, err := config.Parse("c", []byte("storage \"raft\" { path = \"/d\" }\napi_addr = \"http://here:1\"\nlistener \"tcp\" {\n address = \"127.0.0.1:8300\"\n tls_disable = true }"))
	if err != nil {
		t.Fatal(err)
	}
	c.ApplyDev(config.DevFlags{})
	if len(c.Listeners) != 2 || c.Listeners[0].Address != "127.0.0.1:8200" || c.Storage.Type != "raft" || c.APIAddr != "http://here:1" {
		t.Errorf("config = %+v", c)
	}
}

func TestDevCertificatesServe(t *testing.T) {
	dir := t.TempDir()
	now := clock.NewFake(time.Time{})
	c := config.Dev(config.DevFlags{TLS: true, TLSCertDir: dir, TLSSANs: []string{"dev.example"}})
	ca, err := c.WriteDevCertificates(now)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(c.Listeners[0].TLS.CertFile, c.Listeners[0].TLS.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "dev.example"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name, CurrentTime: now.Now()}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDevCluster(t *testing.T) {
	nodes, err := config.DevCluster(config.DevFlags{ListenAddress: "127.0.0.1:9200", RootTokenID: "root"}, "/d")
	if err != nil || len(nodes) != config.DevNodes {
		t.Fatalf("%d nodes, %v", len(nodes), err)
	}
	for i, want := range []struct{ id, api, cluster string }{
		{"node1", "http://127.0.0.1:9200", "https://127.0.0.1:9201"}, {"node2", "http://127.0.0.1:9202", "https://127.0.0.1:9203"}, {"node3", "http://127.0.0.1:9204", "https://127.0.0.1:9205"},
	} {
		c := nodes[i]
		if c.Storage.Raft.NodeID != want.id || c.APIAddr != want.api || c.ClusterAddr != want.cluster || c.Storage.Raft.Path != "/d/"+want.id {
			t.Errorf("node %d is %s at %s and %s in %s", i, c.Storage.Raft.NodeID, c.APIAddr, c.ClusterAddr, c.Storage.Raft.Path)
		}
		if joins := len(c.Storage.Raft.Joins); (c.Dev == nil) != (i > 0) || (joins == 0) != (i == 0) {
			t.Errorf("node %d: development mode %v, %d nodes to join", i, c.Dev, joins)
		}
	}
	for _, bad := range []string{"127.0.0.1", "127.0.0.1:0", "127.0.0.1:65534", "127.0.0.1:x"} {
		if _, err := config.DevCluster(config.DevFlags{ListenAddress: bad}, "/d"); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}
