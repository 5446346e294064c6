package membership

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/cluster/port"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// Heard is what the leader has heard from a node.
type Heard struct {
	Sealed  bool
	Applied uint64 // its last log entry applied
	At      time.Time
}

// Member is a node of the cluster.
type Member struct {
	ID string `json:"id"`
	// Address is where other nodes reach it, as host:port.
	Address string `json:"address"`
	// Voter says that it elects and may lead.
	Voter bool `json:"voter"`
}

// Replica is what a replicated store tells of its nodes.
type Replica interface {
	NodeID() string
	// Leads reports whether this node leads; LeaderID is who does, "" if nobody
	// is known to. Changed is closed when either changes next.
	Leads() bool
	LeaderID() string
	Changed() <-chan struct{}
	// Founded reports whether this node belongs, or has belonged, to a cluster.
	Founded() bool
	// Members are the nodes as this one knows them, Committed those on which a
	// majority has agreed for good, and the log index at which it did.
	Members() []Member
	Committed() ([]Member, uint64)
	// SetReluctant has this node be slower to stand for election than others.
	SetReluctant(reluctant bool) error
	// AppliedLog is the newest log entry in this node's state.
	AppliedLog() uint64
	Council
}

// Council is how the leader changes the membership. Its methods return once a
// majority has agreed; on other nodes they give [fault.Standby].
type Council interface {
	// Confirm makes sure that this node leads.
	Confirm(ctx context.Context) error
	// AddMember adds a node, or moves one to another address. The vote of a
	// member stays as it is.
	AddMember(ctx context.Context, m Member) error
	RemoveMember(ctx context.Context, id string) error
	Promote(ctx context.Context, id string) error
	Demote(ctx context.Context, id string) error
	// StepDown hands the leadership to another voter.
	StepDown(ctx context.Context, to string) error
}

// Config is what a [Service] needs.
type Config struct {
	Replica  Replica
	Identity *port.Identity
	Clock    clock.Clock
	Log      *slog.Logger
	// APIAddr is the URL at which clients reach this node, ClusterAddr the host
	// and port at which nodes do.
	APIAddr, ClusterAddr string
	// Dir is where it is noted that this node was removed.
	Dir string
	// Barrier returns the store through the barrier, nil while sealed.
	Barrier func() store.Store
	// ClusterID returns the cluster's id, "" while it is not known.
	ClusterID func() string
	// Heard returns what this node has heard from another, as the leader.
	Heard func(id string) (Heard, bool)
	// MayVote reports whether a node that is to vote may be given its vote now.
	// Nil is as soon as it has caught up.
	MayVote func(id string) bool
	// Wrap encrypts a challenge so that only who can unseal this cluster can read
	// it, and describes the seal.
	Wrap func(ctx context.Context, secret, ad []byte) (wrapped []byte, seal SealInfo, err error)
	// Expect has the seal wait for shares of another cluster: with enough of them
	// it calls answer, whose open decrypts what Wrap has encrypted there.
	Expect func(seal SealInfo, answer func(ctx context.Context, open Open) error) error
	// Removed is called when this node learns that it was removed.
	Removed func()
	// Client makes the requests to other nodes' APIs. Nil trusts the system's
	// authorities.
	Client func(t Target) (*http.Client, error)
}

// SealInfo describes a cluster's seal to who wants to join.
type SealInfo struct {
	Type      string `json:"type"`
	Shares    int    `json:"secret_shares"`
	Threshold int    `json:"secret_threshold"`
}

// Open decrypts what a cluster's seal has encrypted. Another seal's key gives
// an error.
type Open func(wrapped, ad []byte) ([]byte, error)

// Service is a node's membership.
type Service struct {
	Config
	port    *port.Port
	secrets [32]byte // what challenges are derived from
	removed atomic.Bool
	lines   map[string]*line // to members' calls, by id; Run's alone

	mu      sync.Mutex
	heard   list              // guarded by mu; the newest committed members that others have told of
	pins    map[string]string // guarded by mu; key fingerprints by node id, as far as known
	reports map[string]report // guarded by mu; what members have told the leader of their certificates
	joining *joining          // guarded by mu; nil when this node does not try to join
}

