package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/cofferhq/coffer/internal/cluster/membership"
	clusterport "github.com/cofferhq/coffer/internal/cluster/port"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/seal"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/raft"
)

// clusterPort is the network of a node that has a cluster port.
type clusterPort struct {
	port    *clusterport.Port
	address string
}

// Dial implements [Network].
func (c clusterPort) Dial(ctx context.Context, node, address, protocol string) (net.Conn, error) {
	return c.port.Dial(ctx, clusterport.Protocol(protocol), node, address)
}

// Listen implements [Network].
func (c clusterPort) Listen(protocol string) net.Listener {
	return c.port.Listen(clusterport.Protocol(protocol))
}

// Address implements [Network].
func (c clusterPort) Address() string { return c.address }

// defaultClusterPort is the port of a cluster_addr without one.
const defaultClusterPort = "8201"

// openPort opens the cluster port, if the configuration says where other nodes
// reach this one.
func (s *Server) openPort() error {
	r := s.config.Storage.Raft
	if s.network != nil || r == nil || s.config.ClusterAddr == "" {
		return nil
	}
	id, err := raft.NodeID(r.Path, r.NodeID)
	if err != nil {
		return fmt.Errorf("reading the node's id: %w", err)
	}
	if s.identity, err = clusterport.OpenIdentity(filepath.Join(r.Path, "tls"), id); err != nil {
		return err
	}
	host, number, err := net.SplitHostPort(membership.HostPort(s.config.ClusterAddr))
	if err != nil {
		host, number = membership.HostPort(s.config.ClusterAddr), defaultClusterPort
	}
	l, err := net.Listen("tcp", clusterBind(s.config, number))
	if err != nil {
		return fmt.Errorf("opening the cluster port: %w", err)
	}
	if number == "0" {
		_, number, _ = net.SplitHostPort(l.Addr().String()) // an address with a port
	}
	s.clusterPort = clusterport.New(clusterport.Config{
		Listener: l, Identity: s.identity, Dial: s.dialNode, Clock: s.clock, Log: s.levels.Logger("cluster"),
		Admit: func(p clusterport.Protocol, id, key string) error {
			m := s.membership.Load()
			if m == nil {
				return errors.New("this node is starting")
			}
			return m.Admit(p, id, key)
		},
	})
	s.network = clusterPort{s.clusterPort, net.JoinHostPort(host, number)}
	return nil
}

// closePort closes the cluster port.
func (s *Server) closePort() error {
	if s.clusterPort == nil {
		return nil
	}
	return s.clusterPort.Close()
}

// clusterBind is the address to listen at: cluster_address of a listener, else
// its host with the port of cluster_addr.
func clusterBind(c *config.Config, number string) string {
	for _, l := range c.Listeners {
		if l.ClusterAddress != "" {
			return l.ClusterAddress
		}
	}
	for _, l := range c.Listeners {
		if host, _, err := net.SplitHostPort(l.Address); err == nil && l.Type != "unix" {
			return net.JoinHostPort(host, number)
		}
	}
	return ":" + number
}

// replicated is the replicated store as package membership wants it.
type replicated struct{ *raft.Store }

// Leads implements [membership.Replica].
func (r replicated) Leads() bool { return r.Leader().Self }

// LeaderID implements [membership.Replica].
func (r replicated) LeaderID() string { return r.Leader().ID }

// Members implements [membership.Replica].
func (r replicated) Members() []membership.Member { return members(r.Store.Members()) }

// Committed implements [membership.Replica].
func (r replicated) Committed() ([]membership.Member, uint64) {
	list, index := r.Store.Committed()
	return members(list), index
}

func members(list []raft.Member) []membership.Member {
	converted := make([]membership.Member, len(list))
	for i, m := range list {
		converted[i] = membership.Member(m)
	}
	return converted
}

// AppliedLog implements [membership.Replica].
func (r replicated) AppliedLog() uint64 { return r.Stats().Applied }

// Confirm implements [membership.Council].
func (r replicated) Confirm(ctx context.Context) error {
	_, err := r.Store.Confirm(ctx)
	return err
}

// AddMember implements [membership.Council].
func (r replicated) AddMember(ctx context.Context, m membership.Member) error {
	return r.Store.AddMember(ctx, raft.Member(m))
}

