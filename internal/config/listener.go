package config

import (
	"cmp"
	"crypto/tls"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Listener is one address the server answers at.
type Listener struct {
	Pos Pos
	// Type is tcp or unix.
	Type string
	// Address is host:port, or the path of a socket.
	Address        string
	ClusterAddress string
	Socket         Socket
	TLS            TLS
	ProxyProtocol  ProxyProtocol
	Forwarded      Forwarded
	// Namespace is the one that requests see as the root, by its path without
	// slashes around it; "" is the root itself.
	Namespace string
	Limits    Limits
	Timeouts  Timeouts
	Access    Access
	CORS      CORS
	// Headers are added to answers, by status: "default", "2xx" or "200".
	Headers map[string]http.Header
}

// Socket sets the owner and permissions of a unix socket.
type Socket struct {
	Mode  string // octal; empty for the process's umask
	User  string // name or number
	Group string // name or number
}

// TLS configures the encryption of a listener.
type TLS struct {
	Disabled     bool
	CertFile     string
	KeyFile      string
	MinVersion   uint16 // a tls.Version constant
	MaxVersion   uint16
	CipherSuites []uint16 // for TLS 1.2; nil for the standard library's choice
	// ClientCAFile verifies the certificates that clients present.
	ClientCAFile string
	// RequireClientCert refuses connections without a verified certificate.
	RequireClientCert bool
	// IgnoreClientCerts does not ask clients for certificates at all.
	IgnoreClientCerts bool
}

// ProxyProtocol configures the PROXY protocol of load balancers.
type ProxyProtocol struct {
	// Behavior is empty for off, or use_always, allow_authorized or
	// deny_unauthorized.
	Behavior   string
	Authorized []netip.Prefix
}

// Forwarded says which proxies may state the address and the certificate of
// the client they speak for. It is off while Authorized is empty.
type Forwarded struct {
	Authorized          []netip.Prefix
	HopSkips            int
	RejectNotPresent    bool
	RejectNotAuthorized bool
}

// Limits bound a single request. A negative limit is off; zero stands for the
// default.
type Limits struct {
	RequestSize       int64
	RequestDuration   time.Duration
	JSONDepth         int
	JSONStringLength  int64
	JSONObjectEntries int
	JSONArrayElements int
	JSONStrings       int
	TokenHeaderSize   int64
}

// Timeouts bound the parts of an HTTP exchange.
type Timeouts struct {
	ReadHeader time.Duration
	Read       time.Duration
	Write      time.Duration
	Idle       time.Duration
}

// Access opens and closes endpoints on one listener.
type Access struct {
	UnauthenticatedMetrics      bool
	UnauthenticatedPprof        bool
	UnauthenticatedInFlight     bool
	DisableUnauthedRekey        bool
	DisableUnauthedGenerateRoot bool
	RedactAddresses             bool
	RedactClusterName           bool
	RedactVersion               bool
	MetricsOnly                 bool
	DisableRequestLimiter       bool
}

// CORS lets browsers of other origins use a listener.
type CORS struct {
	Enabled        bool
	AllowedOrigins []string
	AllowedHeaders []string
}

// newListener returns a listener of a type with its defaults.
func newListener(kind string, at Pos) Listener {
	return Listener{
		Pos:  at,
		Type: kind,
		TLS:  TLS{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13},
		Forwarded: Forwarded{
			RejectNotPresent:    true,
			RejectNotAuthorized: true,
		},
		Timeouts: Timeouts{ReadHeader: 10 * time.Second, Read: 30 * time.Second, Idle: 5 * time.Minute},
		Access:   Access{DisableUnauthedRekey: true, DisableUnauthedGenerateRoot: true},
	}
}

// parseNamespace reads the path of a namespace, "root" or "" for the root. Whether
// there is one is found out by requests.
func parseNamespace(s string) (string, error) {
	path := strings.Trim(s, "/")
	if path == "root" {
		return "", nil
	}
	for name := range strings.SplitSeq(path, "/") {
		if path != "" && (name == "" || name == "." || name == ".." || strings.ContainsAny(name, " \t\r\n\\")) {
			return "", strconv.ErrSyntax
		}
	}
	return path, nil
}

// fill replaces limits that were not given.
func (l *Limits) fill(requestDuration time.Duration) {
	l.RequestSize = cmp.Or(l.RequestSize, 32<<20)
	l.RequestDuration = cmp.Or(l.RequestDuration, requestDuration, 90*time.Second)
	l.JSONDepth = cmp.Or(l.JSONDepth, 300)
	l.JSONStringLength = cmp.Or(l.JSONStringLength, 1<<20)
	l.JSONObjectEntries = cmp.Or(l.JSONObjectEntries, 10000)
	l.JSONArrayElements = cmp.Or(l.JSONArrayElements, 10000)
	l.JSONStrings = cmp.Or(l.JSONStrings, 500000)
	l.TokenHeaderSize = cmp.Or(l.TokenHeaderSize, 8<<10)
}

func (d *decoder) listener(label string, at Pos, body node) {
	l := newListener(label, at)
	known := keys{}
	switch label {
	case "tcp":
		l.Address = "127.0.0.1:8200"
		l.addTCPKeys(known)
	case "unix":
		l.TLS.Disabled = true
		known["socket_mode"] = text(&l.Socket.Mode)
		known["socket_user"] = text(&l.Socket.User)
		known["socket_group"] = text(&l.Socket.Group)
		known["tls_disable"] = ignored("a unix socket is not encrypted")
	default:
		d.errorf(at, "listener type %q is not supported; use tcp or unix", clip(label))
		return
	}
	l.addSharedKeys(known)
	l.addLimitKeys(known)
	d.object(`listener "`+label+`"`, body, known)
	d.cfg.Listeners = append(d.cfg.Listeners, l)
}
