package httpd

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/config"
	"github.com/cofferhq/coffer/internal/envelope"
	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/gate"
	"github.com/cofferhq/coffer/internal/namespace"
	"github.com/cofferhq/coffer/internal/replica"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

// Node is the server behind the listeners.
type Node interface {
	// Gate is nil while the server is sealed.
	Gate() *gate.Gate
	// Always are the endpoints of sys/ that answer while it is sealed.
	Always() *route.Table
	// Observe counts an answered request.
	Observe(mountType, operation string, status int, took time.Duration)
	// CORS decides about a request from a page of another origin.
	CORS() CORS
}

// CORS is what pages of other origins may do.
type CORS struct {
	Enabled          bool
	Origins          []string
	Headers          []string
	AllowCredentials bool
}

// Listener answers at one address.
type Listener struct {
	Config config.Listener
	Node   Node
	Log    *slog.Logger
	Clock  clock.Clock
	// Names are headers that tell which node answers.
	Names map[string]string
	// InFlight, if not nil, is told of every request.
	InFlight *InFlight
	// Peers, if not nil, are the other nodes of the cluster.
	Peers *Peers

	limits wire.Limits
}

// NewListener returns the handler of a listener.
func NewListener(c config.Listener, n Node, log *slog.Logger, clk clock.Clock, inFlight *InFlight) *Listener {
	return &Listener{Config: c, Node: n, Log: log, Clock: clk, InFlight: inFlight, limits: JSONLimits(c.Limits)}
}

// JSONLimits turns a listener's limits into those of its JSON reader.
func JSONLimits(l config.Limits) wire.Limits {
	set := func(dst *int, v int64) {
		if v > 0 {
			*dst = int(v)
		} else if v < 0 {
			*dst = 1 << 31
		}
	}
	limits := wire.DefaultLimits
	set(&limits.Depth, int64(l.JSONDepth))
	set(&limits.String, l.JSONStringLength)
	set(&limits.Keys, int64(l.JSONObjectEntries))
	set(&limits.Elements, int64(l.JSONArrayElements))
	set(&limits.Values, int64(l.JSONStrings))
	return limits
}

