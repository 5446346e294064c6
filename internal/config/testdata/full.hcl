# Every block and most keys, in the forms that people write.
listener "tcp" {
  address                            = "10.0.0.1:8200"
  cluster_address                    = "10.0.0.1:8201"
  tls_cert_file                      = "/tls/server.crt"
  tls_key_file                       = "/tls/server.key"
  tls_min_version                    = "tls13"
  tls_cipher_suites                  = "TLS_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"
  tls_client_ca_file                 = "/tls/ca.crt"
  tls_require_and_verify_client_cert = "true"
  proxy_protocol_behavior            = "allow_authorized"
  proxy_protocol_authorized_addrs    = ["10.1.0.0/16", "10.2.0.7"]
  x_forwarded_for_authorized_addrs   = "10.1.2.3/16, ::1"
  x_forwarded_for_hop_skips          = "1"
  x_forwarded_for_reject_not_present = false
  max_request_size                   = "64MiB"
  max_request_duration               = "2m"
  max_json_depth                     = 100
  http_read_timeout                  = 45
  http_idle_timeout                  = "1d"
  disable_unauthed_rekey_endpoints   = false
  cors_enabled                       = true
  cors_allowed_origins               = ["https://ui.example.com"]
  telemetry {
    unauthenticated_metrics_access = true
  }
  profiling {
    unauthenticated_pprof_access = true
  }
  inflight_requests_logging {
    unauthenticated_in_flight_requests_access = true
  }
  custom_response_headers {
    "default" = {
      "x-frame-options" = ["DENY"]
    }
    "2xx" = {
      "Content-Security-Policy" = "default-src 'self', data:"
    }
  }
}

listener "tcp" {
  address     = "127.0.0.1:8202"
  tls_disable = 1
}

listener "unix" {
  address      = "/run/coffer.sock"
  socket_mode  = "0660"
  socket_user  = "coffer"
  socket_group = "1000"
}

storage "raft" {
  path                   = "/var/lib/coffer"
  node_id                = "node-1"
  performance_multiplier = "1"
  max_entry_size         = 2097152
  retry_join {
    leader_api_addr       = "https://10.0.0.2:8200"
    leader_ca_cert_file   = "/tls/ca.crt"
    leader_tls_servername = "coffer.internal"
  }
  retry_join {
    auto_join        = "dns-srv _coffer._tcp.example.com"
    auto_join_scheme = "https"
    auto_join_port   = 8200
  }
}

seal "shamir" {
}

seal "transit" {
  disabled = "true"
  name     = "old"
  priority = 2
  token    = "s.secret"
}

api_addr          = "https://coffer.internal:8200"
cluster_addr      = "https://10.0.0.1:8201"
cluster_name      = "prod"
ui                = true
log_level         = "WARNING"
log_format        = "json"
log_rotate_bytes  = "10MB"
default_lease_ttl = 3600
max_lease_ttl     = "30d"
pid_file          = "/run/coffer.pid"

unsafe_allow_api_audit_creation = true
enable_response_header_hostname = true

telemetry {
  prometheus_retention_time = "12h"
  disable_hostname          = true
}

audit "file" "disk" {
  description = "on disk"
  options {
    file_path = "/var/log/coffer.log"
    log_raw   = "true"
  }
}

audit {
  file {
    path = "stdout"
  }
}

user_lockout "all" {
  lockout_threshold = 10
  lockout_duration  = "10m"
}

user_lockout "userpass" {
  lockout_threshold     = "25"
  lockout_counter_reset = "5m"
  disable_lockout       = true
}
