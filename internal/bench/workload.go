package bench

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// Workload is one kind of request under load.
type Workload struct {
	// Name is what the command line calls it, Summary a line for people.
	Name, Summary string
	prepare       func(ctx context.Context, s *site) ([][]byte, error)
}

// Workloads lists all there are, in the order in which they run.
func Workloads() []Workload {
	return []Workload{
		{"health", "GET sys/health: no token, no storage, no audit", health},
		{"token-lookup", "GET auth/token/lookup-self", tokenLookup},
		{"kv1-read", "read of keys in turn, KV version 1", kv1Read},
		{"kv2-read", "read of keys in turn, KV version 2", kv2Read},
		{"kv2-write", "a new version of keys in turn, KV version 2", kv2Write},
		{"token-create", "a service token with a lifetime of a day", tokenCreate},
		{"batch-create", "a batch token with a lifetime of a day", batchCreate},
		{"approle-login", "AppRole login that gives a service token", appRoleLogin("service")},
		{"batch-login", "AppRole login that gives a batch token", appRoleLogin("batch")},
		{"transit-encrypt", "AES-256-GCM of 256 bytes", transitEncrypt},
		{"transit-decrypt", "AES-256-GCM of 256 bytes", transitDecrypt},
		{"transit-sign", "ECDSA P-256 over a SHA-256 of 32 bytes", transitSign},
		{"pki-issue", "a P-256 certificate of an internal root", pkiIssue},
		{"database-creds", "a role in PostgreSQL; needs -postgres", databaseCreds},
	}
}

func health(_ context.Context, s *site) ([][]byte, error) {
	return [][]byte{s.target.request("GET", "sys/health", nil)}, nil
}

func tokenLookup(_ context.Context, s *site) ([][]byte, error) {
	return [][]byte{s.target.request("GET", "auth/token/lookup-self", nil)}, nil
}

func tokenCreate(_ context.Context, s *site) ([][]byte, error) {
	return [][]byte{s.target.request("POST", "auth/token/create", []byte(`{"policies":["default"],"ttl":"24h"}`))}, nil
}

func batchCreate(_ context.Context, s *site) ([][]byte, error) {
	return [][]byte{s.target.request("POST", "auth/token/create", []byte(`{"policies":["default"],"ttl":"24h","type":"batch"}`))}, nil
}

// kvValue is what keys hold.
type kvValue struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// kv mounts a version of KV and fills it; it returns the mount's path.
func kv(ctx context.Context, s *site, version string) (string, error) {
	m, err := s.mount(ctx, "kv"+version, map[string]any{"type": "kv", "options": map[string]string{"version": version}})
	if err != nil {
		return "", err
	}
	return m, s.fill(ctx, func(i int) (string, any) {
		v := kvValue{"alice", "correct horse battery staple"}
		if version == "1" {
			return fmt.Sprintf("%s/k%d", m, i), v
		}
		return fmt.Sprintf("%s/data/k%d", m, i), map[string]any{"data": v}
	})
}

// each renders a request for each key.
func (s *site) each(method, prefix string, body []byte) [][]byte {
	requests := make([][]byte, s.keys)
	for i := range requests {
		requests[i] = s.target.request(method, fmt.Sprintf("%s%d", prefix, i), body)
	}
	return requests
}

func kv1Read(ctx context.Context, s *site) ([][]byte, error) {
	m, err := kv(ctx, s, "1")
	return s.each("GET", m+"/k", nil), err
}

func kv2Read(ctx context.Context, s *site) ([][]byte, error) {
	m, err := kv(ctx, s, "2")
	return s.each("GET", m+"/data/k", nil), err
}

func kv2Write(ctx context.Context, s *site) ([][]byte, error) {
	m, err := kv(ctx, s, "2")
	return s.each("POST", m+"/data/k", []byte(`{"data":{"user":"alice","password":"correct horse battery staple"}}`)), err
}

