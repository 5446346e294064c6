package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/httpd"
)

// port is a listener in service.
type port struct {
	config config.Listener
	net    net.Listener
	http   *http.Server
	cert   atomic.Pointer[tls.Certificate] // nil without TLS
	// clientCAs are those that client certificates must come from, if any.
	clientCAs atomic.Pointer[x509.CertPool]
}

// Run serves until ctx ends, then lets running requests end, seals, and closes
// the storage. A value on reload makes it read certificates and audit files
// anew.
func (s *Server) Run(ctx context.Context, reload <-chan *config.Config) error {
	ports, err := s.listen()
	if err != nil {
		return errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	}
	ended := make(chan error, len(ports)+1)
	for _, p := range ports {
		s.background.Go(func() {
			if err := p.http.Serve(p.net); !errors.Is(err, http.ErrServerClosed) {
				ended <- fmt.Errorf("serving %s: %w", p.config.Address, err)
			}
		})
	}
	tasks, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	endPeers := s.runPeers(tasks)
	s.background.Go(func() {
		if err := s.ceremony.Run(tasks); err != nil && !errors.Is(err, context.Canceled) {
			s.log.Error("a task ended", "task", "seal", "error", err)
		}
	})
	s.background.Go(func() {
		if err := s.runMembership(tasks); err != nil && !errors.Is(err, context.Canceled) {
			s.log.Error("a task ended", "task", "membership", "error", err)
		}
	})
	err = s.start(ctx, ports)
	for running := err == nil; running; {
		select {
		case <-ctx.Done():
			running = false
		case err = <-ended:
			running = false
		case c := <-reload:
			s.reload(c, ports)
		}
	}
	return errors.Join(err, s.stop(context.WithoutCancel(ctx), ports, endPeers, stop))
}

// start brings a development server to work, and says where the server is.
func (s *Server) start(ctx context.Context, ports []*port) error {
	for _, p := range ports {
		s.log.Info("listening", "address", p.net.Addr().String(), "tls", p.cert.Load() != nil)
	}
	if s.config.Dev != nil {
		if err := s.startDev(ctx, ports); err != nil {
			return err
		}
	}
	if s.listening != nil {
		urls := make([]string, len(ports))
		for i, p := range ports {
			urls[i] = p.url()
		}
		s.listening(urls)
	}
	return nil
}

// url is where clients reach a port on this machine.
func (p *port) url() string {
	switch {
	case p.config.Type == "unix":
		return "unix://" + p.config.Address
	case p.cert.Load() != nil:
		return "https://" + p.net.Addr().String()
	}
	return "http://" + p.net.Addr().String()
}

// stop drains: health goes bad, another node takes over the leadership, no new
// connections, running requests end, then the seal closes.
func (s *Server) stop(ctx context.Context, ports []*port, endPeers func(), stopTasks context.CancelFunc) error {
	s.log.Info("stopping: waiting for running requests")
	s.draining.Store(true)
	s.handOver(ctx)
	s.levels.Close() // ends the streams of sys/monitor, which would not end by themselves
	drain, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	for _, p := range ports {
		if err := p.http.Shutdown(drain); err != nil {
			s.log.Warn("some requests did not end in time", "address", p.config.Address, "error", err)
			_ = p.http.Close() // they had their time
		}
	}
	s.ceremony.Seal(ctx)
	stopTasks()
	s.background.Wait()
	err := s.store.Close()
	endPeers() // until now they are told that nothing is done here
	return errors.Join(err, s.closePort())
}

func (s *Server) listen() ([]*port, error) {
	var ports []*port
	for _, c := range s.config.Listeners {
		p, err := s.open(c)
		if err != nil {
			for _, p := range ports {
				_ = p.net.Close() // nothing was served on it
			}
			return nil, err
		}
		ports = append(ports, p)
	}
	return ports, nil
}

func (s *Server) open(c config.Listener) (*port, error) {
	p := &port{config: c}
	handler := httpd.NewListener(c, s, s.log, s.clock, s.inFlight)
	handler.Names, handler.Peers = s.names(), s.peers
	p.http = &http.Server{
		Handler: handler, ReadHeaderTimeout: c.Timeouts.ReadHeader, ReadTimeout: c.Timeouts.Read, WriteTimeout: c.Timeouts.Write,
		IdleTimeout: c.Timeouts.Idle, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), MaxHeaderBytes: maxHeader,
	}
	var err error
	if c.Type == "unix" {
		p.net, err = listenUnix(c)
	} else {
		p.net, err = net.Listen("tcp", c.Address)
	}
	if err != nil {
		return nil, fmt.Errorf("opening listener %s: %w", c.Address, err)
	}
	p.net = proxied(p.net, c.ProxyProtocol)
	if c.Type == "unix" || c.TLS.Disabled {
		return p, nil
	}
	if p.http.TLSConfig, err = p.tlsConfig(); err != nil {
		return nil, errors.Join(err, p.net.Close())
	}
	p.net = tls.NewListener(p.net, p.http.TLSConfig)
	return p, nil
}

// names are the headers that tell which node answers, if the configuration
// wants them.
func (s *Server) names() map[string]string {
	names := map[string]string{}
	if s.config.HostnameHeader {
		if host, err := os.Hostname(); err == nil {
			names["X-Vault-Hostname"] = host
		}
	}
	if s.config.NodeIDHeader && s.raft != nil {
		names["X-Vault-Raft-Node-Id"] = s.nodeID()
	}
	return names
}

