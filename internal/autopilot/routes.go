package autopilot

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Routes are the endpoints, below sys/.
var Routes = []route.Endpoint{
	route.Read("storage/raft/autopilot/configuration", (*Pilot).readConfiguration, route.RootOnly(), route.Doc{Summary: "Show when nodes get a vote and when they are removed."}),
	route.Write("storage/raft/autopilot/configuration", (*Pilot).writeConfiguration, route.RootOnly(), route.Doc{Summary: "Set when nodes get a vote and when they are removed."}),
	route.Read("storage/raft/autopilot/state", (*Pilot).readState, route.RootOnly(), route.OnLeader(), route.Doc{Summary: "Show how the nodes are."}),
}

type none struct{}

// configuration is [Config] as clients see it.
type configuration struct {
	CleanupDeadServers      bool   `json:"cleanup_dead_servers"`
	DeadServer              string `json:"dead_server_last_contact_threshold"`
	DisableUpgradeMigration bool   `json:"disable_upgrade_migration,omitempty"`
	LastContact             string `json:"last_contact_threshold"`
	MaxTrailingLogs         uint64 `json:"max_trailing_logs"`
	MinQuorum               int    `json:"min_quorum"`
	Stabilization           string `json:"server_stabilization_time"`
}

func (p *Pilot) readConfiguration(ctx context.Context, _ *route.Call, _ none) (configuration, error) {
	var c Config
	err := p.store.View(ctx, func(r store.Reader) (err error) {
		c, err = readConfig(r)
		return err
	})
	return configuration{
		CleanupDeadServers: c.CleanupDeadServers, DeadServer: c.DeadServerLastContactThreshold.String(), DisableUpgradeMigration: c.DisableUpgradeMigration,
		LastContact: c.LastContactThreshold.String(), MaxTrailingLogs: c.MaxTrailingLogs, MinQuorum: c.MinQuorum,
		Stabilization: c.ServerStabilizationTime.String(),
	}, err
}

type configurationRequest struct {
	CleanupDeadServers      wire.Opt[bool]          `json:"cleanup_dead_servers" doc:"Remove nodes that are dead."`
	DeadServer              wire.Opt[wire.Duration] `json:"dead_server_last_contact_threshold" doc:"How long a node must not have been heard from to be dead."`
	DisableUpgradeMigration wire.Opt[bool]          `json:"disable_upgrade_migration" doc:"Leave the votes as they are when nodes of a newer upgrade version join."`
	LastContact             wire.Opt[wire.Duration] `json:"last_contact_threshold" doc:"How long a healthy node may not have been heard from."`
	MaxTrailingLogs         wire.Opt[int]           `json:"max_trailing_logs" doc:"How many log entries a healthy node may be behind."`
	MinQuorum               wire.Opt[int]           `json:"min_quorum" doc:"How many voters the removal of dead nodes leaves."`
	Stabilization           wire.Opt[wire.Duration] `json:"server_stabilization_time" doc:"How long a node must be healthy to get a vote."`
}

func (in *configurationRequest) into(c *Config) error {
	in.CleanupDeadServers.Into(&c.CleanupDeadServers)
	in.DisableUpgradeMigration.Into(&c.DisableUpgradeMigration)
	in.MinQuorum.Into(&c.MinQuorum)
	for _, d := range []struct {
		from wire.Opt[wire.Duration]
		to   *time.Duration
	}{{in.DeadServer, &c.DeadServerLastContactThreshold}, {in.LastContact, &c.LastContactThreshold}, {in.Stabilization, &c.ServerStabilizationTime}} {
		if d.from.Set {
			*d.to = d.from.Value.D()
		}
	}
	if in.MaxTrailingLogs.Set {
		if in.MaxTrailingLogs.Value < 0 {
			return fault.New(fault.Invalid, "max_trailing_logs must not be negative")
		}
		c.MaxTrailingLogs = uint64(in.MaxTrailingLogs.Value)
	}
	return c.check()
}

func (p *Pilot) writeConfiguration(ctx context.Context, _ *route.Call, in configurationRequest) (route.None, error) {
	_, err := p.store.Update(ctx, func(tx store.Txn) error {
		c, err := readConfig(tx)
		if err != nil {
			return err
		}
		if err := in.into(&c); err != nil {
			return err
		}
		return store.PutJSON(tx, configKey, c)
	})
	return route.None{}, err
}

