package membership

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// Always are the endpoints that answer while sealed.
func Always() []route.Endpoint {
	return []route.Endpoint{
		route.Raw(route.VerbWrite, "storage/raft/join", (*Service).join, route.WhileSealed(), route.Doc{
			Summary:     "Join this node to a cluster.",
			Description: "With Shamir shares the node joins when it is unsealed with the cluster's.",
		}),
	}
}

// Routes are the endpoints of an unsealed node.
func Routes() []route.Endpoint {
	return []route.Endpoint{
		route.Write("storage/raft/bootstrap/challenge", (*Service).bootstrapChallenge, route.Public(), route.Doc{Summary: "Get a challenge for a node that wants to join."}),
		route.Write("storage/raft/bootstrap/answer", (*Service).bootstrapAnswer, route.Public(), route.Doc{Summary: "Answer a challenge, and get the node's certificate."}),
		route.Read("storage/raft/configuration", (*Service).configuration, route.OnLeader(), route.Doc{Summary: "List the members."}),
		route.Write("storage/raft/remove-peer", (*Service).removePeer, route.Doc{Summary: "Remove a node from the cluster."}),
		route.Write("storage/raft/promote", (*Service).promote, route.Doc{Summary: "Give a node a vote."}),
		route.Write("storage/raft/demote", (*Service).demote, route.Doc{Summary: "Take a node's vote."}),
	}
}

type joinRequest struct {
	LeaderAPIAddr string      `json:"leader_api_addr" doc:"URL of a node of the cluster."`
	CACert        string      `json:"leader_ca_cert" doc:"PEM of who has issued that node's certificate."`
	ClientCert    string      `json:"leader_client_cert" doc:"PEM of this node's certificate, if that node wants one."`
	ClientKey     wire.Secret `json:"leader_client_key" sensitive:"true" doc:"PEM of its key."`
	ServerName    string      `json:"leader_tls_servername" doc:"Name in that node's certificate."`
	AutoJoin      string      `json:"auto_join" doc:"Where to find nodes: 'dns-srv NAME'."`
	Scheme        string      `json:"auto_join_scheme" doc:"http or https, for auto_join."`
	Port          int         `json:"auto_join_port" doc:"Port of the API, for auto_join, if not that of the SRV record."`
	Retry         bool        `json:"retry" doc:"Go on trying until the cluster answers."`
	NonVoter      bool        `json:"non_voter" doc:"Join without a vote."`
}

type joinAnswer struct {
	Joined bool `json:"joined"`
}

func (s *Service) join(ctx context.Context, _ *route.Call, in joinRequest) (route.Bytes, error) {
	target := Target{Address: in.LeaderAPIAddr, CA: in.CACert, Certificate: in.ClientCert, Key: in.ClientKey.Reveal(), ServerName: in.ServerName}
	way := Way{Target: target}
	switch {
	case in.AutoJoin != "" && in.LeaderAPIAddr != "":
		return route.Bytes{}, fault.New(fault.Invalid, "give leader_api_addr or auto_join, not both")
	case in.AutoJoin != "":
		if err := CheckDiscovery(in.AutoJoin); err != nil {
			return route.Bytes{}, err
		}
		way.Discovery = &Discovery{How: in.AutoJoin, Scheme: in.Scheme, Port: in.Port, Target: target}
	case in.LeaderAPIAddr == "":
		return route.Bytes{}, fault.New(fault.Invalid, "leader_api_addr is missing: the URL of a node of the cluster to join")
	}
	if err := s.Join(ctx, []Way{way}, in.NonVoter, in.Retry); err != nil {
		return route.Bytes{}, err
	}
	body, err := json.Marshal(joinAnswer{Joined: true})
	return route.Bytes{ContentType: "application/json", Body: body}, err
}

type serverRequest struct {
	ServerID string `json:"server_id" doc:"Id of the node."`
}

func (r serverRequest) check() error {
	if r.ServerID == "" {
		return fault.New(fault.Invalid, "no server_id provided")
	}
	return nil
}

func (s *Service) bootstrapChallenge(ctx context.Context, _ *route.Call, in serverRequest) (*challenge, error) {
	return s.challenge(ctx, in.ServerID)
}

type answerRequest struct {
	ServerID    string `json:"server_id" doc:"Id of the node."`
	ClusterAddr string `json:"cluster_addr" doc:"Where other nodes reach it."`
	NonVoter    bool   `json:"non_voter" doc:"Join without a vote."`
	Ticket      string `json:"ticket" doc:"The challenge's ticket."`
	Answer      string `json:"answer" sensitive:"true" doc:"The answer, base64."`
	Request     string `json:"request" doc:"Certificate request, DER in base64."`
}

func (s *Service) bootstrapAnswer(ctx context.Context, _ *route.Call, in answerRequest) (*admission, error) {
	var raw [3][]byte
	for i, text := range []string{in.Ticket, in.Answer, in.Request} {
		var err error
		if raw[i], err = base64.StdEncoding.DecodeString(text); err != nil {
			return nil, fault.New(fault.Invalid, "ticket, answer and request must be base64")
		}
	}
	a := application{ID: in.ServerID, Address: HostPort(in.ClusterAddr), NonVoter: in.NonVoter, Request: raw[2]}
	return s.admit(ctx, a, raw[0], raw[1])
}

// HostPort returns the host and port of an address that may be a URL.
func HostPort(addr string) string {
	if !strings.Contains(addr, "://") {
		return addr
	}
	u, err := url.Parse(addr)
	if err != nil {
		return ""
	}
	return u.Host
}

type none struct{}

// server is a member as the API shows it.
type server struct {
	Address         string `json:"address"`
	Leader          bool   `json:"leader"`
	NodeID          string `json:"node_id"`
	ProtocolVersion string `json:"protocol_version"`
	Voter           bool   `json:"voter"`
}

type configuration struct {
	Config struct {
		Index   uint64   `json:"index"`
		Servers []server `json:"servers"`
	} `json:"config"`
}

// logProtocol is the version of the replicated log's protocol.
const logProtocol = "3"

func (s *Service) configuration(context.Context, *route.Call, none) (*configuration, error) {
	c := &configuration{}
	_, c.Config.Index = s.Replica.Committed()
	leader := s.Replica.LeaderID()
	for _, m := range s.Replica.Members() {
		c.Config.Servers = append(c.Config.Servers, server{
			Address: m.Address, Leader: m.ID == leader, NodeID: m.ID, ProtocolVersion: logProtocol, Voter: m.Voter,
		})
	}
	return c, nil
}

func (s *Service) removePeer(ctx context.Context, _ *route.Call, in serverRequest) (route.None, error) {
	if err := in.check(); err != nil {
		return route.None{}, err
	}
	return route.None{}, s.Remove(ctx, in.ServerID)
}

func (s *Service) promote(ctx context.Context, _ *route.Call, in serverRequest) (route.None, error) {
	if err := in.check(); err != nil {
		return route.None{}, err
	}
	return route.None{}, s.SetVoter(ctx, in.ServerID, true)
}

func (s *Service) demote(ctx context.Context, _ *route.Call, in serverRequest) (route.None, error) {
	if err := in.check(); err != nil {
		return route.None{}, err
	}
	return route.None{}, s.SetVoter(ctx, in.ServerID, false)
}
