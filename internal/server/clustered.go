package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/cofferhq/coffer/internal/cluster"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/httpd"
	"github.com/cofferhq/coffer/internal/replica"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/raft"
	"github.com/cofferhq/coffer/internal/version"
)

// Network connects the nodes of a cluster. Both ends of a connection have made
// sure of each other before it is handed out.
type Network interface {
	// Dial connects to a node at an address (host and port) for a protocol, and
	// fails if another node answers there.
	Dial(ctx context.Context, node, address, protocol string) (net.Conn, error)
	// Listen returns the connections that other nodes make for a protocol.
	Listen(protocol string) net.Listener
	// Address is where other nodes reach this one.
	Address() string
}

// replication is the protocol of the replicated log.
const replication = "coffer-raft"

// rafts is a network as the store wants it.
type rafts struct {
	net.Listener
	network Network
}

// DialNode implements [raft.Network].
func (r rafts) DialNode(ctx context.Context, id, address string) (net.Conn, error) {
	return r.network.Dial(ctx, id, address, replication)
}

// forwarding is the protocol of requests that travel between nodes: HTTP/2.
const forwarding = "coffer-forward"

// consensus is the replicated store as package replica wants it.
type consensus struct{ *raft.Store }

// Leader returns who leads.
func (c consensus) Leader() replica.Leader {
	l := c.Store.Leader()
	return replica.Leader{ID: l.ID, Term: l.Term, Self: l.Self}
}

// connect makes this node one of several.
func (s *Server) connect(n Network) {
	s.roster = cluster.NewRoster(s.clock)
	s.peers = httpd.NewPeers(func(ctx context.Context, node string) (net.Conn, error) {
		m, ok := s.raft.Member(node)
		if !ok {
			return nil, fmt.Errorf("%q is no member of this cluster", node)
		}
		return n.Dial(ctx, node, m.Address, forwarding)
	})
	s.replica = replica.New(replica.Config{Consensus: consensus{s.raft}, Clock: s.clock, Ask: s.peers.Confirmed, Alone: func() bool { return len(s.raft.Members()) <= 1 }})
	s.peers.Replica, s.peers.Cluster, s.peers.APIAddr = s.replica, s.clusterID, s.apiAddrOf
}

// clusterID returns the cluster's id, "" while that is not known. It never
// changes.
func (s *Server) clusterID() string {
	if id := s.cluster.Load(); id != nil {
		return *id
	}
	st, err := s.ceremony.Status(context.Background()) // reads this node's copy
	if err != nil || st.ClusterID == "" {
		return ""
	}
	s.cluster.Store(&st.ClusterID)
	return st.ClusterID
}

// apiAddrOf returns where clients reach the leader.
func (s *Server) apiAddrOf(l replica.Leader) string {
	if l.Self {
		return s.config.APIAddr
	}
	if i := s.heard.Load(); i != nil && i.ID == l.ID {
		return i.APIAddr
	}
	return ""
}

// self is what this node tells others of itself.
func (s *Server) self() cluster.Info {
	i := cluster.Info{
		ID: s.nodeID(), APIAddr: s.config.APIAddr, ClusterAddr: s.config.ClusterAddr, Version: version.Reported(),
		Sealed: s.house.Load() == nil, Time: s.clock.Now(), EchoTook: time.Duration(s.echoTook.Load()),
	}
	i.Hostname, _ = os.Hostname() // "" if the system does not tell
	if s.raft != nil {
		st := s.raft.Stats()
		i.Term, i.Applied, i.LastContact = s.raft.Leader().Term, st.Applied, s.raft.LastContact()
		i.Zone, i.UpgradeVersion = s.config.Storage.Raft.RedundancyZone, s.config.Storage.Raft.UpgradeVersion
	}
	return i
}

// place is where this node stands.
func (s *Server) place() cluster.Place {
	l := s.replica.Consensus.Leader()
	p := cluster.Place{Leads: l.Self, CutOff: s.replica.Stale() != nil, Leader: cluster.Info{ID: l.ID}}
	if m := s.membership.Load(); m != nil {
		p.Removed = m.IsRemoved()
	}
	switch i := s.heard.Load(); {
	case l.Self:
		p.Leader, p.Since = s.self(), time.Unix(0, s.since.Load()).UTC()
	case i != nil && i.ID == l.ID:
		p.Leader = *i
	}
	return p
}

