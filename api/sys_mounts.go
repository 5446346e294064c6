package api

import (
	"context"
	"net/http"
	"strings"
)

// Mount is a secrets engine or an auth method that is enabled at a path.
type Mount struct {
	UUID                  string            `json:"uuid"`
	Type                  string            `json:"type"`
	Description           string            `json:"description"`
	Accessor              string            `json:"accessor"`
	Config                MountConfig       `json:"config"`
	Options               map[string]string `json:"options"`
	Local                 bool              `json:"local"`
	SealWrap              bool              `json:"seal_wrap"`
	ExternalEntropyAccess bool              `json:"external_entropy_access"`
	PluginVersion         string            `json:"plugin_version"`
	RunningPluginVersion  string            `json:"running_plugin_version"`
	RunningSHA256         string            `json:"running_sha256"`
	DeprecationStatus     string            `json:"deprecation_status"`
}

// MountConfig is the effective configuration of a mount; times are seconds, and
// zero stands for the system's default.
type MountConfig struct {
	DefaultLeaseTTL           int      `json:"default_lease_ttl"`
	MaxLeaseTTL               int      `json:"max_lease_ttl"`
	ForceNoCache              bool     `json:"force_no_cache"`
	AuditNonHMACRequestKeys   []string `json:"audit_non_hmac_request_keys,omitempty"`
	AuditNonHMACResponseKeys  []string `json:"audit_non_hmac_response_keys,omitempty"`
	ListingVisibility         string   `json:"listing_visibility,omitempty"`
	PassthroughRequestHeaders []string `json:"passthrough_request_headers,omitempty"`
	AllowedResponseHeaders    []string `json:"allowed_response_headers,omitempty"`
	TokenType                 string   `json:"token_type,omitempty"`
}

// MountTuning changes the configuration of a mount. Fields that are nil or
// empty are left alone; an empty non-nil list clears one.
type MountTuning struct {
	DefaultLeaseTTL           string             `json:"default_lease_ttl,omitempty"`
	MaxLeaseTTL               string             `json:"max_lease_ttl,omitempty"`
	Description               *string            `json:"description,omitempty"`
	ForceNoCache              bool               `json:"force_no_cache,omitempty"`
	AuditNonHMACRequestKeys   []string           `json:"audit_non_hmac_request_keys,omitzero"`
	AuditNonHMACResponseKeys  []string           `json:"audit_non_hmac_response_keys,omitzero"`
	ListingVisibility         string             `json:"listing_visibility,omitempty"`
	PassthroughRequestHeaders []string           `json:"passthrough_request_headers,omitzero"`
	AllowedResponseHeaders    []string           `json:"allowed_response_headers,omitzero"`
	AllowedManagedKeys        []string           `json:"allowed_managed_keys,omitzero"`
	TokenType                 string             `json:"token_type,omitempty"`
	Options                   map[string]string  `json:"options,omitempty"`
	PluginVersion             string             `json:"plugin_version,omitempty"`
	UserLockout               *UserLockoutTuning `json:"user_lockout_config,omitempty"`
}

// UserLockoutTuning changes how an auth method locks users out after failed logins.
type UserLockoutTuning struct {
	Threshold    string `json:"lockout_threshold,omitempty"`
	Duration     string `json:"lockout_duration,omitempty"`
	CounterReset string `json:"lockout_counter_reset,omitempty"`
	Disable      *bool  `json:"lockout_disable,omitempty"`
}

// MountRequest enables a secrets engine or an auth method.
type MountRequest struct {
	Type                  string            `json:"type"`
	Description           string            `json:"description,omitempty"`
	Config                MountTuning       `json:"config"`
	Options               map[string]string `json:"options,omitempty"`
	Local                 bool              `json:"local,omitempty"`
	SealWrap              bool              `json:"seal_wrap,omitempty"`
	ExternalEntropyAccess bool              `json:"external_entropy_access,omitempty"`
	PluginVersion         string            `json:"plugin_version,omitempty"`
}

