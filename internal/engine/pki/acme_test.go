package pki_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	xacme "golang.org/x/crypto/acme"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/cofferhq/coffer/internal/engine"
	"github.com/cofferhq/coffer/internal/engine/pki"
	"github.com/cofferhq/coffer/internal/engine/pki/acme"
	"github.com/cofferhq/coffer/internal/server/servertest"
)

// site is the outside of a server with ACME: names that resolve to loopback,
// a web server, a TLS server, and the server itself.
type site struct {
	t      *testing.T
	server *servertest.Server
	dns    string

	mu      sync.Mutex
	tokens  map[string]string           // key authorizations by path; guarded by mu
	records map[string]string           // TXT records by name; guarded by mu
	certs   map[string]*tls.Certificate // by server name; guarded by mu
}

// newSite starts a server with a mount "pki" whose ACME is on.
func newSite(t *testing.T, config object) *site {
	t.Helper()
	s := &site{t: t, tokens: map[string]string{}, records: map[string]string{}, certs: map[string]*tls.Certificate{}}
	network := acme.Network{HTTPPort: s.web(), TLSPort: s.tls()}
	s.dns = s.resolver()
	s.server = servertest.New(t, servertest.Options{Engines: []engine.Type{pki.Type(network)}})
	s.do("sys/mounts/pki", object{"type": "pki", "config": object{"max_lease_ttl": "8760h"}})
	s.do("pki/root/generate/internal", object{"common_name": "ACME Root", "key_type": "ec", "ttl": "8000h"})
	s.do("pki/roles/web", object{"allowed_domains": "example.test", "allow_subdomains": true, "key_type": "any", "ttl": "24h"})
	s.do("pki/config/cluster", object{"path": s.server.Addr + "/v1/pki"})
	settings := object{"enabled": true, "dns_resolver": s.dns, "challenge_permitted_ip_ranges": "127.0.0.0/8"}
	for k, v := range config {
		settings[k] = v
	}
	s.do("pki/config/acme", settings)
	return s
}

func (s *site) do(path string, body object) map[string]any {
	s.t.Helper()
	a := s.server.Do(http.MethodPost, path, servertest.RootToken, body)
	if a.Status >= 300 {
		s.t.Fatalf("%s: %s", path, a)
	}
	return a.Data()
}

func port(l net.Listener) string {
	_, p, _ := net.SplitHostPort(l.Addr().String())
	return p
}

// web answers http-01.
func (s *site) web() string {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		text, ok := s.tokens[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if to, redirect := strings.CutPrefix(text, "-> "); redirect {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, text)
	}))
	s.t.Cleanup(srv.Close)
	return port(srv.Listener)
}

// tls answers tls-alpn-01.
func (s *site) tls() string {
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{NextProtos: []string{xacme.ALPNProto}, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if c := s.certs[h.ServerName]; c != nil {
			return c, nil
		}
		return nil, errors.New("no such name")
	}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
			_ = c.Close()
		}
	}()
	return port(l)
}

// resolver answers every name with 127.0.0.1, but those below private.test,
// which it answers with 10.0.0.1, and has the TXT records.
func (s *site) resolver() string {
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			q := m.Questions[0]
			m.Response, m.Authoritative, m.Additionals = true, true, nil
			h := dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 1}
			name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
			s.mu.Lock()
			txt, ok := s.records[name]
			s.mu.Unlock()
			switch {
			case q.Type == dnsmessage.TypeTXT && ok:
				m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.TXTResource{TXT: []string{"other"}}}, {Header: h, Body: &dnsmessage.TXTResource{TXT: []string{txt}}}}
			case q.Type == dnsmessage.TypeA && strings.HasSuffix(name, "private.test"):
				m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AResource{A: [4]byte{10, 0, 0, 1}}}}
			case q.Type == dnsmessage.TypeA:
				m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 1}}}}
			case q.Type == dnsmessage.TypeTXT:
				m.RCode = dnsmessage.RCodeNameError
			}
			if out, err := m.Pack(); err == nil {
				_, _ = c.WriteTo(out, from)
			}
		}
	}()
	return c.LocalAddr().String()
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// client is a client with a new key and no account.
func (s *site) client(directory string) *xacme.Client {
	s.t.Helper()
	return &xacme.Client{Key: newKey(s.t), DirectoryURL: s.server.Addr + "/v1/pki/" + directory}
}

