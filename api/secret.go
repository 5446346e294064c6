package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Secret is the envelope of every answer. Its String method shows no value, so
// that a secret does not end up in a log by accident.
type Secret struct {
	RequestID     string          `json:"request_id"`
	LeaseID       string          `json:"lease_id"`
	LeaseDuration int             `json:"lease_duration"` // seconds
	Renewable     bool            `json:"renewable"`
	Data          json.RawMessage `json:"data"`
	Warnings      []string        `json:"warnings"`
	Auth          *Auth           `json:"auth,omitempty"`
	WrapInfo      *WrapInfo       `json:"wrap_info,omitempty"`
	MountType     string          `json:"mount_type,omitempty"`
}

// Auth describes a token that a login or a token request issued.
type Auth struct {
	ClientToken      string            `json:"client_token"`
	Accessor         string            `json:"accessor"`
	Policies         []string          `json:"policies"`
	TokenPolicies    []string          `json:"token_policies"`
	IdentityPolicies []string          `json:"identity_policies"`
	Metadata         map[string]string `json:"metadata"`
	Orphan           bool              `json:"orphan"`
	EntityID         string            `json:"entity_id"`
	LeaseDuration    int               `json:"lease_duration"` // seconds
	Renewable        bool              `json:"renewable"`
	TokenType        string            `json:"token_type,omitempty"`
	NumUses          int               `json:"num_uses,omitempty"`
	MFARequirement   json.RawMessage   `json:"mfa_requirement,omitempty"`
}

// WrapInfo describes the single-use token that an answer was wrapped in.
type WrapInfo struct {
	Token           string    `json:"token"`
	Accessor        string    `json:"accessor"`
	TTL             int       `json:"ttl"` // seconds
	CreationTime    time.Time `json:"creation_time"`
	CreationPath    string    `json:"creation_path"`
	WrappedAccessor string    `json:"wrapped_accessor,omitempty"`
}

// String describes the secret without its values.
func (s *Secret) String() string {
	return fmt.Sprintf("secret of request %s (%d bytes of data)", s.RequestID, len(s.Data))
}

// GoString is String, so that %#v shows no value either.
func (s *Secret) GoString() string { return s.String() }

// String describes the token without showing it.
func (a *Auth) String() string { return "token with accessor " + a.Accessor }

// GoString is String, so that %#v does not show the token either.
func (a *Auth) GoString() string { return a.String() }

// String describes the wrapping without showing its token.
func (w *WrapInfo) String() string { return "wrapping token with accessor " + w.Accessor }

// GoString is String, so that %#v does not show the token either.
func (w *WrapInfo) GoString() string { return w.String() }

// Decode unmarshals the data into v.
func (s *Secret) Decode(v any) error {
	if !s.hasData() {
		return fmt.Errorf("the answer has no data")
	}
	if err := json.Unmarshal(s.Data, v); err != nil {
		return fmt.Errorf("decoding the answer's data: %w", err)
	}
	return nil
}

// Map returns the data as a map. Numbers are [json.Number], so that none loses
// its digits. Without data the map is empty.
func (s *Secret) Map() (map[string]any, error) {
	m := map[string]any{}
	if !s.hasData() {
		return m, nil
	}
	dec := json.NewDecoder(bytes.NewReader(s.Data))
	dec.UseNumber()
	if err := dec.Decode(&m); err != nil {
		return nil, fmt.Errorf("decoding the answer's data: %w", err)
	}
	return m, nil
}

// Keys returns the keys of a list answer.
func (s *Secret) Keys() ([]string, error) { return Field[[]string](s, "keys") }

func (s *Secret) hasData() bool {
	return len(s.Data) > 0 && !bytes.Equal(s.Data, []byte("null"))
}

// Field returns the field key of the secret's data as a T. A missing field and
// one of another type are errors.
func Field[T any](s *Secret, key string) (T, error) {
	var zero T
	var fields map[string]json.RawMessage
	if err := s.Decode(&fields); err != nil {
		return zero, err
	}
	raw, ok := fields[key]
	if !ok {
		return zero, fmt.Errorf("the answer has no field %q", key)
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		// The decoder's message could quote the value.
		return zero, fmt.Errorf("field %q is not a %T", key, zero)
	}
	return v, nil
}

// ParseSecret reads one envelope from r. A few endpoints, as sys/health, answer
// with a bare object: that becomes the data.
func ParseSecret(r io.Reader) (*Secret, error) {
	body, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	var s Secret
	if len(bytes.TrimSpace(body)) == 0 {
		return &s, nil
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return nil, fmt.Errorf("the answer is not the JSON of this API; is the address that of a server?")
	}
	if isBare(body) {
		s.Data = body
	}
	return &s, nil
}

// isBare reports whether body is an object without any field of an envelope.
func isBare(body []byte) bool {
	var fields map[string]json.RawMessage
	if json.Unmarshal(body, &fields) != nil || len(fields) == 0 {
		return false
	}
	for _, name := range []string{"request_id", "data", "auth", "wrap_info", "lease_id", "warnings"} {
		if _, ok := fields[name]; ok {
			return false
		}
	}
	return true
}
