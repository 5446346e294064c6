package cert

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/cofferhq/coffer/internal/authn"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// grant is what a token's renewal needs to know of its login.
type grant struct {
	Role string `json:"role"`
	// Certificate is the SHA-256 hash of the certificate.
	Certificate []byte `json:"certificate"`
}

// Clients know these texts.
var (
	errNoCertificate = fault.New(fault.Unauthenticated, "no client certificate found: connect over TLS with one")
	errNotTrusted    = fault.New(fault.Unauthenticated, "invalid certificate or no client certificate supplied")
)

// presented returns the certificates of the client's connection, its own first.
func presented(c *route.Call) ([]*x509.Certificate, error) {
	if c.TLS == nil || len(c.TLS.PeerCertificates) == 0 {
		return nil, errNoCertificate
	}
	return c.TLS.PeerCertificates, nil
}

// named is a role with its name.
type named struct {
	role
	name string
}

// state is what a login is judged by, read at one instant.
type state struct {
	config config
	roles  []named
	lists  []*list
}

// read reads the role called name, or all roles if it is "".
func (m *method) read(ctx context.Context, name string) (s state, err error) {
	err = m.storage.View(ctx, func(r store.Reader) (err error) {
		if s.config, err = m.config(r); err != nil {
			return err
		}
		names := []string{name}
		if name == "" {
			if names, err = store.Children(r, m.storage.Key(kindRole), "", 0); err != nil {
				return err
			}
		}
		for _, n := range names {
			one, err := store.GetJSON[role](r, m.roleKey(n))
			if err != nil {
				return err
			}
			s.roles = append(s.roles, named{one, n})
		}
		s.lists, err = m.listsInForce(r)
		return err
	})
	return s, err
}

func (m *method) login(ctx context.Context, c *route.Call, in loginRequest) (authn.Identity, error) {
	chain, err := presented(c)
	if err != nil {
		return authn.Identity{}, err
	}
	name := ""
	if strings.TrimSpace(in.Name) != "" {
		var ok bool
		if name, ok = authn.FoldName(in.Name); !ok {
			return authn.Identity{}, errNotTrusted
		}
	}
	s, err := m.read(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return authn.Identity{}, errNotTrusted
	}
	if err != nil {
		return authn.Identity{}, err
	}
	refusal := errNotTrusted
	for i := range s.roles {
		r := &s.roles[i]
		if err := m.admit(ctx, &s, &r.role, chain); err != nil {
			// What is said of a certificate that a role trusts (it is revoked) is
			// worth more than that the other roles do not know it.
			if !errors.Is(err, errNotTrusted) {
				refusal = err
			}
			continue
		}
		if !authn.InCIDRs(c.Remote, r.Token.BoundCIDRs) {
			refusal = fault.New(fault.Denied, "permission denied")
			continue
		}
		return m.identity(&s, r, chain[0])
	}
	return authn.Identity{}, refusal
}

// admit decides whether a role is for whoever presents a chain.
func (m *method) admit(ctx context.Context, s *state, r *role, presented []*x509.Certificate) error {
	leaf := presented[0]
	chains, err := m.chains(r, presented)
	if err != nil {
		return err
	}
	if !r.Allowed.fit(leaf) {
		return errNotTrusted
	}
	// A certificate may have several chains; one without a revoked certificate
	// will do.
	refusal := errNotTrusted
	for _, chain := range chains {
		if err := m.unrevoked(ctx, s, r, chain); err != nil {
			refusal = err
			continue
		}
		return nil
	}
	return refusal
}

// chains returns the ways from the client's certificate to one that the role
// trusts. A pinned certificate is a chain of its own.
func (m *method) chains(r *role, presented []*x509.Certificate) ([][]*x509.Certificate, error) {
	trusted, err := parseCertificates(r.Certificate)
	if err != nil {
		return nil, fmt.Errorf("reading a role's certificates: %w", err)
	}
	leaf, now := presented[0], m.clock.Now()
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	var chains [][]*x509.Certificate
	for _, t := range trusted {
		if t.IsCA {
			roots.AddCert(t)
		}
		if t.Equal(leaf) && !now.Before(t.NotBefore) && !now.After(t.NotAfter) {
			chains = append(chains, []*x509.Certificate{leaf})
		}
	}
	for _, c := range presented[1:] {
		between.AddCert(c)
	}
	if len(chains) == 0 {
		chains, err = leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		if err != nil {
			return nil, errNotTrusted
		}
	}
	return chains, nil
}

// unrevoked checks every certificate of a chain but its root against the
// revocation lists, and the client's own with its responders.
func (m *method) unrevoked(ctx context.Context, s *state, r *role, chain []*x509.Certificate) error {
	for i := range len(chain) - 1 {
		for _, l := range s.lists {
			revoked, err := m.revokes(l, chain[i], chain[i+1])
			if err != nil {
				return err
			}
			if revoked {
				return errRevoked
			}
		}
	}
	leaf, issuer := chain[0], chain[0]
	if len(chain) > 1 {
		issuer = chain[1]
	}
	return m.checkOCSP(ctx, r.OCSP, s.config.OCSPCacheSize, leaf, issuer)
}

func (m *method) identity(s *state, r *named, leaf *x509.Certificate) (authn.Identity, error) {
	payload, err := json.Marshal(grant{r.name, hash(leaf.Raw)})
	if err != nil {
		return authn.Identity{}, fmt.Errorf("encoding a login: %w", err)
	}
	metadata := extensionMetadata(leaf, r.Metadata)
	for k, v := range map[string]string{
		"cert_name": r.name, "common_name": leaf.Subject.CommonName, "serial_number": leaf.SerialNumber.String(),
		"subject_key_id": colons(leaf.SubjectKeyId), "authority_key_id": colons(leaf.AuthorityKeyId),
	} {
		metadata[k] = v
	}
	id := authn.Identity{DisplayName: r.displayName(r.name), Alias: leaf.Subject.CommonName, Metadata: metadata, Token: r.Token, Payload: payload}
	if s.config.AliasMetadata {
		id.AliasMetadata = metadata
	}
	return id, nil
}

// colons writes bytes as hexadecimal pairs, "0a:1b".
func colons(b []byte) string {
	pairs := make([]string, len(b))
	for i := range b {
		pairs[i] = hex.EncodeToString(b[i : i+1])
	}
	return strings.Join(pairs, ":")
}

// Renew allows a renewal over a connection with the very certificate that the
// token was granted for, which must still be trusted; within the role's present
// settings.
func (m *method) Renew(ctx context.Context, c *route.Call, payload []byte) (authn.TokenParams, error) {
	var g grant
	if json.Unmarshal(payload, &g) != nil {
		return authn.TokenParams{}, errors.New("decoding a login: malformed")
	}
	s, err := m.read(ctx, g.Role)
	if errors.Is(err, store.ErrNotFound) {
		return authn.TokenParams{}, fault.New(fault.Denied, "the role no longer exists: the token cannot be renewed")
	}
	if err != nil {
		return authn.TokenParams{}, err
	}
	r := &s.roles[0]
	if s.config.DisableBinding {
		return r.Token, nil
	}
	chain, err := presented(c)
	if err != nil {
		return authn.TokenParams{}, err
	}
	now := sha256.Sum256(chain[0].Raw)
	if subtle.ConstantTimeCompare(now[:], g.Certificate) != 1 {
		return authn.TokenParams{}, fault.New(fault.Denied, "client identity during renewal not matching client identity used during login")
	}
	return r.Token, m.admit(ctx, &s, &r.role, chain)
}
