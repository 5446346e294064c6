package api

import (
	"context"
	"net/http"
	"time"
)

// TokenRequest describes the token to create.
type TokenRequest struct {
	ID              string            `json:"id,omitempty"`
	Policies        []string          `json:"policies,omitempty"`
	Metadata        map[string]string `json:"meta,omitempty"`
	TTL             string            `json:"ttl,omitempty"`
	ExplicitMaxTTL  string            `json:"explicit_max_ttl,omitempty"`
	Period          string            `json:"period,omitempty"`
	NoParent        bool              `json:"no_parent,omitempty"`
	NoDefaultPolicy bool              `json:"no_default_policy,omitempty"`
	DisplayName     string            `json:"display_name,omitempty"`
	NumUses         int               `json:"num_uses,omitempty"`
	Renewable       *bool             `json:"renewable,omitempty"`
	Type            string            `json:"type,omitempty"` // service or batch
	EntityAlias     string            `json:"entity_alias,omitempty"`
}

// TokenInfo describes a token. Its ID is the token itself, where the server
// was asked with it.
type TokenInfo struct {
	ID               string            `json:"id"`
	Accessor         string            `json:"accessor"`
	DisplayName      string            `json:"display_name"`
	Path             string            `json:"path"`
	Type             string            `json:"type"`
	Policies         []string          `json:"policies"`
	IdentityPolicies []string          `json:"identity_policies"`
	Metadata         map[string]string `json:"meta"`
	CreationTime     int64             `json:"creation_time"` // Unix seconds
	CreationTTL      int               `json:"creation_ttl"`
	IssueTime        *time.Time        `json:"issue_time"`
	ExpireTime       *time.Time        `json:"expire_time"`
	ExplicitMaxTTL   int               `json:"explicit_max_ttl"`
	Period           int               `json:"period"`
	TTL              int               `json:"ttl"` // seconds left, 0 for never
	NumUses          int               `json:"num_uses"`
	Orphan           bool              `json:"orphan"`
	Renewable        bool              `json:"renewable"`
	EntityID         string            `json:"entity_id"`
}

// String describes the token without showing it.
func (t *TokenInfo) String() string { return "token with accessor " + t.Accessor }

// GoString is String, so that %#v does not show the token either.
func (t *TokenInfo) GoString() string { return t.String() }

// Tokens works with tokens; see [Client.Tokens].
type Tokens struct{ c *Client }

// Tokens returns the client's view of the token store.
func (c *Client) Tokens() Tokens { return Tokens{c} }

// Create creates a child of the client's token.
func (t Tokens) Create(ctx context.Context, r TokenRequest) (*Secret, error) {
	return t.post(ctx, "create", r)
}

// CreateOrphan creates a token without a parent.
func (t Tokens) CreateOrphan(ctx context.Context, r TokenRequest) (*Secret, error) {
	return t.post(ctx, "create-orphan", r)
}

// CreateWithRole creates a token as a token role prescribes.
func (t Tokens) CreateWithRole(ctx context.Context, role string, r TokenRequest) (*Secret, error) {
	return t.post(ctx, "create/"+role, r)
}

// LookupSelf describes the client's own token.
func (t Tokens) LookupSelf(ctx context.Context) (*Secret, error) {
	return t.c.Read(ctx, "auth/token/lookup-self", nil)
}

// Lookup describes a token.
func (t Tokens) Lookup(ctx context.Context, token string) (*Secret, error) {
	return t.post(ctx, "lookup", tokenBody(token))
}

// LookupAccessor describes the token with an accessor.
func (t Tokens) LookupAccessor(ctx context.Context, accessor string) (*Secret, error) {
	return t.post(ctx, "lookup-accessor", accessorBody(accessor))
}

// Accessors lists the accessors of all tokens.
func (t Tokens) Accessors(ctx context.Context) (*Secret, error) {
	return t.c.List(ctx, "auth/token/accessors")
}

// RenewSelf extends the client's own token; increment zero lets the server choose.
func (t Tokens) RenewSelf(ctx context.Context, increment time.Duration) (*Secret, error) {
	return t.put(ctx, "renew-self", withIncrement(map[string]any{}, increment))
}

// Renew extends a token; increment zero lets the server choose.
func (t Tokens) Renew(ctx context.Context, token string, increment time.Duration) (*Secret, error) {
	return t.put(ctx, "renew", withIncrement(map[string]any{"token": token}, increment))
}

// RenewAccessor extends the token with an accessor.
func (t Tokens) RenewAccessor(ctx context.Context, accessor string, increment time.Duration) (*Secret, error) {
	return t.post(ctx, "renew-accessor", withIncrement(map[string]any{"accessor": accessor}, increment))
}

// RevokeSelf revokes the client's own token with its children and leases.
func (t Tokens) RevokeSelf(ctx context.Context) error {
	_, err := t.put(ctx, "revoke-self", nil)
	return err
}

// Revoke revokes a token with its children and leases.
func (t Tokens) Revoke(ctx context.Context, token string) error {
	_, err := t.put(ctx, "revoke", tokenBody(token))
	return err
}

// RevokeOrphan revokes a token and makes orphans of its children.
func (t Tokens) RevokeOrphan(ctx context.Context, token string) error {
	_, err := t.put(ctx, "revoke-orphan", tokenBody(token))
	return err
}

// RevokeAccessor revokes the token with an accessor, with its children and leases.
func (t Tokens) RevokeAccessor(ctx context.Context, accessor string) error {
	_, err := t.post(ctx, "revoke-accessor", accessorBody(accessor))
	return err
}

func (t Tokens) post(ctx context.Context, rest string, in any) (*Secret, error) {
	return t.c.writeBody(ctx, http.MethodPost, "auth/token/"+rest, in)
}

func (t Tokens) put(ctx context.Context, rest string, in any) (*Secret, error) {
	return t.c.writeBody(ctx, http.MethodPut, "auth/token/"+rest, in)
}

func tokenBody(token string) map[string]string       { return map[string]string{"token": token} }
func accessorBody(accessor string) map[string]string { return map[string]string{"accessor": accessor} }

func withIncrement(in map[string]any, d time.Duration) map[string]any {
	if d != 0 {
		in["increment"] = int64(d / time.Second)
	}
	return in
}
