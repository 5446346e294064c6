// Package cluster is the noun of nodes: who leads, who is healthy. There is one
// node so far, which leads when it is unsealed.
package cluster

import (
	"context"
	"encoding/json"
	"strconv"
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

// Config is what a [Node] needs.
type Config struct {
	Clock   clock.Clock
	Version string
	// HA says that the storage is made for several nodes.
	HA bool
	// APIAddr and ClusterAddr are where clients and nodes reach this one.
	APIAddr, ClusterAddr string
	NodeID               string
	// Status tells the state of the seal.
	Status func(ctx context.Context) (Status, error)
	// Index returns the last applied and the last committed index.
	Index func() (applied, committed uint64)
	// StepDown gives up leadership.
	StepDown func(ctx context.Context) error
	// Ready reports with an error that storage cannot serve.
	Ready func() error
}

// Node is this node.
type Node struct {
	Config
	active time.Time
}

// New returns the noun.
func New(c Config) *Node { return &Node{Config: c, active: c.Clock.Now()} }

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
		route.Read("ha-status", (*Node).haStatus, route.Flat(), route.Doc{Summary: "List the nodes of the cluster."}),
		route.Write("step-down", (*Node).stepDown, who, route.Doc{Summary: "Give up leadership."}),
	})
}

type healthRequest struct {
	StandbyOK            bool   `query:"standbyok" doc:"Answer a standby as if it were active."`
	PerfStandbyOK        bool   `query:"perfstandbyok" doc:"Answer a performance standby as if it were active."`
	ActiveCode           string `query:"activecode" doc:"Status of an active node; 200 if not given."`
	StandbyCode          string `query:"standbycode" doc:"Status of a standby; 429 if not given."`
	DRSecondaryCode      string `query:"drsecondarycode" doc:"Status of a disaster recovery secondary; 472 if not given."`
	PerfStandbyCode      string `query:"performancestandbycode" doc:"Status of a performance standby; 473 if not given."`
	HAUnhealthyCode      string `query:"haunhealthycode" doc:"Status of a standby that cannot reach the active node; 474 if not given."`
	RemovedCode          string `query:"removedcode" doc:"Status of a node removed from the cluster; 530 if not given."`
	SealedCode           string `query:"sealedcode" doc:"Status of a sealed node; 503 if not given."`
	UninitCode           string `query:"uninitcode" doc:"Status of a node not initialised; 501 if not given."`
	RedactedClusterState string `query:"redacted" doc:"Accepted and ignored." deprecated:"true"`
}

// health is what the endpoint answers.
type health struct {
	ClusterID       string `json:"cluster_id,omitempty"`
	ClusterName     string `json:"cluster_name,omitempty"`
	Initialized     bool   `json:"initialized"`
	DRMode          string `json:"replication_dr_mode"`
	PerformanceMode string `json:"replication_performance_mode"`
	Sealed          bool   `json:"sealed"`
	ServerTime      int64  `json:"server_time_utc"`
	Standby         bool   `json:"standby"`
	Version         string `json:"version"`
}

// healthCode reads a status that the caller wants.
func healthCode(text string, def int) (int, error) {
	if text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 200 || n > 599 { // one below 200 does not end an answer
		return 0, fault.New(fault.Invalid, "")
	}
	return n, nil
}

func (n *Node) health(ctx context.Context, c *route.Call, in healthRequest) (route.Bytes, error) {
	codes := map[string]int{}
	for _, c := range []struct {
		name, text string
		def        int
	}{
		{"active", in.ActiveCode, 200}, {"standby", in.StandbyCode, 429}, {"dr", in.DRSecondaryCode, 472}, {"perf", in.PerfStandbyCode, 473},
		{"unhealthy", in.HAUnhealthyCode, 474}, {"removed", in.RemovedCode, 530}, {"sealed", in.SealedCode, 503}, {"uninit", in.UninitCode, 501},
	} {
		code, err := healthCode(c.text, c.def)
		if err != nil {
			return route.Bytes{}, err
		}
		codes[c.name] = code
	}
	st, err := n.Status(ctx)
	if err != nil {
		return route.Bytes{}, err
	}
	h := health{
		ClusterID: st.ClusterID, ClusterName: st.ClusterName, Initialized: st.Initialized, DRMode: "disabled", PerformanceMode: "disabled",
		Sealed: st.Sealed, ServerTime: n.Clock.Now().Unix(), Version: n.Version,
	}
	code := codes["active"]
	switch {
	case !st.Initialized:
		code = codes["uninit"]
	case st.Sealed:
		code = codes["sealed"]
	case n.Ready() != nil:
		code = codes["unhealthy"]
	}
	if st.Sealed {
		h.ClusterID, h.ClusterName, h.Standby = "", "", true
	}
	if !st.Initialized {
		h.DRMode, h.PerformanceMode, h.Standby = "unknown", "unknown", true
	} else if st.Sealed {
		h.DRMode, h.PerformanceMode = "unknown", "unknown"
	}
	if c.Redact.ClusterName {
		h.ClusterName = ""
	}
	if c.Redact.Version {
		h.Version = ""
	}
	return encode(code, h)
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
	self := true
	l := leader{HAEnabled: true, IsSelf: &self, LeaderAddress: &n.APIAddr, LeaderClusterAddress: &n.ClusterAddr, ActiveTime: &n.active}
	l.Applied, l.Committed = n.Index()
	if c.Redact.Addresses {
		hidden := ""
		l.LeaderAddress, l.LeaderClusterAddress = &hidden, &hidden
	}
	return encode(0, l)
}

type member struct {
	ActiveNode     bool      `json:"active_node"`
	APIAddress     string    `json:"api_address"`
	ClusterAddress string    `json:"cluster_address"`
	Hostname       string    `json:"hostname"`
	LastEcho       *string   `json:"last_echo"`
	Version        string    `json:"version"`
	Since          time.Time `json:"active_since"`
}

type members struct {
	Nodes []member `json:"nodes"`
}

func (n *Node) haStatus(context.Context, *route.Call, noInput) (*members, error) {
	return &members{[]member{{ActiveNode: true, APIAddress: n.APIAddr, ClusterAddress: n.ClusterAddr, Hostname: n.NodeID, Version: n.Version, Since: n.active}}}, nil
}

func (n *Node) stepDown(ctx context.Context, _ *route.Call, _ noInput) (route.None, error) {
	return route.None{}, n.StepDown(ctx)
}