func appRoleLogin(kind string) func(context.Context, *site) ([][]byte, error) {
	return func(ctx context.Context, s *site) ([][]byte, error) {
		m, err := s.auth(ctx, "approle-"+kind, "approle")
		if err != nil {
			return nil, err
		}
		role := "auth/" + m + "/role/app"
		if err := s.write(ctx, role, map[string]any{"token_policies": "default", "token_ttl": "1h", "token_type": kind}); err != nil {
			return nil, err
		}
		var credentials struct {
			Role   string `json:"role_id"`
			Secret string `json:"secret_id"`
		}
		if err := s.read(ctx, role+"/role-id", &credentials); err != nil {
			return nil, err
		}
		if err := s.ask(ctx, role+"/secret-id", map[string]any{}, &credentials); err != nil {
			return nil, err
		}
		body, err := json.Marshal(credentials)
		return [][]byte{s.target.request("POST", "auth/"+m+"/login", body)}, err
	}
}

// transit mounts transit with one key; it returns the mount's path.
func transit(ctx context.Context, s *site, key, kind string) (string, error) {
	m, err := s.mount(ctx, "transit-"+key, map[string]any{"type": "transit"})
	if err != nil {
		return "", err
	}
	return m, s.write(ctx, m+"/keys/"+key, map[string]any{"type": kind})
}

// sample is n bytes of input, as transit takes them.
func sample(n int) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat("x", n)))
}

func transitEncrypt(ctx context.Context, s *site) ([][]byte, error) {
	m, err := transit(ctx, s, "aes", "aes256-gcm96")
	return [][]byte{s.target.request("POST", m+"/encrypt/aes", []byte(`{"plaintext":"`+sample(256)+`"}`))}, err
}

func transitDecrypt(ctx context.Context, s *site) ([][]byte, error) {
	m, err := transit(ctx, s, "aes", "aes256-gcm96")
	if err != nil {
		return nil, err
	}
	var sealed struct {
		Ciphertext string `json:"ciphertext"`
	}
	if err := s.ask(ctx, m+"/encrypt/aes", map[string]string{"plaintext": sample(256)}, &sealed); err != nil {
		return nil, err
	}
	body, err := json.Marshal(sealed)
	return [][]byte{s.target.request("POST", m+"/decrypt/aes", body)}, err
}

func transitSign(ctx context.Context, s *site) ([][]byte, error) {
	m, err := transit(ctx, s, "ec", "ecdsa-p256")
	return [][]byte{s.target.request("POST", m+"/sign/ec", []byte(`{"input":"`+sample(32)+`"}`))}, err
}

func pkiIssue(ctx context.Context, s *site) ([][]byte, error) {
	m, err := s.mount(ctx, "pki", map[string]any{"type": "pki", "config": map[string]string{"max_lease_ttl": "8760h"}})
	if err != nil {
		return nil, err
	}
	root := map[string]any{"common_name": "bench root", "key_type": "ec", "key_bits": 256, "ttl": "8760h"}
	if err := s.write(ctx, m+"/root/generate/internal", root); err != nil {
		return nil, err
	}
	role := map[string]any{"allow_any_name": true, "key_type": "ec", "key_bits": 256, "ttl": "1h", "max_ttl": "24h"}
	return [][]byte{s.target.request("POST", m+"/issue/r", []byte(`{"common_name":"svc.internal"}`))}, s.write(ctx, m+"/roles/r", role)
}

// creation is the statement that makes a role.
const creation = `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';`

func databaseCreds(ctx context.Context, s *site) ([][]byte, error) {
	u, err := url.Parse(s.postgres)
	if s.postgres == "" || err != nil || u.User == nil {
		return nil, errNoDatabase
	}
	m, err := s.mount(ctx, "database", map[string]any{"type": "database"})
	if err != nil {
		return nil, err
	}
	password, _ := u.User.Password()
	query := u.Query()
	if !query.Has("sslmode") {
		query.Set("sslmode", "disable")
	}
	config := map[string]any{
		"plugin_name": "postgresql-database-plugin", "allowed_roles": "r", "username": u.User.Username(), "password": password,
		"connection_url":       "postgresql://{{username}}:{{password}}@" + u.Host + u.Path + "?" + query.Encode(),
		"max_open_connections": s.clients, "max_idle_connections": s.clients,
	}
	if err := s.write(ctx, m+"/config/pg", config); err != nil {
		return nil, err
	}
	role := map[string]any{"db_name": "pg", "default_ttl": "1h", "max_ttl": "24h", "creation_statements": []string{creation}}
	return [][]byte{s.target.request("GET", m+"/creds/r", nil)}, s.write(ctx, m+"/roles/r", role)
}
