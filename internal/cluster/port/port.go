package port

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
)

// Protocol is what a connection is for, as it is agreed by ALPN.
type Protocol string

// The protocols of this version.
const (
	// Raft carries the replicated log.
	Raft Protocol = "coffer-raft"
	// Calls carries what nodes ask each other about membership: HTTP/1.1.
	Calls Protocol = "coffer-calls"
	// Forward carries clients' requests to the leader: HTTP/2.
	Forward Protocol = "coffer-forward"
)

func protocols() []Protocol { return []Protocol{Raft, Calls, Forward} }

// Config is what a [Port] is made of.
type Config struct {
	// Listener is where other nodes connect. It belongs to the port then.
	Listener net.Listener
	Identity *Identity
	// Admit says whether a node with a valid certificate, for the key with that
	// fingerprint, may use a protocol. It is asked on both sides, at every
	// connection.
	Admit func(p Protocol, id, key string) error
	Clock clock.Clock
	Log   *slog.Logger
	// Dial connects to an address. Nil is TCP.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// Port is the cluster port of this node.
type Port struct {
	config    Config
	listeners map[Protocol]*listener
	closed    chan struct{}
	once      sync.Once
	tasks     sync.WaitGroup

	mu    sync.Mutex
	conns map[*Conn]struct{} // guarded by mu
}

// New returns a port that listens until it is closed.
func New(c Config) *Port {
	if c.Dial == nil {
		d := &net.Dialer{KeepAlive: keepAlive}
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	}
	p := &Port{config: c, listeners: map[Protocol]*listener{}, closed: make(chan struct{}), conns: map[*Conn]struct{}{}}
	for _, name := range protocols() {
		p.listeners[name] = &listener{port: p, waiting: make(chan net.Conn), closed: make(chan struct{})}
	}
	p.tasks.Go(p.accept)
	return p
}

const (
	keepAlive = 5 * time.Second
	// handshakeTime bounds how long a stranger may take to say who it is.
	handshakeTime = 10 * time.Second
	// maxHandshakes bounds how many may be at it.
	maxHandshakes = 256
)

// Conn is a connection to another node.
type Conn struct {
	net.Conn // the encrypted connection
	// Peer is the id of the node at the other end, Key its key's fingerprint.
	Peer, Key string
	// Protocol is what it is for.
	Protocol Protocol

	port *Port
	once sync.Once
}

// Close implements [net.Conn].
func (c *Conn) Close() error {
	c.once.Do(func() {
		c.port.mu.Lock()
		defer c.port.mu.Unlock()
		delete(c.port.conns, c)
	})
	return c.Conn.Close()
}

// accept takes connections until the port is closed.
func (p *Port) accept() {
	busy := make(chan struct{}, maxHandshakes)
	for {
		raw, err := p.config.Listener.Accept()
		if err != nil {
			select {
			case <-p.closed:
				return
			case <-p.config.Clock.After(acceptPause):
				p.config.Log.Warn("accepting a connection at the cluster port", "error", err)
				continue
			}
		}
		select {
		case busy <- struct{}{}:
		default: // so many strangers at once are not nodes
			_ = raw.Close()
			continue
		}
		p.tasks.Go(func() {
			c, err := p.greet(raw)
			<-busy
			if err != nil {
				p.config.Log.Debug("refusing a connection at the cluster port", "remote", raw.RemoteAddr().String(), "error", err)
				_ = raw.Close()
				return
			}
			p.listeners[c.Protocol].deliver(c)
		})
	}
}

// acceptPause is how long to wait when connections cannot be accepted: there
// may be too many open.
const acceptPause = 50 * time.Millisecond

// greet makes the handshake with who has connected.
func (p *Port) greet(raw net.Conn) (*Conn, error) {
	cert, pool, err := p.config.Identity.present()
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(p.listeners))
	for _, name := range protocols() {
		names = append(names, string(name))
	}
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime) // nobody waits for it
	defer cancel()
	conn := tls.Server(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert}, NextProtos: names,
		ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true,
		VerifyConnection: func(s tls.ConnectionState) error { _, _, err := p.verify(s, pool); return err },
	})
	return p.shake(ctx, conn, pool, "")
}

// Dial connects to the node id at address. It fails if another node answers.
func (p *Port) Dial(ctx context.Context, protocol Protocol, id, address string) (*Conn, error) {
	cert, pool, err := p.config.Identity.present()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	raw, err := p.config.Dial(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("connecting to node %q: %w", id, err)
	}
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{*cert}, NextProtos: []string{string(protocol)},
		// The name is not in question: verify asks for the node's id.
		InsecureSkipVerify: true,
		VerifyConnection:   func(s tls.ConnectionState) error { _, _, err := p.verify(s, pool); return err },
	})
	c, err := p.shake(ctx, conn, pool, id)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("connecting to node %q: %w", id, err), raw.Close())
	}
	return c, nil
}

