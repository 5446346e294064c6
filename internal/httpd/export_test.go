package httpd

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/cofferhq/coffer/internal/clock"
	"github.com/cofferhq/coffer/internal/gate"
)

// Canonical gives the tests the path that the gate would get.
func Canonical(u *url.URL) (string, error) { return canonical(u) }

// Track takes a request into f until the returned function is called.
func (f *InFlight) Track(id string, r *http.Request, began time.Time) (land func()) {
	flying := &flying{id: id, http: r, began: began}
	f.add(flying)
	return func() { f.remove(flying) }
}

// WithDeadline returns the context of a request.
func WithDeadline(parent context.Context, c clock.Clock, limit time.Duration) (ctx context.Context, finish func()) {
	d := &deadline{}
	d.start(parent, c, c.Now(), limit)
	return d, d.finish
}

// Travel sends what the leader cannot see of a request through headers, as
// between nodes, and returns the request that the leader makes of it.
func Travel(l *Listener, req *gate.Request, r *http.Request) (*gate.Request, error) {
	origin{req}.write(r.Header)
	return (&Forwarded{Listener: l}).parseForwarded(r)
}
