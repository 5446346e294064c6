package httpd

import (
	"bytes"
	"context"
	"io"
	"net/http"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/replica"
)

// The headers with which clients choose between a quick and a current answer.
const (
	indexHeader        = "X-Vault-Index"                 // of an answer, and of a later request: it must not see less
	inconsistentHeader = "X-Vault-Inconsistent"          // what to do if this node does
	forwardHeader      = "X-Vault-Forward"               // "active-node": let the leader answer
	redirectHeader     = "X-Vault-No-Request-Forwarding" // tell the client where the leader is instead
)

var errBehind = fault.New(fault.Precondition, "required index state not present")

// serveStandby answers a request on a node that follows another: from this
// node's copy of the data if that will do, else through the leader.
func (l *Listener) serveStandby(ctx context.Context, w http.ResponseWriter, r *http.Request, g *gate.Gate, req *gate.Request) {
	began := l.Clock.Now()
	body := &heldBody{from: r.Body}
	if req.Body != nil {
		read := req.Body
		req.Body = func() ([]byte, error) {
			if !body.hold() && req.Standby {
				return nil, gate.ErrElsewhere
			}
			r.Body = body.reader()
			return read()
		}
	} else {
		body.held = true
	}
	here, err := l.mayServe(ctx, r.Header)
	if err != nil {
		l.fail(w, r, req.ID, err)
		return
	}
	if here {
		req.Standby = true
		a := g.Serve(ctx, req)
		if !a.Elsewhere {
			l.finish(w, r, req, &a, began)
			return
		}
	}
	if r.Header.Get(redirectHeader) != "" {
		l.redirect(w, r, req.ID)
		return
	}
	l.forward(ctx, w, r, g, req, body)
}

// mayServe reports whether this node may answer, by what the client asks for.
func (l *Listener) mayServe(ctx context.Context, h http.Header) (bool, error) {
	if h.Get(forwardHeader) == "active-node" {
		return false, nil
	}
	for _, text := range h[indexHeader] {
		index, err := replica.ParseIndex(text)
		if err != nil {
			return false, err
		}
		if index.Cluster != l.Peers.Cluster() || l.Peers.Replica.Await(ctx, index.At) {
			continue // what other clusters have is not for this one to tell
		}
		if h.Get(inconsistentHeader) == "forward-active-node" {
			return false, nil
		}
		return false, errBehind
	}
	return true, nil
}

// redirect tells the client where the leader is.
func (l *Listener) redirect(w http.ResponseWriter, r *http.Request, id string) {
	leader, err := l.Peers.Replica.AwaitLeader(r.Context(), replica.Leader{})
	if err != nil {
		l.fail(w, r, id, err)
		return
	}
	addr := l.Peers.APIAddr(leader)
	if addr == "" || leader.Self {
		l.fail(w, r, id, replica.ErrNoLeader)
		return
	}
	w.Header().Set("Location", addr+r.URL.RequestURI())
	l.write(w, r, http.StatusTemporaryRedirect, nil)
}

// heldBody is a request's body that is read once from the client and, if it is
// not too long, any number of times here.
type heldBody struct {
	from io.Reader
	held bool   // head is all of it
	head []byte // what has been read
	err  error  // what broke reading off
}

// maxHeld is the longest body that is kept to be sent again, in bytes.
const maxHeld = 1 << 20

// hold reads the body and reports whether it was short enough to be kept.
func (b *heldBody) hold() bool {
	if !b.held && b.head == nil {
		b.head, b.err = io.ReadAll(io.LimitReader(b.from, maxHeld+1))
		b.held = len(b.head) <= maxHeld
	}
	return b.held
}

// reader returns the body from its beginning. If it is not held, it can be read
// once.
func (b *heldBody) reader() io.ReadCloser {
	head := io.Reader(bytes.NewReader(b.head))
	switch {
	case b.err != nil:
		head = io.MultiReader(head, broken{b.err})
	case !b.held:
		head = io.MultiReader(head, b.from)
	}
	return io.NopCloser(head)
}

// broken is the end of a body that broke off.
type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }
