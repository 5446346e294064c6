package cluster

import (
	"context"
	"strconv"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
)

type healthRequest struct {
	StandbyOK            bool   `query:"standbyok" doc:"Answer a standby as if it were active."`
	PerfStandbyOK        bool   `query:"perfstandbyok" doc:"Answer a performance standby as if it were active."`
	ActiveCode           string `query:"activecode" doc:"Status of an active node; 200 if not given."`
	StandbyCode          string `query:"standbycode" doc:"Status of a standby; 429 if not given."`
	DRSecondaryCode      string `query:"drsecondarycode" doc:"Status of a disaster recovery secondary; 472 if not given."`
	PerfStandbyCode      string `query:"performancestandbycode" doc:"Status of a performance standby; standbycode, else 473, if not given."`
	PerfStandbyCodeShort string `query:"perfstandbycode" doc:"Another name of performancestandbycode."`
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
	PerfStandby     bool   `json:"performance_standby,omitempty"`
	Removed         bool   `json:"removed_from_cluster,omitempty"`
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

// code chooses the status by what is asked for.
func (in healthRequest) code(st Status, p Place, ready error) (int, error) {
	read := func(def int, texts ...string) (int, error) {
		for _, text := range texts {
			if text != "" {
				return healthCode(text, def)
			}
		}
		return def, nil
	}
	active, err := read(200, in.ActiveCode)
	if err != nil {
		return 0, err
	}
	for _, text := range []string{in.StandbyCode, in.DRSecondaryCode, in.PerfStandbyCode, in.PerfStandbyCodeShort, in.HAUnhealthyCode, in.RemovedCode, in.SealedCode, in.UninitCode} {
		if _, err := healthCode(text, 0); err != nil {
			return 0, err // one that is wrong is wrong whatever the state
		}
	}
	switch {
	case !st.Initialized:
		return read(501, in.UninitCode)
	case p.Removed:
		return read(530, in.RemovedCode)
	case st.Sealed:
		return read(503, in.SealedCode)
	case ready != nil, p.CutOff:
		return read(474, in.HAUnhealthyCode)
	case p.Leads:
		return active, nil
	case in.StandbyOK || in.PerfStandbyOK:
		return active, nil
	case p.Leader.ID == "":
		return read(429, in.StandbyCode)
	}
	return read(473, in.PerfStandbyCode, in.PerfStandbyCodeShort, in.StandbyCode)
}

func (n *Node) health(ctx context.Context, c *route.Call, in healthRequest) (route.Bytes, error) {
	st, err := n.Status(ctx)
	if err != nil {
		return route.Bytes{}, err
	}
	p := n.Place()
	code, err := in.code(st, p, n.Ready())
	if err != nil {
		return route.Bytes{}, err
	}
	h := health{
		ClusterID: st.ClusterID, ClusterName: st.ClusterName, Initialized: st.Initialized, DRMode: "disabled", PerformanceMode: "disabled",
		Sealed: st.Sealed, ServerTime: n.Clock.Now().Unix(), Version: n.Version, Removed: p.Removed,
	}
	if n.HA {
		h.PerformanceMode = "primary" // as clients know it of storage for several nodes
	}
	switch {
	case st.Sealed || !st.Initialized:
		h.ClusterID, h.ClusterName, h.Standby = "", "", true
		h.DRMode, h.PerformanceMode = "unknown", "unknown"
	case !p.Leads:
		h.Standby, h.PerfStandby = true, p.Leader.ID != "" && !p.CutOff && !p.Removed
	}
	if c.Redact.ClusterName {
		h.ClusterName = ""
	}
	if c.Redact.Version {
		h.Version = ""
	}
	return encode(code, h)
}
