package raft

import (
	"context"
	"errors"

	"github.com/hashicorp/raft"

	"github.com/cofferhq/coffer/internal/fault"
)

// Member is a node of the cluster.
type Member struct {
	ID string
	// Address is where other nodes reach it, as host:port.
	Address string
	// Voter says that it elects and may lead; others only follow.
	Voter bool
}

// NodeID returns this node's id.
func (s *Store) NodeID() string { return string(s.nodeID) }

// Members returns the nodes of the cluster as this one knows them, in the order
// in which they were added; none if it belongs to none yet.
func (s *Store) Members() []Member {
	return membersOf(s.raft.GetConfiguration().Configuration())
}

func membersOf(c raft.Configuration) []Member {
	var list []Member
	for _, server := range c.Servers {
		list = append(list, Member{ID: string(server.ID), Address: string(server.Address), Voter: server.Suffrage == raft.Voter})
	}
	return list
}

// Committed returns the members on which a majority has agreed for good, and the
// log index at which it did. [Store.Members] may be ahead of it, or of nothing,
// if this node is a leader that was replaced.
func (s *Store) Committed() (list []Member, index uint64) {
	m := s.machine.members.Load()
	if m == nil {
		return nil, 0
	}
	return membersOf(m.Configuration), m.Index
}

// Member returns the member with an id.
func (s *Store) Member(id string) (Member, bool) {
	for _, m := range s.Members() {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

// Founded reports whether this node belongs, or has belonged, to a cluster.
func (s *Store) Founded() bool { return len(s.Members()) > 0 }

// Found makes a node that belongs to no cluster the first of a new one. It
// returns once the node leads. A node of a cluster gives [fault.Precondition].
func (s *Store) Found(ctx context.Context) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	if s.Founded() {
		return fault.New(fault.Precondition, "this node belongs to a cluster already")
	}
	if err := s.forgetFounding(); err != nil {
		return err
	}
	if err := s.wait(ctx, s.raft.BootstrapCluster(s.justThis())); err != nil {
		return fault.Wrap(fault.Unavailable, err, "the cluster could not be founded; see the server log")
	}
	return s.lead(ctx, nil)
}

// AddMember adds a node, or gives one that is a member another address. A
// member's vote stays as it is: only [Store.Promote] and [Store.Demote] change
// that. It returns once a majority has agreed.
func (s *Store) AddMember(ctx context.Context, m Member) error {
	if before, ok := s.Member(m.ID); ok {
		m.Voter = before.Voter
		if before == m {
			return nil
		}
	}
	if m.Voter {
		return s.changeMembers(ctx, func() raft.Future {
			return s.raft.AddVoter(raft.ServerID(m.ID), raft.ServerAddress(m.Address), 0, 0)
		})
	}
	return s.changeMembers(ctx, func() raft.Future {
		return s.raft.AddNonvoter(raft.ServerID(m.ID), raft.ServerAddress(m.Address), 0, 0)
	})
}

// RemoveMember removes a node. Removing what is no member does nothing.
func (s *Store) RemoveMember(ctx context.Context, id string) error {
	if _, ok := s.Member(id); !ok {
		return s.mayWrite(ctx)
	}
	return s.changeMembers(ctx, func() raft.Future { return s.raft.RemoveServer(raft.ServerID(id), 0, 0) })
}

// Promote makes a member a voter.
func (s *Store) Promote(ctx context.Context, id string) error {
	m, ok := s.Member(id)
	if !ok {
		return noMember(id)
	}
	return s.changeMembers(ctx, func() raft.Future {
		return s.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(m.Address), 0, 0)
	})
}

// Demote takes a member's vote. The last voter keeps it.
func (s *Store) Demote(ctx context.Context, id string) error {
	if _, ok := s.Member(id); !ok {
		return noMember(id)
	}
	return s.changeMembers(ctx, func() raft.Future { return s.raft.DemoteVoter(raft.ServerID(id), 0, 0) })
}

func noMember(id string) error {
	return fault.Newf(fault.Invalid, "%q is no member of this cluster", id)
}

func (s *Store) changeMembers(ctx context.Context, change func() raft.Future) error {
	if err := s.mayWrite(ctx); err != nil {
		return err
	}
	err := s.wait(ctx, change())
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fault.Wrap(fault.Standby, err, notLeader)
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrRaftShutdown), ctx.Err() != nil:
		return fault.Wrap(fault.Unavailable, err, "the change of the members was under way when the leadership was lost; look at the members and try again")
	}
	// What is left is a configuration without a voter.
	return fault.Wrap(fault.Invalid, err, "the members cannot be changed like that: a cluster needs at least one voter")
}

// correctAddress tells the others where this node is now, if that has changed
// since it was added.
func (s *Store) correctAddress() {
	self, ok := s.Member(string(s.nodeID))
	if address := string(s.transport.LocalAddr()); ok && self.Voter && self.Address != address {
		self.Address = address
		if err := s.raft.AddVoter(raft.ServerID(self.ID), raft.ServerAddress(address), 0, 0).Error(); err != nil {
			s.config.Logger.Warn("telling the other nodes this one's address", "error", err)
		}
	}
}