// ServeHTTP answers a request.
func (l *Listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Cache-Control"] = noStore
	h["Strict-Transport-Security"] = strictTransport
	h["Content-Type"] = jsonType
	for name, value := range l.Names {
		h[name] = []string{value}
	}
	l.customHeaders(h, "default")
	if first(r.Header, "Origin") != "" && !l.cors(w, r) {
		return
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // it never fails
	id := wire.UUID(random)
	if !strings.HasPrefix(r.URL.Path, "/v1/") {
		l.fail(w, r, id, fault.New(fault.NotFound, ""))
		return
	}
	whole := r.Body
	// A body that says it is short enough is: net/http reads no more of it.
	if n := l.Config.Limits.RequestSize; n > 0 && r.Body != nil && r.Body != http.NoBody && (r.ContentLength < 0 || r.ContentLength > n) {
		// net/http answers before a large body has arrived, but only if it
		// finds its own reader in its request: the limit goes on a copy.
		r = r.WithContext(r.Context())
		r.Body = http.MaxBytesReader(w, r.Body, n)
	}
	in := &inbound{listener: l, whole: whole, writer: w}
	in.flight = flying{id: id, http: r, began: l.Clock.Now()}
	ctx := r.Context()
	if d := l.Config.Limits.RequestDuration; d > 0 {
		in.deadline.start(ctx, l.Clock, in.flight.began, d)
		defer in.deadline.finish()
		ctx = &in.deadline
	}
	if l.InFlight != nil {
		l.InFlight.add(&in.flight)
		defer l.InFlight.remove(&in.flight)
	}
	l.serve(ctx, w, in)
}

// inbound is what the listener keeps of a request while it is answered, in one
// piece of memory.
type inbound struct {
	listener *Listener
	request  gate.Request
	flight   flying
	deadline deadline
	// whole is the body without its limit, writer where the answer goes.
	whole  io.Reader
	writer http.ResponseWriter
}

var (
	noStore         = []string{"no-store"}
	strictTransport = []string{"max-age=31536000; includeSubDomains"}
	jsonType        = []string{"application/json"}
)

func (l *Listener) serve(ctx context.Context, w http.ResponseWriter, in *inbound) {
	r, id := in.flight.http, in.flight.id
	if r.Method == http.MethodOptions {
		l.fail(w, r, id, fault.New(fault.Invalid, "OPTIONS is answered for cross-origin requests only"))
		return
	}
	req := &in.request
	err := in.parse()
	if err != nil {
		l.fail(w, r, id, err)
		return
	}
	if !l.serves(req.Path) {
		l.fail(w, r, id, fault.New(fault.NotFound, ""))
		return
	}
	if path, ok := strings.CutPrefix(req.Path, "sys/"); ok {
		var m route.Match
		if e, _ := l.Node.Always().Find(req.Verb, path, &m); e != nil && e.Sealed {
			l.serveAlways(ctx, w, r, req, e, &m, path)
			return
		}
	}
	g := l.Node.Gate()
	switch {
	case g == nil && req.Head:
		l.fail(w, r, id, fault.New(fault.Unsupported, ""))
		return
	case g == nil:
		l.fail(w, r, id, fault.New(fault.Sealed, "Vault is sealed"))
		return
	}
	if l.Peers != nil && !l.Peers.Replica.Leads() {
		l.serveStandby(ctx, w, r, g, req)
		return
	}
	a := g.Serve(ctx, req)
	if a.Elsewhere { // this node is handing over; nothing has been read of the body
		l.serveStandby(ctx, w, r, g, req)
		return
	}
	l.finish(w, r, req, &a, in.flight.began)
}

// finish writes the gate's answer.
func (l *Listener) finish(w http.ResponseWriter, r *http.Request, req *gate.Request, a *gate.Answer, began time.Time) {
	for name, value := range a.Headers {
		w.Header().Set(name, value)
	}
	if a.Index != 0 && l.Peers != nil {
		w.Header()[indexHeader] = []string{replica.Index{Cluster: l.Peers.Cluster(), At: a.Index}.String()}
	}
	status := 0
	if a.Err != nil {
		status = l.fail(w, r, req.ID, a.Err)
	} else {
		status = l.answer(w, r, req.ID, a)
	}
	l.Node.Observe(a.MountType, req.Verb.String(), status, l.Clock.Now().Sub(began))
}

// serveAlways answers an endpoint that works while sealed.
func (l *Listener) serveAlways(ctx context.Context, w http.ResponseWriter, r *http.Request, req *gate.Request, e *route.Endpoint, m *route.Match, path string) {
	if err := l.always(ctx, req.Within, e); err != nil {
		l.fail(w, r, req.ID, err)
		return
	}
	c := &route.Call{ID: req.ID, Verb: req.Verb, Path: path, Full: req.Path, Query: req.Query, Remote: req.Remote, RemotePort: req.RemotePort, TLS: req.TLS, Now: l.Clock.Now(), Log: l.Log, Header: func(string) string { return "" }}
	a := &l.Config.Access
	c.Redact = route.Redact{Addresses: a.RedactAddresses, ClusterName: a.RedactClusterName, Version: a.RedactVersion}
	c.SetMatch(m, e)
	if req.Body != nil {
		body, err := req.Body()
		if err == nil {
			c.Body, err = wire.ParseObject(body, l.limits)
		}
		if err != nil {
			l.fail(w, r, req.ID, err)
			return
		}
	}
	reply, err := l.handle(ctx, e, c)
	if err != nil {
		l.fail(w, r, req.ID, err)
		return
	}
	l.answer(w, r, req.ID, &gate.Answer{Reply: reply, Endpoint: e, Warnings: c.Warnings(), Flat: e.Flat})
}

// always refuses an endpoint that works while sealed in a namespace that it is
// not served in. Which namespaces there are is not known while sealed.
func (l *Listener) always(ctx context.Context, header string, e *route.Endpoint) error {
	if header = strings.Trim(strings.TrimSpace(header), "/"); header == "" || header == namespace.Root.UUID {
		return nil
	}
	if e.RootOnly {
		return fault.New(fault.Invalid, "the path is served in the root namespace only: repeat the request without a namespace")
	}
	if g := l.Node.Gate(); g != nil {
		if err := g.Namespace(ctx, header); err != nil {
			return errBare
		}
	}
	return nil
}

// handle runs a handler outside the gate. A panic is this request's failure
// alone; its text may hold a secret, so only its type and place are logged.
func (l *Listener) handle(ctx context.Context, e *route.Endpoint, c *route.Call) (reply *route.Reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			l.Log.Error("panic in a handler", "request", c.ID, "path", c.Full, "panic", fmt.Sprintf("%T", p), "stack", string(debug.Stack()))
			reply, err = nil, fault.New(fault.Internal, "")
		}
	}()
	return e.Handle(ctx, nil, c)
}

// buffers hold answers while they are written; they are wiped before they are
// used again, because answers hold secrets.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// maxPooled is the largest buffer that is kept.
const maxPooled = 256 << 10

func (l *Listener) answer(w http.ResponseWriter, r *http.Request, id string, a *gate.Answer) (status int) {
	reply := a.Reply
	if reply.Raw != nil {
		return l.raw(w, r, reply.Raw)
	}
	if reply.NoContent && len(a.Warnings) == 0 && reply.Auth == nil && reply.Wrap == nil {
		return l.write(w, r, http.StatusNoContent, nil)
	}
	status = http.StatusOK
	switch {
	case reply.Missing:
		status = http.StatusNotFound
	case reply.Accepted:
		status = http.StatusAccepted
		id = "" // as clients know it: the answer is made outside the request
	case reply.Status != 0:
		status = reply.Status
	}
	if reply.Enveloped != nil {
		return l.write(w, r, status, reply.Enveloped)
	}
	p, _ := buffers.Get().(*[]byte)
	b := envelope.Append((*p)[:0], id, reply, a.Warnings, a.Flat)
	b = append(b, '\n')
	l.write(w, r, status, b)
	clear(b)
	if cap(b) <= maxPooled {
		*p = b[:0]
		buffers.Put(p)
	}
	return status
}

