package gate

import (
	"crypto/tls"
	"io"
	"net/netip"
	"net/url"
	"time"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Request is a request as httpd hands it over: of canonical path, its body not
// read yet.
type Request struct {
	ID string
	// Within names the namespace that the path begins in, as a header does; "" is
	// the root.
	Within string
	// Namespace is the one that the request goes to. The gate sets it, and cuts
	// the names of namespaces off the path, before anybody is asked.
	Namespace route.Namespace
	located   bool // Namespace and Path are what they will be
	Verb      route.Verb
	// Path is canonical and has no leading slash.
	Path  string
	Token string
	Query url.Values
	// Body reads and returns the body, within the listener's limits. It is not
	// called for a caller who may not call at all, and at most once, but on a
	// node that follows another: there it is called again when the request is
	// run again, and may fail with [ErrElsewhere].
	Body func() ([]byte, error)
	// Stream returns the body unread and without a limit, for an endpoint that
	// wants that. Nil gives an empty one.
	Stream func() io.Reader
	// Headers returns the values of a request header.
	Headers    func(name string) []string
	Remote     netip.Addr
	RemotePort int
	TLS        *tls.ConnectionState
	WrapTTL    time.Duration
	WrapJWT    bool
	// Open says that the listener lets the path be used without a token.
	Open bool
	// Limits are the listener's for the body.
	Limits wire.Limits
	// Head asks for the headers of the answer alone.
	Head bool
	// Help asks for the documentation of the path instead.
	Help bool
	// Standby says that this node followed another when the request came.
	Standby bool
}

// Answer is what httpd writes.
type Answer struct {
	// Err, if set, is the failure; Reply may still hold warnings' company.
	Err   error
	Reply *route.Reply
	// Endpoint is the one that answered; nil if none did.
	Endpoint *route.Endpoint
	Warnings []string
	// MountType is that of the mount that was addressed, "" if there is none.
	MountType string
	// Headers are response headers, those of rate limits.
	Headers map[string]string
	// Flat repeats the members of data at the top.
	Flat bool
	// Elsewhere says that the leader is to answer the request: nothing has been
	// done here, and nothing else of the answer is set.
	Elsewhere bool
	// Index, if not zero, is a place in the store's history that includes what
	// the request has written.
	Index store.Index
}
