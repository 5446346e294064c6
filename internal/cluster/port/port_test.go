package port_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/cluster/port"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// node is a node with a port.
type node struct {
	*port.Port
	identity *port.Identity
	dir      string
	address  string
	clock    *clock.Fake

	mu      sync.Mutex
	refused map[string]bool // guarded by mu; by id
}

func (n *node) admit(_ port.Protocol, id, _ string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refused[id] {
		return errors.New("not a member")
	}
	return nil
}

func (n *node) refuse(id string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refused[id] = true
}

func authority(t *testing.T) port.Authority {
	t.Helper()
	a, err := port.NewAuthority("test", start)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// enrol makes a node with a certificate of the authority, that trusts some.
func enrol(t *testing.T, id string, issuer port.Authority, trust ...port.Authority) *node {
	t.Helper()
	n := &node{dir: filepath.Join(t.TempDir(), "tls"), clock: clock.NewFake(start), refused: map[string]bool{}}
	var err error
	if n.identity, err = port.OpenIdentity(n.dir, id); err != nil {
		t.Fatal(err)
	}
	certify(t, n.identity, issuer, start, trust...)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.address = l.Addr().String()
	n.Port = port.New(port.Config{Listener: l, Identity: n.identity, Admit: n.admit, Clock: n.clock, Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(func() { _ = n.Close() })
	return n
}

func certify(t *testing.T, i *port.Identity, issuer port.Authority, now time.Time, trust ...port.Authority) {
	t.Helper()
	request, err := i.Request()
	if err != nil {
		t.Fatal(err)
	}
	cert, err := issuer.Issue(request, i.ID(), now)
	if err != nil {
		t.Fatal(err)
	}
	if err := i.Install(cert, bundle(append(trust, issuer)...)); err != nil {
		t.Fatal(err)
	}
}

func bundle(all ...port.Authority) port.Bundle {
	var b port.Bundle
	for _, a := range all {
		b = append(b, a.Certificate)
	}
	return b
}

// talk sends a word over a connection and reports whether it arrived, on the
// listener of the protocol, from the node that dials.
func talk(from, to *node, p port.Protocol, want string) error {
	c, err := from.Dial(context.Background(), p, want, to.address)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil { //nolint:forbidigo // a real connection
		return err
	}
	heard := make(chan error, 1)
	go func() {
		other, err := to.Listen(p).Accept()
		if err != nil {
			heard <- err
			return
		}
		defer other.Close()
		if got := other.(*port.Conn); got.Peer != from.identity.ID() || got.Protocol != p {
			heard <- errors.New("heard " + got.Peer + " over " + string(got.Protocol))
			return
		}
		_, err = other.Write([]byte("hello"))
		heard <- err
	}()
	word := make([]byte, 5)
	if _, err := io.ReadFull(c, word); err != nil {
		_ = to.Listen(p).Close() // ends who waits for what was refused
		<-heard
		return err
	}
	return <-heard
}

func TestNodesTalkOverTheProtocolTheyAskFor(t *testing.T) {
	ca := authority(t)
	a, b := enrol(t, "a", ca), enrol(t, "b", ca)
	for _, p := range []port.Protocol{port.Raft, port.Calls, port.Forward} {
		if err := talk(a, b, p, "b"); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	ca, other := authority(t), authority(t)
	for name, test := range map[string]struct {
		from, to func() *node
		want     string
	}{
		"another cluster":          {func() *node { return enrol(t, "a", other) }, func() *node { return enrol(t, "b", ca) }, "b"},
		"a node that trusts more":  {func() *node { return enrol(t, "a", other, ca) }, func() *node { return enrol(t, "b", ca) }, "b"},
		"another node than wanted": {func() *node { return enrol(t, "a", ca) }, func() *node { return enrol(t, "b", ca) }, "c"},
		"a node with the own id":   {func() *node { return enrol(t, "a", ca) }, func() *node { return enrol(t, "a", ca) }, "a"},
		"a protocol of tomorrow":   {func() *node { return enrol(t, "a", ca) }, func() *node { return enrol(t, "b", ca) }, "b"},
		"who was removed": {func() *node { return enrol(t, "a", ca) }, func() *node {
			b := enrol(t, "b", ca)
			b.refuse("a")
			return b
		}, "b"},
		"a node that removed the other": {func() *node {
			a := enrol(t, "a", ca)
			a.refuse("b")
			return a
		}, func() *node { return enrol(t, "b", ca) }, "b"},
	} {
		t.Run(name, func(t *testing.T) {
			p := port.Raft
			if name == "a protocol of tomorrow" {
				p = "coffer-tomorrow/9"
			}
			from, to := test.from(), test.to()
			if p != port.Raft {
				if c, err := from.Dial(t.Context(), p, test.want, to.address); err == nil {
					_ = c.Close()
					t.Error("it was accepted")
				}
				return
			}
			if err := talk(from, to, p, test.want); err == nil {
				t.Error("it was accepted")
			}
		})
	}
}

func TestPlainClientsAreRefused(t *testing.T) {
	b := enrol(t, "b", authority(t))
	for name, config := range map[string]*tls.Config{
		"without a certificate": {InsecureSkipVerify: true, NextProtos: []string{string(port.Raft)}},
		"with TLS 1.2":          {InsecureSkipVerify: true, NextProtos: []string{string(port.Raft)}, MaxVersion: tls.VersionTLS12},
		"without a protocol":    {InsecureSkipVerify: true},
	} {
		c, err := tls.Dial("tcp", b.address, config)
		if err == nil {
			_, err = io.ReadFull(c, make([]byte, 1))
			_ = c.Close()
		}
		if err == nil {
			t.Errorf("%s: served", name)
		}
	}
	c, err := net.Dial("tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
	// Others are still served.
	if err := talk(enrolWith(t, b, "a"), b, port.Raft, "b"); err == nil {
		t.Error("a node of another authority was served")
	}
}

// enrolWith makes a node of a cluster of its own.
func enrolWith(t *testing.T, _ *node, id string) *node { return enrol(t, id, authority(t)) }

func TestClocksMayBeApart(t *testing.T) {
	ca := authority(t)
	a, b := enrol(t, "a", ca), enrol(t, "b", ca)
	a.clock.Advance(-3 * time.Hour)
	b.clock.Advance(3 * time.Hour)
	if err := talk(a, b, port.Raft, "b"); err != nil {
		t.Errorf("six hours apart: %v", err)
	}
	b.clock.Advance(2 * port.NodeLife)
	if err := talk(a, b, port.Raft, "b"); err != nil {
		t.Errorf("after a jump of two years: %v", err)
	}
}

func TestRecheckEndsConnectionsOfTheRemoved(t *testing.T) {
	ca := authority(t)
	a, b := enrol(t, "a", ca), enrol(t, "b", ca)
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := b.Listen(port.Raft).Accept()
		accepted <- c
	}()
	c, err := a.Dial(t.Context(), port.Raft, "b", b.address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	other := <-accepted
	b.Recheck()
	if _, err := other.Write([]byte("x")); err != nil {
		t.Errorf("a member's connection was ended: %v", err)
	}
	b.refuse("a")
	b.Recheck()
	if _, err := other.Write([]byte("x")); err == nil {
		t.Error("the connection goes on")
	}
}

func TestIdentityOutlivesRestarts(t *testing.T) {
	ca := authority(t)
	n := enrol(t, "a", ca)
	again, err := port.OpenIdentity(n.dir, "a")
	if err != nil {
		t.Fatal(err)
	}
	first, second := n.identity.State(), again.State()
	if first.Issuer != ca.Fingerprint() || second.Issuer != first.Issuer || !second.Issued.Equal(start) {
		t.Errorf("before %+v, after %+v", first, second)
	}
	if _, err := port.OpenIdentity(n.dir, "b"); err == nil {
		t.Error("another node's certificate was taken over")
	}
	for _, name := range []string{"node.key", "node.pem", "ca.pem"} {
		info, err := os.Stat(filepath.Join(n.dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestInstallRefusesWhatDoesNotFit(t *testing.T) {
	ca, other := authority(t), authority(t)
	n := enrol(t, "a", ca)
	stranger, err := port.OpenIdentity(t.TempDir(), "a")
	if err != nil {
		t.Fatal(err)
	}
	request, err := stranger.Request()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := ca.Issue(request, "a", start)
	if err != nil {
		t.Fatal(err)
	}
	request, err = n.identity.Request()
	if err != nil {
		t.Fatal(err)
	}
	misnamed, err := ca.Issue(request, "b", start)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		certificate []byte
		trust       port.Bundle
	}{
		"a certificate for another key":    {foreign, bundle(ca)},
		"a certificate for another node":   {misnamed, bundle(ca)},
		"trust without the issuer":         {nil, bundle(other)},
		"no trust":                         {nil, nil},
		"what is no certificate":           {[]byte("x"), bundle(ca)},
		"an authority that cannot be read": {nil, port.Bundle{[]byte("x")}},
	} {
		if err := n.identity.Install(test.certificate, test.trust); err == nil {
			t.Errorf("%s was installed", name)
		}
	}
	if err := stranger.Install(nil, bundle(ca)); err == nil {
		t.Error("a node without a certificate trusts somebody")
	}
	if s := n.identity.State(); s.Issuer != ca.Fingerprint() || len(s.Trust) != 1 {
		t.Errorf("the refusals have changed the identity: %+v", s)
	}
}

// TestAuthoritiesOverlap walks through a rotation: at each step every node can
// talk to every other.
func TestAuthoritiesOverlap(t *testing.T) {
	old, next := authority(t), authority(t)
	a, b := enrol(t, "a", old), enrol(t, "b", old)
	both := func(step string) {
		t.Helper()
		for _, pair := range [][2]*node{{a, b}, {b, a}} {
			if err := talk(pair[0], pair[1], port.Calls, pair[1].identity.ID()); err != nil {
				t.Errorf("%s: %s to %s: %v", step, pair[0].identity.ID(), pair[1].identity.ID(), err)
			}
		}
	}
	install := func(n *node, trust port.Bundle) {
		t.Helper()
		if err := n.identity.Install(nil, trust); err != nil {
			t.Fatal(err)
		}
	}
	install(a, bundle(next, old))
	both("one trusts the new")
	install(b, bundle(next, old))
	certify(t, a.identity, next, start, old)
	both("one has a certificate of the new")
	certify(t, b.identity, next, start, old)
	install(a, bundle(next))
	both("one trusts the new alone")
	install(b, bundle(next))
	both("the old is gone")
}

func FuzzRequest(f *testing.F) {
	i, err := port.OpenIdentity(f.TempDir(), "a")
	if err != nil {
		f.Fatal(err)
	}
	request, err := i.Request()
	if err != nil {
		f.Fatal(err)
	}
	ca, err := port.NewAuthority("test", start)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, der []byte) {
		key, err := port.RequestKey(der)
		cert, issueErr := ca.Issue(der, "n", start)
		if (err == nil) != (issueErr == nil) {
			t.Fatalf("key: %v, issuing: %v", err, issueErr)
		}
		if err != nil {
			return
		}
		parsed, err := x509.ParseCertificate(cert)
		if err != nil || parsed.IsCA || key == "" {
			t.Fatalf("issued %v, %v", parsed, err)
		}
	})
}