func (l *Listener) raw(w http.ResponseWriter, r *http.Request, b *route.Bytes) int {
	h := w.Header()
	if b.ContentType != "" {
		h.Set("Content-Type", b.ContentType)
	}
	for name, value := range b.Header {
		h.Set(name, value)
	}
	status := b.Status
	if status == 0 {
		status = http.StatusOK
		if len(b.Body) == 0 && b.ContentType == "" {
			status = http.StatusNoContent
		}
	}
	if b.Stream != nil {
		l.stream(w, r, status, b.Stream)
		return status
	}
	return l.write(w, r, status, b.Body)
}

// stream sends a body as it comes, until the client goes or the server stops.
// Its time is not the request's: the handler has answered.
func (l *Listener) stream(w http.ResponseWriter, r *http.Request, status int, body func(context.Context, io.Writer) error) {
	l.statusHeaders(w.Header(), status)
	w.WriteHeader(status)
	out := flusher{w, http.NewResponseController(w)}
	if err := out.c.Flush(); err != nil {
		return // the client is gone
	}
	if err := body(r.Context(), out); err != nil && r.Context().Err() == nil {
		l.Log.Warn("a stream broke off", "path", r.URL.Path, "error", err)
	}
}

// flusher sends every write at once.
type flusher struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func (f flusher) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = f.c.Flush()
	}
	return n, err
}

// smallAnswer is the length up to which net/http finds out by itself how long an
// answer is, and says so without allocating.
const smallAnswer = 2048

// write sends an answer. HEAD has no body.
func (l *Listener) write(w http.ResponseWriter, r *http.Request, status int, body []byte) int {
	h := w.Header()
	l.statusHeaders(h, status)
	if r.Method == http.MethodHead || bodyless(status) {
		w.WriteHeader(status)
		return status
	}
	if len(body) > smallAnswer {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: there is nobody to tell
	return status
}

// bodyless reports whether answers of a status have no body, and must not
// announce one.
func bodyless(status int) bool {
	return status < http.StatusOK || status == http.StatusNoContent || status == http.StatusNotModified
}

// statusHeaders adds the configured headers for a status and its class.
func (l *Listener) statusHeaders(h http.Header, status int) {
	if len(l.Config.Headers) > 0 {
		l.customHeaders(h, strconv.Itoa(status/100)+"xx")
		l.customHeaders(h, strconv.Itoa(status))
	}
}

func (l *Listener) customHeaders(h http.Header, class string) {
	for name, values := range l.Config.Headers[class] {
		h[name] = values
	}
}

// fail answers an error and returns its status.
func (l *Listener) fail(w http.ResponseWriter, r *http.Request, id string, err error) int {
	status, text := statusOf(err, id)
	if status >= http.StatusInternalServerError && fault.KindOf(err) != fault.Sealed {
		l.Log.Error("request failed", "request", id, "method", r.Method, "path", r.URL.Path, "status", status, "error", err)
	}
	if fault.KindOf(err) == fault.Conflict {
		w.Header().Set("Retry-After", "1")
	}
	if r.Method == http.MethodHead {
		return l.write(w, r, status, nil)
	}
	return l.write(w, r, status, append(envelope.Errors(nil, text), '\n'))
}

// cors answers a preflight itself and reports whether the request may go on.
func (l *Listener) cors(w http.ResponseWriter, r *http.Request) bool {
	c, origin := l.Node.CORS(), r.Header.Get("Origin")
	if own := l.Config.CORS; own.Enabled {
		c = CORS{Enabled: true, Origins: own.AllowedOrigins, Headers: own.AllowedHeaders}
	}
	if !c.Enabled {
		return true
	}
	allowed := false
	for _, o := range c.Origins {
		allowed = allowed || o == "*" || o == origin
	}
	preflight := r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != ""
	if !allowed {
		l.fail(w, r, "", fault.New(fault.Denied, "origin not allowed"))
		return false
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Vary", "Origin")
	if c.AllowCredentials {
		h.Set("Access-Control-Allow-Credentials", "true")
	}
	if !preflight {
		return true
	}
	h.Set("Access-Control-Allow-Methods", "DELETE,GET,OPTIONS,POST,PUT,LIST,SCAN")
	h.Set("Access-Control-Allow-Headers", strings.Join(append([]string{"X-Vault-Namespace"}, c.Headers...), ","))
	h.Set("Access-Control-Max-Age", "300")
	w.WriteHeader(http.StatusOK)
	return false
}
