// Package server is the composition root: it makes a server of a configuration
// and runs it. What exists while the server is unsealed is a [house]; while it is
// sealed there is only the store, the ceremony of the seal, and the listeners.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/barrier"
	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/cluster"
	"github.com/cofferhq/coffer/internal/cluster/membership"
	clusterport "github.com/cofferhq/coffer/internal/cluster/port"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/diag"
	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/httpd"
	"github.com/cofferhq/coffer/internal/replica"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/seal"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
	"github.com/cofferhq/coffer/internal/store/raft"
	"github.com/cofferhq/coffer/internal/token"
	"github.com/cofferhq/coffer/internal/version"
)

// Options are what a [Server] is made of besides its configuration.
type Options struct {
	Config *config.Config
	// Clock is the machine's if nil.
	Clock clock.Clock
	// Log is the server's own log.
	Log *diag.Levels
	// Out gets what a person at the terminal should see.
	Out io.Writer
	// Engines and Methods can be mounted besides the built-in ones.
	Engines []engine.Type
	Methods []authn.Type
	// Network reaches the other nodes of the cluster; nil if there are none.
	Network Network
	// DialNode connects to the cluster port at an address. Nil is TCP.
	DialNode func(ctx context.Context, address string) (net.Conn, error)
	// Listening, if not nil, is told the URLs of the listeners once the server
	// answers there; a development server is then unsealed.
	Listening func(urls []string)
	// Initialised, if not nil, is given the unseal key of a development server.
	Initialised func(key string)
}

// Server is one node.
type Server struct {
	config   *config.Config
	clock    clock.Clock
	log      *slog.Logger
	levels   *diag.Levels
	metrics  *diag.Metrics
	out      io.Writer
	engines  []engine.Type // besides the built-in ones
	methods  []authn.Type  // besides the built-in ones
	store    store.Store
	raft     *raft.Store // nil on storage in memory
	ceremony *seal.Ceremony
	node     *cluster.Node
	always   *route.Table
	inFlight *httpd.InFlight

	// The other nodes; all nil if the storage is this node's alone.
	network  Network
	replica  *replica.Node
	peers    *httpd.Peers
	roster   *cluster.Roster
	cluster  atomic.Pointer[string]       // the cluster's id once it is known
	heard    atomic.Pointer[cluster.Info] // what a leader has told of itself last
	since    atomic.Int64                 // when this node began to lead, Unix nanoseconds
	echoTook atomic.Int64                 // how long the last echo took, nanoseconds
	// The cluster port; nil without cluster_addr, or if tests bring a network.
	clusterPort *clusterport.Port
	dialNode    func(ctx context.Context, address string) (net.Conn, error)
	identity    *clusterport.Identity
	membership  atomic.Pointer[membership.Service] // nil on storage in memory
	draining    atomic.Bool                        // this node is about to stop

	house       atomic.Pointer[house] // nil while sealed
	background  sync.WaitGroup        // houses being taken down
	listening   func(urls []string)   // may be nil
	initialised func(key string)      // may be nil
	rootToken   string                // text for the first root token of a development server
}

// New opens the storage and prepares a sealed server.
func New(o Options) (*Server, error) {
	s := &Server{config: o.Config, clock: o.Clock, levels: o.Log, log: o.Log.Logger(diag.RootLogger), out: o.Out, engines: o.Engines, methods: o.Methods, inFlight: &httpd.InFlight{}, network: o.Network, dialNode: o.DialNode, listening: o.Listening, initialised: o.Initialised}
	if s.clock == nil {
		s.clock = clock.System{}
	}
	if err := s.openPort(); err != nil {
		return nil, err
	}
	if err := s.openStore(); err != nil {
		return nil, errors.Join(err, s.closePort())
	}
	var err error
	if s.metrics, err = s.newMetrics(); err != nil {
		return nil, errors.Join(err, s.store.Close(), s.closePort())
	}
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, s.store.Close(), s.closePort())
	}
	return s, nil
}