// echo tells the leader how this node is, every second and whenever there is
// another one.
func (s *Server) echo(ctx context.Context) error {
	led := false
	for {
		changed := s.replica.Consensus.Changed()
		l := s.replica.Consensus.Leader()
		if l.Self && !led {
			s.since.Store(s.clock.Now().UnixNano())
			s.log.Info("this node leads", "term", l.Term)
		} else if led && !l.Self {
			s.log.Info("this node no longer leads", "leader", l.ID)
		}
		led = l.Self
		wait := cluster.EchoInterval
		switch {
		case l.Self:
			s.roster.Keep(func(id string) bool { _, ok := s.raft.Member(id); return ok && id != s.nodeID() })
		case l.ID != "" && !s.tell(ctx, l):
			wait = tellAgain
		}
		select {
		case <-changed:
		case <-s.clock.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tellAgain is how soon a leader is told again that could not be told: one that
// is new may not have settled in.
const tellAgain = cluster.EchoInterval / 10

// tell tells the leader how this node is and notes how the leader is. It reports
// false if that failed.
func (s *Server) tell(ctx context.Context, l replica.Leader) bool {
	ctx, cancel := context.WithTimeout(ctx, cluster.EchoInterval)
	defer cancel()
	began := s.clock.Now()
	theirs, err := s.peers.Echo(ctx, l, s.self())
	if err != nil {
		s.log.Debug("telling the leader how this node is", "error", err)
		return false
	}
	s.echoTook.Store(int64(s.clock.Now().Sub(began)))
	s.heard.Store(&theirs)
	return true
}

// catchUp gives a node that follows another a chance to have the rows that a
// house is built of: one that has joined a moment ago may have only the first.
func (s *Server) catchUp(ctx context.Context) {
	if s.replica == nil || s.replica.Leads() {
		return
	}
	if _, err := s.replica.Fresh(ctx, 0); err != nil {
		s.log.Warn("unsealing with what this node has of the data", "error", err)
	}
}

// peerServer answers what comes from other nodes.
func (s *Server) peerServer() *http.Server {
	inner := httpd.NewListener(config.Listener{}, s, s.log, s.clock, s.inFlight)
	inner.Names, inner.Peers = s.names(), s.peers
	return httpd.NewPeerServer(&httpd.Forwarded{
		Listener: inner,
		Confirm:  func(ctx context.Context) (store.Index, error) { return s.raft.Confirm(ctx) },
		Heard: func(i cluster.Info) cluster.Info {
			s.roster.Heard(i, s.raft.Stats().Applied)
			return s.self()
		},
	}, s.log)
}

// stepDown hands the leadership over; own is how many running requests ask for
// it. A node that no unsealed voter could succeed gets [fault.Precondition],
// unless anyone will do.
func (s *Server) stepDown(ctx context.Context, own int64, anyone bool) error {
	if s.replica == nil {
		return nil
	}
	return s.replica.Resign(ctx, own, func(ctx context.Context) error {
		err := fault.New(fault.Precondition, "no other voter that is unsealed can take over the leadership")
		for _, id := range s.successors() {
			// One may have stepped down itself a moment ago.
			if err = s.raft.StepDown(ctx, id); err == nil {
				return nil
			}
		}
		if anyone {
			err = s.raft.StepDown(ctx, "")
		}
		return err
	})
}

// successors are the voters that could lead, the most current first.
func (s *Server) successors() []string {
	echoes := s.roster.All()
	slices.SortStableFunc(echoes, func(a, b cluster.Echo) int { return cmp.Compare(b.Applied, a.Applied) })
	var ids []string
	for _, e := range echoes {
		if m, ok := s.raft.Member(e.ID); ok && m.Voter && !e.Sealed && s.clock.Now().Sub(e.At) < silent {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// silent is how long a node may not have been heard to be taken for alive.
const silent = 3 * cluster.EchoInterval

// runPeers talks with the other nodes. The function that it returns ends that,
// after the requests that came from them.
func (s *Server) runPeers(ctx context.Context) (end func()) {
	if s.replica == nil {
		return func() {}
	}
	server, l := s.peerServer(), s.network.Listen(forwarding)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("a task ended", "task", "peers", "error", err)
		}
	}()
	s.background.Go(func() {
		if err := s.echo(ctx); !errors.Is(err, context.Canceled) {
			s.log.Error("a task ended", "task", "echo", "error", err)
		}
	})
	return func() {
		brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), peersTime)
		defer cancel()
		if err := server.Shutdown(brief); err != nil {
			_ = server.Close() // they had their time
		}
		<-served
		s.peers.Close()
	}
}

const (
	// peersTime bounds how long requests of other nodes may go on when this one
	// stops.
	peersTime = 5 * time.Second
	// handOverTime bounds how long a node that stops tries to hand over.
	handOverTime = 5 * time.Second
)

// handOver hands the leadership over before this node stops.
func (s *Server) handOver(ctx context.Context) {
	if s.replica == nil || !s.replica.Leads() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	switch err := s.stepDown(ctx, 0, true); {
	case err == nil:
		s.log.Info("handed over the leadership")
	case !errors.Is(err, fault.Precondition):
		s.log.Warn("the leadership could not be handed over", "error", err)
	}
}
