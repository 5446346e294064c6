package database

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cofferhq/coffer/internal/fault"
	"github.com/cofferhq/coffer/internal/wire"
)

type nameRequest struct {
	Name string `path:"name" doc:"Name of the connection or role."`
}

type listRequest struct{}

type pluginRequest struct {
	Plugin string `path:"plugin" doc:"Name of the plugin whose connections are reset."`
}

// writeConnectionRequest lists the connection's details too, for the binder to
// check and the documentation to show; they are kept as they came.
type writeConnectionRequest struct {
	Name           string               `path:"name" doc:"Name of the connection."`
	Plugin         wire.Opt[string]     `json:"plugin_name" doc:"Kind of database: postgresql-database-plugin, or postgresql."`
	PluginVersion  wire.Opt[string]     `json:"plugin_version" doc:"Accepted for compatibility; drivers are built in."`
	Verify         bool                 `json:"verify_connection" default:"true" doc:"Connect once before the settings are stored."`
	AllowedRoles   wire.Opt[[]string]   `json:"allowed_roles" doc:"Roles that may use the connection; * stands for any characters."`
	RootRotation   wire.Opt[Statements] `json:"root_rotation_statements" alias:"root_credentials_rotate_statements,rotation_statements" doc:"Statements that change the password of the connection's own user."`
	PasswordPolicy wire.Opt[string]     `json:"password_policy" doc:"Password policy for all passwords made for this connection."`

	ConnectionURL          wire.Opt[string]        `json:"connection_url" doc:"URL or key=value string, with the placeholders {{username}} and {{password}}."`
	Username               wire.Opt[string]        `json:"username" doc:"The connection's own user."`
	Password               wire.Opt[wire.Secret]   `json:"password" sensitive:"true" doc:"Password of the connection's own user."`
	MaxOpen                wire.Opt[int]           `json:"max_open_connections" doc:"Most connections open at once; 4 if not set."`
	MaxIdle                wire.Opt[int]           `json:"max_idle_connections" doc:"Most connections kept open without use; all if not set, none if negative."`
	MaxLifetime            wire.Opt[wire.Duration] `json:"max_connection_lifetime" doc:"Longest time that a connection is used; one hour if not set."`
	UsernameTemplate       wire.Opt[string]        `json:"username_template" doc:"Template for the names of new users."`
	DisableEscaping        wire.Opt[bool]          `json:"disable_escaping" doc:"The username and password are percent-encoded already."`
	PasswordAuthentication wire.Opt[string]        `json:"password_authentication" doc:"password, or scram-sha-256 to send the database only a hash."`
	TLSCA                  wire.Opt[string]        `json:"tls_ca" doc:"PEM certificates of the authorities that the server's certificate must come from."`
	TLSCertificate         wire.Opt[string]        `json:"tls_certificate" doc:"PEM client certificate."`
	PrivateKey             wire.Opt[wire.Secret]   `json:"private_key" sensitive:"true" doc:"PEM key of the client certificate."`
}

// detailNames are the fields of [writeConnectionRequest] that make up the
// connection's [Details].
var detailNames = []string{
	"connection_url", "username", "password", "max_open_connections", "max_idle_connections", "max_connection_lifetime",
	"username_template", "disable_escaping", "password_authentication", "tls_ca", "tls_certificate", "private_key",
}

// Connection settings as they are read; the passwords in them are taken out.
type connectionResponse struct {
	AllowedRoles   []string   `json:"allowed_roles"`
	Details        Details    `json:"connection_details"`
	PasswordPolicy string     `json:"password_policy"`
	Plugin         string     `json:"plugin_name"`
	PluginVersion  string     `json:"plugin_version"`
	RootRotation   Statements `json:"root_credentials_rotate_statements"`
}

type reloadResponse struct {
	Connections []string `json:"connections"`
	Count       int      `json:"count"`
}

type writeRoleRequest struct {
	Name             string                      `path:"name" doc:"Name of the role."`
	Connection       wire.Opt[string]            `json:"db_name" doc:"Connection that users are made with."`
	Creation         wire.Opt[Statements]        `json:"creation_statements" doc:"Statements that make a user: {{name}}, {{password}} and {{expiration}} are filled in."`
	Revocation       wire.Opt[Statements]        `json:"revocation_statements" doc:"Statements that remove a user; the driver's own if empty."`
	Renewal          wire.Opt[Statements]        `json:"renew_statements" doc:"Statements that move a user's expiry; the driver's own if empty."`
	Rollback         wire.Opt[Statements]        `json:"rollback_statements" doc:"Statements to run when the creation statements have failed."`
	DefaultTTL       wire.Opt[wire.Duration]     `json:"default_ttl" doc:"Lifetime of a lease; the mount's if zero."`
	MaxTTL           wire.Opt[wire.Duration]     `json:"max_ttl" doc:"Longest lifetime of a lease with all renewals; the mount's if zero."`
	CredentialType   wire.Opt[string]            `json:"credential_type" doc:"Only password."`
	CredentialConfig wire.Opt[map[string]string] `json:"credential_config" doc:"For passwords: password_policy."`
}

