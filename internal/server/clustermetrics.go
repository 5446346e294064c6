package server

import (
	"github.com/cofferhq/coffer/internal/cluster"
	"github.com/cofferhq/coffer/internal/diag"
)

// leads reports whether this node leads: alone it does.
func (s *Server) leads() bool { return s.replica == nil || s.replica.Leads() }

// clusterGauges are the figures of a node that is one of several.
func (s *Server) clusterGauges() []diag.Gauge {
	if s.replica == nil {
		return nil
	}
	return []diag.Gauge{
		{Name: "core.performance_standby", Help: "1 while this node follows another and answers reads.", Read: func() (float64, bool) {
			return truth(s.house.Load() != nil && !s.leads() && s.replica.Stale() == nil), true
		}},
		{Name: "autopilot.healthy", Help: "1 while every node is healthy, as the leader sees it.", Read: func() (float64, bool) {
			healthy, _, ok := s.pilotView()
			return truth(healthy), ok
		}},
		{Name: "autopilot.failure_tolerance", Help: "How many voters may fail before the quorum is lost, as the leader sees it.", Read: func() (float64, bool) {
			_, tolerance, ok := s.pilotView()
			return float64(tolerance), ok
		}},
	}
}

// pilotView is what autopilot has seen last; ok is false on nodes that do not
// lead.
func (s *Server) pilotView() (healthy bool, tolerance int, ok bool) {
	h := s.house.Load()
	if h == nil || h.pilot == nil || !s.leads() {
		return false, 0, false
	}
	return h.pilot.Summary()
}

// followerGauges are what the leader knows of each follower.
func (s *Server) followerGauges() []diag.Family {
	if s.replica == nil {
		return nil
	}
	each := func(read func(cluster.Echo) float64) func() map[string]float64 {
		return func() map[string]float64 {
			if !s.leads() {
				return nil
			}
			values := map[string]float64{}
			for _, e := range s.roster.All() {
				values[e.ID] = read(e)
			}
			return values
		}
	}
	return []diag.Family{
		{Name: "raft_storage.follower.applied_index_delta", Help: "Log entries that a follower had not applied when it was last heard from.", Label: "peer_id", Read: each(func(e cluster.Echo) float64 { return float64(e.Behind) })},
		{Name: "raft_storage.follower.last_heartbeat_ms", Help: "Time since a follower was last heard from, in milliseconds.", Label: "peer_id", Read: each(func(e cluster.Echo) float64 {
			return float64(s.clock.Now().Sub(e.At).Milliseconds())
		})},
		{Name: "raft_storage.follower.clock_skew_ms", Help: "How far a follower's clock is ahead of the leader's, in milliseconds.", Label: "peer_id", Read: each(func(e cluster.Echo) float64 { return float64(e.Skew.Milliseconds()) })},
	}
}
