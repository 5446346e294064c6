package membership_test

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/cluster/membership"
	"github.com/cofferhq/coffer/internal/cluster/port"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/store/mem"
)

// replica is a replicated store of one node that leads.
type replica struct {
	members   []membership.Member
	following bool
}

func (r *replica) NodeID() string                           { return "n0" }
func (r *replica) Leads() bool                              { return !r.following }
func (r *replica) LeaderID() string                         { return "n0" }
func (r *replica) Changed() <-chan struct{}                 { return nil }
func (r *replica) Founded() bool                            { return true }
func (r *replica) Members() []membership.Member             { return slices.Clone(r.members) }
func (r *replica) Committed() ([]membership.Member, uint64) { return slices.Clone(r.members), 9 }
func (r *replica) AppliedLog() uint64                       { return 9 }
func (r *replica) SetReluctant(bool) error                  { return nil }
func (r *replica) Confirm(context.Context) error            { return nil }
func (r *replica) StepDown(context.Context, string) error   { return nil }

func (r *replica) AddMember(_ context.Context, m membership.Member) error {
	for i := range r.members {
		if r.members[i].ID == m.ID {
			r.members[i].Address = m.Address
			return nil
		}
	}
	r.members = append(r.members, m)
	return nil
}

func (r *replica) RemoveMember(_ context.Context, id string) error {
	r.members = slices.DeleteFunc(r.members, func(m membership.Member) bool { return m.ID == id })
	return nil
}

func (r *replica) vote(id string, voter bool) error {
	for i := range r.members {
		if r.members[i].ID == id {
			r.members[i].Voter = voter
		}
	}
	return nil
}

func (r *replica) Promote(_ context.Context, id string) error { return r.vote(id, true) }
func (r *replica) Demote(_ context.Context, id string) error  { return r.vote(id, false) }

// leader is the membership of a leader, with what it stands on.
type leader struct {
	*membership.Service
	replica *replica
	clock   *clock.Fake
	sealed  bool
}

