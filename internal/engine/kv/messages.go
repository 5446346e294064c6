package kv

import (
	"errors"
	"strconv"
	"time"

	"github.com/cofferhq/coffer/internal/wire"
)

// anyRequest is the input of endpoints that refuse every request.
type anyRequest struct {
	Body wire.Object `body:"*"`
}

type pathRequest struct {
	Path string `path:"path" doc:"Path of the secret or folder."`
}

type plainWriteRequest struct {
	Path string      `path:"path" doc:"Path of the secret."`
	Body wire.Object `body:"*"`
}

type readRequest struct {
	Path    string `path:"path" doc:"Path of the secret."`
	Version uint64 `query:"version" doc:"Version to read; 0 is the current one."`
}

type subkeysRequest struct {
	Path    string `path:"path" doc:"Path of the secret."`
	Version uint64 `query:"version" doc:"Version to read; 0 is the current one."`
	Depth   uint32 `query:"depth" doc:"Levels of nesting to show; 0 shows all."`
}

type writeRequest struct {
	Path    string       `path:"path" doc:"Path of the secret."`
	Data    wire.JSON    `json:"data" doc:"The secret: a JSON object." sensitive:"true"`
	Options writeOptions `json:"options" doc:"The member cas makes the write depend on the current version: 0 if there must be none yet."`
}

// writeOptions are the conditions of a write.
type writeOptions struct {
	cas   int64
	given bool
}

// UnmarshalJSON reads the options. Its errors do not repeat them.
func (o *writeOptions) UnmarshalJSON(raw []byte) error {
	if wire.IsNull(raw) {
		return nil
	}
	if len(raw) == 0 || raw[0] != '{' {
		return errors.New("must be a JSON object")
	}
	object, err := wire.ParseObject(raw, wire.DefaultLimits)
	if err != nil {
		return errors.New("must be a JSON object")
	}
	cas, ok := object.Lookup("cas")
	if !ok || wire.IsNull(cas) {
		return nil
	}
	o.given = true
	if o.cas, err = wire.ParseInt(cas); err != nil {
		return errors.New("its member cas must be a whole number")
	}
	return nil
}

type versionsRequest struct {
	Path     string   `path:"path" doc:"Path of the secret."`
	Versions []string `json:"versions" doc:"Numbers of the versions."`
}

type metadataReadRequest struct {
	Path        string `path:"path" doc:"Path of the secret."`
	Attribution bool   `query:"attribution" doc:"Show who created each version."`
}

type configRequest struct {
	MaxVersions         wire.Opt[uint32]    `json:"max_versions" doc:"Versions to keep of a secret that does not say; 0 is 10."`
	CASRequired         wire.Opt[bool]      `json:"cas_required" doc:"Refuse writes that do not name the current version."`
	MetadataCASRequired wire.Opt[bool]      `json:"metadata_cas_required" doc:"Refuse changes of metadata that do not name its current version."`
	DeleteVersionAfter  wire.Opt[retention] `json:"delete_version_after" doc:"Time after which a new version deletes itself; 0 is never, a negative one switches it off for all secrets."`
}

type metadataWriteRequest struct {
	Path                string              `path:"path" doc:"Path of the secret."`
	MaxVersions         wire.Opt[uint32]    `json:"max_versions" doc:"Versions to keep; 0 is what the mount says."`
	CASRequired         wire.Opt[bool]      `json:"cas_required" doc:"Refuse writes that do not name the current version."`
	MetadataCAS         wire.Opt[int64]     `json:"metadata_cas" doc:"Make the change depend on the metadata's current version."`
	MetadataCASRequired wire.Opt[bool]      `json:"metadata_cas_required" doc:"Refuse changes of metadata that do not name its current version."`
	DeleteVersionAfter  wire.Opt[retention] `json:"delete_version_after" doc:"Time after which a new version deletes itself, at most the mount's; 0 is what the mount says, a negative one switches it off."`
	CustomMetadata      wire.JSON           `json:"custom_metadata" doc:"Up to 64 names with values that describe the secret."`
}

// retention is how long versions live. It is shown the way Go writes durations,
// and may be negative.
type retention time.Duration

// UnmarshalJSON reads a duration, or one with a minus before it.
func (d *retention) UnmarshalJSON(raw []byte) error {
	negative := false
	switch {
	case len(raw) > 2 && raw[0] == '"' && raw[1] == '-':
		negative, raw = true, append([]byte{'"'}, raw[2:]...)
	case len(raw) > 1 && raw[0] == '-':
		negative, raw = true, raw[1:]
	}
	v, err := wire.ParseDuration(raw)
	if negative {
		v = -v
	}
	*d = retention(v)
	return err
}

// String returns Go's notation.
func (d retention) String() string { return time.Duration(d).String() }

// MarshalJSON writes Go's notation.
func (d retention) MarshalJSON() ([]byte, error) { return []byte(strconv.Quote(d.String())), nil }
