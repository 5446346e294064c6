package api

import (
	"context"
	"strings"
)

// AuditDevice is an enabled audit device.
type AuditDevice struct {
	Path        string            `json:"path,omitempty"`
	Type        string            `json:"type"`
	Description string            `json:"description"`
	Options     map[string]string `json:"options"`
	Local       bool              `json:"local"`
}

// AuditDevices returns the audit devices by their path, which ends in a slash.
func (c *Client) AuditDevices(ctx context.Context) (map[string]AuditDevice, error) {
	s, err := c.Read(ctx, "sys/audit", nil)
	if err != nil {
		return nil, err
	}
	devices := map[string]AuditDevice{}
	return devices, s.Decode(&devices)
}

// EnableAudit enables an audit device at path.
func (c *Client) EnableAudit(ctx context.Context, path string, d AuditDevice) error {
	d.Path = ""
	_, err := c.Write(ctx, "sys/audit/"+strings.Trim(path, "/"), d)
	return err
}

// DisableAudit disables the audit device at path.
func (c *Client) DisableAudit(ctx context.Context, path string) error {
	_, err := c.Delete(ctx, "sys/audit/"+strings.Trim(path, "/"), nil)
	return err
}

// AuditHash returns the form in which the device at path writes input.
func (c *Client) AuditHash(ctx context.Context, path, input string) (string, error) {
	s, err := c.Write(ctx, "sys/audit-hash/"+strings.Trim(path, "/"), map[string]string{"input": input})
	if err != nil {
		return "", err
	}
	return Field[string](s, "hash")
}
