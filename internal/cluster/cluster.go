// Package cluster is the noun of nodes: who leads, who is healthy, what each of
// them tells of itself.
//
// A node that follows another answers reads from its own copy of the data: what
// Vault's clients call a performance standby.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

// Status is what health tells of the seal.
type Status struct {
	Initialized bool
	Sealed      bool
	ClusterName string
	ClusterID   string
}

// Place is where this node stands in its cluster.
type Place struct {
	// Leads says that this node leads, since Since.
	Leads bool
	Since time.Time
	// Leader is what is known of the node that leads; its ID is "" if none does.
	Leader Info
	// Removed says that this node was removed from the cluster.
	Removed bool
	// CutOff says that this node has not heard from a leader for so long that it
	// serves nothing.
	CutOff bool
}

// Config is what a [Node] needs.
type Config struct {
	Clock   clock.Clock
	Version string
	// HA says that the storage is made for several nodes.
	HA bool
	// APIAddr and ClusterAddr are where clients and nodes reach this one.
	APIAddr, ClusterAddr string
	// Status tells the state of the seal.
	Status func(ctx context.Context) (Status, error)
	// Self is what this node tells of itself.
	Self func() Info
	// Place is where this node stands. Nil is the only node, which leads.
	Place func() Place
	// Roster is what the other nodes tell the leader; nil if there are none.
	Roster *Roster
	// Index returns the last applied and the last committed index.
	Index func() (applied, committed uint64)
	// StepDown gives up leadership, and refuses with [fault.Precondition] if no
	// other node can take it.
	StepDown func(ctx context.Context) error
	// Ready reports with an error that storage cannot serve.
	Ready func() error
}

// Node is this node.
type Node struct{ Config }

// New returns the noun.
func New(c Config) *Node {
	n := &Node{c}
	if n.Place == nil {
		since := c.Clock.Now()
		n.Place = func() Place { return Place{Leads: true, Since: since, Leader: n.Self()} }
	}
	if n.Self == nil {
		n.Self = func() Info { return Info{APIAddr: c.APIAddr, ClusterAddr: c.ClusterAddr, Version: c.Version} }
	}
	return n
}

// Always are the endpoints that answer while sealed.
var Always = []route.Endpoint{
	route.Raw(route.VerbRead, "health", (*Node).health, route.WhileSealed(), route.Doc{Summary: "Tell by the status code how this node is."}),
	route.Raw(route.VerbRead, "leader", (*Node).leader, route.WhileSealed(), route.Doc{Summary: "Tell which node leads."}),
}

// Routes are the endpoints that do not answer while sealed. Stepping down on
// storage for one node does nothing and is anybody's to ask, as with Vault.
func (n *Node) Routes() []route.Endpoint {
	who := route.Sudo()
	if !n.HA {
		who = route.Public()
	}
	return route.Bind(n, []route.Endpoint{
		route.Read("ha-status", (*Node).haStatus, route.Flat(), route.OnLeader(), route.RootOnly(), route.Doc{Summary: "List the nodes of the cluster."}),
		route.Write("step-down", (*Node).stepDown, who, route.RootOnly(), route.Doc{Summary: "Give up leadership."}),
	})
}

func encode(code int, v any) (route.Bytes, error) {
	b, err := json.Marshal(v)
	return route.Bytes{Status: code, ContentType: "application/json", Body: append(b, '\n')}, err
}

// leader is what the endpoint answers on storage for several nodes.
type leader struct {
	ActiveTime           *time.Time `json:"active_time,omitempty"`
	HAEnabled            bool       `json:"ha_enabled"`
	IsSelf               *bool      `json:"is_self,omitempty"`
	LeaderAddress        *string    `json:"leader_address,omitempty"`
	LeaderClusterAddress *string    `json:"leader_cluster_address,omitempty"`
	PerformanceStandby   bool       `json:"performance_standby,omitempty"`
	Applied              uint64     `json:"raft_applied_index,omitempty"`
	Committed            uint64     `json:"raft_committed_index,omitempty"`
}

type noInput struct{}

func (n *Node) leader(ctx context.Context, c *route.Call, _ noInput) (route.Bytes, error) {
	if !n.HA {
		return encode(0, leader{})
	}
	st, err := n.Status(ctx)
	if err != nil {
		return route.Bytes{}, err
	}
	if st.Sealed {
		return route.Bytes{}, fault.New(fault.Sealed, "Vault is sealed")
	}
	p := n.Place()
	l := leader{
		HAEnabled: true, IsSelf: &p.Leads, LeaderAddress: &p.Leader.APIAddr, LeaderClusterAddress: &p.Leader.ClusterAddr,
		PerformanceStandby: !p.Leads,
	}
	if p.Leads {
		l.ActiveTime = &p.Since
	}
	l.Applied, l.Committed = n.Index()
	if c.Redact.Addresses {
		hidden := ""
		l.LeaderAddress, l.LeaderClusterAddress = &hidden, &hidden
	}
	return encode(0, l)
}

// member is a node as the endpoint shows it.
type member struct {
	ActiveNode     bool       `json:"active_node"`
	APIAddress     string     `json:"api_address"`
	ClusterAddress string     `json:"cluster_address"`
	Hostname       string     `json:"hostname"`
	LastEcho       *time.Time `json:"last_echo"`
	Version        string     `json:"version"`
	UpgradeVersion string     `json:"upgrade_version,omitempty"`
	RedundancyZone string     `json:"redundancy_zone,omitempty"`
	EchoDuration   *int64     `json:"echo_duration_ms,omitempty"`
	ClockSkew      *int64     `json:"clock_skew_ms,omitempty"`
	Sealed         bool       `json:"sealed"`
	NodeID         string     `json:"node_id,omitempty"`
}

func memberOf(i Info) member {
	return member{
		APIAddress: i.APIAddr, ClusterAddress: i.ClusterAddr, Hostname: i.Hostname, Version: i.Version,
		UpgradeVersion: i.UpgradeVersion, RedundancyZone: i.Zone, Sealed: i.Sealed, NodeID: i.ID,
	}
}

type members struct {
	Nodes []member `json:"nodes"`
}

func (n *Node) haStatus(context.Context, *route.Call, noInput) (*members, error) {
	self := memberOf(n.Self())
	self.ActiveNode = true
	list := members{[]member{self}}
	for _, e := range n.Roster.All() {
		m := memberOf(e.Info)
		at, took, skew := e.At, e.Info.EchoTook.Milliseconds(), e.Skew.Milliseconds()
		m.LastEcho, m.EchoDuration, m.ClockSkew = &at, &took, &skew
		list.Nodes = append(list.Nodes, m)
	}
	return &list, nil
}

func (n *Node) stepDown(ctx context.Context, _ *route.Call, _ noInput) (route.None, error) {
	err := n.StepDown(ctx)
	if errors.Is(err, fault.Precondition) {
		err = nil // the only node goes on, as clients know it
	}
	return route.None{}, err
}