type roleResponse struct {
	Creation         Statements        `json:"creation_statements"`
	CredentialConfig map[string]string `json:"credential_config,omitempty"`
	CredentialType   string            `json:"credential_type"`
	Connection       string            `json:"db_name"`
	DefaultTTL       wire.Duration     `json:"default_ttl"`
	MaxTTL           wire.Duration     `json:"max_ttl"`
	Renewal          Statements        `json:"renew_statements"`
	Revocation       Statements        `json:"revocation_statements"`
	Rollback         Statements        `json:"rollback_statements"`
}

type credentialsResponse struct {
	Password string `json:"password"`
	Username string `json:"username"`
}

type writeStaticRoleRequest struct {
	Name             string                      `path:"name" doc:"Name of the static role."`
	Connection       wire.Opt[string]            `json:"db_name" doc:"Connection that changes the password."`
	Username         wire.Opt[string]            `json:"username" doc:"Existing user that the role owns."`
	Period           wire.Opt[wire.Duration]     `json:"rotation_period" doc:"Time between two changes, at least 5 seconds."`
	Schedule         wire.Opt[string]            `json:"rotation_schedule" doc:"Cron schedule (minute, hour, day of month, month, day of week; UTC) instead of a period."`
	Window           wire.Opt[wire.Duration]     `json:"rotation_window" doc:"How long after its scheduled time a change may happen; a later one waits for the next time."`
	Rotation         wire.Opt[Statements]        `json:"rotation_statements" doc:"Statements that change the password; the driver's own if empty."`
	CredentialType   wire.Opt[string]            `json:"credential_type" doc:"Only password."`
	CredentialConfig wire.Opt[map[string]string] `json:"credential_config" doc:"For passwords: password_policy."`
	SkipImport       wire.Opt[bool]              `json:"skip_import_rotation" doc:"Leave the password alone until the first rotation is due."`
	Password         wire.Secret                 `json:"password" sensitive:"true" doc:"With skip_import_rotation: the user's present password."`
}

type staticRoleResponse struct {
	CredentialConfig map[string]string `json:"credential_config,omitempty"`
	CredentialType   string            `json:"credential_type"`
	Connection       string            `json:"db_name"`
	LastRotation     time.Time         `json:"last_vault_rotation"`
	Period           wire.Duration     `json:"rotation_period,omitempty"`
	Schedule         string            `json:"rotation_schedule,omitempty"`
	Window           wire.Duration     `json:"rotation_window,omitempty"`
	Rotation         Statements        `json:"rotation_statements"`
	SkipImport       bool              `json:"skip_import_rotation,omitempty"`
	Username         string            `json:"username"`
}

type staticCredentialsResponse struct {
	LastRotation time.Time     `json:"last_vault_rotation"`
	Password     string        `json:"password"`
	Period       wire.Duration `json:"rotation_period,omitempty"`
	Schedule     string        `json:"rotation_schedule,omitempty"`
	Window       wire.Duration `json:"rotation_window,omitempty"`
	TTL          wire.Duration `json:"ttl"`
	Username     string        `json:"username"`
}

// Statements is a list of database statements. Clients write it as a list, as
// one string (which may hold several statements, and commas), or as either of
// these in base64; a string may also hold a JSON list.
type Statements []string

// MarshalJSON writes a list, an empty one too.
func (s Statements) MarshalJSON() ([]byte, error) {
	if s == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]string(s))
}

// UnmarshalJSON reads all the forms.
func (s *Statements) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '[' {
		list, err := wire.ParseStrings(raw)
		*s = list
		return err
	}
	text, err := wire.ParseString(raw)
	if err != nil {
		return fault.New(fault.Invalid, "must be a string or a list of strings")
	}
	if decoded, ok := decodeBase64(text); ok {
		text = decoded
	}
	var list []string
	switch {
	case strings.TrimSpace(text) == "":
		*s = Statements{}
	case strings.HasPrefix(text, "[") && json.Unmarshal([]byte(text), &list) == nil:
		*s = list
	default:
		*s = Statements{text}
	}
	return nil
}

// decodeBase64 recognises base64 by what no statement is: a single word whose
// decoding is text with a space in it.
func decodeBase64(text string) (string, bool) {
	if strings.ContainsAny(text, " \t\n;") {
		return "", false
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || !utf8.Valid(b) || !strings.Contains(string(b), " ") {
		return "", false
	}
	return string(b), true
}
