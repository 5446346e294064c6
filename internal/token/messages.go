package token

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/wire"
)

type createRequest struct {
	ID              string             `json:"id" doc:"Text of the token; root or sudo only." sensitive:"true"`
	Policies        wire.JSON          `json:"policies" doc:"Policies of the token; the caller's if not given."`
	Meta            wire.JSON          `json:"meta" doc:"Facts to keep with the token and to show in the audit log, an object of strings."`
	NoParent        bool               `json:"no_parent" doc:"Make an orphan; root or sudo only."`
	NoDefaultPolicy bool               `json:"no_default_policy" doc:"Leave the default policy off."`
	Renewable       wire.Opt[bool]     `json:"renewable" doc:"Whether the token can be renewed; true if not given."`
	TTL             wire.Duration      `json:"ttl" alias:"lease" doc:"Lifetime."`
	ExplicitMaxTTL  wire.Duration      `json:"explicit_max_ttl" doc:"Hard limit of the lifetime."`
	Period          wire.Duration      `json:"period" doc:"Makes the token periodic; root or sudo only."`
	DisplayName     string             `json:"display_name" doc:"Name for people; shown with a prefix."`
	NumUses         int                `json:"num_uses" doc:"How often the token may be used; 0 is without limit."`
	Type            string             `json:"type" doc:"service or batch."`
	EntityAlias     string             `json:"entity_alias" doc:"Alias of an entity to tie the token to; needs a role that allows it."`
	BoundCIDRs      wire.Opt[[]string] `json:"token_bound_cidrs" alias:"bound_cidrs" doc:"Address blocks that the token may be used from."`
}

type createRoleRequest struct {
	createRequest
	Role string `path:"role_name" doc:"Role to create the token by."`
}

type tokenRequest struct {
	Token string `json:"token" doc:"Text of the token." sensitive:"true"`
}

type accessorRequest struct {
	Accessor string `json:"accessor" doc:"Accessor of the token."`
}

type renewRequest struct {
	Token     string        `json:"token" doc:"Text of the token." sensitive:"true"`
	Increment wire.Duration `json:"increment" doc:"Lifetime to ask for, from now."`
}

type renewSelfRequest struct {
	Increment wire.Duration `json:"increment" doc:"Lifetime to ask for, from now."`
	Token     string        `json:"token" doc:"Ignored; the caller's token is renewed." sensitive:"true" deprecated:"true"`
}

type renewAccessorRequest struct {
	Accessor  string        `json:"accessor" doc:"Accessor of the token."`
	Increment wire.Duration `json:"increment" doc:"Lifetime to ask for, from now."`
}

type noInput struct{}

// facts is a token as a lookup shows it.
type facts struct {
	Accessor       string     `json:"accessor"`
	BoundCIDRs     []string   `json:"bound_cidrs,omitempty"`
	CreationTime   int64      `json:"creation_time"`
	CreationTTL    int64      `json:"creation_ttl"`
	DisplayName    string     `json:"display_name"`
	EntityID       string     `json:"entity_id"`
	ExpireTime     *time.Time `json:"expire_time"`
	ExplicitMaxTTL int64      `json:"explicit_max_ttl"`
	ID             string     `json:"id"`
	// ExternalPolicies are what groups of other namespaces give the entity.
	ExternalPolicies map[string][]string `json:"external_namespace_policies,omitempty"`
	// IdentityPolicies are what the entity adds to the token's policies. They
	// are shown, and those of other namespaces beside them, if there are any.
	IdentityPolicies []string          `json:"identity_policies,omitempty"`
	IssueTime        time.Time         `json:"issue_time,omitzero"` // absent, with Renewable, for a root token that nobody has issued
	LastRenewal      *time.Time        `json:"-"`
	Meta             map[string]string `json:"meta"`
	NamespacePath    string            `json:"namespace_path,omitempty"` // absent in the root
	NumUses          int               `json:"num_uses"`
	Orphan           bool              `json:"orphan"`
	Path             string            `json:"path"`
	Period           int64             `json:"period,omitempty"`
	Policies         []string          `json:"policies"`
	Renewable        bool              `json:"renewable"`
	Role             string            `json:"role,omitempty"`
	TTL              int64             `json:"ttl"`
	Type             string            `json:"type"`
}

