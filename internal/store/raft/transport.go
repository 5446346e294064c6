package raft

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/raft"
)

// Network carries the messages between the nodes. Who is at the other end of a
// connection was made sure of on both sides before it is handed out.
type Network interface {
	net.Listener
	// DialNode connects to the node id at address, and fails if another answers
	// there: what one node has written must never count for another.
	DialNode(ctx context.Context, id, address string) (net.Conn, error)
}

// stream is a [Network] as raft's transport wants it. Its addresses are
// id@address.
type stream struct{ Network }

var _ raft.StreamLayer = stream{}

// Dial implements [raft.StreamLayer].
func (s stream) Dial(target raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, address, ok := strings.Cut(string(target), "@")
	if !ok {
		return nil, fmt.Errorf("dialling %q: no node id", target)
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout) // raft gives no context
	defer cancel()
	return s.DialNode(ctx, id, address)
}

// transport is raft's transport with three additions: it names the node that a
// message is for, it can call for an election on this node, and it falls silent
// while the node must not lead. Silence is how a leader whose disk hangs loses
// office: raft's own goroutine is held up by the disk and cannot step down, but
// its heartbeats would go on.
type transport struct {
	raft.Transport
	id      raft.ServerID
	address raft.ServerAddress
	silent  func() error
	consume chan raft.RPC
	closed  chan struct{}
	ended   chan struct{} // closed when nothing is passed on any more
}

var (
	_ raft.Transport   = (*transport)(nil)
	_ raft.WithPreVote = (*transport)(nil)
	_ raft.WithClose   = (*transport)(nil)
)

// rpcTimeout bounds a message and its answer. An election must not wait longer
// than this for a node that does not answer.
const rpcTimeout = 5 * time.Second

// newTransport takes over network, or makes a transport to nobody if it is nil.
// silent says why this node must not be heard as a leader, or gives nil.
func newTransport(id raft.ServerID, address string, network Network, logger *quiet, silent func() error) *transport {
	t := &transport{
		id: id, address: raft.ServerAddress(address), silent: silent,
		consume: make(chan raft.RPC), closed: make(chan struct{}), ended: make(chan struct{}),
	}
	if network == nil {
		_, t.Transport = raft.NewInmemTransport(raft.ServerAddress(id))
	} else {
		t.Transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: stream{network}, MaxPool: 4, Timeout: rpcTimeout, Logger: logger, MsgpackUseNewTimeFormat: true,
		})
	}
	go t.pass()
	return t
}

// pass hands on what other nodes send, until the transport closes.
func (t *transport) pass() {
	defer close(t.ended)
	for {
		select {
		case rpc := <-t.Transport.Consumer():
			select {
			case t.consume <- rpc:
			case <-t.closed:
				return
			}
		case <-t.closed:
			return
		}
	}
}

// elect makes this node stand for election at once, rather than when its
// patience with a leader that does not exist has ended.
func (t *transport) elect(ctx context.Context) error {
	answer := make(chan raft.RPCResponse, 1)
	rpc := raft.RPC{
		Command:  &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(t.id)}},
		RespChan: answer,
	}
	select {
	case t.consume <- rpc:
	case <-t.closed:
		return raft.ErrTransportShutdown
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case a := <-answer:
		return a.Error
	case <-t.closed:
		return raft.ErrTransportShutdown
	case <-ctx.Done():
		return ctx.Err()
	}
}

func named(id raft.ServerID, target raft.ServerAddress) raft.ServerAddress {
	return raft.ServerAddress(string(id) + "@" + string(target))
}

// Consumer implements [raft.Transport].
func (t *transport) Consumer() <-chan raft.RPC { return t.consume }

// LocalAddr implements [raft.Transport]: the address that others know.
func (t *transport) LocalAddr() raft.ServerAddress { return t.address }

// AppendEntries implements [raft.Transport].
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if err := t.silent(); err != nil {
		return err
	}
	return t.Transport.AppendEntries(id, named(id, target), args, resp)
}

// AppendEntriesPipeline implements [raft.Transport].
func (t *transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	p, err := t.Transport.AppendEntriesPipeline(id, named(id, target))
	if err != nil {
		return nil, err
	}
	return pipeline{p, t.silent}, nil
}

// pipeline is an append pipeline that falls silent with its transport.
type pipeline struct {
	raft.AppendPipeline
	silent func() error
}

// AppendEntries implements [raft.AppendPipeline].
func (p pipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if err := p.silent(); err != nil {
		return nil, err
	}
	return p.AppendPipeline.AppendEntries(args, resp)
}

// RequestVote implements [raft.Transport].
func (t *transport) RequestVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestVoteRequest, resp *raft.RequestVoteResponse) error {
	if err := t.silent(); err != nil {
		return err
	}
	return t.Transport.RequestVote(id, named(id, target), args, resp)
}

// RequestPreVote implements [raft.WithPreVote].
func (t *transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, args *raft.RequestPreVoteRequest, resp *raft.RequestPreVoteResponse) error {
	if err := t.silent(); err != nil {
		return err
	}
	p, ok := t.Transport.(raft.WithPreVote)
	if !ok {
		return errors.New("the transport knows no pre-vote")
	}
	return p.RequestPreVote(id, named(id, target), args, resp)
}

// InstallSnapshot implements [raft.Transport].
func (t *transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, args *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if err := t.silent(); err != nil {
		return err
	}
	return t.Transport.InstallSnapshot(id, named(id, target), args, resp, data)
}

// TimeoutNow implements [raft.Transport].
func (t *transport) TimeoutNow(id raft.ServerID, target raft.ServerAddress, args *raft.TimeoutNowRequest, resp *raft.TimeoutNowResponse) error {
	return t.Transport.TimeoutNow(id, named(id, target), args, resp)
}

// Close implements [raft.WithClose].
func (t *transport) Close() error {
	close(t.closed)
	<-t.ended
	if c, ok := t.Transport.(raft.WithClose); ok {
		return c.Close()
	}
	return nil
}
