// Package deploy_test holds what deploy/ gives to operators against the
// binary it is made for: configurations must load, probes must answer as the
// manifests count on, and every metric that a rule or a dashboard asks for must
// be one that a server has.
package deploy_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

const deployed = "../../deploy/"

// object is the part of a Kubernetes object that these tests look at.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		PublishNotReadyAddresses bool   `yaml:"publishNotReadyAddresses"`
		ServiceName              string `yaml:"serviceName"`
		PodManagementPolicy      string `yaml:"podManagementPolicy"`
		Replicas                 int
		Template                 struct {
			Spec struct {
				Containers []struct {
					Args []string
					Env  []struct{ Name, Value string }

					ReadinessProbe probe `yaml:"readinessProbe"`
					LivenessProbe  probe `yaml:"livenessProbe"`
				}
			}
		}
	}
}

type probe struct {
	HTTPGet struct{ Path string } `yaml:"httpGet"`
}

func manifests(t *testing.T) map[string]object {
	t.Helper()
	text, err := os.ReadFile(deployed + "kubernetes/coffer.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]object{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	for {
		var o object
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[o.Kind+"/"+o.Metadata.Name] = o
	}
}

func TestKubernetesConfigurationLoads(t *testing.T) {
	all := manifests(t)
	// As a mounted ConfigMap looks: the files are links into a hidden folder.
	dir := t.TempDir()
	hidden := filepath.Join(dir, "..data")
	if err := os.Mkdir(hidden, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range all["ConfigMap/coffer-config"].Data {
		if err := os.WriteFile(filepath.Join(hidden, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := config.Load([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{"POD_NAME": "coffer-1"}
	for _, e := range all["StatefulSet/coffer"].Spec.Template.Spec.Containers[0].Env {
		if e.Name != "POD_NAME" {
			env[e.Name] = strings.ReplaceAll(e.Value, "$(POD_NAME)", "coffer-1")
		}
	}
	if err := c.ApplyEnv(func(name string) string { return env[name] }); err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if got, want := c.Storage.Raft.NodeID, "coffer-1"; got != want {
		t.Errorf("node_id is %q, want %q", got, want)
	}
	if got, want := c.ClusterAddr, "https://coffer-1.coffer-nodes.coffer.svc:8201"; got != want {
		t.Errorf("cluster_addr is %q, want %q", got, want)
	}
	if got, want := len(c.Storage.Raft.Joins), all["StatefulSet/coffer"].Spec.Replicas; got != want {
		t.Errorf("%d retry_join blocks, want one for each of %d nodes", got, want)
	}
}

// TestStartCannotDeadlock holds the three things that keep a cold start from
// waiting for itself.
func TestStartCannotDeadlock(t *testing.T) {
	all := manifests(t)
	set := all["StatefulSet/coffer"].Spec
	if set.PodManagementPolicy != "Parallel" {
		t.Errorf("podManagementPolicy is %q: a pod would wait for the one before it to be unsealed", set.PodManagementPolicy)
	}
	if !all["Service/"+set.ServiceName].Spec.PublishNotReadyAddresses {
		t.Errorf("service %s hides pods that are not ready: no node could join", set.ServiceName)
	}
	sealed := servertest.New(t, servertest.Options{Uninitialised: true})
	open := servertest.New(t, servertest.Options{})
	pod := set.Template.Spec.Containers[0]
	for _, tt := range []struct {
		name  string
		probe probe
		s     *servertest.Server
		good  bool
	}{
		{"a node that is not initialised is alive", pod.LivenessProbe, sealed, true},
		{"a node that is not initialised is not ready", pod.ReadinessProbe, sealed, false},
		{"an unsealed node is alive", pod.LivenessProbe, open, true},
		{"an unsealed node is ready", pod.ReadinessProbe, open, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code := get(t, tt.s.Addr+tt.probe.HTTPGet.Path).StatusCode
			if good := code >= 200 && code < 400; good != tt.good {
				t.Errorf("the probe got %d", code)
			}
		})
	}
}

func get(t *testing.T, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

var (
	metricName = regexp.MustCompile(`\b(?:vault|coffer|go|process)_[a-z0-9_]+`)
	// A histogram or summary has these series.
	series = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// TestMetricsThatAreAskedForExist compares the names in alert rules and the
// dashboard with those that a server on durable storage shows.
func TestMetricsThatAreAskedForExist(t *testing.T) {
	s := servertest.New(t, servertest.Options{Dir: t.TempDir()})
	scheduled(t, s) // and with it the metrics of requests and of snapshots are there
	text := string(s.Must(200, "GET", "sys/metrics?format=prometheus", nil).Body)
	var have []string
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ := strings.Cut(rest, " ")
			have = append(have, name)
		}
	}
	for _, file := range []string{"prometheus/alerts.yaml", "grafana/coffer.json"} {
		text, err := os.ReadFile(deployed + file)
		if err != nil {
			t.Fatal(err)
		}
		asked := expressions(t, file, text)
		if len(asked) < 8 {
			t.Errorf("%s has %d expressions; is it read as it is meant?", file, len(asked))
		}
		for _, e := range asked {
			for _, name := range metricName.FindAllString(e, -1) {
				if !slices.Contains(have, name) && !slices.Contains(have, series.ReplaceAllString(name, "")) {
					t.Errorf("%s asks for %s, which no server has: %s", file, name, e)
				}
			}
		}
	}
}

// scheduled schedules snapshots and returns the first one.
func scheduled(t *testing.T, s *servertest.Server) (file string) {
	t.Helper()
	dir := t.TempDir()
	s.Must(204, "POST", "sys/storage/raft/snapshot-auto/config/daily", map[string]any{
		"interval": "24h", "path_prefix": dir, "storage_type": "local", "local_max_space": 1 << 30,
	})
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(20 * time.Second)
	for {
		status := s.Must(200, "GET", "sys/storage/raft/snapshot-auto/status/daily", nil).Data()
		if url, _ := status["last_snapshot_url"].(string); url != "" {
			return strings.TrimPrefix(url, "file://")
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no snapshot was taken: %v", status)
		}
	}
}

// TestAScheduledSnapshotIsGood restores one.
func TestAScheduledSnapshotIsGood(t *testing.T) {
	s := servertest.New(t, servertest.Options{Dir: t.TempDir()})
	s.Must(200, "POST", "secret/data/kept", map[string]any{"data": map[string]any{"a": "before"}})
	snapshot, err := os.ReadFile(scheduled(t, s))
	if err != nil {
		t.Fatal(err)
	}
	s.Must(200, "POST", "secret/data/kept", map[string]any{"data": map[string]any{"a": "after"}})
	if a := s.Do("POST", "sys/storage/raft/snapshot", servertest.RootToken, snapshot[:len(snapshot)-100]); a.Status/100 != 4 {
		t.Fatalf("restoring a part of it: %s", a)
	}
	s.Must(204, "POST", "sys/storage/raft/snapshot", snapshot)
	got := s.Must(200, "GET", "secret/data/kept", nil).Data()["data"]
	if m, _ := got.(map[string]any); m["a"] != "before" {
		t.Errorf("after restoring, the secret is %v", got)
	}
}

// expressions returns the value of every key "expr". JSON is YAML.
func expressions(t *testing.T, file string, text []byte) []string {
	t.Helper()
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	var found []string
	var walk func(n *yaml.Node)
	walk = func(n *yaml.Node) {
		for i, child := range n.Content {
			if n.Kind == yaml.MappingNode && i%2 == 1 && n.Content[i-1].Value == "expr" {
				found = append(found, child.Value)
			}
			walk(child)
		}
	}
	walk(&root)
	return found
}

// TestServiceStartsWhatExists holds the unit's command lines against the
// commands there are.
func TestServiceStartsWhatExists(t *testing.T) {
	unit, err := os.ReadFile(deployed + "systemd/coffer.service")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"ExecStart=/usr/local/bin/coffer server -config=/etc/coffer/coffer.hcl\n",
		"KillSignal=SIGTERM\n", "LimitCORE=0\n", "NoNewPrivileges=true\n",
	} {
		if !bytes.Contains(unit, []byte(want)) {
			t.Errorf("the unit has no line %q", want)
		}
	}
}
