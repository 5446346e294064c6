package token

import (
	"slices"
	"time"

	"github.com/cofferhq/coffer/internal/policy"
	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Kinds of tokens, as the API names them.
const (
	Service = "service"
	Batch   = "batch"
)

// Entry is a token's record. An Entry that was handed out is shared: it must
// not be changed.
type Entry struct {
	// Handle is the keyed hash of the text; "" for a batch token.
	Handle   string            `json:"-"`
	NS       store.NamespaceID `json:"ns"`
	Accessor string            `json:"acc,omitempty"`
	// Parent is the handle of the parent; "" for an orphan.
	Parent      []byte            `json:"par,omitempty"`
	Policies    []string          `json:"pol"`
	Path        string            `json:"path"`
	Meta        map[string]string `json:"meta,omitempty"`
	DisplayName string            `json:"name"`
	EntityID    string            `json:"ent,omitempty"`
	// NumUses counts down; 0 is without limit, -1 means that the last use is
	// under way.
	NumUses int       `json:"uses,omitempty"`
	Created time.Time `json:"at"`
	// Renewed is the time of the last renewal.
	Renewed time.Time `json:"ren,omitzero"`
	// TTL is the lifetime that it was created with.
	TTL time.Duration `json:"ttl,omitempty"`
	// LastTTL is what the last renewal gave; zero before the first.
	LastTTL time.Duration `json:"lttl,omitempty"`
	// Expires is zero for a root token that does not.
	Expires        time.Time     `json:"exp,omitzero"`
	ExplicitMaxTTL time.Duration `json:"emax,omitempty"`
	Period         time.Duration `json:"per,omitempty"`
	Renewable      bool          `json:"rnw,omitempty"`
	BoundCIDRs     []string      `json:"cidr,omitempty"`
	Role           string        `json:"role,omitempty"`
	Type           string        `json:"type"`
	// Mount is the auth method that granted it, Payload that method's note.
	Mount   store.MountID `json:"mnt,omitempty"`
	Payload []byte        `json:"pay,omitempty"`
	// NoDefaultPolicy says that the default policy was left off on purpose.
	NoDefaultPolicy bool `json:"nodef,omitempty"`
	// Revoking marks a tree that is being taken down.
	Revoking bool `json:"dead,omitempty"`
	// Sparing says of a marked token that its children live on as orphans.
	Sparing bool `json:"spare,omitempty"`
}

// Root reports whether the root policy is among the token's.
func (e *Entry) Root() bool { return slices.Contains(e.Policies, policy.RootName) }

// usable reports whether the token may be presented at now. A token that is
// not root and has no end is a damaged record and never usable.
func (e *Entry) usable(now time.Time) bool {
	switch {
	case e.Revoking || e.NumUses < 0:
		return false
	case e.Expires.IsZero():
		return e.Root()
	}
	return now.Before(e.Expires)
}

// ttl is the remaining lifetime in whole seconds, at least one so that a token
// that lives still is not said to have none; zero if it does not end.
func (e *Entry) ttl(now time.Time) time.Duration {
	if e.Expires.IsZero() {
		return 0
	}
	return max(e.Expires.Sub(now).Round(time.Second), time.Second)
}

// Caller returns what handlers may know of the token's holder.
func (e *Entry) Caller() route.Caller {
	c := route.Caller{
		Token: e.Handle, Namespace: e.NS, Accessor: e.Accessor, DisplayName: e.DisplayName, EntityID: e.EntityID, Policies: e.Policies,
		Root: e.Root(), Batch: e.Type == Batch, IssuedAt: e.Created, ExpiresAt: e.Expires, Metadata: e.Meta, CubbyholeID: e.Handle,
	}
	if c.Batch {
		c.Parent = string(e.Parent)
	}
	return c
}

// auth returns the envelope's auth part; text is the token's text, or "".
func (e *Entry) auth(text string, now time.Time) *route.Auth {
	return &route.Auth{
		ClientToken: text, Accessor: e.Accessor, Policies: e.Policies, TokenPolicies: e.Policies, Metadata: e.Meta,
		LeaseDuration: e.ttl(now), Renewable: e.Renewable, EntityID: e.EntityID, TokenType: e.Type,
		Orphan: len(e.Parent) == 0, NumUses: e.NumUses, DisplayName: e.DisplayName,
	}
}