// openMembership prepares the noun of who belongs to the cluster.
func (s *Server) openMembership() error {
	if s.raft == nil {
		return nil
	}
	address := ""
	if s.network != nil {
		address = s.network.Address()
	}
	m, err := membership.New(membership.Config{
		Replica: replicated{s.raft}, Identity: s.identity, Clock: s.clock, Log: s.levels.Logger("cluster"),
		APIAddr: s.config.APIAddr, ClusterAddr: address, Dir: s.config.Storage.Raft.Path,
		Barrier: func() store.Store {
			b, err := s.ceremony.Barrier()
			if err != nil {
				return nil
			}
			return b
		},
		ClusterID: func() string {
			id, err := s.ceremony.ClusterID(context.Background()) // reads this node's copy
			if err != nil {
				return ""
			}
			return id
		},
		Heard: func(id string) (membership.Heard, bool) {
			e, ok := s.roster.Of(id)
			return membership.Heard{Sealed: e.Sealed, Applied: e.Applied, At: e.At}, ok
		},
		MayVote: func(id string) bool {
			h := s.house.Load()
			return h != nil && h.pilot != nil && h.pilot.MayVote(id)
		},
		Wrap:   s.wrapChallenge,
		Expect: s.expect,
		Removed: func() {
			s.background.Go(func() { s.ceremony.Seal(context.Background()) }) // not for a request
		},
	})
	if err != nil {
		return err
	}
	s.membership.Store(m)
	return nil
}

// wrapChallenge encrypts a secret for a node that wants to join.
func (s *Server) wrapChallenge(ctx context.Context, secret, ad []byte) ([]byte, membership.SealInfo, error) {
	i, err := s.ceremony.Description(ctx)
	if err != nil {
		return nil, membership.SealInfo{}, err
	}
	wrapped, err := s.ceremony.Wrap(ctx, secret, ad)
	return wrapped, membership.SealInfo{Type: i.Type, Shares: i.Shares, Threshold: i.Threshold}, err
}

// expect has the seal wait for the shares of a cluster to join.
func (s *Server) expect(i membership.SealInfo, answer func(context.Context, membership.Open) error) error {
	return s.ceremony.Expect(seal.Invitation{
		Type: i.Type, Shares: i.Shares, Threshold: i.Threshold,
		Answer: func(ctx context.Context, open func(wrapped, ad []byte) ([]byte, error)) error {
			return answer(ctx, membership.Open(open))
		},
	})
}

// found makes this node the first of a cluster, before it is initialised.
func (s *Server) found(ctx context.Context) error {
	if s.raft == nil || s.raft.Founded() {
		return nil
	}
	if s.membership.Load().Invited() {
		return fault.New(fault.Invalid, "this node has found the cluster that it is to join (by retry_join, or a request); unseal it with that cluster's keys instead of initialising it")
	}
	return s.raft.Found(ctx)
}

// runMembership sees to the membership until ctx ends.
func (s *Server) runMembership(ctx context.Context) error {
	m := s.membership.Load()
	if m == nil || s.clusterPort == nil {
		return nil
	}
	if err := s.retryJoin(ctx, m); err != nil {
		return err
	}
	return m.Run(ctx, s.clusterPort)
}

// retryJoin begins what the configuration says about joining.
func (s *Server) retryJoin(ctx context.Context, m *membership.Service) error {
	r := s.config.Storage.Raft
	if len(r.Joins) == 0 || s.raft.Founded() || m.IsRemoved() {
		return nil
	}
	var ways []membership.Way
	for _, j := range r.Joins {
		t := membership.Target{Address: j.LeaderAPIAddr, ServerName: j.TLS.ServerName}
		for _, f := range []struct {
			to         *string
			text, file string
		}{
			{&t.CA, j.TLS.CACert, j.TLS.CACertFile},
			{&t.Certificate, j.TLS.ClientCert, j.TLS.ClientCertFile},
			{&t.Key, string(j.TLS.ClientKey), j.TLS.ClientKeyFile},
		} {
			*f.to = f.text
			if f.file == "" {
				continue
			}
			text, err := os.ReadFile(f.file)
			if err != nil {
				return fmt.Errorf("reading the TLS files of retry_join: %w", err)
			}
			*f.to = string(text)
		}
		w := membership.Way{Target: t}
		if j.AutoJoin != "" {
			w.Discovery = &membership.Discovery{How: j.AutoJoin, Scheme: j.AutoJoinScheme, Port: j.AutoJoinPort, Target: t}
		}
		ways = append(ways, w)
	}
	return m.Join(ctx, ways, r.NonVoter, true)
}
