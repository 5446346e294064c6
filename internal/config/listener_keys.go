package config

import (
	"crypto/tls"
	"errors"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

func (l *Listener) addTCPKeys(known keys) {
	maps.Copy(known, keys{
		"cluster_address":                       text(&l.ClusterAddress),
		"tls_disable":                           flag(&l.TLS.Disabled),
		"tls_cert_file":                         text(&l.TLS.CertFile),
		"tls_key_file":                          text(&l.TLS.KeyFile),
		"tls_min_version":                       minTLSVersion(&l.TLS.MinVersion),
		"tls_max_version":                       tlsVersion(&l.TLS.MaxVersion),
		"tls_cipher_suites":                     {set: func(d *decoder, f field) { l.TLS.CipherSuites = d.cipherSuites(f) }},
		"tls_client_ca_file":                    text(&l.TLS.ClientCAFile),
		"tls_require_and_verify_client_cert":    flag(&l.TLS.RequireClientCert),
		"tls_disable_client_certs":              flag(&l.TLS.IgnoreClientCerts),
		"tls_auto_reload":                       ignored("certificates are read anew at SIGHUP"),
		"tls_prefer_server_cipher_suites":       ignored("the order of cipher suites is chosen by the TLS library"),
		"tls_key_exchange_preferences":          ignored("the order of key exchanges is chosen by the TLS library"),
		"proxy_protocol_behavior":               choice(&l.ProxyProtocol.Behavior, "use_always", "allow_authorized", "deny_unauthorized"),
		"proxy_protocol_authorized_addrs":       prefixes(&l.ProxyProtocol.Authorized),
		"x_forwarded_for_authorized_addrs":      prefixes(&l.Forwarded.Authorized),
		"x_forwarded_for_hop_skips":             integer(&l.Forwarded.HopSkips),
		"x_forwarded_for_reject_not_present":    flag(&l.Forwarded.RejectNotPresent),
		"x_forwarded_for_reject_not_authorized": flag(&l.Forwarded.RejectNotAuthorized),
	})
	for _, name := range []string{
		"tls_acme_ca_directory", "tls_acme_ca_root", "tls_acme_eab_key_id", "tls_acme_eab_mac_key", "tls_acme_key_type",
		"tls_acme_email", "tls_acme_domains", "tls_acme_cache_path", "tls_acme_disable_http_challenge",
		"tls_acme_disable_alpn_challenge", "tls_acme_test_ca_directory",
	} {
		known[name] = refused("obtain the certificate with an ACME client and set tls_cert_file and tls_key_file")
	}
}

func (l *Listener) addSharedKeys(known keys) {
	a := &l.Access
	maps.Copy(known, keys{
		"address":                                  text(&l.Address),
		"x_forwarded_for_client_cert_header":       refused("no auth method here takes a client certificate from a header yet; without it a forwarded certificate counts for nothing"),
		"x_forwarded_for_client_cert_decoders":     refused("no auth method here takes a client certificate from a header yet"),
		"http_read_header_timeout":                 duration(&l.Timeouts.ReadHeader),
		"http_read_timeout":                        duration(&l.Timeouts.Read),
		"http_write_timeout":                       duration(&l.Timeouts.Write),
		"http_idle_timeout":                        duration(&l.Timeouts.Idle),
		"cors_enabled":                             flag(&l.CORS.Enabled),
		"cors_allowed_origins":                     list(&l.CORS.AllowedOrigins),
		"cors_allowed_headers":                     list(&l.CORS.AllowedHeaders),
		"custom_response_headers":                  block(func(d *decoder, _ Pos, body node) { l.Headers = d.responseHeaders(body) }),
		"purpose":                                  ignored("every listener serves the whole API"),
		"chroot_namespace":                         parsed(&l.Namespace, "the path of a namespace such as \"team/app\"", parseNamespace),
		"redact_addresses":                         flag(&a.RedactAddresses),
		"redact_cluster_name":                      flag(&a.RedactClusterName),
		"redact_version":                           flag(&a.RedactVersion),
		"disable_replication_status_endpoints":     ignored("there are no replication status endpoints"),
		"disable_unauthed_rekey_endpoints":         flag(&a.DisableUnauthedRekey),
		"disable_unauthed_generate_root_endpoints": flag(&a.DisableUnauthedGenerateRoot),
		"disable_request_limiter":                  flag(&a.DisableRequestLimiter),
		"telemetry": block(oneSection("telemetry", keys{
			"unauthenticated_metrics_access": flag(&a.UnauthenticatedMetrics),
			"metrics_only":                   flag(&a.MetricsOnly),
			"disallow_metrics":               ignored("metrics need a token unless unauthenticated_metrics_access is set"),
		})),
		"profiling":                 block(oneSection("profiling", keys{"unauthenticated_pprof_access": flag(&a.UnauthenticatedPprof)})),
		"inflight_requests_logging": block(oneSection("inflight_requests_logging", keys{"unauthenticated_in_flight_requests_access": flag(&a.UnauthenticatedInFlight)})),
	})
}

func (l *Listener) addLimitKeys(known keys) {
	m := &l.Limits
	maps.Copy(known, keys{
		"max_request_size":             limit(&m.RequestSize),
		"max_request_duration":         duration(&m.RequestDuration),
		"max_json_depth":               countLimit(&m.JSONDepth),
		"max_json_string_value_length": limit(&m.JSONStringLength),
		"max_json_object_entry_count":  countLimit(&m.JSONObjectEntries),
		"max_json_array_element_count": countLimit(&m.JSONArrayElements),
		"max_request_json_memory":      ignored("bodies are checked while they are scanned and take no more memory than they have bytes"),
		"max_request_json_strings":     countLimit(&m.JSONStrings),
		"max_request_json_depth":       countLimit(&m.JSONDepth),
		"max_token_header_size":        limit(&m.TokenHeaderSize),
	})
}

// oneSection decodes an unlabelled block into the given table.
func oneSection(name string, known keys) func(*decoder, Pos, node) {
	return func(d *decoder, _ Pos, body node) { d.object(name, body, known) }
}

// limit is a size of which any negative value means no limit.
func limit(to *int64) key {
	return parsed(to, `a size such as "32MiB", a number of bytes, or -1 for no limit`, orNone(parseSize))
}

// countLimit is a number of which any negative value means no limit.
func countLimit(to *int) key {
	return parsed(to, "a whole number, or -1 for no limit", orNone(parseCount))
}

func orNone[T int | int64](parse func(string) (T, error)) func(string) (T, error) {
	return func(s string) (T, error) {
		if n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64); err == nil && n < 0 {
			return -1, nil
		}
		return parse(s)
	}
}