// registered is a client with an account.
func (s *site) registered(directory string) *xacme.Client {
	s.t.Helper()
	c := s.client(directory)
	if _, err := c.Register(s.t.Context(), &xacme.Account{Contact: []string{"mailto:ops@example.test"}}, xacme.AcceptTOS); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// prove sets up the answer to a challenge and has it validated.
func (s *site) prove(c *xacme.Client, authURL, kind string) error {
	s.t.Helper()
	ctx := s.t.Context()
	z, err := c.GetAuthorization(ctx, authURL)
	if err != nil {
		return err
	}
	for _, ch := range z.Challenges {
		if ch.Type != kind {
			continue
		}
		if err := s.answer(c, z.Identifier.Value, ch); err != nil {
			return err
		}
		if _, err := c.Accept(ctx, ch); err != nil {
			return err
		}
		_, err = c.WaitAuthorization(ctx, z.URI)
		return err
	}
	return errors.New("no challenge of type " + kind)
}

func (s *site) answer(c *xacme.Client, name string, ch *xacme.Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch ch.Type {
	case acme.HTTP01:
		text, err := c.HTTP01ChallengeResponse(ch.Token)
		s.tokens[c.HTTP01ChallengePath(ch.Token)] = text
		return err
	case acme.DNS01:
		text, err := c.DNS01ChallengeRecord(ch.Token)
		s.records["_acme-challenge."+name] = text
		return err
	}
	cert, err := c.TLSALPN01ChallengeCert(ch.Token, name)
	s.certs[name] = &cert
	return err
}

func csrFor(t *testing.T, key crypto.Signer, req *x509.CertificateRequest) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, req, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// obtain goes the whole way to a certificate.
func (s *site) obtain(c *xacme.Client, kind string, names ...string) (chain [][]byte, key *ecdsa.PrivateKey, order *xacme.Order) {
	s.t.Helper()
	ctx := s.t.Context()
	order, err := c.AuthorizeOrder(ctx, xacme.DomainIDs(names...))
	if err != nil {
		s.t.Fatal(err)
	}
	for _, url := range order.AuthzURLs {
		if err := s.prove(c, url, kind); err != nil {
			s.t.Fatal(err)
		}
	}
	if order, err = c.WaitOrder(ctx, order.URI); err != nil {
		s.t.Fatal(err)
	}
	key = newKey(s.t)
	chain, _, err = c.CreateOrderCert(ctx, order.FinalizeURL, csrFor(s.t, key, &x509.CertificateRequest{DNSNames: names}), true)
	if err != nil {
		s.t.Fatal(err)
	}
	return chain, key, order
}

func TestACMEClientCompletesEveryChallenge(t *testing.T) {
	s := newSite(t, nil)
	for _, tt := range []struct {
		directory, kind string
		names           []string
	}{
		{"acme/directory", acme.HTTP01, []string{"a.example.test"}},
		{"roles/web/acme/directory", acme.HTTP01, []string{"b.example.test", "c.example.test"}},
		{"issuer/default/acme/directory", acme.DNS01, []string{"d.example.test"}},
		{"issuer/default/roles/web/acme/directory", acme.DNS01, []string{"*.example.test"}},
		{"acme/directory", acme.TLSALPN01, []string{"e.example.test"}},
	} {
		t.Run(strings.ReplaceAll(tt.directory+"+"+tt.kind, "/", "-"), func(t *testing.T) {
			chain, key, _ := s.obtain(s.registered(tt.directory), tt.kind, tt.names...)
			cert, err := x509.ParseCertificate(chain[0])
			if err != nil {
				t.Fatal(err)
			}
			roots := x509.NewCertPool()
			roots.AppendCertsFromPEM(s.server.Do(http.MethodGet, "pki/ca/pem", "", nil).Body)
			for _, name := range tt.names {
				if _, err := cert.Verify(x509.VerifyOptions{Roots: roots, DNSName: strings.Replace(name, "*", "x", 1), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if len(cert.DNSNames) != len(tt.names) || !key.PublicKey.Equal(cert.PublicKey) || len(chain) != 2 {
				t.Errorf("the certificate is for %q, another key %t, with a chain of %d", cert.DNSNames, !key.PublicKey.Equal(cert.PublicKey), len(chain))
			}
		})
	}
}

func TestACMEAccounts(t *testing.T) {
	s := newSite(t, nil)
	ctx := t.Context()
	c := s.registered("acme/directory")
	again := &xacme.Client{Key: c.Key, DirectoryURL: c.DirectoryURL}
	if _, err := again.Register(ctx, &xacme.Account{}, xacme.AcceptTOS); !errors.Is(err, xacme.ErrAccountAlreadyExists) {
		t.Errorf("registering twice: %v", err)
	}
	a, err := c.UpdateReg(ctx, &xacme.Account{Contact: []string{"mailto:new@example.test"}})
	if err != nil || len(a.Contact) != 1 || a.Contact[0] != "mailto:new@example.test" {
		t.Errorf("changing the contact: %v, %v", a, err)
	}
	old := c.Key
	next := newKey(t)
	if err := c.AccountKeyRollover(ctx, next); err != nil {
		t.Fatalf("changing the key: %v", err)
	}
	if _, err := (&xacme.Client{Key: old, DirectoryURL: c.DirectoryURL}).GetReg(ctx, ""); !errors.Is(err, xacme.ErrNoAccount) {
		t.Errorf("the old key still has an account: %v", err)
	}
	fresh := &xacme.Client{Key: next, DirectoryURL: c.DirectoryURL}
	if _, err := fresh.GetReg(ctx, ""); err != nil {
		t.Errorf("the new key has none: %v", err)
	}
	if err := fresh.DeactivateReg(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.AuthorizeOrder(ctx, xacme.DomainIDs("x.example.test")); err == nil {
		t.Error("a deactivated account orders")
	}
}

func TestACMERevocation(t *testing.T) {
	s := newSite(t, nil)
	ctx := t.Context()
	owner := s.registered("acme/directory")
	revoked := func(chain [][]byte) bool {
		cert, err := x509.ParseCertificate(chain[0])
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(s.server.Do(http.MethodGet, "pki/crl/pem", "", nil).Body)
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range list.RevokedCertificateEntries {
			if e.SerialNumber.Cmp(cert.SerialNumber) == 0 {
				return e.ReasonCode == int(xacme.CRLReasonKeyCompromise)
			}
		}
		return false
	}
	chain, key, _ := s.obtain(owner, acme.HTTP01, "own.example.test")
	stranger := s.registered("acme/directory")
	if err := stranger.RevokeCert(ctx, nil, chain[0], xacme.CRLReasonKeyCompromise); err == nil || revoked(chain) {
		t.Errorf("a stranger revokes: %v", err)
	}
	if err := owner.RevokeCert(ctx, nil, chain[0], xacme.CRLReasonKeyCompromise); err != nil || !revoked(chain) {
		t.Errorf("the owner cannot revoke: %v", err)
	}
	chain, key, _ = s.obtain(owner, acme.HTTP01, "key.example.test")
	if err := s.client("acme/directory").RevokeCert(ctx, key, chain[0], xacme.CRLReasonKeyCompromise); err != nil || !revoked(chain) {
		t.Errorf("who has the key cannot revoke: %v", err)
	}
	chain, _, _ = s.obtain(owner, acme.HTTP01, "names.example.test")
	s.obtain(stranger, acme.HTTP01, "names.example.test")
	if err := stranger.RevokeCert(ctx, nil, chain[0], xacme.CRLReasonKeyCompromise); err != nil || !revoked(chain) {
		t.Errorf("who controls the names cannot revoke: %v", err)
	}
}

func TestACMEExternalAccounts(t *testing.T) {
	s := newSite(t, object{"eab_policy": "always-required"})
	ctx := t.Context()
	if _, err := s.client("acme/directory").Register(ctx, &xacme.Account{}, xacme.AcceptTOS); err == nil {
		t.Error("an account without a binding was made")
	}
	eab := s.do("pki/acme/new-eab", object{})
	secret, err := base64.RawURLEncoding.DecodeString(eab["key"].(string))
	if err != nil {
		t.Fatal(err)
	}
	binding := func(key []byte) *xacme.Account {
		return &xacme.Account{ExternalAccountBinding: &xacme.ExternalAccountBinding{KID: eab["id"].(string), Key: key}}
	}
	if _, err := s.client("acme/directory").Register(ctx, binding([]byte("some other key of some length...")), xacme.AcceptTOS); err == nil {
		t.Error("a binding with a wrong key was taken")
	}
	if _, err := s.client("roles/web/acme/directory").Register(ctx, binding(secret), xacme.AcceptTOS); err == nil {
		t.Error("a key of another directory was taken")
	}
	c := s.client("acme/directory")
	if _, err := c.Register(ctx, binding(secret), xacme.AcceptTOS); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client("acme/directory").Register(ctx, binding(secret), xacme.AcceptTOS); err == nil {
		t.Error("a key was used twice")
	}
	s.obtain(c, acme.HTTP01, "eab.example.test")
}

// TestF1_TheRequestIsTheOrder: a certificate request with anything but the
// order's names is refused.
func TestF1_TheRequestIsTheOrder(t *testing.T) {
	s := newSite(t, nil)
	ctx := t.Context()
	c := s.registered("acme/directory")
	order, err := c.AuthorizeOrder(ctx, xacme.DomainIDs("f1.example.test"))
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	name := []string{"f1.example.test"}
	if _, _, err := c.CreateOrderCert(ctx, order.FinalizeURL, csrFor(t, key, &x509.CertificateRequest{DNSNames: name}), true); err == nil {
		t.Fatal("an order that is not ready was fulfilled")
	}
	if err := s.prove(c, order.AuthzURLs[0], acme.HTTP01); err != nil {
		t.Fatal(err)
	}
	spiffe, _ := url.Parse("spiffe://example.test/admin")
	// otherName 1.3.6.1.4.1.311.20.2.3 = "admin" beside the order's name
	other := pkix.Extension{Id: []int{2, 5, 29, 17}, Value: append([]byte{0x30, 0x28, 0x82, 0x0f}, append([]byte("f1.example.test"), 0xa0, 0x15, 0x06, 0x0a, 0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x14, 0x02, 0x03, 0xa0, 0x07, 0x0c, 0x05, 'a', 'd', 'm', 'i', 'n')...)}
	for what, req := range map[string]*x509.CertificateRequest{
		"another name":   {DNSNames: []string{"f1.example.test", "admin.example.test"}},
		"no name":        {},
		"a URI":          {DNSNames: name, URIs: []*url.URL{spiffe}},
		"an email":       {DNSNames: name, EmailAddresses: []string{"admin@example.test"}},
		"an address":     {DNSNames: name, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}},
		"another CN":     {DNSNames: name, Subject: pkix.Name{CommonName: "admin.example.test"}},
		"an IP as DNS":   {DNSNames: []string{"f1.example.test", "127.0.0.1"}},
		"a wildcard":     {DNSNames: []string{"*.f1.example.test"}},
		"an other name":  {ExtraExtensions: []pkix.Extension{other}},
		"the whole zone": {DNSNames: []string{"f1.example.test", "*.example.test"}},
	} {
		_, _, err := c.CreateOrderCert(ctx, order.FinalizeURL, csrFor(t, key, req), true)
		var problem *xacme.Error
		if !errors.As(err, &problem) || problem.ProblemType != "urn:ietf:params:acme:error:badCSR" {
			t.Errorf("%s: %v", what, err)
		}
	}
	account := c.Key.(*ecdsa.PrivateKey)
	if _, _, err := c.CreateOrderCert(ctx, order.FinalizeURL, csrFor(t, account, &x509.CertificateRequest{DNSNames: name}), true); err == nil {
		t.Error("the account's key was certified")
	}
	chain, _, err := c.CreateOrderCert(ctx, order.FinalizeURL, csrFor(t, key, &x509.CertificateRequest{DNSNames: []string{"F1.Example.Test"}}), true)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(chain[0])
	if err != nil || len(cert.DNSNames) != 1 || cert.DNSNames[0] != "f1.example.test" || len(cert.IPAddresses)+len(cert.URIs)+len(cert.EmailAddresses) != 0 {
		t.Errorf("the certificate names %v, %v", cert.DNSNames, err)
	}
}

// TestF5_ChallengesReachNothingPrivate: whatever names resolve to, and wherever
// servers redirect to, no address that is not public is reached unless the
// operator has permitted it.
func TestF5_ChallengesReachNothingPrivate(t *testing.T) {
	s := newSite(t, nil)
	ctx := t.Context()
	refuse := func(c *xacme.Client, name string, set func(*xacme.Challenge)) {
		t.Helper()
		order, err := c.AuthorizeOrder(ctx, xacme.DomainIDs(name))
		if err != nil {
			t.Fatal(err)
		}
		z, err := c.GetAuthorization(ctx, order.AuthzURLs[0])
		if err != nil {
			t.Fatal(err)
		}
		for _, ch := range z.Challenges {
			if ch.Type != acme.HTTP01 {
				continue
			}
			set(ch)
			ch, err := c.Accept(ctx, ch)
			if err != nil {
				t.Fatal(err)
			}
			if ch.Status != xacme.StatusInvalid || !strings.Contains(ch.Error.Error(), "may not reach") {
				t.Errorf("%s: the challenge is %s: %v", name, ch.Status, ch.Error)
			}
		}
	}
	c := s.registered("acme/directory")
	refuse(c, "a.private.test", func(*xacme.Challenge) {})
	redirect := func(to string) func(*xacme.Challenge) {
		return func(ch *xacme.Challenge) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.tokens[c.HTTP01ChallengePath(ch.Token)] = "-> " + to
		}
	}
	refuse(c, "r1.example.test", redirect("http://127.0.0.1:1/"))
	refuse(c, "r2.example.test", redirect("gopher://127.0.0.1/"))
	refuse(c, "r3.example.test", redirect("http://[::ffff:10.0.0.1]/"))
	s.do("pki/config/acme", object{"challenge_permitted_ip_ranges": []string{}})
	refuse(c, "loopback.example.test", func(ch *xacme.Challenge) {
		if err := s.answer(c, "loopback.example.test", ch); err != nil {
			t.Fatal(err)
		}
	})
	s.do("pki/config/acme", object{"challenge_permitted_ip_ranges": "127.0.0.0/8", "challenge_excluded_ip_ranges": "127.0.0.1/32"})
	refuse(c, "excluded.example.test", func(*xacme.Challenge) {})
}

func TestACMEDirectoryPolicies(t *testing.T) {
	s := newSite(t, object{"allowed_roles": "web", "default_directory_policy": "forbid"})
	s.do("pki/roles/other", object{"allow_any_name": true})
	for path, want := range map[string]int{"acme/directory": 403, "roles/web/acme/directory": 200, "roles/other/acme/directory": 403, "roles/none/acme/directory": 403, "issuer/none/acme/directory": 403, "issuer/none/roles/web/acme/directory": 400} {
		if a := s.server.Do(http.MethodGet, "pki/"+path, "", nil); a.Status != want {
			t.Errorf("%s: %s", path, a)
		}
	}
	c := s.registered("roles/web/acme/directory")
	if _, err := c.AuthorizeOrder(t.Context(), xacme.DomainIDs("evil.test")); err == nil || !strings.Contains(err.Error(), "rejectedIdentifier") {
		t.Errorf("a name that the role does not allow: %v", err)
	}
	s.do("pki/config/acme", object{"enabled": false})
	if a := s.server.Do(http.MethodGet, "pki/roles/web/acme/directory", "", nil); a.Status != 404 || len(a.Body) != 0 {
		t.Errorf("while ACME is off: %s", a)
	}
}
