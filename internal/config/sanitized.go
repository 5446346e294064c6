package config

import "time"

// Sanitized describes the configuration without secrets, in the shape of
// sys/config/state/sanitized: types, switches and addresses. Settings that
// were not given are zero, as clients expect.
func (c *Config) Sanitized() map[string]any {
	out := map[string]any{
		"api_addr":                            c.APIAddr,
		"cache_size":                          0,
		"cluster_addr":                        c.ClusterAddr,
		"cluster_cipher_suites":               "",
		"cluster_name":                        c.ClusterName,
		"default_lease_ttl":                   seconds(c.DefaultLeaseTTL),
		"default_max_request_duration":        seconds(c.DefaultMaxRequestDuration),
		"disable_cache":                       c.DisableCache,
		"disable_clustering":                  false,
		"disable_indexing":                    false,
		"disable_mlock":                       c.DisableMlock,
		"disable_performance_standby":         false,
		"disable_printable_check":             false,
		"disable_sealwrap":                    false,
		"enable_response_header_hostname":     c.HostnameHeader,
		"enable_response_header_raft_node_id": c.NodeIDHeader,
		"enable_ui":                           c.UI,
		"introspection_endpoint":              c.IntrospectionEndpoint,
		"log_format":                          c.Log.Format,
		"log_level":                           c.Log.Level,
		"log_requests_level":                  "",
		"max_lease_ttl":                       seconds(c.MaxLeaseTTL),
		"pid_file":                            c.PIDFile,
		"plugin_directory":                    "",
		"raw_storage_endpoint":                c.RawStorageEndpoint,
		"listeners":                           c.sanitizedListeners(),
		"seals":                               c.sanitizedSeals(),
		"storage":                             c.sanitizedStorage(),
		"telemetry":                           c.Telemetry.sanitized(),
	}
	return out
}

func (c *Config) sanitizedListeners() []any {
	out := make([]any, 0, len(c.Listeners))
	for _, l := range c.Listeners {
		settings := map[string]any{"address": l.Address}
		if l.Type == "tcp" {
			settings["tls_disable"] = l.TLS.Disabled
			if l.ClusterAddress != "" {
				settings["cluster_address"] = l.ClusterAddress
			}
		}
		out = append(out, map[string]any{"type": l.Type, "config": settings})
	}
	return out
}

func (c *Config) sanitizedSeals() []any {
	out := []any{}
	for _, s := range c.Seals {
		seal := map[string]any{"type": s.Type, "disabled": s.Disabled}
		if s.Name != s.Type {
			seal["name"] = s.Name
		}
		out = append(out, seal)
	}
	if len(out) == 0 {
		out = append(out, map[string]any{"type": "shamir", "disabled": false})
	}
	return out
}

func (c *Config) sanitizedStorage() map[string]any {
	out := map[string]any{
		"type":               c.Storage.Type,
		"redirect_addr":      c.APIAddr,
		"cluster_addr":       c.ClusterAddr,
		"disable_clustering": false,
	}
	if r := c.Storage.Raft; r != nil {
		out["raft"] = map[string]any{"max_entry_size": r.MaxEntrySize}
	}
	return out
}

func (t Telemetry) sanitized() map[string]any {
	return map[string]any{
		"disable_hostname":          t.DisableHostname,
		"maximum_gauge_cardinality": t.MaximumGaugeCardinality,
		"metrics_prefix":            t.MetricsPrefix,
		"prometheus_retention_time": seconds(t.PrometheusRetentionTime),
		"usage_gauge_period":        seconds(t.UsageGaugePeriod),
	}
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