// list is a list of members on which a majority has agreed.
type list struct {
	Index   uint64   `json:"index"`
	Members []Member `json:"members"`
}

// New returns the membership of a node. [Service.Run] gives it the port, which
// needs [Service.Admit] first.
func New(c Config) (*Service, error) {
	s := &Service{Config: c, lines: map[string]*line{}, pins: map[string]string{}, reports: map[string]report{}}
	if _, err := rand.Read(s.secrets[:]); err != nil {
		return nil, err
	}
	if s.Config.Client == nil {
		s.Config.Client = Target.client
	}
	was, err := s.wasRemoved()
	if err != nil {
		return nil, fmt.Errorf("looking whether this node was removed: %w", err)
	}
	s.removed.Store(was)
	return s, nil
}

// interval is how often a node asks the leader about its membership, and the
// leader sees to the members.
const interval = 500 * time.Millisecond

// Run serves other nodes at the port and sees to the membership until ctx ends.
func (s *Service) Run(ctx context.Context, p *port.Port) error {
	s.port = p
	l := p.Listen(port.Calls)
	var tasks sync.WaitGroup
	tasks.Go(func() { s.serve(ctx, l) })
	defer tasks.Wait()
	defer l.Close()
	defer func() {
		for id := range s.lines {
			s.hangUp(id)
		}
	}()
	members := uint64(0)
	for sealed := false; ; {
		s.step(ctx)
		if now := s.Barrier() == nil; now != sealed {
			sealed = now
			if err := s.Replica.SetReluctant(now); err != nil {
				s.Log.Warn("changing how ready this node is to lead", "error", err)
			}
		}
		if now := s.current().Index; now != members {
			members = now
			p.Recheck()
		}
		select {
		case <-s.Replica.Changed():
		case <-s.Clock.After(s.pause()):
		case <-ctx.Done():
			return ctx.Err()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// sealedInterval is how often a leader looks that cannot do anything yet.
const sealedInterval = 50 * time.Millisecond

// pause is how long to wait for the next step.
func (s *Service) pause() time.Duration {
	if s.Replica.Leads() && s.Barrier() == nil {
		return sealedInterval
	}
	return interval
}

// step does what is to be done now.
func (s *Service) step(ctx context.Context) {
	if s.removed.Load() {
		return
	}
	if !s.Replica.Founded() {
		s.tryToJoin(ctx)
		return
	}
	if err := s.readPins(ctx); err != nil {
		s.Log.Warn("reading the nodes' keys", "error", err)
	}
	var err error
	if s.Replica.Leads() {
		err = s.preside(ctx)
	} else {
		err = s.ask(ctx)
	}
	if err != nil && ctx.Err() == nil && !errors.Is(err, fault.Standby) {
		s.Log.Debug("seeing to the membership", "error", err)
	}
}

// current is the newest list of members that a majority has agreed on, as far as
// this node knows.
func (s *Service) current() list {
	members, index := s.Replica.Committed()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.heard.Index > index {
		return s.heard
	}
	return list{index, members}
}

// belongs reports whether a node is a member.
func (s *Service) belongs(id string) bool {
	is := func(m Member) bool { return m.ID == id }
	now := s.current()
	if slices.ContainsFunc(now.Members, is) {
		return true
	}
	// One that is being added is in the log, but not agreed on yet.
	_, index := s.Replica.Committed()
	return slices.ContainsFunc(s.Replica.Members(), is) && index >= now.Index
}

// Admit says whether a node with a valid certificate may connect, or be
// connected to. It is for [port.Config].
func (s *Service) Admit(p port.Protocol, id, key string) error {
	if p == port.Calls {
		return nil // where those who were removed are told so
	}
	if s.removed.Load() {
		return errors.New("this node was removed from its cluster")
	}
	self := s.Replica.NodeID()
	if !s.belongs(self) {
		return nil // it joins, and has not read yet who else is there
	}
	if !s.belongs(id) {
		return fmt.Errorf("node %q is no member of this cluster", id)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if pin, ok := s.pins[id]; ok && pin != key {
		return fmt.Errorf("node %q has another key", id)
	}
	return nil
}

// IsRemoved reports whether this node was removed from its cluster.
func (s *Service) IsRemoved() bool { return s.removed.Load() }
