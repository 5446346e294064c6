package cli

import (
	"context"
	"flag"
	"fmt"
	"io"

	"github.com/cofferhq/coffer/api"
)

func statusCommand() *command {
	return &command{
		name: "status", groups: connects | formats | selects,
		short:  "Show whether the server is sealed, and what it runs on",
		long:   "Exit code: 0 when the server is unsealed, 2 when it is sealed, 1 when that cannot be told.",
		define: func(*flag.FlagSet) action { return runStatus },
	}
}

func runStatus(ctx context.Context, c *call) error {
	cl, err := c.client(ctx)
	if err != nil {
		return err
	}
	status, err := cl.SealStatus(ctx)
	if err != nil {
		c.report(failed("checking the seal status", err))
		return &exitError{code: exitLocal}
	}
	// An unanswered question about high availability is no reason to hide the rest.
	leader, err := cl.Leader(ctx)
	if err != nil {
		leader = &api.Leader{}
	}
	out := statusOutput{SealStatus: status, Leader: leader}
	if c.opts.field != "" {
		if err := c.structField(out); err != nil {
			return err
		}
	} else if err := c.value(out, func(w io.Writer) { out.table().print(w) }); err != nil {
		return err
	}
	if status.Sealed {
		return &exitError{code: exitServer}
	}
	return nil
}

// statusOutput is the seal status and the leadership in one object.
type statusOutput struct {
	*api.SealStatus
	*api.Leader
}

func (o statusOutput) table() *table {
	s := o.SealStatus
	t := newTable("Key", "Value")
	if s.RecoverySeal {
		t.add("Recovery Seal Type", s.RecoverySealType)
	}
	t.add("Seal Type", s.Type)
	t.add("Initialized", s.Initialized)
	t.add("Sealed", s.Sealed)
	if s.RecoverySeal {
		t.add("Total Recovery Shares", s.N)
	} else {
		t.add("Total Shares", s.N)
	}
	t.add("Threshold", s.T)
	if s.Sealed {
		t.add("Unseal Progress", fmt.Sprintf("%d/%d", s.Progress, s.T))
		t.add("Unseal Nonce", s.Nonce)
	}
	if s.Migration {
		t.add("Seal Migration in Progress", true)
	}
	t.add("Version", s.Version)
	t.add("Build Date", s.BuildDate)
	t.add("Storage Type", s.StorageType)
	if s.ClusterName != "" {
		t.add("Cluster Name", s.ClusterName)
		t.add("Cluster ID", s.ClusterID)
	}
	o.addLeader(t)
	return t
}

func (o statusOutput) addLeader(t *table) {
	l := o.Leader
	t.add("HA Enabled", l.HAEnabled)
	if !l.HAEnabled {
		return
	}
	if !o.Sealed {
		t.add("HA Cluster", l.LeaderClusterAddress)
		mode := "standby"
		if l.IsSelf {
			mode = "active"
		} else if l.PerformanceStandby {
			mode = "performance standby"
		}
		t.add("HA Mode", mode)
		if l.IsSelf {
			t.add("Active Since", l.ActiveTime)
		} else {
			t.add("Active Node Address", l.LeaderAddress)
		}
	}
	if l.RaftCommittedIndex > 0 {
		t.add("Raft Committed Index", l.RaftCommittedIndex)
	}
	if l.RaftAppliedIndex > 0 {
		t.add("Raft Applied Index", l.RaftAppliedIndex)
	}
}