func newLeader(t *testing.T) *leader {
	t.Helper()
	l := &leader{replica: &replica{members: []membership.Member{{ID: "n0", Address: "10.0.0.1:8201", Voter: true}}}, clock: clock.NewFake(time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC))}
	rows := mem.New()
	t.Cleanup(func() { _ = rows.Close() })
	identity, err := port.OpenIdentity(t.TempDir(), "n0")
	if err != nil {
		t.Fatal(err)
	}
	l.Service, err = membership.New(membership.Config{
		Replica: l.replica, Identity: identity, Clock: l.clock, Log: slog.New(slog.DiscardHandler), ClusterAddr: "10.0.0.1:8201", Dir: t.TempDir(),
		Barrier: func() store.Store {
			if l.sealed {
				return nil
			}
			return rows
		},
		ClusterID: func() string { return "c1" },
		Heard: func(string) (membership.Heard, bool) {
			return membership.Heard{Applied: 9, At: l.clock.Now()}, true
		},
		Wrap: func(_ context.Context, secret, ad []byte) ([]byte, membership.SealInfo, error) {
			return append(bytes.Clone(secret), ad...), membership.SealInfo{Type: "shamir", Shares: 1, Threshold: 1}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.Step(t.Context()) // makes the authority
	return l
}

const secretLen = 32

// request is a certificate request of a new node, or of one with the key in dir.
func request(t *testing.T, dir, id string) []byte {
	t.Helper()
	i, err := port.OpenIdentity(dir, id)
	if err != nil {
		t.Fatal(err)
	}
	der, err := i.Request()
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (l *leader) challenge(t *testing.T, id string) (ticket, secret []byte) {
	t.Helper()
	ticket, wrapped, err := l.Challenge(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return ticket, wrapped[:secretLen]
}

func TestAnswersThatDoNotFit(t *testing.T) {
	honest := membership.NewApplication("n1", "10.0.0.2:8201", false, request(t, t.TempDir(), "n1"))
	for name, tt := range map[string]struct {
		send   membership.Application // what is said, after answering for honest
		change func(l *leader, ticket, answer []byte)
		want   error
	}{
		"the right one":                 {honest, nil, nil},
		"for another node":              {membership.NewApplication("n2", "10.0.0.2:8201", false, request(t, t.TempDir(), "n2")), nil, fault.Denied},
		"for another address":           {membership.NewApplication("n1", "10.6.6.6:8201", false, honest.Request), nil, fault.Denied},
		"for another key":               {membership.NewApplication("n1", "10.0.0.2:8201", false, request(t, t.TempDir(), "n1")), nil, fault.Denied},
		"for another vote":              {membership.NewApplication("n1", "10.0.0.2:8201", true, honest.Request), nil, fault.Denied},
		"with a wrong bit":              {honest, func(_ *leader, _, answer []byte) { answer[5] ^= 1 }, fault.Denied},
		"to a longer challenge":         {honest, func(_ *leader, ticket, _ []byte) { ticket[6]++ }, fault.Denied},
		"too late":                      {honest, func(l *leader, _, _ []byte) { l.clock.Advance(6 * time.Minute) }, fault.Denied},
		"to who does not lead any more": {honest, func(l *leader, _, _ []byte) { l.replica.following = true }, fault.Standby},
		"to who was sealed":             {honest, func(l *leader, _, _ []byte) { l.sealed = true }, fault.Sealed},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLeader(t)
			ticket, secret := l.challenge(t, "n1")
			answer := honest.Answer(secret)
			if tt.change != nil {
				tt.change(l, ticket, answer)
			}
			err := l.Admission(t.Context(), tt.send, ticket, answer)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error is %v (%v), want %v", err, fault.KindOf(err), tt.want)
			}
			if got := len(l.replica.members); (got == 2) != (tt.want == nil) {
				t.Errorf("there are %d members", got)
			}
		})
	}
}

func TestAnotherLeadersChallengeIsWorthNothing(t *testing.T) {
	first, second := newLeader(t), newLeader(t)
	a := membership.NewApplication("n1", "10.0.0.2:8201", false, request(t, t.TempDir(), "n1"))
	ticket, secret := first.challenge(t, "n1")
	if err := second.Admission(t.Context(), a, ticket, a.Answer(secret)); !errors.Is(err, fault.Denied) {
		t.Errorf("error is %v", err)
	}
}

func TestWhoComesAgainStaysWhatItIs(t *testing.T) {
	l := newLeader(t)
	dir := t.TempDir()
	join := func(dir, id, address string, nonVoter bool) error {
		t.Helper()
		a := membership.NewApplication(id, address, nonVoter, request(t, dir, id))
		ticket, secret := l.challenge(t, id)
		return l.Admission(t.Context(), a, ticket, a.Answer(secret))
	}
	voter := func() bool { return l.replica.members[1].Voter }
	if err := join(dir, "n1", "10.0.0.2:8201", true); err != nil {
		t.Fatal(err)
	}
	l.Step(t.Context())
	if voter() {
		t.Error("a node that asked for no vote has one")
	}
	if err := join(dir, "n1", "10.0.0.2:8201", false); err != nil {
		t.Errorf("the same node again: %v", err)
	}
	l.Step(t.Context())
	if voter() {
		t.Error("coming again has brought it a vote")
	}
	if err := l.SetVoter(t.Context(), "n1", true); err != nil || !voter() {
		t.Errorf("promoting: %v", err)
	}
	if err := join(dir, "n1", "10.0.0.2:8201", true); err != nil || !voter() {
		t.Errorf("coming again has taken its vote: %v", err)
	}
	if err := l.SetVoter(t.Context(), "n1", false); err != nil {
		t.Fatal(err)
	}
	l.Step(t.Context())
	if voter() {
		t.Error("a demoted node was given its vote back")
	}
	if err := join(t.TempDir(), "n1", "10.0.0.3:8201", false); !errors.Is(err, fault.Invalid) {
		t.Errorf("another node of that name: %v", err)
	}
	if err := join(t.TempDir(), "n2", "10.0.0.2:8201", false); !errors.Is(err, fault.Invalid) {
		t.Errorf("another node at that address: %v", err)
	}
	for _, address := range []string{"", "10.0.0.4", ":8201", "no port:"} {
		if err := join(t.TempDir(), "n2", address, false); !errors.Is(err, fault.Invalid) {
			t.Errorf("joining from %q: %v", address, err)
		}
	}
	if len(l.replica.members) != 2 {
		t.Errorf("members are %v", l.replica.members)
	}
	if err := l.Remove(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	if err := join(t.TempDir(), "n1", "10.0.0.3:8201", false); err != nil {
		t.Errorf("a new node with the name of one that was removed: %v", err)
	}
	l.Step(t.Context())
	if !voter() {
		t.Error("it has no vote")
	}
}

func TestIDs(t *testing.T) {
	l := newLeader(t)
	for _, id := range []string{"", "a b", "a@b", "a/b", "a\x00", "ü", string(bytes.Repeat([]byte("a"), 129))} {
		if _, _, err := l.Challenge(t.Context(), id); !errors.Is(err, fault.Invalid) {
			t.Errorf("a challenge for %q: %v", id, err)
		}
	}
}

func TestAdmittance(t *testing.T) {
	l := newLeader(t)
	a := membership.NewApplication("n1", "10.0.0.2:8201", false, request(t, t.TempDir(), "n1"))
	key, err := port.RequestKey(a.Request)
	if err != nil {
		t.Fatal(err)
	}
	ticket, secret := l.challenge(t, "n1")
	if err := l.Admission(t.Context(), a, ticket, a.Answer(secret)); err != nil {
		t.Fatal(err)
	}
	for _, p := range []port.Protocol{port.Raft, port.Forward} {
		if err := l.Admit(p, "n1", key); err != nil {
			t.Errorf("a member at %s: %v", p, err)
		}
		if l.Admit(p, "n1", "another") == nil {
			t.Errorf("a member's name with another key is admitted at %s", p)
		}
		if l.Admit(p, "n2", key) == nil {
			t.Errorf("who is no member is admitted at %s", p)
		}
	}
	if err := l.Remove(t.Context(), "n1"); err != nil {
		t.Fatal(err)
	}
	if l.Admit(port.Raft, "n1", key) == nil {
		t.Error("who was removed is admitted")
	}
	if err := l.Admit(port.Calls, "n1", key); err != nil {
		t.Errorf("who was removed cannot be told so: %v", err)
	}
}

func TestDiscoveryIsByDNSOnly(t *testing.T) {
	for how, ok := range map[string]bool{
		"dns-srv _coffer._tcp.example.com": true, "": false, "dns-srv": false, "dns-srv a b": false,
		"provider=aws tag_key=x tag_value=y": false, "mdns x": false,
	} {
		if err := membership.CheckDiscovery(how); (err == nil) != ok {
			t.Errorf("%q: %v", how, err)
		}
	}
}

// TestTargets asks nodes over TLS, some of which are none.
func TestTargets(t *testing.T) {
	l := newLeader(t)
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}
	}
	for name, tt := range map[string]struct {
		handler http.HandlerFunc
		change  func(*membership.Target)
		want    error // nil is success
		text    string
	}{
		"a node":                 {answer(200, `{"data":{"cluster_id":"c1"}}`), nil, nil, ""},
		"a name that it has":     {answer(200, `{"data":{"cluster_id":"c1"}}`), func(t *membership.Target) { t.ServerName = "example.com" }, nil, ""},
		"a name that it has not": {answer(200, `{}`), func(t *membership.Target) { t.ServerName = "other.test" }, fault.Unavailable, ""},
		"an issuer not trusted":  {answer(200, `{}`), func(t *membership.Target) { t.CA = "" }, fault.Unavailable, ""},
		"an issuer unreadable":   {answer(200, `{}`), func(t *membership.Target) { t.CA = "x" }, fault.Invalid, "leader_ca_cert"},
		"half a certificate":     {answer(200, `{}`), func(t *membership.Target) { t.Certificate = "x" }, fault.Invalid, "leader_client_key"},
		"no URL":                 {answer(200, `{}`), func(t *membership.Target) { t.Address = "10.0.0.1:8200" }, fault.Invalid, "leader_api_addr"},
		"who refuses":            {answer(400, `{"errors":["choose another node_id"]}`), nil, fault.Invalid, "choose another node_id"},
		"who forbids":            {answer(403, `{"errors":["permission denied"]}`), nil, fault.Denied, ""},
		"who is sealed":          {answer(503, `{"errors":["Vault is sealed"]}`), nil, fault.Unavailable, "sealed"},
		"who is something else":  {answer(200, `<html>`), nil, fault.Unavailable, "no node"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewTLSServer(tt.handler)
			defer server.Close()
			target := membership.Target{
				Address: server.URL, CA: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
			}
			if tt.change != nil {
				tt.change(&target)
			}
			err := l.Ask(t.Context(), target)
			switch {
			case tt.want == nil && err != nil, tt.want != nil && !errors.Is(err, tt.want):
				t.Errorf("error is %v (%v), want %v", err, fault.KindOf(err), tt.want)
			case err != nil && !strings.Contains(err.Error(), tt.text):
				t.Errorf("error is %v, which does not say %q", err, tt.text)
			}
		})
	}
}
