package cluster_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/cluster"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// node is a node whose state a test chooses.
type node struct {
	cluster.Status
	err, ready error
	stepped    int
	refuses    error // what stepping down answers
	place      func() cluster.Place
	roster     *cluster.Roster
}

func (n *node) start(t *testing.T, ha bool) *route.Table {
	t.Helper()
	c := cluster.New(cluster.Config{
		Clock: clock.NewFake(time.Unix(1_800_000_000, 0)), Version: "1.2.3", HA: ha, APIAddr: "https://a:8200", ClusterAddr: "https://a:8201",
		Self: func() cluster.Info {
			return cluster.Info{ID: "a", Hostname: "a", APIAddr: "https://a:8200", ClusterAddr: "https://a:8201"}
		}, Place: n.place, Roster: n.roster,
		Status: func(context.Context) (cluster.Status, error) { return n.Status, n.err }, Index: func() (uint64, uint64) { return 7, 8 },
		StepDown: func(context.Context) error { n.stepped++; return n.refuses }, Ready: func() error { return n.ready },
	})
	tab, err := route.NewTable(route.Bind(c, cluster.Always), c.Routes())
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// call makes a request and returns the status and the body.
func call(t *testing.T, tab *route.Table, v route.Verb, path, query string, hide route.Redact) (int, map[string]any, error) {
	t.Helper()
	var m route.Match
	e, _ := tab.Find(v, path, &m)
	if e == nil {
		t.Fatalf("no endpoint %s", path)
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := e.Handle(context.Background(), nil, &route.Call{Verb: v, Query: q, Redact: hide})
	if err != nil || reply.NoContent {
		return 0, nil, err
	}
	body, status := reply.Data, 0
	if reply.Raw != nil {
		body, status = reply.Raw.Body, reply.Raw.Status
	}
	answer := map[string]any{}
	if err := json.Unmarshal(body, &answer); err != nil {
		t.Fatal(err)
	}
	return status, answer, nil
}

func TestHealth(t *testing.T) {
	unsealed := cluster.Status{Initialized: true, ClusterName: "c", ClusterID: "id"}
	answer := func(change map[string]any) map[string]any {
		a := map[string]any{
			"cluster_id": "id", "cluster_name": "c", "initialized": true, "replication_dr_mode": "disabled", "replication_performance_mode": "primary",
			"sealed": false, "server_time_utc": 1.8e9, "standby": false, "version": "1.2.3",
		}
		for k, v := range change {
			if a[k] = v; v == nil {
				delete(a, k)
			}
		}
		return a
	}
	sealed := map[string]any{"cluster_id": nil, "cluster_name": nil, "replication_dr_mode": "unknown", "replication_performance_mode": "unknown", "sealed": true, "standby": true}
	for _, tt := range []struct {
		name   string
		node   node
		query  string
		hide   route.Redact
		status int
		want   map[string]any
	}{
		{"active", node{Status: unsealed}, "", route.Redact{}, 200, answer(nil)},
		{"active, own code", node{Status: unsealed}, "activecode=299&sealedcode=500", route.Redact{}, 299, answer(nil)},
		{"redacted", node{Status: unsealed}, "", route.Redact{ClusterName: true, Version: true}, 200, answer(map[string]any{"cluster_name": nil, "version": ""})},
		{"storage that cannot serve", node{Status: unsealed, ready: errors.New("disk")}, "", route.Redact{}, 474, answer(nil)},
		{"sealed", node{Status: cluster.Status{Initialized: true, Sealed: true, ClusterName: "c"}}, "", route.Redact{}, 503, answer(sealed)},
		{"sealed, own code", node{Status: cluster.Status{Initialized: true, Sealed: true}}, "sealedcode=200", route.Redact{}, 200, answer(sealed)},
		{"new", node{Status: cluster.Status{Sealed: true}}, "", route.Redact{}, 501, answer(map[string]any{
			"cluster_id": nil, "cluster_name": nil, "replication_dr_mode": "unknown", "replication_performance_mode": "unknown", "sealed": true, "standby": true, "initialized": false,
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, got, err := call(t, tt.node.start(t, true), route.VerbRead, "health", tt.query, tt.hide)
			if err != nil || status != tt.status {
				t.Errorf("got %d, %v", status, err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	tab := (&node{Status: unsealed}).start(t, true)
	for _, query := range []string{"activecode=x", "sealedcode=99", "activecode=101", "standbycode=600", "uninitcode=-1", "standbyok=perhaps"} {
		if _, _, err := call(t, tab, route.VerbRead, "health", query, route.Redact{}); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v", query, err)
		}
	}
	broken := errors.New("broken")
	if _, _, err := call(t, (&node{err: broken}).start(t, true), route.VerbRead, "health", "", route.Redact{}); !errors.Is(err, broken) {
		t.Errorf("a state that cannot be read: %v", err)
	}
}

func TestLeader(t *testing.T) {
	unsealed := node{Status: cluster.Status{Initialized: true}}
	_, got, err := call(t, unsealed.start(t, true), route.VerbRead, "leader", "", route.Redact{})
	want := map[string]any{
		"active_time": "2027-01-15T08:00:00Z", "ha_enabled": true, "is_self": true, "leader_address": "https://a:8200", "leader_cluster_address": "https://a:8201",
		"raft_applied_index": 7.0, "raft_committed_index": 8.0,
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	_, got, _ = call(t, unsealed.start(t, true), route.VerbRead, "leader", "", route.Redact{Addresses: true})
	if got["leader_address"] != "" || got["leader_cluster_address"] != "" {
		t.Errorf("addresses are shown: %v", got)
	}
	if _, got, _ = call(t, unsealed.start(t, false), route.VerbRead, "leader", "", route.Redact{}); len(got) != 1 || got["ha_enabled"] != false {
		t.Errorf("on storage for one node: %v", got)
	}
	sealed := node{Status: cluster.Status{Initialized: true, Sealed: true}}
	if _, _, err := call(t, sealed.start(t, true), route.VerbRead, "leader", "", route.Redact{}); !errors.Is(err, fault.Sealed) {
		t.Errorf("while sealed: %v", err)
	}
}

func TestNodesAndSteppingDown(t *testing.T) {
	n := &node{Status: cluster.Status{Initialized: true}}
	tab := n.start(t, true)
	_, got, err := call(t, tab, route.VerbRead, "ha-status", "", route.Redact{})
	if list, _ := got["nodes"].([]any); err != nil || len(list) != 1 || list[0].(map[string]any)["hostname"] != "a" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, _, err := call(t, tab, route.VerbWrite, "step-down", "", route.Redact{}); err != nil || n.stepped != 1 {
		t.Errorf("stepped down %d times, %v", n.stepped, err)
	}
	for ha, want := range map[bool][2]bool{true: {false, true}, false: {true, false}} {
		var m route.Match
		e, _ := n.start(t, ha).Find(route.VerbWrite, "step-down", &m)
		if got := [2]bool{e.Public, e.Sudo}; got != want {
			t.Errorf("for several nodes %t: public and sudo are %v", ha, got)
		}
	}
}

// follower is where a node stands that follows b.
func follower() cluster.Place {
	return cluster.Place{Leader: cluster.Info{ID: "b", APIAddr: "https://b:8200", ClusterAddr: "https://b:8201"}}
}

func TestFollower(t *testing.T) {
	unsealed := cluster.Status{Initialized: true, ClusterName: "c", ClusterID: "id"}
	leaderless := func() cluster.Place { return cluster.Place{} }
	removed := func() cluster.Place { return cluster.Place{Removed: true} }
	cutOff := func() cluster.Place { return cluster.Place{CutOff: true} }
	for _, tt := range []struct {
		name    string
		status  cluster.Status
		place   func() cluster.Place
		query   string
		code    int
		standby any // performance_standby
	}{
		{"follows", unsealed, follower, "", 473, true},
		{"follows, standbys are welcome", unsealed, follower, "standbyok=true", 200, true},
		{"follows, performance standbys are welcome", unsealed, follower, "perfstandbyok=true", 200, true},
		{"follows, own code", unsealed, follower, "performancestandbycode=299&standbycode=298", 299, true},
		{"follows, own code of standbys", unsealed, follower, "standbycode=298", 298, true},
		{"without a leader", unsealed, leaderless, "", 429, nil},
		{"without a leader, own code", unsealed, leaderless, "standbycode=298", 298, nil},
		{"cut off", unsealed, cutOff, "standbyok=true", 474, nil},
		{"removed", unsealed, removed, "standbyok=true", 530, nil},
		{"removed and sealed", cluster.Status{Initialized: true, Sealed: true}, removed, "", 530, nil},
		{"removed, own code", unsealed, removed, "removedcode=531", 531, nil},
		{"sealed", cluster.Status{Initialized: true, Sealed: true}, follower, "", 503, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tab := (&node{Status: tt.status, place: tt.place}).start(t, true)
			code, got, err := call(t, tab, route.VerbRead, "health", tt.query, route.Redact{})
			if err != nil || code != tt.code || got["standby"] != true || got["performance_standby"] != tt.standby {
				t.Errorf("got %d, %v, %v; want %d with performance_standby %v", code, got, err, tt.code, tt.standby)
			}
		})
	}
	_, got, err := call(t, (&node{Status: unsealed, place: follower}).start(t, true), route.VerbRead, "leader", "", route.Redact{})
	want := map[string]any{
		"ha_enabled": true, "is_self": false, "leader_address": "https://b:8200", "leader_cluster_address": "https://b:8201", "performance_standby": true,
		"raft_applied_index": 7.0, "raft_committed_index": 8.0,
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestRoster(t *testing.T) {
	c := clock.NewFake(time.Unix(1_800_000_000, 0))
	r := cluster.NewRoster(c)
	r.Heard(cluster.Info{ID: "b", Hostname: "hb", Time: c.Now().Add(-2 * time.Second), EchoTook: 3 * time.Millisecond, Zone: "z1", Applied: 5}, 9)
	r.Heard(cluster.Info{ID: "c", Hostname: "hc", Time: c.Now(), Sealed: true}, 0)
	r.Heard(cluster.Info{ID: "gone"}, 0)
	r.Keep(func(id string) bool { return id != "gone" })
	if e, ok := r.Of("b"); !ok || e.Behind != 4 {
		t.Errorf("b is %d entries behind, want 4", e.Behind)
	}
	tab := (&node{Status: cluster.Status{Initialized: true}, roster: r}).start(t, true)
	_, got, err := call(t, tab, route.VerbRead, "ha-status", "", route.Redact{})
	if err != nil {
		t.Fatal(err)
	}
	list, _ := got["nodes"].([]any)
	if len(list) != 3 {
		t.Fatalf("got %v, want three nodes", got)
	}
	b, _ := list[1].(map[string]any)
	want := map[string]any{
		"active_node": false, "api_address": "", "cluster_address": "", "hostname": "hb", "last_echo": "2027-01-15T08:00:00Z", "version": "",
		"redundancy_zone": "z1", "echo_duration_ms": 3.0, "clock_skew_ms": -2000.0, "sealed": false, "node_id": "b",
	}
	if diff := cmp.Diff(want, b); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyNodeStepsDownWithoutEffect(t *testing.T) {
	n := &node{Status: cluster.Status{Initialized: true}, refuses: fault.New(fault.Precondition, "")}
	if _, _, err := call(t, n.start(t, true), route.VerbWrite, "step-down", "", route.Redact{}); err != nil {
		t.Errorf("got %v", err)
	}
	n.refuses = fault.New(fault.Unavailable, "")
	if _, _, err := call(t, n.start(t, true), route.VerbWrite, "step-down", "", route.Redact{}); !errors.Is(err, fault.Unavailable) {
		t.Errorf("a failed hand-over: %v", err)
	}
}
