package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Validate checks the rules that span keys, without touching the system. The
// error joins every problem found, each with what to do about it.
func (c *Config) Validate() error {
	v := &validator{c: c}
	v.listeners()
	v.addresses()
	v.storage()
	v.seals()
	v.audits()
	v.lockouts()
	v.leases()
	return errors.Join(v.errs...)
}

type validator struct {
	c    *Config
	errs []error
}

func (v *validator) errorf(at Pos, format string, args ...any) {
	v.errs = append(v.errs, &Error{Pos: at, Msg: fmt.Sprintf(format, args...)})
}

func (v *validator) listeners() {
	if len(v.c.Listeners) == 0 {
		v.errorf(Pos{}, `no listener is configured; add listener "tcp" { address = "127.0.0.1:8200" }`)
	}
	taken := map[string]Pos{}
	for _, l := range v.c.Listeners {
		at, duplicate := taken[l.Type+" "+l.Address]
		if duplicate {
			v.errorf(l.Pos, "the address %s is already used by the listener at %s; choose another", l.Address, at)
		}
		taken[l.Type+" "+l.Address] = l.Pos
		if l.Type == "unix" {
			v.unixListener(l)
			continue
		}
		v.tcpListener(l)
	}
}

func (v *validator) unixListener(l Listener) {
	if l.Address == "" {
		v.errorf(l.Pos, `listener "unix" needs an address: the path of the socket`)
	}
	if l.Socket.Mode != "" {
		if mode, err := strconv.ParseUint(l.Socket.Mode, 8, 32); err != nil || mode > 0o777 {
			v.errorf(l.Pos, `socket_mode must be octal permissions such as "0660", not %q`, clip(l.Socket.Mode))
		}
	}
}

func (v *validator) tcpListener(l Listener) {
	v.hostPort(l.Pos, "address", l.Address)
	if l.ClusterAddress != "" {
		v.hostPort(l.Pos, "cluster_address", l.ClusterAddress)
	}
	v.tls(l)
	if b := l.ProxyProtocol.Behavior; b != "" && b != "use_always" && len(l.ProxyProtocol.Authorized) == 0 {
		v.errorf(l.Pos, "proxy_protocol_behavior = %q needs proxy_protocol_authorized_addrs, the addresses of your load balancers", b)
	}
	if l.ProxyProtocol.Behavior == "" && len(l.ProxyProtocol.Authorized) > 0 {
		v.errorf(l.Pos, "proxy_protocol_authorized_addrs needs proxy_protocol_behavior, such as \"allow_authorized\"")
	}
	if l.CORS.Enabled && len(l.CORS.AllowedOrigins) == 0 {
		v.errorf(l.Pos, `cors_enabled needs cors_allowed_origins, such as ["https://ui.example.com"]`)
	}
}

func (v *validator) tls(l Listener) {
	t := l.TLS
	if t.Disabled {
		if t.RequireClientCert || t.ClientCAFile != "" {
			v.errorf(l.Pos, "client certificates need TLS; remove tls_disable, or tls_client_ca_file and tls_require_and_verify_client_cert")
		}
		return
	}
	switch {
	case t.CertFile == "" && t.KeyFile == "":
		v.errorf(l.Pos, "TLS is on but there is no certificate; set tls_cert_file and tls_key_file, or tls_disable = true where the network is trusted")
	case t.KeyFile == "":
		v.errorf(l.Pos, "tls_cert_file is set without tls_key_file; set both")
	case t.CertFile == "":
		v.errorf(l.Pos, "tls_key_file is set without tls_cert_file; set both")
	}
	if t.MaxVersion < tls.VersionTLS12 {
		v.errorf(l.Pos, "tls_max_version must be tls12 or tls13: older versions are not served")
	} else if t.MinVersion > t.MaxVersion {
		v.errorf(l.Pos, "tls_min_version is above tls_max_version; exchange them")
	}
	if t.RequireClientCert && t.IgnoreClientCerts {
		v.errorf(l.Pos, "tls_require_and_verify_client_cert and tls_disable_client_certs contradict each other; keep one")
	}
	if t.RequireClientCert && t.ClientCAFile == "" {
		v.errorf(l.Pos, "tls_require_and_verify_client_cert needs tls_client_ca_file, the authorities whose certificates are accepted")
	}
}

// hostPort checks an address to bind to.
func (v *validator) hostPort(at Pos, name, address string) {
	if v.template(at, name, address) {
		return
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		v.errorf(at, `%s must be host:port such as "127.0.0.1:8200", not %q`, name, clip(address))
		return
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		v.errorf(at, "%s has the port %q; use a number from 0 to 65535", name, clip(port))
	} else if n == 0 && v.c.Dev == nil {
		v.errorf(at, "%s has port 0, which clients cannot find; choose a port", name)
	}
}