func (s *Server) openStore() (err error) {
	c := s.config.Storage
	if c.Raft == nil {
		s.store = mem.New()
		return nil
	}
	// Its clock measures the disk, whatever time it is elsewhere.
	rc := raft.Config{Path: c.Raft.Path, NodeID: c.Raft.NodeID, Logger: s.levels.Logger("storage"), Clock: clock.System{}, Multiplier: c.Raft.PerformanceMultiplier, Own: membership.Own()}
	if s.network != nil {
		rc.Network, rc.Address = rafts{s.network.Listen(replication), s.network}, s.network.Address()
	}
	s.raft, err = raft.Open(rc)
	if err != nil {
		return fmt.Errorf("opening storage: %w", err)
	}
	s.store = s.raft
	if s.network != nil {
		s.connect(s.network)
	}
	return nil
}

func (s *Server) prepare() (err error) {
	storageType := s.config.Storage.Type
	s.ceremony, err = seal.New(seal.Config{
		Store: s.store, Clock: s.clock, Log: s.log, ClusterName: s.config.ClusterName, Version: version.Reported(), StorageType: storageType,
		RootTokenLength: token.RootLen, NewRootToken: s.newRootToken, Unsealed: s.unsealed, Sealed: s.sealed, Found: s.found,
	})
	if err != nil {
		return err
	}
	c := cluster.Config{
		Clock: s.clock, Version: version.Reported(), HA: s.raft != nil, APIAddr: s.config.APIAddr, ClusterAddr: s.config.ClusterAddr,
		Status: s.status, Self: s.self, Roster: s.roster, Index: s.index, Ready: s.ready,
		StepDown: func(ctx context.Context) error { return s.stepDown(ctx, 1, false) },
	}
	if s.replica != nil {
		c.Place = s.place
	}
	s.node = cluster.New(c)
	if err := s.openMembership(); err != nil {
		return err
	}
	always := [][]route.Endpoint{s.ceremony.Routes(), route.Bind(s.node, cluster.Always)}
	if m := s.membership.Load(); m != nil {
		always = append(always, route.Bind(m, membership.Always()))
	}
	s.always, err = route.NewTable(always...)
	return err
}

// newRootToken makes a root token, for initialisation and root generation.
func (s *Server) newRootToken(ctx context.Context, b *barrier.Barrier) (text string, err error) {
	_, err = b.Update(ctx, func(tx store.Txn) error {
		if err := born(tx, s); err != nil {
			return err
		}
		text, err = token.InsertRoot(tx, s.clock, rand.Reader, s.rootToken)
		return err
	})
	return text, err
}

// unsealed builds and publishes the house.
func (s *Server) unsealed(ctx context.Context, b *barrier.Barrier) error {
	if m := s.membership.Load(); m != nil && m.Check() != nil {
		return m.Check()
	}
	h, err := s.build(ctx, b)
	if err != nil {
		return err
	}
	s.house.Store(h)
	return nil
}

// sealed takes the house back.
func (s *Server) sealed(context.Context) {
	if h := s.house.Swap(nil); h != nil {
		h.close()
	}
}

// Gate returns the gate, nil while the server is sealed.
func (s *Server) Gate() *gate.Gate {
	if h := s.house.Load(); h != nil {
		return h.gate
	}
	return nil
}

// Always returns the endpoints that answer while sealed.
func (s *Server) Always() *route.Table { return s.always }

func (s *Server) status(ctx context.Context) (cluster.Status, error) {
	st, err := s.ceremony.Status(ctx)
	return cluster.Status{Initialized: st.Initialized, Sealed: st.Sealed, ClusterName: st.ClusterName, ClusterID: st.ClusterID}, err
}

func (s *Server) index() (applied, committed uint64) {
	if s.raft == nil {
		return 0, 0
	}
	st := s.raft.Stats()
	return st.Applied, st.LogLast
}

func (s *Server) ready() error {
	if s.draining.Load() {
		return errDraining
	}
	if s.raft == nil {
		return nil
	}
	return s.raft.Health().Err
}

var errDraining = fault.New(fault.Unavailable, "this node is stopping")

// drainTime bounds how long requests may go on after a stop was asked for.
const drainTime = 30 * time.Second

// Close seals the server and closes the storage.
func (s *Server) Close(ctx context.Context) error {
	s.ceremony.Seal(ctx)
	s.background.Wait()
	return errors.Join(s.store.Close(), s.closePort())
}
