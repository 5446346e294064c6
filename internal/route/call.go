package route

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/netip"
	"net/url"
	"time"

	"github.com/cofferhq/coffer/internal/store"
	"github.com/cofferhq/coffer/internal/wire"
)

// Namespace is the tenant that a request is made in.
type Namespace struct {
	ID store.NamespaceID
	// Path is "" for the root, else ends with a slash.
	Path string
	// UUID is the id that the API shows.
	UUID string
}

// Mount is the place where an engine or method is mounted, as a handler and
// the audit see it.
type Mount struct {
	ID        store.MountID
	Namespace store.NamespaceID
	// Path ends with a slash: "secret/", "auth/approle/".
	Path     string
	Type     string
	Accessor string
	UUID     string
	// Auth says that an auth method is mounted here.
	Auth bool
	// DefaultTTL and MaxTTL are in force here: the mount's own or the system's.
	DefaultTTL, MaxTTL time.Duration
	Options            map[string]string
}

// Caller is who makes the request, as far as a handler may know.
type Caller struct {
	// Token is the handle of the token record: the keyed hash that names it.
	// It is "" for a public endpoint, and for a batch token.
	Token       string
	Accessor    string
	DisplayName string
	EntityID    string
	// Namespace is that of the token: the call's, or one above it. Prefix is
	// the path of the call's namespace as seen from there, which stands before
	// a path when the token's policies judge it; "" in the token's own.
	Namespace store.NamespaceID
	Prefix    string
	// Below are the numbers of the namespaces that Prefix names, from the top.
	Below []store.NamespaceID
	// Policies are all that apply, sorted.
	Policies []string
	// Root says that the root policy is among them.
	Root bool
	// Batch says that the token is not stored and leases end with it.
	Batch bool
	// Parent is the handle of the token that made a batch token, "" if none
	// did: leases end with it too.
	Parent string
	// IssuedAt is when the token was made, ExpiresAt when it ends; that is zero
	// for a token that does not expire.
	IssuedAt  time.Time
	ExpiresAt time.Time
	Metadata  map[string]string
	// CubbyholeID names the token's cubbyhole; it dies with the token.
	CubbyholeID string
}

// Redact is what a listener to strangers keeps to itself.
type Redact struct{ Addresses, ClusterName, Version bool }

// Call is one request as a handler sees it: authenticated, authorised, audited
// and bound to a mount.
type Call struct {
	// ID is the request id (a UUID).
	ID   string
	Verb Verb
	// Create says that a Write makes something new (see [Exists]).
	Create bool
	// Sudo says that the caller's policies give sudo on this path.
	Sudo bool
	// Open says that the listener lets this endpoint be used without a token.
	Open bool
	// Redact says what the listener wants left out of status answers.
	Redact Redact
	// Path is the canonical path below the mount; Full the whole one.
	Path, Full string
	Namespace  Namespace
	Mount      Mount
	Caller     Caller
	// ClientToken is the token as it was presented.
	ClientToken wire.Secret
	// Remote is the client's address; for a unix socket it is not valid.
	Remote     netip.Addr
	RemotePort int
	// TLS is the client's connection state, nil without TLS.
	TLS *tls.ConnectionState
	// Header gives the request headers that the mount lets through.
	Header func(name string) string
	// Credentials is the Authorization header, for an endpoint that declares
	// [Credentials].
	Credentials wire.Secret
	// Now is the instant of the request; handlers use it throughout.
	Now time.Time
	// WrapTTL is what the client asked for, zero if the answer is not wrapped.
	WrapTTL time.Duration
	Body    wire.Object
	// Raw is the body of an [Opaque] endpoint.
	Raw []byte
	// Stream is the body of a [Streamed] endpoint.
	Stream io.Reader
	// Head says that only the headers of the answer are wanted, see [Head].
	Head  bool
	Query url.Values
	Log   *slog.Logger

	values   [4]string
	names    []string
	warnings []string
	bound    any // what Exists has bound, for the handler
}

// Warn adds a warning to the answer. It must not contain a secret.
func (c *Call) Warn(text string) { c.warnings = append(c.warnings, text) }

// Warnings are those added so far.
func (c *Call) Warnings() []string { return c.warnings }

// SetMatch gives the call what the pattern captured.
func (c *Call) SetMatch(m *Match, e *Endpoint) {
	c.values = m.values
	c.names = e.params
}

// Param returns what the pattern captured under name.
func (c *Call) Param(name string) string {
	for i, n := range c.names {
		if n == name {
			return c.values[i]
		}
	}
	return ""
}
