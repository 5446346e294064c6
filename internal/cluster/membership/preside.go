package membership

import (
	"context"
	"errors"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

const (
	// freshness is how old what was heard from a node may be to count.
	freshness = 5 * time.Second
	// lagging is how many log entries behind a node may be to get its vote.
	lagging = 1000
)

// preside is what the leader does for the members.
func (s *Service) preside(ctx context.Context) error {
	b := s.Barrier()
	if b == nil {
		return s.resign(ctx)
	}
	return errors.Join(
		s.seeToAuthorities(ctx, b),
		s.renewOwn(ctx, b),
		s.seeToNodes(ctx, b),
	)
}

// resign hands the leadership of a sealed node to an unsealed one, if there is
// one: a sealed leader can write nothing.
func (s *Service) resign(ctx context.Context) error {
	for _, m := range s.Replica.Members() {
		if m.ID == s.Replica.NodeID() || !m.Voter {
			continue
		}
		if h, ok := s.Heard(m.ID); ok && !h.Sealed && s.Clock.Now().Sub(h.At) < freshness {
			s.Log.Info("handing the leadership to a node that is not sealed", "node", m.ID)
			return s.Replica.StepDown(ctx, m.ID)
		}
	}
	return nil
}

// seeToNodes keeps the stored nodes and the members the same, has them where
// they say they are, and gives a vote to who is to have one.
func (s *Service) seeToNodes(ctx context.Context, b store.Store) error {
	var rows map[string]nodeRow
	if err := b.View(ctx, func(r store.Reader) (err error) { rows, err = nodeRows(r); return err }); err != nil {
		return err
	}
	members := s.Replica.Members()
	var errs []error
	for _, m := range members {
		row, ok := rows[m.ID]
		if !ok {
			errs = append(errs, s.enter(ctx, b, m))
			continue
		}
		errs = append(errs, s.relocate(ctx, m))
		if row.Voter && !m.Voter && s.caughtUp(m.ID) && (s.MayVote == nil || s.MayVote(m.ID)) {
			s.Log.Info("a node has caught up and gets its vote", "node", m.ID)
			errs = append(errs, s.Replica.Promote(ctx, m.ID))
		}
	}
	for id := range rows {
		if !contains(members, id) {
			errs = append(errs, s.drop(ctx, b, id))
		}
	}
	s.forgetReports(members)
	return errors.Join(errs...)
}

// member returns the member with an id.
func (s *Service) member(id string) (Member, bool) {
	for _, m := range s.Replica.Members() {
		if m.ID == id {
			return m, true
		}
	}
	return Member{}, false
}

func contains(members []Member, id string) bool {
	for _, m := range members {
		if m.ID == id {
			return true
		}
	}
	return false
}

// enter stores a member of which nothing is stored: the first node, or one whose
// row a forced restore has made unreadable.
func (s *Service) enter(ctx context.Context, b store.Store, m Member) error {
	key, err := s.Identity.KeyFingerprint()
	if err != nil {
		return err
	}
	if m.ID != s.Replica.NodeID() {
		s.mu.Lock()
		r, ok := s.reports[m.ID]
		s.mu.Unlock()
		if !ok {
			return nil // until it reports
		}
		key = r.Key
	}
	_, err = b.Update(ctx, func(tx store.Txn) error { return store.PutJSON(tx, nodeKey(m.ID), nodeRow{Key: key, Voter: m.Voter}) })
	return err
}

// drop removes what is stored of a node that is no member, unless it is about to
// become one.
func (s *Service) drop(ctx context.Context, b store.Store, id string) error {
	s.mu.Lock()
	joins := s.reports[id].At
	s.mu.Unlock()
	if s.Clock.Now().Sub(joins) < time.Minute {
		return nil
	}
	_, err := b.Update(ctx, func(tx store.Txn) error {
		if _, ok := s.member(id); ok {
			return nil
		}
		return tx.Delete(nodeKey(id))
	})
	return err
}

// relocate tells the cluster of a member's new address.
func (s *Service) relocate(ctx context.Context, m Member) error {
	s.mu.Lock()
	r := s.reports[m.ID]
	s.mu.Unlock()
	if r.Address == "" || r.Address == m.Address || m.ID == s.Replica.NodeID() {
		return nil
	}
	s.Log.Info("a node has another address", "node", m.ID, "address", r.Address)
	m.Address = r.Address
	return s.Replica.AddMember(ctx, m)
}

// caughtUp reports whether a node has nearly everything that is committed.
func (s *Service) caughtUp(id string) bool {
	h, ok := s.Heard(id)
	return ok && s.Clock.Now().Sub(h.At) < freshness && h.Applied+lagging >= s.Replica.AppliedLog()
}

// forgetReports drops what nodes have told that were removed.
func (s *Service) forgetReports(members []Member) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.reports {
		if !contains(members, id) && s.Clock.Now().Sub(r.At) > time.Minute {
			delete(s.reports, id)
		}
	}
}

// Remove removes a node.
func (s *Service) Remove(ctx context.Context, id string) error {
	b, err := s.unsealedLeader()
	if err != nil {
		return err
	}
	if err := s.Replica.RemoveMember(ctx, id); err != nil {
		return err
	}
	s.mu.Lock()
	delete(s.reports, id)
	s.mu.Unlock()
	_, err = b.Update(ctx, func(tx store.Txn) error { return tx.Delete(nodeKey(id)) })
	if errors.Is(err, fault.Standby) {
		return nil // it has removed itself; the next leader tidies up
	}
	return err
}

// Willing returns the nodes that are to vote, whether they do or not.
func (s *Service) Willing(ctx context.Context) (map[string]bool, error) {
	b := s.Barrier()
	if b == nil {
		return nil, fault.New(fault.Sealed, "Vault is sealed")
	}
	willing := map[string]bool{}
	err := b.View(ctx, func(r store.Reader) error {
		rows, err := nodeRows(r)
		for id, row := range rows {
			willing[id] = row.Voter
		}
		return err
	})
	return willing, err
}

// SetVoter gives a node a vote, or takes it.
func (s *Service) SetVoter(ctx context.Context, id string, voter bool) error {
	b, err := s.unsealedLeader()
	if err != nil {
		return err
	}
	m, ok := s.member(id)
	if !ok {
		return fault.Newf(fault.Invalid, "%q is no member of this cluster", id)
	}
	_, err = b.Update(ctx, func(tx store.Txn) error {
		row, err := store.GetJSON[nodeRow](tx, nodeKey(id))
		if errors.Is(err, store.ErrNotFound) {
			return nil // it gets its row from what it is then
		}
		if err != nil {
			return err
		}
		row.Voter = voter
		return store.PutJSON(tx, nodeKey(id), row)
	})
	if err != nil || m.Voter == voter {
		return err
	}
	if voter {
		return s.Replica.Promote(ctx, id)
	}
	return s.Replica.Demote(ctx, id)
}

// unsealedLeader returns the store of a node that may change the membership.
func (s *Service) unsealedLeader() (store.Store, error) {
	b := s.Barrier()
	switch {
	case b == nil:
		return nil, fault.New(fault.Sealed, "Vault is sealed")
	case !s.Replica.Leads():
		return nil, fault.New(fault.Standby, "only the leader changes the membership")
	}
	return b, nil
}
