package config

// Reasons shared by several ignored keys.
const (
	noPlugins     = "engines and auth methods are built in"
	noMetricsSink = "metrics are served at sys/metrics in Prometheus format"
	noEnterprise  = "there is no licence; every feature is in the product"
)

// root decodes the top level of one file.
func (d *decoder) root(n node) {
	known := d.topLevel()
	d.object("", n, known)
	for _, f := range n.fields {
		if k, ok := known[f.key]; !ok || k.repeats {
			continue
		}
		if before, set := d.cfg.places[f.key]; set && before.File != f.pos.File {
			d.notef(f.pos, "%s overrides the value set at %s", f.key, before)
		}
		d.cfg.setPlace(f.key, f.pos)
	}
}

func (d *decoder) topLevel() keys {
	c := d.cfg
	known := keys{
		"listener":     labelledBlock((*decoder).listener),
		"storage":      labelledBlock((*decoder).storage),
		"backend":      labelledBlock((*decoder).storage),
		"seal":         labelledBlock((*decoder).seal),
		"audit":        {repeats: true, set: (*decoder).audit},
		"user_lockout": labelledBlock((*decoder).userLockout),
		"telemetry":    block((*decoder).telemetry),

		"api_addr":      text(&c.APIAddr),
		"redirect_addr": text(&c.APIAddr),
		"cluster_addr":  text(&c.ClusterAddr),
		"cluster_name":  text(&c.ClusterName),
		"ui":            flag(&c.UI),
		"pid_file":      text(&c.PIDFile),

		"default_lease_ttl":            duration(&c.DefaultLeaseTTL),
		"max_lease_ttl":                duration(&c.MaxLeaseTTL),
		"default_max_request_duration": duration(&c.DefaultMaxRequestDuration),
		"revocation_rate":              integer(&c.RevocationRate),

		"log_level":            logLevel(&c.Log.Level),
		"log_requests_level":   ignored("finished requests are in the audit log and in the metrics"),
		"log_format":           choice(&c.Log.Format, "standard", "json"),
		"log_file":             text(&c.Log.File),
		"log_rotate_bytes":     size(&c.Log.RotateBytes),
		"log_rotate_duration":  duration(&c.Log.RotateDuration),
		"log_rotate_max_files": integer(&c.Log.RotateMaxFiles),

		"raw_storage_endpoint":                noted(&c.RawStorageEndpoint, "sys/raw is not served: what it would show is sealed row by row, and reading it goes around policies"),
		"introspection_endpoint":              noted(&c.IntrospectionEndpoint, "sys/internal/inspect is not served"),
		"unsafe_allow_api_audit_creation":     flag(&c.AllowAPIAuditCreation),
		"enable_response_header_hostname":     flag(&c.HostnameHeader),
		"enable_response_header_raft_node_id": flag(&c.NodeIDHeader),
		"disable_mlock":                       noted(&c.DisableMlock, "memory is locked where the system allows it"),
		"disable_cache":                       noted(&c.DisableCache, "the caches follow the store and cannot be stale"),
	}
	for name, why := range ignoredTopLevel() {
		known[name] = ignored(why)
	}
	return known
}

