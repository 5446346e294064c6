package membership

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cofferhq/coffer/internal/cluster/port"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// report is what a member has told of its certificate and address.
type report struct {
	Trust   []string
	Issuer  string
	Key     string
	Address string
	At      time.Time
}

func (s *Service) note(id string, r report) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reports[id] = r
}

// standing is what a decision about authorities is made of: the authorities, the
// newest first, and what each member has told, this one included.
type standing struct {
	authorities []port.Authority
	reports     map[string]report // by member; one without a report has told nothing
	members     []string
	now         time.Time
}

// trusted reports whether every member trusts an authority.
func (s standing) trusted(fingerprint string) bool {
	for _, id := range s.members {
		if !slices.Contains(s.reports[id].Trust, fingerprint) {
			return false
		}
	}
	return true
}

// issuer is who issues certificates now: the newest authority that every member
// trusts.
func (s standing) issuer() (port.Authority, bool) {
	for _, a := range s.authorities {
		if s.trusted(a.Fingerprint()) {
			return a, true
		}
	}
	return port.Authority{}, false
}

// due reports whether another authority is to be made.
func (s standing) due() bool {
	return len(s.authorities) == 0 || len(s.authorities) == 1 && s.now.Sub(s.authorities[0].Made) >= port.AuthorityRenewal
}

// needed reports whether a member's certificate is of an authority other than
// the newest, so that others must go on trusting that one.
func (s standing) needed() bool {
	if len(s.authorities) == 0 {
		return true
	}
	newest := s.authorities[0].Fingerprint()
	for _, id := range s.members {
		if s.reports[id].Issuer != newest {
			return true
		}
	}
	return false
}

// standing reads how things stand.
func (s *Service) standing(ctx context.Context, b store.Store) (standing, error) {
	st := standing{now: s.Clock.Now(), reports: map[string]report{}}
	err := b.View(ctx, func(r store.Reader) (err error) {
		st.authorities, err = store.GetJSON[[]port.Authority](r, authorityKey())
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, fault.Internal) {
			return nil // there was none, or it is of another keyring
		}
		return err
	})
	if err != nil {
		return st, err
	}
	self := s.Replica.NodeID()
	for _, m := range s.Replica.Members() {
		st.members = append(st.members, m.ID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.reports {
		st.reports[id] = r
	}
	own := s.Identity.State()
	st.reports[self] = report{Trust: own.Trust, Issuer: own.Issuer}
	return st, nil
}

// seeToAuthorities makes, spreads and drops authorities as it is time for.
func (s *Service) seeToAuthorities(ctx context.Context, b store.Store) error {
	st, err := s.standing(ctx, b)
	if err != nil {
		return err
	}
	switch {
	case st.due():
		a, err := port.NewAuthority(s.ClusterID(), st.now)
		if err != nil {
			return err
		}
		st.authorities = slices.Insert(st.authorities, 0, a)
		if err := s.putAuthorities(ctx, b, st.authorities); err != nil {
			return err
		}
		s.Log.Info("a new authority for the nodes' certificates", "fingerprint", a.Fingerprint())
	case len(st.authorities) > 1 && !st.needed():
		st.authorities = st.authorities[:1]
		if err := s.putAuthorities(ctx, b, st.authorities); err != nil {
			return err
		}
		s.Log.Info("every node has a certificate of the new authority", "fingerprint", st.authorities[0].Fingerprint())
	}
	return s.trustAuthorities(st)
}

func (s *Service) putAuthorities(ctx context.Context, b store.Store, all []port.Authority) error {
	_, err := b.Update(ctx, func(tx store.Txn) error { return store.PutJSON(tx, authorityKey(), all) })
	return err
}

// trustAuthorities has this node trust the stored authorities, and those that
// members' certificates are still of. The others trust whom the leader trusts.
func (s *Service) trustAuthorities(st standing) error {
	var trust port.Bundle
	for _, a := range st.authorities {
		trust = append(trust, a.Certificate)
	}
	before := s.Identity.Trust()
	if st.needed() {
		names := trust.Fingerprints()
		for i, name := range before.Fingerprints() {
			if !slices.Contains(names, name) {
				trust = append(trust, before[i])
			}
		}
	}
	if s.Identity.State().Issuer == "" { // the first node of a cluster
		request, err := s.Identity.Request()
		if err != nil {
			return err
		}
		own, err := st.authorities[0].Issue(request, s.Identity.ID(), st.now)
		if err != nil {
			return err
		}
		return s.Identity.Install(own, trust)
	}
	if !trust.Equal(before) {
		return s.Identity.Install(nil, trust)
	}
	return nil
}

// errNoIssuer says that not all nodes trust whoever could issue.
var errNoIssuer = fault.New(fault.Unavailable, "the cluster's nodes are being told of a new authority for their certificates; try again in a moment")

// issue makes a certificate for a node, on the unsealed leader.
func (s *Service) issue(ctx context.Context, request []byte, id string) ([]byte, error) {
	b := s.Barrier()
	if b == nil {
		return nil, fault.New(fault.Sealed, "Vault is sealed")
	}
	st, err := s.standing(ctx, b)
	if err != nil {
		return nil, err
	}
	issuer, ok := st.issuer()
	if !ok {
		return nil, errNoIssuer
	}
	return issuer.Issue(request, id, st.now)
}

// wantsCertificate reports whether this node's certificate is to be renewed: it
// is old, or of an authority that is on its way out.
func (s *Service) wantsCertificate(have port.State) bool {
	if s.Clock.Now().Sub(have.Issued) >= port.NodeRenewal {
		return true
	}
	// The leader lists the newest authority first.
	return len(have.Trust) > 0 && have.Issuer != have.Trust[0]
}

// renewOwn renews the leader's certificate.
func (s *Service) renewOwn(ctx context.Context, b store.Store) error {
	have := s.Identity.State()
	if !s.wantsCertificate(have) {
		return nil
	}
	st, err := s.standing(ctx, b)
	if err != nil {
		return err
	}
	issuer, ok := st.issuer()
	if !ok || issuer.Fingerprint() == have.Issuer && st.now.Sub(have.Issued) < port.NodeRenewal {
		return nil
	}
	request, err := s.Identity.Request()
	if err != nil {
		return err
	}
	own, err := issuer.Issue(request, s.Identity.ID(), st.now)
	if err != nil {
		return err
	}
	return s.Identity.Install(own, s.Identity.Trust())
}