// server is a node as clients see it.
type server struct {
	Address        string            `json:"address"`
	Healthy        bool              `json:"healthy"`
	ID             string            `json:"id"`
	LastContact    string            `json:"last_contact"`
	LastIndex      uint64            `json:"last_index"`
	LastTerm       uint64            `json:"last_term"`
	Meta           map[string]string `json:"meta"`
	Name           string            `json:"name"`
	NodeStatus     string            `json:"node_status"`
	NodeType       string            `json:"node_type"`
	RedundancyZone string            `json:"redundancy_zone,omitempty"`
	StableSince    time.Time         `json:"stable_since"`
	Status         string            `json:"status"`
	UpgradeVersion string            `json:"upgrade_version,omitempty"`
	Version        string            `json:"version"`
}

type zone struct {
	FailureTolerance int      `json:"failure_tolerance"`
	Servers          []string `json:"servers"`
	Voters           []string `json:"voters"`
}

type upgrade struct {
	Status         string   `json:"status"`
	TargetVersion  string   `json:"target_version,omitempty"`
	TargetVoters   []string `json:"target_version_voters,omitempty"`
	TargetServers  []string `json:"target_version_non_voters,omitempty"`
	OtherVoters    []string `json:"other_version_voters,omitempty"`
	OtherNonVoters []string `json:"other_version_non_voters,omitempty"`
}

// state is how the cluster is, as clients see it.
type state struct {
	FailureTolerance           int               `json:"failure_tolerance"`
	Healthy                    bool              `json:"healthy"`
	Leader                     string            `json:"leader"`
	NonVoters                  []string          `json:"non_voters,omitempty"`
	OptimisticFailureTolerance int               `json:"optimistic_failure_tolerance"`
	RedundancyZones            map[string]*zone  `json:"redundancy_zones,omitempty"`
	Servers                    map[string]server `json:"servers"`
	UpgradeInfo                *upgrade          `json:"upgrade_info,omitempty"`
	Voters                     []string          `json:"voters"`
}

func (p *Pilot) readState(context.Context, *route.Call, none) (*state, error) {
	r := p.last.Load()
	if r == nil {
		return nil, fault.New(fault.Unavailable, "this node leads since a moment ago and has not looked at the others yet; try again")
	}
	s := &state{Servers: map[string]server{}, Voters: []string{}}
	spares := 0
	for i := range r.view.Servers {
		n := &r.view.Servers[i]
		s.add(&r.view, n)
		if !n.Voter && n.Healthy && n.Zone != "" {
			spares++
		}
	}
	s.Healthy, s.FailureTolerance = r.view.summary()
	s.OptimisticFailureTolerance = s.FailureTolerance + spares
	slices.Sort(s.Voters)
	slices.Sort(s.NonVoters)
	if m := r.decision.Migration; m.Target != "" {
		without := func(all, some []string) []string {
			return slices.DeleteFunc(slices.Clone(all), func(id string) bool { return slices.Contains(some, id) })
		}
		s.UpgradeInfo = &upgrade{m.Status, m.Target, m.TargetVoters, without(m.TargetServers, m.TargetVoters), m.OtherVoters, without(m.OtherServers, m.OtherVoters)}
	}
	return s, nil
}

func (s *state) add(v *View, n *Server) {
	out := server{
		Address: n.Address, Healthy: n.Healthy, ID: n.ID, LastContact: n.LastContact.String(), LastIndex: n.Index, LastTerm: n.Term,
		Name: cmp.Or(n.Name, n.ID), NodeStatus: "alive", NodeType: "voter", RedundancyZone: n.Zone, StableSince: n.Since, Status: "voter",
		UpgradeVersion: n.UpgradeVersion, Version: n.Version,
	}
	if !v.alive(n) {
		out.NodeStatus = "failed"
	}
	switch {
	case n.Leader:
		out.Status, s.Leader = "leader", n.ID
	case !n.Voter:
		out.Status, out.NodeType = "non-voter", "non-voter"
	}
	if n.Voter {
		s.Voters = append(s.Voters, n.ID)
	} else {
		s.NonVoters = append(s.NonVoters, n.ID)
	}
	s.Servers[n.ID] = out
	if n.Zone == "" {
		return
	}
	out.NodeType = "zone-voter"
	if !n.Voter {
		out.NodeType = "zone-standby"
	}
	s.Servers[n.ID] = out
	if s.RedundancyZones == nil {
		s.RedundancyZones = map[string]*zone{}
	}
	z := s.RedundancyZones[n.Zone]
	if z == nil {
		z = &zone{FailureTolerance: -1, Voters: []string{}}
		s.RedundancyZones[n.Zone] = z
	}
	z.Servers = append(z.Servers, n.ID)
	if n.Voter {
		z.Voters = append(z.Voters, n.ID)
	}
	if n.Healthy {
		z.FailureTolerance++
	}
}
