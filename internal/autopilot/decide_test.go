package autopilot_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/autopilot"
)

var (
	start = time.Unix(1_800_000_000, 0).UTC()
	now   = start.Add(time.Hour)
)

// node reads a node from words: its id, then what it is. A node is healthy, was
// heard from just now, wants a vote, and has been as it is for an hour.
func node(text string) autopilot.Server {
	words := strings.Fields(text)
	s := autopilot.Server{ID: words[0], Wants: true, Healthy: true, Heard: now, Since: start}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "leader":
			s.Leader, s.Voter = true, true
		case "voter":
			s.Voter = true
		case "sick":
			s.Healthy = false
		case "unwilling":
			s.Wants = false
		case "new":
			s.Since = now.Add(-time.Second)
		case "zone":
			s.Zone = value
		case "upgrade":
			s.UpgradeVersion = value
		case "silent":
			d, err := time.ParseDuration(value)
			if err != nil {
				panic(err)
			}
			s.Heard, s.Healthy = now.Add(-d), false
		default:
			panic(w)
		}
	}
	return s
}

func TestDecide(t *testing.T) {
	clean := autopilot.DefaultConfig()
	clean.CleanupDeadServers, clean.MinQuorum, clean.DeadServerLastContactThreshold = true, 3, 10*time.Minute
	fixed := autopilot.DefaultConfig()
	fixed.DisableUpgradeMigration = true
	for _, tt := range []struct {
		name   string
		config autopilot.Config
		nodes  []string
		voters string
		want   autopilot.Decision // without voters and the migration's lists
	}{
		{"three voters stay", autopilot.DefaultConfig(), []string{"a leader", "b voter", "c voter sick"}, "a b c", autopilot.Decision{}},
		{"a stable node gets a vote", autopilot.DefaultConfig(), []string{"a leader", "b", "c new", "d sick", "e unwilling"}, "a b", autopilot.Decision{}},

		{"one votes in each zone", autopilot.DefaultConfig(), []string{"a leader zone=1", "b zone=1", "c zone=2", "d zone=2"}, "a c", autopilot.Decision{}},
		{"a second voter of a zone goes", autopilot.DefaultConfig(), []string{"a voter zone=1", "b leader zone=1", "c voter zone=2"}, "b c", autopilot.Decision{Demote: []string{"a"}}},
		{"a spare takes over", autopilot.DefaultConfig(), []string{"a leader zone=1", "c voter zone=2 sick", "d zone=2"}, "a c d", autopilot.Decision{}},
		{"and then the failed voter goes", autopilot.DefaultConfig(), []string{"a leader zone=1", "c voter zone=2 sick", "d voter zone=2"}, "a d", autopilot.Decision{Demote: []string{"c"}}},
		{"without a spare it stays", autopilot.DefaultConfig(), []string{"a leader zone=1", "c voter zone=2 sick", "d zone=2 sick"}, "a c", autopilot.Decision{}},

		{"nobody is removed unless told", autopilot.DefaultConfig(), []string{"a leader", "b voter", "c voter", "d voter silent=30m"}, "a b c d", autopilot.Decision{}},
		{"the dead are removed", clean, []string{"a leader", "b voter", "c voter", "d voter silent=30m", "e silent=30m", "f silent=9m"}, "a b c d", autopilot.Decision{Remove: []string{"e", "d"}}},
		{"but not beyond the quorum wanted", clean, []string{"a leader", "b voter", "c voter silent=30m", "d silent=11m"}, "a b c", autopilot.Decision{Remove: []string{"d"}}},
		{"nor half of the voters", clean, []string{"a leader", "b voter", "c voter", "d voter silent=30m", "e voter silent=30m", "f voter silent=30m"}, "a b c d e f", autopilot.Decision{}},

		{"newer ones wait until there are enough", autopilot.DefaultConfig(), []string{"a leader upgrade=1.9.0", "b voter upgrade=1.9.0", "c voter upgrade=1.9.0", "d upgrade=1.10.0", "e upgrade=1.10.0"}, "a b c",
			autopilot.Decision{Migration: autopilot.Migration{Status: autopilot.MigrationAwaitVoters}}},
		{"then all get votes", autopilot.DefaultConfig(), []string{"a leader upgrade=1", "b voter upgrade=1", "d upgrade=2", "e upgrade=2"}, "a b d e",
			autopilot.Decision{Migration: autopilot.Migration{Status: autopilot.MigrationPromoting}}},
		{"then one leads", autopilot.DefaultConfig(), []string{"a leader upgrade=1", "b voter upgrade=1", "d voter upgrade=2", "e voter upgrade=2"}, "a b d e",
			autopilot.Decision{Transfer: "d", Migration: autopilot.Migration{Status: autopilot.MigrationTransfer}}},
		{"then the older ones lose theirs", autopilot.DefaultConfig(), []string{"a voter upgrade=1", "b voter upgrade=1", "d leader upgrade=2", "e voter upgrade=2"}, "d e",
			autopilot.Decision{Demote: []string{"a", "b"}, Migration: autopilot.Migration{Status: autopilot.MigrationDemoting}}},
		{"and do not get them back", autopilot.DefaultConfig(), []string{"a upgrade=1", "b upgrade=1", "d leader upgrade=2", "e voter upgrade=2"}, "d e",
			autopilot.Decision{Migration: autopilot.Migration{Status: autopilot.MigrationAwaitsRemoval}}},
		{"unless that is off", fixed, []string{"a leader upgrade=1", "b voter upgrade=1", "d upgrade=2", "e upgrade=2"}, "a b d e",
			autopilot.Decision{Migration: autopilot.Migration{Status: autopilot.MigrationDisabled}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := autopilot.View{Now: now, Since: start, Config: tt.config}
			for _, n := range tt.nodes {
				v.Servers = append(v.Servers, node(n))
			}
			d := autopilot.Decide(v)
			if got := strings.Join(slices.Sorted(maps.Keys(d.Voters)), " "); got != tt.voters {
				t.Errorf("may vote: %s, want %s", got, tt.voters)
			}
			if tt.want.Migration.Status == "" {
				tt.want.Migration.Status = autopilot.MigrationIdle
			}
			d.Voters, d.Migration = nil, autopilot.Migration{Status: d.Migration.Status}
			if diff := cmp.Diff(tt.want, d); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestClusterForms lets new nodes vote at once while the leader itself is new.
func TestClusterForms(t *testing.T) {
	v := autopilot.View{Now: now, Since: now.Add(-5 * time.Second), Config: autopilot.DefaultConfig(), Servers: []autopilot.Server{node("a leader"), node("b new")}}
	if d := autopilot.Decide(v); !d.Voters["b"] {
		t.Error("a node has to wait for its vote while the cluster forms")
	}
	v.Since = now.Add(-12 * time.Second)
	if d := autopilot.Decide(v); d.Voters["b"] {
		t.Error("a node that has joined a second ago may vote")
	}
}

func TestVersionsAreComparedByNumber(t *testing.T) {
	order := []string{"", "0.9", "1.9.0", "1.10.0-beta", "1.10.0", "1.10.0+ent", "2"}
	for i, older := range order[:len(order)-1] {
		newer := order[i+1]
		if strings.HasPrefix(newer, older) && older != "" {
			continue // what a suffix means is the operator's to know
		}
		v := autopilot.View{Now: now, Since: start, Config: autopilot.DefaultConfig()}
		a, b := node("a leader"), node("b voter")
		a.UpgradeVersion, b.UpgradeVersion = older, newer
		v.Servers = []autopilot.Server{a, b}
		if got := autopilot.Decide(v).Migration.Target; got != newer && !strings.HasPrefix(older, newer) {
			t.Errorf("of %q and %q the target is %q", older, newer, got)
		}
	}
}