func tlsVersion(to *uint16) key {
	return parsed(to, "tls10, tls11, tls12 or tls13", func(s string) (uint16, error) {
		switch strings.ToLower(strings.TrimSpace(s)) {
		case "tls10":
			return tls.VersionTLS10, nil
		case "tls11":
			return tls.VersionTLS11, nil
		case "tls12":
			return tls.VersionTLS12, nil
		case "tls13":
			return tls.VersionTLS13, nil
		}
		return 0, errors.New("unknown version")
	})
}

// minTLSVersion raises versions that the server does not speak: a client that
// speaks a newer one, which is every client, is served all the same.
func minTLSVersion(to *uint16) key {
	set := tlsVersion(to).set
	return key{set: func(d *decoder, f field) {
		set(d, f)
		if *to < tls.VersionTLS12 {
			*to = tls.VersionTLS12
			d.notef(f.value.pos, "%s is raised to tls12: older versions are not served", f.key)
		}
	}}
}

// cipherSuites resolves names. Those of TLS 1.3 are accepted and left out:
// they are always on.
func (d *decoder) cipherSuites(f field) []uint16 {
	known := tls.CipherSuites()
	var ids []uint16
	for _, name := range d.strings(f.key, f.value) {
		i := slices.IndexFunc(known, func(c *tls.CipherSuite) bool { return c.Name == name })
		switch {
		case i < 0 && slices.ContainsFunc(tls.InsecureCipherSuites(), func(c *tls.CipherSuite) bool { return c.Name == name }):
			d.errorf(f.value.pos, "%s: %s is insecure; remove it", f.key, name)
		case i < 0:
			d.errorf(f.value.pos, "%s: unknown cipher suite %q; use IANA names such as %s", f.key, clip(name), known[len(known)-1].Name)
		case slices.Contains(known[i].SupportedVersions, tls.VersionTLS12):
			ids = append(ids, known[i].ID)
		}
	}
	return ids
}

// responseHeaders decodes headers by status.
func (d *decoder) responseHeaders(body node) map[string]http.Header {
	out := map[string]http.Header{}
	d.object("custom_response_headers", body, mapKeys(body, func(d *decoder, status field) {
		if !validStatusKey(status.key) {
			d.errorf(status.pos, `custom_response_headers: %q is not a status; use "default", a class such as "2xx" or a code such as "404"`, clip(status.key))
			return
		}
		headers := http.Header{}
		for _, obj := range d.objects(status) {
			d.object("custom_response_headers", obj, mapKeys(obj, func(d *decoder, f field) { d.responseHeader(headers, f) }))
		}
		out[status.key] = headers
	}))
	return out
}

func (d *decoder) responseHeader(headers http.Header, f field) {
	name := textproto.CanonicalMIMEHeaderKey(f.key)
	switch {
	case !httpguts.ValidHeaderFieldName(f.key):
		d.errorf(f.pos, "custom_response_headers: %q is not a valid header name", clip(f.key))
		return
	case strings.HasPrefix(name, "X-Vault-"):
		d.errorf(f.pos, "custom_response_headers: %s is reserved; headers of the API cannot be set", clip(name))
		return
	}
	values := []string{}
	if f.value.kind == kindList {
		values = d.strings(f.key, f.value)
	} else if v, _, ok := d.scalar(f.key, f.value); ok {
		values = append(values, v) // a header's value may hold commas
	}
	for _, v := range values {
		if !httpguts.ValidHeaderFieldValue(v) {
			d.errorf(f.value.pos, "custom_response_headers: the value of %s holds characters that a header cannot", name)
			return
		}
		headers.Add(name, v)
	}
}

func validStatusKey(s string) bool {
	if s == "default" {
		return true
	}
	if len(s) != 3 || s[0] < '1' || s[0] > '5' {
		return false
	}
	_, err := strconv.Atoi(s)
	return err == nil || s[1:] == "xx"
}