// proxied reads the PROXY protocol of load balancers. A connection that may not
// use it is closed or taken for what it is, as the configuration says.
func proxied(l net.Listener, c config.ProxyProtocol) net.Listener {
	if c.Behavior == "" {
		return l
	}
	authorized := func(a net.Addr) bool {
		ap, err := netip.ParseAddrPort(a.String())
		if err != nil {
			return false
		}
		for _, p := range c.Authorized {
			if p.Contains(ap.Addr().Unmap()) {
				return true
			}
		}
		return false
	}
	return &proxyproto.Listener{Listener: l, ReadHeaderTimeout: proxyHeaderTime, ConnPolicy: func(o proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
		switch {
		case c.Behavior == "use_always", authorized(o.Upstream):
			return proxyproto.USE, nil
		case c.Behavior == "deny_unauthorized":
			return proxyproto.REJECT, proxyproto.ErrInvalidUpstream // closes it, whatever it would send
		}
		return proxyproto.IGNORE, nil
	}}
}

// proxyHeaderTime bounds the wait for a PROXY header.
const proxyHeaderTime = 5 * time.Second

// maxHeader bounds a request's headers, in bytes. Parsing them costs more than
// most requests, and it happens before anything is known of who asks.
const maxHeader = 16 << 10

// tlsConfig makes the encryption of a listener. The certificate is looked up for
// every connection, so that a new one is used at once.
func (p *port) tlsConfig() (*tls.Config, error) {
	if err := p.loadCertificate(); err != nil {
		return nil, err
	}
	c := p.config.TLS
	t := &tls.Config{
		MinVersion: c.MinVersion, MaxVersion: c.MaxVersion, CipherSuites: c.CipherSuites, NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return p.cert.Load(), nil },
		// A resumed session would keep a client certificate that is no longer
		// trusted.
		SessionTicketsDisabled: true,
	}
	switch {
	case c.IgnoreClientCerts:
	case c.RequireClientCert:
		t.ClientAuth = tls.RequireAndVerifyClientCert
	default:
		t.ClientAuth = tls.RequestClientCert
	}
	if c.ClientCAFile != "" {
		t.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
			now := t.Clone()
			now.ClientCAs = p.clientCAs.Load()
			return now, nil
		}
		if !c.RequireClientCert && !c.IgnoreClientCerts {
			t.ClientAuth = tls.VerifyClientCertIfGiven
		}
	}
	return t, nil
}

func (p *port) loadCertificate() error {
	cert, err := tls.LoadX509KeyPair(p.config.TLS.CertFile, p.config.TLS.KeyFile)
	if err != nil {
		return fmt.Errorf("reading the certificate of %s: %w", p.config.Address, err)
	}
	if file := p.config.TLS.ClientCAFile; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return fmt.Errorf("reading client CA: %w", err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return fmt.Errorf("client CA %s holds no certificate", file)
		}
		p.clientCAs.Store(pool)
	}
	p.cert.Store(&cert)
	return nil
}

func listenUnix(c config.Listener) (net.Listener, error) {
	// A socket that an earlier run has left behind is in the way; one that
	// somebody listens at is not ours to remove.
	if conn, err := net.DialTimeout("unix", c.Address, time.Second); err == nil {
		return nil, errors.Join(fmt.Errorf("another process listens at %s", c.Address), conn.Close())
	}
	if st, err := os.Lstat(c.Address); err == nil && st.Mode().Type() == os.ModeSocket {
		if err := os.Remove(c.Address); err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("unix", c.Address)
	if err != nil {
		return nil, err
	}
	if err := ownSocket(c); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func ownSocket(c config.Listener) error {
	mode := uint64(0o600) // whatever the process's umask is
	if c.Socket.Mode != "" {
		var err error
		if mode, err = strconv.ParseUint(c.Socket.Mode, 8, 32); err != nil {
			return fmt.Errorf("socket_mode: %w", err)
		}
	}
	if err := os.Chmod(c.Address, os.FileMode(mode)); err != nil {
		return err
	}
	uid, gid := -1, -1
	if c.Socket.User != "" {
		id, err := lookup(c.Socket.User, func(n string) (string, error) {
			u, err := user.Lookup(n)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		})
		if err != nil {
			return err
		}
		uid = id
	}
	if c.Socket.Group != "" {
		id, err := lookup(c.Socket.Group, func(n string) (string, error) {
			g, err := user.LookupGroup(n)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		})
		if err != nil {
			return err
		}
		gid = id
	}
	if uid < 0 && gid < 0 {
		return nil
	}
	return os.Chown(c.Address, uid, gid)
}

// lookup returns a user's or group's number by number or name.
func lookup(name string, find func(string) (string, error)) (int, error) {
	if n, err := strconv.Atoi(name); err == nil {
		return n, nil
	}
	id, err := find(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(id)
}

// reload takes over what of a new configuration can be taken over while
// running. A certificate that cannot be read leaves the old one in service.
func (s *Server) reload(c *config.Config, ports []*port) {
	for i, p := range ports {
		if p.cert.Load() == nil {
			continue
		}
		if c != nil && i < len(c.Listeners) && c.Listeners[i].Address == p.config.Address {
			next := c.Listeners[i].TLS
			p.config.TLS.CertFile, p.config.TLS.KeyFile, p.config.TLS.ClientCAFile = next.CertFile, next.KeyFile, next.ClientCAFile
		}
		if err := p.loadCertificate(); err != nil {
			s.log.Error("keeping the old certificate", "error", err)
			continue
		}
		s.log.Info("certificate read anew", "address", p.config.Address)
	}
	if h := s.house.Load(); h != nil {
		h.audit.Reopen()
		s.log.Info("audit files opened anew")
	}
	if c == nil {
		return
	}
	changed, restart := config.Reloadable(s.config, c)
	if len(changed) > 0 || len(restart) > 0 {
		s.log.Info("configuration read anew", "taken", changed, "needs_restart", restart)
	}
}
