package membership

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cofferhq/coffer/internal/cluster/port"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// A ticket is the text of a challenge from which its secret follows:
//
//	until(8, Unix seconds, big-endian) random(16)
const ticketLen = 8 + 16

// challengeLife is how long a challenge may take to answer.
const challengeLife = 5 * time.Minute

// mac is HMAC-SHA256 over parts, each preceded by its length, under a purpose.
func mac(key []byte, purpose string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(joined(append([][]byte{[]byte(purpose)}, parts...)...))
	return h.Sum(nil)
}

// joined is an unambiguous encoding of several byte strings.
func joined(parts ...[]byte) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}

// secret is what the challenge with a ticket hides, for one node id.
func (s *Service) secret(ticket []byte, id string) []byte {
	return mac(s.secrets[:], "coffer join challenge", ticket, []byte(id))
}

// challengeAD binds an encrypted challenge to its purpose, cluster and node.
func challengeAD(cluster, id string) []byte {
	return joined([]byte("coffer join"), []byte(cluster), []byte(id))
}

// challenge is a challenge as it is sent. Bytes are base64.
type challenge struct {
	Challenge string   `json:"challenge"`
	Ticket    string   `json:"ticket"`
	ClusterID string   `json:"cluster_id"`
	Seal      SealInfo `json:"seal_config"`
}

// Challenge makes a challenge for a node that wants to join.
func (s *Service) challenge(ctx context.Context, id string) (*challenge, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	if _, err := s.unsealedLeader(); err != nil {
		return nil, err
	}
	ticket := binary.BigEndian.AppendUint64(make([]byte, 0, ticketLen), uint64(s.Clock.Now().Add(challengeLife).Unix()))
	ticket = ticket[:ticketLen]
	if _, err := rand.Read(ticket[8:]); err != nil {
		return nil, err
	}
	cluster := s.ClusterID()
	wrapped, seal, err := s.Wrap(ctx, s.secret(ticket, id), challengeAD(cluster, id))
	if err != nil {
		return nil, fmt.Errorf("making a challenge: %w", err)
	}
	return &challenge{
		Challenge: base64.StdEncoding.EncodeToString(wrapped), Ticket: base64.StdEncoding.EncodeToString(ticket), ClusterID: cluster, Seal: seal,
	}, nil
}

// checkID refuses ids that are none, in the words that clients get.
func checkID(id string) error {
	switch {
	case id == "":
		return fault.New(fault.Invalid, "no server_id provided")
	case len(id) > 128:
		return fault.New(fault.Invalid, "server_id is longer than 128 characters")
	}
	for _, r := range id {
		if r <= ' ' || r > '~' || r == '@' || r == '/' {
			return fault.New(fault.Invalid, "server_id may hold printable ASCII without spaces, '@' and '/' only")
		}
	}
	return nil
}

// application is what a node says when it answers a challenge.
type application struct {
	ID       string
	Address  string // host:port of its cluster port
	NonVoter bool
	Request  []byte // for a certificate, DER
}

// mac proves that who answers knows the secret.
func (a application) mac(secret []byte) []byte {
	vote := []byte("voter")
	if a.NonVoter {
		vote = []byte("non-voter")
	}
	return mac(secret, "coffer join answer", []byte(a.ID), []byte(a.Address), vote, a.Request)
}

// admission is what a node gets that has answered. Bytes are base64 in JSON.
type admission struct {
	Certificate []byte   `json:"certificate"`
	Trust       [][]byte `json:"trust"`
	Leader      string   `json:"leader_id"`
	// Proof shows that the cluster knows the secret, too.
	Proof []byte `json:"proof"`
}

func (a admission) mac(secret []byte) []byte {
	return mac(secret, "coffer join welcome", append([][]byte{a.Certificate, []byte(a.Leader)}, a.Trust...)...)
}

// The refusals of who wants to join.
var (
	errLateAnswer  = fault.New(fault.Denied, "the challenge has expired; ask for another")
	errWrongAnswer = fault.New(fault.Denied, "the answer to the challenge is wrong: the node has another cluster's keys, or another node leads by now")
)

// admit adds a node that has answered its challenge.
func (s *Service) admit(ctx context.Context, a application, ticket, answer []byte) (*admission, error) {
	b, err := s.unsealedLeader()
	if err != nil {
		return nil, err
	}
	if err := checkID(a.ID); err != nil {
		return nil, err
	}
	if len(ticket) != ticketLen {
		return nil, errWrongAnswer
	}
	secret := s.secret(ticket, a.ID)
	if !hmac.Equal(answer, a.mac(secret)) {
		return nil, errWrongAnswer
	}
	if until := time.Unix(int64(binary.BigEndian.Uint64(ticket)), 0); s.Clock.Now().After(until) {
		return nil, errLateAnswer
	}
	key, err := port.RequestKey(a.Request)
	if err != nil {
		return nil, err
	}
	if err := s.checkPlace(a, key); err != nil {
		return nil, err
	}
	// The certificate first: a cluster that cannot issue one adds nobody.
	cert, err := s.issue(ctx, a.Request, a.ID)
	if err != nil {
		return nil, err
	}
	if err := s.register(ctx, b, a, key); err != nil {
		return nil, err
	}
	if err := s.Replica.AddMember(ctx, Member{ID: a.ID, Address: a.Address}); err != nil {
		return nil, err
	}
	s.Log.Info("a node has joined", "node", a.ID, "address", a.Address, "non_voter", a.NonVoter)
	welcome := &admission{Certificate: cert, Trust: s.Identity.Trust(), Leader: s.Replica.NodeID()}
	welcome.Proof = welcome.mac(secret)
	return welcome, nil
}

// checkPlace refuses an id or an address that another node has.
func (s *Service) checkPlace(a application, key string) error {
	if host, p, err := net.SplitHostPort(a.Address); err != nil || host == "" || p == "" {
		return fault.New(fault.Invalid, "cluster_addr must be the URL, or host and port, at which other nodes reach this one")
	}
	for _, m := range s.Replica.Members() {
		if m.ID != a.ID && m.Address == a.Address {
			return fault.Newf(fault.Invalid, "node %q of this cluster has the cluster_addr %s; give each node its own", m.ID, a.Address)
		}
		if m.ID != a.ID {
			continue
		}
		s.mu.Lock()
		pin := s.pins[a.ID]
		s.mu.Unlock()
		if pin != key {
			return fault.Newf(fault.Invalid, "the cluster has a node %q already, with another key; remove that one first (coffer operator raft remove-peer), or choose another node_id", a.ID)
		}
	}
	return nil
}

// register stores the node, so that it is known whose key it has before it is a
// member. One that is stored keeps what it may.
func (s *Service) register(ctx context.Context, b store.Store, a application, key string) error {
	_, member := s.member(a.ID)
	_, err := b.Update(ctx, func(tx store.Txn) error {
		row, err := store.GetJSON[nodeRow](tx, nodeKey(a.ID))
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if !member {
			row.Voter = !a.NonVoter
		}
		row.Key = key
		return store.PutJSON(tx, nodeKey(a.ID), row)
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pins[a.ID] = key
	s.reports[a.ID] = report{Trust: s.Identity.Trust().Fingerprints(), Key: key, Address: a.Address, At: s.Clock.Now()}
	return nil
}
