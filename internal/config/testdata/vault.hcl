# A production node as operators write it.
listener "tcp" {
  address       = "0.0.0.0:8200"
  tls_cert_file = "/etc/vault/tls/server.crt"
  tls_key_file  = "/etc/vault/tls/server.key"
}

storage "raft" {
  path    = "/vault/data"
  node_id = "vault-1"
}

seal "awskms" {
  region     = "us-east-1"
  kms_key_id = "alias/vault-unseal-key"
}

api_addr     = "https://vault.internal:8200"
cluster_addr = "https://vault.internal:8201"
disable_mlock = false
ui = true

# Audit
audit {
  file {
    path    = "/var/log/vault/audit.log"
    log_raw = true
  }
}
