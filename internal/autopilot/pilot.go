package autopilot

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/store"
)

// Interval is how often a leader looks at the nodes.
const Interval = time.Second

// Pilot watches a cluster while this node leads.
type Pilot struct {
	store store.Store
	clock clock.Clock

	last atomic.Pointer[round] // nil before the first look

	mu     sync.Mutex
	health map[string]health // guarded by mu
}

// health is since when a node has been as it is.
type health struct {
	healthy bool
	since   time.Time
}

// round is one look and what came of it.
type round struct {
	view     View
	decision Decision
}

// New returns a pilot.
func New(s store.Store, c clock.Clock) *Pilot {
	return &Pilot{store: s, clock: c, health: map[string]health{}}
}

// Look looks at the nodes and says what to do. since is when this node came to
// office.
func (p *Pilot) Look(ctx context.Context, since time.Time, servers []Server) (Decision, error) {
	var c Config
	err := p.store.View(ctx, func(r store.Reader) (err error) {
		c, err = readConfig(r)
		return err
	})
	if err != nil {
		return Decision{}, err
	}
	v := View{Now: p.clock.Now(), Since: since, Config: c, Servers: servers}
	p.judge(&v)
	d := Decide(v)
	p.last.Store(&round{v, d})
	return d, nil
}

// MayVote reports whether a node may be given a vote, by the last look.
func (p *Pilot) MayVote(id string) bool {
	r := p.last.Load()
	return r != nil && r.decision.Voters[id]
}

// Summary tells by the last look whether every node is healthy and how many
// voters may fail; ok is false if there was no look yet.
func (p *Pilot) Summary() (healthy bool, tolerance int, ok bool) {
	r := p.last.Load()
	if r == nil {
		return false, 0, false
	}
	healthy, tolerance = r.view.summary()
	return healthy, tolerance, true
}

func (v *View) summary() (healthy bool, tolerance int) {
	voters, able := 0, 0
	healthy = true
	for i := range v.Servers {
		s := &v.Servers[i]
		healthy = healthy && s.Healthy
		if s.Voter {
			voters++
			if s.Healthy {
				able++
			}
		}
	}
	return healthy, max(0, able-(voters/2+1))
}

// judge sets how each node is and since when.
func (p *Pilot) judge(v *View) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var leader Server
	for _, s := range v.Servers {
		if s.Leader {
			leader = s
		}
	}
	known := map[string]health{}
	for i := range v.Servers {
		s := &v.Servers[i]
		now := health{healthy: v.healthy(s, &leader), since: v.Now}
		if before, ok := p.health[s.ID]; ok && before.healthy == now.healthy && !before.since.Before(v.Since) {
			now = before
		}
		known[s.ID] = now
		s.Healthy, s.Since = now.healthy, now.since
	}
	p.health = known
}

func (v *View) healthy(s, leader *Server) bool {
	if s.Leader {
		return true
	}
	return v.alive(s) && s.LastContact <= v.Config.LastContactThreshold && s.Term == leader.Term && s.Index+v.Config.MaxTrailingLogs >= leader.Index
}

// alive reports whether a node was heard from lately.
func (v *View) alive(s *Server) bool {
	return s.Leader || !s.Heard.IsZero() && v.Now.Sub(s.Heard) <= v.Config.LastContactThreshold
}
