package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"gopkg.in/yaml.v3"

	"github.com/cofferhq/coffer/api"
)

// writeJSON encodes v with sorted keys; values keep their digits and are not
// escaped for HTML.
func writeJSON(w io.Writer, v any, indent string) error {
	v, err := plain(v)
	if err != nil {
		return err
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	return enc.Encode(v)
}

// envelope is [api.Secret] with decoded data.
type envelope struct {
	RequestID     string        `json:"request_id"`
	LeaseID       string        `json:"lease_id"`
	LeaseDuration int           `json:"lease_duration"`
	Renewable     bool          `json:"renewable"`
	Data          any           `json:"data"`
	Warnings      []string      `json:"warnings"`
	Auth          *api.Auth     `json:"auth,omitempty"`
	WrapInfo      *api.WrapInfo `json:"wrap_info,omitempty"`
	MountType     string        `json:"mount_type,omitempty"`
}

// plain normalises the raw JSON inside an envelope, so that it is indented and
// sorted like the rest.
func plain(v any) (any, error) {
	s, ok := v.(*api.Secret)
	if !ok {
		return v, nil
	}
	out := envelope{
		RequestID: s.RequestID, LeaseID: s.LeaseID, LeaseDuration: s.LeaseDuration, Renewable: s.Renewable,
		Warnings: s.Warnings, Auth: s.Auth, WrapInfo: s.WrapInfo, MountType: s.MountType,
	}
	if len(s.Data) > 0 && string(s.Data) != "null" {
		data, err := s.Map()
		if err != nil {
			return nil, err
		}
		out.Data = data
	}
	return out, nil
}

// writeYAML encodes v by way of JSON, so that both have the same names.
func writeYAML(w io.Writer, v any) error {
	var b bytes.Buffer
	if err := writeJSON(&b, v, ""); err != nil {
		return err
	}
	// JSON is YAML: reading it as such keeps numbers numbers and the keys sorted.
	var node yaml.Node
	if err := yaml.Unmarshal(b.Bytes(), &node); err != nil {
		return errors.New("encoding the answer as YAML")
	}
	blockStyle(&node)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	if err := enc.Encode(&node); err != nil {
		return err
	}
	return enc.Close()
}

// blockStyle drops the flow style and the quotes that JSON brought along.
func blockStyle(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode {
		n.Style = 0
	}
	for _, child := range n.Content {
		blockStyle(child)
	}
}

// asFields returns v as its JSON object.
func asFields(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	fields := map[string]any{}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return fields, dec.Decode(&fields)
}
