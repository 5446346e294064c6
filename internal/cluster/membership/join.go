package membership

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
)

// joining is a node's attempt to join.
type joining struct {
	// ways are how to reach the cluster, to be tried in turn.
	ways []Way
	// nonVoter asks for no vote.
	nonVoter bool
	// quiet is when to try again.
	quiet time.Time
	// expects says that the seal waits for the shares.
	expects bool
}

// Way is a node to ask, or how to find nodes to ask.
type Way struct {
	Target    Target
	Discovery *Discovery // nil for the target itself
}

// targets returns whom to ask.
func (s *Service) targets(ctx context.Context, ways []Way) (list []Target, err error) {
	var errs []error
	for _, w := range ways {
		if w.Discovery == nil {
			list = append(list, w.Target)
			continue
		}
		found, err := s.discover(ctx, *w.Discovery)
		list, errs = append(list, found...), append(errs, err)
	}
	if len(list) == 0 {
		return nil, errors.Join(errs...)
	}
	return list, nil
}

// retryEvery is how often a node that wants to join asks again.
const retryEvery = 2 * time.Second

// The refusals of a node that cannot join.
var (
	errNoPort = fault.New(fault.Invalid, "this node can join no cluster: cluster_addr, the URL at which other nodes reach it, is not configured")
	errMember = fault.New(fault.Invalid, "this node belongs to a cluster already; to move it to another, remove it there, stop it and empty its data directory")
	errGone   = fault.New(fault.Invalid, "this node was removed from its cluster; to use it again, stop it and empty its data directory")
)

// Join has this node join a cluster. Unless retry is set, a cluster that does not answer now is an error and nothing is tried again.
// With Shamir shares the node joins when it is unsealed with the cluster's.
func (s *Service) Join(ctx context.Context, ways []Way, nonVoter, retry bool) error {
	switch {
	case s.ClusterAddr == "":
		return errNoPort
	case s.removed.Load():
		return errGone
	case s.Replica.Founded():
		return errMember
	}
	j := &joining{ways: ways, nonVoter: nonVoter}
	err := s.knock(ctx, j)
	if err != nil && !retry {
		return err
	}
	if err != nil {
		s.Log.Warn("joining a cluster; it is tried again", "error", err)
		j.quiet = s.Clock.Now().Add(retryEvery)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.joining = j
	return nil
}

// Invited reports whether this node has found a cluster to join, and waits for
// its keys. Before that it may as well become the first node of one: with the
// same retry_join on every node, somebody has to be.
func (s *Service) Invited() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joining != nil && s.joining.expects
}

// tryToJoin goes on with what Join began.
func (s *Service) tryToJoin(ctx context.Context) {
	s.mu.Lock()
	j := s.joining
	waits := j != nil && j.expects
	s.mu.Unlock()
	if j == nil || waits || s.Clock.Now().Before(j.quiet) {
		return
	}
	if err := s.knock(ctx, j); err != nil {
		s.Log.Warn("joining a cluster; it is tried again", "error", err)
		j.quiet = s.Clock.Now().Add(retryEvery)
	}
}

// knock learns which seal the cluster has, and has this node wait for its keys.
func (s *Service) knock(ctx context.Context, j *joining) error {
	targets, err := s.targets(ctx, j.ways)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range targets {
		c, err := s.takeChallenge(ctx, t)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := s.Expect(c.Seal, func(ctx context.Context, open Open) error { return s.enrol(ctx, j, open) }); err != nil {
			return err
		}
		s.mu.Lock()
		j.expects = true
		s.mu.Unlock()
		s.Log.Info("found a cluster to join; unseal this node with the cluster's keys", "cluster", c.ClusterID, "address", t.Address)
		return nil
	}
	if len(errs) == 1 {
		return errs[0]
	}
	return fault.Wrap(fault.Unavailable, errors.Join(errs...), "none of the nodes to join has answered; see the server log")
}

