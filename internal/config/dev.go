package config

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"
)

// DevFlags are the flags of a development server. The zero value is plain
// `server -dev`.
type DevFlags struct {
	RootTokenID   string        // -dev-root-token-id
	ListenAddress string        // -dev-listen-address
	NoStoreToken  bool          // -dev-no-store-token
	NoKV          bool          // -dev-no-kv
	KVV1          bool          // -dev-kv-v1
	HA            bool          // -dev-ha
	Transactional bool          // -dev-transactional
	ThreeNode     bool          // -dev-three-node
	FourCluster   bool          // -dev-four-cluster
	Latency       time.Duration // -dev-latency
	LatencyJitter int           // -dev-latency-jitter, in percent
	TLS           bool          // -dev-tls
	TLSCertDir    string        // -dev-tls-cert-dir
	TLSSANs       []string      // -dev-tls-san
	PluginDir     string        // -dev-plugin-dir
}

// DevMode describes a development server: initialised, unsealed and in memory.
type DevMode struct {
	// RootTokenID is the root token to create; empty for a random one.
	RootTokenID string
	// NoStoreToken keeps the root token out of the user's token file.
	NoStoreToken bool
	// KVVersion is the version of the engine mounted at secret/; zero for none.
	KVVersion int
	// Latency is added to each access to the store, give or take JitterPercent.
	Latency       time.Duration
	JitterPercent int
	// TLS asks for generated certificates, kept in CertDir and valid for the
	// local host and SANs. See [Config.WriteDevCertificates].
	TLS     bool
	CertDir string
	SANs    []string
}

// ApplyEnv fills in what was not given as a flag.
func (f *DevFlags) ApplyEnv(getenv func(string) string) {
	env := environ(getenv)
	if f.RootTokenID == "" {
		f.RootTokenID, _ = env.lookup("DEV_ROOT_TOKEN_ID")
	}
	if f.ListenAddress == "" {
		f.ListenAddress, _ = env.lookup("DEV_LISTEN_ADDRESS")
	}
}

// Validate refuses flags that a development server cannot honour.
func (f *DevFlags) Validate() error {
	var errs []error
	if f.FourCluster {
		errs = append(errs, errors.New("-dev-four-cluster is not supported: there is no replication between clusters; -dev-three-node starts one cluster"))
	}
	if f.ThreeNode && f.TLS {
		errs = append(errs, errors.New("-dev-three-node does not go with -dev-tls"))
	}
	if f.PluginDir != "" {
		errs = append(errs, errors.New("-dev-plugin-dir is not supported: "+noPlugins))
	}
	if f.NoKV && f.KVV1 {
		errs = append(errs, errors.New("-dev-no-kv and -dev-kv-v1 contradict each other; keep one"))
	}
	if f.LatencyJitter < 0 || f.LatencyJitter > 100 {
		errs = append(errs, errors.New("-dev-latency-jitter must be a percentage from 0 to 100"))
	}
	if f.Latency < 0 {
		errs = append(errs, errors.New("-dev-latency must not be negative"))
	}
	if !f.TLS && (f.TLSCertDir != "" || len(f.TLSSANs) > 0) {
		errs = append(errs, errors.New("-dev-tls-cert-dir and -dev-tls-san need -dev-tls"))
	}
	return errors.Join(errs...)
}

// Dev returns the configuration of a development server.
func Dev(flags DevFlags) *Config {
	c := New()
	c.ApplyDev(flags)
	return c
}

// ApplyDev turns a configuration that was loaded from files into one of a
// development server: the development listener comes first, and the store is
// in memory unless the files chose another.
func (c *Config) ApplyDev(flags DevFlags) {
	c.Dev = &DevMode{
		RootTokenID:   flags.RootTokenID,
		NoStoreToken:  flags.NoStoreToken,
		KVVersion:     flags.kvVersion(),
		Latency:       flags.Latency,
		JitterPercent: flags.LatencyJitter,
		TLS:           flags.TLS,
		CertDir:       flags.TLSCertDir,
		SANs:          flags.TLSSANs,
	}
	l := newListener("tcp", Pos{})
	l.Address = flags.ListenAddress
	if l.Address == "" {
		l.Address = "127.0.0.1:8200"
	}
	l.TLS.Disabled = !flags.TLS
	if flags.TLS && flags.TLSCertDir != "" {
		l.useDevCertificates(flags.TLSCertDir)
	}
	c.Listeners = append([]Listener{l}, c.Listeners...)
	if c.Storage.Type == "" {
		c.Storage.Type = "inmem"
	}
	scheme := "http"
	if flags.TLS {
		scheme = "https"
	}
	if c.APIAddr == "" {
		c.APIAddr = scheme + "://" + l.Address
	}
	c.fill()
	c.UI = true
	c.RawStorageEndpoint = true
	c.AllowAPIAuditCreation = true
}

// DevNodes is how many nodes a development cluster has.
const DevNodes = 3

// DevCluster returns the configurations of a development cluster, whose nodes
// keep their data in folders of dir. The first node listens where the flags say,
// each other one two ports further; a node's cluster port is the one after that
// of its API.
func DevCluster(flags DevFlags, dir string) ([]*Config, error) {
	base := flags.ListenAddress
	if base == "" {
		base = "127.0.0.1:8200"
	}
	host, number, err := net.SplitHostPort(base)
	if err != nil {
		return nil, fmt.Errorf("-dev-listen-address: %w", err)
	}
	first, err := strconv.ParseUint(number, 10, 16)
	if err != nil || first == 0 || first > 65535-2*DevNodes {
		return nil, errors.New("-dev-listen-address: -dev-three-node needs a port that five more follow")
	}
	var nodes []*Config
	for i := range DevNodes {
		at := func(offset int) string { return net.JoinHostPort(host, strconv.Itoa(int(first)+2*i+offset)) }
		own := flags
		own.ListenAddress = at(0)
		c := Dev(own)
		id := "node" + strconv.Itoa(i+1)
		c.Storage = Storage{Type: "raft", Raft: &RaftStorage{Path: filepath.Join(dir, id), NodeID: id}}
		c.ClusterAddr = "https://" + at(1)
		if i > 0 {
			c.Dev = nil // it joins the first
			c.Storage.Raft.Joins = []RetryJoin{{LeaderAPIAddr: nodes[0].APIAddr}}
		}
		nodes = append(nodes, c)
	}
	return nodes, nil
}

func (f *DevFlags) kvVersion() int {
	switch {
	case f.NoKV:
		return 0
	case f.KVV1:
		return 1
	}
	return 2
}

// Names of the files in a directory of generated certificates; tools written
// for HashiCorp Vault look for them.
const (
	devCAFile   = "vault-ca.pem"
	devCertFile = "vault-cert.pem"
	devKeyFile  = "vault-key.pem"
)

func (l *Listener) useDevCertificates(dir string) {
	l.TLS.CertFile = filepath.Join(dir, devCertFile)
	l.TLS.KeyFile = filepath.Join(dir, devKeyFile)
}
