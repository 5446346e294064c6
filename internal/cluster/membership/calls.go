package membership

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/cofferhq/coffer/internal/cluster/port"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store/raft"
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
	askPath  = "/v1/membership"
	callTime = 5 * time.Second
	maxCall  = 1 << 20 // bytes
)

type peerKey struct{}

// withPeer lets handlers know who calls.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	if p, ok := c.(*port.Conn); ok {
		return context.WithValue(ctx, peerKey{}, p)
	}
	return ctx
}

// calls answers other nodes.
func (s *Service) calls() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+askPath, func(w http.ResponseWriter, r *http.Request) {
		peer, ok := r.Context().Value(peerKey{}).(*port.Conn)
		if !ok {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		var q question
		if err := json.NewDecoder(io.LimitReader(r.Body, maxCall)).Decode(&q); err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		a, err := s.answer(r.Context(), peer, q)
		if err != nil {
			s.Log.Debug("answering a node about its membership", "node", peer.Peer, "error", err)
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(a) // the node asks again
	})
	return mux
}

// answer answers a node's question.
func (s *Service) answer(ctx context.Context, peer *port.Conn, q question) (reply, error) {
	if !s.Store.Leader().Self || s.removed.Load() {
		return reply{Members: s.current()}, nil
	}
	if !s.belongs(peer.Peer) {
		// Only a leader that others still follow may say so.
		if _, err := s.Store.Confirm(ctx); err != nil {
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

// dialNode connects to a member for a call. Its address is the node's id.
func (s *Service) dialNode(ctx context.Context, _, address string) (net.Conn, error) {
	id, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	raw, err := hexDecode(id)
	if err != nil {
		return nil, err
	}
	for _, m := range s.current().Members {
		if m.ID == raw {
			return s.port.Dial(ctx, port.Calls, m.ID, m.Address)
		}
	}
	if m, ok := s.Store.Member(raw); ok {
		return s.port.Dial(ctx, port.Calls, m.ID, m.Address)
	}
	return nil, fmt.Errorf("%q is no member", raw)
}

// ask asks the leader, or who may know one.
func (s *Service) ask(ctx context.Context) error {
	self := s.Store.NodeID()
	leader := s.Store.Leader().ID
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
func (s *Service) askable(self, leader string) []raft.Member {
	if leader != "" && leader != self {
		return []raft.Member{{ID: leader}}
	}
	var others []raft.Member
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
	body, err := json.Marshal(q)
	if err != nil {
		return reply{}, err
	}
	// A node's id is no host name, so it travels in hexadecimal.
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+hexEncode(id)+askPath, bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return reply{}, fault.Newf(fault.Unavailable, "node %q answers %d", id, resp.StatusCode)
	}
	var a reply
	err = json.NewDecoder(io.LimitReader(resp.Body, maxCall)).Decode(&a)
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