// takeChallenge asks one target for a challenge.
func (s *Service) takeChallenge(ctx context.Context, t Target) (*challenge, error) {
	var c challenge
	err := s.post(ctx, t, "sys/storage/raft/bootstrap/challenge", map[string]any{"server_id": s.Replica.NodeID()}, &c)
	return &c, err
}

// enrolTime bounds how long a node that holds the keys goes on trying.
const enrolTime = 15 * time.Second

// enrol answers a challenge, and takes over what comes back. A cluster that is
// electing a leader, or about to issue its first certificate, is asked again.
func (s *Service) enrol(ctx context.Context, j *joining, open Open) error {
	late := s.Clock.After(enrolTime)
	for {
		err := s.enrolOnce(ctx, j, open)
		if err == nil || !errors.Is(err, fault.Unavailable) {
			return err
		}
		select {
		case <-s.Clock.After(interval):
		case <-late:
			return err
		case <-ctx.Done():
			return err
		}
	}
}

// enrolOnce asks each target once.
func (s *Service) enrolOnce(ctx context.Context, j *joining, open Open) error {
	targets, err := s.targets(ctx, j.ways)
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range targets {
		err := s.enrolAt(ctx, t, j.nonVoter, open)
		if err == nil {
			return nil
		}
		if errors.Is(err, fault.Invalid) || errors.Is(err, fault.Denied) {
			return err // another node would say the same
		}
		errs = append(errs, err)
	}
	return fault.Wrap(fault.Unavailable, errors.Join(errs...), "the cluster could not be joined: none of its nodes has answered as it should; see the server log")
}

func (s *Service) enrolAt(ctx context.Context, t Target, nonVoter bool, open Open) error {
	c, err := s.takeChallenge(ctx, t)
	if err != nil {
		return err
	}
	wrapped, err := base64.StdEncoding.DecodeString(c.Challenge)
	if err != nil {
		return fault.New(fault.Unavailable, "the cluster's challenge cannot be read")
	}
	id := s.Replica.NodeID()
	secret, err := open(wrapped, challengeAD(c.ClusterID, id))
	if err != nil {
		return err
	}
	defer clear(secret)
	a := application{ID: id, Address: s.ClusterAddr, NonVoter: nonVoter}
	if a.Request, err = s.Identity.Request(); err != nil {
		return err
	}
	var welcome admission
	err = s.post(ctx, t, "sys/storage/raft/bootstrap/answer", map[string]any{
		"server_id": id, "cluster_addr": a.Address, "non_voter": nonVoter, "ticket": c.Ticket,
		"answer":  base64.StdEncoding.EncodeToString(a.mac(secret)),
		"request": base64.StdEncoding.EncodeToString(a.Request),
	}, &welcome)
	if err != nil {
		return err
	}
	if !hmac.Equal(welcome.Proof, welcome.mac(secret)) {
		return fault.New(fault.Denied, "who answers there does not hold the keys that this node was given: it is not the cluster's")
	}
	if err := s.Identity.Install(welcome.Certificate, welcome.Trust); err != nil {
		return fmt.Errorf("taking over the node's certificate: %w", err)
	}
	s.Log.Info("joined a cluster", "cluster", c.ClusterID, "leader", welcome.Leader)
	return s.awaitData(ctx)
}

// awaitTime bounds how long a node waits for the cluster's data.
const awaitTime = 30 * time.Second

// awaitData waits until the leader has begun to send what the cluster stores:
// enough to know the seal.
func (s *Service) awaitData(ctx context.Context) error {
	deadline := s.Clock.After(awaitTime)
	for s.ClusterID() == "" {
		select {
		case <-s.Clock.After(20 * time.Millisecond):
		case <-deadline:
			return fault.New(fault.Unavailable, "the node has joined, but the leader has sent nothing yet: it may not reach this node's cluster_addr; unseal again when it does")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
