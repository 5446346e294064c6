package server

import (
	"context"
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/autopilot"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store/raft"
)

// fly looks at the nodes while this one leads, and does what autopilot says. It
// gives no votes itself: the membership does, to those who may have one.
func (h *house) fly(ctx context.Context) error {
	since := h.s.clock.Now()
	for {
		if err := h.look(ctx, since); err != nil && ctx.Err() == nil && !errors.Is(err, fault.Standby) {
			h.log.Warn("looking after the nodes", "error", err)
		}
		select {
		case <-h.s.clock.After(autopilot.Interval):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (h *house) look(ctx context.Context, since time.Time) error {
	s := h.s
	servers, err := h.servers(ctx)
	if err != nil {
		return err
	}
	d, err := h.pilot.Look(ctx, since, servers)
	if err != nil {
		return err
	}
	for _, id := range d.Remove {
		h.log.Warn("removing a node that is dead", "node", id)
		if err := s.membership.Load().Remove(ctx, id); err != nil {
			return err
		}
	}
	for _, id := range d.Demote {
		h.log.Info("taking a node's vote", "node", id)
		if err := s.raft.Demote(ctx, id); err != nil {
			return err
		}
	}
	if d.Transfer == "" {
		return nil
	}
	h.log.Info("handing the leadership to a node of a newer version", "node", d.Transfer)
	return s.replica.Resign(ctx, 0, func(ctx context.Context) error { return s.raft.StepDown(ctx, d.Transfer) })
}

// servers are the nodes as this one, the leader, sees them.
func (h *house) servers(ctx context.Context) ([]autopilot.Server, error) {
	s := h.s
	var willing map[string]bool
	if m := s.membership.Load(); m != nil {
		var err error
		if willing, err = m.Willing(ctx); err != nil {
			return nil, err
		}
	}
	var list []autopilot.Server
	for _, m := range s.raft.Members() {
		list = append(list, h.serverOf(m, willing[m.ID]))
	}
	return list, nil
}

func (h *house) serverOf(m raft.Member, willing bool) autopilot.Server {
	s := h.s
	out := autopilot.Server{ID: m.ID, Address: m.Address, Voter: m.Voter, Wants: willing, Leader: m.ID == s.nodeID()}
	i := s.self()
	if !out.Leader {
		e, ok := s.roster.Of(m.ID)
		if !ok {
			return out
		}
		// What it was behind then, it is taken to be behind now.
		e.Applied = max(i.Applied, e.Behind) - e.Behind
		i, out.Heard = e.Info, e.At
	}
	out.Name, out.Version, out.UpgradeVersion, out.Zone = i.Hostname, i.Version, i.UpgradeVersion, i.Zone
	out.LastContact, out.Term, out.Index = i.LastContact, i.Term, i.Applied
	return out
}
