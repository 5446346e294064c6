package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// KVv2 is a versioned KV store; see [Client.KVv2].
type KVv2 struct {
	c     *Client
	mount string
}

// KVv2 returns the version 2 KV store at mount.
func (c *Client) KVv2(mount string) KVv2 { return KVv2{c, strings.Trim(mount, "/")} }

// KVVersion describes one version of a secret.
type KVVersion struct {
	Version        int               `json:"version"`
	CreatedTime    time.Time         `json:"created_time"`
	DeletionTime   string            `json:"deletion_time"` // empty while it is not deleted
	Destroyed      bool              `json:"destroyed"`
	CustomMetadata map[string]string `json:"custom_metadata"`
}

// KVSecret is the data of a version with its description. The data of a deleted
// version is null.
type KVSecret struct {
	Data     json.RawMessage `json:"data"`
	Metadata KVVersion       `json:"metadata"`
}

// String describes the secret without its values.
func (s *KVSecret) String() string { return "version " + strconv.Itoa(s.Metadata.Version) }

// GoString is String, so that %#v shows no value either.
func (s *KVSecret) GoString() string { return s.String() }

// Decode unmarshals the data into v.
func (s *KVSecret) Decode(v any) error { return (&Secret{Data: s.Data}).Decode(v) }

// KVMetadata describes a secret with all its versions.
type KVMetadata struct {
	CASRequired        bool                 `json:"cas_required"`
	CreatedTime        time.Time            `json:"created_time"`
	UpdatedTime        time.Time            `json:"updated_time"`
	CurrentVersion     int                  `json:"current_version"`
	OldestVersion      int                  `json:"oldest_version"`
	MaxVersions        int                  `json:"max_versions"`
	DeleteVersionAfter string               `json:"delete_version_after"`
	CustomMetadata     map[string]string    `json:"custom_metadata"`
	Versions           map[string]KVVersion `json:"versions"` // by number
}

// KVMetadataRequest sets properties of a secret; nil leaves one alone.
type KVMetadataRequest struct {
	CASRequired        *bool             `json:"cas_required,omitempty"`
	MaxVersions        *int              `json:"max_versions,omitempty"`
	DeleteVersionAfter string            `json:"delete_version_after,omitempty"`
	CustomMetadata     map[string]string `json:"custom_metadata,omitzero"`
}

func (k KVv2) at(kind, path string) string {
	return k.mount + "/" + kind + "/" + strings.TrimPrefix(path, "/")
}

// Get returns the newest version of the secret at path. A deleted version is
// [ErrNotFound], which the returned secret still describes.
func (k KVv2) Get(ctx context.Context, path string) (*KVSecret, error) {
	return k.GetVersion(ctx, path, 0)
}

// GetVersion returns a version of the secret at path, the newest for zero.
func (k KVv2) GetVersion(ctx context.Context, path string, version int) (*KVSecret, error) {
	var query url.Values
	if version > 0 {
		query = url.Values{"version": {strconv.Itoa(version)}}
	}
	s, err := k.c.Read(ctx, k.at("data", path), query)
	var refusal *Error
	if errors.As(err, &refusal) && refusal.Secret != nil {
		s = refusal.Secret
	}
	if s == nil {
		return nil, err
	}
	var out KVSecret
	if decodeErr := s.Decode(&out); decodeErr != nil {
		return nil, errors.Join(err, decodeErr)
	}
	return &out, err
}

// KVOption changes how a version is written.
type KVOption func(options map[string]any)

// CheckAndSet writes only if the newest version is the given one; zero means
// that there must be none.
func CheckAndSet(version int) KVOption {
	return func(options map[string]any) { options["cas"] = version }
}

// Put writes a new version of the secret at path.
func (k KVv2) Put(ctx context.Context, path string, data any, opts ...KVOption) (*KVVersion, error) {
	s, err := k.c.Write(ctx, k.at("data", path), kvBody(data, opts))
	return versionOf(s, err)
}

// Patch writes a new version that differs from the newest in the given fields;
// a null removes a field.
func (k KVv2) Patch(ctx context.Context, path string, data any, opts ...KVOption) (*KVVersion, error) {
	s, err := k.c.Patch(ctx, k.at("data", path), kvBody(data, opts))
	return versionOf(s, err)
}

func kvBody(data any, opts []KVOption) map[string]any {
	options := map[string]any{}
	for _, o := range opts {
		o(options)
	}
	return map[string]any{"data": data, "options": options}
}

func versionOf(s *Secret, err error) (*KVVersion, error) {
	if err != nil {
		return nil, err
	}
	var v KVVersion
	return &v, s.Decode(&v)
}

// Delete marks the newest version as deleted; Undelete brings it back.
func (k KVv2) Delete(ctx context.Context, path string) error {
	_, err := k.c.Delete(ctx, k.at("data", path), nil)
	return err
}

// DeleteVersions marks versions as deleted.
func (k KVv2) DeleteVersions(ctx context.Context, path string, versions ...int) error {
	return k.onVersions(ctx, "delete", path, versions)
}

// Undelete brings deleted versions back.
func (k KVv2) Undelete(ctx context.Context, path string, versions ...int) error {
	return k.onVersions(ctx, "undelete", path, versions)
}

// Destroy erases the data of versions for good.
func (k KVv2) Destroy(ctx context.Context, path string, versions ...int) error {
	return k.onVersions(ctx, "destroy", path, versions)
}

func (k KVv2) onVersions(ctx context.Context, verb, path string, versions []int) error {
	_, err := k.c.Write(ctx, k.at(verb, path), map[string][]int{"versions": versions})
	return err
}

// Metadata describes the secret at path with all its versions.
func (k KVv2) Metadata(ctx context.Context, path string) (*KVMetadata, error) {
	s, err := k.c.Read(ctx, k.at("metadata", path), nil)
	if err != nil {
		return nil, err
	}
	var m KVMetadata
	return &m, s.Decode(&m)
}

// PutMetadata sets properties of the secret at path.
func (k KVv2) PutMetadata(ctx context.Context, path string, r KVMetadataRequest) error {
	_, err := k.c.Write(ctx, k.at("metadata", path), r)
	return err
}

// DeleteMetadata deletes the secret at path with all its versions.
func (k KVv2) DeleteMetadata(ctx context.Context, path string) error {
	_, err := k.c.Delete(ctx, k.at("metadata", path), nil)
	return err
}

// List lists the names directly below path.
func (k KVv2) List(ctx context.Context, path string) ([]string, error) {
	s, err := k.c.List(ctx, k.at("metadata", path))
	if err != nil {
		return nil, err
	}
	return s.Keys()
}
