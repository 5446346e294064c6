package audit

import "time"

// Type says which half of an exchange a [Record] describes.
type Type string

// The types of records.
const (
	TypeRequest  Type = "request"
	TypeResponse Type = "response"
)

// Record is what the gate knows about one half of an exchange. The gate fills
// it with values in clear; every device hashes them with its own salt while it
// encodes. A Record and all it points to is only read, and only until
// [Broker.Begin] returns, so a caller may reuse it.
type Record struct {
	// Time is when the request arrived or the answer was ready.
	Time time.Time
	// Type is the half of the exchange.
	Type Type
	// Error is the text the client will see; it must be safe to show.
	Error string
	// Auth is who asked. Nil means that nobody was authenticated.
	Auth *Auth
	// Request is what was asked. It is present in both types.
	Request *Request
	// Response is what will be answered; only in a response.
	Response *Response
	// Common, if not nil, is shared by the two records of an exchange, whose Auth
	// and Request must then be the same.
	Common *Common
	// ForwardedFrom is the node that the request entered at, if another.
	ForwardedFrom string
}

// Auth describes a token, or the identity that a login is about to return.
type Auth struct {
	Token            string // hashed
	Accessor         string // hashed unless hmac_accessor=false
	DisplayName      string
	Policies         []string
	TokenPolicies    []string
	IdentityPolicies []string
	// ExternalNamespacePolicies maps namespace ids to policies.
	ExternalNamespacePolicies []NamespacePolicies
	NoDefaultPolicy           bool
	PolicyResults             *PolicyResults
	Metadata                  []Pair
	NumUses                   int
	RemainingUses             int
	EntityID                  string
	EntityCreated             bool
	TokenType                 string
	TokenTTL                  time.Duration
	TokenIssueTime            time.Time
}

// NamespacePolicies are the policies a token has in another namespace.
type NamespacePolicies struct {
	NamespaceID string
	Policies    []string
}

// Pair is one entry of a map whose order the caller decides, so that encoding
// needs neither a map nor a sort.
type Pair struct{ Key, Value string }

// PolicyResults tells which policies decided about a request.
type PolicyResults struct {
	Allowed          bool
	GrantingPolicies []GrantingPolicy
}

// GrantingPolicy is a policy that allowed a request.
type GrantingPolicy struct {
	Name          string
	NamespaceID   string
	NamespacePath string
	Type          string
}

// Namespace identifies a namespace.
type Namespace struct{ ID, Path string }

// Mount describes the mount a request was routed to.
type Mount struct {
	Point            string
	Type             string
	Accessor         string
	RunningVersion   string
	RunningSHA256    string
	Class            string
	IsExternalPlugin bool
}

// Header is a request header and its values. Only headers of the audited list
// (see [Headers]) are written; others may be passed and are dropped.
type Header struct {
	Name   string
	Values []string
}

// Request describes what was asked.
type Request struct {
	ID                            string
	ClientID                      string
	ReplicationCluster            string
	Operation                     string
	Mount                         Mount
	ClientToken                   string // hashed
	ClientTokenAccessor           string // hashed unless hmac_accessor=false
	Namespace                     Namespace
	Path                          string
	Data                          []byte // JSON; string values hashed
	NonHMACKeys                   []string
	PolicyOverride                bool
	RemoteAddr                    string
	RemotePort                    int
	WrapTTL                       time.Duration
	Headers                       []Header
	ClientCertificateSerialNumber string
}

// Response describes what is answered.
type Response struct {
	Auth        *Auth
	Mount       Mount
	LeaseID     string
	Data        []byte // JSON; string values hashed
	NonHMACKeys []string
	Warnings    []string
	Redirect    string
	WrapInfo    *WrapInfo
	Headers     []Header
}

// WrapInfo describes a wrapping token.
type WrapInfo struct {
	TTL             time.Duration
	Token           string // hashed
	Accessor        string // hashed unless hmac_accessor=false
	CreationTime    time.Time
	CreationPath    string
	WrappedAccessor string // hashed unless hmac_accessor=false
}
