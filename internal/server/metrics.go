package server

import (
	"time"

	"github.com/cofferhq/coffer/internal/backup"
	"github.com/cofferhq/coffer/internal/diag"
	"github.com/cofferhq/coffer/internal/store/raft"
)

// raftGauges tell of replicated storage; none without it.
func (s *Server) raftGauges() []diag.Gauge {
	if s.raft == nil {
		return nil
	}
	stat := func(name, help string, read func(raft.Stats) float64) diag.Gauge {
		return diag.Gauge{Name: "raft." + name, Help: help, Read: func() (float64, bool) { return read(s.raft.Stats()), true }}
	}
	voters := func() (n int) {
		for _, m := range s.raft.Members() {
			if m.Voter {
				n++
			}
		}
		return n
	}
	backups := func(read func(*backup.Schedules) (float64, bool)) func() (float64, bool) {
		return func() (float64, bool) {
			if h := s.house.Load(); h != nil && h.backups != nil {
				return read(h.backups)
			}
			return 0, false
		}
	}
	return []diag.Gauge{
		{
			Name: "autosnapshots.last_success_time", Help: "When the last good snapshot ended, in seconds since 1970, of the schedule that has waited longest for one; 0 if one has had none.",
			Read: backups(func(b *backup.Schedules) (float64, bool) { t, any := b.LastGood(); return since(t), any }),
		},
		{
			Name: "autosnapshots.failures", Help: "Attempts in a row that have failed, of the schedule with the most.",
			Read: backups(func(b *backup.Schedules) (float64, bool) { return float64(b.Failures()), true }),
		},
		stat("applied_index", "Last log entry applied.", func(st raft.Stats) float64 { return float64(st.Applied) }),
		stat("state_bytes", "Size of the applied state on disk.", func(st raft.Stats) float64 { return float64(st.StateBytes) }),
		stat("log_bytes", "Size of the log on disk.", func(st raft.Stats) float64 { return float64(st.LogBytes) }),
		stat("last_write_seconds", "Time of the last write to the log, fsync included.", func(st raft.Stats) float64 { return st.LastWrite.Seconds() }),
		stat("commits", "Log entries of this node that were committed since its start.", func(st raft.Stats) float64 { return float64(st.Commits.Count) }),
		stat("commit_seconds", "Time that they took together, from the proposal to the answer.", func(st raft.Stats) float64 { return st.Commits.Time.Seconds() }),
		stat("applies", "Times that log entries were applied to the state since the start.", func(st raft.Stats) float64 { return float64(st.Applies.Count) }),
		stat("apply_seconds", "Time that they took together.", func(st raft.Stats) float64 { return st.Applies.Time.Seconds() }),
		stat("leader_changes", "Times that this node has seen another leader, or none, since its start.", func(st raft.Stats) float64 { return float64(st.LeaderChanges) }),
		stat("term", "Term of the last log entry applied.", func(st raft.Stats) float64 { return float64(st.Term) }),
		{Name: "raft.stalled_seconds", Help: "Time that the write to the log under way has taken so far.", Read: func() (float64, bool) { return s.raft.Health().Stalled.Seconds(), true }},
		{Name: "raft.leader", Help: "1 while this node knows a leader.", Read: func() (float64, bool) { return truth(s.raft.Leader().ID != ""), true }},
		{Name: "raft.leader_last_contact_seconds", Help: "Time since this node heard from a leader; 0 if it leads.", Read: func() (float64, bool) { return s.raft.LastContact().Seconds(), true }},
		{Name: "raft.members", Help: "Nodes of the cluster.", Read: func() (float64, bool) { return float64(len(s.raft.Members())), true }},
		{Name: "raft.voters", Help: "Nodes of the cluster that vote.", Read: func() (float64, bool) { return float64(voters()), true }},
		{Name: "raft.full", Help: "1 while growth is refused for want of room on the disk.", Read: func() (float64, bool) { return truth(s.raft.Health().Full), true }},
		{Name: "raft.failed", Help: "1 once the storage of this node has failed; it serves nothing until it is started again.", Read: func() (float64, bool) { return truth(s.raft.Health().Err != nil), true }},
	}
}

// since is a moment as Prometheus wants it, in seconds since 1970.
func since(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / float64(time.Second)
}
