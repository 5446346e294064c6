package route

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/store"
)

// None is the output of an endpoint that answers 204 No Content.
type None struct{}

// Keys is the output of a list: names in order, and optionally facts about
// each. Names of things that have children end with a slash.
type Keys struct {
	Keys []string       `json:"keys"`
	Info map[string]any `json:"key_info,omitempty"`
}

// page applies the after and limit parameters.
func (k Keys) page(c *Call) (Keys, error) {
	after, limit := c.Query.Get("after"), c.Query.Get("limit")
	if after == "" && limit == "" {
		return k, nil
	}
	if after != "" {
		// The page begins behind the name that ended the last one; if that is
		// gone, behind where it would stand. A recursive listing is not in the
		// order of names, so the name itself is looked for first.
		at := slices.Index(k.Keys, after) + 1
		if at == 0 {
			if at = slices.IndexFunc(k.Keys, func(name string) bool { return name > after }); at < 0 {
				at = len(k.Keys)
			}
		}
		k.Keys = k.Keys[at:]
	}
	if limit != "" {
		n, err := strconv.Atoi(limit)
		if err != nil {
			return k, fault.New(fault.Invalid, `field "limit": must be a whole number`)
		}
		if n > 0 && n < len(k.Keys) {
			k.Keys = k.Keys[:n]
		}
	}
	if k.Info != nil {
		info := make(map[string]any, len(k.Keys))
		for _, name := range k.Keys {
			if v, ok := k.Info[name]; ok {
				info[name] = v
			}
		}
		k.Info = info
	}
	return k, nil
}

// Bytes is an answer without envelope.
type Bytes struct {
	Status      int // 0 is 200
	ContentType string
	Body        []byte
	// Header are further response headers.
	Header map[string]string
	// Stream, if set, is called after the status is sent and writes the body
	// until it returns or ctx ends, as it does when the client goes or the
	// server stops. Each Write reaches the client at once. Body is empty then,
	// and a request's time limit does not apply.
	Stream func(ctx context.Context, w io.Writer) error
}

// Reply is an endpoint's whole answer before it is put on the wire. The zero
// Reply is 200 with an empty envelope.
type Reply struct {
	// Data is the encoded `data`; nil is null.
	Data []byte
	// NoContent answers 204, unless there are warnings to tell.
	NoContent bool
	// Missing answers 404 although there is a body (a deleted version of a
	// secret).
	Missing bool
	// Accepted answers 202: the work goes on after the answer.
	Accepted bool
	// Status, if not 0, is the HTTP status of an answer whose data tells of
	// failures: a batch that went wrong in part, with the status that the client
	// has asked for in that case.
	Status int
	// Warn is a warning that belongs to the answer itself.
	Warn string
	// Enveloped, if set, is a whole envelope that was encoded earlier: a
	// wrapped answer.
	Enveloped []byte
	// Accessor is told beside a wrapped answer.
	Accessor string
	// Raw, if set, is the whole answer.
	Raw *Bytes
	// Issued asks the gate to register a lease for Data.
	Issued *Lease
	// Login asks the gate to create a token.
	Login *Identity
	// Auth, Lease and Wrap are those parts of the envelope.
	Auth  *Auth
	Lease *LeaseInfo
	Wrap  *WrapInfo
}

// Lease is what an engine grants: something with an end that must be undone.
type Lease struct {
	// TTL and MaxTTL are what the engine wants; zero is the mount's. They are
	// cut to the mount's limits.
	TTL, MaxTTL time.Duration
	Renewable   bool
	// Payload is the engine's own note for renewing and revoking. It is sealed
	// at rest and never shown.
	Payload []byte
	// Commit, if set, writes what the engine must store together with the
	// lease, in the same transaction.
	Commit func(store.Txn) error
}

// LeaseInfo is the envelope's lease part.
type LeaseInfo struct {
	ID        string
	Duration  time.Duration
	Renewable bool
}

// Identity is what an auth method has established about a caller. It cannot
// carry an error: a method returns an Identity or an error, never both.
type Identity struct {
	// DisplayName becomes part of the token's display name, after the mount's.
	DisplayName string
	// Alias is the canonical name of the user at this mount; AliasMetadata is
	// kept with it.
	Alias         string
	AliasMetadata map[string]string
	// Groups are the names of external groups that the method vouches for.
	Groups []string
	// Metadata goes on the token and into the audit log.
	Metadata map[string]string
	// Token holds the role's token settings.
	Token TokenParams
	// NoRenew makes the token not renewable.
	NoRenew bool
	// EmptyData answers an empty object as `data` instead of null, as clients
	// know it of some methods.
	EmptyData bool
	// Payload is the method's own note for renewing; sealed, never shown.
	Payload []byte
	// Commit, if set, writes what the method must store together with the
	// token, in the same transaction (a use count).
	Commit func(store.Txn) error
}

// TokenParams are the token settings that every method's roles share.
type TokenParams struct {
	TTL             time.Duration `json:"ttl,omitempty"`
	MaxTTL          time.Duration `json:"max_ttl,omitempty"`
	ExplicitMaxTTL  time.Duration `json:"explicit_max_ttl,omitempty"`
	Period          time.Duration `json:"period,omitempty"`
	Policies        []string      `json:"policies,omitempty"`
	NoDefaultPolicy bool          `json:"no_default_policy,omitempty"`
	BoundCIDRs      []string      `json:"bound_cidrs,omitempty"`
	StrictlyBindIP  bool          `json:"strictly_bind_ip,omitempty"`
	NumUses         int           `json:"num_uses,omitempty"`
	// Type is "", "default", "service", "batch", "default-service" or
	// "default-batch".
	Type string `json:"type,omitempty"`
}

// Auth is the envelope's auth part: a token.
type Auth struct {
	ClientToken      string
	Accessor         string
	Policies         []string
	TokenPolicies    []string
	IdentityPolicies []string
	Metadata         map[string]string
	LeaseDuration    time.Duration
	Renewable        bool
	EntityID         string
	// TokenType is "service" or "batch".
	TokenType string
	Orphan    bool
	NumUses   int
	// DisplayName is for the audit log.
	DisplayName string
}

// WrapInfo is the envelope's wrap_info part.
type WrapInfo struct {
	Token           string
	Accessor        string
	TTL             time.Duration
	CreationTime    time.Time
	CreationPath    string
	WrappedAccessor string
}

func replyWith(out any) (*Reply, error) {
	if _, none := out.(None); none || isNil(out) {
		return &Reply{NoContent: true}, nil
	}
	r := &Reply{}
	if h, ok := out.(Handle); ok {
		r.Accessor = h.WrappedAccessor()
	}
	switch v := out.(type) {
	case json.RawMessage:
		r.Data = v
	case Appender:
		r.Data = v.AppendJSON(make([]byte, 0, appended))
	default:
		b, err := json.Marshal(out)
		if err != nil {
			return nil, fmt.Errorf("encoding answer: %w", err)
		}
		r.Data = b
	}
	return r, nil
}

// appended is room enough for most outputs that encode themselves.
const appended = 512

// Handle is an output that is itself known by an accessor (a secret id), which
// is told to whoever gets the output wrapped.
type Handle interface{ WrappedAccessor() string }

// Appender is an output that encodes itself without reflection, for the
// endpoints that are called most.
type Appender interface{ AppendJSON(dst []byte) []byte }

func isNil(v any) bool {
	rv := reflect.ValueOf(v)
	return !rv.IsValid() || rv.Kind() == reflect.Pointer && rv.IsNil()
}

// Data encodes v as a reply's data.
func Data(v any) (*Reply, error) { return replyWith(v) }
