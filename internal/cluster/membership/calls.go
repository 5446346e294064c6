package membership

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/cluster/port"
)

// question is what a node asks the leader, again and again. It is JSON.
type question struct {
	// Address is where the node is, as host:port.
	Address string `json:"address"`
	// Trust and Issuer are the authorities that it trusts and has its
	// certificate of.
	Trust  []string `json:"trust"`
	Issuer string   `json:"issuer"`
	// Request asks for a certificate, in DER.
	Request []byte `json:"request,omitempty"`
}

// reply is what it hears. Of nodes that do not lead it hears the members only.
type reply struct {
	Leads   bool `json:"leads"`
	Members list `json:"members"`
	// Removed says that the node is no member any more.
	Removed bool `json:"removed,omitempty"`
	// Trust is whom to trust; Certificate is the new one, both in DER.
	Trust       [][]byte `json:"trust,omitempty"`
	Certificate []byte   `json:"certificate,omitempty"`
}

const (
	callTime = 5 * time.Second
	// idleTime is how long a node may be silent.
	idleTime = time.Minute
	maxCall  = 1 << 20 // bytes
)

// serve answers the questions that come over the listener, one JSON value each,
// until that is closed.
func (s *Service) serve(ctx context.Context, l net.Listener) {
	var tasks sync.WaitGroup
	defer tasks.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		peer, ok := c.(*port.Conn)
		if !ok {
			_ = c.Close()
			continue
		}
		tasks.Go(func() {
			defer context.AfterFunc(ctx, func() { _ = c.Close() })()
			defer c.Close()
			if err := s.converse(ctx, peer); err != nil && !errors.Is(err, io.EOF) {
				s.Log.Debug("answering a node about its membership", "node", peer.Peer, "error", err)
			}
		})
	}
}

// converse answers one node until it hangs up.
func (s *Service) converse(ctx context.Context, c *port.Conn) error {
	limited := &io.LimitedReader{R: c}
	in, out := json.NewDecoder(limited), json.NewEncoder(c)
	for {
		limited.N = maxCall
		var q question
		if err := s.within(idleTime, c, func() error { return in.Decode(&q) }); err != nil {
			return err
		}
		a, err := s.answer(ctx, c, q)
		if err != nil {
			return err
		}
		if err := s.within(callTime, c, func() error { return out.Encode(a) }); err != nil {
			return err
		}
	}
}

// answer answers a node's question.
func (s *Service) answer(ctx context.Context, peer *port.Conn, q question) (reply, error) {
	if !s.Replica.Leads() || s.removed.Load() {
		return reply{Members: s.current()}, nil
	}
	if !s.belongs(peer.Peer) {
		// Only a leader that others still follow may say so.
		if err := s.Replica.Confirm(ctx); err != nil {
			return reply{}, err
		}
		if s.belongs(peer.Peer) {
			return reply{}, errors.New("it is being added")
		}
		return reply{Leads: true, Removed: true}, nil
	}
	if err := s.Admit(port.Raft, peer.Peer, peer.Key); err != nil {
		return reply{}, err
	}
	s.note(peer.Peer, report{Trust: q.Trust, Issuer: q.Issuer, Key: peer.Key, Address: q.Address, At: s.Clock.Now()})
	a := reply{Leads: true, Members: s.current(), Trust: s.Identity.Trust()}
	if q.Request == nil || s.Barrier() == nil {
		return a, nil
	}
	if key, err := port.RequestKey(q.Request); err != nil || key != peer.Key {
		return reply{}, errors.New("the certificate request is for another key")
	}
	var err error
	a.Certificate, err = s.issue(ctx, q.Request, peer.Peer)
	return a, err
}

// within does what uses a connection, and closes that if it takes too long.
func (s *Service) within(d time.Duration, c io.Closer, do func() error) error {
	done := make(chan struct{})
	defer close(done)
	late := s.Clock.After(d)
	go func() {
		select {
		case <-late:
			_ = c.Close()
		case <-done:
		}
	}()
	return do()
}

// line is an open connection to a member's calls. Only the goroutine of
// [Service.Run] uses it.
type line struct {
	conn *port.Conn
	in   *json.Decoder
	out  *json.Encoder
}

// lineTo returns the open line to a member, or opens one.
func (s *Service) lineTo(ctx context.Context, id string) (*line, error) {
	if l := s.lines[id]; l != nil {
		return l, nil
	}
	address := ""
	for _, m := range append(s.Replica.Members(), s.current().Members...) {
		if m.ID == id {
			address = m.Address
		}
	}
	if address == "" {
		return nil, fmt.Errorf("%q is no member", id)
	}
	c, err := s.port.Dial(ctx, port.Calls, id, address)
	if err != nil {
		return nil, err
	}
	l := &line{c, json.NewDecoder(c), json.NewEncoder(c)}
	s.lines[id] = l
	return l, nil
}

// hangUp closes the line to a member.
func (s *Service) hangUp(id string) {
	if l := s.lines[id]; l != nil {
		_ = l.conn.Close()
		delete(s.lines, id)
	}
}

// ask asks the leader, or who may know one.
func (s *Service) ask(ctx context.Context) error {
	self := s.Replica.NodeID()
	leader := s.Replica.LeaderID()
	var errs []error
	for _, m := range s.askable(self, leader) {
		a, err := s.askNode(ctx, m.ID)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if err := s.hear(a); err != nil {
			return err
		}
		if a.Leads {
			return nil
		}
	}
	return errors.Join(errs...)
}

// askable lists whom to ask: the leader, or all if none is known.
func (s *Service) askable(self, leader string) []Member {
	if leader != "" && leader != self {
		return []Member{{ID: leader}}
	}
	var others []Member
	for _, m := range s.current().Members {
		if m.ID != self {
			others = append(others, m)
		}
	}
	return others
}

func (s *Service) askNode(ctx context.Context, id string) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	have := s.Identity.State()
	q := question{Address: s.ClusterAddr, Trust: have.Trust, Issuer: have.Issuer}
	if s.wantsCertificate(have) {
		var err error
		if q.Request, err = s.Identity.Request(); err != nil {
			return reply{}, err
		}
	}
	l, err := s.lineTo(ctx, id)
	if err != nil {
		return reply{}, err
	}
	var a reply
	err = s.within(callTime, l.conn, func() error {
		if err := l.out.Encode(q); err != nil {
			return err
		}
		return l.in.Decode(&a)
	})
	if err != nil {
		s.hangUp(id)
	}
	return a, err
}

// hear takes over what another node has told.
func (s *Service) hear(a reply) error {
	if a.Leads && a.Removed {
		return s.leave()
	}
	s.mu.Lock()
	if a.Members.Index > s.heard.Index {
		s.heard = a.Members
	}
	s.mu.Unlock()
	if !a.Leads || len(a.Trust) == 0 {
		return nil
	}
	if a.Certificate == nil && s.Identity.Trust().Equal(a.Trust) {
		return nil
	}
	return s.Identity.Install(a.Certificate, a.Trust)
}
