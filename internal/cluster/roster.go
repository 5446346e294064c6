package cluster

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// EchoInterval is how often a node tells the leader how it is.
const EchoInterval = time.Second

// Info is what a node tells another of itself. It is JSON between nodes.
type Info struct {
	ID          string `json:"id"`
	APIAddr     string `json:"api_addr"`
	ClusterAddr string `json:"cluster_addr"`
	Hostname    string `json:"hostname"`
	Version     string `json:"version"`
	// UpgradeVersion and Zone are for autopilot, "" if not configured.
	UpgradeVersion string `json:"upgrade_version,omitempty"`
	Zone           string `json:"zone,omitempty"`
	Sealed         bool   `json:"sealed"`
	// Term and Applied are of the log that the node has.
	Term    uint64 `json:"term"`
	Applied uint64 `json:"applied"`
	// LastContact is how long ago the node heard from the leader.
	LastContact time.Duration `json:"last_contact"`
	// EchoTook is how long the last echo and its answer took.
	EchoTook time.Duration `json:"echo_took"`
	// Time is the node's wall clock.
	Time time.Time `json:"time"`
}

// Echo is what the leader has heard from a node last.
type Echo struct {
	Info
	At   time.Time
	Skew time.Duration // the node's clock against the leader's; positive is ahead
	// Behind is how many log entries the node had not applied that the leader
	// had.
	Behind uint64
}

// Roster is what the leader has heard from the other nodes. A nil Roster is
// empty. Its methods are safe for concurrent use.
type Roster struct {
	clock clock.Clock
	mu    sync.Mutex
	heard map[string]Echo // guarded by mu, by node id
}

// NewRoster returns an empty roster.
func NewRoster(c clock.Clock) *Roster { return &Roster{clock: c, heard: map[string]Echo{}} }

// Heard notes what a node has told; applied is how far the leader is.
func (r *Roster) Heard(i Info, applied uint64) {
	now := r.clock.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	e := Echo{Info: i, At: now, Skew: i.Time.Sub(now)}
	if applied > i.Applied {
		e.Behind = applied - i.Applied
	}
	r.heard[i.ID] = e
}

// Keep forgets every node but those of which member is true.
func (r *Roster) Keep(member func(id string) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.heard {
		if !member(id) {
			delete(r.heard, id)
		}
	}
}

// Of returns what was heard from a node last; ok is false if nothing was.
func (r *Roster) Of(id string) (e Echo, ok bool) {
	if r == nil {
		return Echo{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok = r.heard[id]
	return e, ok
}

// All returns what was heard from each node, by id.
func (r *Roster) All() []Echo {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]Echo, 0, len(r.heard))
	for _, e := range r.heard {
		list = append(list, e)
	}
	slices.SortFunc(list, func(a, b Echo) int { return strings.Compare(a.ID, b.ID) })
	return list
}