// MountTable is one of the two tables of mounts: [Client.Mounts] or [Client.Auths].
type MountTable struct {
	c    *Client
	root string
	auth bool
}

// Mounts returns the table of secrets engines.
func (c *Client) Mounts() MountTable { return MountTable{c: c, root: "sys/mounts"} }

// Auths returns the table of auth methods.
func (c *Client) Auths() MountTable { return MountTable{c: c, root: "sys/auth", auth: true} }

func (t MountTable) path(mount string) string { return t.root + "/" + strings.Trim(mount, "/") }

// List returns the mounts by their path, which ends in a slash.
func (t MountTable) List(ctx context.Context) (map[string]Mount, error) {
	s, err := t.c.Read(ctx, t.root, nil)
	if err != nil {
		return nil, err
	}
	mounts := map[string]Mount{}
	return mounts, s.Decode(&mounts)
}

// Read returns the mount at path.
func (t MountTable) Read(ctx context.Context, path string) (*Mount, error) {
	s, err := t.c.Read(ctx, t.path(path), nil)
	if err != nil {
		return nil, err
	}
	var m Mount
	return &m, s.Decode(&m)
}

// Enable enables an engine or method at path.
func (t MountTable) Enable(ctx context.Context, path string, r MountRequest) error {
	_, err := t.c.writeBody(ctx, http.MethodPost, t.path(path), r)
	return err
}

// Disable disables what is at path and deletes its data.
func (t MountTable) Disable(ctx context.Context, path string) error {
	_, err := t.c.Delete(ctx, t.path(path), nil)
	return err
}

// Tune changes the configuration of the mount at path.
func (t MountTable) Tune(ctx context.Context, path string, tuning MountTuning) (*Secret, error) {
	return t.c.writeBody(ctx, http.MethodPost, t.path(path)+"/tune", tuning)
}

// Tuning returns the configuration of the mount at path.
func (t MountTable) Tuning(ctx context.Context, path string) (*MountConfig, error) {
	s, err := t.c.Read(ctx, t.path(path)+"/tune", nil)
	if err != nil {
		return nil, err
	}
	var cfg MountConfig
	return &cfg, s.Decode(&cfg)
}

// MoveStatus is the progress of a move.
type MoveStatus struct {
	MigrationID string `json:"migration_id"`
	Info        struct {
		SourceMount string `json:"source_mount"`
		TargetMount string `json:"target_mount"`
		Status      string `json:"status"` // in-progress, success or failure
	} `json:"migration_info"`
}

// Move starts to move the mount at from to another path and returns the id of
// the move. The leases of the mount are revoked.
func (t MountTable) Move(ctx context.Context, from, to string) (string, error) {
	if t.auth {
		from, to = "auth/"+strings.TrimPrefix(from, "auth/"), "auth/"+strings.TrimPrefix(to, "auth/")
	}
	s, err := t.c.writeBody(ctx, http.MethodPost, "sys/remount", map[string]string{"from": from, "to": to})
	if err != nil {
		return "", err
	}
	return Field[string](s, "migration_id")
}

// MoveStatus returns the progress of the move id.
func (t MountTable) MoveStatus(ctx context.Context, id string) (*MoveStatus, error) {
	s, err := t.c.Read(ctx, "sys/remount/status/"+id, nil)
	if err != nil {
		return nil, err
	}
	var m MoveStatus
	return &m, s.Decode(&m)
}

// MountInfo is what a token that may use a mount may know about it.
type MountInfo struct {
	Path        string            `json:"path"`
	Type        string            `json:"type"`
	Description string            `json:"description"`
	Accessor    string            `json:"accessor"`
	Options     map[string]string `json:"options"`
}

// MountOf returns the mount that path is in.
func (c *Client) MountOf(ctx context.Context, path string) (*MountInfo, error) {
	s, err := c.WithWrapTTL("").Read(ctx, "sys/internal/ui/mounts/"+strings.Trim(path, "/"), nil)
	if err != nil {
		return nil, err
	}
	var m MountInfo
	return &m, s.Decode(&m)
}
