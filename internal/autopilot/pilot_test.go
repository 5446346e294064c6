package autopilot_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/autopilot"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/wire"
)

func table(t *testing.T, p *autopilot.Pilot) *route.Table {
	t.Helper()
	tab, err := route.NewTable(route.Bind(p, autopilot.Routes))
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

func call(t *testing.T, tab *route.Table, v route.Verb, path, body string) (map[string]any, error) {
	t.Helper()
	var m route.Match
	e, _ := tab.Find(v, "storage/raft/autopilot/"+path, &m)
	if e == nil {
		t.Fatalf("no endpoint %s", path)
	}
	c := &route.Call{Verb: v}
	if body != "" {
		var err error
		if c.Body, err = wire.ParseObject([]byte(body), wire.DefaultLimits); err != nil {
			t.Fatal(err)
		}
	}
	reply, err := e.Handle(context.Background(), nil, c)
	if err != nil || reply.NoContent {
		return nil, err
	}
	out := map[string]any{}
	return out, json.Unmarshal(reply.Data, &out)
}

func TestConfiguration(t *testing.T) {
	tab := table(t, autopilot.New(mem.New(), clock.NewFake(now)))
	want := map[string]any{
		"cleanup_dead_servers": false, "dead_server_last_contact_threshold": "24h0m0s", "last_contact_threshold": "10s",
		"max_trailing_logs": 1000.0, "min_quorum": 0.0, "server_stabilization_time": "10s",
	}
	got, err := call(t, tab, route.VerbRead, "configuration", "")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := call(t, tab, route.VerbWrite, "configuration", `{"cleanup_dead_servers":true,"min_quorum":3,"dead_server_last_contact_threshold":"10m"}`); err != nil {
		t.Fatal(err)
	}
	want["cleanup_dead_servers"], want["min_quorum"], want["dead_server_last_contact_threshold"] = true, 3.0, "10m0s"
	for _, bad := range []string{
		`{"min_quorum":2}`, `{"dead_server_last_contact_threshold":"59s"}`, `{"last_contact_threshold":0}`, `{"max_trailing_logs":-1}`, `{"server_stabilization_time":"x"}`,
	} {
		if _, err := call(t, tab, route.VerbWrite, "configuration", bad); !errors.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want a refusal", bad, err)
		}
	}
	got, err = call(t, tab, route.VerbRead, "configuration", "")
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

// TestVoteComesWithStability follows a node that joins a cluster which has been
// there for long.
func TestVoteComesWithStability(t *testing.T) {
	c := clock.NewFake(now)
	p := autopilot.New(mem.New(), c)
	look := func(b autopilot.Server) bool {
		t.Helper()
		a := node("a leader")
		a.Term, a.Index = 3, 5000
		if !b.Heard.IsZero() {
			b.Heard = c.Now()
		}
		if _, err := p.Look(t.Context(), start, []autopilot.Server{a, b}); err != nil {
			t.Fatal(err)
		}
		return p.MayVote("b")
	}
	b := node("b")
	b.Term, b.Index = 3, 4500
	for i := range 10 {
		if look(b) {
			t.Fatalf("a vote after %d s", i)
		}
		c.Advance(time.Second)
	}
	if !look(b) {
		t.Error("no vote after ten seconds")
	}
	for name, sick := range map[string]func(*autopilot.Server){
		"of an older term": func(b *autopilot.Server) { b.Term = 2 },
		"far behind":       func(b *autopilot.Server) { b.Index = 3999 },
		"out of contact":   func(b *autopilot.Server) { b.LastContact = 11 * time.Second },
		"never heard from": func(b *autopilot.Server) { b.Heard = time.Time{} },
	} {
		other := b
		sick(&other)
		if look(other) {
			t.Errorf("a vote for a node that is %s", name)
		}
		if c.Advance(9 * time.Second); look(b) {
			t.Errorf("a vote for a node that was %s a moment ago", name)
		}
		if c.Advance(10 * time.Second); !look(b) {
			t.Errorf("no vote for a node that was %s", name)
		}
	}
}

func TestState(t *testing.T) {
	c := clock.NewFake(now)
	p := autopilot.New(mem.New(), c)
	tab := table(t, p)
	if _, err := call(t, tab, route.VerbRead, "state", ""); !errors.Is(err, fault.Unavailable) {
		t.Errorf("before the first look: %v", err)
	}
	a, b, spare := node("a leader zone=1 upgrade=1"), node("b voter zone=2 upgrade=1"), node("c zone=2 upgrade=1")
	a.Address, b.Address, spare.LastContact = "h1:8201", "h2:8201", 20*time.Millisecond
	b.Heard = now.Add(-time.Minute)
	if _, err := p.Look(t.Context(), start, []autopilot.Server{a, b, spare}); err != nil {
		t.Fatal(err)
	}
	got, err := call(t, tab, route.VerbRead, "state", "")
	if err != nil {
		t.Fatal(err)
	}
	at := now.Format(time.RFC3339)
	server := func(id, address, contact, status, kind, alive, zone string, healthy bool) map[string]any {
		return map[string]any{
			"address": address, "healthy": healthy, "id": id, "last_contact": contact, "last_index": 0.0, "last_term": 0.0, "meta": nil, "name": id,
			"node_status": alive, "node_type": kind, "redundancy_zone": zone, "stable_since": at, "status": status, "upgrade_version": "1", "version": "",
		}
	}
	want := map[string]any{
		"failure_tolerance": 0.0, "optimistic_failure_tolerance": 1.0, "healthy": false, "leader": "a", "voters": []any{"a", "b"}, "non_voters": []any{"c"},
		"servers": map[string]any{
			"a": server("a", "h1:8201", "0s", "leader", "zone-voter", "alive", "1", true),
			"b": server("b", "h2:8201", "0s", "voter", "zone-voter", "failed", "2", false),
			"c": server("c", "", "20ms", "non-voter", "zone-standby", "alive", "2", true),
		},
		"redundancy_zones": map[string]any{
			"1": map[string]any{"failure_tolerance": 0.0, "servers": []any{"a"}, "voters": []any{"a"}},
			"2": map[string]any{"failure_tolerance": 0.0, "servers": []any{"b", "c"}, "voters": []any{"b"}},
		},
		"upgrade_info": map[string]any{"status": "idle", "target_version": "1", "target_version_voters": []any{"a", "b"}, "target_version_non_voters": []any{"c"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
