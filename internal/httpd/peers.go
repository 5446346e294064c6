package httpd

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/cofferhq/coffer/internal/cluster"
	"github.com/cofferhq/coffer/internal/replica"
	"github.com/cofferhq/coffer/internal/store"
)

// Peers are the other nodes of the cluster, as far as requests travel between
// them: HTTP/2 over connections that both ends have authenticated.
type Peers struct {
	Replica *replica.Node
	// Cluster is the cluster's id.
	Cluster func() string
	// APIAddr returns where clients reach a node, "" if that is not known.
	APIAddr func(l replica.Leader) string

	http *http.Transport
}

// Dialer connects to a node by its id. Both ends have authenticated each other
// once it returns.
type Dialer func(ctx context.Context, node string) (net.Conn, error)

const (
	// idleConn is how long a connection to a node is kept without use.
	idleConn = 5 * time.Minute
	// pingAfter is how long a connection may be silent before it is tried, and
	// given up if it does not answer in as much time again.
	pingAfter = 2 * time.Second
	// streams is how many requests a node takes at once from one connection.
	streams = 1000
)

// NewPeers returns the nodes that dial reaches. Replica, Cluster and APIAddr are
// to be set before use.
func NewPeers(dial Dialer) *Peers {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true) // the connection itself is encrypted
	return &Peers{http: &http.Transport{
		Protocols:          protocols,
		DisableCompression: true, // answers are passed on as they are
		IdleConnTimeout:    idleConn,
		HTTP2:              &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			host, _, err := net.SplitHostPort(addr)
			if err != nil {
				return nil, err
			}
			node, err := hex.DecodeString(host)
			if err != nil {
				return nil, err
			}
			return dial(ctx, string(node))
		},
	}}
}

// Close closes idle connections.
func (p *Peers) Close() { p.http.CloseIdleConnections() }

// base is the address of a node in URLs: ids may hold what a host may not.
func base(node string) string { return "http://" + hex.EncodeToString([]byte(node)) }

// NewPeerServer returns the server for connections from other nodes.
func NewPeerServer(h http.Handler, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: h, Protocols: protocols, MaxHeaderBytes: peerHeader, IdleTimeout: 2 * idleConn,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: streams, SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// peerHeader bounds the headers of a forwarded request, in bytes: those of the
// client and its certificates.
const peerHeader = 1 << 20

// indexPath is where a leader tells how far the cluster is.
const indexPath = "/index"

// Confirmed asks the leader how far the cluster is: it is [replica.Config.Ask].
func (p *Peers) Confirmed(ctx context.Context, l replica.Leader) (store.Index, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base(l.ID)+indexPath, nil)
	if err != nil {
		return 0, err
	}
	res, err := p.http.RoundTrip(req)
	if err != nil {
		return 0, fmt.Errorf("asking the leader: %w", err)
	}
	defer res.Body.Close()
	var index store.Index
	if res.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("asking the leader: status %d", res.StatusCode)
	}
	if _, err := fmt.Fscan(res.Body, (*uint64)(&index)); err != nil {
		return 0, fmt.Errorf("asking the leader: reading its answer: %w", err)
	}
	return index, nil
}

const (
	// echoPath is where a node tells the leader how it is.
	echoPath = "/echo"
	// maxEcho bounds what is read of that, in bytes.
	maxEcho = 64 << 10
)

// Echo tells the leader how this node is, and returns how the leader is.
func (p *Peers) Echo(ctx context.Context, l replica.Leader, mine cluster.Info) (theirs cluster.Info, err error) {
	body, err := json.Marshal(mine)
	if err != nil {
		return theirs, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base(l.ID)+echoPath, bytes.NewReader(body))
	if err != nil {
		return theirs, err
	}
	res, err := p.http.RoundTrip(req)
	if err != nil {
		return theirs, fmt.Errorf("telling the leader: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return theirs, fmt.Errorf("telling the leader: status %d", res.StatusCode)
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxEcho)).Decode(&theirs); err != nil {
		return theirs, fmt.Errorf("telling the leader: reading its answer: %w", err)
	}
	return theirs, nil
}