// shake makes the handshake and registers the connection. want is the node that
// must be at the other end, "" for any.
func (p *Port) shake(ctx context.Context, conn *tls.Conn, pool *x509.CertPool, want string) (*Conn, error) {
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	state := conn.ConnectionState()
	id, key, err := p.verify(state, pool)
	if err != nil {
		return nil, err
	}
	if want != "" && id != want {
		return nil, fmt.Errorf("node %q is there instead", id)
	}
	c := &Conn{Conn: conn, Peer: id, Key: key, Protocol: Protocol(state.NegotiatedProtocol), port: p}
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.closed:
		return nil, net.ErrClosed
	default:
	}
	p.conns[c] = struct{}{}
	return c, nil
}

// verify checks who is at the other end, and returns its id and key.
func (p *Port) verify(s tls.ConnectionState, pool *x509.CertPool) (id, key string, err error) {
	protocol := Protocol(s.NegotiatedProtocol)
	if _, ok := p.listeners[protocol]; !ok {
		return "", "", fmt.Errorf("no protocol was agreed on, but %q", s.NegotiatedProtocol)
	}
	if len(s.PeerCertificates) == 0 {
		return "", "", errors.New("no certificate was shown")
	}
	leaf := s.PeerCertificates[0]
	// At a time when it was valid: that a node was off for long, or that a clock
	// has jumped, is no reason to lock it out. Admit is asked instead.
	at := p.config.Clock.Now()
	if at.Before(leaf.NotBefore) {
		at = leaf.NotBefore
	} else if at.After(leaf.NotAfter) {
		at = leaf.NotAfter
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return "", "", err
	}
	if id, err = nodeOf(leaf); err != nil {
		return "", "", err
	}
	key = fingerprint(leaf.RawSubjectPublicKeyInfo)
	if id == p.config.Identity.ID() {
		return "", "", errors.New("a node with this one's own id is there")
	}
	return id, key, p.config.Admit(protocol, id, key)
}

// Recheck asks of every open connection again whether its peer is admitted, and
// closes those that are not: after somebody was removed.
func (p *Port) Recheck() {
	p.mu.Lock()
	var out []*Conn
	for c := range p.conns {
		if p.config.Admit(c.Protocol, c.Peer, c.Key) != nil {
			out = append(out, c)
		}
	}
	p.mu.Unlock()
	for _, c := range out {
		_ = c.Close()
	}
}

// Listen returns the listener of a protocol. Its connections are of type
// [*Conn]. Closing it does not close the port.
func (p *Port) Listen(protocol Protocol) net.Listener { return p.listeners[protocol] }

// Close ends the port and all its connections.
func (p *Port) Close() error {
	var err error
	p.once.Do(func() {
		close(p.closed)
		err = p.config.Listener.Close()
		p.mu.Lock()
		open := make([]*Conn, 0, len(p.conns))
		for c := range p.conns {
			open = append(open, c)
		}
		p.mu.Unlock()
		for _, c := range open {
			_ = c.Close()
		}
	})
	p.tasks.Wait()
	return err
}

// listener has the connections of one protocol.
type listener struct {
	port    *Port
	waiting chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// deliver hands a connection to who accepts, or closes it when nobody will.
func (l *listener) deliver(c *Conn) {
	select {
	case l.waiting <- c:
	case <-l.closed:
		_ = c.Close()
	case <-l.port.closed:
		_ = c.Close()
	case <-l.port.config.Clock.After(handshakeTime): // nobody serves this protocol
		_ = c.Close()
	}
}

// Accept implements [net.Listener].
func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.waiting:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	case <-l.port.closed:
		return nil, net.ErrClosed
	}
}

// Addr implements [net.Listener].
func (l *listener) Addr() net.Addr { return l.port.config.Listener.Addr() }

// Close implements [net.Listener].
func (l *listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Stream is the port as the replicated log sees it.
type Stream struct {
	net.Listener
	port *Port
}

// Stream returns the listener and dialler of the replicated log.
func (p *Port) Stream() Stream { return Stream{p.Listen(Raft), p} }

// DialNode connects to the replicated log of the node id at address.
func (s Stream) DialNode(ctx context.Context, id, address string) (net.Conn, error) {
	return s.port.Dial(ctx, Raft, id, address)
}