// template refuses address templates, which other servers expand.
func (v *validator) template(at Pos, name, value string) bool {
	if !strings.Contains(value, "{{") {
		return false
	}
	v.errorf(at, "%s holds an address template, which is not supported; write the address, or env://NAME to take it from the environment", name)
	return true
}

func (v *validator) addresses() {
	c := v.c
	if c.APIAddr != "" {
		v.apiAddr(firstPlace(c, "api_addr", "redirect_addr"), c.APIAddr)
	}
	if c.ClusterAddr != "" {
		v.clusterAddr(c.place("cluster_addr"), c.ClusterAddr)
	}
	if c.APIAddr != "" && c.APIAddr == c.ClusterAddr {
		v.errorf(c.place("cluster_addr"), "cluster_addr and api_addr are the same; nodes and clients use different ports, usually 8201 and 8200")
	}
}

func (v *validator) apiAddr(at Pos, addr string) {
	if v.template(at, "api_addr", addr) {
		return
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		v.errorf(at, `api_addr must be a URL such as "https://coffer.example.com:8200", not %q`, clip(addr))
		return
	}
	v.plainURL(at, "api_addr", u)
}

func (v *validator) clusterAddr(at Pos, addr string) {
	if v.template(at, "cluster_addr", addr) {
		return
	}
	u, err := url.Parse(addr)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		v.errorf(at, `cluster_addr must be a URL such as "https://10.0.0.1:8201", not %q`, clip(addr))
		return
	}
	v.plainURL(at, "cluster_addr", u)
}

// plainURL checks what the addresses that a node advertises have in common.
func (v *validator) plainURL(at Pos, name string, u *url.URL) {
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		v.errorf(at, "%s must be a plain URL without credentials, query or fragment", name)
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsUnspecified() {
		v.errorf(at, "%s is %s, which others cannot reach; give the node's own name or address", name, u.Hostname())
	}
}

func (v *validator) storage() {
	s := v.c.Storage
	if s.Type == "" {
		v.errorf(Pos{}, `no storage is configured; add storage "raft" { path = "/var/lib/coffer" }`)
		return
	}
	if s.Raft == nil {
		return
	}
	if s.Raft.Path == "" {
		v.errorf(s.Pos, "storage %q needs a path: the directory for the data", s.Type)
	} else if s.Raft.Path != "" && filepath.Clean(s.Raft.Path) == string(filepath.Separator) {
		v.errorf(s.Pos, "storage %q cannot use the root directory; give it a directory of its own", s.Type)
	}
	if problem := nodeIDProblem(s.Raft.NodeID); problem != "" {
		v.errorf(s.Pos, "node_id %s", problem)
	}
	if s.Raft.PerformanceMultiplier > 10 {
		v.errorf(s.Pos, "performance_multiplier must be 0 to 10, not %d", s.Raft.PerformanceMultiplier)
	}
	for _, j := range s.Raft.Joins {
		v.retryJoin(j)
	}
}

func nodeIDProblem(id string) string {
	if len(id) > 128 {
		return "is longer than 128 characters"
	}
	for _, r := range id {
		if !strings.ContainsRune("._:-", r) && !(r >= '0' && r <= '9') && !(r|0x20 >= 'a' && r|0x20 <= 'z') {
			return "may hold letters, digits, '.', '_', ':' and '-' only"
		}
	}
	return ""
}

func (v *validator) retryJoin(j RetryJoin) {
	switch {
	case j.LeaderAPIAddr == "" && j.AutoJoin == "":
		v.errorf(j.Pos, "retry_join needs leader_api_addr, the URL of another node, or auto_join")
	case j.LeaderAPIAddr != "" && j.AutoJoin != "":
		v.errorf(j.Pos, "retry_join has both leader_api_addr and auto_join; use two blocks")
	case j.LeaderAPIAddr != "":
		v.apiAddrOf(j)
	case strings.Contains(j.AutoJoin, "provider="):
		v.errorf(j.Pos, `auto_join asks no cloud provider for nodes; use auto_join = "dns-srv NAME", or leader_api_addr`)
	default:
		if fields := strings.Fields(j.AutoJoin); len(fields) != 2 || fields[0] != "dns-srv" {
			v.errorf(j.Pos, `auto_join must be "dns-srv NAME", where NAME has SRV records of the nodes' APIs, not %q`, clip(j.AutoJoin))
		}
	}
	if v.c.ClusterAddr == "" {
		v.errorf(j.Pos, "retry_join needs cluster_addr, the URL at which the other nodes reach this one")
	}
}

