package autopilot

import (
	"cmp"
	"slices"
	"time"
)

// Server is a node as the leader sees it.
type Server struct {
	ID, Address, Name, Version string
	// UpgradeVersion and Zone are configured on the node; "" if they are not.
	UpgradeVersion, Zone string
	Leader, Voter        bool
	// Wants says that the node is to vote when autopilot lets it.
	Wants bool
	// Heard is when the leader has heard from the node last, zero if never.
	Heard time.Time
	// LastContact is how long before that the node had heard from the leader.
	LastContact time.Duration
	// Term and Index are of the newest log entry that the node has.
	Term, Index uint64

	// Healthy and Since say how the node is, and for how long; [Pilot] sets them.
	Healthy bool
	Since   time.Time
}

// View is a cluster at an instant.
type View struct {
	Now time.Time
	// Since is when the leader came to office: nothing is known from before.
	Since   time.Time
	Config  Config
	Servers []Server
}

// Decision is what to do.
type Decision struct {
	// Voters are all nodes that may vote.
	Voters map[string]bool
	// Demote and Remove are nodes that lose their vote, and that go.
	Demote, Remove []string
	// Transfer is the node to take over the leadership, "" if it stays.
	Transfer string
	// Migration is how far a change to a newer version is.
	Migration Migration
}

// Migration is how far a change to a newer upgrade version is.
type Migration struct {
	Status        string
	Target        string
	TargetVoters  []string
	OtherVoters   []string
	TargetServers []string
	OtherServers  []string
}

// The states of a migration, by the names that clients know.
const (
	MigrationDisabled      = "disabled"
	MigrationIdle          = "idle"
	MigrationAwaitVoters   = "await-new-voters"
	MigrationPromoting     = "promoting"
	MigrationTransfer      = "leader-transfer"
	MigrationDemoting      = "demoting"
	MigrationAwaitsRemoval = "await-server-removal"
)

// Decide says what to do about a view.
func Decide(v View) Decision {
	d := Decision{Voters: map[string]bool{}}
	for i := range v.Servers {
		if s := &v.Servers[i]; s.Voter || v.stable(s) {
			d.Voters[s.ID] = true
		}
	}
	v.migrate(&d)
	v.zones(&d)
	for i := range v.Servers {
		s := &v.Servers[i]
		if s.Voter && !d.Voters[s.ID] && !s.Leader {
			d.Demote = append(d.Demote, s.ID)
		}
	}
	d.Remove = v.dead()
	if len(d.Remove) > 0 {
		d.Demote = nil // one change of the members at a time
	}
	return d
}

// stabilization is how long a node must have been healthy to get a vote. A
// leader that is new cannot tell yet, and lets a cluster form.
func (v *View) stabilization() time.Duration {
	if t := v.Config.ServerStabilizationTime; v.Now.Sub(v.Since) > t+t/10 {
		return t
	}
	return 0
}

// stable reports whether a node that has no vote may be given one.
func (v *View) stable(s *Server) bool {
	return s.Wants && s.Healthy && v.Now.Sub(s.Since) >= v.stabilization()
}

// zones leaves one voter in each redundancy zone.
func (v *View) zones(d *Decision) {
	byZone := map[string][]*Server{}
	for i := range v.Servers {
		if s := &v.Servers[i]; s.Zone != "" && d.Voters[s.ID] {
			byZone[s.Zone] = append(byZone[s.Zone], s)
		}
	}
	for _, servers := range byZone {
		slices.SortFunc(servers, preferred)
		keep := servers[0]
		for _, s := range servers[1:] {
			// A voter that has failed stays until its successor votes: the
			// number of votes must not sink because of it.
			if s.Voter && !keep.Voter {
				continue
			}
			delete(d.Voters, s.ID)
		}
	}
}

// preferred orders the nodes of a zone: healthy ones first, then whoever leads,
// then whoever votes.
func preferred(a, b *Server) int {
	first := func(x, y bool) int {
		switch {
		case x == y:
			return 0
		case x:
			return -1
		}
		return 1
	}
	return cmp.Or(first(a.Healthy, b.Healthy), first(a.Leader, b.Leader), first(a.Voter, b.Voter), cmp.Compare(a.ID, b.ID))
}