// facts shows the entry; text is the token's text, "" when found by accessor.
func (e *Entry) facts(text string, now time.Time) facts {
	f := facts{
		Accessor: e.Accessor, BoundCIDRs: e.BoundCIDRs, CreationTime: e.Created.Unix(), CreationTTL: int64(e.TTL / time.Second),
		DisplayName: e.DisplayName, EntityID: e.EntityID, ExplicitMaxTTL: int64(e.ExplicitMaxTTL / time.Second), ID: text,
		IssueTime: e.Created, Meta: e.Meta, NumUses: e.NumUses, Orphan: len(e.Parent) == 0, Path: e.Path,
		Period: int64(e.Period / time.Second), Policies: e.Policies, Renewable: e.Renewable, Role: e.Role,
		TTL: int64(e.ttl(now) / time.Second), Type: e.Type,
	}
	if e.Path == rootPath {
		f.IssueTime = time.Time{}
	}
	if !e.Expires.IsZero() {
		f.ExpireTime = &e.Expires
	}
	return f
}

// AppendJSON encodes without reflection: lookup-self is among the busiest
// endpoints.
func (f facts) AppendJSON(b []byte) []byte {
	b = append(b, `{"accessor":`...)
	b = wire.AppendQuoted(b, f.Accessor)
	if len(f.BoundCIDRs) > 0 {
		b = append(b, `,"bound_cidrs":`...)
		b = wire.AppendStrings(b, f.BoundCIDRs)
	}
	b = wire.AppendIntMember(b, "creation_time", f.CreationTime)
	b = wire.AppendIntMember(b, "creation_ttl", f.CreationTTL)
	b = wire.AppendStringMember(b, "display_name", f.DisplayName)
	b = wire.AppendStringMember(b, "entity_id", f.EntityID)
	b = append(b, `,"expire_time":`...)
	if f.ExpireTime == nil {
		b = append(b, "null"...)
	} else {
		b = appendTime(b, *f.ExpireTime)
	}
	b = wire.AppendIntMember(b, "explicit_max_ttl", f.ExplicitMaxTTL)
	b = wire.AppendStringMember(b, "id", f.ID)
	issued := !f.IssueTime.IsZero()
	if issued {
		if len(f.IdentityPolicies)+len(f.ExternalPolicies) > 0 {
			b = append(b, `,"external_namespace_policies":`...)
			b = appendLists(b, f.ExternalPolicies)
			b = append(b, `,"identity_policies":`...)
			b = wire.AppendStrings(b, f.IdentityPolicies)
		}
		b = append(b, `,"issue_time":`...)
		b = appendTime(b, f.IssueTime)
	}
	b = append(b, `,"meta":`...)
	b = appendMeta(b, f.Meta)
	if f.NamespacePath != "" {
		b = wire.AppendStringMember(b, "namespace_path", f.NamespacePath)
	}
	b = wire.AppendIntMember(b, "num_uses", int64(f.NumUses))
	b = wire.AppendBoolMember(b, "orphan", f.Orphan)
	b = wire.AppendStringMember(b, "path", f.Path)
	if f.Period > 0 {
		b = wire.AppendIntMember(b, "period", f.Period)
	}
	b = append(b, `,"policies":`...)
	b = wire.AppendStrings(b, f.Policies)
	if issued {
		b = wire.AppendBoolMember(b, "renewable", f.Renewable)
	}
	if f.Role != "" {
		b = wire.AppendStringMember(b, "role", f.Role)
	}
	b = wire.AppendIntMember(b, "ttl", f.TTL)
	b = wire.AppendStringMember(b, "type", f.Type)
	return append(b, '}')
}

func appendTime(b []byte, t time.Time) []byte {
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, time.RFC3339Nano)
	return append(b, '"')
}

func appendLists(b []byte, m map[string][]string) []byte {
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(m)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = wire.AppendQuoted(b, name)
		b = append(b, ':')
		b = wire.AppendStrings(b, m[name])
	}
	return append(b, '}')
}

func appendMeta(b []byte, m map[string]string) []byte {
	if m == nil {
		return append(b, "null"...)
	}
	text, err := json.Marshal(m) // sorted keys; a map of strings cannot fail
	if err != nil {
		return append(b, "null"...)
	}
	return append(b, text...)
}

var _ route.Appender = facts{}