func (v *validator) apiAddrOf(j RetryJoin) {
	u, err := url.Parse(j.LeaderAPIAddr)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		v.errorf(j.Pos, `leader_api_addr must be a URL such as "https://10.0.0.2:8200", not %q`, clip(j.LeaderAPIAddr))
	}
}

func (v *validator) seals() {
	var active []Seal
	for _, s := range v.c.Seals {
		if s.Disabled {
			continue
		}
		active = append(active, s)
		if !s.supported() {
			v.errorf(s.Pos, "seal type %q is not supported; use %s, or set disabled = true in this block", clip(s.Type), strings.Join(supportedSeals(), ", "))
		}
	}
	names := map[string]bool{}
	for _, s := range active {
		if names[s.Name] {
			v.errorf(s.Pos, "two seals are named %q; give each a name of its own", clip(s.Name))
		}
		names[s.Name] = true
	}
}

func (v *validator) audits() {
	seen := map[string]Pos{}
	for _, a := range v.c.Audits {
		if at, duplicate := seen[a.Path]; duplicate {
			v.errorf(a.Pos, "the audit device %q is already configured at %s; give each a name: audit %q \"name\" { }", clip(a.Path), at, clip(a.Type))
		}
		seen[a.Path] = a.Pos
		if a.Type != "file" {
			v.errorf(a.Pos, `audit device type %q is not supported; use "file"`, clip(a.Type))
			continue
		}
		if a.Options["file_path"] == "" {
			v.errorf(a.Pos, `the audit device %q needs file_path: a file, or "stdout"`, clip(a.Path))
		}
		v.auditOptions(a)
	}
}

// auditOptions checks values here as well as when the device opens, because
// only here is their place in the file known.
func (v *validator) auditOptions(a AuditDevice) {
	check := func(want string, valid func(string) error, names ...string) {
		for _, name := range names {
			if value, given := a.Options[name]; given && valid(value) != nil {
				v.errorf(a.Pos, "%s must be %s, not %q", name, want, clip(value))
			}
		}
	}
	check("true or false", errorOf(parseBool), "log_raw", "hmac_accessor", "elide_list_responses", "skip_test")
	// A log that is executable is a way to plant a program.
	check(`octal permissions without the execute bits, such as "0600"`, validLogMode, "mode")
	check(`"json"`, oneOf("json"), "format")
	check(`"none", "interval" or "always"`, oneOf("none", "interval", "always"), "fsync")
	check(`a duration such as "24h"`, errorOf(parseDuration), "deadline", "rotate_max_age")
	check(`a size such as "100MiB"`, errorOf(parseSize), "rotate_bytes")
	check("a whole number of zero or more", errorOf(parseCount), "rotate_max_files")
}

func errorOf[T any](parse func(string) (T, error)) func(string) error {
	return func(s string) error {
		_, err := parse(s)
		return err
	}
}

func oneOf(allowed ...string) func(string) error {
	return func(s string) error {
		if slices.Contains(allowed, s) {
			return nil
		}
		return strconv.ErrSyntax
	}
}

func validLogMode(s string) error {
	n, err := strconv.ParseUint(s, 8, 32)
	if err == nil && n&^0o666 != 0 {
		err = strconv.ErrRange
	}
	return err
}

func (v *validator) lockouts() {
	types := []string{"all", "userpass", "approle", "ldap"}
	seen := map[string]Pos{}
	for _, l := range v.c.UserLockouts {
		if !slices.Contains(types, l.Type) {
			v.errorf(l.Pos, "user_lockout %q is not supported; use %s", clip(l.Type), strings.Join(types, ", "))
		}
		if at, duplicate := seen[l.Type]; duplicate {
			v.errorf(l.Pos, "user_lockout %q is already configured at %s; keep one", clip(l.Type), at)
		}
		seen[l.Type] = l.Pos
	}
}

func (v *validator) leases() {
	if defaultTTL, maxTTL := v.c.LeaseTTLs(); defaultTTL > maxTTL {
		v.errorf(v.c.place("default_lease_ttl"), "default_lease_ttl (%s) is above max_lease_ttl (%s); raise the one or lower the other", defaultTTL, maxTTL)
	}
}

// firstPlace returns where the first of several names of a key was set.
func firstPlace(c *Config, names ...string) Pos {
	for _, name := range names {
		if at := c.place(name); at != (Pos{}) {
			return at
		}
	}
	return Pos{}
}
