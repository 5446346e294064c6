package httpd

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/cofferhq/coffer/internal/cluster"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/replica"
	"github.com/cofferhq/coffer/internal/store"
)

// hopByHop are headers of a connection, which do not travel on (RFC 9110,
// section 7.6.1).
var hopByHop = []string{"Connection", "Proxy-Connection", "Keep-Alive", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Expect"}

var (
	errUnknownOutcome = fault.New(fault.Unavailable, "the connection to the leader broke while it worked on the request: whether it was carried out is not known; look before you try again")
	errLostRequest    = fault.New(fault.Unavailable, "the leader could not be reached; try again")
)

// forward lets the leader answer. The request is sent again only if it surely
// has not been carried out: no connection came about, or the node that was
// asked said that it does not lead (any more).
func (l *Listener) forward(ctx context.Context, w http.ResponseWriter, r *http.Request, g *gate.Gate, req *gate.Request, body *heldBody) {
	began, again := l.Clock.Now(), body.hold()
	if body.err != nil {
		l.fail(w, r, req.ID, fault.Wrap(readKind(body.err), body.err, "reading the request body: it is too large, or broke off"))
		return
	}
	within, cancel := context.WithTimeout(ctx, replica.LeaderWait)
	defer cancel()
	var tried replica.Leader
	for {
		leader, err := l.Peers.Replica.AwaitLeader(within, tried)
		if err != nil {
			l.fail(w, r, req.ID, err)
			return
		}
		if leader.Self { // since a moment ago
			req.Standby = false
			a := g.Serve(ctx, req)
			l.finish(w, r, req, &a, began)
			return
		}
		res, sent, err := l.Peers.send(ctx, leader, r, req, body)
		switch {
		case err == nil && res.Header.Get(notExecutedHeader) == "":
			l.passOn(ctx, w, r, res)
			return
		case err == nil:
			_ = res.Body.Close() // its text is for people
		case sent:
			l.fail(w, r, req.ID, fault.Wrap(fault.Unavailable, errors.Join(errUnknownOutcome, err), fault.Message(errUnknownOutcome)))
			return
		}
		if !again {
			l.fail(w, r, req.ID, fault.Wrap(fault.Unavailable, err, fault.Message(errLostRequest)))
			return
		}
		tried = leader
	}
}

// send sends a request to a node. sent says that the node may have got it.
func (p *Peers) send(ctx context.Context, leader replica.Leader, r *http.Request, req *gate.Request, body *heldBody) (res *http.Response, sent bool, err error) {
	var wrote atomic.Bool
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaderField: func(string, []string) { wrote.Store(true) },
		WroteHeaders:     func() { wrote.Store(true) },
	})
	out, err := http.NewRequestWithContext(ctx, r.Method, base(leader.ID), nil)
	if err != nil {
		return nil, false, err
	}
	out.URL.Path, out.URL.RawPath, out.URL.RawQuery = r.URL.Path, r.URL.RawPath, r.URL.RawQuery
	out.Header = r.Header.Clone()
	for _, name := range hopByHop {
		out.Header.Del(name)
	}
	for name := range out.Header {
		if strings.HasPrefix(name, ownPrefix) {
			delete(out.Header, name)
		}
	}
	origin{req}.write(out.Header)
	if req.Body != nil {
		out.Body = body.reader()
		out.ContentLength = -1
		if body.held {
			out.ContentLength = int64(len(body.head))
			out.GetBody = func() (io.ReadCloser, error) { return body.reader(), nil }
		}
	}
	res, err = p.http.RoundTrip(out)
	return res, wrote.Load(), err
}

// passOn writes the leader's answer as it came.
func (l *Listener) passOn(ctx context.Context, w http.ResponseWriter, r *http.Request, res *http.Response) {
	defer res.Body.Close()
	if text := res.Header.Get(indexHeader); text != "" {
		// The client may read here next what it has written through here.
		if index, err := replica.ParseIndex(text); err == nil {
			l.Peers.Replica.Settle(ctx, index.At)
		}
	}
	h := w.Header()
	for name, values := range res.Header {
		if !strings.HasPrefix(name, ownPrefix) {
			h[name] = values
		}
	}
	l.statusHeaders(h, res.StatusCode)
	if r.Method == http.MethodHead || bodyless(res.StatusCode) {
		w.WriteHeader(res.StatusCode)
		return
	}
	if res.ContentLength >= 0 {
		h["Content-Length"] = []string{strconv.FormatInt(res.ContentLength, 10)}
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body) // the client is gone, or sees that the answer is cut off
		return
	}
	w.WriteHeader(res.StatusCode)
	out := flusher{w, http.NewResponseController(w)}
	if _, err := io.Copy(out, res.Body); err != nil && ctx.Err() == nil {
		// The client must not take a part for the whole.
		panic(http.ErrAbortHandler)
	}
}

// Forwarded answers requests that other nodes have taken from their clients. It
// must be served to nodes only: it believes what they say of the client.
type Forwarded struct {
	*Listener
	// Confirm is [replica.Consensus.Confirm].
	Confirm func(ctx context.Context) (store.Index, error)
	// Heard takes what a node tells of itself and returns what this one does.
	Heard func(cluster.Info) cluster.Info
}

// ServeHTTP answers a request of another node.
func (f *Forwarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	switch r.URL.Path {
	case indexPath:
		f.tellIndex(w, r)
		return
	case echoPath:
		f.tellSelf(w, r)
		return
	}
	h["Cache-Control"] = noStore
	h["Strict-Transport-Security"] = strictTransport
	h["Content-Type"] = jsonType
	for name, value := range f.Names {
		h[name] = []string{value}
	}
	if r.Header.Get(hopsHeader) != "1" {
		// A request that has come here in more than one step would go round in
		// circles when nodes disagree about who leads.
		f.fail(w, r, "", fault.New(fault.Invalid, "the request was passed on more than once"))
		return
	}
	g := f.Node.Gate()
	if g == nil || !f.Peers.Replica.Leads() {
		h.Set(notExecutedHeader, "1")
		f.fail(w, r, "", replica.ErrNoLeader)
		return
	}
	req, err := f.parseForwarded(r)
	if err != nil {
		f.fail(w, r, r.Header.Get(idHeader), err)
		return
	}
	began := f.Clock.Now()
	a := g.Serve(r.Context(), req)
	if a.Elsewhere {
		h.Set(notExecutedHeader, "1")
		f.fail(w, r, req.ID, replica.ErrNoLeader)
		return
	}
	f.finish(w, r, req, &a, began)
}

// tellIndex tells another node how far the cluster is.
func (f *Forwarded) tellIndex(w http.ResponseWriter, r *http.Request) {
	index, err := f.Confirm(r.Context())
	if err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_, _ = io.WriteString(w, strconv.FormatUint(uint64(index), 10)) // if it gets lost, the node asks again
}

// tellSelf hears how another node is, and tells it how this one is.
func (f *Forwarded) tellSelf(w http.ResponseWriter, r *http.Request) {
	var theirs cluster.Info
	if err := json.NewDecoder(io.LimitReader(r.Body, maxEcho)).Decode(&theirs); err != nil || !f.Peers.Replica.Leads() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	_ = json.NewEncoder(w).Encode(f.Heard(theirs)) // if it gets lost, the node tells again
}