// migrate brings in the nodes of the newest upgrade version, all at once when
// they are as many as the voters before them.
func (v *View) migrate(d *Decision) {
	m := &d.Migration
	if m.Status = MigrationIdle; v.Config.DisableUpgradeMigration {
		m.Status = MigrationDisabled
		return
	}
	for i := range v.Servers {
		if u := v.Servers[i].UpgradeVersion; u != "" && compareVersions(u, m.Target) > 0 {
			m.Target = u
		}
	}
	if m.Target == "" {
		return
	}
	ready, leader := 0, false
	for i := range v.Servers {
		s := &v.Servers[i]
		if s.UpgradeVersion == m.Target {
			m.TargetServers = append(m.TargetServers, s.ID)
			if s.Voter {
				m.TargetVoters = append(m.TargetVoters, s.ID)
			}
			if d.Voters[s.ID] {
				ready++
			}
			leader = leader || s.Leader
			continue
		}
		m.OtherServers = append(m.OtherServers, s.ID)
		if s.Voter {
			m.OtherVoters = append(m.OtherVoters, s.ID)
		}
	}
	switch {
	case len(m.OtherServers) == 0:
	case len(m.OtherVoters) == 0:
		m.Status = MigrationAwaitsRemoval
		v.withhold(d, m.Target, false)
	case ready < len(m.OtherVoters):
		m.Status = MigrationAwaitVoters
		v.withhold(d, m.Target, true)
	case len(m.TargetVoters) < ready:
		m.Status = MigrationPromoting
	case !leader:
		m.Status, d.Transfer = MigrationTransfer, m.TargetVoters[0]
	default:
		m.Status = MigrationDemoting
		for _, id := range m.OtherVoters {
			delete(d.Voters, id)
		}
	}
}

// withhold gives no new votes to the nodes of the target version, or to the
// others.
func (v *View) withhold(d *Decision, target string, newer bool) {
	for i := range v.Servers {
		if s := &v.Servers[i]; (s.UpgradeVersion == target) == newer && !s.Voter {
			delete(d.Voters, s.ID)
		}
	}
}

// dead are the nodes to be removed.
func (v *View) dead() []string {
	c := v.Config
	if !c.CleanupDeadServers {
		return nil
	}
	var voters, others []string
	n := 0
	for i := range v.Servers {
		s := &v.Servers[i]
		if s.Voter {
			n++
		}
		last := s.Heard
		if last.Before(v.Since) {
			last = v.Since
		}
		switch {
		case s.Leader || v.Now.Sub(last) <= c.DeadServerLastContactThreshold:
		case s.Voter:
			voters = append(voters, s.ID)
		default:
			others = append(others, s.ID)
		}
	}
	if len(voters) > 0 && n-len(voters) >= c.MinQuorum && len(voters) < n-n/2 {
		others = append(others, voters...)
	}
	return others
}

// compareVersions compares versions of numbers with dots; what follows another
// character counts only if all numbers are equal.
func compareVersions(a, b string) int {
	for a != "" || b != "" {
		var x, y int
		x, a = number(a)
		y, b = number(b)
		if c := cmp.Compare(x, y); c != 0 {
			return c
		}
		if c := cmp.Compare(lead(a), lead(b)); c != 0 {
			return cmp.Compare(a, b)
		}
		if a != "" && b != "" {
			a, b = a[1:], b[1:]
		} else {
			return cmp.Compare(len(a), len(b))
		}
	}
	return 0
}

// number reads the digits at the beginning of s.
func number(s string) (n int, rest string) {
	i := 0
	for ; i < len(s) && i < 9 && s[i] >= '0' && s[i] <= '9'; i++ {
		n = 10*n + int(s[i]-'0')
	}
	return n, s[i:]
}

func lead(s string) byte {
	if s == "" {
		return 0
	}
	return s[0]
}