// ignoredTopLevel lists keys of other servers that change nothing here.
func ignoredTopLevel() map[string]string {
	return map[string]string{
		"administrative_namespace_path":   noEnterprise,
		"allow_audit_log_prefixing":       "the prefix of an audit device is set by its own option",
		"autopilot_redundancy_zone":       "it belongs to the storage block",
		"cache_size":                      "the caches size themselves",
		"disable_clustering":              "a node that nobody joins is a cluster of one",
		"disable_indexing":                "there is no performance index to disable",
		"disable_performance_standby":     "every node serves reads",
		"disable_printable_check":         "names with control characters are refused",
		"disable_sealwrap":                "every value is sealed in the same way",
		"disable_standby_reads":           "every node serves reads",
		"enable_multiseal":                "several seals are configured by several seal blocks",
		"enable_post_unseal_trace":        "unsealing loads nothing worth tracing",
		"enable_unauthenticated_access":   "set disable_unauthed_rekey_endpoints or disable_unauthed_generate_root_endpoints to false on a listener",
		"entropy":                         "randomness comes from the operating system",
		"experiments":                     "there are no experiments to enable",
		"ha_storage":                      "the storage block serves high availability as well",
		"imprecise_lease_role_tracking":   "leases are counted exactly",
		"initialize":                      "initialise with the operator init command",
		"kms_library":                     noPlugins,
		"license_path":                    noEnterprise,
		"plugin":                          noPlugins,
		"plugin_auto_download":            noPlugins,
		"plugin_auto_register":            noPlugins,
		"plugin_directory":                noPlugins,
		"plugin_download_behavior":        noPlugins,
		"plugin_file_permissions":         noPlugins,
		"plugin_file_uid":                 noPlugins,
		"plugin_tmpdir":                   noPlugins,
		"remove_irrevocable_lease_after":  "leases that cannot be revoked are retried and listed",
		"detect_deadlocks":                "there are no global locks to watch",
		"replication":                     noEnterprise,
		"reporting":                       noEnterprise,
		"request_limiter":                 "load is shed by the server itself",
		"service_registration":            "register the health endpoint sys/health with your discovery service",
		"unsafe_cross_namespace_identity": "access across namespaces is a matter of policy",
		"post_unseal_trace_directory":     "unsealing loads nothing worth tracing",
	}
}

// noted is a flag that is kept for sys/config/state/sanitized and otherwise
// without effect.
func noted(to *bool, why string) key {
	set := flag(to).set
	return key{set: func(d *decoder, f field) {
		set(d, f)
		if *to {
			d.notef(f.pos, "%s has no effect: %s", f.key, why)
		}
	}}
}

func logLevel(to *string) key {
	var given string
	set := choice(&given, "trace", "debug", "info", "notice", "warn", "warning", "err", "error").set
	return key{set: func(d *decoder, f field) {
		set(d, f)
		if given != "" {
			*to = canonicalLevel(given)
		}
	}}
}

// canonicalLevel maps the spellings of a level to one.
func canonicalLevel(level string) string {
	switch level {
	case "warning":
		return "warn"
	case "err":
		return "error"
	case "notice":
		return "info"
	}
	return level
}

func (d *decoder) userLockout(label string, at Pos, body node) {
	l := UserLockout{Pos: at, Type: label}
	d.object(`user_lockout "`+clip(label)+`"`, body, keys{
		"lockout_threshold":     integer(&l.Threshold),
		"lockout_duration":      duration(&l.Duration),
		"lockout_counter_reset": duration(&l.CounterReset),
		"disable_lockout":       flag(&l.Disabled),
	})
	d.cfg.UserLockouts = append(d.cfg.UserLockouts, l)
}

func (d *decoder) telemetry(_ Pos, body node) {
	t := &d.cfg.Telemetry
	known := keys{
		"prometheus_retention_time": duration(&t.PrometheusRetentionTime),
		"disable_hostname":          flag(&t.DisableHostname),
		"metrics_prefix":            text(&t.MetricsPrefix),
		"usage_gauge_period":        duration(&t.UsageGaugePeriod),
		"maximum_gauge_cardinality": integer(&t.MaximumGaugeCardinality),
	}
	for _, name := range []string{
		"statsite_address", "statsd_address", "dogstatsd_addr", "dogstatsd_tags",
		"circonus_api_token", "circonus_api_app", "circonus_api_url", "circonus_submission_interval",
		"circonus_submission_url", "circonus_check_id", "circonus_check_force_metric_activation",
		"circonus_check_instance_id", "circonus_check_search_tag", "circonus_check_display_name",
		"circonus_check_tags", "circonus_broker_id", "circonus_broker_select_tag",
		"stackdriver_project_id", "stackdriver_location", "stackdriver_namespace", "stackdriver_debug_logs",
	} {
		known[name] = ignored(noMetricsSink)
	}
	for _, name := range []string{
		"enable_hostname_label", "lease_metrics_epsilon", "num_lease_metrics_buckets",
		"add_lease_metrics_namespace_labels", "add_mount_point_rollback_metrics", "filter_default",
		"prefix_filter", "rollback_metrics_include_mount_point",
	} {
		known[name] = ignored("the metrics have fixed names and labels")
	}
	d.object("telemetry", body, known)
}
