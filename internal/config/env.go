package config

import (
	"errors"
	"fmt"
	"strings"
)

// prefixes of environment variables, the first that is set wins.
func envPrefixes() []string { return []string{"COFFER_", "BAO_", "VAULT_"} }

// environ looks variables up under every prefix.
type environ func(string) string

func (e environ) lookup(names ...string) (value, variable string) {
	for _, name := range names {
		for _, prefix := range envPrefixes() {
			if value := e(prefix + name); value != "" {
				return value, prefix + name
			}
		}
	}
	return "", ""
}

// ApplyEnv overrides the configuration by the environment, as read with
// getenv. A variable NAME may be called COFFER_NAME, BAO_NAME or VAULT_NAME:
// API_ADDR, CLUSTER_ADDR, LOG_LEVEL, LOG_FORMAT, UI, RAFT_PATH, RAFT_NODE_ID
// and RAW_STORAGE_ENDPOINT.
func (c *Config) ApplyEnv(getenv func(string) string) error {
	env := environ(getenv)
	var errs []error
	// The place of a value tells later messages which variable to correct.
	setText := func(to *string, key string, names ...string) {
		if value, variable := env.lookup(names...); value != "" {
			*to = value
			c.setPlace(key, Pos{File: variable})
		}
	}
	setFlag := func(to *bool, name string) {
		value, variable := env.lookup(name)
		if value == "" {
			return
		}
		b, err := parseBool(value)
		if err != nil {
			errs = append(errs, fmt.Errorf("the environment variable %s must be true or false, not %q", variable, clip(value)))
			return
		}
		*to = b
	}
	setText(&c.APIAddr, "api_addr", "API_ADDR", "REDIRECT_ADDR", "ADVERTISE_ADDR")
	setText(&c.ClusterAddr, "cluster_addr", "CLUSTER_ADDR")
	setFlag(&c.UI, "UI")
	setFlag(&c.RawStorageEndpoint, "RAW_STORAGE_ENDPOINT")
	if r := c.Storage.Raft; r != nil && c.Storage.Type == "raft" {
		setText(&r.Path, "path", "RAFT_PATH")
		setText(&r.NodeID, "node_id", "RAFT_NODE_ID")
	}
	if level, variable := env.lookup("LOG_LEVEL"); level != "" {
		errs = append(errs, c.Log.SetLevel(level, variable))
	}
	if format, variable := env.lookup("LOG_FORMAT"); format != "" {
		errs = append(errs, c.Log.SetFormat(format, variable))
	}
	return errors.Join(errs...)
}

// SetLevel sets the level by name; from says where the name came from, such
// as "-log-level".
func (l *Log) SetLevel(level, from string) error {
	switch level = canonicalLevel(strings.ToLower(strings.TrimSpace(level))); level {
	case "trace", "debug", "info", "warn", "error":
		l.Level = level
		return nil
	}
	return fmt.Errorf("%s must be one of trace, debug, info, warn, error, not %q", from, clip(level))
}

// SetFormat sets the format by name; from says where the name came from.
func (l *Log) SetFormat(format, from string) error {
	switch format = strings.ToLower(strings.TrimSpace(format)); format {
	case "standard", "json":
		l.Format = format
		return nil
	}
	return fmt.Errorf("%s must be standard or json, not %q", from, clip(format))
}
