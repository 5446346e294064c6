package mount

import (
	"strings"
	"time"

	"github.com/cofferhq/coffer/internal/route"
	"github.com/cofferhq/coffer/internal/store"
)

// Entry is a mount's record. An Entry that was handed out is shared: it must
// not be changed.
type Entry struct {
	ID store.MountID     `json:"id"`
	NS store.NamespaceID `json:"ns"`
	// Path ends with a slash; that of an auth method begins with "auth/".
	Path        string            `json:"path"`
	Type        string            `json:"type"`
	Description string            `json:"description"`
	Accessor    string            `json:"accessor"`
	UUID        string            `json:"uuid"`
	Settings    Settings          `json:"settings"`
	Options     map[string]string `json:"options"`
	Local       bool              `json:"local"`
	SealWrap    bool              `json:"seal_wrap"`
	Entropy     bool              `json:"external_entropy_access"`
	// Tainted marks a mount that is being disabled: it serves no request.
	Tainted bool `json:"tainted,omitempty"`
}

// Settings are what tuning changes.
type Settings struct {
	DefaultTTL         time.Duration `json:"default_ttl,omitempty"`
	MaxTTL             time.Duration `json:"max_ttl,omitempty"`
	ForceNoCache       bool          `json:"force_no_cache,omitempty"`
	ListingVisibility  string        `json:"listing_visibility,omitempty"`
	AuditRequestKeys   []string      `json:"audit_non_hmac_request_keys,omitempty"`
	AuditResponseKeys  []string      `json:"audit_non_hmac_response_keys,omitempty"`
	PassthroughHeaders []string      `json:"passthrough_request_headers,omitempty"`
	ResponseHeaders    []string      `json:"allowed_response_headers,omitempty"`
	TokenType          string        `json:"token_type,omitempty"`
	PluginVersion      string        `json:"plugin_version,omitempty"`
	IdentityTokenKey   string        `json:"identity_token_key,omitempty"`
	Lockout            *Lockout      `json:"lockout,omitempty"`
	DelegatedAccessors []string      `json:"delegated_auth_accessors,omitempty"`
	AllowedManagedKeys []string      `json:"allowed_managed_keys,omitempty"`
}

// Lockout are a mount's settings for failed logins.
type Lockout struct {
	Threshold    int           `json:"threshold"`
	Duration     time.Duration `json:"duration"`
	CounterReset time.Duration `json:"counter_reset"`
	Disable      bool          `json:"disable"`
}

// Auth reports whether an auth method is mounted.
func (e *Entry) Auth() bool { return strings.HasPrefix(e.Path, authPrefix) }

const authPrefix = "auth/"

func (e *Entry) key() store.Key { return pathKey(e.NS, e.Path) }

func pathKey(ns store.NamespaceID, path string) store.Key {
	return store.NewKey(ns, store.System, store.KindMount, strings.Split(strings.TrimSuffix(path, "/"), "/")...)
}

// route returns the mount as handlers see it.
func (e *Entry) route(system Limits) route.Mount {
	m := route.Mount{
		ID: e.ID, Namespace: e.NS, Path: e.Path, Type: e.Type, Accessor: e.Accessor, UUID: e.UUID, Auth: e.Auth(),
		DefaultTTL: e.Settings.DefaultTTL, MaxTTL: e.Settings.MaxTTL, Options: e.Options,
	}
	if m.MaxTTL <= 0 {
		m.MaxTTL = system.MaxTTL
	}
	if m.DefaultTTL <= 0 {
		m.DefaultTTL = system.DefaultTTL
	}
	m.DefaultTTL = min(m.DefaultTTL, m.MaxTTL) // the system's may have been lowered
	return m
}

// Limits are the system's lease times.
type Limits struct{ DefaultTTL, MaxTTL time.Duration }
