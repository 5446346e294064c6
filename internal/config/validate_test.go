package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cofferhq/coffer/internal/config"
)

func TestValidateSaysWhatToDo(t *testing.T) {
	const (
		listener = "listener \"tcp\" { tls_disable = true }\n"
		storage  = "storage \"inmem\" {}\n"
		ok       = listener + storage // two lines
	)
	tests := map[string]struct {
		src  string
		want []string
	}{
		"a small configuration": {ok, nil},
		"an empty file": {"", []string{
			`no listener is configured; add listener "tcp" { address = "127.0.0.1:8200" }`,
			`no storage is configured; add storage "raft" { path = "/var/lib/coffer" }`,
		}},
		"TLS without a certificate": {storage + "listener \"tcp\" {}", []string{
			`c:2:1: TLS is on but there is no certificate; set tls_cert_file and tls_key_file, or tls_disable = true where the network is trusted`,
		}},
		"a certificate without its key": {storage + "listener \"tcp\" { tls_cert_file = \"a\" }", []string{
			`c:2:1: tls_cert_file is set without tls_key_file; set both`,
		}},
		"a key without its certificate": {storage + "listener \"tcp\" { tls_key_file = \"a\" }", []string{
			`c:2:1: tls_key_file is set without tls_cert_file; set both`,
		}},
		"client certificates without TLS": {storage + "listener \"tcp\" {\n tls_disable = true\n tls_client_ca_file = \"a\" }", []string{
			`c:2:1: client certificates need TLS; remove tls_disable, or tls_client_ca_file and tls_require_and_verify_client_cert`,
		}},
		"client certificates of no authority": {storage + "listener \"tcp\" {\n tls_cert_file = \"a\"\n tls_key_file = \"a\"\n tls_require_and_verify_client_cert = true\n tls_disable_client_certs = true }", []string{
			`c:2:1: tls_require_and_verify_client_cert and tls_disable_client_certs contradict each other; keep one`,
			`c:2:1: tls_require_and_verify_client_cert needs tls_client_ca_file, the authorities whose certificates are accepted`,
		}},
		"TLS versions the wrong way round": {storage + "listener \"tcp\" {\n tls_cert_file = \"a\"\n tls_key_file = \"a\"\n tls_min_version = \"tls13\"\n tls_max_version = \"tls12\" }", []string{
			`c:2:1: tls_min_version is above tls_max_version; exchange them`,
		}},
		"an old TLS version": {storage + "listener \"tcp\" {\n tls_cert_file = \"a\"\n tls_key_file = \"a\"\n tls_max_version = \"tls11\" }", []string{
			`c:2:1: tls_max_version must be tls12 or tls13: older versions are not served`,
		}},
		"an address without a port": {storage + "listener \"tcp\" {\n tls_disable = true\n address = \"127.0.0.1\" }", []string{
			`c:2:1: address must be host:port such as "127.0.0.1:8200", not "127.0.0.1"`,
		}},
		"an address with a wrong port": {storage + "listener \"tcp\" {\n tls_disable = true\n address = \"127.0.0.1:http\" }", []string{
			`c:2:1: address has the port "http"; use a number from 0 to 65535`,
		}},
		"an address with port 0": {storage + "listener \"tcp\" {\n tls_disable = true\n address = \"127.0.0.1:0\" }", []string{
			`c:2:1: address has port 0, which clients cannot find; choose a port`,
		}},
		"an address template": {storage + "listener \"tcp\" {\n tls_disable = true\n address = \"{{ GetPrivateIP }}:8200\" }", []string{
			`c:2:1: address holds an address template, which is not supported; write the address, or env://NAME to take it from the environment`,
		}},
		"an address used twice": {ok + listener, []string{
			`c:3:1: the address 127.0.0.1:8200 is already used by the listener at c:1:1; choose another`,
		}},
		"a socket without a path and with odd permissions": {storage + "listener \"unix\" { socket_mode = \"rw\" }", []string{
			`c:2:1: listener "unix" needs an address: the path of the socket`,
			`c:2:1: socket_mode must be octal permissions such as "0660", not "rw"`,
		}},
		"a PROXY protocol for nobody": {storage + "listener \"tcp\" {\n tls_disable = true\n proxy_protocol_behavior = \"deny_unauthorized\" }", []string{
			`c:2:1: proxy_protocol_behavior = "deny_unauthorized" needs proxy_protocol_authorized_addrs, the addresses of your load balancers`,
		}},
		"CORS for nobody": {storage + "listener \"tcp\" {\n tls_disable = true\n cors_enabled = true }", []string{
			`c:2:1: cors_enabled needs cors_allowed_origins, such as ["https://ui.example.com"]`,
		}},
		"an api_addr that is no URL": {ok + "api_addr = \"coffer:8200\"", []string{
			`c:3:1: api_addr must be a URL such as "https://coffer.example.com:8200", not "coffer:8200"`,
		}},
		"an api_addr with a password": {ok + "api_addr = \"https://u:p@coffer:8200\"", []string{
			`c:3:1: api_addr must be a plain URL without credentials, query or fragment`,
		}},
		"an api_addr that nobody can reach": {ok + "api_addr = \"https://0.0.0.0:8200\"", []string{
			`c:3:1: api_addr is 0.0.0.0, which others cannot reach; give the node's own name or address`,
		}},
		"one address for clients and nodes": {ok + "api_addr = \"https://a:8200\"\ncluster_addr = \"https://a:8200\"", []string{
			`c:4:1: cluster_addr and api_addr are the same; nodes and clients use different ports, usually 8201 and 8200`,
		}},
		"a cluster_addr that is no URL": {ok + "cluster_addr = \"10.0.0.1:8201\"", []string{
			`c:3:1: cluster_addr must be a URL such as "https://10.0.0.1:8201", not "10.0.0.1:8201"`,
		}},
		"raft without a path": {listener + "storage \"raft\" {}", []string{
			`c:2:1: storage "raft" needs a path: the directory for the data`,
		}},
		"raft in the root directory with an odd id": {listener + "storage \"raft\" {\n path = \"//\"\n node_id = \"a/b\" }", []string{
			`c:2:1: storage "raft" cannot use the root directory; give it a directory of its own`,
			`c:2:1: node_id may hold letters, digits, '.', '_', ':' and '-' only`,
		}},
		"joining without addresses": {listener + "storage \"raft\" {\n path = \"d\"\n retry_join { }\n}", []string{
			`c:4:2: retry_join needs leader_api_addr, the URL of another node, or auto_join`,
			`c:4:2: retry_join needs cluster_addr, the URL at which the other nodes reach this one`,
		}},
		"joining by what a cloud knows": {listener + "cluster_addr = \"https://10.0.0.1:8201\"\nstorage \"raft\" {\n path = \"d\"\n retry_join {\n  auto_join = \"provider=aws tag_key=x\"\n }\n}", []string{
			`c:5:2: auto_join asks no cloud provider for nodes; use auto_join = "dns-srv NAME", or leader_api_addr`,
		}},
		"a seal that is not supported": {ok + "seal \"pkcs11\" {\n pin = \"1234\" }", []string{
			`c:3:1: seal type "pkcs11" is not supported; use shamir, or set disabled = true in this block`,
		}},
		"a disabled seal that is not supported": {ok + "seal \"pkcs11\" {\n pin = \"1234\"\n disabled = true }", nil},
		"two seals of one name":                 {ok + "seal \"shamir\" {}\nseal \"shamir\" {}", []string{`c:4:1: two seals are named "shamir"; give each a name of its own`}},
		"an audit device without a file":        {ok + "audit \"file\" \"a\" {}", []string{`c:3:1: the audit device "a" needs file_path: a file, or "stdout"`}},
		"an audit device of another type":       {ok + "audit \"syslog\" \"a\" {}", []string{`c:3:1: audit device type "syslog" is not supported; use "file"`}},
		"two audit devices of one name": {ok + "audit { file { path = \"a\" } }\naudit { file { path = \"b\" } }", []string{
			`c:4:1: the audit device "file" is already configured at c:3:1; give each a name: audit "file" "name" { }`,
		}},
		"audit options that make no sense": {ok + "audit \"file\" \"a\" {\n options {\n file_path = \"a\"\n log_raw = \"maybe\"\n mode = \"0755\"\n format = \"xml\"\n fsync = \"often\"\n rotate_max_age = \"old\" } }", []string{
			`c:3:1: log_raw must be true or false, not "maybe"`,
			`c:3:1: mode must be octal permissions without the execute bits, such as "0600", not "0755"`,
			`c:3:1: format must be "json", not "xml"`,
			`c:3:1: fsync must be "none", "interval" or "always", not "often"`,
			`c:3:1: rotate_max_age must be a duration such as "24h", not "old"`,
		}},
		"lockout of an unknown type": {ok + "user_lockout \"token\" {}", []string{
			`c:3:1: user_lockout "token" is not supported; use all, userpass, approle, ldap`,
		}},
		"leases that outlive their limit": {ok + "default_lease_ttl = \"2h\"\nmax_lease_ttl = \"1h\"", []string{
			`c:3:1: default_lease_ttl (2h0m0s) is above max_lease_ttl (1h0m0s); raise the one or lower the other`,
		}},
		"a short limit for leases lowers the default": {ok + "max_lease_ttl = \"1h\"", nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := config.Parse("c", []byte(test.src))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, lines(c.Validate())); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
